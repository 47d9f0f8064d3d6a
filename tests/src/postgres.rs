//! A real PostgreSQL that a test stops and starts. `cargo xtask test` says which program does it.

use std::io::Write;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, ensure};

/// The program `cargo xtask` itself.
const XTASK_VARIABLE: &str = "TEST_XTASK";

#[derive(Debug)]
pub struct Postgres {
    xtask: PathBuf,
    folder: tempfile::TempDir,
    port: u16,
}

impl Postgres {
    /// Without the variable the terminal says that the test did not run, past the test harness,
    /// which hides what passing tests print.
    pub fn start(test: &str) -> Result<Option<Self>> {
        let Some(xtask) = std::env::var_os(XTASK_VARIABLE).filter(|path| !path.is_empty()) else {
            // A closed terminal is no reason to fail.
            let _ = writeln!(
                std::io::stderr(),
                "NOT RUN: {test} needs a PostgreSQL; `cargo xtask test` sets {XTASK_VARIABLE}"
            );
            return Ok(None);
        };
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let server = Self {
            xtask: xtask.into(),
            folder: tempfile::tempdir()?,
            port,
        };
        server.up()?;
        Ok(Some(server))
    }

    /// Its address, with the name of a database that is there.
    pub fn up(&self) -> Result<String> {
        let said = self.run(&["up", &self.port.to_string()])?;
        let url = said.trim().split_once(": ").map(|(_, url)| url.to_owned());
        url.with_context(|| format!("no address in `{said}`"))
    }

    /// Ends it, with all connections.
    pub fn down(&self) -> Result<()> {
        self.run(&["down"]).map(|_| ())
    }

    fn run(&self, args: &[&str]) -> Result<String> {
        let mut command = Command::new(&self.xtask);
        command.arg("postgres").args(args).arg(self.folder.path());
        let output = command.output().context("running cargo xtask")?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{args:?}: {said}");
        Ok(String::from_utf8(output.stdout)?)
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        if let Err(error) = self.down() {
            eprintln!("a PostgreSQL may still run: {error:#}");
        }
    }
}
