//! The role that owns the metadata and decides what exists and where it lives.
//!
//! Decisions are pure functions ([`assignment`], [`completion`]); reconcilers apply them again and
//! again until the world agrees; the HTTP API and the internal service only translate. Whatever
//! must survive is in the catalog; the view of who lives and holds what is rebuilt from heartbeats.

mod api;
mod assignment;
mod background;
mod completion;
mod consumption;
mod counts;
mod fleet;
mod follow;
mod holding;
mod http;
mod imports;
mod joining;
mod leader;
mod metrics;
mod moves;
mod reach;
mod rebalance;
mod reconcile;
mod reloads;
mod replacements;
mod retry;
mod seen;
mod state;
mod tables;
#[cfg(test)]
mod tests;
mod view;

use std::sync::Arc;
use std::time::Duration;

use deepstore::DeepStore;
use metastore::catalog::Catalog;
use metastore::{Fence, FencedStore, MetaStore};
use rest::Entrance;
use rpc::{ControlApi, ControlDoors};
use runtime::{Clock, TaskGroup};
use schemas::{Fault, TableSpec};
use stream::Streams;
use tokio::net::TcpListener;

pub use leader::Election;
use leader::door::{Asker, Door};
use state::State;

#[derive(Clone, Debug)]
pub struct Config {
    /// `Controller_127.0.0.1_9000`.
    pub instance: String,
    /// Where it listens for HTTP, as others reach it.
    pub address: String,
    pub version: &'static str,
    /// A role that was silent for so long is dead.
    pub liveness: Duration,
    /// A role whose clock is further from this one's does not count as living.
    pub clock_skew_max: Duration,
    pub reconcile_every: Duration,
    pub entrance: Entrance,
    /// `None`: no other controller can open the store.
    pub election: Option<Election>,
}

/// Whether a table's messages can be read as its config wants: only the roles that read them know.
pub trait CheckTable: std::fmt::Debug + Send + Sync {
    fn check(&self, spec: &TableSpec) -> Result<(), Fault>;
}

pub struct Parts {
    pub store: Arc<dyn MetaStore>,
    pub deep: DeepStore,
    pub streams: Arc<dyn Streams>,
    pub check: Arc<dyn CheckTable>,
    pub clock: Arc<dyn Clock>,
    pub tasks: TaskGroup,
    pub http: TcpListener,
    /// `None`: all roles are in this process.
    pub grpc: Option<TcpListener>,
}

impl std::fmt::Debug for Parts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Parts")
            .field("http", &self.http)
            .finish_non_exhaustive()
    }
}

/// A running controller.
#[derive(Clone, Debug)]
pub struct Controller {
    state: Arc<State>,
    tasks: TaskGroup,
}

pub async fn start(config: Config, parts: Parts) -> Result<Controller, Fault> {
    let Parts {
        store,
        deep,
        streams,
        check,
        clock,
        tasks,
        http,
        grpc,
    } = parts;
    // Made before anybody leads: nobody may write without the lead after that.
    Catalog::new(Arc::clone(&store))
        .cluster(clock.now_ms())
        .await?;
    let fence = Fence::default();
    let written: Arc<dyn MetaStore> = match &config.election {
        Some(_) => Arc::new(FencedStore::new(Arc::clone(&store), fence.clone())),
        None => Arc::clone(&store),
    };
    let catalog = Catalog::new(written);
    let changes = catalog.watch().await?;
    let state = Arc::new(State::load(config.clone(), catalog, deep, streams, check, clock).await?);
    if let Some(listener) = grpc {
        let doors = ControlDoors {
            to_roles: Door::open(&state, Asker::Role),
            to_controllers: Door::open(&state, Asker::Controller),
        };
        rpc::serve_control(listener, doors, &config.entrance.access.nodes, &tasks);
    }
    rest::serve(
        http,
        http::routes(&state),
        config.entrance.clone(),
        "controller",
        &tasks,
    );
    follow::start(&state, changes, &tasks);
    reconcile::start(&state, &tasks);
    reach::start(&state, &tasks);
    if let Some(election) = config.election {
        leader::start(&state, store, fence, election, &tasks);
    }
    Ok(Controller { state, tasks })
}

impl Controller {
    /// For roles in the same process.
    pub fn api(&self) -> Arc<dyn ControlApi> {
        Door::open(&self.state, Asker::Role)
    }

    /// Otherwise what it waits for.
    pub fn ready(&self) -> Result<(), String> {
        self.state.ready()
    }

    pub async fn stop(&self, grace: Duration) {
        self.tasks.stop(grace).await;
    }
}
