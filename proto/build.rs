//! Compiles the `.proto` files with protox: no protoc is needed.

use std::{env, fs, path::PathBuf};

use prost::Message as _;

const FILES: [&str; 3] =
    ["vipfence/v1/vip.proto", "vipfence/v1/cluster.proto", "vipfence/v1/internal.proto"];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=vipfence");
    let services = env::var_os("CARGO_FEATURE_SERVICES").is_some();
    let descriptors = protox::compile(FILES, ["."])?;
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or("cargo sets OUT_DIR")?);
    // Server reflection and the JSON output of the command line read these.
    fs::write(out.join("vipfence.binpb"), descriptors.encode_to_vec())?;
    tonic_prost_build::configure()
        .build_server(services)
        .build_client(services)
        .compile_fds(descriptors)?;
    Ok(())
}
