//! Compiles `proto/` with protox, so that no protoc is needed on the machine.

#![allow(
    clippy::disallowed_macros,
    clippy::disallowed_methods,
    reason = "a build script speaks to cargo, through its output and environment"
)]

use std::error::Error;
use std::path::PathBuf;

use prost::Message as _;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=proto");
    println!("cargo::rerun-if-changed=third_party/proto");

    let descriptors = protox::compile(
        ["countersign/v1/key_admin.proto", "countersign/v1/key_verifier.proto"],
        ["proto", "third_party/proto"],
    )?;
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    std::fs::write(out.join("descriptors.binpb"), descriptors.encode_to_vec())?;

    tonic_prost_build::configure()
        .codec_path("crate::rpc::codec::MessageCodec")
        .extern_path(".google.rpc.Status", "::tonic_types::Status")
        // The one oneof that would store the smaller answer in the space of the larger.
        .boxed("countersign.v1.WatchAuditEventsResponse.message.event")
        // Labels come out sorted, so that replies and `{:?}` are the same every time.
        .btree_map(".countersign.v1")
        // What holds a secret gets a `Debug` by hand, which leaves it out: rpc::redact.
        .skip_debug([
            "countersign.v1.Credential",
            "countersign.v1.VerifyRequest",
            "countersign.v1.CreateKeyResponse",
            "countersign.v1.RotateKeyResponse",
        ])
        .compile_fds(descriptors)?;
    Ok(())
}
