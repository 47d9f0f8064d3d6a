//! Tables as DataFusion sees them: from one snapshot of the cluster's state.

use std::sync::Arc;

use arrow::datatypes::{Schema, SchemaRef};
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::tree_node::TreeNode;
use datafusion::common::{DFSchema, Result, plan_err};
use datafusion::datasource::{TableType, provider_as_source};
use datafusion::logical_expr::{
    Expr, LogicalPlan, LogicalPlanBuilder, TableProviderFilterPushDown, Volatility, lit,
};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::scalar::ScalarValue;
use schemas::arrow::{VIRTUAL_COLUMNS, full_schema, null_test};
use schemas::boundary::time_unit_ms;
use schemas::cluster::TableState;
use schemas::proto::NullMode;
use schemas::{DataType, Fault};

use crate::context::QueryContext;
use crate::fault::from_fault;
use crate::parameters::Parameters;
use crate::prune::segments_to_read;
use crate::routing::{Route, Wanted, route};
use crate::scan_exec::{ScanDescription, ScanPart, SegmentScanExec};

/// How a statement wants to see columns.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ColumnView<'a> {
    pub(crate) null_mode: NullMode,
    /// In the order of their names, as Pinot expands `*`; otherwise of the schema.
    pub(crate) by_name: bool,
    /// Those that the statement names; the others are not there.
    pub(crate) virtual_columns: &'a [&'static str],
    /// Columns that it asks of whether they are null.
    pub(crate) null_tests: &'a [String],
}

/// The table behind a name: one physical table, or both parts of a hybrid one.
pub(crate) fn tables(
    context: &Arc<QueryContext>,
    name: &str,
    view: ColumnView<'_>,
) -> Result<Option<Arc<dyn TableProvider>>> {
    let states = context.cluster.resolve(name).into_iter();
    let mut parts: Vec<SegmentTable> = states
        .map(|state| SegmentTable {
            schema: visible_schema(&state, view),
            name: state.spec.physical_name(),
            context: Arc::clone(context),
            state,
        })
        .collect();
    if !parts.is_empty() {
        context.stats.lock().tables.insert(name.to_owned());
    }
    Ok(match parts.len() {
        0 => None,
        1 => Some(Arc::new(parts.remove(0))),
        _ => Some(Arc::new(HybridTable::new(parts)?)),
    })
}

fn visible_schema(state: &TableState, view: ColumnView<'_>) -> SchemaRef {
    let full = full_schema(&state.spec, view.null_mode);
    let is_virtual = |name: &str| VIRTUAL_COLUMNS.iter().any(|(known, _)| *known == name);
    let mut fields: Vec<_> = full.fields().iter().cloned().collect();
    fields.retain(|field| {
        let name = field.name().as_str();
        !is_virtual(name) || view.virtual_columns.contains(&name)
    });
    if view.by_name {
        fields.sort_by(|a, b| {
            (is_virtual(a.name()), a.name()).cmp(&(is_virtual(b.name()), b.name()))
        });
    }
    if view.null_mode == NullMode::Defaults {
        let columns = state.spec.columns.iter();
        let tested = columns.filter(|own| !own.not_null && view.null_tests.contains(&own.name));
        fields.extend(tested.map(|own| Arc::new(null_test(&own.name))));
    }
    Arc::new(Schema::new(fields))
}

/// One physical table.
#[derive(Debug)]
struct SegmentTable {
    schema: SchemaRef,
    name: String,
    context: Arc<QueryContext>,
    state: Arc<TableState>,
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
        let spec = &self.state.spec;
        let all = || (0..self.schema.fields().len()).collect();
        let description = ScanDescription {
            table: spec.id,
            table_name: self.name.clone(),
            table_schema: Arc::clone(&self.schema),
            projection: projection.cloned().unwrap_or_else(all),
            filters: conjuncts,
            sent_filters: None,
            fetch: limit,
            null_mode: self.context.null_mode,
            is_dimension_table: spec.is_dimension_table,
        };
        let route = routed(&description, &self.context, &Parameters::default())?;
        let rows = route.rows_estimated() as usize;
        let scan = SegmentScanExec::new(Arc::new(description), Arc::new(route.parts), rows)?;
        Ok(Arc::new(scan))
    }
}

/// Nobody here knows how many there are. So many are taken for each run: more than a table of
/// things has, fewer than one of events.
const CONSUMING_ROWS: u64 = 100_000;

impl Route {
    /// Rows of the segments that are read.
    pub(crate) fn rows_estimated(&self) -> u64 {
        let runs = self.parts.iter().map(|part| part.scan.consuming.len());
        self.rows + runs.sum::<usize>() as u64 * CONSUMING_ROWS
    }
}

/// Who reads what of the table for these values of parameters. The first time a literal has its own
/// value, and none are given.
pub(crate) fn routed(
    description: &ScanDescription,
    context: &QueryContext,
    parameters: &Parameters,
) -> Result<Route> {
    let state = context.cluster.tables.get(&description.table);
    let state = state.ok_or_else(|| from_fault(Fault::internal("a table that is not there")))?;
    let ScanDescription {
        table_schema,
        filters,
        ..
    } = description;
    // A dimension table is read whole: its share in a fragment does not depend on filters.
    let index = context.indexes.get(state);
    let keep = match description.is_dimension_table {
        true => state.segments.iter().collect(),
        false => segments_to_read(&index, table_schema, filters, parameters),
    };
    let avoid = context.failed.lock().clone();
    let route = route(&Wanted {
        cluster: &context.cluster,
        table: state,
        index: &index,
        keep,
        turn: context.turn_of(state),
        standing: &context.standing_for(state),
        avoid: &avoid,
    });
    let mut stats = context.stats.lock();
    if !route.unavailable.is_empty() {
        let fault = unavailable(&description.table_name, &route.unavailable);
        if !context.allows_partial || description.is_dimension_table {
            return Err(from_fault(fault));
        }
        stats.leave_out(fault);
    }
    stats.pruned(route.pruned);
    drop(stats);
    Ok(route)
}

/// The servers that a query would ask, and for what.
pub fn who_reads(description: &ScanDescription, context: &QueryContext) -> Result<Vec<ScanPart>> {
    Ok(routed(description, context, &Parameters::default())?.parts)
}

/// Names of segments that a message lists; the rest is counted.
const NAMES_SHOWN: usize = 5;

pub(crate) fn unavailable(table: &str, segments: &[String]) -> Fault {
    let mut names = segments
        .iter()
        .take(NAMES_SHOWN)
        .map(|name| format!("`{name}`"))
        .collect::<Vec<_>>()
        .join(", ");
    if segments.len() > NAMES_SHOWN {
        names.push_str(&format!(" and {} more", segments.len() - NAMES_SHOWN));
    }
    let message = format!("no living server holds segments of `{table}`: {names}");
    let code = schemas::fault::pinot_code::BROKER_SEGMENT_UNAVAILABLE;
    Fault::unavailable(message).with_code(code)
}

/// The same answer for the same row, wherever it is evaluated.
fn is_deterministic(filter: &Expr) -> bool {
    let bad = filter.exists(|expr| {
        Ok(match expr {
            Expr::ScalarFunction(call) => call.func.signature().volatility != Volatility::Immutable,
            Expr::ScalarSubquery(_) | Expr::InSubquery(_) | Expr::Exists(_) => true,
            Expr::SetComparison(_) => true,
            // A placeholder has one value for the whole query.
            Expr::OuterReferenceColumn(_, _) => true,
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
        // Stored with one part; both are cut at it.
        let boundary_ms = parts.iter().find_map(|part| part.state.time_boundary_ms);
        let mut union: Option<LogicalPlanBuilder> = None;
        for part in parts {
            let filter = side_of(&part.state, boundary_ms)?;
            let name = part.name.clone();
            let mut plan =
                LogicalPlanBuilder::scan(name, provider_as_source(Arc::new(part)), None)?;
            if let Some(filter) = filter {
                plan = plan.filter(filter)?;
            }
            let names = schema.fields().iter().map(|field| quoted(field.name()));
            plan = plan.project(names)?;
            union = Some(match union {
                Some(union) => union.union(plan.build()?)?,
                None => plan,
            });
        }
        let Some(union) = union else {
            return plan_err!("a hybrid table without parts");
        };
        let plan = union.build()?;
        Ok(Self { schema, plan })
    }
}

/// A column by its exact name, whatever letters it has.
fn quoted(name: &str) -> Expr {
    Expr::Column(datafusion::common::Column::from_name(name))
}

/// Which rows of a part count; all where it has no time column. Without a boundary there are no
/// OFFLINE rows yet that are all there.
fn side_of(state: &TableState, boundary_ms: Option<i64>) -> Result<Option<Expr>> {
    let spec = &state.spec;
    let Some(column) = spec
        .time_column
        .as_deref()
        .and_then(|name| spec.column(name))
    else {
        return Ok(None);
    };
    let Some(boundary_ms) = boundary_ms else {
        let is_offline = spec.table_type == schemas::TableType::Offline;
        return Ok(is_offline.then(|| lit(false)));
    };
    let unit_ms = match column.data_type {
        DataType::Timestamp => None,
        _ => match time_unit_ms(column) {
            Some(unit_ms) => Some(unit_ms),
            None => return plan_err!("time column `{}` has no unit that is known", column.name),
        },
    };
    let boundary = match (unit_ms, column.data_type) {
        (None, _) => lit(ScalarValue::TimestampMillisecond(Some(boundary_ms), None)),
        (Some(unit_ms), DataType::Int) => {
            let units = boundary_ms.div_euclid(unit_ms);
            let (least, most) = (i64::from(i32::MIN), i64::from(i32::MAX));
            lit(units.clamp(least, most) as i32)
        }
        (Some(unit_ms), _) => lit(boundary_ms.div_euclid(unit_ms)),
    };
    let time = quoted(&column.name);
    Ok(Some(match spec.table_type {
        schemas::TableType::Offline => time.lt_eq(boundary),
        schemas::TableType::Realtime => time.gt(boundary),
    }))
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
                .map(|at| quoted(self.schema.field(*at).name()));
            plan = plan.project(names)?;
        }
        if let Some(limit) = limit {
            plan = plan.limit(0, Some(limit))?;
        }
        session.create_physical_plan(&plan.build()?).await
    }
}
