//! Takes the lead when nobody has it, keeps it while the lease can be renewed, and lets go of it.
//!
//! Invariant: a controller that cannot renew its lease stops leading by its own clock before the
//! lease ends by the database's: it counts from before it asked. Should its clock stand still
//! meanwhile, the fence holds.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use metastore::catalog::{Group, LeaderRecord, lead, leader};
use metastore::{Fence, LeaseId, MetaError, MetaStore};
use parking_lot::Mutex;
use runtime::{Backoff, TaskGroup};
use schemas::cluster::Role;
use schemas::proto::HeartbeatRequest;

use super::{Election, Leader, Other};
use crate::state::State;

/// There is one; with several, each has its campaign.
const GROUP: Group = Group::ALL[0];
const RETRY_MAX: Duration = Duration::from_secs(1);
/// So often is the lease renewed, or looked whether somebody leads.
const TURNS_PER_LEASE: u32 = 5;

pub(crate) fn start(
    state: &Arc<State>,
    store: Arc<dyn MetaStore>,
    fence: Fence,
    election: Election,
    tasks: &TaskGroup,
) {
    let campaign = Campaign {
        state: Arc::clone(state),
        store,
        fence,
        election,
        namesake: Mutex::default(),
    };
    tasks.spawn("election", |stop| async move {
        let ended = stop.run_until_cancelled(campaign.run()).await;
        if ended.is_none() {
            campaign.resign().await;
        }
    });
}

struct Campaign {
    state: Arc<State>,
    store: Arc<dyn MetaStore>,
    fence: Fence,
    election: Election,
    /// Another process that leads under this one's name, and since when it is known.
    namesake: Mutex<Option<(LeaderRecord, Duration)>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stays {
    Here,
    /// Its name is free at once.
    Leaves,
}

/// So many leases after it was seen first, an earlier life of this controller leads no more.
const LEASES_OF_THE_DEAD: u32 = 2;

impl Campaign {
    async fn run(&self) {
        let mut backoff = Backoff::up_to(RETRY_MAX);
        loop {
            match self.turn().await {
                Ok(()) => backoff.reset(),
                // Who led when the store was last reached may still do.
                Err(error) => {
                    tracing::debug!(%error, "no election, will try again");
                    self.state.clock.sleep(backoff.next_delay()).await;
                }
            }
        }
    }

    fn pause(&self) -> Duration {
        self.election.ttl / TURNS_PER_LEASE
    }

    /// Leads until the lease is lost; or waits while another does.
    async fn turn(&self) -> Result<(), MetaError> {
        let mut changes = self.store.watch("/leaders/").await?;
        if let Some(record) = leader(&*self.store, GROUP).await? {
            self.follow(record).await;
            tokio::select! {
                _ = changes.next() => {}
                () = self.state.clock.sleep(self.pause()) => {}
            }
            return Ok(());
        }
        self.state.leadership.set(Leader::Nobody);
        let asked = self.state.clock.monotonic();
        let lease = self.store.grant_lease(self.election.ttl).await?;
        let record = LeaderRecord {
            instance: self.state.config.instance.clone(),
            incarnation: self.election.membership.incarnation(),
            http: self.state.config.address.clone(),
            grpc: self.election.grpc.clone(),
            since_ms: self.state.clock.now_ms(),
        };
        if !lead(&*self.store, GROUP, &record, lease).await? {
            return self.store.revoke(lease).await;
        }
        self.reign(lease, asked).await;
        Ok(())
    }

    /// The other controllers are told to other roles by the one that leads.
    async fn follow(&self, record: LeaderRecord) {
        if record.instance == self.state.config.instance {
            self.state.leadership.set(Leader::Nobody);
            self.judge_namesake(record);
            return;
        }
        if let Leader::There(other) = self.state.leadership.now()
            && other.record == record
        {
            self.beat(&other, Stays::Here).await;
            return;
        }
        let nodes = &self.state.config.entrance.access.nodes;
        match rpc::controller_for_controllers(&record.grpc, nodes) {
            Ok(control) => {
                tracing::info!(leader = record.instance, "another controller leads");
                let other = Arc::new(Other { record, control });
                self.state.leadership.set(Leader::There(Arc::clone(&other)));
                self.beat(&other, Stays::Here).await;
            }
            Err(fault) => tracing::warn!(cause = %fault, "the leader has no address"),
        }
    }

    /// The lease of an earlier life, which nobody renews; or it is another process, which does.
    fn judge_namesake(&self, record: LeaderRecord) {
        let now = self.state.clock.monotonic();
        let mut known = self.namesake.lock();
        match &*known {
            Some((before, since)) if *before == record => {
                if now.saturating_sub(*since) <= self.election.ttl * LEASES_OF_THE_DEAD {
                    return;
                }
                self.election.membership.refuse(format!(
                    "`{}` leads already, at {}, and this is another process with the same name: \
                     stop one of them, or give this one an address of its own \
                     (`node.advertised_host`, `controller.http_port`)",
                    record.instance, record.http
                ));
            }
            _ if record.incarnation == self.election.membership.incarnation() => {}
            _ => *known = Some((record, now)),
        }
    }

    async fn beat(&self, other: &Other, stays: Stays) {
        let beat = HeartbeatRequest {
            instance: self.state.config.instance.clone(),
            role: Role::Controller.name().to_owned(),
            address: self.state.config.address.clone(),
            leaves: stays == Stays::Leaves,
            ..HeartbeatRequest::default()
        };
        let beaten = self.election.membership.beat_to(&*other.control, beat);
        let beaten = tokio::time::timeout(self.pause(), beaten).await;
        if !matches!(beaten, Ok(Ok(_))) {
            tracing::debug!(leader = other.record.instance, "no heartbeat");
        }
    }

    /// Until the lease is lost. `asked` is when it was asked for.
    async fn reign(&self, lease: LeaseId, asked: Duration) {
        self.fence.open(lease);
        tokio::select! {
            () = self.renew(lease, asked) => {
                tracing::warn!("this controller leads no more: it could not renew its lease");
            }
            error = self.decide() => {
                tracing::warn!(%error, "the lead is given back");
                // It ends by itself when this fails.
                let _ = self.store.revoke(lease).await;
            }
        }
        self.step_down();
    }

    /// Comes back only when the lead cannot be taken.
    async fn decide(&self) -> MetaError {
        if let Err(error) = self.state.take_over().await {
            return error;
        }
        tracing::info!(group = GROUP.number(), "this controller leads");
        self.state.metrics.leads.set(1);
        self.state.metrics.takeovers.inc();
        self.state.leadership.set(Leader::Here);
        std::future::pending().await
    }

    /// Comes back when the lease has ended, by the database's clock or by this one.
    async fn renew(&self, lease: LeaseId, mut renewed: Duration) {
        let clock = &self.state.clock;
        loop {
            clock.sleep(self.pause()).await;
            let asked = clock.monotonic();
            let left = (renewed + self.election.ttl).saturating_sub(asked);
            match tokio::time::timeout(left, self.store.keep_alive(lease)).await {
                Ok(Ok(true)) => renewed = asked,
                // Until the lease is over by this clock, it may still be renewed.
                Ok(Err(_)) if clock.monotonic() < renewed + self.election.ttl => {}
                Ok(Ok(false) | Err(_)) | Err(_) => return,
            }
        }
    }

    fn step_down(&self) {
        self.fence.close();
        self.state.metrics.leads.set(0);
        self.state.leadership.set(Leader::Nobody);
    }

    /// The next one need not wait for the end of the lease.
    async fn resign(&self) {
        if let Leader::There(other) = self.state.leadership.now() {
            self.beat(&other, Stays::Leaves).await;
        }
        let lease = self.fence.lease();
        self.step_down();
        if let Some(lease) = lease
            && let Err(error) = self.store.revoke(lease).await
        {
            tracing::debug!(%error, "the lease ends by itself");
        }
    }
}
