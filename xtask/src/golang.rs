//! Programs written in Go, pinned, built once into the cache by the `go` that is there.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};

use crate::{steps, workspace};

/// `package` in `version`, for example `helm.sh/helm/v3/cmd/helm` in `v3.22.0`.
pub(crate) fn program(package: &str, version: &str) -> Result<PathBuf> {
    let name = package.rsplit('/').next().unwrap_or(package);
    let folder = workspace::cache(&format!("go/{name}-{version}"))?;
    let program = folder.join(name);
    if program.exists() {
        return Ok(program);
    }
    println!("building {name} {version}: some minutes, once");
    let mut install = Command::new("go");
    install
        .args(["install", &format!("{package}@{version}")])
        .env("GOBIN", &folder)
        .current_dir(&folder);
    steps::exec(&mut install)
        .with_context(|| format!("{name} is built from its source: install Go 1.24 or newer"))?;
    Ok(program)
}
