//! The operator: workers take segment after segment, then the states of all segments are joined.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::{DataType, SchemaRef};
use datafusion::common::Result;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr};
use datafusion::physical_plan::execution_plan::{
    Boundedness, EmissionType, ReplaceChildrenOptions,
};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, Partitioning, PlanProperties,
};
use futures::future::try_join_all;
use futures::stream;
use query::scan_exec::ScanDescription;
use runtime::compute::Turn;
use schemas::TableSpec;
use schemas::proto::IndexKind;
use segment::SegmentView;

use super::accumulate::Accumulator;
use super::fold::{self, Slots};
use super::groups::Groups;
use super::keys::Key;
use super::merge::merge;
use super::number::BlockRows;
use super::plan::Aggregate;
use crate::columns::{batch, external};
use crate::filter::SegmentFilter;
use crate::memory::bytes_of;
use crate::predicate::Compiler;
use crate::scan_exec::{ServerScanExec, leaf};
use crate::shared::Shared;

/// Rows below which a second worker costs more than it brings.
const ROWS_PER_WORKER: u64 = 200_000;

/// So few groups are joined sooner than another thread would begin.
const MERGED_INLINE_MAX: usize = 1000;

#[derive(Clone, Debug)]
pub(super) struct NativeAggregateExec {
    description: Arc<ScanDescription>,
    spec: Arc<TableSpec>,
    segments: Arc<Vec<SegmentView>>,
    shared: Arc<Shared>,
    /// Over the columns of the table.
    keys: Vec<Arc<dyn PhysicalExpr>>,
    aggregates: Vec<Aggregate>,
    /// Exactly that of the partial aggregate.
    schema: SchemaRef,
    properties: Arc<PlanProperties>,
}

/// States of one segment, while it is read.
struct Running<'a> {
    groups: Groups<'a>,
    accumulators: Vec<Accumulator<'a>>,
    /// Rows of each group.
    row_counts: Vec<u64>,
}

impl NativeAggregateExec {
    pub(super) fn new(
        scan: &ServerScanExec,
        keys: Vec<Arc<dyn PhysicalExpr>>,
        aggregates: Vec<Aggregate>,
        schema: SchemaRef,
    ) -> Self {
        let properties = PlanProperties::new(
            EquivalenceProperties::new(Arc::clone(&schema)),
            Partitioning::UnknownPartitioning(1),
            EmissionType::Final,
            Boundedness::Bounded,
        );
        Self {
            description: Arc::clone(&scan.description),
            spec: Arc::clone(&scan.spec),
            segments: Arc::clone(&scan.segments),
            shared: Arc::clone(&scan.shared),
            keys,
            aggregates,
            schema,
            properties: Arc::new(properties),
        }
    }

    async fn run(self, memory: MemoryReservation) -> Result<RecordBatch> {
        let rows: u64 = self
            .segments
            .iter()
            .map(|view| u64::from(view.row_count()))
            .sum();
        let workers = (rows / ROWS_PER_WORKER + 1)
            .min(self.shared.threads() as u64)
            .min(self.segments.len().max(1) as u64);
        let next = Arc::new(AtomicUsize::new(0));
        let memory = Arc::new(memory);
        let jobs = (0..workers).map(|_| {
            let (operator, next, memory) = (self.clone(), Arc::clone(&next), Arc::clone(&memory));
            let shared = Arc::clone(&self.shared);
            let job = move |turn: &mut Turn| operator.work(turn, &next, &memory);
            async move { shared.run(rows, job).await }
        });
        let mut batches: Vec<RecordBatch> =
            try_join_all(jobs).await?.into_iter().flatten().collect();
        if batches.len() == 1 {
            return Ok(batches.remove(0));
        }
        // Without keys there is one group, also over no rows.
        if batches.is_empty() && self.keys.is_empty() {
            return self.of_nothing();
        }
        let turns = self.shared.turns.clone();
        let groups: usize = batches.iter().map(RecordBatch::num_rows).sum();
        let job = move || merge(&self.schema, self.keys.len(), &self.aggregates, &batches);
        match groups <= MERGED_INLINE_MAX {
            true => job(),
            false => turns.run(move |_| job()).await.map_err(external)?,
        }
    }

    fn of_nothing(&self) -> Result<RecordBatch> {
        let columns = self.schema.fields().iter().map(|field| {
            if field.is_nullable() {
                return Ok(arrow::array::new_null_array(field.data_type(), 1));
            }
            let count: ArrayRef = Arc::new(arrow::array::Int64Array::from(vec![0]));
            Ok(arrow::compute::cast(&count, field.data_type())?)
        });
        batch(&self.schema, columns.collect::<Result<Vec<_>>>()?, 1)
    }

    fn work(
        &self,
        turn: &mut Turn,
        next: &AtomicUsize,
        memory: &MemoryReservation,
    ) -> Result<Vec<RecordBatch>> {
        let mut batches = Vec::new();
        let running = memory.new_empty();
        while let Some(view) = self.segments.get(next.fetch_add(1, Ordering::Relaxed)) {
            let Shared {
                options, counters, ..
            } = &*self.shared;
            let filter =
                SegmentFilter::new(view, &self.spec, &self.description, options, counters)?;
            if let Some(filter) = filter
                && let Some(states) = self.segment(turn, view, &filter, &running)?
            {
                memory.try_grow(bytes_of(&states) as usize)?;
                batches.push(states);
            }
        }
        Ok(batches)
    }

    fn segment(
        &self,
        turn: &mut Turn,
        view: &SegmentView,
        filter: &SegmentFilter<'_>,
        memory: &MemoryReservation,
    ) -> Result<Option<RecordBatch>> {
        let mut running = self.start(view)?;
        if let Some(counts) = self.counted(filter, &running) {
            self.count(view, counts.iter().sum(), 0);
            return self.emit(running, &counts);
        }
        let (mut picked, mut numbers) = (Vec::new(), Vec::new());
        let mut matched = 0;
        let mut blocks = filter.whole();
        while let Some((start, mask)) = blocks.next(turn)? {
            let is_full = mask.is_full();
            if !is_full {
                mask.collect_into(&mut picked);
            }
            let rows = BlockRows {
                start,
                len: mask.len,
                picked: (!is_full).then_some(picked.as_slice()),
                mask,
            };
            let slots = if self.keys.is_empty() {
                Slots::One
            } else {
                Slots::Each(running.groups.assign(rows, &mut numbers)?)
            };
            let groups = running.groups.count();
            running
                .row_counts
                .resize(groups.max(running.row_counts.len()), 0);
            fold::count(slots, rows.count(), &mut running.row_counts);
            for accumulator in &mut running.accumulators {
                accumulator.add(rows, slots, groups)?;
            }
            matched += rows.count() as u64;
            memory.try_resize(running.memory_bytes())?;
        }
        self.count(view, matched, self.columns());
        let counts = std::mem::take(&mut running.row_counts);
        let states = self.emit(running, &counts);
        memory.try_resize(0)?;
        states
    }

    fn start<'a>(&self, view: &'a SegmentView) -> Result<Running<'a>> {
        let description = &self.description;
        let compiler = Compiler {
            view,
            spec: &self.spec,
            table_schema: &description.table_schema,
            null_mode: description.null_mode,
            options: &self.shared.options,
            counters: &self.shared.counters,
        };
        let table = &description.table_schema;
        let keys = self.keys.iter();
        let keys = keys.map(|key| Key::new(key, view, &self.spec, table, description.null_mode));
        let aggregates = self.aggregates.iter();
        let accumulators =
            aggregates.map(|aggregate| Accumulator::new(aggregate, view, &self.spec, &compiler));
        Ok(Running {
            groups: Groups::new(keys.collect::<Result<Vec<_>>>()?)?,
            accumulators: accumulators.collect::<Result<Vec<_>>>()?,
            row_counts: Vec::new(),
        })
    }

    /// Rows of each group, where only rows are counted and nothing needs to be read for that.
    fn counted(&self, filter: &SegmentFilter<'_>, running: &Running<'_>) -> Option<Vec<u64>> {
        if !self.aggregates.iter().all(Aggregate::counts_rows) {
            return None;
        }
        match running.groups.keys() {
            [] => Some(vec![filter.exact_rows()?]),
            [key] if filter.is_unfiltered() => {
                let column = self.keys[0].downcast_ref::<Column>()?;
                let options = &self.shared.options;
                if !options.uses(column.name(), IndexKind::Dictionary) {
                    return None;
                }
                let counts = key.plain_dictionary()?.doc_counts()?;
                let counts: Vec<u64> = counts.iter().map(|count| u64::from(*count)).collect();
                (counts.len() <= running.groups.count()).then_some(counts)
            }
            _ => None,
        }
    }

    fn columns(&self) -> u64 {
        let arguments = self.aggregates.iter().filter(|a| a.argument.is_some());
        (self.keys.len() + arguments.count()) as u64
    }

    fn count(&self, view: &SegmentView, rows: u64, columns: u64) {
        let matched = u64::from(rows > 0);
        let consuming = u64::from(view.is_consuming());
        self.shared.counters.update(|stats| {
            stats.docs_scanned += rows;
            stats.entries_scanned_post_filter += rows * columns;
            stats.segments_matched += matched;
            stats.consuming_matched += matched * consuming;
        });
    }

    fn emit(&self, mut running: Running<'_>, row_counts: &[u64]) -> Result<Option<RecordBatch>> {
        let groups = (0u32..).zip(row_counts).filter(|(_, rows)| **rows > 0);
        let used: Vec<u32> = groups.map(|(group, _)| group).collect();
        if used.is_empty() {
            return Ok(None);
        }
        let mut columns = running.groups.values(&used)?;
        for (accumulator, aggregate) in running.accumulators.iter_mut().zip(&self.aggregates) {
            let from = columns.len();
            let types: Vec<DataType> = self.schema.fields()[from..from + aggregate.states()]
                .iter()
                .map(|field| field.data_type().clone())
                .collect();
            columns.extend(accumulator.states(&used, row_counts, &types)?);
        }
        batch(&self.schema, columns, used.len()).map(Some)
    }
}

impl Running<'_> {
    fn memory_bytes(&self) -> usize {
        let accumulators = self.accumulators.iter().map(Accumulator::memory_bytes);
        self.groups.memory_bytes() + self.row_counts.capacity() * 8 + accumulators.sum::<usize>()
    }
}

impl DisplayAs for NativeAggregateExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter) -> fmt::Result {
        let keys: Vec<String> = self.keys.iter().map(ToString::to_string).collect();
        write!(f, "NativeAggregateExec: keys=[{}]", keys.join(", "))?;
        let aggregates = self.aggregates.iter().map(|aggregate| {
            let name = format!("{:?}", aggregate.kind).to_lowercase();
            match &aggregate.argument {
                Some(argument) => format!("{name}({argument})"),
                None => format!("{name}(*)"),
            }
        });
        let aggregates = aggregates.collect::<Vec<_>>().join(", ");
        let segments = self.segments.len();
        write!(
            f,
            ", aggregates=[{aggregates}], {}, segments={segments}",
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

    leaf!(description);

    fn execute(&self, _: usize, task: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let memory = MemoryConsumer::new("native aggregate").register(task.memory_pool());
        let work = self.clone().run(memory);
        Ok(Box::pin(RecordBatchStreamAdapter::new(
            Arc::clone(&self.schema),
            stream::once(work),
        )))
    }
}
