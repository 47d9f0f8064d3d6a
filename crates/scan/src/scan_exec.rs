//! The scan of a table on a server: blocks of 4096 rows through the filter, then the output
//! columns.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use datafusion::common::Result;
use datafusion::common::config::ConfigOptions;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr};
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::filter_pushdown::{
    ChildPushdownResult, FilterPushdownPhase, FilterPushdownPropagation,
};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, Partitioning, PlanProperties,
};
use query::scan_exec::ScanDescription;
use schemas::TableSpec;
use segment::SegmentView;

use crate::learned;
use crate::native::replace_columns;
use crate::prepared::{Bound, Run, run_of};
use crate::row_scan::rows;
use crate::shared::Shared;

#[derive(Clone, Debug)]
pub(crate) struct ServerScanExec {
    pub(crate) description: Arc<ScanDescription>,
    pub(crate) spec: Arc<TableSpec>,
    pub(crate) segments: Arc<Vec<SegmentView>>,
    pub(crate) shared: Arc<Shared>,
    /// What is given out in the place of the description's columns, over those of the table.
    computed: Option<Arc<Vec<Arc<dyn PhysicalExpr>>>>,
    schema: SchemaRef,
    properties: Arc<PlanProperties>,
}

impl ServerScanExec {
    pub(crate) fn new(
        description: ScanDescription,
        spec: Arc<TableSpec>,
        segments: Arc<Vec<SegmentView>>,
        shared: Arc<Shared>,
    ) -> Result<Self> {
        let schema = description.output_schema()?;
        Ok(Self {
            description: Arc::new(description),
            spec,
            segments,
            shared,
            computed: None,
            properties: properties(&schema),
            schema,
        })
    }

    /// The same with expressions over its columns in the place of these.
    pub(crate) fn computing<'e>(
        &self,
        outputs: impl Iterator<Item = &'e Arc<dyn PhysicalExpr>>,
        schema: SchemaRef,
    ) -> Result<Self> {
        let outputs = outputs.map(|output| self.over_table(output));
        Ok(Self {
            computed: Some(Arc::new(outputs.collect::<Result<_>>()?)),
            properties: properties(&schema),
            schema,
            ..self.clone()
        })
    }

    /// The same with only those rows that satisfy these conditions on its output.
    pub(crate) fn keeping(&self, conditions: &[Arc<dyn PhysicalExpr>]) -> Result<Self> {
        let conditions = conditions.iter().map(|own| self.over_table(own));
        let mut description = ScanDescription::clone(&self.description);
        for condition in conditions {
            description.filters.push(condition?);
        }
        // They are not what was sent any more.
        description.sent_filters = None;
        Ok(Self {
            description: Arc::new(description),
            ..self.clone()
        })
    }

    /// An expression over the output as one over the columns of the table.
    fn over_table(&self, expr: &Arc<dyn PhysicalExpr>) -> Result<Arc<dyn PhysicalExpr>> {
        replace_columns(Arc::clone(expr), |column| match &self.computed {
            Some(computed) => computed.get(column.index()).cloned(),
            None => {
                let index = *self.description.projection.get(column.index())?;
                let name = self.description.table_schema.field(index).name();
                Some(Arc::new(Column::new(name, index)))
            }
        })
    }

    pub(crate) fn computed(&self) -> Option<&[Arc<dyn PhysicalExpr>]> {
        self.computed.as_ref().map(|computed| computed.as_slice())
    }

    /// The same for another run.
    pub(crate) fn bound(&self, run: &Run) -> Option<Self> {
        let Bound {
            description,
            spec,
            segments,
            shared,
        } = run.bind(&self.description)?;
        Some(Self {
            description,
            spec,
            segments,
            shared,
            ..self.clone()
        })
    }

    /// Rows of the table here, whether they match or not.
    pub(crate) fn rows(&self) -> u64 {
        let rows = self.segments.iter().map(|view| u64::from(view.row_count()));
        rows.sum()
    }

    pub(crate) fn schema(&self) -> &SchemaRef {
        &self.schema
    }
}

fn properties(schema: &SchemaRef) -> Arc<PlanProperties> {
    Arc::new(PlanProperties::new(
        EquivalenceProperties::new(Arc::clone(schema)),
        Partitioning::UnknownPartitioning(1),
        EmissionType::Incremental,
        Boundedness::Bounded,
    ))
}

/// Of what gives all of its rows out at its end.
pub(crate) fn at_once(known: EquivalenceProperties) -> Arc<PlanProperties> {
    Arc::new(PlanProperties::new(
        known,
        Partitioning::UnknownPartitioning(1),
        EmissionType::Final,
        Boundedness::Bounded,
    ))
}

impl DisplayAs for ServerScanExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter) -> fmt::Result {
        write!(
            f,
            "ServerScanExec: {}, segments={}",
            self.description,
            self.segments.len()
        )?;
        match self.computed() {
            None => Ok(()),
            Some(computed) => {
                let computed = computed.iter().map(ToString::to_string);
                write!(
                    f,
                    ", computed=[{}]",
                    computed.collect::<Vec<_>>().join(", ")
                )
            }
        }
    }
}

impl ExecutionPlan for ServerScanExec {
    fn name(&self) -> &str {
        "ServerScanExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    query::leaf!(description);

    fn handle_child_pushdown_result(
        &self,
        _: FilterPushdownPhase,
        offered: ChildPushdownResult,
        _: &ConfigOptions,
    ) -> Result<FilterPushdownPropagation<Arc<dyn ExecutionPlan>>> {
        // A limit counts rows that nothing else leaves out.
        let may_take = self.description.fetch.is_none();
        let over_table = |filter: &Arc<dyn PhysicalExpr>| {
            let over_table = self.over_table(filter).ok();
            over_table.filter(|_| may_take)
        };
        Ok(learned::answered(
            &self.description,
            offered,
            over_table,
            |description| {
                Arc::new(Self {
                    description,
                    ..self.clone()
                })
            },
        ))
    }

    fn with_new_state(&self, state: Arc<dyn Any + Send + Sync>) -> Option<Arc<dyn ExecutionPlan>> {
        Some(Arc::new(self.bound(run_of(&state)?)?))
    }

    fn execute(&self, _: usize, _: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let batches = rows(Arc::new(self.clone()));
        Ok(Box::pin(RecordBatchStreamAdapter::new(
            Arc::clone(&self.schema),
            batches,
        )))
    }
}
