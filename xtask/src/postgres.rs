//! A real PostgreSQL on loopback, of Debian's packages: a fresh cluster with one superuser.
//!
//! PostgreSQL refuses to run as root: started by root, it runs as the user of the package, or as
//! `nobody`. What it keeps is in a folder below the system's temporary one, where that user may go.
//! It need not survive a power cut, so nothing is synced; a server that is killed loses nothing.

use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};

use crate::system;

const PACKAGE: &str = "postgresql-15";
/// Where Debian keeps the programs that are not for every user's path.
const PROGRAMS: &str = "/usr/lib/postgresql";
const USER: &str = "tannin";
/// Of a server that nobody else reaches; tests show that it is asked for.
const PASSWORD: &str = "a test's password";
const PASSWORD_IN_URL: &str = "a%20test%27s%20password";
/// Seconds for `pg_ctl`.
const PATIENCE: &str = "60";

/// Hands the address of a server without any database of ours to `work`, and removes it afterwards.
pub(crate) fn with_fresh(work: impl FnOnce(&str) -> Result<()>) -> Result<()> {
    prepare()?;
    let dir = std::env::temp_dir().join(format!("tannin-postgres-{}", std::process::id()));
    let port = free_port()?;
    up(port, &dir)?;
    let result = work(&url(port));
    let stopped = down(&dir).and_then(|()| {
        fs::remove_dir_all(&dir).with_context(|| format!("removing {}", dir.display()))
    });
    result.and(stopped)
}

/// The programs are there, or are installed now.
pub(crate) fn prepare() -> Result<PathBuf> {
    if let Some(found) = installed() {
        return Ok(found);
    }
    system::install(PACKAGE).context("there is no PostgreSQL")?;
    installed().with_context(|| format!("package {PACKAGE} brought no pg_ctl"))
}

/// The newest there is.
fn installed() -> Option<PathBuf> {
    let folders = fs::read_dir(PROGRAMS).ok()?.flatten();
    let versions = folders.filter_map(|folder| {
        let version: u32 = folder.file_name().to_str()?.parse().ok()?;
        let programs = folder.path().join("bin");
        programs
            .join("pg_ctl")
            .is_file()
            .then_some((version, programs))
    });
    versions.max().map(|(_, programs)| programs)
}

fn url(port: u16) -> String {
    format!("postgres://{USER}:{PASSWORD_IN_URL}@127.0.0.1:{port}/postgres")
}

fn free_port() -> Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    Ok(listener.local_addr()?.port())
}

/// Starts a server on `port` that keeps its data in `dir`; one that was there goes on with it.
pub(crate) fn up(port: u16, dir: &Path) -> Result<()> {
    let programs = prepare()?;
    let data = dir.join("data");
    if !data.exists() {
        create(&programs, dir)?;
    }
    if is_running(&programs, &data)? {
        println!("PostgreSQL on 127.0.0.1:{port}: {}", url(port));
        return Ok(());
    }
    let options = format!(
        "-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={} -c fsync=off \
         -c max_connections=200 -c shared_buffers=32MB",
        dir.display()
    );
    let log = dir.join("postgres.out");
    let mut start = unprivileged(&programs.join("pg_ctl"))?;
    start.arg("-D").arg(&data).arg("-l").arg(&log);
    start.args(["-w", "-t", PATIENCE, "-o", &options, "start"]);
    quietly(start).with_context(|| tail(&log))?;
    println!("PostgreSQL on 127.0.0.1:{port}: {}", url(port));
    Ok(())
}

fn is_running(programs: &Path, data: &Path) -> Result<bool> {
    let mut status = unprivileged(&programs.join("pg_ctl"))?;
    status
        .arg("-D")
        .arg(data)
        .arg("status")
        .stdout(Stdio::null());
    Ok(status.stdin(Stdio::null()).status()?.success())
}

/// Ends the server of `dir` without waiting for its clients. One that does not run is fine.
pub(crate) fn down(dir: &Path) -> Result<()> {
    let data = dir.join("data");
    if !data.join("postmaster.pid").exists() {
        return Ok(());
    }
    let mut stop = unprivileged(&prepare()?.join("pg_ctl"))?;
    stop.arg("-D").arg(&data);
    quietly_with(stop, &["-w", "-t", PATIENCE, "-m", "fast", "stop"])
}

fn create(programs: &Path, dir: &Path) -> Result<()> {
    fs::create_dir_all(dir).with_context(|| format!("creating {}", dir.display()))?;
    let password = dir.join("password");
    fs::write(&password, PASSWORD)?;
    if let Some(user) = other_user()? {
        let mut own = Command::new("chown");
        own.arg("-R").arg(user).arg(dir);
        quietly(own)?;
    }
    let mut initdb = unprivileged(&programs.join("initdb"))?;
    initdb
        .arg("-D")
        .arg(dir.join("data"))
        .arg("--pwfile")
        .arg(&password);
    let form = [
        "-U",
        USER,
        "-A",
        "scram-sha-256",
        "-E",
        "UTF8",
        "--locale=C",
    ];
    quietly_with(initdb, &[&form[..], &["--no-sync"]].concat())
}

/// As whom to run, if not as the one who runs this.
fn other_user() -> Result<Option<&'static str>> {
    let id = |args: &[&str]| Command::new("id").args(args).output();
    let own = id(&["-u"]).context("running id")?;
    if own.stdout.trim_ascii() != b"0" {
        return Ok(None);
    }
    let of_package = id(&["-u", "postgres"])?.status.success();
    Ok(Some(if of_package { "postgres" } else { "nobody" }))
}

fn unprivileged(program: &Path) -> Result<Command> {
    let mut command = match other_user()? {
        None => Command::new(program),
        Some(user) => {
            let mut command = Command::new("setpriv");
            command.args(["--reuid", user, "--init-groups"]);
            command.arg("--").arg(program);
            command
        }
    };
    command.current_dir(std::env::temp_dir());
    Ok(command)
}

fn quietly_with(mut command: Command, args: &[&str]) -> Result<()> {
    command.args(args);
    quietly(command)
}

/// What it prints is shown only when it fails.
fn quietly(mut command: Command) -> Result<()> {
    let name = command.get_program().to_owned();
    let name = Path::new(&name).display();
    // A server keeps what it inherits: its output must not be a pipe that somebody reads to its end.
    let said = tempfile()?;
    let status = command
        .stdin(Stdio::null())
        .stdout(said.1.try_clone()?)
        .stderr(said.1)
        .status()
        .with_context(|| format!("running {name}"))?;
    let text = fs::read_to_string(&said.0).unwrap_or_default();
    let _ = fs::remove_file(&said.0);
    ensure!(status.success(), "{name} ended with {status}:\n{text}");
    Ok(())
}

fn tempfile() -> Result<(PathBuf, fs::File)> {
    let id = std::process::id();
    for n in 0_u32.. {
        let path = std::env::temp_dir().join(format!("tannin-postgres-{id}-{n}.out"));
        match fs::File::create_new(&path) {
            Ok(file) => return Ok((path, file)),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(error) => {
                return Err(error).with_context(|| format!("creating {}", path.display()));
            }
        }
    }
    bail!(
        "no name is free for a file in {}",
        std::env::temp_dir().display()
    )
}

fn tail(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(20)..].join("\n")
}
