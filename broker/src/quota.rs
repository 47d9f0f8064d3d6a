//! Quotas of tables and of tenants: how many queries a second, how many at once, and how much
//! memory they may hold together.
//!
//! Invariants: a quota is of all brokers together, and each gives out an equal part of it; a query
//! needs leave of every table that it reads, and of their tenants, and takes nothing of any when
//! one refuses. What is refused costs its planning and nothing else.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use prometheus::IntCounterVec;
use query::{Gate, Memory, Pass};
use runtime::Clock;
use schemas::cluster::{ClusterState, Role};
use schemas::fault::pinot_code;
use schemas::table::QuotaSpec;
use schemas::{Fault, FaultKind, TableId};

#[derive(Debug)]
pub(crate) struct Quotas {
    clock: Arc<dyn Clock>,
    /// By limit.
    refused: IntCounterVec,
    tenants: HashMap<String, QuotaSpec>,
    used: Mutex<HashMap<Owner, Used>>,
}

/// Whose quota it is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Owner {
    Table(TableId),
    Tenant(String),
}

/// A quota that a query needs leave of.
#[derive(Clone, Debug)]
struct Limited {
    quota: QuotaSpec,
    /// For people.
    owner: String,
    /// Where the quota is set, before its key.
    place: &'static str,
}

/// What queries of an owner took.
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
    pub(crate) fn new(
        clock: Arc<dyn Clock>,
        refused: IntCounterVec,
        tenants: impl IntoIterator<Item = (String, QuotaSpec)>,
    ) -> Self {
        Self {
            clock,
            refused,
            tenants: tenants.into_iter().collect(),
            used: Mutex::default(),
        }
    }

    /// Each once, in one order.
    fn limited(&self, names: &BTreeSet<String>, cluster: &ClusterState) -> Vec<(Owner, Limited)> {
        let mut all = BTreeMap::new();
        for table in names.iter().flat_map(|name| cluster.resolve(name)) {
            let spec = &table.spec;
            if !spec.quota.is_usual() {
                let limited = Limited {
                    quota: spec.quota,
                    owner: format!("table `{}`", spec.physical_name()),
                    place: "`quota.",
                };
                all.insert(Owner::Table(spec.id), limited);
            }
            let tenant = &spec.placement.server_tenant;
            if let Some(quota) = self.tenants.get(tenant) {
                let limited = Limited {
                    quota: *quota,
                    owner: format!("tenant `{tenant}`"),
                    place: "`broker.tenant_quotas` with `",
                };
                all.insert(Owner::Tenant(tenant.clone()), limited);
            }
        }
        all.into_iter().collect()
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
        let limited = self.quotas.limited(names, cluster);
        if limited.is_empty() {
            return Ok(Pass::new((), None));
        }
        let part = Part::of(cluster);
        let now = self.quotas.clock.monotonic();
        let mut all = self.quotas.used.lock();
        all.retain(|owner, used| {
            let is_gone = matches!(owner, Owner::Table(id) if !cluster.tables.contains_key(id));
            used.running > 0 || !is_gone
        });
        let is_counted = self.counted.load(Ordering::Relaxed);
        for (owner, limited) in &limited {
            let used = all.entry(owner.clone()).or_insert_with(|| Used::new(now));
            used.refill(part.rate(limited), now);
            let refused = used.refusal(limited, &part, is_counted);
            if let Some((limit, message)) = refused {
                return Err(self.quotas.refusal(limit, message));
            }
        }
        self.counted.store(true, Ordering::Relaxed);
        let mut memory = Vec::new();
        for (owner, limited) in &limited {
            let Some(used) = all.get_mut(owner) else {
                continue;
            };
            used.running += 1;
            if part.rate(limited).is_some() && !is_counted {
                used.allowance -= 1.0;
            }
            memory.extend(part.bytes(limited).map(|bytes_max| OwnersMemory {
                of: limited.clone(),
                bytes_max,
                bytes: Arc::clone(&used.bytes),
            }));
        }
        let memory = (!memory.is_empty()).then(|| {
            Arc::new(MemoryOfAll {
                owners: memory,
                refused: self.quotas.refused.clone(),
            }) as Arc<dyn Memory>
        });
        let running = Running {
            quotas: Arc::clone(&self.quotas),
            owners: limited.into_iter().map(|(owner, _)| owner).collect(),
        };
        Ok(Pass::new(running, memory))
    }
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

    fn rate(&self, limited: &Limited) -> Option<f64> {
        let all = limited.quota.queries_per_second?;
        Some(all / self.brokers as f64)
    }

    fn running(&self, limited: &Limited) -> Option<usize> {
        let all = limited.quota.queries_running_max? as usize;
        Some(all.div_ceil(self.brokers))
    }

    fn bytes(&self, limited: &Limited) -> Option<usize> {
        let all = limited.quota.memory_bytes_max? as usize;
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
        limited: &Limited,
        part: &Part,
        is_counted: bool,
    ) -> Option<(&'static str, String)> {
        let Limited {
            quota,
            owner,
            place,
        } = limited;
        let of_brokers = match part.brokers {
            1 => String::new(),
            brokers => format!(" of {brokers} brokers together"),
        };
        if part.running(limited).is_some_and(|max| self.running >= max) {
            let max = quota.queries_running_max.unwrap_or_default();
            let message = format!(
                "{owner} has {max} queries running{of_brokers}, its \
                 {place}maxQueriesRunning`; send it again later"
            );
            return Some(("running", message));
        }
        if part.rate(limited).is_some() && !is_counted && self.allowance < 1.0 {
            let rate = quota.queries_per_second.unwrap_or_default();
            let message = format!(
                "{owner} has more than {rate} queries a second{of_brokers}, its \
                 {place}maxQueriesPerSecond`; send it again later"
            );
            return Some(("rate", message));
        }
        None
    }
}

/// Counts as running until it is dropped.
struct Running {
    quotas: Arc<Quotas>,
    owners: Vec<Owner>,
}

impl Drop for Running {
    fn drop(&mut self) {
        let mut all = self.quotas.used.lock();
        for owner in &self.owners {
            if let Some(used) = all.get_mut(owner) {
                used.running -= 1;
            }
        }
    }
}

/// Of all owners of a query that have a limit.
#[derive(Debug)]
struct MemoryOfAll {
    owners: Vec<OwnersMemory>,
    refused: IntCounterVec,
}

#[derive(Debug)]
struct OwnersMemory {
    of: Limited,
    bytes_max: usize,
    bytes: Arc<AtomicUsize>,
}

impl Memory for MemoryOfAll {
    fn take(&self, bytes: usize) -> Result<(), Fault> {
        self.grow(bytes);
        let full = self.owners.iter().find(|one| {
            let held = one.bytes.load(Ordering::Relaxed);
            held > one.bytes_max
        });
        let Some(full) = full else { return Ok(()) };
        self.give_back(bytes);
        self.refused.with_label_values(&["memory"]).inc();
        Err(too_many(format!(
            "the queries of {} hold {} bytes here, its {}maxQueryMemory`, and this one needs \
             {bytes} more; send it again later, or ask for less",
            full.of.owner, full.bytes_max, full.of.place
        )))
    }

    fn grow(&self, bytes: usize) {
        for one in &self.owners {
            one.bytes.fetch_add(bytes, Ordering::Relaxed);
        }
    }

    fn give_back(&self, bytes: usize) {
        for one in &self.owners {
            one.bytes.fetch_sub(bytes, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests;
