//! The scan of a table on a server: blocks of 4096 rows through the filter, then the output
//! columns.

use std::fmt;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{DataFusionError, Result};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr};
use datafusion::physical_plan::execution_plan::{
    Boundedness, EmissionType, ReplaceChildrenOptions,
};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, Partitioning, PlanProperties,
};
use futures::{StreamExt, TryStreamExt, stream};
use query::scan_exec::ScanDescription;
use runtime::{CancellationToken, ComputePool};
use schemas::TableSpec;
use schemas::proto::ScanOptions;
use segment::{BLOCK_ROWS, SegmentView};

use crate::columns::{batch, external, source};
use crate::predicate::{Compiled, Compiler, Conjunct, Story, next_block};
use crate::rows::BlockMask;
use crate::stats::Counters;

/// Batches that one job makes before it lets others run.
const BATCHES_PER_JOB: usize = 16;

/// What all operators of a fragment share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) pool: ComputePool,
    pub(crate) counters: Counters,
    pub(crate) cancel: CancellationToken,
    pub(crate) options: ScanOptions,
}

impl Shared {
    /// Threads that the query may keep busy here.
    pub(crate) fn threads(&self) -> usize {
        match self.options.threads_max {
            0 => self.pool.threads(),
            threads => self.pool.threads().min(threads as usize),
        }
    }
}

#[derive(Debug)]
pub(crate) struct ServerScanExec {
    pub(crate) description: Arc<ScanDescription>,
    pub(crate) spec: Arc<TableSpec>,
    pub(crate) segments: Arc<Vec<SegmentView>>,
    pub(crate) shared: Arc<Shared>,
    schema: SchemaRef,
    properties: Arc<PlanProperties>,
}

impl ServerScanExec {
    pub(crate) fn new(
        description: ScanDescription,
        spec: Arc<TableSpec>,
        segments: Vec<SegmentView>,
        shared: Arc<Shared>,
    ) -> Result<Self> {
        let schema = description.output_schema()?;
        let properties = PlanProperties::new(
            EquivalenceProperties::new(Arc::clone(&schema)),
            Partitioning::UnknownPartitioning(1),
            EmissionType::Incremental,
            Boundedness::Bounded,
        );
        let segments = Arc::new(segments);
        let description = Arc::new(description);
        Ok(Self {
            description,
            spec,
            segments,
            shared,
            schema,
            properties: Arc::new(properties),
        })
    }
}

/// The filter's work on one segment, block by block.
pub(crate) struct BlockFilter<'a> {
    conjuncts: Vec<Conjunct<'a>>,
    rows: u32,
    block: u32,
    /// Of the block that was found last.
    mask: BlockMask,
    /// Values looked at, told when the filter is dropped.
    entries: u64,
    counters: &'a Counters,
    story: Option<Story>,
}

impl Drop for BlockFilter<'_> {
    fn drop(&mut self) {
        let entries = self.entries;
        self.counters
            .update(|stats| stats.entries_scanned_in_filter += entries);
        if let Some(story) = &self.story {
            story.end(Some(&self.conjuncts), self.counters);
        }
    }
}

impl<'a> BlockFilter<'a> {
    /// `None`: no row of the segment can match. Counts the segment.
    pub(crate) fn new(
        view: &'a SegmentView,
        spec: &TableSpec,
        description: &ScanDescription,
        options: &ScanOptions,
        counters: &'a Counters,
    ) -> Result<Option<Self>> {
        let consuming = u64::from(view.is_consuming());
        counters.update(|stats| {
            stats.segments_queried += 1;
            stats.consuming_queried += consuming;
            stats.docs_total += u64::from(view.row_count());
        });
        let compiler = Compiler {
            view,
            spec,
            table_schema: &description.table_schema,
            null_mode: description.null_mode,
            options,
            counters,
        };
        let story = Story::begin(view, &description.table_name, options);
        let Compiled::Rows(mut conjuncts) = compiler.compile(&description.filters)? else {
            if let Some(story) = story {
                story.end(None, counters);
            }
            counters.update(|stats| stats.segments_pruned += 1);
            return Ok(None);
        };
        counters.update(|stats| {
            stats.segments_processed += 1;
            stats.consuming_processed += consuming;
        });
        if let Some(valid) = &view.valid {
            conjuncts.insert(0, Conjunct::valid(valid));
        }
        Ok(Some(Self {
            conjuncts,
            rows: view.row_count(),
            block: 0,
            mask: BlockMask::none(0),
            entries: 0,
            counters,
            story,
        }))
    }

    pub(crate) fn is_unfiltered(&self) -> bool {
        self.conjuncts.is_empty()
    }

    /// How many rows match, where that is known before any is looked at.
    pub(crate) fn exact_rows(&self) -> Option<u64> {
        match &self.conjuncts[..] {
            [] => Some(u64::from(self.rows)),
            [one] => one.exact_rows(),
            _ => None,
        }
    }

    /// The next block with a match: its first row and the rows that match.
    pub(crate) fn next(&mut self, shared: &Shared) -> Result<Option<(u32, &BlockMask)>> {
        let blocks = self.rows.div_ceil(BLOCK_ROWS);
        if self.story.as_ref().is_some_and(|story| !story.reads()) {
            return Ok(None);
        }
        loop {
            if shared.cancel.is_cancelled() {
                return Err(cancelled());
            }
            match next_block(&self.conjuncts, self.block, blocks) {
                Some(block) => self.block = block,
                None => return Ok(None),
            }
            let start = self.block * BLOCK_ROWS;
            if start >= self.rows {
                return Ok(None);
            }
            self.block += 1;
            if let Some(story) = &self.story {
                story.block_read();
            }
            self.mask = BlockMask::all(BLOCK_ROWS.min(self.rows - start));
            for conjunct in &self.conjuncts {
                self.entries += conjunct.apply(start, &mut self.mask)?;
                if self.mask.is_empty() {
                    break;
                }
            }
            if !self.mask.is_empty() {
                return Ok(Some((start, &self.mask)));
            }
        }
    }
}

pub(crate) fn cancelled() -> DataFusionError {
    external(schemas::Fault::cancelled("the query was cancelled"))
}

/// Where the scan stands between two jobs.
struct Cursor {
    segment: usize,
    /// Block of the segment that comes next.
    block: u32,
    /// The segment was counted among those that match.
    matched: bool,
    left: usize,
}

impl ServerScanExec {
    /// Up to [`BATCHES_PER_JOB`] batches; `true` when there is no more.
    fn job(&self, cursor: &mut Cursor) -> Result<(Vec<RecordBatch>, bool)> {
        let mut batches = Vec::new();
        while cursor.segment < self.segments.len() && cursor.left > 0 {
            let view = &self.segments[cursor.segment];
            // Compiled again after a pause; the counts of the segment were made already.
            let counted = Counters::default();
            let counters = match cursor.block {
                0 => &self.shared.counters,
                _ => &counted,
            };
            let options = &self.shared.options;
            let filter = BlockFilter::new(view, &self.spec, &self.description, options, counters)?;
            if let Some(mut filter) = filter {
                filter.block = cursor.block;
                filter.counters = &self.shared.counters;
                if cursor.block > 0 {
                    filter.story = None;
                }
                self.scan_segment(view, &mut filter, cursor, &mut batches)?;
                if batches.len() >= BATCHES_PER_JOB {
                    cursor.block = filter.block;
                    return Ok((batches, false));
                }
            }
            cursor.segment += 1;
            cursor.block = 0;
            cursor.matched = false;
        }
        Ok((batches, true))
    }

    fn scan_segment(
        &self,
        view: &SegmentView,
        filter: &mut BlockFilter<'_>,
        cursor: &mut Cursor,
        batches: &mut Vec<RecordBatch>,
    ) -> Result<()> {
        let null_mode = self.description.null_mode;
        let sources = self
            .schema
            .fields()
            .iter()
            .map(|field| source(view, &self.spec, field, null_mode))
            .collect::<Result<Vec<_>>>()?;
        let mut rows = Vec::new();
        let mut any = false;
        while batches.len() < BATCHES_PER_JOB && cursor.left > 0 {
            let Some((start, mask)) = filter.next(&self.shared)? else {
                break;
            };
            let all = mask.is_full() && (mask.len as usize) <= cursor.left;
            mask.collect_into(&mut rows);
            rows.truncate(cursor.left);
            cursor.left -= rows.len();
            let picked = (!all).then_some(rows.as_slice());
            let columns = sources
                .iter()
                .map(|source| source.array(start, mask.len, picked))
                .collect::<Result<Vec<_>>>()?;
            let values = (rows.len() * columns.len()) as u64;
            self.shared.counters.update(|stats| {
                stats.docs_scanned += rows.len() as u64;
                stats.entries_scanned_post_filter += values;
            });
            any = true;
            batches.push(batch(&self.schema, columns, rows.len())?);
        }
        if any && !cursor.matched {
            cursor.matched = true;
            let consuming = u64::from(view.is_consuming());
            self.shared.counters.update(|stats| {
                stats.segments_matched += 1;
                stats.consuming_matched += consuming;
            });
        }
        Ok(())
    }
}

impl DisplayAs for ServerScanExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter) -> fmt::Result {
        write!(
            f,
            "ServerScanExec: {}, segments={}",
            self.description,
            self.segments.len()
        )
    }
}

/// A leaf has no children to replace, and its expressions are those of its description.
macro_rules! leaf {
    ($description:ident) => {
        fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
            Vec::new()
        }

        fn apply_expressions(
            &self,
            visit: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
        ) -> Result<TreeNodeRecursion> {
            for filter in &self.$description.filters {
                if visit(filter)? == TreeNodeRecursion::Stop {
                    return Ok(TreeNodeRecursion::Stop);
                }
            }
            Ok(TreeNodeRecursion::Continue)
        }

        fn replace_children(
            self: Arc<Self>,
            _: Vec<Arc<dyn ExecutionPlan>>,
            _: ReplaceChildrenOptions,
        ) -> Result<Arc<dyn ExecutionPlan>> {
            Ok(self)
        }

        fn with_new_children(
            self: Arc<Self>,
            _: Vec<Arc<dyn ExecutionPlan>>,
        ) -> Result<Arc<dyn ExecutionPlan>> {
            Ok(self)
        }
    };
}
pub(crate) use leaf;

impl ExecutionPlan for ServerScanExec {
    fn name(&self) -> &str {
        "ServerScanExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    leaf!(description);

    fn execute(&self, _: usize, _: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let scan = Arc::new(Self {
            description: Arc::clone(&self.description),
            spec: Arc::clone(&self.spec),
            segments: Arc::clone(&self.segments),
            shared: Arc::clone(&self.shared),
            schema: Arc::clone(&self.schema),
            properties: Arc::clone(&self.properties),
        });
        let left = self.description.fetch.unwrap_or(usize::MAX);
        let cursor = Some(Cursor {
            segment: 0,
            block: 0,
            matched: false,
            left,
        });
        let jobs = stream::try_unfold((scan, cursor), |(scan, cursor)| async move {
            let Some(mut cursor) = cursor else {
                return Ok(None);
            };
            let (pool, worker) = (scan.shared.pool.clone(), Arc::clone(&scan));
            let job = pool
                .run(move || {
                    let counters = &worker.shared.counters;
                    counters
                        .timed(|| worker.job(&mut cursor))
                        .map(|done| (done, cursor))
                })
                .await;
            let ((batches, last), cursor) = job.map_err(external)??;
            Ok::<_, DataFusionError>(Some((batches, (scan, (!last).then_some(cursor)))))
        });
        let batches = jobs
            .map_ok(|batches| stream::iter(batches).map(Ok))
            .try_flatten();
        Ok(Box::pin(RecordBatchStreamAdapter::new(
            Arc::clone(&self.schema),
            batches,
        )))
    }
}
