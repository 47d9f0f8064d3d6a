//! What all parts of one query share: its snapshot of the cluster, its deadline, its numbers.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;
use std::time::Duration;

use access::Caller;
use parking_lot::Mutex;
use rpc::Network;
use runtime::{CancellationToken, Clock};
use schemas::InstanceId;
use schemas::cluster::ClusterState;
use schemas::proto::{NullMode, ScanOptions, ScanStats};

use crate::after::After;
use crate::explain::Explained;
use crate::watched::{Deadline, Watch};

/// Made by the broker for each query.
#[derive(Debug)]
pub struct QueryContext {
    pub network: Arc<dyn Network>,
    pub clock: Arc<dyn Clock>,
    /// With the tables alone that the caller may read.
    pub cluster: Arc<ClusterState>,
    /// Who asks.
    pub caller: Caller,
    /// Grows from query to query, so that replicas take turns.
    pub turn: usize,
    /// Epoch milliseconds.
    pub deadline_ms: i64,
    /// After so long it comes: for people.
    pub timeout_ms: u64,
    /// Cancelled when nobody waits for the answer any more.
    pub stop: CancellationToken,
    pub null_mode: NullMode,
    pub options: ScanOptions,
    /// Rows that must be seen.
    pub after: After,
    pub stats: Mutex<QueryStats>,
    /// Servers that could not answer alone what they were asked for: not asked again.
    pub failed: Mutex<HashSet<InstanceId>>,
}

impl QueryContext {
    pub(crate) fn watch(&self) -> Watch {
        Watch {
            cancel: self.stop.clone(),
            deadline: Some(Deadline {
                clock: Arc::clone(&self.clock),
                at_ms: self.deadline_ms,
                timeout_ms: self.timeout_ms,
            }),
        }
    }

    /// The same, of work that may be given up alone.
    pub(crate) fn watch_child(&self) -> Watch {
        Watch {
            cancel: self.stop.child_token(),
            ..self.watch()
        }
    }

    /// A plan for fewer servers than there are is not for other queries.
    pub(crate) fn wants_templates(&self) -> bool {
        !self.options.without_plan_templates && self.failed.lock().is_empty()
    }
}

/// What planning found, and what the answers said about themselves.
#[derive(Clone, Debug, Default)]
pub struct QueryStats {
    pub scan: ScanStats,
    /// As the statement named them.
    pub tables: BTreeSet<String>,
    pub segments_pruned_by_broker: u64,
    pub docs_pruned_by_broker: u64,
    pub servers_queried: HashSet<InstanceId>,
    pub servers_responded: HashSet<InstanceId>,
    /// Ingest time of the newest row that was read; 0 = none was.
    pub newest_ingest_ms: i64,
    /// Of servers that were asked to explain.
    pub explained: Vec<Explained>,
    /// The plan of another statement of the shape was used.
    pub template_used: bool,
    /// What planning took, without parsing.
    pub planning: Duration,
    /// For the reader of the answer.
    pub warnings: Vec<String>,
}

impl QueryStats {
    /// What was pruned for a plan that is not used.
    pub(crate) fn pruned_nothing(&mut self) {
        (self.segments_pruned_by_broker, self.docs_pruned_by_broker) = (0, 0);
    }

    pub(crate) fn pruned(&mut self, (segments, docs): (u64, u64)) {
        self.segments_pruned_by_broker += segments;
        self.docs_pruned_by_broker += docs;
    }

    /// Segments in which that became of the filter, when it was an EXPLAIN.
    pub fn segments_explained(&self, outcome: &str) -> u64 {
        let classes = self.explained.iter().flat_map(|told| &told.stats.explained);
        let classes = classes.filter(|class| class.outcome == outcome);
        classes.map(|class| class.segments).sum()
    }

    pub(crate) fn add(&mut self, more: &ScanStats) {
        self.scan.add(more);
    }
}
