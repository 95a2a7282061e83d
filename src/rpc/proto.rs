//! What the build generates from `proto/countersign/v1`: messages, clients and server traits.

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

/// The whole contract with its comments, as `google.protobuf.FileDescriptorSet`: what reflection serves.
pub const FILE_DESCRIPTOR_SET: &[u8] =
    include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.binpb"));
