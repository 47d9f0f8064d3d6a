//! The composition root: what a node is made of, and in which order it starts and stops.
//!
//! Invariants: this is the only place where roles meet; whatever starts first stops last, so that
//! nobody calls somebody who has gone; when a part cannot start, those before it are stopped.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use access::Access;
use anyhow::{Context, Result};
use batch::Workshop;
use deepstore::DeepStore;
use ingest::Decoder;
use rest::{Entrance, HostGuard};
use rpc::{GrpcNetwork, InProcessNetwork, Membership, Network, Standing};
use runtime::settings::{LogSync, MetastoreKind, Settings};
use runtime::{Clock, ComputePool, Files, MemoryBudget, Reach, SystemClock, TaskGroup, files};
use schemas::cluster::Role;
use schemas::table::QuotaSpec;
use schemas::{Fault, InstanceId, TableSpec};
use stream::embedded::{EmbeddedLog, LogConfig, SyncPolicy};
use stream::{AllStreams, Streams};
use tokio::net::TcpListener;

use crate::data_dir::DataDir;
use crate::deep;
use crate::entrance;
use crate::exit::Exit;
use crate::machine;
use crate::metadata;
use crate::ports::{Listeners, address_of};
use crate::registries;

pub use server::PLAN_FORMAT;

const VERSION: &str = env!("CARGO_PKG_VERSION");
const GIVE_BACK_EVERY: Duration = Duration::from_secs(3);

/// How the roles of this node reach others.
#[derive(Clone, Debug)]
pub enum Transport {
    /// All roles are in this process and share this table.
    InProcess(Arc<InProcessNetwork>),
    Grpc,
}

/// What settings do not say.
#[derive(Debug)]
pub struct Parts {
    pub transport: Transport,
    pub clock: Arc<dyn Clock>,
    pub files: Arc<dyn Files>,
    /// Questions that the page offers: title and statement.
    pub examples: Vec<(String, String)>,
    /// Of the plans that a server here says to read.
    pub plan_format: u32,
}

impl Parts {
    /// The machine's clock and files.
    pub fn real(transport: Transport) -> Self {
        Self {
            transport,
            clock: SystemClock::shared(),
            files: files::shared(),
            examples: Vec::new(),
            plan_format: PLAN_FORMAT,
        }
    }
}

/// Where a node listens; empty for roles that run elsewhere.
#[derive(Clone, Debug, Default)]
pub struct Addresses {
    pub controller_http: String,
    pub controller_grpc: String,
    pub broker_http: String,
    pub server_http: String,
    pub server_grpc: String,
    pub minion_http: String,
    pub log: String,
}

/// A running node.
#[derive(Debug)]
pub struct Node {
    pub addresses: Addresses,
    pub clock: Arc<dyn Clock>,
    pub files: Arc<dyn Files>,
    pub data_dir: PathBuf,
    dir: DataDir,
    controller: Option<controller::Controller>,
    server: Option<server::Server>,
    broker: Option<broker::Broker>,
    minion: Option<minion::Minion>,
    /// Of the roles that ask a controller to be taken.
    memberships: Vec<Arc<Membership>>,
    /// The built-in log, and the connections to other roles.
    base: TaskGroup,
    drain: Duration,
}

/// Makes the decoder that servers would make: what they refuse is refused when a table is created.
#[derive(Debug)]
struct DecoderCheck;

impl controller::CheckTable for DecoderCheck {
    fn check(&self, spec: &TableSpec) -> Result<(), Fault> {
        let expressions = &server::EngineExpressions;
        Decoder::check(spec, expressions).map_err(Fault::invalid)?;
        batch::check_filters(spec, expressions)
    }
}

impl Node {
    pub async fn start(settings: &Settings, roles: &[Role], parts: Parts) -> Result<Self> {
        let dir = DataDir::open(&settings.node.data_dir)?;
        let listeners = Listeners::bind(settings, roles)?;
        let ports = listeners.to_json();
        let base = TaskGroup::new("node");
        let mut builder = Builder::new(settings, dir, &listeners, parts, base)?;
        match builder.start_all(roles, listeners).await {
            Ok(()) => {
                builder.node.dir.write_ports(&ports)?;
                Ok(builder.node)
            }
            Err(error) => {
                builder.node.stop().await;
                Err(error)
            }
        }
    }

    /// `Ok` when every role that runs here serves; otherwise what it waits for.
    pub fn ready(&self) -> Result<(), String> {
        if let Some(controller) = &self.controller {
            controller.ready()?;
        }
        if let Some(server) = &self.server {
            server.ready()?;
        }
        match &self.broker {
            Some(broker) if !broker.is_ready() => {
                Err("the broker waits for the servers".to_owned())
            }
            _ => Ok(()),
        }
    }

    /// Returns when a controller has refused a role of this node for good, with the reason.
    pub async fn refused(&self) -> String {
        let refusals = self.memberships.iter().map(|one| {
            let mut standing = one.standing();
            Box::pin(async move {
                loop {
                    if let Standing::Refused(reason) = &*standing.borrow_and_update() {
                        return reason.clone();
                    }
                    if standing.changed().await.is_err() {
                        return std::future::pending().await;
                    }
                }
            })
        });
        let refusals: Vec<_> = refusals.collect();
        match refusals.is_empty() {
            true => std::future::pending().await,
            false => futures::future::select_all(refusals).await.0,
        }
    }

    /// Takes no new work, finishes what is under way, and lets go of the data dir.
    pub async fn stop(self) {
        self.dir.remove_ports();
        if let Some(minion) = &self.minion {
            minion.stop(self.drain).await;
        }
        if let Some(broker) = &self.broker {
            broker.stop(self.drain).await;
        }
        if let Some(server) = &self.server {
            server.stop(self.drain).await;
        }
        if let Some(controller) = &self.controller {
            controller.stop(self.drain).await;
        }
        self.base.stop(self.drain).await;
    }
}

/// A node that is being put together.
struct Builder<'a> {
    settings: &'a Settings,
    node: Node,
    network: Arc<dyn Network>,
    in_process: Option<Arc<InProcessNetwork>>,
    deep: DeepStore,
    compute: ComputePool,
    entrance: Entrance,
    query_memory_bytes: u64,
    examples: Vec<(String, String)>,
    plan_format: u32,
}

impl<'a> Builder<'a> {
    fn new(
        settings: &'a Settings,
        dir: DataDir,
        listeners: &Listeners,
        parts: Parts,
        base: TaskGroup,
    ) -> Result<Self> {
        let Parts {
            transport,
            clock,
            files,
            examples,
            plan_format,
        } = parts;
        let addresses = listeners.addresses(settings.node.advertised())?;
        let compute = ComputePool::new(match settings.compute.threads {
            0 => machine::cores(),
            threads => threads,
        });
        let own_folder = dir.join(deep::FOLDER);
        let deep = deep::open(settings, &own_folder, Arc::clone(&files), compute.clone())?;
        let access = entrance::access(settings, &clock, &*files)?;
        access.follow(Arc::clone(&clock), &base);
        let (network, in_process) = network(settings, &addresses, transport, &access, &base)?;
        let query_memory_bytes = match settings.memory.query_bytes {
            0 => machine::memory_bytes() / 4,
            bytes => bytes,
        };
        let node = Node {
            addresses,
            clock,
            files,
            data_dir: dir.path().to_owned(),
            dir,
            controller: None,
            server: None,
            broker: None,
            minion: None,
            memberships: Vec::new(),
            base,
            drain: Duration::from_secs(settings.node.drain_seconds),
        };
        let names = [&settings.node.host, &settings.node.advertised_host];
        let names = names.into_iter().chain(&settings.http.allowed_hosts);
        let hosts = HostGuard::new(names.filter(|name| !name.is_empty()).cloned());
        let entrance = Entrance { hosts, access };
        Ok(Self {
            settings,
            node,
            network,
            in_process,
            deep,
            compute,
            entrance,
            query_memory_bytes,
            examples,
            plan_format,
        })
    }

    async fn start_all(&mut self, roles: &[Role], mut listeners: Listeners) -> Result<()> {
        self.keep_memory_small();
        if roles.iter().any(|role| *role != Role::Broker) {
            deep::prove(&self.deep).await?;
        }
        if let Some(listener) = listeners.log.take() {
            self.start_log(listener)?;
        }
        if roles.contains(&Role::Controller) {
            let http = taken(listeners.controller_http.take())?;
            let grpc = taken(listeners.controller_grpc.take())?;
            self.start_controller(http, grpc).await?;
        }
        if roles.contains(&Role::Server) {
            let http = taken(listeners.server_http.take())?;
            let grpc = taken(listeners.server_grpc.take())?;
            self.start_server(http, grpc).await?;
        }
        if roles.contains(&Role::Broker) {
            let http = taken(listeners.broker_http.take())?;
            self.start_broker(http).await?;
        }
        if roles.contains(&Role::Minion) {
            let http = taken(listeners.minion_http.take())?;
            self.start_minion(http).await?;
        }
        Ok(())
    }

    fn keep_memory_small(&self) {
        let (clock, compute) = (Arc::clone(&self.node.clock), self.compute.clone());
        self.node.base.spawn("memory", |stop| async move {
            let again_and_again = async {
                loop {
                    clock.sleep(GIVE_BACK_EVERY).await;
                    // It takes a while: nothing that waits for a worker waits for it.
                    let given = compute.run(machine::give_back_memory).await;
                    given.unwrap_or_else(|error| tracing::warn!(%error, "no memory is given back"));
                }
            };
            stop.run_until_cancelled(again_and_again).await;
        });
    }

    fn start_log(&self, listener: TcpListener) -> Result<()> {
        let log = &self.settings.log;
        let config = LogConfig {
            retention_bytes: log.retention_bytes,
            retention_ms: (log.retention_ms > 0).then_some(log.retention_ms as i64),
            sync: match log.sync {
                LogSync::Ack => SyncPolicy::OnAck,
                LogSync::Interval => SyncPolicy::Every(Duration::from_millis(log.sync_ms)),
            },
            ..LogConfig::new(self.node.dir.join("log"))
        };
        let (files, clock) = (Arc::clone(&self.node.files), Arc::clone(&self.node.clock));
        EmbeddedLog::start(config, listener, files, clock, &self.node.base)
            .context("the built-in log cannot start")?;
        Ok(())
    }

    fn streams(&self) -> Arc<dyn Streams> {
        Arc::new(AllStreams {
            folders: self.settings.node.stream_folders.clone(),
        })
    }

    async fn start_controller(&mut self, http: TcpListener, grpc: TcpListener) -> Result<()> {
        let file = self.node.dir.join("metastore.db");
        let clock = Arc::clone(&self.node.clock);
        let store = metadata::open(&self.settings.metastore, &file, clock).await?;
        let cluster = metadata::check_cluster(&store, &self.node.dir, &*self.node.clock).await?;
        deep::claim(&self.deep, cluster).await?;
        let election = self.election()?;
        let settings = &self.settings.controller;
        let config = controller::Config {
            instance: instance("Controller", &self.node.addresses.controller_http).0,
            version: VERSION,
            liveness: Duration::from_millis(settings.liveness_ms),
            clock_skew_max: Duration::from_millis(settings.clock_skew_ms_max),
            address: self.node.addresses.controller_http.clone(),
            reconcile_every: Duration::from_millis(settings.reconcile_ms),
            entrance: self.entrance.clone(),
            election,
        };
        let parts = controller::Parts {
            store,
            deep: self.deep.clone(),
            streams: self.streams(),
            check: Arc::new(DecoderCheck),
            clock: Arc::clone(&self.node.clock),
            tasks: TaskGroup::new("controller"),
            http,
            grpc: Some(grpc),
        };
        let controller = controller::start(config, parts).await?;
        if let Some(network) = &self.in_process {
            network.register_controller(controller.api());
        }
        self.node.controller = Some(controller);
        Ok(())
    }

    /// SQLite is opened by one controller only.
    fn election(&mut self) -> Result<Option<controller::Election>> {
        if self.settings.metastore.kind != MetastoreKind::Postgres {
            return Ok(None);
        }
        Ok(Some(controller::Election {
            ttl: Duration::from_millis(self.settings.controller.lease_ms),
            grpc: self.node.addresses.controller_grpc.clone(),
            membership: self.membership()?,
        }))
    }

    async fn start_server(&mut self, http: TcpListener, grpc: TcpListener) -> Result<()> {
        let address = self.node.addresses.server_grpc.clone();
        let name = self.node.dir.name_once(&instance("Server", &address).0)?;
        let instance = InstanceId(name);
        let memory_bytes = machine::memory_bytes();
        let config = server::Config {
            instance: instance.clone(),
            address,
            version: VERSION,
            deep_store_of: deep::owner(&self.deep).await?,
            data_dir: self.node.data_dir.clone(),
            entrance: self.entrance.clone(),
            ingest_memory_bytes: match self.settings.memory.ingest_bytes {
                0 => memory_bytes / 4,
                bytes => bytes,
            },
            key_memory_bytes: memory_bytes / 4,
            seal_patience: Duration::from_millis(self.settings.server.seal_wait_ms),
            disk_free_bytes_min: self.settings.server.disk_free_bytes_min,
            cache_bytes: self.settings.server.cache_bytes,
            registries: registries::credentials(&self.settings.registry)?,
            query_memory_bytes: self.query_memory_bytes,
            fragment_memory_bytes: self.query_memory_bytes / 2,
            plan_format: self.plan_format,
        };
        let parts = server::Parts {
            membership: self.membership()?,
            network: Arc::clone(&self.network),
            deep: self.deep.clone(),
            streams: self.streams(),
            clock: Arc::clone(&self.node.clock),
            files: Arc::clone(&self.node.files),
            compute: self.compute.clone(),
            memory: MemoryBudget::root("process", memory_bytes),
            tasks: TaskGroup::new("server"),
            http,
            grpc: Some(grpc),
        };
        let server = server::start(config, parts).await?;
        if let Some(network) = &self.in_process {
            network.register_server(&instance.0, server.fragments());
        }
        self.node.server = Some(server);
        Ok(())
    }

    async fn start_broker(&mut self, http: TcpListener) -> Result<()> {
        let address = self.node.addresses.broker_http.clone();
        let settings = &self.settings.broker;
        let config = broker::Config {
            instance: instance("Broker", &address),
            address,
            version: VERSION,
            query_timeout_ms: settings.query_timeout_ms,
            default_limit: settings.default_limit,
            memory_bytes: self.query_memory_bytes,
            limits: query_limits(settings),
            entrance: self.entrance.clone(),
            hedge_percent: settings.hedge_percent,
            exchange_rows_min: settings.exchange_rows_min,
            tenant_quotas: tenant_quotas(&settings.tenant_quotas)?,
            examples: std::mem::take(&mut self.examples),
            settings: self.settings.listed(),
        };
        let parts = broker::Parts {
            membership: self.membership()?,
            network: Arc::clone(&self.network),
            clock: Arc::clone(&self.node.clock),
            tasks: TaskGroup::new("broker"),
            http,
            streams: self.streams(),
        };
        self.node.broker = Some(broker::start(config, parts).await?);
        Ok(())
    }

    /// Of one more role. The cluster that takes it first is that of the data dir from then on.
    fn membership(&mut self) -> Result<Arc<Membership>> {
        let known = self.node.dir.cluster()?.unwrap_or_default();
        let keeper = self.node.dir.cluster_keeper();
        let remember = move |cluster: &str| {
            if let Err(error) = keeper.keep(cluster) {
                tracing::warn!(error = %format!("{error:#}"), "the cluster is not remembered");
            }
        };
        let clock = Arc::clone(&self.node.clock);
        let membership = Membership::new(clock, known, Box::new(remember));
        self.node.memberships.push(Arc::clone(&membership));
        Ok(membership)
    }

    fn workshop(&self) -> Workshop {
        let import = &self.settings.import;
        let folder = self.node.dir.join("imports");
        // What an import has left that was cut off.
        if let Err(error) = std::fs::remove_dir_all(&folder)
            && error.kind() != std::io::ErrorKind::NotFound
        {
            tracing::warn!(folder = %folder.display(), %error, "old files of imports stay");
        }
        Workshop {
            clock: Arc::clone(&self.node.clock),
            files: Arc::clone(&self.node.files),
            folder,
            // Its jobs are long: queries and seals do not wait for them.
            compute: ComputePool::new(machine::cores().div_ceil(2)),
            expressions: Arc::new(server::EngineExpressions),
            reach: Reach {
                folders: import.folders.clone(),
                hosts: import.hosts.clone(),
                ca_file: Some(import.ca_file.clone()).filter(|file| !file.as_os_str().is_empty()),
                objects: import.objects.clone(),
            },
            objects: deep::of_imports(self.settings),
        }
    }

    async fn start_minion(&mut self, http: TcpListener) -> Result<()> {
        let address = self.node.addresses.minion_http.clone();
        let config = minion::Config {
            instance: instance("Minion", &address),
            address,
            version: VERSION,
            deep_store_of: deep::owner(&self.deep).await?,
            entrance: self.entrance.clone(),
            rewrites_max: self.settings.minion.rewrites_max,
        };
        let parts = minion::Parts {
            membership: self.membership()?,
            network: Arc::clone(&self.network),
            deep: self.deep.clone(),
            clock: Arc::clone(&self.node.clock),
            workshop: self.workshop(),
            exports: deep::exports(self.settings, &self.node.files)?,
            tasks: TaskGroup::new("minion"),
            http,
        };
        self.node.minion = Some(minion::start(config, parts).await?);
        Ok(())
    }
}

type WayToOthers = (Arc<dyn Network>, Option<Arc<InProcessNetwork>>);

fn network(
    settings: &Settings,
    addresses: &Addresses,
    transport: Transport,
    access: &Access,
    tasks: &TaskGroup,
) -> Result<WayToOthers> {
    match transport {
        Transport::InProcess(table) => Ok((Arc::clone(&table) as Arc<dyn Network>, Some(table))),
        Transport::Grpc => {
            let controller = match settings.controller.address.as_str() {
                "" => addresses.controller_grpc.as_str(),
                address => address,
            };
            if controller.is_empty() {
                return Err(Exit::usage(
                    "no controller runs here: set `controller.address` to the gRPC address \
                     (host:port) of the one that does",
                ));
            }
            let network = GrpcNetwork::trusting(Some(controller), &access.nodes, tasks)?;
            Ok((Arc::new(network), None))
        }
    }
}

/// A query computes little and waits little: some for each core keep it busy.
const QUERIES_PER_CORE: usize = 16;

fn tenant_quotas(texts: &[String]) -> Result<Vec<(String, QuotaSpec)>> {
    let quotas = texts.iter().map(|text| {
        schemas::pinot::tenant_quota(text)
            .map_err(|faults| Exit::usage(format!("broker.tenant_quotas: {}", faults.0.join("; "))))
    });
    quotas.collect()
}

fn query_limits(settings: &runtime::settings::Broker) -> broker::Limits {
    broker::Limits {
        running_max: match settings.queries_running_max {
            0 => machine::cores() * QUERIES_PER_CORE,
            running_max => running_max as usize,
        },
        waiting_max: settings.queries_waiting_max as usize,
        wait_max: Duration::from_millis(settings.queries_wait_max_ms),
    }
}

/// `Server_127.0.0.1_8098`.
fn instance(role: &str, address: &str) -> InstanceId {
    InstanceId(format!("{role}_{}", address.replace(':', "_")))
}

fn taken(listener: Option<TcpListener>) -> Result<TcpListener> {
    listener.context("a role without a listener")
}

impl Listeners {
    fn addresses(&self, advertised: &str) -> Result<Addresses> {
        let of = |listener: &Option<TcpListener>| -> Result<String> {
            listener
                .as_ref()
                .map_or(Ok(String::new()), |l| address_of(l, advertised))
        };
        Ok(Addresses {
            controller_http: of(&self.controller_http)?,
            controller_grpc: of(&self.controller_grpc)?,
            broker_http: of(&self.broker_http)?,
            server_http: of(&self.server_http)?,
            server_grpc: of(&self.server_grpc)?,
            minion_http: of(&self.minion_http)?,
            log: of(&self.log)?,
        })
    }
}
