//! A node's role as a member of the cluster: who it is, and whether the controller takes it.
//!
//! Invariants: a process has one incarnation, which it draws at its start, so that two processes
//! under one name are told apart. Who is refused for good ends; who is not taken for the time
//! being serves nothing until it is.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use runtime::Clock;
use schemas::proto::{HeartbeatReply, HeartbeatRequest};
use schemas::{Fault, FaultKind};
use tokio::sync::watch;
use uuid::Uuid;

use crate::{ControlApi, Network};

/// How the controller has answered the last heartbeat that it heard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    Unheard,
    Taken,
    /// For this reason, which may pass.
    NotNow(String),
    /// For good: the process ends.
    Refused(String),
}

/// Keeps the cluster that the node belongs to, over restarts.
pub type Remember = Box<dyn Fn(&str) + Send + Sync>;

pub struct Membership {
    incarnation: Uuid,
    clock: Arc<dyn Clock>,
    /// The cluster that it has worked for; empty: none yet.
    cluster: Mutex<String>,
    remember: Remember,
    /// Since when another process has its name.
    taken_since: Mutex<Option<Duration>>,
    standing: watch::Sender<Standing>,
}

impl std::fmt::Debug for Membership {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Membership")
            .field("incarnation", &self.incarnation)
            .field("standing", &*self.standing.borrow())
            .finish_non_exhaustive()
    }
}

/// Beyond the time after which the name should be free: heartbeats come every second.
const PATIENCE: Duration = Duration::from_secs(2);

impl Membership {
    /// `cluster` is what was remembered before; empty: nothing.
    pub fn new(clock: Arc<dyn Clock>, cluster: String, remember: Remember) -> Arc<Self> {
        Arc::new(Self {
            incarnation: Uuid::new_v4(),
            clock,
            cluster: Mutex::new(cluster),
            remember,
            taken_since: Mutex::default(),
            standing: watch::Sender::new(Standing::Unheard),
        })
    }

    /// Of a node that remembers nothing.
    pub fn passing(clock: Arc<dyn Clock>) -> Arc<Self> {
        Self::new(clock, String::new(), Box::new(|_| {}))
    }

    pub fn standing(&self) -> watch::Receiver<Standing> {
        self.standing.subscribe()
    }

    /// Why the controller does not take it.
    pub fn check(&self) -> Result<(), String> {
        match &*self.standing.borrow() {
            Standing::Unheard | Standing::Taken => Ok(()),
            Standing::NotNow(reason) | Standing::Refused(reason) => Err(reason.clone()),
        }
    }

    pub fn incarnation(&self) -> String {
        self.incarnation.to_string()
    }

    /// For good, by whoever found out.
    pub fn refuse(&self, reason: String) {
        self.stands(Standing::Refused(reason));
    }

    /// Sends a heartbeat, with who sends it.
    pub async fn beat(
        &self,
        network: &dyn Network,
        request: HeartbeatRequest,
    ) -> Result<HeartbeatReply, Fault> {
        self.beat_to(&*network.controller()?, request).await
    }

    /// To this controller.
    pub async fn beat_to(
        &self,
        controller: &dyn ControlApi,
        mut request: HeartbeatRequest,
    ) -> Result<HeartbeatReply, Fault> {
        request.incarnation = self.incarnation.as_bytes().to_vec().into();
        request.now_ms = self.clock.now_ms();
        request.cluster.clone_from(&self.cluster.lock());
        let answer = controller.heartbeat(request).await;
        match &answer {
            Ok(reply) => self.answered(reply),
            Err(fault) if fault.kind == FaultKind::Conflict => {
                self.stands(Standing::Refused(fault.message.clone()));
            }
            // Nobody has judged.
            Err(_) => {}
        }
        answer
    }

    fn answered(&self, reply: &HeartbeatReply) {
        let mut since = self.taken_since.lock();
        if reply.not_taken.is_empty() {
            *since = None;
            if !reply.cluster.is_empty() && *self.cluster.lock() != reply.cluster {
                self.cluster.lock().clone_from(&reply.cluster);
                (self.remember)(&reply.cluster);
            }
            self.stands(Standing::Taken);
            return;
        }
        let reason = reply.not_taken.clone();
        if reply.name_free_in_ms == 0 {
            *since = None;
            self.stands(Standing::NotNow(reason));
            return;
        }
        // The other one may have died a moment ago. If it lives, it is heard in this time.
        let now = self.clock.monotonic();
        let begun = *since.get_or_insert(now);
        let patience = Duration::from_millis(reply.name_free_in_ms) + PATIENCE;
        self.stands(match now.saturating_sub(begun) > patience {
            true => Standing::Refused(reason),
            false => Standing::NotNow(reason),
        });
    }

    fn stands(&self, standing: Standing) {
        self.standing.send_if_modified(|now| {
            // Nothing comes after a refusal.
            if *now == standing || matches!(now, Standing::Refused(_)) {
                return false;
            }
            match &standing {
                Standing::Refused(reason) => tracing::error!(reason, "refused by the cluster"),
                Standing::NotNow(reason) => tracing::warn!(reason, "not taken by the controller"),
                Standing::Taken if matches!(now, Standing::NotNow(_)) => {
                    tracing::info!("taken by the controller again");
                }
                Standing::Taken | Standing::Unheard => {}
            }
            *now = standing;
            true
        });
    }
}
