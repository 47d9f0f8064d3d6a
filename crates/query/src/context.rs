//! What all parts of one query share: its snapshot of the cluster, its deadline, its numbers.

use std::borrow::Cow;
use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use access::Caller;
use parking_lot::Mutex;
use rpc::Network;
use runtime::{CancellationToken, Clock};
use schemas::cluster::{ClusterState, TableState};
use schemas::proto::{NullMode, ScanOptions, ScanStats};
use schemas::{Fault, InstanceId};

use crate::after::After;
use crate::exchange::Exchanges;
use crate::explain::Explained;
use crate::gate::Gate;
use crate::routing::TableIndexes;
use crate::servers::{Servers, Standing};
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
    pub indexes: Arc<TableIndexes>,
    pub servers: Arc<Servers>,
    /// How they stood when the query began: each of its scans chooses alike.
    pub standing: Standing,
    /// Of the replicas of a table always the same one is asked.
    pub fixed_replica: bool,
    /// What nobody answers may be left out.
    pub allows_partial: bool,
    /// When servers exchange rows instead of sending them here.
    pub exchanges: Exchanges,
    /// An exchange failed, and not for what the query asks: the broker gathers.
    pub gathers: AtomicBool,
    /// What was gathered did not fit the memory: servers exchange it, where they can.
    pub overflowed: AtomicBool,
    pub gate: Arc<dyn Gate>,
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

    /// Grows with each reason to plan the query anew.
    pub(crate) fn setbacks(&self) -> usize {
        let told = [&self.gathers, &self.overflowed];
        let told = told.map(|flag| usize::from(flag.load(Ordering::Relaxed)));
        self.failed.lock().len() + told.iter().sum::<usize>()
    }

    fn is_fixed(&self, table: &TableState) -> bool {
        self.fixed_replica || table.spec.routing.fixed_replica
    }

    /// Whose turn it is among the replicas of the table.
    pub(crate) fn turn_of(&self, table: &TableState) -> usize {
        match self.is_fixed(table) {
            true => table
                .spec
                .id
                .to_bytes()
                .iter()
                .map(|b| usize::from(*b))
                .sum(),
            false => self.turn,
        }
    }

    pub(crate) fn turn_and_standing(&self) -> (usize, &Standing) {
        (self.turn, &self.standing)
    }

    pub(crate) fn standing_for(&self, table: &TableState) -> Cow<'_, Standing> {
        match self.is_fixed(table) {
            true => Cow::Owned(self.standing.without_costs()),
            false => Cow::Borrowed(&self.standing),
        }
    }

    /// When this query is spread, by what is known of it now.
    pub(crate) fn exchanges(&self) -> Exchanges {
        match self.exchanges {
            Exchanges::From(_) if self.overflowed.load(Ordering::Relaxed) => Exchanges::Always,
            wanted => wanted,
        }
    }

    /// A plan for fewer servers than there are is not for other queries.
    pub(crate) fn wants_templates(&self) -> bool {
        !self.options.without_plan_templates
            && self.exchanges() != Exchanges::Always
            && self.failed.lock().is_empty()
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
    /// What the answer lacks, and why; something stands here only if the query allows it.
    pub left_out: Vec<Fault>,
}

impl QueryStats {
    /// What was pruned for a plan that is not used.
    pub(crate) fn pruned_nothing(&mut self) {
        (self.segments_pruned_by_broker, self.docs_pruned_by_broker) = (0, 0);
    }

    /// The answer is whole. Whoever was asked in vain was not needed: clients take a server that
    /// did not respond for rows that are not there.
    pub(crate) fn whole(&mut self) {
        if self.left_out.is_empty() {
            self.servers_queried.clone_from(&self.servers_responded);
        }
    }

    /// Scans of one table, and plans that are tried, may miss the same.
    pub(crate) fn leave_out(&mut self, fault: Fault) {
        if !self.left_out.contains(&fault) {
            self.left_out.push(fault);
        }
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
