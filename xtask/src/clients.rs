//! Programs in Python against the real binary: clients of Pinot and of Kafka as they are published,
//! and TPC-H.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Result, ensure};

use crate::quickstart::{Addresses, Quickstart};
use crate::{kafka, python, steps, workspace};

pub(crate) fn pinotdb() -> Result<()> {
    let folder = workspace::root().join("tests/clients");
    let python = python::with("clients", &folder.join("requirements.txt"))?;
    with_node("clients", &["--events-per-second=0"], |addresses| {
        let mut script = Command::new(&python);
        script
            .arg(folder.join("pinotdb_client.py"))
            .arg(format!("http://{}", addresses.broker))
            .arg(format!("http://{}", addresses.controller));
        script
    })?;
    let mut script = Command::new(python);
    script.arg(folder.join("guarded.py")).arg(binary()?);
    script.arg("pinotdb");
    steps::exec(&mut script)
}

fn binary() -> Result<PathBuf> {
    Ok(workspace::target()?.join("debug/tannin"))
}

/// Clients of Kafka as they are published against the built-in log: the Python one, and the console
/// programs.
pub(crate) fn kafka_clients() -> Result<()> {
    kafka::prepare()?;
    let tools = kafka::tools()?;
    let folder = workspace::root().join("tests/kafka");
    let python = python::with("kafka-clients", &folder.join("requirements.txt"))?;
    let empty = ["--empty", "--events-per-second=0"];
    with_node("kafka-clients", &empty, |addresses| {
        let mut script = Command::new(python);
        script
            .arg(folder.join("kafka_clients.py"))
            .arg(&addresses.log)
            .arg(tools);
        script
    })
}

/// The project's own package, against a running node.
pub(crate) fn package() -> Result<()> {
    let folder = workspace::root().join("tests/clients");
    let python = python::with("package", &folder.join("package-requirements.txt"))?;
    with_node("package", &["--events-per-second=0"], |addresses| {
        let mut script = Command::new(&python);
        script
            .arg(folder.join("tannin_package.py"))
            .arg(format!("http://{}", addresses.broker))
            .arg(format!("http://{}", addresses.controller))
            .arg(workspace::root().join("clients/python"));
        script
    })?;
    let mut script = Command::new(python);
    script.arg(folder.join("guarded.py")).arg(binary()?);
    script.arg("package");
    script.arg(workspace::root().join("clients/python"));
    steps::exec(&mut script)
}

/// TPC-H's and SSB's statements, with DuckDB's answers.
pub(crate) fn tpch() -> Result<()> {
    let folder = workspace::root().join("tests/tpch");
    let python = python::with("tpch", &folder.join("requirements.txt"))?;
    let rows = workspace::cache("tpch-rows")?;
    let tannin = binary()?;
    let empty = ["--empty", "--events-per-second=0"];
    with_node("tpch", &empty, |addresses| {
        let mut script = Command::new(&python);
        script
            .arg(folder.join("tpch.py"))
            .arg(format!("http://{}", addresses.broker))
            .arg(format!("http://{}", addresses.controller))
            .args([&tannin, &rows]);
        script
    })?;
    // Whatever can be is made between three servers.
    let mut script = Command::new(&python);
    script.arg(folder.join("tpch.py")).args([&tannin, &rows]);
    script.args(["--servers=3", "--scale=0.01", "--options=useExchanges=true"]);
    steps::exec(&mut script)
}

/// Runs what `script` makes of the addresses of a node.
fn with_node(
    name: &str,
    arguments: &[&str],
    script: impl FnOnce(&Addresses) -> Command,
) -> Result<()> {
    let cache = workspace::cache(name)?;
    let data = cache.join("data");
    // A run that was interrupted may have left it.
    let _ = fs::remove_dir_all(&data);
    let mut node = Quickstart::start(&data, &cache.join("quickstart.log"), arguments)?;
    let addresses = node.wait_ready()?;
    let asked = steps::exec(&mut script(&addresses));
    let ended = node.stop()?;
    asked?;
    ensure!(
        ended.success(),
        "quickstart ended with {ended} after SIGTERM"
    );
    fs::remove_dir_all(&data)?;
    Ok(())
}
