//! The leaf of a stage: fragments that the server runs which carries out the stage.
//!
//! Invariants:
//! - a partition is one fragment on one server; its answer is complete, or the query fails: rows
//!   that are missing are a fault, with the server that misses them;
//! - what servers say of themselves is counted in metrics of the leaf, whose names are those of the
//!   fields in [`ScanStats`].

use std::fmt;
use std::sync::Arc;

use arrow::datatypes::{Schema, SchemaRef};
use datafusion::common::{Result, internal_datafusion_err, internal_err};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::{EquivalenceProperties, LexOrdering};
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::metrics::{ExecutionPlanMetricsSet, MetricBuilder, MetricsSet};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, Partitioning, PlanProperties,
};
use datafusion_proto::physical_plan::from_proto::parse_physical_sort_exprs;
use datafusion_proto::physical_plan::to_proto::serialize_physical_sort_exprs;
use datafusion_proto::physical_plan::{
    PhysicalExtensionCodec, PhysicalPlanDecodeContext, PhysicalProtoConverterExtension,
};
use datafusion_proto::protobuf;
use futures::{StreamExt, TryStreamExt, stream};
use prost::Message;
use schemas::proto::{FragmentRequest, ScanStats};
use schemas::{Fault, InstanceId};

use super::fault::Told;
use super::{Host, Piece};

/// A fragment, and who runs it.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Share {
    #[prost(string, tag = "1")]
    pub(super) server: String,
    #[prost(message, optional, tag = "2")]
    pub(super) request: Option<FragmentRequest>,
}

#[derive(Debug)]
pub(super) struct FragmentsExec {
    /// Partition i runs the i-th, if there is one.
    pub(super) shares: Arc<[Share]>,
    properties: Arc<PlanProperties>,
    /// On servers.
    host: Option<Arc<dyn Host>>,
    metrics: ExecutionPlanMetricsSet,
}

impl FragmentsExec {
    pub(super) fn new(
        shares: Vec<Share>,
        partitions: usize,
        schema: SchemaRef,
        ordering: Option<LexOrdering>,
        host: Option<Arc<dyn Host>>,
    ) -> Self {
        let equivalences = match ordering {
            Some(ordering) => EquivalenceProperties::new_with_orderings(schema, [ordering]),
            None => EquivalenceProperties::new(schema),
        };
        let properties = PlanProperties::new(
            equivalences,
            Partitioning::UnknownPartitioning(partitions),
            EmissionType::Incremental,
            Boundedness::Bounded,
        );
        Self {
            shares: shares.into(),
            properties: Arc::new(properties),
            host,
            metrics: ExecutionPlanMetricsSet::new(),
        }
    }
}

impl DisplayAs for FragmentsExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let servers = self.shares.iter().map(|share| share.server.as_str());
        let servers: Vec<&str> = servers.collect();
        write!(f, "FragmentsExec: servers=[{}]", servers.join(", "))
    }
}

impl ExecutionPlan for FragmentsExec {
    fn name(&self) -> &str {
        "FragmentsExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    crate::leaf!(without_expressions);

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }

    fn execute(&self, partition: usize, _: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let schema = self.schema();
        let share = self.shares.get(partition).cloned();
        let (Some(host), Some(share)) = (&self.host, share) else {
            if self.host.is_none() {
                return internal_err!("fragments run on servers");
            }
            let none = stream::empty();
            return Ok(Box::pin(RecordBatchStreamAdapter::new(schema, none)));
        };
        let server = InstanceId(share.server);
        if *host.id() != server {
            return internal_err!("a fragment for `{server}` came to `{}`", host.id());
        }
        let pieces = host.pieces(share.request.unwrap_or_default());
        let (metrics, output) = (self.metrics.clone(), Arc::clone(&schema));
        let rows = pieces.map(move |piece| match piece {
            Ok(Piece::Rows(batch)) => crate::gather::with_schema(&batch, &output).map(Some),
            Ok(Piece::End {
                stats,
                newest_ingest_ms,
            }) => {
                count(&metrics, partition, &stats, newest_ingest_ms);
                Ok(None)
            }
            Err(fault) => Err(blamed(fault, &server).into()),
        });
        let rows = rows.try_filter_map(|batch| async move { Ok(batch) });
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, rows)))
    }
}

/// A server that is gone, or lacks what it was asked for, is not asked again.
fn blamed(fault: Fault, server: &InstanceId) -> Told {
    let is_of_server = fault.kind == schemas::FaultKind::Unavailable;
    Told {
        server: is_of_server.then(|| server.clone()),
        fault,
    }
}

/// Names of what is counted, and where it stands.
type Counted = (&'static str, fn(&ScanStats) -> u64, fn(&mut ScanStats, u64));

macro_rules! counted {
    ($($field:ident as $name:literal),* $(,)?) => {
        &[$(($name, |stats| stats.$field, |stats, more| stats.$field += more)),*]
    };
}

const COUNTED: &[Counted] = counted![
    segments_queried as "segments_queried",
    segments_processed as "segments_processed",
    segments_matched as "segments_matched",
    segments_pruned as "segments_pruned",
    consuming_queried as "consuming_queried",
    consuming_processed as "consuming_processed",
    consuming_matched as "consuming_matched",
    docs_total as "docs_total",
    docs_scanned as "docs_scanned",
    entries_scanned_in_filter as "entries_scanned_in_filter",
    entries_scanned_post_filter as "entries_scanned_post_filter",
    native_operators as "native_operators",
    fallback_operators as "fallback_operators",
    cpu_ns as "scan_cpu_ns",
];
const NEWEST_INGEST: &str = "newest_ingest_ms";

fn count(
    metrics: &ExecutionPlanMetricsSet,
    partition: usize,
    stats: &ScanStats,
    newest_ingest_ms: i64,
) {
    for (name, of, _) in COUNTED {
        let counter = MetricBuilder::new(metrics).counter(*name, partition);
        counter.add(of(stats) as usize);
    }
    let newest = MetricBuilder::new(metrics).gauge(NEWEST_INGEST, partition);
    newest.set(newest_ingest_ms.max(0) as usize);
}

/// What the metrics of a leaf say of its servers, and the newest time of all.
pub(super) fn counted(metrics: &MetricsSet, to: &mut ScanStats) -> i64 {
    for (name, _, add) in COUNTED {
        if let Some(value) = metrics.sum_by_name(name) {
            add(to, value.as_usize() as u64);
        }
    }
    let newest = metrics.iter().filter(|m| m.value().name() == NEWEST_INGEST);
    newest
        .map(|m| m.value().as_usize() as i64)
        .max()
        .unwrap_or(0)
}

/// The leaf as bytes; the other operators are DataFusion's own.
#[derive(Debug, Default)]
pub(super) struct LeafCodec {
    /// On servers.
    pub(super) host: Option<Arc<dyn Host>>,
}

#[derive(Clone, PartialEq, Message)]
struct LeafMessage {
    #[prost(message, optional, tag = "1")]
    schema: Option<protobuf::Schema>,
    #[prost(message, repeated, tag = "2")]
    shares: Vec<Share>,
    #[prost(uint64, tag = "3")]
    partitions: u64,
    #[prost(message, repeated, tag = "4")]
    ordering: Vec<protobuf::PhysicalSortExprNode>,
}

impl PhysicalExtensionCodec for LeafCodec {
    fn try_decode(
        &self,
        bytes: &[u8],
        _: &[Arc<dyn ExecutionPlan>],
        context: &TaskContext,
        converter: &dyn PhysicalProtoConverterExtension,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let message = LeafMessage::decode(bytes)
            .map_err(|error| internal_datafusion_err!("a leaf cannot be decoded: {error}"))?;
        let schema = message.schema.as_ref();
        let schema = schema.ok_or_else(|| internal_datafusion_err!("a leaf without a schema"))?;
        let schema = Arc::new(Schema::try_from(schema)?);
        let decoding = PhysicalPlanDecodeContext::new(context, self);
        let ordering = parse_physical_sort_exprs(&message.ordering, &decoding, &schema, converter)?;
        Ok(Arc::new(FragmentsExec::new(
            message.shares,
            message.partitions as usize,
            schema,
            LexOrdering::new(ordering),
            self.host.clone(),
        )))
    }

    fn try_encode(
        &self,
        node: Arc<dyn ExecutionPlan>,
        to: &mut Vec<u8>,
        converter: &dyn PhysicalProtoConverterExtension,
    ) -> Result<()> {
        let Some(leaf) = node.downcast_ref::<FragmentsExec>() else {
            return internal_err!("{} has no form for servers", node.name());
        };
        let ordering = leaf.properties.output_ordering().cloned();
        let ordering = ordering.into_iter().flatten();
        let message = LeafMessage {
            schema: Some(leaf.schema().as_ref().try_into()?),
            shares: leaf.shares.to_vec(),
            partitions: leaf.properties.partitioning.partition_count() as u64,
            ordering: serialize_physical_sort_exprs(ordering, self, converter)?,
        };
        message
            .encode(to)
            .map_err(|error| internal_datafusion_err!("a leaf cannot be encoded: {error}"))
    }
}
