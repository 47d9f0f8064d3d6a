//! Recognises the aggregates that the native operator can run.

use std::sync::Arc;

use arrow::datatypes::{DataType, SchemaRef};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::{CastExpr, Column, Literal};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::aggregates::{AggregateExec, AggregateMode};
use datafusion::physical_plan::coop::CooperativeExec;
use datafusion::physical_plan::projection::ProjectionExec;

use super::exec::NativeAggregateExec;
use crate::scan_exec::ServerScanExec;

/// One aggregate of the operator; columns are indices into the scan's output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Aggregate {
    CountRows,
    Count(usize),
    Sum(usize),
    Min(usize),
    Max(usize),
    Avg(usize),
}

impl Aggregate {
    /// State columns: avg has its count and its sum.
    pub(super) const fn states(self) -> usize {
        match self {
            Self::Avg(_) => 2,
            _ => 1,
        }
    }

    pub(super) const fn column(self) -> Option<usize> {
        match self {
            Self::CountRows => None,
            Self::Count(at) | Self::Sum(at) | Self::Min(at) | Self::Max(at) | Self::Avg(at) => {
                Some(at)
            }
        }
    }
}

pub(super) fn recognise(aggregate: &AggregateExec) -> Option<NativeAggregateExec> {
    if *aggregate.mode() != AggregateMode::Partial
        || aggregate.group_expr().has_grouping_set()
        || aggregate.filter_expr().iter().any(Option::is_some)
        || aggregate.limit_options().is_some()
    {
        return None;
    }
    let mut below = Arc::clone(aggregate.input());
    let mut projections = Vec::new();
    while !below.is::<ServerScanExec>() {
        if below.is::<ProjectionExec>() {
            projections.push(Arc::clone(&below));
        } else if !below.is::<CooperativeExec>() {
            return None;
        }
        let next = Arc::clone(below.children().first()?);
        below = next;
    }
    let scan = below.downcast_ref::<ServerScanExec>()?;
    if scan.description.fetch.is_some() {
        return None;
    }
    let resolve = |expr: &Arc<dyn PhysicalExpr>| resolve(expr, &projections);
    let keys = aggregate
        .group_expr()
        .expr()
        .iter()
        .map(|(expr, _)| {
            resolve(expr)
                .filter(|found| found.cast.is_none())
                .map(|f| f.column)
        })
        .collect::<Option<Vec<usize>>>()?;
    let input = scan.schema();
    let aggregates = aggregate
        .aggr_expr()
        .iter()
        .map(|function| {
            if function.is_distinct() || !function.order_bys().is_empty() {
                return None;
            }
            let arguments = function.expressions();
            let argument = arguments.first()?;
            if function.fun().name() == "count" && argument.downcast_ref::<Literal>().is_some() {
                return Some(Aggregate::CountRows);
            }
            let found = resolve(argument)?;
            known(function.fun().name(), &found, &input)
        })
        .collect::<Option<Vec<Aggregate>>>()?;
    let schema = aggregate.schema();
    let states: usize = aggregates.iter().map(|aggregate| aggregate.states()).sum();
    if schema.fields().len() != keys.len() + states {
        return None;
    }
    Some(NativeAggregateExec::new(scan, keys, aggregates, schema))
}

struct Found {
    column: usize,
    /// The type that the plan casts the column to.
    cast: Option<DataType>,
}

/// A column of the scan behind projections and casts.
fn resolve(expr: &Arc<dyn PhysicalExpr>, projections: &[Arc<dyn ExecutionPlan>]) -> Option<Found> {
    if let Some(column) = expr.downcast_ref::<Column>() {
        let Some((first, rest)) = projections.split_first() else {
            return Some(Found {
                column: column.index(),
                cast: None,
            });
        };
        let projection = first.downcast_ref::<ProjectionExec>()?;
        return resolve(&projection.expr().get(column.index())?.expr, rest);
    }
    let cast = expr.downcast_ref::<CastExpr>()?;
    let found = resolve(cast.expr(), projections)?;
    found.cast.is_none().then(|| Found {
        cast: Some(cast.cast_type().clone()),
        ..found
    })
}

fn known(name: &str, found: &Found, input: &SchemaRef) -> Option<Aggregate> {
    let own = input.field(found.column).data_type();
    let whole = |t: &DataType| matches!(t, DataType::Int32 | DataType::Int64);
    let float = |t: &DataType| matches!(t, DataType::Float32 | DataType::Float64);
    // Casts that lose nothing: the operator works on the widest form anyway.
    let widened = match &found.cast {
        None => true,
        Some(DataType::Int64) => whole(own),
        Some(DataType::Float64) => whole(own) || float(own),
        Some(_) => false,
    };
    if !widened {
        return None;
    }
    let numeric = whole(own) || float(own);
    let ordered = numeric || matches!(own, DataType::Timestamp(_, _));
    let at = found.column;
    match name {
        "count" if found.cast.is_none() => Some(Aggregate::Count(at)),
        "sum" if numeric => Some(Aggregate::Sum(at)),
        "avg" if numeric => Some(Aggregate::Avg(at)),
        "min" if ordered && found.cast.is_none() => Some(Aggregate::Min(at)),
        "max" if ordered && found.cast.is_none() => Some(Aggregate::Max(at)),
        _ => None,
    }
}
