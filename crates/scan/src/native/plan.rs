//! Recognises the aggregates that the native operator can run.
//!
//! Projections between the aggregate and the scan are folded into the expressions, so that all of
//! them are over the columns of the table. A final aggregate over a partial one, or a single one,
//! is replaced as a whole: then the operator gives values, else states.

use std::sync::Arc;

use arrow::datatypes::{DataType, FieldRef, Schema, TimeUnit};
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Result, ScalarValue, internal_datafusion_err};
use datafusion::logical_expr::Operator;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::aggregate::AggregateFunctionExpr;
use datafusion::physical_expr::expressions::{BinaryExpr, CaseExpr, CastExpr, Column, Literal};
use datafusion::physical_expr::utils::collect_columns;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::aggregates::{AggregateExec, AggregateMode};
use datafusion::physical_plan::coop::CooperativeExec;
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::unnest::UnnestExec;

use super::entries::{self, ByEntry};
use super::exec::NativeAggregateExec;
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

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Kind {
    Count,
    Sum,
    Min,
    Max,
    Avg,
    /// Variance, of a sample or of all there are, or its root.
    Spread {
        sample: bool,
        root: bool,
    },
    Distinct,
    ApproxDistinct,
    Percentile {
        share: f64,
        how: Percentile,
    },
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Percentile {
    /// The mean of the two in the middle.
    Median,
    /// Between two values, as DataFusion weighs them.
    Exact,
    /// Of n values the one with `n * share` others before it: Pinot's.
    Rank,
    /// As near as a digest of so many centroids; better is allowed.
    Digest(usize),
}

/// What the values are added up or compared as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Width {
    Long,
    Double,
    /// As they are: text, and all that is only told apart.
    Own,
}

/// One aggregate; its expressions are over the columns of the table.
#[derive(Clone, Debug)]
pub(crate) struct Aggregate {
    pub(super) kind: Kind,
    pub(super) width: Width,
    /// `None`: rows are counted.
    pub(super) argument: Option<Arc<dyn PhysicalExpr>>,
    /// What is made of the argument, or rather of what became of it.
    pub(super) linear: Linear,
    /// `FILTER (WHERE …)`.
    pub(super) filter: Option<Arc<dyn PhysicalExpr>>,
    /// Columns of its state.
    pub(super) states: Vec<FieldRef>,
    pub(super) result: DataType,
}

impl Aggregate {
    /// Whether this one's states answer the other as well.
    pub(super) fn answers(&self, other: &Self) -> bool {
        let same_values = self.argument == other.argument && self.filter == other.filter;
        match (self.kind, other.kind) {
            // States of numbers count them.
            (own, Kind::Count) if own.is_total() && self.width != Width::Own => {
                same_values && other.argument.is_some()
            }
            (Kind::Percentile { how, .. }, Kind::Percentile { how: other_how, .. }) => {
                same_values && how == other_how && self.width == other.width
            }
            (Kind::Sum | Kind::Avg, Kind::Sum | Kind::Avg) => {
                same_values && self.width == other.width
            }
            (own, others) => same_values && own == others && self.width == other.width,
        }
    }

    /// Whether both are kept of the same numbers, so that these need be read only once.
    pub(super) fn reads_with(&self, other: &Self) -> bool {
        self.kind.is_total()
            && other.kind.is_total()
            && self.width == other.width
            && self.width != Width::Own
            && self.argument == other.argument
            && self.filter == other.filter
    }

    pub(super) fn counts_rows(&self) -> bool {
        self.kind == Kind::Count && self.argument.is_none() && self.filter.is_none()
    }
}

impl Kind {
    /// A number for each group that each value changes.
    const fn is_total(self) -> bool {
        matches!(self, Self::Sum | Self::Avg | Self::Min | Self::Max)
    }

    /// Of values in the opposite order.
    const fn reversed(self) -> Self {
        match self {
            Self::Min => Self::Max,
            Self::Max => Self::Min,
            other => other,
        }
    }
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
        let Some(mut known) = over.aggregate(function, output)? else {
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
    let schema = last.schema();
    let columns: usize = match output {
        Output::Values => aggregates.len(),
        Output::States => aggregates.iter().map(|a| a.states.len()).sum(),
    };
    if schema.fields().len() != keys.len() + columns {
        return Ok(None);
    }
    let mut native = NativeAggregateExec::new(scan, (keys, entries), aggregates, output, schema)?;
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
        let argument = aggregate.argument.iter();
        argument.chain(&aggregate.filter)
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

    /// `None`: not an aggregate that we know.
    fn aggregate(
        &self,
        function: &AggregateFunctionExpr,
        output: Output,
    ) -> Result<Option<Aggregate>> {
        let table = &self.scan.description.table_schema;
        let Some(kind) = kind_of(function) else {
            return Ok(None);
        };
        let arguments = function.expressions();
        let argument = self.expression(&arguments[0])?;
        let (argument, filter) = out_of_case(argument, table)?;
        let mut known = Aggregate {
            kind,
            width: Width::Long,
            argument: None,
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

fn kind_of(function: &AggregateFunctionExpr) -> Option<Kind> {
    let name = function.fun().name();
    let arguments = function.expressions();
    if function.is_distinct() {
        let counts = name == "count" && arguments.len() == 1;
        return counts.then_some(Kind::Distinct);
    }
    let percentile = |how| {
        let share = match arguments.get(1)?.downcast_ref::<Literal>()?.value() {
            ScalarValue::Float64(Some(percent)) if how == Percentile::Rank => *percent / 100.0,
            ScalarValue::Float64(Some(share)) => *share,
            _ => return None,
        };
        let descends = function.order_bys().first();
        let descends = descends.is_some_and(|order| order.options.descending);
        let share = if descends { 1.0 - share } else { share };
        (0.0..=1.0)
            .contains(&share)
            .then_some(Kind::Percentile { share, how })
    };
    match (name, arguments.len()) {
        ("approx_percentile_cont", 2) => {
            return percentile(Percentile::Digest(index::sketch::DIGEST_SIZE));
        }
        ("approx_percentile_cont", 3) => {
            let size = match arguments[2].downcast_ref::<Literal>()?.value() {
                ScalarValue::Int64(Some(size)) => usize::try_from(*size).ok()?,
                _ => return None,
            };
            return percentile(Percentile::Digest(size));
        }
        ("percentile_cont", 2) => return percentile(Percentile::Exact),
        ("percentile", 2) => return percentile(Percentile::Rank),
        (_, 1) if function.order_bys().is_empty() => {}
        _ => return None,
    }
    let middle = |how| Kind::Percentile { share: 0.5, how };
    let spread = |sample, root| Kind::Spread { sample, root };
    Some(match name {
        "count" => Kind::Count,
        "sum" => Kind::Sum,
        "min" | "bool_and" => Kind::Min,
        "max" | "bool_or" => Kind::Max,
        "avg" => Kind::Avg,
        "var" => spread(true, false),
        "var_pop" => spread(false, false),
        "stddev" => spread(true, true),
        "stddev_pop" => spread(false, true),
        "approx_distinct" => Kind::ApproxDistinct,
        "median" => middle(Percentile::Median),
        "approx_median" => middle(Percentile::Digest(index::sketch::DIGEST_SIZE)),
        _ => return None,
    })
}

/// How values of type `own` are kept; `None`: they cannot be.
fn width_of(kind: Kind, own: &DataType, aggregate: &Aggregate, output: Output) -> Option<Width> {
    let whole = matches!(own, DataType::Int32 | DataType::Int64);
    let time = *own == DataType::Timestamp(TimeUnit::Millisecond, None);
    let float = matches!(own, DataType::Float32 | DataType::Float64);
    let text = matches!(own, DataType::Utf8View | DataType::BinaryView);
    let result = &aggregate.result;
    match kind {
        Kind::Count => Some(Width::Long),
        Kind::Sum if *result == DataType::Int64 && whole => Some(Width::Long),
        Kind::Sum if *result == DataType::Float64 && (whole || float) => Some(Width::Double),
        Kind::Min | Kind::Max if whole || time || *own == DataType::Boolean => Some(Width::Long),
        Kind::Min | Kind::Max if float => Some(Width::Double),
        Kind::Min | Kind::Max if text => Some(Width::Own),
        Kind::Avg if *result != DataType::Float64 => None,
        // Sums of 32-bit numbers are exact in 64 bits; wider ones could overflow.
        Kind::Avg if *own == DataType::Int32 => Some(Width::Long),
        Kind::Avg | Kind::Spread { .. } if whole || float => Some(Width::Double),
        // Without a group there is a list of all distinct values as the state: others do that.
        Kind::Distinct if whole || time || text || *own == DataType::Boolean => Some(Width::Own),
        Kind::ApproxDistinct if whole || time || text => Some(Width::Own),
        Kind::Percentile {
            how: Percentile::Digest(_),
            ..
        } if whole || float => Some(Width::Double),
        // The state is a list of all values.
        Kind::Percentile { .. } if output == Output::States => None,
        Kind::Percentile { .. } if *result == DataType::Float64 && (whole || float) => {
            Some(Width::Double)
        }
        _ => None,
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
