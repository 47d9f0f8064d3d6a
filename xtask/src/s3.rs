//! A fake S3 on loopback: moto's server, pinned, from PyPI, with one bucket. It takes any
//! credentials and keeps what it gets in memory.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::{python, workspace};

const BUCKET: &str = "tannin-tests";
const START_MAX: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(100);

/// Hands `http://host:port/bucket` of an empty bucket to `work`, and stops the server afterwards.
pub(crate) fn with_fresh(work: impl FnOnce(&str) -> Result<()>) -> Result<()> {
    let python = prepare()?;
    let port = free_port()?;
    let log = workspace::cache("moto")?.join("moto.out");
    let out = File::create(&log).with_context(|| format!("creating {}", log.display()))?;
    let child = Command::new(&python)
        .args(["-m", "moto.server", "-H", "127.0.0.1", "-p"])
        .arg(port.to_string())
        .stdin(Stdio::null())
        .stdout(out.try_clone()?)
        .stderr(out)
        .spawn()
        .context("starting moto's server")?;
    let mut server = Server { child, port };
    server
        .make_bucket()
        .with_context(|| format!("see {}", log.display()))?;
    work(&format!("http://127.0.0.1:{port}/{BUCKET}"))
}

/// Python has moto, or gets it now.
pub(crate) fn prepare() -> Result<PathBuf> {
    let requirements = workspace::root().join("tests/s3/requirements.txt");
    python::with("moto", &requirements)
}

/// Killed when dropped.
struct Server {
    child: Child,
    port: u16,
}

impl Server {
    fn make_bucket(&mut self) -> Result<()> {
        let start = Instant::now();
        loop {
            match self.ask_for_bucket() {
                Ok(answer) => {
                    let made = answer.starts_with("HTTP/1.1 200");
                    ensure!(made, "moto does not make a bucket: {answer}");
                    let took = start.elapsed().as_secs_f32();
                    println!("moto's S3 on 127.0.0.1:{} after {took:.1} s", self.port);
                    return Ok(());
                }
                Err(error) if start.elapsed() > START_MAX => {
                    return Err(error).context("moto's server does not answer");
                }
                Err(_) => sleep(POLL),
            }
            if let Some(status) = self.child.try_wait()? {
                bail!("moto's server ended with {status}");
            }
        }
    }

    fn ask_for_bucket(&self) -> std::io::Result<String> {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port))?;
        stream.set_read_timeout(Some(START_MAX))?;
        let request = format!(
            "PUT /{BUCKET} HTTP/1.1\r\nHost: 127.0.0.1:{}\r\nContent-Length: 0\r\n\
             Connection: close\r\n\r\n",
            self.port
        );
        stream.write_all(request.as_bytes())?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Free now; moto cannot be told to take any port and say which.
fn free_port() -> Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("looking for a port")?;
    Ok(listener.local_addr()?.port())
}
