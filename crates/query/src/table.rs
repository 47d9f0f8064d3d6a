//! Tables as DataFusion sees them: from the cluster's state, at the moment of planning.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use arrow::datatypes::{Schema, SchemaRef};
use async_trait::async_trait;
use datafusion::catalog::{SchemaProvider, Session, TableProvider};
use datafusion::common::tree_node::TreeNode;
use datafusion::common::{DFSchema, Result};
use datafusion::datasource::TableType;
use datafusion::datasource::provider_as_source;
use datafusion::logical_expr::{
    Expr, LogicalPlan, LogicalPlanBuilder, TableProviderFilterPushDown, Volatility, col, lit,
};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::scalar::ScalarValue;
use schemas::Fault;
use schemas::arrow::{VIRTUAL_COLUMNS, full_schema};
use schemas::cluster::{ClusterState, TableState};
use schemas::proto::NullMode;
use tokio::sync::watch;

use crate::routing::route;
use crate::scan_exec::{ScanDescription, SegmentScanExec};

/// How a dialect wants to see columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ColumnView {
    pub(crate) null_mode: NullMode,
    pub(crate) order: ColumnOrder,
    pub(crate) virtual_columns: VirtualColumns,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ColumnOrder {
    Schema,
    /// As Pinot expands `*`.
    Name,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum VirtualColumns {
    Hidden,
    Shown,
}

/// All tables of the cluster, seen in one way.
#[derive(Debug)]
pub(crate) struct Tables {
    pub(crate) cluster: watch::Receiver<Arc<ClusterState>>,
    pub(crate) view: ColumnView,
    pub(crate) turn: Arc<AtomicUsize>,
}

#[async_trait]
impl SchemaProvider for Tables {
    fn table_names(&self) -> Vec<String> {
        let cluster = self.cluster.borrow();
        let mut names: Vec<String> = cluster
            .tables
            .values()
            .map(|table| table.spec.name.to_string())
            .collect();
        names.sort();
        names.dedup();
        names
    }

    async fn table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>> {
        let cluster = Arc::clone(&self.cluster.borrow());
        let mut parts: Vec<SegmentTable> = cluster
            .resolve(name)
            .into_iter()
            .map(|state| self.segment_table(&cluster, state, name))
            .collect();
        Ok(match parts.len() {
            0 => None,
            1 => Some(Arc::new(parts.remove(0))),
            _ => Some(Arc::new(HybridTable::new(parts)?)),
        })
    }

    fn table_exist(&self, name: &str) -> bool {
        !self.cluster.borrow().resolve(name).is_empty()
    }
}

impl Tables {
    fn segment_table(
        &self,
        cluster: &Arc<ClusterState>,
        state: Arc<TableState>,
        name: &str,
    ) -> SegmentTable {
        SegmentTable {
            schema: visible_schema(&state, self.view),
            name: name.to_owned(),
            cluster: Arc::clone(cluster),
            null_mode: self.view.null_mode,
            turn: self.turn.fetch_add(1, Ordering::Relaxed),
            state,
        }
    }
}

fn visible_schema(state: &TableState, view: ColumnView) -> SchemaRef {
    let full = full_schema(&state.spec, view.null_mode);
    let is_virtual = |name: &str| VIRTUAL_COLUMNS.iter().any(|(known, _)| *known == name);
    let mut fields: Vec<_> = full.fields().iter().cloned().collect();
    if view.virtual_columns == VirtualColumns::Hidden {
        fields.retain(|field| !is_virtual(field.name()));
    }
    if view.order == ColumnOrder::Name {
        fields.sort_by(|a, b| {
            (is_virtual(a.name()), a.name()).cmp(&(is_virtual(b.name()), b.name()))
        });
    }
    Arc::new(Schema::new(fields))
}

/// One physical table.
#[derive(Debug)]
pub(crate) struct SegmentTable {
    schema: SchemaRef,
    name: String,
    cluster: Arc<ClusterState>,
    state: Arc<TableState>,
    null_mode: NullMode,
    turn: usize,
}

#[async_trait]
impl TableProvider for SegmentTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn supports_filters_pushdown(
        &self,
        filters: &[&Expr],
    ) -> Result<Vec<TableProviderFilterPushDown>> {
        Ok(filters
            .iter()
            .map(|filter| {
                if is_deterministic(filter) {
                    TableProviderFilterPushDown::Exact
                } else {
                    TableProviderFilterPushDown::Unsupported
                }
            })
            .collect())
    }

    async fn scan(
        &self,
        session: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let columns = DFSchema::try_from(Arc::clone(&self.schema))?;
        let conjuncts = filters
            .iter()
            .map(|filter| session.create_physical_expr(filter.clone(), &columns))
            .collect::<Result<Vec<_>>>()?;
        let all = || (0..self.schema.fields().len()).collect();
        let spec = &self.state.spec;
        let description = ScanDescription {
            table: spec.id,
            table_name: self.name.clone(),
            table_schema: Arc::clone(&self.schema),
            projection: projection.cloned().unwrap_or_else(all),
            filters: conjuncts,
            fetch: limit,
            null_mode: self.null_mode,
            is_dimension_table: spec.is_dimension_table,
        };
        let route = route(
            &self.cluster,
            &self.state,
            |_| true,
            self.turn,
            &HashSet::new(),
        );
        if !route.unavailable.is_empty() {
            let fault = Fault::unavailable(format!(
                "no living server holds {} segments of `{}`: {}",
                route.unavailable.len(),
                self.name,
                route.unavailable.join(", ")
            ));
            let code = schemas::fault::pinot_code::BROKER_SEGMENT_UNAVAILABLE;
            return Err(crate::fault::from_fault(fault.with_code(code)));
        }
        let rows = route.rows as usize;
        let scan = SegmentScanExec::new(Arc::new(description), Arc::new(route.parts), rows)?;
        Ok(Arc::new(scan))
    }
}

/// The same answer for the same row, wherever it is evaluated.
fn is_deterministic(filter: &Expr) -> bool {
    let bad = filter.exists(|expr| {
        Ok(match expr {
            Expr::ScalarFunction(call) => call.func.signature().volatility != Volatility::Immutable,
            Expr::ScalarSubquery(_) | Expr::InSubquery(_) | Expr::Exists(_) => true,
            Expr::OuterReferenceColumn(_, _) | Expr::Placeholder(_) => true,
            _ => false,
        })
    });
    matches!(bad, Ok(false))
}

/// OFFLINE and REALTIME part under one name: rows up to the time boundary come from the first, the
/// others from the second.
#[derive(Debug)]
struct HybridTable {
    schema: SchemaRef,
    plan: LogicalPlan,
}

impl HybridTable {
    fn new(parts: Vec<SegmentTable>) -> Result<Self> {
        let schema = Arc::clone(&parts[0].schema);
        let mut plans = Vec::new();
        for part in parts {
            let boundary_ms = part.state.time_boundary_ms;
            let time_column = part.state.spec.time_column.clone();
            let offline = part.state.spec.table_type == schemas::TableType::Offline;
            let name = part.name.clone();
            let mut plan =
                LogicalPlanBuilder::scan(name, provider_as_source(Arc::new(part)), None)?;
            if let (Some(boundary_ms), Some(column)) = (boundary_ms, time_column) {
                let boundary = lit(ScalarValue::TimestampMillisecond(Some(boundary_ms), None));
                let column = col(column);
                let side = if offline {
                    column.lt_eq(boundary)
                } else {
                    column.gt(boundary)
                };
                plan = plan.filter(side)?;
            }
            plans.push(plan);
        }
        let mut union = plans.remove(0);
        for plan in plans {
            union = union.union(plan.build()?)?;
        }
        Ok(Self {
            schema,
            plan: union.build()?,
        })
    }
}

#[async_trait]
impl TableProvider for HybridTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::View
    }

    fn get_logical_plan(&self) -> Option<std::borrow::Cow<'_, LogicalPlan>> {
        Some(std::borrow::Cow::Borrowed(&self.plan))
    }

    async fn scan(
        &self,
        session: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let mut plan = LogicalPlanBuilder::from(self.plan.clone());
        if let Some(filter) = filters.iter().cloned().reduce(Expr::and) {
            plan = plan.filter(filter)?;
        }
        if let Some(projection) = projection {
            let names = projection
                .iter()
                .map(|at| col(self.schema.field(*at).name()));
            plan = plan.project(names)?;
        }
        if let Some(limit) = limit {
            plan = plan.limit(0, Some(limit))?;
        }
        session.create_physical_plan(&plan.build()?).await
    }
}
