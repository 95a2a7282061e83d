//! What the build generates from `proto/countersign/v1` and `third_party/proto`: messages, clients and server traits.

#![allow(
    missing_docs,
    clippy::all,
    clippy::pedantic,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::allow_attributes_without_reason,
    reason = "generated code keeps its generator's habits"
)]

tonic::include_proto!("countersign.v1");

/// What gateways speak: `envoy.service.auth.v3`, and what it is made of.
pub mod gateway {
    include!(concat!(env!("OUT_DIR"), "/gateway.rs"));
}

/// The whole contract and Envoy's with their comments, as `google.protobuf.FileDescriptorSet`: what reflection serves.
pub const FILE_DESCRIPTOR_SET: &[u8] =
    include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.binpb"));
