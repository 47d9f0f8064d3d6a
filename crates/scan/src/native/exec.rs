//! The operator: one batch of aggregate states for each segment.
//!
//! A segment whose keys are no small integers is aggregated by its values instead, through Arrow's
//! row format, so that the operator never has to give up half way.

use std::fmt;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::{DataType, SchemaRef};
use arrow::row::{OwnedRow, RowConverter, SortField};
use datafusion::common::Result;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr};
use datafusion::physical_plan::execution_plan::{
    Boundedness, EmissionType, ReplaceChildrenOptions,
};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, Partitioning, PlanProperties,
};
use futures::stream;
use hashbrown::HashMap;
use query::scan_exec::ScanDescription;
use schemas::TableSpec;
use segment::SegmentView;

use super::accumulate::Accumulator;
use super::keys::{Groups, Key};
use super::plan::Aggregate;
use crate::columns::{Source, batch, external, source};
use crate::scan_exec::{BlockFilter, ServerScanExec, Shared, leaf};

#[derive(Clone, Debug)]
pub(super) struct NativeAggregateExec {
    description: Arc<ScanDescription>,
    spec: Arc<TableSpec>,
    segments: Arc<Vec<SegmentView>>,
    shared: Arc<Shared>,
    /// Of the scan.
    input: SchemaRef,
    keys: Vec<usize>,
    aggregates: Vec<Aggregate>,
    /// Exactly that of the partial aggregate.
    schema: SchemaRef,
    properties: Arc<PlanProperties>,
}

impl NativeAggregateExec {
    pub(super) fn new(
        scan: &ServerScanExec,
        keys: Vec<usize>,
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
            input: scan.schema(),
            keys,
            aggregates,
            schema,
            properties: Arc::new(properties),
        }
    }

    fn run(&self) -> Result<Vec<RecordBatch>> {
        let mut batches = Vec::new();
        for view in self.segments.iter() {
            let counters = &self.shared.counters;
            let filter = BlockFilter::new(view, &self.spec, &self.description, counters)?;
            if let Some(filter) = filter
                && let Some(states) = self.segment(view, filter)?
            {
                batches.push(states);
            }
        }
        // Without keys there is one group, also over no rows.
        if self.keys.is_empty() && batches.is_empty() {
            let mut nothing = self.accumulators(None)?;
            batches.push(self.emit(&[0], 1, Vec::new(), &mut nothing)?);
        }
        Ok(batches)
    }

    fn source<'a>(&self, view: &'a SegmentView, column: usize) -> Result<Source<'a>> {
        source(
            view,
            &self.spec,
            self.input.field(column),
            self.description.null_mode,
        )
    }

    fn accumulators<'a>(&self, view: Option<&'a SegmentView>) -> Result<Vec<Accumulator<'a>>> {
        let accumulators = self.aggregates.iter().map(|aggregate| {
            let column = aggregate.column();
            let source = match (view, column) {
                (Some(view), Some(column)) => Some(self.source(view, column)?),
                _ => None,
            };
            let is_float =
                column.is_some_and(|column| self.input.field(column).data_type().is_floating());
            let null_mode = self.description.null_mode;
            Ok(Accumulator::new(*aggregate, source, is_float, null_mode))
        });
        accumulators.collect()
    }

    fn segment(&self, view: &SegmentView, filter: BlockFilter<'_>) -> Result<Option<RecordBatch>> {
        let keys = self
            .keys
            .iter()
            .map(|column| {
                let source = self.source(view, *column)?;
                Ok(Key::new(
                    source,
                    view.row_count(),
                    self.description.null_mode,
                ))
            })
            .collect::<Result<Option<Vec<Key<'_>>>>>()?;
        match keys.and_then(Groups::new) {
            Some(groups) => self.by_numbers(view, filter, groups),
            None => self.by_values(view, filter),
        }
    }

    fn by_numbers(
        &self,
        view: &SegmentView,
        mut filter: BlockFilter<'_>,
        mut groups: Groups<'_>,
    ) -> Result<Option<RecordBatch>> {
        let mut accumulators = self.accumulators(Some(view))?;
        let (mut rows, mut scratch, mut numbers) = (Vec::new(), Vec::new(), Vec::new());
        let mut seen: Vec<bool> = Vec::new();
        let mut tally = Tally::default();
        while let Some((start, mask)) = filter.next(&self.description, &self.shared)? {
            let picked = if mask.is_full() {
                None
            } else {
                mask.collect_into(&mut rows);
                Some(rows.as_slice())
            };
            groups.assign(start, mask.len, picked, &mut scratch, &mut numbers);
            seen.resize(groups.count().max(seen.len()), false);
            numbers
                .iter()
                .for_each(|group| seen[*group as usize] = true);
            for accumulator in &mut accumulators {
                accumulator.add(start, mask.len, picked, &numbers, groups.count())?;
            }
            tally.rows += numbers.len() as u64;
        }
        self.count(view, &tally, filter.is_unfiltered());
        let used: Vec<u32> = (0u32..)
            .zip(&seen)
            .filter(|(_, seen)| **seen)
            .map(|(g, _)| g)
            .collect();
        if used.is_empty() {
            return Ok(None);
        }
        let types: Vec<DataType> = self
            .keys
            .iter()
            .map(|key| self.input.field(*key).data_type().clone())
            .collect();
        let keys = groups.values(&used, &types)?;
        self.emit(&used, groups.count(), keys, &mut accumulators)
            .map(Some)
    }

    /// Keys of any type and range, compared by value.
    fn by_values(
        &self,
        view: &SegmentView,
        mut filter: BlockFilter<'_>,
    ) -> Result<Option<RecordBatch>> {
        let sources = self
            .keys
            .iter()
            .map(|column| self.source(view, *column))
            .collect::<Result<Vec<_>>>()?;
        let fields = self
            .keys
            .iter()
            .map(|k| SortField::new(self.input.field(*k).data_type().clone()));
        let converter = RowConverter::new(fields.collect())?;
        let mut slots: HashMap<OwnedRow, u32> = HashMap::new();
        let mut order: Vec<OwnedRow> = Vec::new();
        let mut accumulators = self.accumulators(Some(view))?;
        let (mut rows, mut numbers) = (Vec::new(), Vec::new());
        let mut tally = Tally::default();
        while let Some((start, mask)) = filter.next(&self.description, &self.shared)? {
            mask.collect_into(&mut rows);
            let columns = sources
                .iter()
                .map(|s| s.array(start, mask.len, Some(&rows), self.description.null_mode))
                .collect::<Result<Vec<ArrayRef>>>()?;
            let keys = converter.convert_columns(&columns)?;
            numbers.clear();
            for key in &keys {
                let slot = *slots.entry(key.owned()).or_insert_with_key(|key| {
                    order.push(key.clone());
                    (order.len() - 1) as u32
                });
                numbers.push(slot);
            }
            for accumulator in &mut accumulators {
                accumulator.add(start, mask.len, Some(&rows), &numbers, order.len())?;
            }
            tally.rows += rows.len() as u64;
        }
        self.count(view, &tally, filter.is_unfiltered());
        if order.is_empty() {
            return Ok(None);
        }
        let keys = converter.convert_rows(order.iter().map(OwnedRow::row))?;
        let used: Vec<u32> = (0..order.len() as u32).collect();
        self.emit(&used, order.len(), keys, &mut accumulators)
            .map(Some)
    }

    fn count(&self, view: &SegmentView, tally: &Tally, unfiltered: bool) {
        let columns = self.keys.len() + self.aggregates.iter().filter_map(|a| a.column()).count();
        let matched = u64::from(tally.rows > 0 || unfiltered);
        let consuming = u64::from(view.is_consuming());
        self.shared.counters.update(|stats| {
            stats.docs_scanned += tally.rows;
            stats.entries_scanned_post_filter += tally.rows * columns as u64;
            stats.segments_matched += matched;
            stats.consuming_matched += matched * consuming;
        });
    }

    fn emit(
        &self,
        used: &[u32],
        groups: usize,
        keys: Vec<ArrayRef>,
        accumulators: &mut [Accumulator<'_>],
    ) -> Result<RecordBatch> {
        let mut columns = keys;
        for (accumulator, aggregate) in accumulators.iter_mut().zip(&self.aggregates) {
            let from = columns.len();
            let types: Vec<DataType> = self.schema.fields()[from..from + aggregate.states()]
                .iter()
                .map(|field| field.data_type().clone())
                .collect();
            columns.extend(accumulator.states(used, groups, &types)?);
        }
        batch(&self.schema, columns, used.len())
    }
}

#[derive(Debug, Default)]
struct Tally {
    rows: u64,
}

impl DisplayAs for NativeAggregateExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter) -> fmt::Result {
        let keys = self
            .keys
            .iter()
            .map(|key| self.input.field(*key).name().as_str());
        let keys = keys.collect::<Vec<_>>().join(", ");
        write!(
            f,
            "NativeAggregateExec: keys=[{keys}], aggregates={:?}, {}, segments={}",
            self.aggregates,
            self.description,
            self.segments.len()
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

    fn execute(&self, _: usize, _: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let operator = self.clone();
        let pool = self.shared.pool.clone();
        let work = async move {
            let batches = pool.run(move || operator.run()).await.map_err(external)??;
            Ok::<_, datafusion::common::DataFusionError>(stream::iter(batches.into_iter().map(Ok)))
        };
        let batches = futures::TryStreamExt::try_flatten(stream::once(work));
        Ok(Box::pin(RecordBatchStreamAdapter::new(
            Arc::clone(&self.schema),
            batches,
        )))
    }
}
