//! "I live": every second. Whether the last one was heard is whether the minion serves.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use runtime::TaskGroup;
use schemas::Fault;
use schemas::cluster::Role;
use schemas::proto::HeartbeatRequest;

use crate::Core;

const EVERY: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(crate) struct Heart {
    started_ms: i64,
    heard: AtomicBool,
}

impl Heart {
    pub(crate) fn new(started_ms: i64) -> Self {
        Self {
            started_ms,
            heard: AtomicBool::new(false),
        }
    }

    pub(crate) fn check(&self) -> Result<(), String> {
        if self.heard.load(Ordering::Relaxed) {
            Ok(())
        } else {
            Err("waiting for the controller".to_owned())
        }
    }
}

pub(crate) fn start(core: &Arc<Core>, tasks: &TaskGroup) {
    let core = Arc::clone(core);
    tasks.spawn("minion heartbeat", |stop| async move {
        let beats = async {
            loop {
                let heard = beat(&core).await;
                core.heart.heard.store(heard.is_ok(), Ordering::Relaxed);
                if let Err(fault) = heard {
                    tracing::debug!(cause = %fault, "no heartbeat");
                }
                core.clock.sleep(EVERY).await;
            }
        };
        stop.run_until_cancelled(beats).await;
    });
}

async fn beat(core: &Core) -> Result<(), Fault> {
    let request = HeartbeatRequest {
        instance: core.config.instance.0.clone(),
        role: Role::Minion.name().to_owned(),
        address: core.config.address.clone(),
        started_ms: core.heart.started_ms.max(0) as u64,
        deep_store_of: core.config.deep_store_of.clone(),
        ..HeartbeatRequest::default()
    };
    core.membership.beat(&*core.network, request).await?;
    Ok(())
}
