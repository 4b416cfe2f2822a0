//! The messages of package `vipfence.v1` and, with the feature `services`, the clients and servers
//! of its services. The `.proto` files are the documentation; nothing is decided here.

/// Package `vipfence.v1`.
#[allow(
    missing_docs,
    unreachable_pub,
    clippy::all,
    clippy::allow_attributes_without_reason,
    clippy::large_futures,
    reason = "generated code; its documentation is in the .proto files"
)]
pub mod v1 {
    include!(concat!(env!("OUT_DIR"), "/vipfence.v1.rs"));
}

/// The encoded `FileDescriptorSet` of the package, its imports included.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/vipfence.binpb"));
