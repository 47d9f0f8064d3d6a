//! Where things are: the checkout, the cache outside of it, the files that belong to the project.
//!
//! Everything that a command installs or builds beside cargo's target folder lies under [`cache`];
//! deleting that folder costs time and nothing else.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

/// The root of the checkout that this xtask was built from.
pub(crate) fn root() -> PathBuf {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest.parent().unwrap_or(manifest).to_owned()
}

/// Cargo as it runs outside of this program: what `cargo run` says of this package would make it
/// build whatever asks for that again (`ring` does), and nearly all else after it.
pub(crate) fn cargo() -> Command {
    let mut cargo = Command::new(env!("CARGO"));
    for (name, _) in env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
            cargo.env_remove(&name);
        }
    }
    cargo
}

/// `${XDG_CACHE_HOME:-~/.cache}/tannin/{name}`, created.
pub(crate) fn cache(name: &str) -> Result<PathBuf> {
    let base = match env::var_os("XDG_CACHE_HOME") {
        Some(folder) if !folder.is_empty() => PathBuf::from(folder),
        _ => {
            let home = env::var_os("HOME").context("neither XDG_CACHE_HOME nor HOME is set")?;
            Path::new(&home).join(".cache")
        }
    };
    let folder = base.join("tannin").join(name);
    std::fs::create_dir_all(&folder).with_context(|| format!("creating {}", folder.display()))?;
    Ok(folder)
}

/// Cargo's target folder of this run: where the running xtask itself lies.
pub(crate) fn target() -> Result<PathBuf> {
    let own = env::current_exe().context("where this program lies")?;
    let target = own.parent().and_then(Path::parent);
    Ok(target
        .context("this program lies in no target folder")?
        .to_owned())
}

/// Files that are tracked or would be, relative to the root, sorted.
pub(crate) fn files() -> Result<Vec<String>> {
    let output = Command::new("git")
        .args([
            "ls-files",
            "-z",
            "--cached",
            "--others",
            "--exclude-standard",
        ])
        .current_dir(root())
        .output()
        .context("running git ls-files")?;
    ensure!(output.status.success(), "git ls-files failed");
    let list = String::from_utf8(output.stdout).context("a file name is not UTF-8")?;
    let mut files: Vec<String> = list
        .split('\0')
        .filter(|name| !name.is_empty() && root().join(name).is_file())
        .map(str::to_owned)
        .collect();
    files.sort();
    files.dedup();
    Ok(files)
}

/// Folders with a Cargo.toml, relative to the root.
pub(crate) fn crates() -> Result<Vec<String>> {
    let manifests = files()?.into_iter().filter_map(|file| {
        let folder = file.strip_suffix("/Cargo.toml")?;
        Some(folder.to_owned())
    });
    Ok(manifests.collect())
}

/// The parsed Cargo.toml of a folder.
pub(crate) fn manifest(folder: &str) -> Result<toml::Table> {
    let path = root().join(folder).join("Cargo.toml");
    let text = std::fs::read_to_string(&path).with_context(|| format!("{}", path.display()))?;
    text.parse().with_context(|| format!("{}", path.display()))
}
