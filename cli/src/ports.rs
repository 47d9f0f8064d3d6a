//! Binding every listener of a node, or naming every port that is taken.
//!
//! All ports are tried before anything starts, so that a newcomer sees all conflicts at once, who
//! holds each port where that can be read, and a `--port-offset` that works.

use std::fs;
use std::net::{TcpListener as StdListener, ToSocketAddrs};

use anyhow::{Context, Result};
use runtime::settings::Settings;
use schemas::cluster::Role;
use tokio::net::TcpListener;

use crate::exit::Exit;

/// The listeners of the roles that run here.
#[derive(Debug, Default)]
pub(crate) struct Listeners {
    pub controller_http: Option<TcpListener>,
    pub controller_grpc: Option<TcpListener>,
    pub broker_http: Option<TcpListener>,
    pub server_http: Option<TcpListener>,
    pub server_grpc: Option<TcpListener>,
    pub minion_http: Option<TcpListener>,
    pub log: Option<TcpListener>,
}

struct Wanted {
    what: &'static str,
    port: u16,
}

/// Offsets that are tried for the suggestion.
const OFFSETS: std::ops::Range<u16> = 1..60;
const OFFSET_STEP: u16 = 1000;

impl Listeners {
    pub(crate) fn bind(settings: &Settings, roles: &[Role]) -> Result<Self> {
        let mut bound = Vec::new();
        let mut taken = Vec::new();
        let wanted = wanted(settings, roles);
        for one in &wanted {
            let port = shifted(one.port, settings.node.port_offset).ok_or_else(|| {
                Exit::usage(format!(
                    "port {} of {} plus --port-offset {} is above 65535",
                    one.port, one.what, settings.node.port_offset
                ))
            })?;
            match bind(&settings.node.host, port) {
                Ok(listener) => bound.push((one.what, listener)),
                Err(error) => taken.push((one.what, port, error)),
            }
        }
        if !taken.is_empty() {
            drop(bound);
            return Err(Exit::usage(conflict_message(settings, &wanted, &taken)));
        }
        let mut listeners = Self::default();
        for (what, listener) in bound {
            *listeners.slot(what) = Some(TcpListener::from_std(listener)?);
        }
        Ok(listeners)
    }

    fn slot(&mut self, what: &str) -> &mut Option<TcpListener> {
        match what {
            "controller HTTP" => &mut self.controller_http,
            "controller gRPC" => &mut self.controller_grpc,
            "broker HTTP" => &mut self.broker_http,
            "server HTTP" => &mut self.server_http,
            "server gRPC" => &mut self.server_grpc,
            "minion HTTP" => &mut self.minion_http,
            _ => &mut self.log,
        }
    }

    /// `{"controller_http": "127.0.0.1:9000", …}`, as it stands in `ports.json`.
    pub(crate) fn to_json(&self) -> serde_json::Value {
        let named = [
            ("controller_http", &self.controller_http),
            ("controller_grpc", &self.controller_grpc),
            ("broker_http", &self.broker_http),
            ("server_http", &self.server_http),
            ("server_grpc", &self.server_grpc),
            ("minion_http", &self.minion_http),
            ("log", &self.log),
        ];
        let entries = named.into_iter().filter_map(|(name, listener)| {
            let address = listener.as_ref()?.local_addr().ok()?;
            Some((
                name.to_owned(),
                serde_json::Value::String(address.to_string()),
            ))
        });
        serde_json::Value::Object(entries.collect())
    }
}

fn wanted(settings: &Settings, roles: &[Role]) -> Vec<Wanted> {
    let mut wanted = Vec::new();
    let mut add = |what, port| wanted.push(Wanted { what, port });
    for role in roles {
        match role {
            Role::Controller => {
                add("controller HTTP", settings.controller.http_port);
                add("controller gRPC", settings.controller.grpc_port);
            }
            Role::Broker => add("broker HTTP", settings.broker.http_port),
            Role::Server => {
                add("server HTTP", settings.server.http_port);
                add("server gRPC", settings.server.grpc_port);
            }
            Role::Minion => add("minion HTTP", settings.minion.http_port),
        }
    }
    if settings.log.enabled && roles.contains(&Role::Controller) {
        add("built-in log", settings.log.port);
    }
    wanted
}

/// 0 stays 0: the system picks a free port.
fn shifted(port: u16, offset: u16) -> Option<u16> {
    if port == 0 {
        Some(0)
    } else {
        port.checked_add(offset)
    }
}

fn bind(host: &str, port: u16) -> std::io::Result<StdListener> {
    let address = (host, port)
        .to_socket_addrs()?
        .next()
        .ok_or_else(|| std::io::Error::other(format!("`{host}` has no address")))?;
    // SO_REUSEADDR lets a restarted node take its ports back from connections in TIME_WAIT.
    let listener = StdListener::bind(address)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

fn conflict_message(
    settings: &Settings,
    wanted: &[Wanted],
    taken: &[(&'static str, u16, std::io::Error)],
) -> String {
    let host = &settings.node.host;
    let mut message = String::from("cannot listen on:\n");
    for (what, port, error) in taken {
        let reason = match error.kind() {
            std::io::ErrorKind::AddrInUse => match owner_of(*port) {
                Some(owner) => format!("in use by {owner}"),
                None => "in use".to_owned(),
            },
            _ => error.to_string(),
        };
        message.push_str(&format!("  {host}:{port}  ({what}): {reason}\n"));
    }
    let free = |offset: &u16| {
        wanted
            .iter()
            .all(|one| shifted(one.port, *offset).is_some_and(|port| bind(host, port).is_ok()))
    };
    match OFFSETS
        .map(|step| step.saturating_mul(OFFSET_STEP))
        .find(free)
    {
        Some(offset) => message.push_str(&format!(
            "all ports of an offset are free, so this works:\n  {} --port-offset {offset}",
            command_line()
        )),
        None => message.push_str("stop what holds them, or set other ports (tannin config print)"),
    }
    message
}

/// The command as it was typed, without an offset.
fn command_line() -> String {
    let mut arguments = std::env::args();
    let program = arguments.next().unwrap_or_else(|| "tannin".to_owned());
    let mut words = vec![program];
    while let Some(word) = arguments.next() {
        if word == "--port-offset" {
            arguments.next();
        } else if !word.starts_with("--port-offset=") {
            words.push(word);
        }
    }
    words.join(" ")
}

/// Name and id of the process that listens on `port`, from /proc; `None` where it cannot be read.
fn owner_of(port: u16) -> Option<String> {
    let inode = listening_inode(port)?;
    let socket = format!("socket:[{inode}]");
    for process in fs::read_dir("/proc").ok()?.flatten() {
        let pid = process.file_name().to_string_lossy().into_owned();
        if !pid.bytes().all(|byte| byte.is_ascii_digit()) {
            continue;
        }
        let Ok(descriptors) = fs::read_dir(process.path().join("fd")) else {
            continue;
        };
        let holds = descriptors
            .flatten()
            .any(|fd| fs::read_link(fd.path()).is_ok_and(|link| link.as_os_str() == &*socket));
        if holds {
            let name = fs::read_to_string(process.path().join("comm")).unwrap_or_default();
            return Some(format!("`{}` (process {})", name.trim(), pid));
        }
    }
    None
}

fn listening_inode(port: u16) -> Option<String> {
    const LISTEN: &str = "0A";
    let suffix = format!(":{port:04X}");
    ["/proc/net/tcp", "/proc/net/tcp6"].iter().find_map(|file| {
        let table = fs::read_to_string(file).ok()?;
        table.lines().skip(1).find_map(|line| {
            let columns: Vec<&str> = line.split_whitespace().collect();
            let matches = columns.get(1)?.ends_with(&suffix) && *columns.get(3)? == LISTEN;
            matches.then(|| columns.get(9).map(|inode| (*inode).to_owned()))?
        })
    })
}

/// The address under which others reach a bound listener: the port is the real one.
pub(crate) fn address_of(listener: &TcpListener, advertised: &str) -> Result<String> {
    let bound = listener
        .local_addr()
        .context("a listener without an address")?;
    let host = match advertised.contains(':') {
        true => format!("[{advertised}]"),
        false => advertised.to_owned(),
    };
    Ok(format!("{host}:{}", bound.port()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use runtime::settings::Layers;

    #[tokio::test]
    async fn all_conflicts_are_named_with_their_owner() {
        let held: Vec<StdListener> = (0..2)
            .map(|_| StdListener::bind("127.0.0.1:0").unwrap())
            .collect();
        let ports: Vec<u16> = held
            .iter()
            .map(|l| l.local_addr().unwrap().port())
            .collect();
        let mut layers = Layers::default();
        layers.assignment(&format!("broker.http_port={}", ports[0]));
        layers.assignment(&format!("minion.http_port={}", ports[1]));
        let settings = layers.settings().unwrap();

        let error = Listeners::bind(&settings, &[Role::Broker, Role::Minion]).unwrap_err();

        let text = error.to_string();
        for port in &ports {
            assert!(text.contains(&format!("127.0.0.1:{port}")), "{text}");
        }
        assert!(
            text.contains(&format!("(process {})", std::process::id())),
            "{text}"
        );
        assert!(text.contains("--port-offset "), "{text}");
    }
}
