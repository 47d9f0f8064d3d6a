//! Reading a table, as a description: what to read, from which servers. Nothing is read here.
//!
//! One partition is one server. The scan reports at least two partitions unless the table is a
//! dimension table, so that DataFusion plans a partial and a final aggregate with the exchange
//! between servers and broker in between.
//!
//! Filters are exact: whoever executes the description applies them all.

use std::fmt;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use datafusion::common::stats::Precision;
use datafusion::common::{Result, Statistics, internal_err};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr};
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::statistics::StatisticsArgs;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, Partitioning, PlanProperties,
};
use schemas::TableId;
use schemas::cluster::InstanceState;
use schemas::proto::{NullMode, TableScan};

use crate::codec::SentFilters;

/// What to read of a table, the same for every server.
#[derive(Clone, Debug)]
pub struct ScanDescription {
    pub table: TableId,
    /// For people: EXPLAIN and messages.
    pub table_name: String,
    /// Columns that the statement may see: those of the spec and the virtual ones that it names, as
    /// `schemas::arrow::full_schema` types them, in any order.
    pub table_schema: SchemaRef,
    /// Columns of the output, as indices into `table_schema`.
    pub projection: Vec<usize>,
    /// Conjuncts over the columns of `table_schema`.
    pub filters: Vec<Arc<dyn PhysicalExpr>>,
    /// On servers, where the filters hold parameters: to make them anew for other values.
    pub sent_filters: Option<Arc<SentFilters>>,
    /// So many rows are enough.
    pub fetch: Option<usize>,
    pub null_mode: NullMode,
    /// The table is on every server.
    pub is_dimension_table: bool,
}

impl ScanDescription {
    /// Schema of the output.
    pub fn output_schema(&self) -> Result<SchemaRef> {
        Ok(Arc::new(self.table_schema.project(&self.projection)?))
    }
}

impl fmt::Display for ScanDescription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "table={}", self.table_name)?;
        let columns = self
            .projection
            .iter()
            .map(|index| self.table_schema.field(*index).name());
        write!(
            f,
            ", columns=[{}]",
            columns.cloned().collect::<Vec<_>>().join(", ")
        )?;
        if !self.filters.is_empty() {
            let filters = self
                .filters
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>();
            write!(f, ", filters=[{}]", filters.join(" AND "))?;
        }
        if let Some(fetch) = self.fetch {
            write!(f, ", fetch={fetch}")?;
        }
        Ok(())
    }
}

/// One server's share.
#[derive(Clone, Debug)]
pub struct ScanPart {
    pub server: InstanceState,
    pub scan: TableScan,
}

/// The leaf of a broker's plan.
#[derive(Debug)]
pub struct SegmentScanExec {
    description: Arc<ScanDescription>,
    parts: Arc<Vec<ScanPart>>,
    /// Rows of the table, for the order of joins.
    rows: usize,
    properties: Arc<PlanProperties>,
}

/// Partitions that a table reports at least, so that aggregates are planned in two stages.
const PARTITIONS_MIN: usize = 2;

impl SegmentScanExec {
    pub fn new(
        description: Arc<ScanDescription>,
        parts: Arc<Vec<ScanPart>>,
        rows: usize,
    ) -> Result<Self> {
        let partitions = if description.is_dimension_table {
            1
        } else {
            parts.len().max(PARTITIONS_MIN)
        };
        let properties = PlanProperties::new(
            EquivalenceProperties::new(description.output_schema()?),
            Partitioning::UnknownPartitioning(partitions),
            EmissionType::Incremental,
            Boundedness::Bounded,
        );
        Ok(Self {
            description,
            parts,
            rows,
            properties: Arc::new(properties),
        })
    }

    /// The same as a server sees it that reads all parts.
    pub(crate) fn in_one_partition(&self) -> Self {
        let properties = PlanProperties::clone(&self.properties);
        let one = Partitioning::UnknownPartitioning(1);
        Self {
            description: Arc::clone(&self.description),
            parts: Arc::clone(&self.parts),
            rows: self.rows,
            properties: Arc::new(properties.with_partitioning(one)),
        }
    }

    pub fn description(&self) -> &Arc<ScanDescription> {
        &self.description
    }

    pub fn parts(&self) -> &Arc<Vec<ScanPart>> {
        &self.parts
    }

    pub(crate) fn rows(&self) -> usize {
        self.rows
    }
}

impl DisplayAs for SegmentScanExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter) -> fmt::Result {
        write!(
            f,
            "SegmentScanExec: {}, servers={}",
            self.description,
            self.parts.len()
        )
    }
}

impl ExecutionPlan for SegmentScanExec {
    fn name(&self) -> &str {
        "SegmentScanExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    crate::leaf!(description);

    fn execute(&self, _: usize, _: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        internal_err!("only servers scan; the plan was not cut")
    }

    fn statistics_from_inputs(
        &self,
        _: &[Arc<Statistics>],
        _: &StatisticsArgs,
    ) -> Result<Arc<Statistics>> {
        let mut statistics = Statistics::new_unknown(&self.schema());
        statistics.num_rows = Precision::Inexact(self.rows);
        statistics.total_byte_size = Precision::Inexact(self.rows * self.schema().fields().len());
        Ok(Arc::new(statistics))
    }
}
