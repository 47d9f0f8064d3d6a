//! Asking servers for their part of a plan, and putting the answers together.
//!
//! Invariants:
//! - a server's answer is used only when its last message has come: nothing is merged twice;
//! - what a server did not serve is asked of another that holds it, once; what nobody serves fails
//!   the query with the segments' names.

use std::collections::HashSet;
use std::fmt;
use std::hash::{DefaultHasher, Hasher};
use std::sync::Arc;
use std::time::Duration;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use bytes::Bytes;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{DataFusionError, Result};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::execution_plan::ReplaceChildrenOptions;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties};
use futures::{StreamExt, TryStreamExt, stream};
use parking_lot::Mutex;
use rpc::Network;
use runtime::Clock;
use schemas::cluster::{ClusterState, InstanceState};
use schemas::fault::pinot_code;
use schemas::proto::{FragmentRequest, MissingSegment, NullMode, ScanStats, TableScan};
use schemas::{Fault, FaultKind, InstanceId, TableId};

use crate::codec::PLAN_FORMAT;
use crate::fault::from_fault;
use crate::ipc::decode_batches;
use crate::routing::{reroute, whole_table};

/// Everything a query's leaves share.
#[derive(Debug)]
pub struct QueryContext {
    pub network: Arc<dyn Network>,
    pub clock: Arc<dyn Clock>,
    pub cluster: Arc<ClusterState>,
    /// Epoch milliseconds.
    pub deadline_ms: i64,
    pub null_mode: NullMode,
    pub native_operators: bool,
    pub stats: Mutex<QueryStats>,
}

/// What the answers said about themselves.
#[derive(Clone, Debug, Default)]
pub struct QueryStats {
    pub scan: ScanStats,
    pub servers_queried: HashSet<InstanceId>,
    pub servers_responded: HashSet<InstanceId>,
    /// Ingest time of the newest row that was read; 0 = none was.
    pub newest_ingest_ms: i64,
}

/// One server's share of a fragment.
#[derive(Clone, Debug)]
pub(crate) struct FragmentPart {
    pub(crate) server: InstanceState,
    pub(crate) tables: Vec<TableScan>,
}

impl QueryContext {
    pub(crate) fn whole_table(&self, table: TableId) -> TableScan {
        self.cluster
            .tables
            .get(&table)
            .map(|table| whole_table(table))
            .unwrap_or_default()
    }

    /// For fragments that every server can run.
    pub(crate) fn any_server(&self) -> Option<InstanceState> {
        let usable = |i: &&InstanceState| {
            i.alive && i.role == schemas::cluster::Role::Server && i.plan_format == PLAN_FORMAT
        };
        self.cluster.instances.values().find(usable).cloned()
    }

    /// Runs the fragment where it shall run; what is missing there runs elsewhere.
    async fn ask(
        &self,
        plan: Bytes,
        hash: u64,
        part: FragmentPart,
    ) -> Result<Vec<RecordBatch>, Fault> {
        let failed = HashSet::from([part.server.id.clone()]);
        let (again, mut batches) = match self.ask_one(&plan, hash, &part).await {
            Ok((batches, missing)) if missing.is_empty() => return Ok(batches),
            Ok((batches, missing)) => (only(&part.tables, &missing), batches),
            Err(fault) if fault.retryable && fault.kind != FaultKind::Timeout => {
                tracing::debug!(server = %part.server.id, cause = %fault, "asking another server");
                (part.tables.clone(), Vec::new())
            }
            Err(fault) => return Err(fault),
        };
        let mut unavailable = Vec::new();
        for scan in &again {
            let table = TableId::from_bytes(&scan.table_id);
            let Some(table) = table.and_then(|id| self.cluster.tables.get(&id)) else {
                continue;
            };
            if table.spec.is_dimension_table && part.tables.len() > 1 {
                continue;
            }
            let route = reroute(&self.cluster, table, scan, &failed);
            unavailable.extend(route.unavailable);
            for other in route.parts {
                let mut tables = part.tables.clone();
                tables.retain(|t| t.table_id != scan.table_id);
                tables.push(other.scan);
                let other = FragmentPart {
                    server: other.server,
                    tables,
                };
                let (more, missing) = self.ask_one(&plan, hash, &other).await?;
                if !missing.is_empty() {
                    return Err(nobody_has(&other.server.id, missing.len()));
                }
                batches.extend(more);
            }
        }
        if unavailable.is_empty() {
            return Ok(batches);
        }
        let message = format!("no other server holds segments {}", unavailable.join(", "));
        Err(Fault::unavailable(message).with_code(pinot_code::BROKER_SEGMENT_UNAVAILABLE))
    }

    async fn ask_one(
        &self,
        plan: &Bytes,
        hash: u64,
        part: &FragmentPart,
    ) -> Result<(Vec<RecordBatch>, Vec<MissingSegment>), Fault> {
        self.stats
            .lock()
            .servers_queried
            .insert(part.server.id.clone());
        let left_ms = self.deadline_ms - self.clock.now_ms();
        let timeout = Duration::from_millis(left_ms.max(0) as u64);
        let answer = self.exchange(plan, hash, part);
        match tokio::time::timeout(timeout, answer).await {
            Ok(answer) => answer,
            Err(_) => Err(Fault::timeout(format!(
                "server `{}` did not answer in time; raise timeoutMs or ask for less",
                part.server.id
            ))
            .with_code(pinot_code::BROKER_TIMEOUT)),
        }
    }

    async fn exchange(
        &self,
        plan: &Bytes,
        hash: u64,
        part: &FragmentPart,
    ) -> Result<(Vec<RecordBatch>, Vec<MissingSegment>), Fault> {
        let request = FragmentRequest {
            plan_format: PLAN_FORMAT,
            template_hash: hash,
            plan: plan.clone(),
            parameters: Bytes::new(),
            tables: part.tables.clone(),
            deadline_ms: self.deadline_ms,
            memory_bytes: 0,
            null_mode: self.null_mode.into(),
            native_operators: self.native_operators,
        };
        let mut answers = self.network.server(&part.server)?.run(request).await?;
        let mut batches = Vec::new();
        let mut missing = Vec::new();
        while let Some(answer) = answers.next().await {
            let answer = answer?;
            if let Some(fault) = answer.fault {
                return Err(fault.into());
            }
            if !answer.batches.is_empty() {
                let decoded = decode_batches(&answer.batches).map_err(|error| {
                    Fault::internal(format!(
                        "an answer of `{}` is damaged: {error}",
                        part.server.id
                    ))
                })?;
                batches.extend(decoded);
            }
            missing.extend(answer.missing);
            let newest = answer
                .progress
                .iter()
                .map(|p| p.newest_event_ms)
                .max()
                .unwrap_or(0);
            let mut stats = self.stats.lock();
            stats.newest_ingest_ms = stats.newest_ingest_ms.max(newest);
            if let Some(scan) = &answer.stats {
                stats.add(scan);
            }
            if answer.last {
                stats.servers_responded.insert(part.server.id.clone());
                return Ok((batches, missing));
            }
        }
        Err(Fault::unavailable(format!(
            "the answer of `{}` broke off",
            part.server.id
        )))
    }
}

fn nobody_has(server: &InstanceId, count: usize) -> Fault {
    let message = format!("{count} segments are not on `{server}`, where they should be");
    Fault::unavailable(message).with_code(pinot_code::BROKER_SEGMENT_UNAVAILABLE)
}

/// The scans narrowed to what was missing.
fn only(tables: &[TableScan], missing: &[MissingSegment]) -> Vec<TableScan> {
    let narrowed = tables.iter().map(|scan| {
        let of_table = || missing.iter().filter(|m| m.table_id == scan.table_id);
        let refs: Vec<_> = of_table().filter_map(|m| m.segment).collect();
        let sealed = scan
            .sealed
            .iter()
            .filter(|s| refs.contains(s))
            .copied()
            .collect();
        let consuming = scan
            .consuming
            .iter()
            .filter(|c| {
                refs.iter()
                    .any(|r| r.crc == 0 && r.partition == c.partition)
            })
            .copied()
            .collect();
        TableScan {
            table_id: scan.table_id.clone(),
            sealed,
            consuming,
            ..TableScan::default()
        }
    });
    narrowed
        .filter(|scan| !scan.sealed.is_empty() || !scan.consuming.is_empty())
        .collect()
}

impl QueryStats {
    fn add(&mut self, more: &ScanStats) {
        let sum = &mut self.scan;
        sum.segments_queried += more.segments_queried;
        sum.segments_processed += more.segments_processed;
        sum.segments_matched += more.segments_matched;
        sum.segments_pruned += more.segments_pruned;
        sum.consuming_queried += more.consuming_queried;
        sum.consuming_processed += more.consuming_processed;
        sum.consuming_matched += more.consuming_matched;
        sum.docs_total += more.docs_total;
        sum.docs_scanned += more.docs_scanned;
        sum.entries_scanned_in_filter += more.entries_scanned_in_filter;
        sum.entries_scanned_post_filter += more.entries_scanned_post_filter;
        sum.native_operators += more.native_operators;
        sum.fallback_operators += more.fallback_operators;
        sum.cpu_ns += more.cpu_ns;
        for index in &more.indexes {
            if !sum.indexes.contains(index) {
                sum.indexes.push(index.clone());
            }
        }
    }
}

/// The leaf of the broker's half of a plan: partition i asks server i.
#[derive(Debug)]
pub(crate) struct RemoteExec {
    plan: Bytes,
    hash: u64,
    parts: Vec<Option<FragmentPart>>,
    /// The servers' plan, for EXPLAIN.
    shown: String,
    properties: Arc<PlanProperties>,
    context: Arc<QueryContext>,
}

impl RemoteExec {
    pub(crate) fn new(
        plan: Bytes,
        parts: Vec<Option<FragmentPart>>,
        shown: String,
        properties: Arc<PlanProperties>,
        context: Arc<QueryContext>,
    ) -> Self {
        let mut hasher = DefaultHasher::new();
        hasher.write(&plan);
        Self {
            hash: hasher.finish(),
            plan,
            parts,
            shown,
            properties,
            context,
        }
    }

    pub(crate) fn shown(&self) -> &str {
        &self.shown
    }
}

impl DisplayAs for RemoteExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter) -> fmt::Result {
        let servers = self.parts.iter().flatten().count();
        write!(
            f,
            "RemoteExec: servers={servers}, plan_bytes={}",
            self.plan.len()
        )
    }
}

impl ExecutionPlan for RemoteExec {
    fn name(&self) -> &str {
        "RemoteExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        Vec::new()
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
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

    fn execute(&self, partition: usize, _: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let schema = self.schema();
        let Some(part) = self.parts.get(partition).cloned().flatten() else {
            let none = stream::empty::<Result<RecordBatch>>();
            return Ok(Box::pin(RecordBatchStreamAdapter::new(schema, none)));
        };
        let (context, plan, hash) = (Arc::clone(&self.context), self.plan.clone(), self.hash);
        let output = Arc::clone(&schema);
        let answer = async move {
            let batches = context.ask(plan, hash, part).await.map_err(from_fault)?;
            let batches = batches
                .into_iter()
                .map(move |batch| with_schema(batch, &output));
            Ok::<_, DataFusionError>(stream::iter(batches))
        };
        let rows = stream::once(answer).try_flatten();
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, rows)))
    }
}

/// The broker's schema, whose metadata and nullability the plan above was made for.
fn with_schema(batch: RecordBatch, schema: &SchemaRef) -> Result<RecordBatch> {
    let rows = arrow::array::RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    let (_, columns, _) = batch.into_parts();
    Ok(RecordBatch::try_new_with_options(
        Arc::clone(schema),
        columns,
        &rows,
    )?)
}
