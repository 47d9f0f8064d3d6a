//! Looks after servers that say nothing.
//!
//! A server that has a request and said nothing for [`QUIET`], or is silent, is asked for nothing
//! at all: it answers at once, or it is silent. Queries do not wait for it meanwhile.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::StreamExt;
use futures::future::join_all;
use rpc::Network;
use schemas::cluster::{ClusterState, InstanceState, Role};
use schemas::proto::FragmentRequest;
use schemas::{Fault, InstanceId};
use tokio::sync::watch;

use super::{Event, Server, Servers};
use crate::codec::PLAN_FORMAT;

/// Between two looks.
const EVERY: Duration = Duration::from_millis(100);
const QUIET: Duration = Duration::from_millis(100);
/// Who does not answer a look in this time is silent.
const WITHIN: Duration = Duration::from_millis(500);

/// Until it is dropped.
pub async fn look_after(
    servers: Arc<Servers>,
    network: Arc<dyn Network>,
    cluster: watch::Receiver<Arc<ClusterState>>,
) {
    loop {
        servers.clock.sleep(EVERY).await;
        let cluster = Arc::clone(&cluster.borrow());
        servers.forget_all_but(&cluster);
        let quiet = servers.quiet();
        let looks = quiet.into_iter().filter_map(|(id, server)| {
            let instance = cluster.instances.get(&id)?;
            Some(look(&servers, &*network, instance, server))
        });
        join_all(looks).await;
    }
}

async fn look(
    servers: &Servers,
    network: &dyn Network,
    instance: &InstanceState,
    server: Arc<Server>,
) {
    let answer = tokio::time::timeout(WITHIN, ask_for_nothing(network, instance)).await;
    let is_silent = match answer {
        Ok(Ok(())) => false,
        Ok(Err(cause)) => {
            tracing::debug!(server = %instance.id, %cause, "a server is not reached");
            true
        }
        // It may have answered a query meanwhile.
        Err(_) => servers.since_heard(&server) >= WITHIN,
    };
    let was_silent = server.silent.send_replace(is_silent);
    match (was_silent, is_silent) {
        (false, true) => {
            tracing::warn!(server = %instance.id, "a server is silent: others are asked instead");
            servers.happened(Event::Silent);
        }
        (true, false) => {
            tracing::info!(server = %instance.id, "a server that was silent answers again");
            servers.happened(Event::Heard);
        }
        _ => {}
    }
    if !is_silent {
        servers.heard(&server);
    }
}

/// Whatever it answers, it lives.
async fn ask_for_nothing(network: &dyn Network, instance: &InstanceState) -> Result<(), Fault> {
    let request = FragmentRequest {
        plan_format: PLAN_FORMAT,
        ..FragmentRequest::default()
    };
    let mut answers = network.server(instance)?.run(request).await?;
    match answers.next().await {
        Some(answer) => answer.map(|_| ()),
        None => Err(Fault::unavailable("it closed the connection")),
    }
}

impl Servers {
    fn now_ms(&self) -> i64 {
        self.clock.monotonic().as_millis() as i64
    }

    fn heard(&self, server: &Server) {
        server.heard_ms.store(self.now_ms(), Ordering::Relaxed);
    }

    fn since_heard(&self, server: &Server) -> Duration {
        let heard_ms = server.heard_ms.load(Ordering::Relaxed);
        Duration::from_millis((self.now_ms() - heard_ms).max(0) as u64)
    }

    fn quiet(&self) -> Vec<(InstanceId, Arc<Server>)> {
        let known = self.known.read();
        let is_quiet = |server: &Server| {
            let busy_ms = self.now_ms() - server.busy_since_ms.load(Ordering::Relaxed);
            let is_busy = server.in_flight.load(Ordering::Relaxed) > 0;
            let waits = is_busy && busy_ms >= QUIET.as_millis() as i64;
            server.is_silent() || (waits && self.since_heard(server) >= QUIET)
        };
        let quiet = known.iter().filter(|(_, server)| is_quiet(server));
        let quiet = quiet.map(|(id, server)| (id.clone(), Arc::clone(server)));
        quiet.collect()
    }

    /// Servers go, and others come.
    fn forget_all_but(&self, cluster: &ClusterState) {
        let is_there = |id: &InstanceId| {
            let instance = cluster.instances.get(id);
            instance.is_some_and(|instance| instance.role == Role::Server)
        };
        let gone = {
            let known = self.known.read();
            known.keys().any(|id| !is_there(id))
        };
        if gone {
            let idle = |server: &Server| server.in_flight.load(Ordering::Relaxed) == 0;
            let mut known = self.known.write();
            known.retain(|id, server| is_there(id) || !idle(server));
        }
    }
}
