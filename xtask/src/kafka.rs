//! A real Apache Kafka on loopback: one node, KRaft, pinned, from Maven Central.
//!
//! `up` may be called again: a node that runs for the folder is left alone, its data is kept. A
//! node is only ever stopped when its command line names the folder: a reused process id is safe.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::{system, workspace};

const KAFKA: &str = "4.4.0";
const SLF4J: &str = "1.7.36";
const START_MAX: Duration = Duration::from_secs(60);
const STOP_MAX: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(100);

/// Of the node that tests use, which have the machine for themselves.
const TEST_PORT: u16 = 19_392;

/// Hands `host:port` of a node without any topic to `work`, and stops it afterwards.
pub(crate) fn with_fresh(work: impl FnOnce(&str) -> Result<()>) -> Result<()> {
    prepare()?;
    let dir = folder()?;
    // An interrupted run may have left its node behind.
    down(&dir)?;
    fs::remove_dir_all(&dir).with_context(|| format!("emptying {}", dir.display()))?;
    up(TEST_PORT, &dir)?;
    let result = work(&format!("127.0.0.1:{TEST_PORT}"));
    let stopped = down(&dir);
    result.and(stopped)
}

/// Where the node that tests use keeps its data.
pub(crate) fn folder() -> Result<PathBuf> {
    workspace::cache("kafka-data")
}

/// Java and Maven are there, or are installed now.
pub(crate) fn prepare() -> Result<()> {
    system::program(&["java"], "default-jre-headless")?;
    system::program(&["mvn"], "maven")?;
    Ok(())
}

pub(crate) fn up(port: u16, dir: &Path) -> Result<()> {
    fs::create_dir_all(dir).with_context(|| format!("creating {}", dir.display()))?;
    let dir = dir.canonicalize()?;
    let lock = File::create(dir.join(".lock"))?;
    lock.lock()
        .context("waiting for another start on the same folder")?;
    let classpath = format!("{}/*", libraries()?.display());
    let start = Instant::now();
    let mut child = None;
    if running(&dir).is_none() {
        fs::write(dir.join("server.properties"), properties(port, &dir))?;
        format_storage(&dir, &classpath)?;
        child = Some(spawn(&dir, &classpath)?);
    }
    while !(answers(port) && started(&dir)) {
        // A process that has only just begun has no command line yet: of our own child we know
        // better.
        let ended = match &mut child {
            Some(child) => child.try_wait()?.is_some(),
            None => running(&dir).is_none(),
        };
        if ended {
            bail!(
                "Kafka ended while it started:\n{}",
                tail(&dir.join("kafka.out"))
            );
        }
        if start.elapsed() > START_MAX {
            bail!(
                "Kafka is not ready after {START_MAX:?}:\n{}",
                tail(&dir.join("kafka.out"))
            );
        }
        sleep(POLL);
    }
    println!(
        "Kafka {KAFKA} on 127.0.0.1:{port} after {:.1} s",
        start.elapsed().as_secs_f32()
    );
    Ok(())
}

pub(crate) fn down(dir: &Path) -> Result<()> {
    let Ok(dir) = dir.canonicalize() else {
        return Ok(());
    };
    let start = Instant::now();
    let mut signal = "-TERM";
    while let Some(pid) = running(&dir) {
        if start.elapsed() > STOP_MAX {
            signal = "-KILL";
        }
        if signal == "-KILL" || start.elapsed() < POLL {
            let status = Command::new("kill")
                .args([signal, &pid.to_string()])
                .status()?;
            ensure!(
                status.success() || running(&dir).is_none(),
                "cannot stop process {pid}"
            );
        }
        sleep(POLL);
    }
    let _ = fs::remove_file(dir.join("pid"));
    Ok(())
}

/// The jars of a node.
fn libraries() -> Result<PathBuf> {
    jars(&format!("kafka-{KAFKA}"), "kafka_2.13")
}

/// The jars of the command-line programs, such as the console producer.
pub(crate) fn tools() -> Result<PathBuf> {
    jars(&format!("kafka-tools-{KAFKA}"), "kafka-tools")
}

/// The jars of one of Kafka's artifacts, loaded once by Maven, which checks their checksums.
fn jars(folder: &str, name: &str) -> Result<PathBuf> {
    let folder = workspace::cache(folder)?;
    let libraries = folder.join("lib");
    let stamp = folder.join(".installed");
    if stamp.exists() {
        return Ok(libraries);
    }
    println!(
        "loading {name} {KAFKA} from Maven Central into {}",
        folder.display()
    );
    let artifact = |group: &str, name: &str, version: &str| {
        format!(
            "<dependency><groupId>{group}</groupId><artifactId>{name}</artifactId>\
             <version>{version}</version></dependency>"
        )
    };
    let pom = format!(
        "<project><modelVersion>4.0.0</modelVersion><groupId>tannin.peers</groupId>\
         <artifactId>kafka</artifactId><version>1</version><packaging>pom</packaging>\
         <dependencies>{}{}</dependencies></project>\n",
        artifact("org.apache.kafka", name, KAFKA),
        artifact("org.slf4j", "slf4j-simple", SLF4J),
    );
    fs::write(folder.join("pom.xml"), pom)?;
    let _ = fs::remove_dir_all(&libraries);
    let output = Command::new("mvn")
        .args(["-q", "-B", "-f", "pom.xml", "dependency:copy-dependencies"])
        .args(["-DincludeScope=runtime", "-DoutputDirectory=lib"])
        .current_dir(&folder)
        .stdin(Stdio::null())
        .output()
        .context("running mvn; a real Kafka needs Java 17 and Maven")?;
    if !output.status.success() {
        bail!("mvn failed:\n{}", String::from_utf8_lossy(&output.stdout));
    }
    fs::write(stamp, KAFKA)?;
    Ok(libraries)
}

fn properties(port: u16, dir: &Path) -> String {
    let controller = port + 1;
    let listeners = format!("PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}");
    format!(
        "process.roles=broker,controller\n\
         node.id=1\n\
         listeners={listeners}\n\
         advertised.listeners={listeners}\n\
         controller.listener.names=CONTROLLER\n\
         controller.quorum.bootstrap.servers=127.0.0.1:{controller}\n\
         inter.broker.listener.name=PLAINTEXT\n\
         listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT\n\
         log.dirs={}/log\n\
         num.partitions=1\n\
         offsets.topic.replication.factor=1\n\
         offsets.topic.num.partitions=4\n\
         transaction.state.log.replication.factor=1\n\
         transaction.state.log.min.isr=1\n\
         transaction.state.log.num.partitions=4\n\
         share.coordinator.state.topic.replication.factor=1\n\
         share.coordinator.state.topic.min.isr=1\n\
         share.coordinator.state.topic.num.partitions=1\n\
         group.initial.rebalance.delay.ms=0\n\
         log.segment.bytes=268435456\n\
         log.retention.hours=24\n",
        dir.display()
    )
}

fn java(classpath: &str) -> Command {
    let mut command = Command::new("java");
    command.args([
        "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
        "-Dorg.slf4j.simpleLogger.showDateTime=true",
        "-Dorg.slf4j.simpleLogger.log.kafka.server=info",
        "-Dorg.slf4j.simpleLogger.log.org.apache.kafka.server=info",
        "-cp",
        classpath,
    ]);
    command
}

fn format_storage(dir: &Path, classpath: &str) -> Result<()> {
    if dir.join("log/meta.properties").exists() {
        return Ok(());
    }
    let output = java(classpath)
        .args(["kafka.tools.StorageTool", "format", "--standalone"])
        // Any 16 bytes in url-safe base64; one node is a cluster of its own.
        .args(["-t", "dGFubmluLXRlc3Qtbm9kZQ", "-c"])
        .arg(dir.join("server.properties"))
        .output()
        .context("running java")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.success(),
        "formatting Kafka's storage failed:\n{said}"
    );
    Ok(())
}

fn spawn(dir: &Path, classpath: &str) -> Result<Child> {
    let out = File::create(dir.join("kafka.out"))?;
    let mut command = java(classpath);
    let child = command
        .args(["-Xmx512m", "-XX:+UseG1GC", &mark(dir), "kafka.Kafka"])
        .arg(dir.join("server.properties"))
        .current_dir(dir)
        .stdin(Stdio::null())
        .stdout(out.try_clone()?)
        .stderr(out)
        .process_group(0)
        .spawn()
        .context("starting java")?;
    fs::write(dir.join("pid"), child.id().to_string())?;
    Ok(child)
}

/// On the command line of the node, so that it can be told from any other process.
fn mark(dir: &Path) -> String {
    format!("-Dtannin.peer={}", dir.display())
}

fn running(dir: &Path) -> Option<u32> {
    let pid: u32 = fs::read_to_string(dir.join("pid"))
        .ok()?
        .trim()
        .parse()
        .ok()?;
    let line = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let mark = mark(dir);
    line.split(|byte| *byte == 0)
        .any(|word| word == mark.as_bytes())
        .then_some(pid)
}

fn started(dir: &Path) -> bool {
    fs::read_to_string(dir.join("kafka.out")).is_ok_and(|out| out.contains("Kafka Server started"))
}

/// An ApiVersions request (key 18, version 0) is answered without an error.
fn answers(port: u16) -> bool {
    let ask = || -> std::io::Result<bool> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(1))?;
        stream.set_read_timeout(Some(Duration::from_secs(2)))?;
        // length 10, key 18, version 0, correlation 7, no client id
        stream.write_all(&[0, 0, 0, 10, 0, 18, 0, 0, 0, 0, 0, 7, 0xff, 0xff])?;
        let mut answer = [0; 10];
        stream.read_exact(&mut answer)?;
        Ok(answer[4..] == [0, 0, 0, 7, 0, 0])
    };
    ask().unwrap_or(false)
}

fn tail(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(20)..].join("\n")
}
