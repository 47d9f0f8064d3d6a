//! The role that consumes streams, holds segments and runs query fragments.
//!
//! The cluster's state says what this server shall hold; a reconciler makes it so, again and again.
//! Each partition has one consumer task, the only writer of its segment. Queries read one
//! [`view::TableView`] per table, replaced whole, so that sealing a segment is never seen.

mod budgets;
mod cache;
mod consume;
mod events;
mod exchanges;
mod figures;
mod fragments;
mod heartbeat;
mod indexes;
mod metrics;
mod peers;
mod ready;
mod reconcile;
mod room;
mod select;
mod store;
mod system;
#[cfg(test)]
mod tests;
mod view;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use deepstore::DeepStore;
use ingest::registry::Credentials;
use rest::{Entrance, health_routes};
use rpc::{FragmentApi, Membership, Network, follow_cluster};
use runtime::{Clock, ComputePool, Files, MemoryBudget, TaskGroup};
use scan::{Engine, EngineConfig};
use schemas::cluster::ClusterState;
use schemas::{Fault, InstanceId};
use stream::Streams;
use tokio::net::TcpListener;
use tokio::sync::watch;

use budgets::Budgets;
use cache::Cache;
pub use consume::EngineExpressions;
use consume::{Digests, Pressure};
use events::Events;
use exchanges::Exchanges;
use fragments::{FragmentService, Fragments};
use heartbeat::Heart;
use indexes::Indexer;
use metrics::ServerMetrics;
use peers::Peers;
pub use query::codec::PLAN_FORMAT;
use ready::Readiness;
use room::Room;
use store::Store;
use upsert::Spill;
use view::Tables;

#[derive(Clone, Debug)]
pub struct Config {
    /// `Server_127.0.0.1_8098`.
    pub instance: InstanceId,
    /// Where its gRPC service is reached.
    pub address: String,
    pub version: &'static str,
    /// The cluster that owns the deep store, as the store itself tells; empty: nobody yet.
    pub deep_store_of: String,
    /// Segments are kept in the folder `segments` below it.
    pub data_dir: PathBuf,
    pub entrance: Entrance,
    /// Bytes of rows that are consumed and not sealed yet.
    pub ingest_memory_bytes: u64,
    /// Bytes of primary keys of upsert tables; more are on disk.
    pub key_memory_bytes: u64,
    /// How long consumption waits at a segment's limit while the one before it is committed.
    pub seal_patience: Duration,
    /// With less room on the disk nothing is consumed.
    pub disk_free_bytes_min: u64,
    /// Bytes of segment files, 0 for no limit; other segments are read from the deep store.
    pub cache_bytes: u64,
    /// Who this server is to schema registries.
    pub registries: Credentials,
    /// Bytes that all fragments together may hold, and one of them.
    pub query_memory_bytes: u64,
    pub fragment_memory_bytes: u64,
    /// Of the plans that it says to read: [`PLAN_FORMAT`], unless it stands for another version.
    pub plan_format: u32,
}

pub struct Parts {
    pub network: Arc<dyn Network>,
    pub membership: Arc<Membership>,
    pub deep: DeepStore,
    pub streams: Arc<dyn Streams>,
    pub clock: Arc<dyn Clock>,
    pub files: Arc<dyn Files>,
    pub compute: ComputePool,
    /// Of the process; the shares above are taken from it.
    pub memory: MemoryBudget,
    pub tasks: TaskGroup,
    pub http: TcpListener,
    /// `None`: all roles are in this process.
    pub grpc: Option<TcpListener>,
}

impl std::fmt::Debug for Parts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Parts")
            .field("http", &self.http)
            .field("grpc", &self.grpc)
            .finish_non_exhaustive()
    }
}

/// What all tasks of a server share.
#[derive(Debug)]
pub(crate) struct Core {
    pub(crate) config: Config,
    pub(crate) network: Arc<dyn Network>,
    pub(crate) membership: Arc<Membership>,
    pub(crate) streams: Arc<dyn Streams>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) files: Arc<dyn Files>,
    pub(crate) compute: ComputePool,
    pub(crate) budgets: Budgets,
    /// Where primary keys go that have no room in memory.
    pub(crate) spill: Spill,
    pub(crate) pressure: Arc<Pressure>,
    pub(crate) events: Events,
    pub(crate) store: Store,
    pub(crate) cache: Cache,
    pub(crate) tables: Tables,
    pub(crate) cluster: watch::Receiver<Arc<ClusterState>>,
    pub(crate) heart: Heart,
    pub(crate) digests: Digests,
    pub(crate) indexer: Indexer,
    pub(crate) ready: Readiness,
    pub(crate) room: Room,
    pub(crate) metrics: ServerMetrics,
}

impl Core {
    fn check(&self) -> Result<(), String> {
        self.membership.check()?;
        self.ready.check()
    }
}

/// A running server.
#[derive(Debug)]
pub struct Server {
    core: Arc<Core>,
    fragments: FragmentService,
    tasks: TaskGroup,
    _exchanges: Option<Exchanges>,
}

/// For a controller that may be gone already.
const LEAVE_PATIENCE: Duration = Duration::from_millis(500);

pub async fn start(config: Config, parts: Parts) -> Result<Server, Fault> {
    let Parts {
        network,
        membership,
        deep,
        streams,
        clock,
        files,
        compute,
        memory,
        tasks,
        http,
        grpc,
    } = parts;
    let cluster = follow_cluster(
        Arc::clone(&network),
        &config.instance,
        Arc::clone(&clock),
        &tasks,
    );
    let engine_config = EngineConfig::new(config.fragment_memory_bytes);
    let budgets = Budgets::new(&config, &memory);
    let engine = Engine::new(engine_config, compute.clone(), budgets.query.clone());
    let metrics = ServerMetrics::new();
    let peers = Peers::new(&network, &cluster, &config.instance);
    let core = Arc::new(Core {
        store: Store::new(&config, &files, &deep, &compute, &clock, &metrics, peers),
        cache: Cache::new(config.cache_bytes),
        spill: Spill::new(budgets.keys.clone(), config.data_dir.join("keys")),
        budgets,
        pressure: Arc::default(),
        events: Events::open(&config.data_dir),
        heart: Heart::new(clock.now_ms()),
        digests: Digests::default(),
        indexer: Indexer::default(),
        tables: Tables::default(),
        ready: Readiness::default(),
        room: Room::new(config.disk_free_bytes_min),
        config,
        network,
        membership,
        streams,
        clock,
        files,
        compute,
        cluster,
        metrics,
    });
    let fragments = FragmentService(Arc::new(Fragments::new(Arc::clone(&core), engine)));
    let exchanges = match grpc {
        Some(listener) => serve_grpc(listener, &core, &fragments, &tasks)?,
        None => None,
    };
    serve_health(&core, http, &tasks);
    start_tasks(&core, &tasks);
    Ok(Server {
        core,
        fragments,
        tasks,
        _exchanges: exchanges,
    })
}

fn start_tasks(core: &Arc<Core>, tasks: &TaskGroup) {
    heartbeat::start(core, tasks);
    figures::start(core, tasks);
    indexes::start(core, tasks);
    events::start(core, tasks);
    reconcile::start(core, tasks);
}

fn serve_health(core: &Arc<Core>, http: TcpListener, tasks: &TaskGroup) {
    let asked = Arc::clone(core);
    let routes = health_routes(
        core.config.version,
        Arc::new(move || asked.check()),
        core.metrics.all.clone(),
    );
    let entrance = core.config.entrance.clone();
    rest::serve(http, routes, entrance, "server", tasks);
}

fn serve_grpc(
    listener: TcpListener,
    core: &Arc<Core>,
    fragments: &FragmentService,
    tasks: &TaskGroup,
) -> Result<Option<Exchanges>, Fault> {
    let api: Arc<dyn FragmentApi> = Arc::new(fragments.clone());
    let nodes = &core.config.entrance.access.nodes;
    let opened = match core.network.has_channels() {
        true => Some(Exchanges::open(core, &fragments.0)?),
        false => None,
    };
    let (exchanges, door) = opened.unzip();
    rpc::serve_fragments(listener, api, door, nodes, tasks);
    Ok(exchanges)
}

impl Server {
    /// For brokers in the same process.
    pub fn fragments(&self) -> Arc<dyn FragmentApi> {
        Arc::new(self.fragments.clone())
    }

    /// `Ok` when it serves; otherwise what it waits for.
    pub fn ready(&self) -> Result<(), String> {
        self.core.check()
    }

    /// Rows of consuming segments that are not sealed yet are read again from the stream later.
    pub async fn stop(&self, grace: Duration) {
        self.tasks.stop(grace).await;
        let leaving = self.core.heart.leave(&self.core);
        if !matches!(
            tokio::time::timeout(LEAVE_PATIENCE, leaving).await,
            Ok(Ok(()))
        ) {
            tracing::debug!("the controller does not hear that this server leaves");
        }
    }
}
