//! Makes the stubs of the descriptor set that comes with the repository, so that no protoc is needed.

use prost::Message;

const DESCRIPTOR_SET: &str = "../../gen/imagevariations.binpb";

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed={DESCRIPTOR_SET}");
    let bytes = std::fs::read(DESCRIPTOR_SET)?;
    let descriptors = prost_types::FileDescriptorSet::decode(bytes.as_slice())?;
    // Images are passed on without being copied.
    tonic_prost_build::configure().build_server(false).bytes(".").include_file("protos.rs").compile_fds(descriptors)?;
    Ok(())
}
