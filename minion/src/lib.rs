//! The role that leases background tasks and rewrites or removes segments.
//!
//! The controller keeps the tasks; a minion asks for one, carries it out and says how it ended.
//! Every task may be run twice, by one minion or by two at once: a minion that dies in the middle
//! loses its lease, and another begins the task again. A minion keeps nothing.

mod compact;
mod export;
mod heartbeat;
mod import;
mod metrics;
mod removal;
mod replacing;
mod rewrite;
#[cfg(test)]
mod tests;
mod work;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use batch::Workshop;
use deepstore::DeepStore;
use rest::{Entrance, health_routes};
use rpc::{Membership, Network};
use runtime::{Clock, TaskGroup};
use schemas::{Fault, InstanceId};
use tokio::net::TcpListener;

use heartbeat::Heart;
use metrics::MinionMetrics;

#[derive(Clone, Debug)]
pub struct Config {
    /// `Minion_127.0.0.1_9514`.
    pub instance: InstanceId,
    /// Where its HTTP service is reached.
    pub address: String,
    pub version: &'static str,
    /// The cluster that owns the deep store, as the store itself tells; empty: nobody yet.
    pub deep_store_of: String,
    pub entrance: Entrance,
    /// Tasks that rewrite segments at once.
    pub rewrites_max: u32,
}

pub struct Parts {
    pub network: Arc<dyn Network>,
    pub membership: Arc<Membership>,
    pub deep: DeepStore,
    pub clock: Arc<dyn Clock>,
    /// For segments that are made, in a folder of its own for each task.
    pub workshop: Workshop,
    /// Where files for others go; `None`: nowhere.
    pub exports: Option<DeepStore>,
    pub tasks: TaskGroup,
    pub http: TcpListener,
}

impl std::fmt::Debug for Parts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Parts")
            .field("http", &self.http)
            .finish_non_exhaustive()
    }
}

/// What all tasks of a minion share.
#[derive(Debug)]
pub(crate) struct Core {
    pub(crate) config: Config,
    pub(crate) network: Arc<dyn Network>,
    pub(crate) membership: Arc<Membership>,
    pub(crate) deep: DeepStore,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) workshop: Workshop,
    pub(crate) exports: Option<DeepStore>,
    /// Where those folders are.
    pub(crate) scratch: PathBuf,
    pub(crate) heart: Heart,
    pub(crate) metrics: MinionMetrics,
}

impl Core {
    fn check(&self) -> Result<(), String> {
        self.membership.check()?;
        self.heart.check()
    }
}

/// A running minion.
#[derive(Debug)]
pub struct Minion {
    core: Arc<Core>,
    tasks: TaskGroup,
}

pub async fn start(config: Config, parts: Parts) -> Result<Minion, Fault> {
    let Parts {
        network,
        membership,
        deep,
        clock,
        workshop,
        exports,
        tasks,
        http,
    } = parts;
    let core = Arc::new(Core {
        scratch: workshop.folder.clone(),
        workshop,
        exports,
        heart: Heart::new(clock.now_ms()),
        config,
        network,
        membership,
        deep,
        clock,
        metrics: MinionMetrics::new(),
    });
    let asked = Arc::clone(&core);
    let routes = health_routes(
        core.config.version,
        Arc::new(move || asked.check()),
        core.metrics.all.clone(),
    );
    let entrance = core.config.entrance.clone();
    rest::serve(http, routes, entrance, "minion", &tasks);
    heartbeat::start(&core, &tasks);
    work::start(&core, &tasks);
    Ok(Minion { core, tasks })
}

impl Minion {
    /// `Ok` when it serves; otherwise what it waits for.
    pub fn ready(&self) -> Result<(), String> {
        self.core.check()
    }

    /// A task under way is left as it is: its lease ends, and somebody begins it again.
    pub async fn stop(&self, grace: Duration) {
        self.tasks.stop(grace).await;
    }
}
