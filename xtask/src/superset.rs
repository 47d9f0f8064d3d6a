//! Apache Superset, as it is published, against the real binary: connected, our dashboard imported,
//! shown in Chromium, and its numbers compared.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::node::Web;
use crate::quickstart::Quickstart;
use crate::{page, python, steps, workspace};

/// It makes a hundred tables first: 40 s on an idle machine.
const READY_MAX: Duration = Duration::from_secs(600);
/// Flights only of the past: an answer is the same a second later.
const NOTHING_NEW: &[&str] = &["--events-per-second", "0"];

pub(crate) fn dashboard() -> Result<()> {
    let web = Web::prepare()?;
    let chromium = page::chromium()?;
    let deployed = workspace::root().join("deploy/superset");
    let python = python::with("superset", &deployed.join("requirements.txt"))?;
    let folder = workspace::cache("superset")?;
    let data = folder.join("data");
    // A run that was interrupted may have left them.
    let _ = fs::remove_dir_all(&data);
    let _ = fs::remove_dir_all(folder.join("home"));
    let log = folder.join("quickstart.log");
    let mut node = Quickstart::start(&data, &log, NOTHING_NEW)?;
    let nodes = node.wait_ready()?;
    let mut superset = Superset::start(&python, &deployed, &folder)?;
    let url = superset.wait_ready()?;

    let script = |name: &str| {
        let mut command = Command::new(&python);
        let path = workspace::root().join("tests/superset").join(name);
        command.arg(path).args([&url, &nodes.broker]);
        command
    };
    let answers = folder.join("answers.json");
    let screenshot = folder.join("superset.png");
    steps::exec(script("connect.py").arg(&nodes.controller))?;
    let mut browse = web.command("node");
    browse.args(["e2e/superset.mjs", &url, "--dashboard", "flights"]);
    browse.arg("--answers").arg(&answers);
    browse.arg("--screenshot").arg(&screenshot);
    steps::exec(browse.arg("--chromium").arg(chromium))?;
    println!("screenshot: {}", screenshot.display());
    steps::exec(script("charts.py").arg(&answers))?;

    drop(superset);
    let ended = node.stop()?;
    ensure!(
        ended.success(),
        "quickstart ended with {ended} after SIGTERM"
    );
    fs::remove_dir_all(&data)?;
    Ok(())
}

/// A Superset of its own, killed when dropped.
struct Superset {
    child: Child,
    port: u16,
    log: String,
}

impl Superset {
    fn start(python: &Path, deployed: &Path, folder: &Path) -> Result<Self> {
        let port = free_port()?;
        let log = folder.join("superset.log");
        let out = fs::File::create(&log)?;
        let child = Command::new(python)
            .arg(deployed.join("serve.py"))
            .arg("--home")
            .arg(folder.join("home"))
            .args(["--port", &port.to_string()])
            .stdin(Stdio::null())
            .stdout(out.try_clone()?)
            .stderr(out)
            .spawn()
            .context("starting Superset")?;
        let log = log.display().to_string();
        Ok(Self { child, port, log })
    }

    /// It listens when everything else is done.
    fn wait_ready(&mut self) -> Result<String> {
        let start = Instant::now();
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            if let Some(status) = self.child.try_wait()? {
                bail!("Superset ended with {status}; see {}", self.log);
            }
            ensure!(
                start.elapsed() < READY_MAX,
                "Superset does not listen after {READY_MAX:?}; see {}",
                self.log
            );
            sleep(Duration::from_millis(100));
        }
        println!("Superset listens after {:.0?}", start.elapsed());
        Ok(format!("http://127.0.0.1:{}", self.port))
    }
}

impl Drop for Superset {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Free now; Superset cannot be told to take any port and say which.
fn free_port() -> Result<u16> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).context("looking for a free port")?;
    Ok(listener.local_addr()?.port())
}
