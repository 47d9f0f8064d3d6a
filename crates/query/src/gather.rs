//! The leaf of the broker's half of a plan: partition i asks server i.
//!
//! Rows of a partition keep the order that the plan claims for them, also when several servers
//! answered for it.

use std::fmt;
use std::hash::{DefaultHasher, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::compute::concat_batches;
use arrow::datatypes::{DataType, SchemaRef};
use bytes::Bytes;
use datafusion::common::{DataFusionError, Result};
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::LexOrdering;
use datafusion::physical_plan::sorts::sort::sort_batch;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties};
use futures::{TryStreamExt, stream};
use schemas::proto::{Explain, FragmentRequest};

use crate::ask::{FragmentPart, FragmentPlan, request};
use crate::colocated::Colocation;
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
    amount: Amount,
    came: Arc<Came>,
    /// Each server joins its own rows of several tables.
    colocation: Option<Colocation>,
    /// The servers' plan, for EXPLAIN.
    shown: Arc<str>,
    properties: Arc<PlanProperties>,
    context: Arc<QueryContext>,
}

/// How much servers that each have a share of the rows are expected to bring.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Amount {
    /// The fragment's plan without its values.
    pub(crate) shape: u64,
    /// Rows of the largest table that pass its filters.
    pub(crate) read: f64,
    /// This part of them comes, as long as nothing is known of the shape.
    pub(crate) share: f64,
}

/// What came in one run.
#[derive(Debug)]
struct Came {
    rows: AtomicU64,
    /// Parts of which not all has come.
    parts_left: AtomicUsize,
}

impl Came {
    fn nothing_of(parts: &[Option<FragmentPart>]) -> Arc<Self> {
        Arc::new(Self {
            rows: AtomicU64::new(0),
            parts_left: AtomicUsize::new(parts.iter().flatten().count()),
        })
    }

    /// All rows, when these were the last part.
    fn and(&self, rows: u64) -> Option<u64> {
        let all = self.rows.fetch_add(rows, Ordering::Relaxed) + rows;
        (self.parts_left.fetch_sub(1, Ordering::AcqRel) == 1).then_some(all)
    }
}

impl RemoteExec {
    pub(crate) fn new(
        plan: Bytes,
        scans: Vec<Arc<ScanDescription>>,
        parts: Vec<Option<FragmentPart>>,
        shown: String,
        amount: Amount,
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
            came: Came::nothing_of(&parts),
            parts: parts.into(),
            colocation: None,
            amount,
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
        let mut parts = match &self.colocation {
            Some(colocation) => match colocation.parts(context, parameters) {
                Some(parts) => parts.into_iter().map(Some).collect(),
                None => return Ok(None),
            },
            None if self.finishes() => match for_one_server(&scans, context) {
                Some(part) => vec![Some(part)],
                None => return Ok(None),
            },
            None => for_each_server(&scans, context)?,
        };
        if parts.len() > self.parts.len() {
            return Ok(None);
        }
        parts.resize_with(self.parts.len(), || None);
        let rows = self.scans.iter().zip(&routes);
        let rows = rows.map(|(scan, route)| rows_of(scan, route.rows_estimated()));
        Ok(Some(Self {
            amount: Amount {
                read: rows.fold(0.0, f64::max),
                ..self.amount
            },
            came: Came::nothing_of(&parts),
            plan: FragmentPlan {
                parameters: parameters.to_bytes()?,
                ..self.plan.clone()
            },
            scans: Arc::clone(&self.scans),
            parts: parts.into(),
            colocation: self.colocation.clone(),
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
        let mut parts = self.parts.iter().flatten();
        self.colocation.is_none() && parts.any(|part| part.finishes)
    }

    /// Its servers join what each of them has.
    pub(crate) fn colocated(mut self, colocation: Colocation) -> Self {
        self.colocation = Some(colocation);
        self
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

    /// Rows that are gathered, as far as anybody can tell.
    pub(crate) fn rows(&self) -> f64 {
        let guess = self.amount.share * self.amount.read;
        self.rows_known().unwrap_or(guess)
    }

    /// The same from what the shape brought before: rows, and values in their lists.
    pub(crate) fn rows_known(&self) -> Option<f64> {
        let share = self.context.servers.brings(self.amount.shape)?;
        Some(share * self.amount.read.max(1.0))
    }

    /// It did not fit; nobody knows how much would have come.
    pub(crate) fn was_too_much(&self) {
        let shape = self.amount.shape;
        self.context.servers.brought(shape, f64::INFINITY);
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
        match &self.colocation {
            Some(_) => write!(f, ", colocated=true"),
            None if self.finishes() => write!(f, ", whole=true"),
            None => Ok(()),
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
        let (amount, came) = (self.amount, Arc::clone(&self.came));
        // What is only explained brings nothing.
        let tells = !self.finishes() && self.context.options.explain() != Explain::Plan;
        let ordering = self.properties.output_ordering().cloned();
        let output = Arc::clone(&schema);
        let answer = async move {
            let runs = context
                .ask(&plan, &part, &memory)
                .await
                .map_err(from_fault)?;
            let batches = in_order(runs, &output, ordering.as_ref())?;
            if let Some(rows) = came.and(batches.iter().map(rows_and_values).sum())
                && tells
                && amount.read > 0.0
            {
                let share = rows as f64 / amount.read;
                context.servers.brought(amount.shape, share);
            }
            Ok::<_, DataFusionError>(handed_over(batches, memory))
        };
        let rows = stream::once(answer).try_flatten();
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, rows)))
    }
}

/// A set of values comes as one row with a list.
fn rows_and_values(batch: &RecordBatch) -> u64 {
    let values = batch
        .columns()
        .iter()
        .map(|column| match column.data_type() {
            DataType::List(_) => column.as_list::<i32>().values().len(),
            _ => 0,
        });
    (batch.num_rows() + values.sum::<usize>()) as u64
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
