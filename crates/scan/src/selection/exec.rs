//! The operator: a search, and one batch with the rows that it found.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use arrow::array::RecordBatch;
use datafusion::common::Result;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::{EquivalenceProperties, PhysicalSortExpr};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties};
use futures::stream;

use super::has_keys;
use super::keys::OrderColumn;
use super::search::{End, Search};
use crate::columns::external;
use crate::prepared::run_of;
use crate::scan_exec::{ServerScanExec, at_once};
use crate::stats::Counters;

#[derive(Clone, Debug)]
pub(super) struct TopRowsExec {
    pub(super) scan: Arc<ServerScanExec>,
    /// At least one.
    pub(super) order: Vec<OrderColumn>,
    /// At least one.
    pub(super) fetch: usize,
    properties: Arc<PlanProperties>,
}

impl TopRowsExec {
    pub(super) fn new(
        scan: &ServerScanExec,
        order: Vec<OrderColumn>,
        fetch: usize,
    ) -> Result<Self> {
        let projection = &scan.description.projection;
        let sorted = order.iter().map_while(|by| {
            let at = projection.iter().position(|column| *column == by.column)?;
            let column = Arc::new(Column::new(scan.schema().field(at).name(), at));
            Some(PhysicalSortExpr::new(column, by.options))
        });
        let sorted: Vec<PhysicalSortExpr> = sorted.collect();
        let schema = Arc::clone(scan.schema());
        let equivalence = EquivalenceProperties::new_with_orderings(schema, [sorted]);
        let properties = at_once(equivalence);
        Ok(Self {
            scan: Arc::new(scan.clone()),
            order,
            fetch,
            properties,
        })
    }

    async fn run(self) -> Result<RecordBatch> {
        if let Some(rows) = self.here()? {
            return Ok(rows);
        }
        let turns = self.scan.shared.turns.clone();
        let job = turns.run(move |turn| {
            let counters = &self.scan.shared.counters;
            let found = Search::new(&self, counters)?.run(turn)?;
            self.rows_of(found, counters)
        });
        job.await.map_err(external)?
    }

    fn here(&self) -> Result<Option<RecordBatch>> {
        // Told only if this way is taken.
        let counters = Counters::default();
        let End::Found(found) = Search::new(self, &counters)?.here()? else {
            return Ok(None);
        };
        let rows = self.rows_of(found, &counters)?;
        self.scan.shared.counters.add(&counters);
        Ok(Some(rows))
    }
}

impl DisplayAs for TopRowsExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter) -> fmt::Result {
        let table = &self.scan.description.table_schema;
        let order = self.order.iter().map(|by| {
            let name = table.field(by.column).name();
            format!("{name} {}", by.options)
        });
        let order = order.collect::<Vec<_>>().join(", ");
        write!(
            f,
            "TopRowsExec: first={}, order=[{order}], {}, segments={}",
            self.fetch,
            self.scan.description,
            self.scan.segments.len()
        )
    }
}

impl ExecutionPlan for TopRowsExec {
    fn name(&self) -> &str {
        "TopRowsExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    query::leaf!(scan.description);

    fn with_new_state(&self, state: Arc<dyn Any + Send + Sync>) -> Option<Arc<dyn ExecutionPlan>> {
        let scan = self.scan.bound(run_of(&state)?)?;
        // The segments may be others than those that the rule saw.
        let fits = has_keys(&scan, self.order[0].column).unwrap_or(false);
        fits.then(|| {
            Arc::new(Self {
                scan: Arc::new(scan),
                ..self.clone()
            }) as _
        })
    }

    fn execute(&self, _: usize, _: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let rows = self.clone().run();
        Ok(Box::pin(RecordBatchStreamAdapter::new(
            Arc::clone(self.scan.schema()),
            stream::once(rows),
        )))
    }
}
