//! `COUNT(DISTINCT x)` as the count of the groups by `x`, where servers exchange rows: groups have
//! keys by whose hash they go to servers, a set of values has none.
//!
//! Invariants: the answer is that of the aggregate, null for null; a value goes from one server to
//! one other at most once for each group. What is counted beside it stands in one of two forms:
//! - sums, counts and ends beside one distinct count, as of parts: one scan reads all rows;
//! - else each distinct count has a branch of a union, and all other aggregates have one: in each
//!   row of the union one branch says something, and every group has a row of each branch at most.
//!
//! Whole numbers that are summed are those that the aggregates count in anyway, and no type of an
//! answer changes.

use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::common::tree_node::Transformed;
use datafusion::common::{Column, Result, ScalarValue};
use datafusion::functions::core::expr_fn::coalesce;
use datafusion::functions_aggregate::count::count_udaf;
use datafusion::functions_aggregate::min_max::max_udaf;
use datafusion::functions_aggregate::sum::sum_udaf;
use datafusion::logical_expr::expr::AggregateFunction;
use datafusion::logical_expr::{
    Aggregate, AggregateUDF, Expr, ExprSchemable, Filter, LogicalPlan, Projection, Union, lit,
};
use datafusion::optimizer::{ApplyOrder, OptimizerConfig, OptimizerRule};

#[derive(Debug)]
pub(crate) struct DistinctCounts;

impl OptimizerRule for DistinctCounts {
    fn name(&self) -> &str {
        "distinct_counts"
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        Some(ApplyOrder::BottomUp)
    }

    fn rewrite(
        &self,
        plan: LogicalPlan,
        _: &dyn OptimizerConfig,
    ) -> Result<Transformed<LogicalPlan>> {
        let LogicalPlan::Aggregate(aggregate) = &plan else {
            return Ok(Transformed::no(plan));
        };
        match Counted::of(aggregate)? {
            Some(counted) => Ok(Transformed::yes(counted.plan()?)),
            None => Ok(Transformed::no(plan)),
        }
    }
}

/// One aggregate of those that are asked for.
enum Asked<'a> {
    Distinct(Distinct<'a>),
    Other(&'a Expr, &'a AggregateFunction),
}

#[derive(Clone, Copy, PartialEq)]
struct Distinct<'a> {
    value: &'a Expr,
    filter: Option<&'a Expr>,
}

struct Counted<'a> {
    aggregate: &'a Aggregate,
    asked: Vec<Asked<'a>>,
}

/// Names of columns in between; no statement has them.
const VALUE: &str = "__distinct_value";

fn key(at: usize) -> String {
    format!("__distinct_key_{at}")
}

fn slot(at: usize) -> String {
    format!("__distinct_slot_{at}")
}

fn named(name: &str) -> Expr {
    Expr::Column(Column::from_name(name))
}

fn call(function: Arc<AggregateUDF>, argument: Expr) -> Expr {
    let arguments = vec![argument];
    Expr::AggregateFunction(AggregateFunction::new_udf(
        function,
        arguments,
        false,
        None,
        Vec::new(),
        None,
    ))
}

impl<'a> Counted<'a> {
    /// `None`: there is no distinct count, or one that groups cannot tell.
    fn of(aggregate: &'a Aggregate) -> Result<Option<Self>> {
        let is_grouping = |expr: &Expr| matches!(expr, Expr::GroupingSet(_));
        if aggregate.group_expr.iter().any(is_grouping) {
            return Ok(None);
        }
        let mut asked = Vec::with_capacity(aggregate.aggr_expr.len());
        for expr in &aggregate.aggr_expr {
            let Expr::AggregateFunction(function) = expr else {
                return Ok(None);
            };
            asked.push(match distinct_count(function) {
                Some(distinct) if can_be_key(distinct.value, aggregate)? => {
                    Asked::Distinct(distinct)
                }
                Some(_) => return Ok(None),
                None => Asked::Other(expr, function),
            });
        }
        let counted = Self { aggregate, asked };
        let fits = match counted.distinct().next() {
            None => false,
            Some(_) if counted.one_value().is_some() => true,
            Some(_) => is_read_alike(&aggregate.input) && counted.others_have_simple_types(),
        };
        Ok(fits.then_some(counted))
    }

    fn distinct(&self) -> impl Iterator<Item = (usize, Distinct<'a>)> {
        let asked = self.asked.iter().enumerate();
        asked.filter_map(|(at, asked)| match asked {
            Asked::Distinct(distinct) => Some((at, *distinct)),
            Asked::Other(..) => None,
        })
    }

    fn others(&self) -> impl Iterator<Item = (usize, &'a Expr)> {
        let asked = self.asked.iter().enumerate();
        asked.filter_map(|(at, asked)| match asked {
            Asked::Distinct(_) => None,
            Asked::Other(expr, _) => Some((at, *expr)),
        })
    }

    /// That of all distinct counts, of all rows, when the others can be put together of parts.
    fn one_value(&self) -> Option<&'a Expr> {
        let (_, first) = self.distinct().next()?;
        let is_alike = |asked: &Asked<'_>| match asked {
            Asked::Distinct(distinct) => *distinct == first,
            Asked::Other(_, function) => {
                let of_parts = ["sum", "min", "max", "count"].contains(&function.func.name());
                of_parts && !function.params.distinct && function.params.order_by.is_empty()
            }
        };
        let fits = first.filter.is_none() && self.asked.iter().all(is_alike);
        fits.then_some(first.value)
    }

    /// One row of them is as good as their greatest.
    fn others_have_simple_types(&self) -> bool {
        let is_simple = |(at, _)| {
            let data_type = self.data_type(at);
            data_type.is_numeric() || data_type.is_temporal() || is_text(&data_type)
        };
        self.others().all(is_simple)
    }

    /// Of the answer of an aggregate.
    fn data_type(&self, at: usize) -> DataType {
        let at = self.aggregate.group_expr.len() + at;
        self.aggregate.schema.field(at).data_type().clone()
    }

    fn plan(&self) -> Result<LogicalPlan> {
        let joined = match self.one_value() {
            Some(value) => self.of_one_scan(value)?,
            None => self.of_branches()?,
        };
        self.shown(joined)
    }

    /// The keys of the aggregate, under names of their own.
    fn keys(&self) -> Vec<Expr> {
        let keys = self.aggregate.group_expr.iter().enumerate();
        keys.map(|(at, expr)| expr.clone().alias(key(at))).collect()
    }

    fn named_keys(&self) -> Vec<Expr> {
        let keys = 0..self.aggregate.group_expr.len();
        keys.map(|at| named(&key(at))).collect()
    }

    fn of_one_scan(&self, value: &Expr) -> Result<LogicalPlan> {
        let (mut below, mut above) = (Vec::new(), Vec::new());
        for (at, asked) in self.asked.iter().enumerate() {
            let part = slot(at);
            let whole = match asked {
                Asked::Distinct(_) => call(count_udaf(), named(VALUE)),
                Asked::Other(expr, function) => {
                    below.push((*expr).clone().alias(&part));
                    let is_count = function.func.name() == "count";
                    let join = if is_count {
                        sum_udaf()
                    } else {
                        Arc::clone(&function.func)
                    };
                    call(join, named(&part))
                }
            };
            above.push(whole.alias(part));
        }
        let mut keys = self.keys();
        keys.push(value.clone().alias(VALUE));
        let below = Aggregate::try_new(Arc::clone(&self.aggregate.input), keys, below)?;
        let below = Arc::new(LogicalPlan::Aggregate(below));
        let above = Aggregate::try_new(below, self.named_keys(), above)?;
        Ok(LogicalPlan::Aggregate(above))
    }

    fn of_branches(&self) -> Result<LogicalPlan> {
        let mut branches = Vec::new();
        for (at, distinct) in self.distinct() {
            branches.push(Arc::new(self.branch(self.counts(at, distinct)?, &[at])?));
        }
        let others: Vec<usize> = self.others().map(|(at, _)| at).collect();
        let filtered = self
            .distinct()
            .any(|(_, distinct)| distinct.filter.is_some());
        // A group of which no row passes a filter is one, too.
        if !others.is_empty() || (filtered && !self.aggregate.group_expr.is_empty()) {
            let asked = self.others();
            let asked = asked
                .map(|(at, expr)| expr.clone().alias(slot(at)))
                .collect();
            let input = Arc::clone(&self.aggregate.input);
            let all = Aggregate::try_new(input, self.keys(), asked)?;
            branches.push(Arc::new(self.branch(LogicalPlan::Aggregate(all), &others)?));
        }
        let union = match &branches[..] {
            [one] => return Ok(one.as_ref().clone()),
            _ => LogicalPlan::Union(Union::try_new(branches)?),
        };
        let slots = self.asked.iter().enumerate();
        let joined = slots.map(|(at, asked)| {
            let is_real = self.data_type(at).is_floating();
            // Where one has a value, its sum and its greatest are that.
            let join = match asked {
                Asked::Distinct(_) => sum_udaf(),
                Asked::Other(..) if is_real => sum_udaf(),
                Asked::Other(..) => max_udaf(),
            };
            call(join, named(&slot(at))).alias(slot(at))
        });
        let joined = joined.collect();
        let joined = Aggregate::try_new(Arc::new(union), self.named_keys(), joined)?;
        Ok(LogicalPlan::Aggregate(joined))
    }

    /// The keys, and how many values each group has.
    fn counts(&self, at: usize, distinct: Distinct<'_>) -> Result<LogicalPlan> {
        let mut input = Arc::clone(&self.aggregate.input);
        if let Some(filter) = distinct.filter {
            input = Arc::new(LogicalPlan::Filter(Filter::try_new(filter.clone(), input)?));
        }
        let mut keys = self.keys();
        keys.push(distinct.value.clone().alias(VALUE));
        let values = LogicalPlan::Aggregate(Aggregate::try_new(input, keys, Vec::new())?);
        let count = call(count_udaf(), named(VALUE)).alias(slot(at));
        let counts = Aggregate::try_new(Arc::new(values), self.named_keys(), vec![count])?;
        Ok(LogicalPlan::Aggregate(counts))
    }

    /// With nulls where other branches say something.
    fn branch(&self, input: LogicalPlan, says: &[usize]) -> Result<LogicalPlan> {
        let mut exprs = self.named_keys();
        for at in 0..self.asked.len() {
            exprs.push(match says.contains(&at) {
                true => named(&slot(at)),
                false => {
                    let null = ScalarValue::try_new_null(&self.data_type(at))?;
                    lit(null).alias(slot(at))
                }
            });
        }
        let projection = Projection::try_new(exprs, Arc::new(input))?;
        Ok(LogicalPlan::Projection(projection))
    }

    /// As the aggregate calls and types it. What is counted is 0 where there is nothing.
    fn shown(&self, joined: LogicalPlan) -> Result<LogicalPlan> {
        let schema = &self.aggregate.schema;
        let keys = self.aggregate.group_expr.len();
        let mut exprs = Vec::with_capacity(schema.fields().len());
        for (at, (qualifier, field)) in schema.iter().enumerate() {
            let column = match at.checked_sub(keys) {
                None => named(&key(at)),
                Some(at) if self.is_count(at) => coalesce(vec![named(&slot(at)), lit(0i64)]),
                Some(at) => named(&slot(at)),
            };
            let column = column.cast_to(field.data_type(), joined.schema())?;
            exprs.push(column.alias_qualified(qualifier.cloned(), field.name()));
        }
        let shown = Projection::try_new(exprs, Arc::new(joined))?;
        Ok(LogicalPlan::Projection(shown))
    }

    fn is_count(&self, at: usize) -> bool {
        match &self.asked[at] {
            Asked::Distinct(_) => true,
            Asked::Other(_, function) => function.func.name() == "count",
        }
    }
}

/// Whoever reads it again has the same rows, and reads no more than rows of tables.
fn is_read_alike(plan: &LogicalPlan) -> bool {
    let is_known = match plan {
        LogicalPlan::TableScan(scan) => scan.fetch.is_none(),
        LogicalPlan::Projection(_) | LogicalPlan::Filter(_) => true,
        LogicalPlan::SubqueryAlias(_) | LogicalPlan::Union(_) => true,
        _ => false,
    };
    is_known
        && !plan.expressions().iter().any(Expr::is_volatile)
        && plan.inputs().iter().all(|input| is_read_alike(input))
}

fn is_text(data_type: &DataType) -> bool {
    matches!(
        data_type,
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View
    )
}

fn distinct_count(function: &AggregateFunction) -> Option<Distinct<'_>> {
    let params = &function.params;
    let is_one = function.func.name() == "count" && params.distinct && params.order_by.is_empty();
    match &params.args[..] {
        [value] if is_one => Some(Distinct {
            value,
            filter: params.filter.as_deref(),
        }),
        _ => None,
    }
}

/// Groups and sets tell its values apart alike. Floats have zeros and NaNs of two kinds, each entry
/// of a list would be a group, and a constant is no key.
fn can_be_key(value: &Expr, aggregate: &Aggregate) -> Result<bool> {
    let data_type = value.get_type(aggregate.input.schema())?;
    let is_simple = !data_type.is_floating() && !data_type.is_nested() && !data_type.is_null();
    Ok(is_simple && !value.column_refs().is_empty() && !value.is_volatile())
}
