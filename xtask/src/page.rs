//! The page in a real browser against the real binary: quickstart, Chromium, one script.

use std::fs;
use std::path::PathBuf;

use anyhow::{Result, ensure};

use crate::node::Web;
use crate::quickstart::Quickstart;
use crate::{steps, system, workspace};

const CHROMIUM: &[&str] = &["chromium", "chromium-browser", "google-chrome"];

/// Dist as it is built now must be dist as it is committed: the binary embeds the latter.
pub(crate) fn check_dist(web: &Web) -> Result<()> {
    web.npm(&["run", "--silent", "build"])?;
    for file in ["index.html", "assets/app.js", "assets/app.css"] {
        let built = fs::read(web.folder.join("dist").join(file))?;
        let committed = fs::read(workspace::root().join("web/dist").join(file))?;
        ensure!(
            built == committed,
            "web/dist/{file} is not what web/ builds: run `npm ci && npm run build` in web/ and \
             commit web/dist"
        );
    }
    Ok(())
}

pub(crate) fn chromium() -> Result<PathBuf> {
    system::program(CHROMIUM, "chromium")
}

pub(crate) fn browse(web: &Web) -> Result<()> {
    let chromium = chromium()?;
    let folder = workspace::cache("page")?;
    let data = folder.join("data");
    let _ = fs::remove_dir_all(&data);
    let mut node = Quickstart::start(&data, &folder.join("quickstart.log"), &[])?;
    let broker = node.wait_ready()?.broker;
    let screenshot = folder.join("page.png");
    let mut script = web.command("node");
    script
        .args(["e2e/page.mjs", &format!("http://{broker}"), "--screenshot"])
        .arg(&screenshot)
        .arg("--chromium")
        .arg(chromium);
    let browsed = steps::exec(&mut script);
    let ended = node.stop()?;
    browsed?;
    ensure!(
        ended.success(),
        "quickstart ended with {ended} after SIGTERM"
    );
    println!("screenshot: {}", screenshot.display());
    fs::remove_dir_all(&data)?;
    Ok(())
}
