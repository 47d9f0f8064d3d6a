//! Environments of Python in the cache folder, each with exactly what a file of requirements pins.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::steps::sh;
use crate::{system, workspace};

const HINT: &str = "Python 3 with venv is needed; install python3-venv";

/// The interpreter of the environment `name`, which holds these requirements.
pub(crate) fn with(name: &str, requirements: &Path) -> Result<PathBuf> {
    let wanted = fs::read_to_string(requirements)
        .with_context(|| format!("reading {}", requirements.display()))?;
    let folder = workspace::cache(&format!("python/{name}"))?;
    let python = folder.join("bin/python");
    let stamp = folder.join(".installed");
    if fs::read_to_string(&stamp).ok().as_ref() == Some(&wanted) && python.exists() {
        return Ok(python);
    }
    println!("installing {}", wanted.trim().replace('\n', ", "));
    create(&folder)?;
    let file = requirements.to_string_lossy();
    sh(
        &python,
        &["-m", "pip", "install", "--quiet", "-r", &file],
        &folder,
    )?;
    fs::write(&stamp, wanted)?;
    Ok(python)
}

/// An empty environment in `folder`.
pub(crate) fn create(folder: &Path) -> Result<()> {
    if !can_make_venv() {
        system::install("python3-venv").context(HINT)?;
    }
    sh(
        "python3",
        &["-m", "venv", &folder.to_string_lossy()],
        folder,
    )
    .context(HINT)
}

/// Debian ships Python without what makes environments.
fn can_make_venv() -> bool {
    let output = Command::new("python3")
        .args(["-c", "import ensurepip"])
        .output();
    output.is_ok_and(|output| output.status.success())
}
