//! The operator: workers take blocks of the segments, then the groups of all segments are joined.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::common::config::ConfigOptions;
use datafusion::common::{DataFusionError, Result};
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::utils::collect_columns;
use datafusion::physical_plan::aggregates::AggregateExec;
use datafusion::physical_plan::filter_pushdown::{
    ChildPushdownResult, FilterPushdownPhase, FilterPushdownPropagation,
};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties};
use futures::{StreamExt, TryStreamExt, stream};
use query::scan_exec::ScanDescription;
use runtime::compute::Turn;
use schemas::TableSpec;
use schemas::proto::Explain;
use segment::SegmentView;

use super::aggregate::{Aggregate, Kind, Width};
use super::chosen::chosen;
use super::chunks::{Chunks, is_short, share};
use super::derived::{self, KeyColumn};
use super::enough::Enough;
use super::entries::{self, ByEntry};
use super::grouped::{GroupKeys, Grouped, Piece};
use super::linear::Linear;
use super::merge::merge;
use super::most::{By, Limit, Rank};
use super::partitioned;
use super::plan::{Output, replace_columns};
use super::star_tree::Trees;
use super::states::States;
use super::waiting::{finished, leaves_few};
use super::whole::Wholes;
use super::worker::{Common, Part, Worker};
use crate::filter::Filters;
use crate::learned;
use crate::memory::bytes_of;
use crate::morsels::Morsels;
use crate::predicate::Compiler;
use crate::prepared::{Bound, Run, run_of};
use crate::scan_exec::{ServerScanExec, at_once};
use crate::shared::Shared;
use crate::stats::Counters;

/// Which groups somebody wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    All,
    /// So many with the most rows, or of what else they are chosen by, and all that have as much as
    /// the last; there may be others, which need not have all of their rows.
    Most(usize, By),
    /// Any so many.
    Any(usize),
}

#[derive(Clone, Debug)]
pub(crate) struct NativeAggregateExec {
    pub(crate) description: Arc<ScanDescription>,
    pub(crate) spec: Arc<TableSpec>,
    segments: Arc<Vec<SegmentView>>,
    pub(super) shared: Arc<Shared>,
    /// That make groups; over the columns of the table.
    pub(crate) keys: Vec<Arc<dyn PhysicalExpr>>,
    /// All that are given out.
    key_columns: Arc<Vec<KeyColumn>>,
    /// Whose states are kept.
    pub(super) aggregates: Arc<Vec<Aggregate>>,
    /// What is answered, each with the place of its states among those that are kept.
    answers: Arc<Vec<(usize, Aggregate)>>,
    pub(super) entries: Option<ByEntry>,
    output: Output,
    /// What values are given out in the place of.
    pub(super) whole: Option<Arc<AggregateExec>>,
    /// The final aggregate over its states is on this server, and takes from the same memory.
    is_joined_here: bool,
    /// Any so many groups will do.
    pub(super) few: Option<usize>,
    /// Groups with less of this are not asked for; there may be such.
    least: Option<(f64, By)>,
    /// Exactly that of the aggregate that is replaced.
    schema: SchemaRef,
    properties: Arc<PlanProperties>,
}

impl NativeAggregateExec {
    pub(super) fn new(
        scan: &ServerScanExec,
        (keys, entries): (Vec<Arc<dyn PhysicalExpr>>, Option<ByEntry>),
        aggregates: Vec<Aggregate>,
        output: Output,
        replaced: &AggregateExec,
    ) -> Result<Self> {
        let (keys, key_columns) = match entries {
            None => derived::split(keys, &scan.description.table_schema)?,
            Some(_) => derived::as_they_are(keys),
        };
        let (kept, answers) = shared(aggregates);
        // Which columns are equal or constant, what is above relies on; they come in no order.
        let mut known = replaced.properties().equivalence_properties().clone();
        known.clear_orderings();
        Ok(Self {
            description: Arc::clone(&scan.description),
            spec: Arc::clone(&scan.spec),
            segments: Arc::clone(&scan.segments),
            shared: Arc::clone(&scan.shared),
            keys,
            key_columns: Arc::new(key_columns),
            aggregates: Arc::new(kept),
            answers: Arc::new(answers),
            entries,
            output,
            whole: None,
            is_joined_here: false,
            few: None,
            least: None,
            schema: replaced.schema(),
            properties: at_once(known),
        })
    }

    /// The same for another run; `None`: its segments need another plan.
    pub(crate) fn bound(&self, run: &Run) -> Option<Self> {
        let Bound {
            description,
            spec,
            segments,
            shared,
        } = run.bind(&self.description)?;
        if let Some(by) = self.entries {
            let name = description.table_schema.field(by.column).name();
            if !entries::are_in(&segments, name).ok()? {
                return None;
            }
        }
        Some(Self {
            description,
            spec,
            segments,
            shared,
            ..self.clone()
        })
    }

    /// The same for a final aggregate here.
    pub(super) fn joined_here(self) -> Self {
        Self {
            is_joined_here: true,
            ..self
        }
    }

    /// Reads what the other reads, for a final aggregate here.
    pub(super) fn joined_above(self, other: &Self) -> Self {
        Self {
            is_joined_here: true,
            description: Arc::clone(&other.description),
            spec: Arc::clone(&other.spec),
            segments: Arc::clone(&other.segments),
            shared: Arc::clone(&other.shared),
            ..self
        }
    }

    /// The same over other rows of the table.
    pub(super) fn reading(&self, description: Arc<ScanDescription>) -> Self {
        Self {
            description,
            ..self.clone()
        }
    }

    /// The same where only groups are asked for that have at least so much in a column; all of them
    /// where nothing is chosen by that column.
    pub(crate) fn at_least(mut self, column: usize, mark: f64) -> Self {
        self.least = self.chosen_by(column, true).map(|by| (mark, by));
        self
    }

    /// As [`Self::at_least`], of those that have at most so much.
    pub(crate) fn at_most(mut self, column: usize, mark: f64) -> Self {
        self.least = self.chosen_by(column, false).map(|by| (mark, by));
        self
    }

    /// Whether groups need not be there for a condition on them.
    pub(crate) fn leaves_out(&self) -> bool {
        self.least.is_some()
    }

    /// What the groups are given out as.
    pub(crate) fn output(&self) -> Output {
        self.output
    }

    /// Rows of the table here, whether they match or not.
    pub(crate) fn rows(&self) -> u64 {
        let rows = self.segments.iter().map(|view| u64::from(view.row_count()));
        rows.sum()
    }

    /// Rows that are read at most, where that is told quickly and they are few; else all rows. It
    /// takes a few microseconds, and a thread that is not needed many.
    pub(crate) fn rows_to_read(&self) -> Result<u64> {
        let rows = self.rows();
        if rows <= self.shared.rows_here_max() || self.shared.options.explain() != Explain::None {
            return Ok(rows);
        }
        // Told by those who read.
        let counters = Counters::default();
        let alone_max = self.shared.rows_per_worker() - 1;
        let most = self.filters(&counters).matches_at_most(alone_max)?;
        Ok(most.unwrap_or(rows))
    }

    pub(super) fn filters<'a>(&'a self, counters: &'a Counters) -> Filters<'a> {
        let options = &self.shared.options;
        Filters::new(
            &self.description,
            &self.spec,
            &self.segments,
            options,
            counters,
        )
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Whether the column of the answer counts all rows of each group.
    pub(crate) fn counts_rows(&self, column: usize) -> bool {
        let aggregate = column.checked_sub(self.key_columns.len());
        let answer = aggregate.and_then(|at| self.answers.get(at));
        self.output == Output::Values && answer.is_some_and(|(_, own)| own.counts_rows())
    }

    /// How the first groups in the order of a column are chosen; `None`: not before all are joined.
    pub(crate) fn chosen_by(&self, column: usize, descending: bool) -> Option<By> {
        if self.counts_rows(column) {
            return descending.then_some(By::Rows);
        }
        let answer = column.checked_sub(self.key_columns.len())?;
        let (states, own) = self.answers.get(answer)?;
        let rank = match (own.kind, descending) {
            (Kind::Sum, true) => Rank::Sum,
            (Kind::Avg, true) => Rank::Mean,
            (Kind::Max, true) => Rank::Greatest,
            (Kind::Min, false) => Rank::Least,
            _ => return None,
        };
        let is_number = own.width != Width::Own && own.linear == Linear::IDENTITY;
        if self.output != Output::Values || !is_number {
            return None;
        }
        let mut at = *states;
        for (run, aggregates) in self.runs().enumerate() {
            match at.checked_sub(aggregates.len()) {
                None => return Some(By::Aggregate { run, at, rank }),
                Some(behind) => at = behind,
            }
        }
        None
    }

    /// Reads about so many rows of the table and joins the groups of all segments. To be called on
    /// a core of the pool, or here for few rows.
    pub(crate) fn grouped(
        &self,
        turn: &mut Turn,
        memory: &MemoryReservation,
        rows: u64,
        wanted: Wanted,
    ) -> Result<Grouped> {
        self.grouped_or_given_out(turn, memory, (rows, wanted), None)
    }

    /// As [`Self::grouped`]; where memory is short, states go out as `chunks`.
    fn grouped_or_given_out(
        &self,
        turn: &mut Turn,
        memory: &MemoryReservation,
        (rows, wanted): (u64, Wanted),
        chunks: Option<&Chunks>,
    ) -> Result<Grouped> {
        let filters = self.filters(&self.shared.counters);
        let trees = Trees::new(self, &self.segments);
        let least = self.least.map(|(mark, by)| (Limit::Mark(mark), by));
        let (limit, few) = match wanted {
            Wanted::All => (least, self.few),
            Wanted::Most(most, by) => (Some((Limit::First(most), by)), None),
            Wanted::Any(few) => (None, Some(few)),
        };
        if let Wanted::Any(few) = wanted
            && !self.aggregates.is_empty()
            && let Some(chosen) = chosen(self, turn, &trees, (rows, few))?
        {
            return chosen.grouped_or_given_out(turn, memory, (rows, Wanted::All), chunks);
        }
        let few = few.filter(|_| self.aggregates.is_empty());
        if !self.is_joined_here && few.is_none() {
            let leaves_few = limit.is_some_and(|limit| leaves_few(limit, rows));
            let whence = (&filters, &trees);
            match partitioned::grouped(self, turn, memory, whence, (rows, leaves_few)) {
                Ok(Some(grouped)) => return Ok(grouped),
                Ok(None) => {}
                Err(error) if is_short(&error) && chunks.is_some() => {}
                Err(error) => return Err(error),
            }
        }
        let wholes = Wholes::new(self, &self.segments);
        let morsels = Morsels::new(&self.segments, self.shared.morsel_blocks());
        // Rows with several keys are so much more work.
        let worth = rows.saturating_mul(self.keys.len().max(1) as u64);
        let workers = self.shared.workers(worth);
        // Their keys are all that is asked of any few groups.
        let enough = few.map(Enough::new);
        let common = Common {
            filters: &filters,
            trees: &trees,
            wholes: &wholes,
            waits: limit.map(|(_, by)| by),
            enough: enough.as_ref(),
            chunks,
        };
        let parts = turn.split(workers, |turn| {
            let worker = Worker::new(self, &self.segments, common, memory.new_empty());
            worker.run(turn, &morsels)
        });
        let (mut own, mut waiting) = (Vec::new(), Vec::new());
        for part in parts {
            let (done, others, held) = part?;
            memory.grow(held.size());
            own.extend(done);
            waiting.extend(others);
        }
        if let Some(limit) = limit.filter(|_| !waiting.is_empty()) {
            own.extend(finished(turn, workers, waiting, (own.is_empty(), limit))?);
        }
        // What is joined is as large as its parts.
        let bytes = own.iter().map(Part::memory_bytes).sum();
        if let Err(error) = memory.try_grow(bytes) {
            let chunks = chunks.filter(|_| is_short(&error)).ok_or(error)?;
            chunks.put(turn, self, std::mem::take(&mut own))?;
        }
        merge(self, turn, workers, own)
    }

    pub(super) fn compiler<'a>(&'a self, view: &'a SegmentView) -> Compiler<'a, 'a> {
        Compiler {
            view,
            spec: &self.spec,
            table_schema: &self.description.table_schema,
            null_mode: self.description.null_mode,
            options: &self.shared.options,
            counters: &self.shared.counters,
        }
    }

    pub(crate) fn segments(&self) -> &[SegmentView] {
        &self.segments
    }

    /// Columns that keys and arguments are, or about as many.
    pub(super) fn columns(&self) -> u64 {
        let arguments = self.aggregates.iter().flat_map(Aggregate::arguments);
        (self.keys.len() + arguments.count()) as u64
    }

    /// The aggregates that are kept, those that read the same together.
    pub(super) fn runs(&self) -> impl Iterator<Item = &[Aggregate]> {
        self.aggregates.chunk_by(Aggregate::reads_with)
    }

    pub(super) fn empty(&self, groups: usize) -> Result<Vec<States>> {
        let aggregates = self.aggregates.iter();
        aggregates.map(|own| States::empty(own, groups)).collect()
    }

    /// Whether accumulators of DataFusion are among its own.
    pub(super) fn is_general(&self) -> bool {
        self.aggregates.iter().any(|own| own.general.is_some())
    }

    pub(super) fn grouped_of(&self, keys: GroupKeys, pieces: Vec<Piece>) -> Grouped {
        Grouped {
            schema: Arc::clone(&self.schema),
            output: self.output,
            answers: Arc::clone(&self.answers),
            key_columns: Arc::clone(&self.key_columns),
            keys,
            pieces,
        }
    }

    /// Rows of all groups; those for which there is no memory go out as `chunks`.
    fn all(
        &self,
        turn: &mut Turn,
        memory: &MemoryReservation,
        rows: u64,
        chunks: Option<&Chunks>,
    ) -> Result<Vec<RecordBatch>> {
        let wanted = (rows, Wanted::All);
        let grouped = self.grouped_or_given_out(turn, memory, wanted, chunks)?;
        let mut all = Vec::with_capacity(grouped.pieces());
        for piece in (0..grouped.pieces()).filter(|piece| grouped.len(*piece) > 0) {
            let rows = grouped.rows(piece, None)?;
            match (memory.try_grow(bytes_of(&rows) as usize), chunks) {
                (Ok(()), _) => all.push(rows),
                (Err(_), Some(chunks)) => chunks.send(turn, &rows)?,
                (Err(error), None) => return Err(error),
            }
        }
        Ok(all)
    }

    async fn stream(self: Arc<Self>, task: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let rows = self.rows_to_read()?;
        let memory = MemoryConsumer::new("native aggregate").register(task.memory_pool());
        if self.output == Output::States && rows > self.shared.rows_here_max() {
            let bytes_max = match self.is_joined_here {
                true => share(task.memory_pool().as_ref(), self.shared.workers(rows)),
                false => usize::MAX,
            };
            return Ok(self.in_turn(memory, rows, bytes_max));
        }
        let own = Arc::clone(&self);
        let job = move |turn: &mut Turn| own.all(turn, &memory, rows, None);
        match self.shared.run(rows, job).await {
            Ok(batches) => {
                let batches = stream::iter(batches).map(Ok);
                let schema = Arc::clone(&self.schema);
                Ok(Box::pin(RecordBatchStreamAdapter::new(schema, batches)))
            }
            Err(error) if is_short(&error) => match self.in_chunks()? {
                Some(joined) => joined.execute(0, task),
                None => Err(error),
            },
            Err(error) => Err(error),
        }
    }

    /// Batches while rows are read, if memory is short.
    fn in_turn(
        self: Arc<Self>,
        memory: MemoryReservation,
        rows: u64,
        bytes_max: usize,
    ) -> SendableRecordBatchStream {
        let schema = Arc::clone(&self.schema);
        let (chunks, batches) = Chunks::new(bytes_max);
        let job = async move {
            let shared = Arc::clone(&self.shared);
            let job = move |turn: &mut Turn| self.all(turn, &memory, rows, Some(&chunks));
            let last = shared.run(rows, job).await?;
            Ok::<_, DataFusionError>(stream::iter(last).map(Ok))
        };
        let batches = stream::unfold(batches, |mut batches| async move {
            let batch = batches.recv().await?;
            Some((Ok(batch), batches))
        });
        let all = stream::select(batches, stream::once(job).try_flatten());
        Box::pin(RecordBatchStreamAdapter::new(schema, all))
    }
}

/// The aggregates whose states are kept, those that read the same side by side; and each with the
/// place of the states that answer it.
fn shared(aggregates: Vec<Aggregate>) -> (Vec<Aggregate>, Vec<(usize, Aggregate)>) {
    let mut kept: Vec<Aggregate> = Vec::new();
    // What only counts values may be answered by any other.
    let counts = |aggregate: &&Aggregate| aggregate.kind == Kind::Count;
    let last = aggregates.iter().filter(counts);
    for aggregate in aggregates.iter().filter(|own| !counts(own)).chain(last) {
        if kept.iter().any(|own| own.answers(aggregate)) {
            continue;
        }
        let beside = kept.iter().rposition(|own| own.reads_with(aggregate));
        let at = beside.map_or(kept.len(), |at| at + 1);
        kept.insert(at, aggregate.clone());
    }
    let answers = aggregates.into_iter().filter_map(|aggregate| {
        let at = kept.iter().position(|own| own.answers(&aggregate))?;
        Some((at, aggregate))
    });
    let answers = answers.collect();
    (kept, answers)
}

impl DisplayAs for NativeAggregateExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter) -> fmt::Result {
        let keys = self.key_columns.iter().map(|key| key.expr.to_string());
        let keys: Vec<String> = keys.collect();
        write!(f, "NativeAggregateExec: keys=[{}]", keys.join(", "))?;
        if let Some(entries) = self.entries {
            let name = self.description.table_schema.field(entries.column).name();
            write!(f, ", entries of {name}")?;
        }
        let aggregates = self.answers.iter().map(|(_, aggregate)| {
            let name = aggregate.name();
            let filter = match &aggregate.filter {
                Some(filter) => format!(" where {filter}"),
                None => String::new(),
            };
            let arguments: Vec<String> = aggregate.arguments().map(ToString::to_string).collect();
            match &arguments[..] {
                [] => format!("{name}(*){filter}"),
                own => format!("{name}({}){}{filter}", own.join(", "), aggregate.linear),
            }
        });
        let aggregates = aggregates.collect::<Vec<_>>().join(", ");
        let segments = self.segments.len();
        let output = match self.output {
            Output::States => "states",
            Output::Values => "values",
        };
        write!(
            f,
            ", aggregates=[{aggregates}], output={output}, {}, segments={segments}",
            self.description
        )
    }
}

impl ExecutionPlan for NativeAggregateExec {
    fn name(&self) -> &str {
        "NativeAggregateExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    query::leaf!(description);

    /// Of groups only the keys are known to operators above.
    fn handle_child_pushdown_result(
        &self,
        _: FilterPushdownPhase,
        offered: ChildPushdownResult,
        _: &ConfigOptions,
    ) -> Result<FilterPushdownPropagation<Arc<dyn ExecutionPlan>>> {
        let over_table = |filter: &Arc<dyn PhysicalExpr>| {
            // What is true of an entry is not so of the row's others.
            let is_of_entries = |expr: &Arc<dyn PhysicalExpr>| {
                let by = self.entries.map(|by| by.column);
                collect_columns(expr)
                    .iter()
                    .any(|own| Some(own.index()) == by)
            };
            let key = |column: &Column| {
                let key = self.key_columns.get(column.index());
                let key = key.filter(|key| !is_of_entries(&key.expr));
                key.map(|key| Arc::clone(&key.expr))
            };
            let is_of_keys = collect_columns(filter).iter().all(|c| key(c).is_some());
            let over_table = || replace_columns(Arc::clone(filter), key).ok();
            is_of_keys.then(over_table).flatten()
        };
        Ok(learned::answered(
            &self.description,
            offered,
            over_table,
            |description| Arc::new(self.reading(description)),
        ))
    }

    fn with_new_state(&self, state: Arc<dyn Any + Send + Sync>) -> Option<Arc<dyn ExecutionPlan>> {
        Some(Arc::new(self.bound(run_of(&state)?)?))
    }

    fn execute(&self, _: usize, task: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let batches = stream::once(Arc::new(self.clone()).stream(task));
        Ok(Box::pin(RecordBatchStreamAdapter::new(
            Arc::clone(&self.schema),
            batches.try_flatten(),
        )))
    }
}
