//! A role's copy of the cluster's state, kept up to date.
//!
//! Invariants: what the controller hears to be seen was published here before; an update that comes
//! in parts is published when all of them are here. What does not fit makes a new beginning.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use runtime::{Backoff, Clock, TaskGroup};
use schemas::cluster::{ClusterState, ServerLists, UPDATE_FORMAT};
use schemas::proto::{SeenRequest, WatchRequest};
use schemas::{Fault, InstanceId};
use tokio::sync::watch;

use crate::Network;

const RETRY_MAX: Duration = Duration::from_secs(2);
/// So many attempts without an answer are told of: a controller that starts takes a few.
const TOLD_AFTER: u32 = 8;

/// Follows the controller until `tasks` stops. While it is away the last state stays.
pub fn follow_cluster(
    network: Arc<dyn Network>,
    instance: &InstanceId,
    clock: Arc<dyn Clock>,
    tasks: &TaskGroup,
) -> watch::Receiver<Arc<ClusterState>> {
    let (publish, state) = watch::channel(Arc::new(ClusterState::default()));
    let instance = instance.0.clone();
    tasks.spawn("cluster state", |stop| async move {
        let follow = async {
            let mut backoff = Backoff::up_to(RETRY_MAX);
            let mut failed = 0_u32;
            loop {
                match once(&*network, &instance, &publish, &mut backoff).await {
                    Ok(()) => {
                        failed = 0;
                        tracing::debug!("the controller ended the watch");
                    }
                    Err(fault) => {
                        failed += 1;
                        if failed == TOLD_AFTER {
                            tracing::warn!(cause = %fault, "no controller answers; asking on");
                        } else {
                            tracing::debug!(cause = %fault, "no controller, will retry");
                        }
                    }
                }
                clock.sleep(backoff.next_delay()).await;
            }
        };
        stop.run_until_cancelled(follow).await;
    });
    state
}

async fn once(
    network: &dyn Network,
    instance: &str,
    publish: &watch::Sender<Arc<ClusterState>>,
    backoff: &mut Backoff,
) -> Result<(), Fault> {
    let request = WatchRequest {
        instance: instance.to_owned(),
        format: UPDATE_FORMAT,
    };
    let controller = network.controller()?;
    let mut updates = controller.watch(request).await?;
    let mut lists = ServerLists::default();
    let mut state = Arc::clone(&publish.borrow());
    while let Some(update) = updates.next().await {
        let update = update?;
        let next = state.updated(&update, &mut lists);
        let next = next.map_err(|error| {
            Fault::internal(format!("the cluster's state is not understood: {error}"))
        })?;
        state = Arc::new(next);
        if update.more {
            continue;
        }
        let version = state.version;
        publish.send_replace(Arc::clone(&state));
        backoff.reset();
        let instance = instance.to_owned();
        controller.seen(SeenRequest { instance, version }).await?;
    }
    Ok(())
}
