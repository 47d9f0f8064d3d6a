//! Quotas of tables: how many queries a second, how many at once, and how much memory they may
//! hold together.
//!
//! Invariants: a quota is of all brokers together, and each gives out an equal part of it; a query
//! needs leave of every table that it reads, and takes nothing of any when one refuses. What is
//! refused costs its planning and nothing else.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use prometheus::IntCounterVec;
use query::{Gate, Memory, Pass};
use runtime::Clock;
use schemas::cluster::{ClusterState, Role, TableState};
use schemas::fault::pinot_code;
use schemas::{Fault, FaultKind, TableId};

#[derive(Debug)]
pub(crate) struct Quotas {
    clock: Arc<dyn Clock>,
    /// By limit.
    refused: IntCounterVec,
    tables: Mutex<HashMap<TableId, Used>>,
}

/// What queries of a table took.
#[derive(Debug)]
struct Used {
    /// Queries that may begin at once, as of `at`.
    allowance: f64,
    at: Duration,
    running: usize,
    bytes: Arc<AtomicUsize>,
}

/// The leave of one query; asking again, when it is planned again, does not count again.
#[derive(Debug)]
pub(crate) struct QueryGate {
    quotas: Arc<Quotas>,
    counted: AtomicBool,
}

pub(crate) const LIMITS: [&str; 3] = ["rate", "running", "memory"];

impl Quotas {
    pub(crate) fn new(clock: Arc<dyn Clock>, refused: IntCounterVec) -> Self {
        Self {
            clock,
            refused,
            tables: Mutex::default(),
        }
    }

    pub(crate) fn for_query(self: &Arc<Self>) -> Arc<dyn Gate> {
        Arc::new(QueryGate {
            quotas: Arc::clone(self),
            counted: AtomicBool::new(false),
        })
    }

    fn refusal(&self, limit: &str, message: String) -> Fault {
        self.refused.with_label_values(&[limit]).inc();
        too_many(message)
    }
}

fn too_many(message: String) -> Fault {
    let code = pinot_code::TOO_MANY_REQUESTS;
    Fault::new(FaultKind::Overloaded, code, message)
}

impl Gate for QueryGate {
    fn enter(&self, names: &BTreeSet<String>, cluster: &ClusterState) -> Result<Pass, Fault> {
        let tables = names.iter().flat_map(|name| cluster.resolve(name));
        let mut limited: Vec<Arc<TableState>> = tables.filter(is_limited).collect();
        if limited.is_empty() {
            return Ok(Pass::new((), None));
        }
        limited.sort_by_key(|table| table.spec.id);
        limited.dedup_by_key(|table| table.spec.id);
        let part = Part::of(cluster);
        let now = self.quotas.clock.monotonic();
        let mut all = self.quotas.tables.lock();
        all.retain(|id, used| used.running > 0 || cluster.tables.contains_key(id));
        let is_counted = self.counted.load(Ordering::Relaxed);
        for table in &limited {
            let used = all.entry(table.spec.id).or_insert_with(|| Used::new(now));
            used.refill(part.rate(table), now);
            let refused = used.refusal(table, &part, is_counted);
            if let Some((limit, message)) = refused {
                return Err(self.quotas.refusal(limit, message));
            }
        }
        self.counted.store(true, Ordering::Relaxed);
        let mut memory = Vec::new();
        for table in &limited {
            let Some(used) = all.get_mut(&table.spec.id) else {
                continue;
            };
            used.running += 1;
            if part.rate(table).is_some() && !is_counted {
                used.allowance -= 1.0;
            }
            memory.extend(part.bytes(table).map(|bytes_max| TableMemory {
                table: table.spec.physical_name(),
                bytes_max,
                bytes: Arc::clone(&used.bytes),
            }));
        }
        let memory = (!memory.is_empty()).then(|| {
            Arc::new(TablesMemory {
                tables: memory,
                refused: self.quotas.refused.clone(),
            }) as Arc<dyn Memory>
        });
        let running = Running {
            quotas: Arc::clone(&self.quotas),
            tables: limited.iter().map(|table| table.spec.id).collect(),
        };
        Ok(Pass::new(running, memory))
    }
}

fn is_limited(table: &Arc<TableState>) -> bool {
    table.spec.quota != schemas::table::QuotaSpec::default()
}

/// What this broker gives out of a quota.
struct Part {
    brokers: usize,
}

impl Part {
    fn of(cluster: &ClusterState) -> Self {
        let instances = cluster.instances.values();
        let brokers = instances.filter(|one| one.alive && one.role == Role::Broker);
        Self {
            brokers: brokers.count().max(1),
        }
    }

    fn rate(&self, table: &TableState) -> Option<f64> {
        let all = table.spec.quota.queries_per_second?;
        Some(all / self.brokers as f64)
    }

    fn running(&self, table: &TableState) -> Option<usize> {
        let all = table.spec.quota.queries_running_max? as usize;
        Some(all.div_ceil(self.brokers))
    }

    fn bytes(&self, table: &TableState) -> Option<usize> {
        let all = table.spec.quota.memory_bytes_max? as usize;
        Some(all / self.brokers)
    }
}

impl Used {
    fn new(now: Duration) -> Self {
        Self {
            allowance: f64::INFINITY,
            at: now,
            running: 0,
            bytes: Arc::default(),
        }
    }

    /// What was not used within a second is gone; less than one a second add up to one.
    fn refill(&mut self, rate: Option<f64>, now: Duration) {
        let Some(rate) = rate else { return };
        let elapsed = now.saturating_sub(self.at).as_secs_f64();
        self.allowance = (self.allowance + elapsed * rate).min(rate.max(1.0));
        self.at = now;
    }

    fn refusal(
        &self,
        table: &TableState,
        part: &Part,
        is_counted: bool,
    ) -> Option<(&'static str, String)> {
        let quota = &table.spec.quota;
        let name = table.spec.physical_name();
        let of_brokers = match part.brokers {
            1 => String::new(),
            brokers => format!(" of {brokers} brokers together"),
        };
        if part.running(table).is_some_and(|max| self.running >= max) {
            let max = quota.queries_running_max.unwrap_or_default();
            let message = format!(
                "table `{name}` has {max} queries running{of_brokers}, its \
                 `quota.maxQueriesRunning`; send it again later"
            );
            return Some(("running", message));
        }
        if part.rate(table).is_some() && !is_counted && self.allowance < 1.0 {
            let rate = quota.queries_per_second.unwrap_or_default();
            let message = format!(
                "table `{name}` has more than {rate} queries a second{of_brokers}, its \
                 `quota.maxQueriesPerSecond`; send it again later"
            );
            return Some(("rate", message));
        }
        None
    }
}

/// Counts as running until it is dropped.
struct Running {
    quotas: Arc<Quotas>,
    tables: Vec<TableId>,
}

impl Drop for Running {
    fn drop(&mut self) {
        let mut all = self.quotas.tables.lock();
        for table in &self.tables {
            if let Some(used) = all.get_mut(table) {
                used.running -= 1;
            }
        }
    }
}

/// Of the tables of a query that have a limit.
#[derive(Debug)]
struct TablesMemory {
    tables: Vec<TableMemory>,
    refused: IntCounterVec,
}

#[derive(Debug)]
struct TableMemory {
    table: String,
    bytes_max: usize,
    bytes: Arc<AtomicUsize>,
}

impl Memory for TablesMemory {
    fn take(&self, bytes: usize) -> Result<(), Fault> {
        self.grow(bytes);
        let full = self.tables.iter().find(|table| {
            let held = table.bytes.load(Ordering::Relaxed);
            held > table.bytes_max
        });
        let Some(full) = full else { return Ok(()) };
        self.give_back(bytes);
        self.refused.with_label_values(&["memory"]).inc();
        Err(too_many(format!(
            "the queries of table `{}` hold {} bytes here, its `quota.maxQueryMemory`, and \
             this one needs {bytes} more; send it again later, or ask for less",
            full.table, full.bytes_max
        )))
    }

    fn grow(&self, bytes: usize) {
        for table in &self.tables {
            table.bytes.fetch_add(bytes, Ordering::Relaxed);
        }
    }

    fn give_back(&self, bytes: usize) {
        for table in &self.tables {
            table.bytes.fetch_sub(bytes, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests;
