//! Clients that users have, as they are published, against the real binary.

use std::fs;
use std::process::Command;

use anyhow::{Result, ensure};

use crate::quickstart::Quickstart;
use crate::{python, steps, workspace};

pub(crate) fn pinotdb() -> Result<()> {
    let folder = workspace::root().join("tests/clients");
    let python = python::with("clients", &folder.join("requirements.txt"))?;
    let cache = workspace::cache("clients")?;
    let data = cache.join("data");
    // A run that was interrupted may have left it.
    let _ = fs::remove_dir_all(&data);
    let mut node = Quickstart::start(&data, &cache.join("quickstart.log"))?;
    let addresses = node.wait_ready()?;
    let mut script = Command::new(python);
    script
        .arg(folder.join("pinotdb_client.py"))
        .arg(format!("http://{}", addresses.broker))
        .arg(format!("http://{}", addresses.controller));
    let asked = steps::exec(&mut script);
    let ended = node.stop()?;
    asked?;
    ensure!(
        ended.success(),
        "quickstart ended with {ended} after SIGTERM"
    );
    fs::remove_dir_all(&data)?;
    Ok(())
}
