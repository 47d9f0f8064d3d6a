//! Rust code of `schemas/proto`, committed: a normal build needs neither protoc nor this.
//!
//! Messages go to `schemas`, the two services to `rpc`, which refers to the messages of `schemas`.

use anyhow::Result;

#[cfg(not(feature = "codegen"))]
pub(crate) fn run() -> Result<()> {
    anyhow::bail!("run it as: cargo run -p xtask --features codegen -- codegen")
}

#[cfg(feature = "codegen")]
pub(crate) fn run() -> Result<()> {
    use crate::workspace::root;

    let proto = root().join("schemas/proto");
    let files = protox::compile(
        ["cluster.proto", "control.proto", "fragments.proto"],
        [&proto],
    )?;
    let messages = std::env::temp_dir().join(format!("tannin-codegen-{}", std::process::id()));
    let services = messages.join("services");
    std::fs::create_dir_all(&services)?;
    tonic_prost_build::configure()
        .build_client(false)
        .build_server(false)
        .bytes(".")
        .out_dir(&messages)
        .compile_fds(files.clone())?;
    tonic_prost_build::configure()
        .extern_path(".tannin.v1", "::schemas::proto")
        .out_dir(&services)
        .compile_fds(files)?;
    let name = "tannin.v1.rs";
    for (from, to) in [
        (
            messages.join(name),
            root().join("schemas/src/proto").join(name),
        ),
        (
            services.join(name),
            root().join("crates/rpc/src/generated").join(name),
        ),
    ] {
        std::fs::copy(&from, &to)?;
        println!("wrote {}", to.display());
    }
    std::fs::remove_dir_all(&messages)?;
    Ok(())
}
