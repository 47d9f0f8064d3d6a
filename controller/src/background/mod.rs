//! Tasks with segments: what is due by a table's config becomes tasks, and what becomes of
//! them.
//!
//! Decisions are pure functions, one file for each type: from segments, watermarks and open tasks
//! to orders. Invariants: a segment is in one open task at most; tasks come in the transaction
//! that says on their table that they came; a task that is over leaves no replacement under way.

mod compact;
mod ending;
mod merge;
mod single;
mod to_offline;

pub(crate) use ending::done_before;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use metastore::catalog::StoredTable;
use schemas::cluster::{SegmentState, TableState};
use schemas::proto::ConsumerState;
use schemas::segment::SegmentRecord;
use schemas::task::{
    CompactOrder, ExportOrder, InputSegment, RewriteOrder, Task, TaskKind, TaskSpec, TaskType,
    TaskWork, Trigger,
};
use schemas::{Fault, SegmentId, TableType};
use uuid::Uuid;

use crate::state::State;

/// Others may change the same table meanwhile.
const ATTEMPTS_MAX: usize = 10;

/// What is known when it is decided what is due.
#[derive(Debug)]
struct Known<'a> {
    /// The table whose config says so.
    table: &'a TableState,
    /// Whose segments come.
    target: &'a TableState,
    /// Of the target.
    watermarks: &'a BTreeMap<String, i64>,
    /// When what the segments are made by changed last.
    spec_changed_ms: i64,
    /// Inputs of open tasks.
    busy: &'a BTreeSet<SegmentId>,
    /// The table is being exported.
    is_exporting: bool,
    /// Of sealed segments of a table whose keys have rules: rows by which none is known, as servers
    /// say.
    dead: &'a HashMap<SegmentId, u64>,
    /// What consumes, as far as it was heard.
    consumers: &'a [ConsumerState],
    now_ms: i64,
}

/// What is due.
#[derive(Debug, Default, PartialEq)]
struct Plan {
    orders: Vec<RewriteOrder>,
    exports: Vec<ExportOrder>,
    compactions: Vec<CompactOrder>,
    /// Of the target: up to there nothing is left to be done.
    watermarks: Vec<(String, i64)>,
    /// Why nothing more is due, for people.
    waits: Option<String>,
}

impl Plan {
    fn waiting(why: impl Into<String>) -> Self {
        Self {
            waits: Some(why.into()),
            ..Self::default()
        }
    }
}

/// Several tasks that are ordered together, as Pinot's one.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) name: String,
    trigger: Trigger,
    parts: u32,
}

impl Job {
    pub(crate) fn new(task_type: TaskType, trigger: Trigger, now_ms: i64) -> Self {
        let (name, id) = (task_type.name(), Uuid::new_v4());
        Self {
            name: format!("Task_{name}_{id}_{now_ms}"),
            trigger,
            parts: 0,
        }
    }

    pub(crate) fn parts(&self) -> u32 {
        self.parts
    }
}

/// What came of asking for what is due.
#[derive(Debug)]
pub(crate) struct Ordered {
    pub(crate) tasks: usize,
    pub(crate) waits: Option<String>,
}

impl State {
    /// Orders what is due by `spec` of a table.
    pub(crate) async fn order_due(
        &self,
        table: &Arc<TableState>,
        spec: &TaskSpec,
        job: &mut Job,
    ) -> Result<Ordered, Fault> {
        let name = table.spec.physical_name();
        let Some(target) = self.target(table, spec) else {
            return Ok(Ordered {
                tasks: 0,
                waits: Some(format!(
                    "there is no table `{}_OFFLINE` to which the rows could go; create it",
                    table.spec.name
                )),
            });
        };
        let id = target.spec.id;
        for _ in 0..ATTEMPTS_MAX {
            let gone = || Fault::not_found(format!("table `{name}` does not exist"));
            let stored = self.catalog.table(id).await?.ok_or_else(gone)?;
            let open = self.catalog.tasks().await?;
            let busy = busy(&open);
            let consumers = self.consumers(table).into_iter().map(|(_, one)| one);
            let consumers: Vec<ConsumerState> = consumers.collect();
            let dead = self.dead_rows(table);
            let now_ms = self.clock.now_ms();
            let plan = plan(
                &Known {
                    table,
                    target: &target,
                    watermarks: &stored.value.watermarks,
                    spec_changed_ms: stored.value.spec_changed_ms,
                    busy: &busy,
                    is_exporting: is_exporting(&open, &name),
                    dead: &dead,
                    consumers: &consumers,
                    now_ms,
                },
                &spec.work,
            );
            let kinds = kinds(plan.orders, plan.exports, plan.compactions);
            let tasks: Vec<Task> = kinds
                .take(spec.tasks_max as usize)
                .zip(job.parts..)
                .map(|(kind, part)| Task {
                    submitted_ms: now_ms,
                    job: job.name.clone(),
                    part,
                    trigger: job.trigger,
                    attempts_max: spec.attempts_max,
                    ..Task::new(kind)
                })
                .collect();
            let task_type = spec.work.task_type();
            let note = |stored: &mut StoredTable| {
                stored.scheduled.insert(task_type, now_ms);
                stored.watermarks.extend(plan.watermarks);
            };
            if self.catalog.order_tasks(stored, note, &tasks).await? {
                job.parts += tasks.len() as u32;
                return Ok(Ordered {
                    tasks: tasks.len(),
                    waits: plan.waits,
                });
            }
        }
        Err(Fault::unavailable(format!(
            "table `{name}` is changed again and again; try again"
        )))
    }

    /// Of the files that the catalog names, as those say who hold them.
    fn dead_rows(&self, table: &TableState) -> HashMap<SegmentId, u64> {
        let view = self.view.lock();
        let mut dead = HashMap::new();
        for record in table.segments.iter().map(|one| &one.record) {
            let holders = view.instances.values().filter(|one| one.alive);
            let told = holders.filter_map(|one| one.held.dead(record)).max();
            dead.extend(told.map(|rows| (record.id, u64::from(rows))));
        }
        dead
    }

    /// Whose segments come, and with which is kept what was done.
    pub(crate) fn target(
        &self,
        table: &Arc<TableState>,
        spec: &TaskSpec,
    ) -> Option<Arc<TableState>> {
        if !matches!(spec.work, TaskWork::Move(_)) {
            return Some(Arc::clone(table));
        }
        let mut all = self.tables().into_iter();
        all.find(|other| {
            other.spec.name == table.spec.name && other.spec.table_type == TableType::Offline
        })
    }
}

fn plan(known: &Known<'_>, work: &TaskWork) -> Plan {
    match work {
        TaskWork::Merge(spec) => merge::plan(known, spec),
        TaskWork::Move(spec) => to_offline::plan(known, spec),
        TaskWork::Purge(spec) => single::purge(known, spec),
        TaskWork::Refresh => single::refresh(known),
        TaskWork::Export => single::export(known),
        TaskWork::Compact(spec) => compact::plan(known, spec),
    }
}

fn kinds(
    orders: Vec<RewriteOrder>,
    exports: Vec<ExportOrder>,
    compactions: Vec<CompactOrder>,
) -> impl Iterator<Item = TaskKind> {
    let orders = orders.into_iter().map(Box::new).map(TaskKind::Rewrite);
    let exports = exports.into_iter().map(Box::new).map(TaskKind::Export);
    let compactions = compactions.into_iter().map(Box::new);
    let orders = orders.chain(exports);
    orders.chain(compactions.map(TaskKind::Compact))
}

fn busy(open: &[Task]) -> BTreeSet<SegmentId> {
    let open = open.iter().filter(|task| !task.is_over());
    let inputs = open.filter_map(|task| match &task.kind {
        TaskKind::Rewrite(order) => Some(&order.inputs),
        TaskKind::Compact(order) => Some(&order.inputs),
        _ => None,
    });
    inputs.flatten().map(|input| input.id).collect()
}

fn is_exporting(open: &[Task], table: &str) -> bool {
    let mut open = open.iter().filter(|task| !task.is_over());
    open.any(|task| matches!(&task.kind, TaskKind::Export(order) if order.table_name == table))
}

impl<'a> Known<'a> {
    /// Sealed segments that queries see, with their file in the deep store.
    fn sealed(&self) -> impl Iterator<Item = (&'a SegmentState, InputSegment)> {
        let seen = self.table.seen().filter(|one| one.record.is_done());
        seen.filter_map(|one| Some((one, InputSegment::of(&one.record)?)))
    }

    fn is_busy(&self, record: &SegmentRecord) -> bool {
        self.busy.contains(&record.id)
    }

    fn order(&self, task_type: TaskType, inputs: Vec<InputSegment>) -> RewriteOrder {
        RewriteOrder {
            task_type,
            table_name: self.table.spec.physical_name(),
            target: self.target.spec.id,
            inputs,
            window_ms: None,
            bucket_ms: None,
            round_ms: None,
            merge: Default::default(),
            roll_up: Vec::new(),
            filter: None,
            rows_max: ROWS_MAX,
            level: None,
            watermark: None,
        }
    }
}

/// Of a segment, where no config says it.
const ROWS_MAX: u32 = 5_000_000;

/// The bucket that a moment is in begins here.
fn floor(ms: i64, bucket_ms: i64) -> i64 {
    ms.div_euclid(bucket_ms).saturating_mul(bucket_ms)
}

/// The moments at which the schedules of tables are due next.
pub(crate) type Due = HashMap<(schemas::TableId, TaskType, String), i64>;

#[cfg(test)]
mod tests;
