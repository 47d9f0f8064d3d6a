//! Which controller decides. One that is alone always does; of several, whoever holds the lease.
//!
//! Invariants: only the leader changes the catalog, which its store sees to ([`FencedStore`]); only
//! the leader's view of who lives is told to other roles; whoever was the leader before tells them
//! nothing any more, so that they come to the new one.
//!
//! [`campaign`] moves the state between the three; [`door`] and `http::leader` send on what comes
//! to a controller that does not lead.

mod campaign;
pub(crate) mod door;

use std::sync::Arc;
use std::time::Duration;

use metastore::catalog::LeaderRecord;
use rpc::{ControlApi, Membership};
use tokio::sync::watch;

pub(crate) use campaign::start;

/// For how long a leader that is not heard stays it, where other controllers reach this one, and
/// whether they take it.
#[derive(Clone, Debug)]
pub struct Election {
    pub ttl: Duration,
    pub grpc: String,
    pub membership: Arc<Membership>,
}

#[derive(Clone)]
pub(crate) enum Leader {
    Here,
    There(Arc<Other>),
    Nobody,
}

/// Another controller that leads.
pub(crate) struct Other {
    pub(crate) record: LeaderRecord,
    pub(crate) control: Arc<dyn ControlApi>,
}

#[derive(Debug)]
pub(crate) struct Leadership {
    now: watch::Sender<Leader>,
}

impl std::fmt::Debug for Leader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Here => "here",
            Self::There(other) => &other.record.instance,
            Self::Nobody => "nobody",
        })
    }
}

impl Leadership {
    pub(crate) fn new(leader: Leader) -> Self {
        Self {
            now: watch::Sender::new(leader),
        }
    }

    pub(crate) fn now(&self) -> Leader {
        self.now.borrow().clone()
    }

    pub(crate) fn is_here(&self) -> bool {
        matches!(*self.now.borrow(), Leader::Here)
    }

    /// Returns when another leads than at the time of the call, or nobody.
    pub(crate) fn moved(&self) -> impl Future<Output = ()> + Send + use<> {
        let mut now = self.now.subscribe();
        now.mark_unchanged();
        async move {
            // It ends with the controller, which is a move as well.
            let _ = now.changed().await;
        }
    }

    fn set(&self, leader: Leader) {
        self.now.send_replace(leader);
    }
}
