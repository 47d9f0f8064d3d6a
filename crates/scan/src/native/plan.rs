//! Recognises the aggregates that the native operator can run.
//!
//! Projections between the aggregate and the scan are folded into the expressions, so that all of
//! them are over the columns of the table. A final aggregate over a partial one, or a single one,
//! is replaced as a whole: then the operator gives values, else states.

use std::sync::Arc;

use arrow::datatypes::{DataType, Schema};
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Result, internal_datafusion_err};
use datafusion::logical_expr::Operator;
use datafusion::logical_expr::utils::AggregateOrderSensitivity;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::aggregate::AggregateFunctionExpr;
use datafusion::physical_expr::expressions::{BinaryExpr, CaseExpr, CastExpr, Column, Literal};
use datafusion::physical_expr::utils::collect_columns;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::aggregates::{AggregateExec, AggregateMode};
use datafusion::physical_plan::coop::CooperativeExec;
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::unnest::UnnestExec;

use super::aggregate::{Aggregate, Kind, Width, kind_of, width_of};
use super::entries::{self, ByEntry};
use super::exec::NativeAggregateExec;
use super::general::General;
use super::linear::Linear;
use crate::scan_exec::ServerScanExec;

type Expr = Arc<dyn PhysicalExpr>;

/// What the operator gives out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Output {
    /// States, for a final aggregate elsewhere.
    States,
    Values,
}

/// The native operator in the place of `aggregate`, if it can do all of it.
pub(super) fn recognise(aggregate: &AggregateExec) -> Result<Option<NativeAggregateExec>> {
    match aggregate.mode() {
        AggregateMode::Partial => native(aggregate, aggregate, Output::States),
        AggregateMode::Single | AggregateMode::SinglePartitioned => {
            native(aggregate, aggregate, Output::Values)
        }
        AggregateMode::Final | AggregateMode::FinalPartitioned => {
            let below = partial_below(aggregate);
            match below.as_ref().and_then(|own| own.downcast_ref()) {
                Some(partial) => native(partial, aggregate, Output::Values),
                None => Ok(None),
            }
        }
        _ => Ok(None),
    }
}

/// The partial aggregate whose states this final one joins, if they come as they are.
pub(super) fn partial_below(aggregate: &AggregateExec) -> Option<Arc<dyn ExecutionPlan>> {
    let is_final = matches!(
        aggregate.mode(),
        AggregateMode::Final | AggregateMode::FinalPartitioned
    );
    let mut below = is_final.then(|| Arc::clone(aggregate.input()))?;
    loop {
        if let Some(partial) = below.downcast_ref::<AggregateExec>() {
            let is_partial = *partial.mode() == AggregateMode::Partial;
            return is_partial.then(|| Arc::clone(&below));
        }
        // Between the two there are exchanges of one server with itself.
        let [child] = below.children()[..] else {
            return None;
        };
        if below.schema() != child.schema() {
            return None;
        }
        let child = Arc::clone(child);
        below = child;
    }
}

pub(super) fn native(
    aggregate: &AggregateExec,
    last: &AggregateExec,
    output: Output,
) -> Result<Option<NativeAggregateExec>> {
    if aggregate.group_expr().has_grouping_set() {
        return Ok(None);
    }
    let Some((scan, projections)) = scan_below(aggregate) else {
        return Ok(None);
    };
    let Some(scan) = scan.downcast_ref::<ServerScanExec>() else {
        return Ok(None);
    };
    if scan.description.fetch.is_some() {
        return Ok(None);
    }
    let over = OverTable { scan, projections };
    let Some(entries) = over.entries()? else {
        return Ok(None);
    };
    let mut keys = Vec::new();
    for (expr, _) in aggregate.group_expr().expr() {
        keys.push(over.expression(expr)?);
    }
    let mut aggregates: Vec<Aggregate> = Vec::new();
    for (function, filter) in aggregate.aggr_expr().iter().zip(aggregate.filter_expr()) {
        let Some(mut known) = over.aggregate(function, (output, !keys.is_empty()))? else {
            return Ok(None);
        };
        if let Some(filter) = filter {
            let filter = over.expression(filter)?;
            known.filter = Some(match known.filter {
                Some(own) => Arc::new(BinaryExpr::new(filter, Operator::And, own)),
                None => filter,
            });
        }
        aggregates.push(known);
    }
    if let Some(by_entry) = entries
        && !only_keys_are(by_entry.column, &keys, &aggregates)
    {
        return Ok(None);
    }
    let columns: usize = match output {
        Output::Values => aggregates.len(),
        Output::States => aggregates.iter().map(|a| a.states.len()).sum(),
    };
    if last.schema().fields().len() != keys.len() + columns {
        return Ok(None);
    }
    let mut native = NativeAggregateExec::new(scan, (keys, entries), aggregates, output, last)?;
    native.whole = (output == Output::Values).then(|| Arc::new(aggregate.clone()));
    let limit = last.limit_options();
    let limit = limit.filter(|limit| limit.descending.is_none());
    native.few = limit.map(|limit| limit.limit);
    Ok(Some(native))
}

/// A key is the column itself, and nothing else reads it.
fn only_keys_are(column: usize, keys: &[Arc<dyn PhysicalExpr>], aggregates: &[Aggregate]) -> bool {
    let is_it = |expr: &Arc<dyn PhysicalExpr>| {
        expr.downcast_ref::<Column>()
            .is_some_and(|own| own.index() == column)
    };
    let reads_it = |expr: &Arc<dyn PhysicalExpr>| {
        let columns = collect_columns(expr);
        columns.iter().any(|own| own.index() == column)
    };
    let read = aggregates.iter().flat_map(|aggregate| {
        let arguments = aggregate.arguments();
        arguments.chain(&aggregate.filter)
    });
    keys.iter().any(is_it)
        && keys.iter().all(|key| is_it(key) || !reads_it(key))
        && !read.into_iter().any(reads_it)
}

/// The scan that the aggregate reads, and what is between, from above: projections, and what makes
/// a row of each entry.
#[expect(clippy::type_complexity, reason = "two lists of the same")]
fn scan_below(
    aggregate: &AggregateExec,
) -> Option<(Arc<dyn ExecutionPlan>, Vec<Arc<dyn ExecutionPlan>>)> {
    let mut below = Arc::clone(aggregate.input());
    let mut projections = Vec::new();
    while !below.is::<ServerScanExec>() {
        if below.is::<ProjectionExec>() || below.is::<UnnestExec>() {
            projections.push(Arc::clone(&below));
        } else if !below.is::<CooperativeExec>() {
            return None;
        }
        let next = Arc::clone(below.children().first()?);
        below = next;
    }
    Some((below, projections))
}

struct OverTable<'a> {
    scan: &'a ServerScanExec,
    projections: Vec<Arc<dyn ExecutionPlan>>,
}

impl OverTable<'_> {
    /// The column of the table each entry of which makes a row, if there is one. `None`: it is
    /// not as simple as that.
    fn entries(&self) -> Result<Option<Option<ByEntry>>> {
        let nodes = self.projections.iter().enumerate();
        let mut unnested =
            nodes.filter_map(|(at, node)| Some((at, node.downcast_ref::<UnnestExec>()?)));
        let Some((at, unnest)) = unnested.next() else {
            return Ok(Some(None));
        };
        let ([list], [], None) = (
            unnest.list_column_indices(),
            unnest.struct_column_indices(),
            unnested.next(),
        ) else {
            return Ok(None);
        };
        let (input, index) = (unnest.input().schema(), list.index_in_input_schema);
        if list.depth != 1 || unnest.schema().fields().len() != input.fields().len() {
            return Ok(None);
        }
        let column = Arc::new(Column::new(input.field(index).name(), index)) as _;
        let column = self.over_table(&column, &self.projections[at + 1..])?;
        let Some(column) = column.downcast_ref::<Column>() else {
            return Ok(None);
        };
        if !entries::are_in(&self.scan.segments, column.name())? {
            return Ok(None);
        }
        Ok(Some(Some(ByEntry {
            column: column.index(),
            keeps_null: unnest.options().preserve_nulls(),
        })))
    }

    /// The expression over the aggregate's input as one over the table.
    fn expression(&self, expr: &Arc<dyn PhysicalExpr>) -> Result<Arc<dyn PhysicalExpr>> {
        self.over_table(expr, &self.projections)
    }

    fn over_table(
        &self,
        expr: &Arc<dyn PhysicalExpr>,
        projections: &[Arc<dyn ExecutionPlan>],
    ) -> Result<Arc<dyn PhysicalExpr>> {
        let mut expr = Arc::clone(expr);
        for projection in projections {
            // Others leave columns where they are.
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

    /// `None`: not an aggregate that can be.
    fn aggregate(
        &self,
        function: &AggregateFunctionExpr,
        whence: (Output, bool),
    ) -> Result<Option<Aggregate>> {
        match self.own(function, whence.0)? {
            Some(own) => Ok(Some(own)),
            None => self.general(function, whence),
        }
    }

    /// By an accumulator of DataFusion, unless rows must come in an order. `has_keys` is of the
    /// final aggregate too.
    fn general(
        &self,
        function: &AggregateFunctionExpr,
        (output, has_keys): (Output, bool),
    ) -> Result<Option<Aggregate>> {
        let needs_order =
            function.order_sensitivity() == AggregateOrderSensitivity::HardRequirement;
        if needs_order && !function.order_bys().is_empty() {
            return Ok(None);
        }
        let order = function.order_bys().iter().map(|order| &order.expr);
        let own = function.expressions();
        let arguments = own.iter().chain(order).map(|expr| self.expression(expr));
        let mut arguments = arguments.collect::<Result<Vec<_>>>()?;
        if arguments.is_empty() {
            return Ok(None);
        }
        let table = &self.scan.description.table_schema;
        let types = arguments.iter().map(|own| own.data_type(table));
        let types = types.collect::<Result<Vec<_>>>()?;
        let general = General::new(function, types, (output, has_keys));
        let argument = arguments.remove(0);
        Ok(Some(Aggregate {
            kind: Kind::General,
            width: Width::Own,
            argument: Some(argument),
            more: arguments,
            general: Some(Arc::new(general)),
            linear: Linear::IDENTITY,
            filter: None,
            states: function.state_fields()?,
            result: function.field().data_type().clone(),
        }))
    }

    /// Kept by ourselves; `None`: not an aggregate that we know.
    fn own(&self, function: &AggregateFunctionExpr, output: Output) -> Result<Option<Aggregate>> {
        let table = &self.scan.description.table_schema;
        let Some(kind) = kind_of(function) else {
            return Ok(None);
        };
        if let Kind::Pair(_) = kind {
            return self.pair(kind, function);
        }
        let arguments = function.expressions();
        let argument = self.expression(&arguments[0])?;
        let (argument, filter) = out_of_case(argument, table)?;
        let mut known = Aggregate {
            kind,
            width: Width::Long,
            argument: None,
            more: Vec::new(),
            general: None,
            linear: Linear::IDENTITY,
            filter,
            states: function.state_fields()?,
            result: function.field().data_type().clone(),
        };
        let literal = argument.downcast_ref::<Literal>();
        if kind == Kind::Count && literal.is_some_and(|literal| !literal.value().is_null()) {
            return Ok(Some(known));
        }
        let argument = match kind {
            Kind::Count | Kind::Min | Kind::Max | Kind::Distinct | Kind::ApproxDistinct => argument,
            _ => without_widening(argument, table)?,
        };
        if let Some((number, linear)) = Linear::of(&argument, table)? {
            let is_int = number.data_type(table)? == DataType::Int32;
            let follows = match kind {
                Kind::Count => true,
                Kind::Sum => known.result == DataType::Int64,
                Kind::Avg => is_int && known.result == DataType::Float64 && linear.fits_ints(),
                Kind::Min | Kind::Max => is_int && linear.fits_ints(),
                _ => false,
            };
            if follows {
                if linear.descends() {
                    known.kind = kind.reversed();
                }
                known.linear = linear;
                known.argument = Some(number);
                return Ok(Some(known));
            }
        }
        let own = argument.data_type(table)?;
        let Some(width) = width_of(kind, &own, &known, output) else {
            return Ok(None);
        };
        known.width = width;
        known.argument = Some(argument);
        Ok(Some(known))
    }
}

impl OverTable<'_> {
    /// Of two numbers.
    fn pair(&self, kind: Kind, function: &AggregateFunctionExpr) -> Result<Option<Aggregate>> {
        let table = &self.scan.description.table_schema;
        let states = function.state_fields()?;
        let mut numbers = Vec::with_capacity(2);
        for own in function.expressions() {
            let number = without_widening(self.expression(&own)?, table)?;
            if !number.data_type(table)?.is_numeric() || number.data_type(table)?.is_decimal() {
                return Ok(None);
            }
            numbers.push(number);
        }
        Ok(numbers.pop().zip(numbers.pop()).map(|(x, y)| Aggregate {
            kind,
            width: Width::Double,
            argument: Some(y),
            more: vec![x],
            general: None,
            linear: Linear::IDENTITY,
            filter: None,
            states: states.clone(),
            result: function.field().data_type().clone(),
        }))
    }
}

/// Every column of `expr` by what stands for it.
pub(crate) fn replace_columns(
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

/// Of `CASE WHEN p THEN x END`, which aggregates of one argument leave out where it is null, `x`
/// and `p`.
fn out_of_case(expr: Expr, table: &Schema) -> Result<(Expr, Option<Expr>)> {
    let Some(case) = expr.downcast_ref::<CaseExpr>() else {
        return Ok((expr, None));
    };
    let is_null = |expr: &Expr| {
        let literal = expr.downcast_ref::<Literal>();
        literal.is_some_and(|literal| literal.value().is_null())
    };
    match (case.expr(), case.when_then_expr(), case.else_expr()) {
        (None, [(condition, value)], other)
            if other.is_none_or(is_null) && value.data_type(table)? == expr.data_type(table)? =>
        {
            Ok((Arc::clone(value), Some(Arc::clone(condition))))
        }
        _ => Ok((expr, None)),
    }
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
