//! The leaf of the broker's half of a plan: partition i asks server i.
//!
//! Rows of a partition keep the order that the plan claims for them, also when several servers
//! answered for it.

use std::fmt;
use std::hash::{DefaultHasher, Hasher};
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use arrow::datatypes::SchemaRef;
use bytes::Bytes;
use datafusion::common::{DataFusionError, Result};
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::LexOrdering;
use datafusion::physical_plan::sorts::sort::sort_batch;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties};
use futures::{TryStreamExt, stream};
use schemas::proto::FragmentRequest;

use crate::ask::{FragmentPart, FragmentPlan, request};
use crate::context::QueryContext;
use crate::exchange::rows_of;
use crate::fault::from_fault;
use crate::parameters::Parameters;
use crate::parts::{RoutedScan, for_each_server, for_one_server};
use crate::scan_exec::ScanDescription;
use crate::table::routed;

#[derive(Debug)]
pub(crate) struct RemoteExec {
    plan: FragmentPlan,
    /// What is read, to find out again who reads it.
    scans: Arc<[Arc<ScanDescription>]>,
    /// `None`: there is nothing to read for this partition.
    parts: Arc<[Option<FragmentPart>]>,
    /// About so many rows come from servers that each have a share of them.
    rows: f64,
    /// They are this part of what passes the filters of the largest table.
    share: f64,
    /// The servers' plan, for EXPLAIN.
    shown: Arc<str>,
    properties: Arc<PlanProperties>,
    context: Arc<QueryContext>,
}

impl RemoteExec {
    pub(crate) fn new(
        plan: Bytes,
        scans: Vec<Arc<ScanDescription>>,
        parts: Vec<Option<FragmentPart>>,
        shown: String,
        (rows, of_rows): (f64, f64),
        properties: Arc<PlanProperties>,
        context: Arc<QueryContext>,
    ) -> Self {
        let mut hasher = DefaultHasher::new();
        hasher.write(&plan);
        let hash = hasher.finish();
        Self {
            plan: FragmentPlan {
                bytes: plan,
                hash,
                parameters: Bytes::new(),
            },
            scans: scans.into(),
            parts: parts.into(),
            rows,
            share: if of_rows > 0.0 { rows / of_rows } else { 0.0 },
            shown: shown.into(),
            properties,
            context,
        }
    }

    /// The same for another query, from the servers that hold the rows now. `None`: they cannot
    /// answer so.
    pub(crate) fn for_query(
        &self,
        context: &Arc<QueryContext>,
        parameters: &Parameters,
    ) -> Result<Option<Self>> {
        let scans = self.scans.iter();
        let routes = scans.map(|scan| routed(scan, context, parameters));
        let routes = routes.collect::<Result<Vec<_>>>()?;
        let scans = self.scans.iter().zip(&routes);
        let scans = scans.map(|(description, route)| RoutedScan {
            description,
            parts: &route.parts,
        });
        let scans: Vec<RoutedScan<'_>> = scans.collect();
        let mut parts = match self.finishes() {
            true => match for_one_server(&scans, context) {
                Some(part) => vec![Some(part)],
                None => return Ok(None),
            },
            false => for_each_server(&scans, context)?,
        };
        if parts.len() > self.parts.len() {
            return Ok(None);
        }
        parts.resize_with(self.parts.len(), || None);
        let rows = self.scans.iter().zip(&routes);
        let rows = rows.map(|(scan, route)| rows_of(scan, route.rows_estimated()));
        Ok(Some(Self {
            rows: self.share * rows.fold(0.0, f64::max),
            share: self.share,
            plan: FragmentPlan {
                parameters: parameters.to_bytes()?,
                ..self.plan.clone()
            },
            scans: Arc::clone(&self.scans),
            parts: parts.into(),
            shown: Arc::clone(&self.shown),
            properties: Arc::clone(&self.properties),
            context: Arc::clone(context),
        }))
    }

    /// About so many are held.
    pub(crate) fn bytes(&self) -> usize {
        self.plan.bytes.len() + self.shown.len()
    }

    /// Its one server answers alone.
    pub(crate) fn finishes(&self) -> bool {
        self.parts.iter().flatten().any(|part| part.finishes)
    }

    /// The parameters of the first run.
    pub(crate) fn with_parameters(mut self, parameters: &Parameters) -> Result<Self> {
        self.plan.parameters = parameters.to_bytes()?;
        Ok(self)
    }

    /// Who is asked for what.
    pub(crate) fn parts(&self) -> impl Iterator<Item = &FragmentPart> {
        self.parts.iter().flatten()
    }

    /// What the server of a part is asked.
    pub(crate) fn request(&self, context: &QueryContext, part: &FragmentPart) -> FragmentRequest {
        request(context, &self.plan, part)
    }

    /// Rows that are gathered, of the table that has most.
    pub(crate) fn rows(&self) -> f64 {
        self.rows
    }

    pub(crate) fn hash(&self) -> u64 {
        self.plan.hash
    }

    pub(crate) fn shown(&self) -> &str {
        &self.shown
    }
}

impl DisplayAs for RemoteExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter) -> fmt::Result {
        let servers = self.parts.iter().flatten().count();
        let bytes = self.plan.bytes.len();
        write!(f, "RemoteExec: servers={servers}, plan_bytes={bytes}")?;
        match self.finishes() {
            true => write!(f, ", whole=true"),
            false => Ok(()),
        }
    }
}

impl ExecutionPlan for RemoteExec {
    fn name(&self) -> &str {
        "RemoteExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    crate::leaf!(without_expressions);

    fn execute(
        &self,
        partition: usize,
        task: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        let schema = self.schema();
        let Some(part) = self.parts.get(partition).cloned().flatten() else {
            let none = stream::empty::<Result<RecordBatch>>();
            return Ok(Box::pin(RecordBatchStreamAdapter::new(schema, none)));
        };
        let memory = MemoryConsumer::new("answers of servers").register(task.memory_pool());
        let (context, plan) = (Arc::clone(&self.context), self.plan.clone());
        let ordering = self.properties.output_ordering().cloned();
        let output = Arc::clone(&schema);
        let answer = async move {
            let runs = context
                .ask(&plan, &part, &memory)
                .await
                .map_err(from_fault)?;
            let batches = in_order(runs, &output, ordering.as_ref())?;
            Ok::<_, DataFusionError>(handed_over(batches, memory))
        };
        let rows = stream::once(answer).try_flatten();
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, rows)))
    }
}

/// Each batch gives back its share of the memory when it leaves.
fn handed_over(
    batches: Vec<RecordBatch>,
    memory: MemoryReservation,
) -> impl futures::Stream<Item = Result<RecordBatch>> {
    let share = memory.size() / batches.len().max(1);
    stream::iter(batches.into_iter().map(move |batch| {
        memory.shrink(share.min(memory.size()));
        Ok(batch)
    }))
}

fn in_order(
    mut runs: Vec<Vec<RecordBatch>>,
    schema: &SchemaRef,
    ordering: Option<&LexOrdering>,
) -> Result<Vec<RecordBatch>> {
    for batch in runs.iter_mut().flatten() {
        *batch = with_schema(batch, schema)?;
    }
    runs.retain(|run| !run.is_empty());
    let batches: Vec<RecordBatch> = runs.iter().flatten().cloned().collect();
    match ordering {
        Some(ordering) if runs.len() > 1 => {
            let all = concat_batches(schema, &batches)?;
            Ok(vec![sort_batch(&all, ordering, None)?])
        }
        _ => Ok(batches),
    }
}

/// The broker's schema, whose metadata and nullability the plan above was made for.
pub(crate) fn with_schema(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch> {
    let rows = arrow::array::RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    let columns = batch.columns().to_vec();
    Ok(RecordBatch::try_new_with_options(
        Arc::clone(schema),
        columns,
        &rows,
    )?)
}
