//! Recognises the aggregates that the native operator can run.
//!
//! Projections between the aggregate and the scan are folded into the expressions, so that all of
//! them are over the columns of the table.

use std::sync::Arc;

use arrow::datatypes::{DataType, Schema, TimeUnit};
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Result, internal_datafusion_err};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::{CastExpr, Column, Literal};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::aggregates::{AggregateExec, AggregateMode};
use datafusion::physical_plan::coop::CooperativeExec;
use datafusion::physical_plan::projection::ProjectionExec;

use super::exec::NativeAggregateExec;
use crate::scan_exec::ServerScanExec;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Count,
    Sum,
    Min,
    Max,
    Avg,
}

/// What the values are added up or compared as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Width {
    Long,
    Double,
}

/// One aggregate; its expressions are over the columns of the table.
#[derive(Clone, Debug)]
pub(super) struct Aggregate {
    pub(super) kind: Kind,
    pub(super) width: Width,
    /// `None`: rows are counted.
    pub(super) argument: Option<Arc<dyn PhysicalExpr>>,
    /// `FILTER (WHERE …)`.
    pub(super) filter: Option<Arc<dyn PhysicalExpr>>,
}

impl Aggregate {
    /// State columns: avg has its count and its sum.
    pub(super) const fn states(&self) -> usize {
        match self.kind {
            Kind::Avg => 2,
            _ => 1,
        }
    }

    pub(super) fn counts_rows(&self) -> bool {
        self.kind == Kind::Count && self.argument.is_none() && self.filter.is_none()
    }
}

pub(super) fn recognise(aggregate: &AggregateExec) -> Result<Option<NativeAggregateExec>> {
    if *aggregate.mode() != AggregateMode::Partial
        || aggregate.group_expr().has_grouping_set()
        || aggregate.limit_options().is_some()
    {
        return Ok(None);
    }
    let mut below = Arc::clone(aggregate.input());
    let mut projections = Vec::new();
    while !below.is::<ServerScanExec>() {
        if below.is::<ProjectionExec>() {
            projections.push(Arc::clone(&below));
        } else if !below.is::<CooperativeExec>() {
            return Ok(None);
        }
        let children = below.children();
        let Some(next) = children.first() else {
            return Ok(None);
        };
        let next = Arc::clone(next);
        below = next;
    }
    let Some(scan) = below.downcast_ref::<ServerScanExec>() else {
        return Ok(None);
    };
    if scan.description.fetch.is_some() {
        return Ok(None);
    }
    let over = OverTable { scan, projections };
    let mut keys = Vec::new();
    for (expr, _) in aggregate.group_expr().expr() {
        keys.push(over.expression(expr)?);
    }
    let schema = aggregate.schema();
    let mut aggregates: Vec<Aggregate> = Vec::new();
    let mut at = keys.len();
    for (function, filter) in aggregate.aggr_expr().iter().zip(aggregate.filter_expr()) {
        if function.is_distinct() || !function.order_bys().is_empty() {
            return Ok(None);
        }
        let arguments = function.expressions();
        let [argument] = &arguments[..] else {
            return Ok(None);
        };
        let name = function.fun().name();
        let Some(mut known) = over.aggregate(name, argument, &schema, at)? else {
            return Ok(None);
        };
        if let Some(filter) = filter {
            known.filter = Some(over.expression(filter)?);
        }
        at += known.states();
        aggregates.push(known);
    }
    if schema.fields().len() != at {
        return Ok(None);
    }
    Ok(Some(NativeAggregateExec::new(
        scan, keys, aggregates, schema,
    )))
}

struct OverTable<'a> {
    scan: &'a ServerScanExec,
    projections: Vec<Arc<dyn ExecutionPlan>>,
}

impl OverTable<'_> {
    /// The expression over the aggregate's input as one over the table.
    fn expression(&self, expr: &Arc<dyn PhysicalExpr>) -> Result<Arc<dyn PhysicalExpr>> {
        let mut expr = Arc::clone(expr);
        for projection in &self.projections {
            let Some(projection) = projection.downcast_ref::<ProjectionExec>() else {
                continue;
            };
            expr = replace_columns(expr, |column| {
                let below = projection.expr().get(column.index())?;
                Some(Arc::clone(&below.expr))
            })?;
        }
        let description = &self.scan.description;
        replace_columns(expr, |column| {
            let index = *description.projection.get(column.index())?;
            let name = description.table_schema.field(index).name();
            Some(Arc::new(Column::new(name, index)) as _)
        })
    }

    /// `None`: not an aggregate that we know. Its states begin at `at` of `states`.
    fn aggregate(
        &self,
        name: &str,
        argument: &Arc<dyn PhysicalExpr>,
        states: &Schema,
        at: usize,
    ) -> Result<Option<Aggregate>> {
        let table = &self.scan.description.table_schema;
        let kind = match name {
            "count" => Kind::Count,
            "sum" => Kind::Sum,
            "min" => Kind::Min,
            "max" => Kind::Max,
            "avg" => Kind::Avg,
            _ => return Ok(None),
        };
        let argument = self.expression(argument)?;
        let literal = argument.downcast_ref::<Literal>();
        if kind == Kind::Count && literal.is_some_and(|literal| !literal.value().is_null()) {
            return Ok(Some(Aggregate {
                kind,
                width: Width::Long,
                argument: None,
                filter: None,
            }));
        }
        let argument = match kind {
            Kind::Sum | Kind::Avg => without_widening(argument, table)?,
            _ => argument,
        };
        let own = argument.data_type(table)?;
        let whole = matches!(own, DataType::Int32 | DataType::Int64);
        let time = own == DataType::Timestamp(TimeUnit::Millisecond, None);
        let state = states.field(at).data_type();
        let width = match kind {
            Kind::Count => Some(Width::Long),
            Kind::Sum if *state == DataType::Int64 && whole => Some(Width::Long),
            Kind::Sum if *state == DataType::Float64 && (whole || own.is_floating()) => {
                Some(Width::Double)
            }
            Kind::Min | Kind::Max if whole || time => Some(Width::Long),
            Kind::Min | Kind::Max if own.is_floating() => Some(Width::Double),
            Kind::Avg if *states.field(at + 1).data_type() != DataType::Float64 => None,
            // Sums of 32-bit numbers are exact in 64 bits; wider ones could overflow.
            Kind::Avg if own == DataType::Int32 => Some(Width::Long),
            Kind::Avg if whole || own.is_floating() => Some(Width::Double),
            _ => None,
        };
        let half = own == DataType::Float16;
        Ok(width.filter(|_| !half).map(|width| Aggregate {
            kind,
            width,
            argument: Some(argument),
            filter: None,
        }))
    }
}

fn replace_columns(
    expr: Arc<dyn PhysicalExpr>,
    with: impl Fn(&Column) -> Option<Arc<dyn PhysicalExpr>>,
) -> Result<Arc<dyn PhysicalExpr>> {
    let replaced = expr.transform_down(|node| {
        let Some(column) = node.downcast_ref::<Column>() else {
            return Ok(Transformed::no(node));
        };
        let below = with(column).ok_or_else(|| {
            internal_datafusion_err!("column `{}` of an aggregate is not there", column.name())
        })?;
        Ok(Transformed::new(below, true, TreeNodeRecursion::Jump))
    })?;
    Ok(replaced.data)
}

/// Casts that lose nothing are left out: sums are kept in the widest form anyway.
fn without_widening(expr: Arc<dyn PhysicalExpr>, table: &Schema) -> Result<Arc<dyn PhysicalExpr>> {
    let Some(cast) = expr.downcast_ref::<CastExpr>() else {
        return Ok(expr);
    };
    let own = cast.expr().data_type(table)?;
    let widens = match cast.cast_type() {
        DataType::Int64 => own == DataType::Int32,
        DataType::Float64 => matches!(
            own,
            DataType::Int32 | DataType::Int64 | DataType::Float32 | DataType::Float64
        ),
        _ => false,
    };
    if widens {
        return Ok(Arc::clone(cast.expr()));
    }
    Ok(expr)
}
