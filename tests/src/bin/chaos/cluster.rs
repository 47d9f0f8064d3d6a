//! The processes of a cluster: two controllers, two brokers, three servers, a minion. Each listens
//! on an address of loopback of its own and is reached by the others through links, as are
//! PostgreSQL and the object store; so every way between them can be cut.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use reqwest::{Method, StatusCode};
use serde_json::Value;
use tests::exactly_once::model::{PARTITIONS, TABLE};
use tests::process::{Running, Sql};

use crate::link::{Link, Mode};

pub(crate) const REPLICAS: u32 = 2;
const START_MAX: Duration = Duration::from_secs(60);
const STOP_MAX: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(50);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Role {
    Controller,
    Broker,
    Server,
    Minion,
}

impl Role {
    const fn name(self) -> &'static str {
        match self {
            Self::Controller => "controller",
            Self::Broker => "broker",
            Self::Server => "server",
            Self::Minion => "minion",
        }
    }

    /// Its doors: HTTP first.
    const fn ports(self) -> &'static [u16] {
        match self {
            Self::Controller => &[9000, 9001],
            Self::Broker => &[8099],
            Self::Server => &[8097, 8098],
            Self::Minion => &[9514],
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

const MEMBERS: [Role; 8] = [
    Role::Controller,
    Role::Controller,
    Role::Broker,
    Role::Broker,
    Role::Server,
    Role::Server,
    Role::Server,
    Role::Minion,
];

/// Where what is no Tannin listens.
#[derive(Debug)]
pub(crate) struct Engines {
    /// postgres://…
    pub(crate) postgres: String,
    /// http://host:port/bucket
    pub(crate) s3: String,
}

#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) name: String,
    pub(crate) role: Role,
    /// It listens here; others know it by another one, which is a link.
    address: Ipv4Addr,
    pub(crate) data: PathBuf,
    environment: Vec<(String, String)>,
    /// `None`: it was killed.
    running: Option<Running>,
    /// What others send to it.
    pub(crate) inbound: Vec<Link>,
    /// What it sends to PostgreSQL, or to the object store.
    pub(crate) outbound: Vec<Link>,
}

#[derive(Debug)]
pub(crate) struct Cluster {
    tannin: PathBuf,
    pub(crate) members: Vec<Member>,
    http: reqwest::Client,
}

impl Cluster {
    pub(crate) async fn start(tannin: &Path, folder: &Path, engines: &Engines) -> Result<Self> {
        let http = reqwest::Client::builder().no_proxy().build()?;
        let mut members = Vec::new();
        for (at, role) in (1u8..).zip(MEMBERS) {
            members.push(Member::new((at, role), folder, engines).await?);
        }
        let mut cluster = Self {
            tannin: tannin.to_owned(),
            members,
            http,
        };
        for at in 0..cluster.members.len() {
            cluster.start_member(at)?;
        }
        cluster.wait_ready().await?;
        Ok(cluster)
    }

    pub(crate) fn of(&self, role: Role) -> Vec<usize> {
        let members = self.members.iter().enumerate();
        let own = members.filter(|(_, member)| member.role == role);
        own.map(|(at, _)| at).collect()
    }

    pub(crate) fn start_member(&mut self, at: usize) -> Result<()> {
        let member = &mut self.members[at];
        let mut command = Command::new(&self.tannin);
        command
            .args(["start", "--role", member.role.name()])
            .envs(member.environment.iter().cloned());
        let log = member.data.with_extension("log");
        member.running = Some(Running::start(&mut command, log)?);
        Ok(())
    }

    /// SIGKILL. What was killed before stays so.
    pub(crate) fn kill(&mut self, at: usize) -> Result<()> {
        let member = &mut self.members[at];
        let Some(mut running) = member.running.take() else {
            return Ok(());
        };
        let ran = running.kill()?;
        ensure!(
            ran,
            "{} had ended by itself\n{}",
            member.name,
            running.last_words()
        );
        Ok(())
    }

    pub(crate) fn signal(&self, at: usize, name: &str) -> Result<()> {
        let running = self.members[at].running.as_ref();
        running.context("it was killed")?.signal(name)
    }

    /// SIGTERM, its end, and a new start.
    pub(crate) async fn restart(&mut self, at: usize) -> Result<()> {
        let member = &mut self.members[at];
        let mut running = member.running.take().context("it was killed")?;
        let status = running.terminate(STOP_MAX).await?;
        ensure!(
            status.success(),
            "{} ended with {status} after SIGTERM\n{}",
            member.name,
            running.last_words()
        );
        self.start_member(at)
    }

    /// All that were not killed live and say that they serve.
    pub(crate) async fn wait_ready(&mut self) -> Result<()> {
        let begin = Instant::now();
        for at in 0..self.members.len() {
            loop {
                self.must_live(at)?;
                let member = &self.members[at];
                let url = format!("http://{}/ready", member.http());
                let request = self.http.get(url).timeout(Duration::from_secs(5));
                let answer = request.send().await;
                if answer.is_ok_and(|answer| answer.status().is_success()) {
                    break;
                }
                let words = || member.running.as_ref().map(Running::last_words);
                ensure!(
                    begin.elapsed() < START_MAX,
                    "{} is not ready after {START_MAX:?}\n{}",
                    member.name,
                    words().unwrap_or_default()
                );
                tokio::time::sleep(POLL).await;
            }
        }
        Ok(())
    }

    fn must_live(&mut self, at: usize) -> Result<()> {
        let member = &mut self.members[at];
        let running = member.running.as_mut().context("it was killed")?;
        let ended = running.ended()?;
        ensure!(
            ended.is_none(),
            "{} ended by itself with {ended:?}\n{}",
            member.name,
            running.last_words()
        );
        Ok(())
    }

    /// Nobody died, and nobody's task did.
    pub(crate) fn check_alive(&mut self) -> Result<()> {
        for at in 0..self.members.len() {
            self.must_live(at)?;
            let log = self.members[at].data.with_extension("log");
            let text = std::fs::read(&log).unwrap_or_default();
            let text = String::from_utf8_lossy(&text);
            if let Some(line) = text.lines().find(|line| line.contains("panicked at")) {
                anyhow::bail!("{}: {line}", log.display());
            }
        }
        Ok(())
    }

    /// Broker `nth`, by its own address.
    pub(crate) fn sql(&self, nth: usize) -> Sql {
        let brokers = self.of(Role::Broker);
        Sql::new(&self.http, &self.members[brokers[nth]].http())
    }

    pub(crate) fn brokers(&self) -> Vec<String> {
        let brokers = self.of(Role::Broker).into_iter();
        brokers.map(|at| self.members[at].http()).collect()
    }

    /// To the controller `nth`: the status and what it says.
    pub(crate) async fn call(
        &self,
        nth: usize,
        (method, path): (Method, &str),
        body: Option<&Value>,
    ) -> Result<(StatusCode, String)> {
        let controller = self.of(Role::Controller)[nth];
        let url = format!("http://{}{path}", self.members[controller].http());
        let request = self.http.request(method, url);
        let request = match body {
            Some(body) => request.json(body),
            None => request,
        };
        let answer = request.send().await?;
        Ok((answer.status(), answer.text().await?))
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Result<()> {
        let (status, text) = self.call(0, (Method::POST, path), Some(body)).await?;
        ensure!(status.is_success(), "POST {path}: {status}: {text}");
        Ok(())
    }

    /// Until every segment has all its replicas on servers that live, and every partition is
    /// consumed by as many.
    pub(crate) async fn wait_replicated(&self, within: Duration) -> Result<Duration> {
        let sql = self.sql(0);
        let begin = Instant::now();
        loop {
            let found = replicated(&sql).await;
            match found {
                Ok(None) => return Ok(begin.elapsed()),
                Ok(Some(missing)) if begin.elapsed() >= within => {
                    anyhow::bail!("{within:?} after the fault: {missing}")
                }
                Err(error) if begin.elapsed() >= within => return Err(error),
                _ => tokio::time::sleep(POLL * 4).await,
            }
        }
    }
}

/// What is missing.
async fn replicated(sql: &Sql) -> Result<Option<String>> {
    let rows = sql
        .rows(&format!(
            "SELECT name, status, servers FROM sys.segments WHERE \"table\" = '{TABLE}'"
        ))
        .await?;
    let mut consuming = 0;
    for row in &rows {
        let [name, status, servers] = [0, 1, 2].map(|at| row[at].as_str().unwrap_or_default());
        let count = servers.split(',').filter(|name| !name.is_empty()).count();
        if count != REPLICAS as usize {
            return Ok(Some(format!("{name} ({status}) is on `{servers}`")));
        }
        consuming += usize::from(status != "DONE");
    }
    Ok((consuming < PARTITIONS).then(|| format!("{consuming} partitions are consumed")))
}

impl Member {
    async fn new((at, role): (u8, Role), folder: &Path, engines: &Engines) -> Result<Self> {
        let own = |net: u8, at: u8| Ipv4Addr::new(127, 77, net, at);
        let (address, known) = (own(0, at), own(1, at));
        let nth = MEMBERS[..usize::from(at)].iter();
        let name = format!("{role}-{}", nth.filter(|other| **other == role).count());
        let data = folder.join(&name);
        std::fs::create_dir_all(&data)?;
        let mut inbound = Vec::new();
        for port in role.ports() {
            let name = format!("to {name}:{port}");
            let [from, to] = [known, address].map(|one| SocketAddr::new(one.into(), *port));
            inbound.push(Link::open(&name, from, to).await?);
        }
        let mut environment = vec![
            ("TANNIN_NODE__HOST".to_owned(), address.to_string()),
            ("TANNIN_NODE__ADVERTISED_HOST".to_owned(), known.to_string()),
            (
                "TANNIN_NODE__DATA_DIR".to_owned(),
                data.display().to_string(),
            ),
            ("TANNIN_LOG__ENABLED".to_owned(), "false".to_owned()),
            (
                "TANNIN_CONTROLLER__ADDRESS".to_owned(),
                format!("{}:9001,{}:9001", own(1, 1), own(1, 2)),
            ),
            ("AWS_ACCESS_KEY_ID".to_owned(), "chaos".to_owned()),
            ("AWS_SECRET_ACCESS_KEY".to_owned(), "chaos".to_owned()),
        ];
        let mut outbound = Vec::new();
        let (s3, bucket) = place_of(&engines.s3)?;
        let local = linked(&format!("{name} to the object store"), s3).await?;
        environment.extend([
            (
                "TANNIN_DEEPSTORE__URL".to_owned(),
                format!("s3://{bucket}/chaos-{}", std::process::id()),
            ),
            (
                "TANNIN_DEEPSTORE__ENDPOINT".to_owned(),
                format!("http://{}", local.1),
            ),
            ("TANNIN_DEEPSTORE__ALLOW_HTTP".to_owned(), "true".to_owned()),
        ]);
        outbound.push(local.0);
        if role == Role::Controller {
            let (postgres, _) = place_of(&engines.postgres)?;
            let local = linked(&format!("{name} to PostgreSQL"), postgres).await?;
            let url = engines
                .postgres
                .replacen(&postgres.to_string(), &local.1.to_string(), 1);
            environment.push(("TANNIN_METASTORE".to_owned(), url));
            outbound.push(local.0);
        }
        Ok(Self {
            name,
            role,
            address,
            data,
            environment,
            running: None,
            inbound,
            outbound,
        })
    }

    pub(crate) fn http(&self) -> String {
        format!("{}:{}", self.address, self.role.ports()[0])
    }

    pub(crate) fn set(&self, (inbound, outbound): (bool, bool), mode: Mode) {
        let inbound = self.inbound.iter().filter(|_| inbound);
        let outbound = self.outbound.iter().filter(|_| outbound);
        inbound.chain(outbound).for_each(|link| link.set(mode));
    }
}

/// A link on a free port.
async fn linked(name: &str, to: SocketAddr) -> Result<(Link, SocketAddr)> {
    let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
    Ok((Link::open(name, free, to).await?, free))
}

/// Address and path of `scheme://[user@]host:port/path`.
fn place_of(url: &str) -> Result<(SocketAddr, String)> {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let rest = rest.rsplit_once('@').map_or(rest, |(_, rest)| rest);
    let (place, path) = rest.split_once('/').unwrap_or((rest, ""));
    let (host, port) = place.rsplit_once(':').context("no port")?;
    let host: IpAddr = host.parse().with_context(|| format!("`{host}` in {url}"))?;
    Ok((SocketAddr::new(host, port.parse()?), path.to_owned()))
}
