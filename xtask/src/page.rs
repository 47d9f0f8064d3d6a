//! The page in a real browser against the real binary: quickstart, Chromium, one script.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::node::Web;
use crate::{steps, system, workspace};

const READY_MAX: Duration = Duration::from_secs(120);
const STOP_MAX: Duration = Duration::from_secs(20);
const CHROMIUM: &[&str] = &["chromium", "chromium-browser", "google-chrome"];
/// A free port for every listener: tests never meet a node of the developer.
const FREE_PORTS: &[&str] = &[
    "controller.http_port=0",
    "controller.grpc_port=0",
    "broker.http_port=0",
    "server.http_port=0",
    "server.grpc_port=0",
    "minion.http_port=0",
    "log.port=0",
];

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

pub(crate) fn browse(web: &Web) -> Result<()> {
    let chromium = system::program(CHROMIUM, "chromium")?;
    let folder = workspace::cache("page")?;
    let data = folder.join("data");
    let _ = fs::remove_dir_all(&data);
    let mut node = Quickstart::start(&data, &folder.join("quickstart.log"))?;
    let broker = node.wait_ready()?;
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

/// The real binary, killed when dropped.
struct Quickstart {
    child: Child,
    data: PathBuf,
    log: PathBuf,
}

impl Quickstart {
    fn start(data: &Path, log: &Path) -> Result<Self> {
        let binary = workspace::target()?.join("debug/tannin");
        let out = fs::File::create(log)?;
        let settings = FREE_PORTS.iter().flat_map(|setting| ["--set", setting]);
        let child = Command::new(&binary)
            .args(["quickstart", "--data-dir"])
            .arg(data)
            .args(settings)
            .stdin(Stdio::null())
            .stdout(out.try_clone()?)
            .stderr(out)
            .spawn()
            .with_context(|| format!("starting {}", binary.display()))?;
        Ok(Self {
            child,
            data: data.to_owned(),
            log: log.to_owned(),
        })
    }

    /// The broker's address, from `ports.json`; the script itself waits for tables and rows.
    fn wait_ready(&mut self) -> Result<String> {
        let start = Instant::now();
        loop {
            let ports = fs::read(self.data.join("ports.json")).unwrap_or_default();
            let ports: serde_json::Value = serde_json::from_slice(&ports).unwrap_or_default();
            if let Some(address) = ports["broker_http"].as_str() {
                return Ok(address.to_owned());
            }
            if let Some(status) = self.child.try_wait()? {
                bail!("quickstart ended with {status}; see {}", self.log.display());
            }
            if start.elapsed() > READY_MAX {
                bail!(
                    "no ports.json after {READY_MAX:?}; see {}",
                    self.log.display()
                );
            }
            sleep(Duration::from_millis(50));
        }
    }

    fn stop(&mut self) -> Result<ExitStatus> {
        Command::new("kill")
            .arg(self.child.id().to_string())
            .status()?;
        let start = Instant::now();
        while start.elapsed() < STOP_MAX {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            sleep(Duration::from_millis(50));
        }
        bail!(
            "quickstart still runs {STOP_MAX:?} after SIGTERM; see {}",
            self.log.display()
        )
    }
}

impl Drop for Quickstart {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
