//! The role that takes SQL, scatters it to servers, gathers and answers.
//!
//! It keeps a copy of the cluster's state and nothing else: any number of brokers may run, and none
//! of them opens a segment.

mod admission;
mod cursors;
mod debug;
mod digits;
mod events;
pub mod forms;
mod http;
mod import;
mod lengths;
mod log;
mod metrics;
mod own;
mod pinot;
mod place;
mod query;
mod quota;
mod rows;
mod system;
mod values;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use ::query::look_after;
pub use admission::Limits;
use events::Logs;
use query::Queries;
use rest::Entrance;
use rpc::{Membership, Network, follow_cluster};
use runtime::settings::Setting;
use runtime::{Clock, TaskGroup};
use schemas::cluster::Role;
use schemas::proto::HeartbeatRequest;
use schemas::table::QuotaSpec;
use schemas::{Fault, InstanceId};
use stream::Streams;
use tokio::net::TcpListener;

#[derive(Clone, Debug)]
pub struct Config {
    /// `Broker_127.0.0.1_8099`.
    pub instance: InstanceId,
    /// Where its HTTP API is reached.
    pub address: String,
    pub version: &'static str,
    pub query_timeout_ms: u64,
    /// LIMIT of Pinot's dialect when a query names none.
    pub default_limit: u64,
    pub memory_bytes: u64,
    pub limits: Limits,
    pub entrance: Entrance,
    /// Of a hundred requests to servers so many may be sent to another one too, for being slow.
    pub hedge_percent: u64,
    /// Servers exchange rows when about so many of each side of a join would come here; 0 = never.
    pub exchange_rows_min: u64,
    /// Of all tables of a tenant, by its name.
    pub tenant_quotas: Vec<(String, QuotaSpec)>,
    /// Questions that the page offers: title and statement.
    pub examples: Vec<(String, String)>,
    /// For `sys.settings`.
    pub settings: Vec<Setting>,
}

#[derive(Debug)]
pub struct Parts {
    pub network: Arc<dyn Network>,
    pub membership: Arc<Membership>,
    pub clock: Arc<dyn Clock>,
    pub tasks: TaskGroup,
    pub http: TcpListener,
    /// What rows are appended to.
    pub streams: Arc<dyn Streams>,
}

/// A running broker.
#[derive(Debug)]
pub struct Broker {
    tasks: TaskGroup,
    queries: Arc<Queries>,
}

const HEARTBEAT_EVERY: Duration = Duration::from_secs(1);

pub async fn start(config: Config, parts: Parts) -> Result<Broker, Fault> {
    let Parts {
        network,
        membership,
        clock,
        tasks,
        http,
        streams,
    } = parts;
    let cluster = follow_cluster(
        Arc::clone(&network),
        &config.instance,
        Arc::clone(&clock),
        &tasks,
    );
    let logs = Logs::new(streams, Arc::clone(&clock), tasks.child("appends"));
    let queries = Queries::new(
        &config,
        (Arc::clone(&network), Arc::clone(&membership)),
        Arc::clone(&clock),
        cluster.clone(),
        logs,
    )?;
    let queries = Arc::new(queries);
    let (indexes, states) = (Arc::clone(&queries.indexes), cluster.clone());
    tasks.spawn("routing", |stop| async move {
        stop.run_until_cancelled(indexes.follow(states)).await;
    });
    let lookout = look_after(Arc::clone(&queries.servers), Arc::clone(&network), cluster);
    tasks.spawn("server lookout", |stop| async move {
        stop.run_until_cancelled(lookout).await;
    });
    show_servers(&queries, Arc::clone(&clock), &tasks);
    rest::serve(
        http,
        http::routes(&queries),
        config.entrance.clone(),
        "broker",
        &tasks,
    );
    let beat = HeartbeatRequest {
        instance: config.instance.0.clone(),
        role: Role::Broker.name().to_owned(),
        address: config.address.clone(),
        ..HeartbeatRequest::default()
    };
    tasks.spawn("broker heartbeat", |stop| async move {
        let beats = async {
            loop {
                if let Err(fault) = membership.beat(&*network, beat.clone()).await {
                    tracing::debug!(cause = %fault, "no heartbeat");
                }
                clock.sleep(HEARTBEAT_EVERY).await;
            }
        };
        stop.run_until_cancelled(beats).await;
    });
    Ok(Broker { tasks, queries })
}

const FIGURES_EVERY: Duration = Duration::from_secs(1);

fn show_servers(queries: &Arc<Queries>, clock: Arc<dyn Clock>, tasks: &TaskGroup) {
    let queries = Arc::clone(queries);
    tasks.spawn("server figures", |stop| async move {
        let figures = async {
            let mut shown = BTreeSet::new();
            loop {
                queries.metrics.show(&queries.servers, &mut shown);
                clock.sleep(FIGURES_EVERY).await;
            }
        };
        stop.run_until_cancelled(figures).await;
    });
}

impl Broker {
    pub async fn stop(&self, grace: Duration) {
        self.tasks.stop(grace).await;
    }

    /// The controller was heard and somebody holds every segment.
    pub fn is_ready(&self) -> bool {
        self.queries.ready().is_ok()
    }
}

#[cfg(test)]
mod tests;
