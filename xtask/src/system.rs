//! Programs of the system that the tests need: found on the path, else installed from Debian's
//! packages where that is possible, or taken out of one. What neither is there nor can be had is an
//! error that names the package.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::{steps, workspace};

/// The first of `programs` that is there, after an attempt to install `package`.
pub(crate) fn program(programs: &[&str], package: &str) -> Result<PathBuf> {
    if let Some(found) = on_path(programs) {
        return Ok(found);
    }
    install(package).with_context(|| format!("there is no {}", programs[0]))?;
    match on_path(programs) {
        Some(found) => Ok(found),
        None => bail!(
            "package {package} is installed, but brought no {}",
            programs[0]
        ),
    }
}

fn on_path(programs: &[&str]) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    programs.iter().find_map(|name| {
        let mut places = std::env::split_paths(&path).map(|folder| folder.join(name));
        places.find(|place| place.is_file())
    })
}

/// A program out of one of Debian's packages that is not installed: its services would start.
pub(crate) fn unpacked(package: &str, path: &str) -> Result<PathBuf> {
    let folder = workspace::cache(&format!("debian/{package}"))?;
    let program = folder.join(path);
    if program.is_file() {
        return Ok(program);
    }
    let name = path.rsplit('/').next().unwrap_or(path);
    if let Some(found) = on_path(&[name]) {
        return Ok(found);
    }
    if on_path(&["apt-get", "dpkg-deb"]).is_none() {
        bail!("there is no {name}: put it on the path; Debian has it in the package {package}");
    }
    steps::sh("apt-get", &["download", "-qq", package], &folder)?;
    let mut found = std::fs::read_dir(&folder)?.flatten().map(|one| one.path());
    let file = found.find(|path| path.extension().is_some_and(|ending| ending == "deb"));
    let file = file.with_context(|| format!("apt-get brought no package {package}"))?;
    steps::sh("dpkg-deb", &["-x", &file.to_string_lossy(), "."], &folder)?;
    std::fs::remove_file(file)?;
    if !program.is_file() {
        bail!("the package {package} has no {path}");
    }
    Ok(program)
}

pub(crate) fn install(package: &str) -> Result<()> {
    if on_path(&["apt-get"]).is_none() {
        bail!("install {package} with your system's package manager");
    }
    let id = Command::new("id")
        .arg("-u")
        .output()
        .context("running id")?;
    let is_root = id.stdout.trim_ascii() == b"0";
    let command = |args: &[&str]| {
        let mut command = match is_root {
            true => Command::new("apt-get"),
            false => {
                let mut sudo = Command::new("sudo");
                sudo.args(["-n", "apt-get"]);
                sudo
            }
        };
        command.args(args).env("DEBIAN_FRONTEND", "noninteractive");
        command
    };
    let by_hand = || format!("apt-get install {package}");
    steps::exec(&mut command(&["update", "-qq"])).with_context(by_hand)?;
    let install = ["install", "-y", "-qq", "--no-install-recommends", package];
    steps::exec(&mut command(&install)).with_context(by_hand)
}
