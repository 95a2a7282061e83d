//! Compiles `proto/` with protox, so that no protoc is needed on the machine.

#![allow(
    clippy::disallowed_macros,
    clippy::disallowed_methods,
    reason = "a build script speaks to cargo, through its output and environment"
)]

use std::error::Error;
use std::path::PathBuf;

use prost::Message as _;

/// Packages of the messages that gateways send.
const GATEWAYS: [&str; 4] =
    ["envoy.config.core.v3", "envoy.service.auth.v3", "envoy.type.v3", "xds.core.v3"];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=proto");
    println!("cargo::rerun-if-changed=third_party/proto");

    let descriptors = protox::compile(
        [
            "countersign/v1/key_admin.proto",
            "countersign/v1/key_verifier.proto",
            "envoy/service/auth/v3/external_auth.proto",
        ],
        ["proto", "third_party/proto"],
    )?;
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    std::fs::write(out.join("descriptors.binpb"), descriptors.encode_to_vec())?;

    let (mut gateways, mut ours) = (descriptors.clone(), descriptors);
    let of_google = |package: &str| package.starts_with("google.");
    gateways.file.retain(|file| of_google(file.package()) || GATEWAYS.contains(&file.package()));
    // Without their comments: the examples in them would be taken for tests of ours.
    gateways.file.iter_mut().for_each(|file| file.source_code_info = None);
    ours.file.retain(|file| of_google(file.package()) || file.package() == "countersign.v1");
    tonic_prost_build::configure()
        .codec_path("crate::rpc::codec::MessageCodec")
        .extern_path(".google.rpc.Status", "::tonic_types::Status")
        // The headers of a request hold its credential: rpc::redact.
        .skip_debug([
            "envoy.config.core.v3.HeaderValue",
            "envoy.service.auth.v3.AttributeContext.HttpRequest",
        ])
        .include_file("gateway.rs")
        .compile_fds(gateways)?;
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
        .compile_fds(ours)?;
    Ok(())
}
