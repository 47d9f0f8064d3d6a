//! Aggregates over joins with small tables, without the joins.
//!
//! Where the keys of a small table are there once, a join only adds columns to rows of the scan, or
//! leaves rows out: both are expressions of the columns by which it is joined ([`super::lookup`]).
//! So the native operator takes it all. Which tables are small, and whether their keys repeat, is
//! known when they are read: until then the plan as it was stays beside it.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, Schema};
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{JoinSide, JoinType, Result};
use datafusion::logical_expr::Operator;
use datafusion::physical_expr::aggregate::{AggregateExprBuilder, AggregateFunctionExpr};
use datafusion::physical_expr::expressions::{Column, binary, case, lit, not};
use datafusion::physical_expr::{PhysicalExpr, PhysicalSortExpr};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::aggregates::{AggregateExec, AggregateMode, PhysicalGroupBy};
use datafusion::physical_plan::filter::FilterExec;
use datafusion::physical_plan::joins::{HashJoinExec, PartitionMode};
use datafusion::physical_plan::projection::ProjectionExec;

use super::exec::NativeAggregateExec;
use super::joined::passes;
use super::lookup::{Asked, LookupExpr, Things, can_be_key};
use super::plan::{self, Output, replace_columns};
use crate::scan_exec::ServerScanExec;

type Expr = Arc<dyn PhysicalExpr>;
type Plan = Arc<dyn ExecutionPlan>;

/// The row of a small side that a row of the scan meets.
struct Met {
    things: Arc<Things>,
    /// Over the columns of the scan.
    keys: Vec<Expr>,
}

impl Met {
    fn asked(&self, asked: Asked, field: FieldRef) -> Expr {
        Arc::new(LookupExpr::new(&self.things, &self.keys, asked, field))
    }

    fn whether(&self, asked: Asked) -> Expr {
        self.asked(
            asked,
            Arc::new(Field::new("mark", DataType::Boolean, false)),
        )
    }

    /// Its columns, nulls where there is none.
    fn columns(&self, schema: &Schema, may_be_none: bool) -> Vec<Expr> {
        let fields = schema.fields().iter().enumerate().map(|(at, field)| {
            let is_nullable = field.is_nullable() || may_be_none;
            let field = field.as_ref().clone().with_nullable(is_nullable);
            self.asked(Asked::Column(at), Arc::new(field))
        });
        fields.collect()
    }
}

/// The small side of a join.
#[derive(Clone, Debug)]
pub(super) struct Small {
    pub(super) plan: Plan,
    pub(super) keys: Vec<Expr>,
    pub(super) things: Arc<Things>,
    /// What its rows hold is asked for: no key may be there twice.
    pub(super) must_be_unique: bool,
}

/// The aggregate over the scan alone, and what must be read before it.
pub(super) fn recognise(
    aggregate: &AggregateExec,
) -> Result<Option<(NativeAggregateExec, Vec<Small>)>> {
    let below = plan::partial_below(aggregate);
    let below = below.as_ref().and_then(|own| own.downcast_ref());
    let (raw, output) = match aggregate.mode() {
        AggregateMode::Partial => (aggregate, Output::States),
        AggregateMode::Single | AggregateMode::SinglePartitioned => (aggregate, Output::Values),
        _ => match below {
            Some(below) => (below, Output::Values),
            None => return Ok(None),
        },
    };
    let Some(flat) = Flat::of(raw.input())?.filter(|flat| !flat.small.is_empty()) else {
        return Ok(None);
    };
    let Some(own) = flat.aggregate(raw)? else {
        return Ok(None);
    };
    if own.schema() != raw.schema() {
        return Ok(None);
    }
    let last = match *raw.mode() == *aggregate.mode() {
        true => &own,
        false => aggregate,
    };
    let native = plan::native(&own, last, output)?;
    Ok(native.map(|native| (native, flat.small)))
}

/// Rows of a scan, as what is above it makes them.
struct Flat<'a> {
    scan: &'a ServerScanExec,
    /// Over the output of the scan.
    columns: Vec<Expr>,
    /// Rows that do not satisfy all of them are not there.
    conditions: Vec<Expr>,
    small: Vec<Small>,
}

impl<'a> Flat<'a> {
    fn of(node: &'a Plan) -> Result<Option<Self>> {
        if let Some(scan) = node.downcast_ref::<ServerScanExec>() {
            let fits = scan.description.fetch.is_none() && scan.computed().is_none();
            let fields = scan.schema().fields().iter().enumerate();
            let columns = fields.map(|(at, field)| Arc::new(Column::new(field.name(), at)) as _);
            let flat = Self {
                scan,
                columns: columns.collect(),
                conditions: Vec::new(),
                small: Vec::new(),
            };
            return Ok(Some(flat).filter(|_| fits));
        }
        if let Some(join) = node.downcast_ref::<HashJoinExec>() {
            return match Self::of_join(join, JoinSide::Right)? {
                Some(flat) => Ok(Some(flat)),
                None => Self::of_join(join, JoinSide::Left),
            };
        }
        let Some(below) = node.children().first().copied() else {
            return Ok(None);
        };
        if let Some(projection) = node.downcast_ref::<ProjectionExec>() {
            let Some(mut flat) = Self::of(below)? else {
                return Ok(None);
            };
            let columns = projection.expr().iter().map(|own| flat.over(&own.expr));
            flat.columns = columns.collect::<Result<_>>()?;
            return Ok(Some(flat));
        }
        if let Some(filter) = node.downcast_ref::<FilterExec>() {
            let Some(mut flat) = Self::of(below)?.filter(|_| filter.fetch().is_none()) else {
                return Ok(None);
            };
            flat.conditions.push(flat.over(filter.predicate())?);
            flat.project(filter.projection().as_deref());
            return Ok(Some(flat));
        }
        match passes(node) {
            true => Self::of(below),
            false => Ok(None),
        }
    }

    /// An expression over the columns as one over the scan's.
    fn over(&self, expr: &Expr) -> Result<Expr> {
        replace_columns(Arc::clone(expr), |column| {
            self.columns.get(column.index()).cloned()
        })
    }

    fn project(&mut self, projection: Option<&[usize]>) {
        if let Some(projection) = projection {
            let columns = projection.iter().map(|at| Arc::clone(&self.columns[*at]));
            self.columns = columns.collect();
        }
    }

    /// The join, `large` of whose sides is the scan's.
    fn of_join(join: &'a HashJoinExec, large: JoinSide) -> Result<Option<Self>> {
        if join.fetch().is_some() || *join.partition_mode() != PartitionMode::CollectLeft {
            return Ok(None);
        }
        let (small, scanned) = match large {
            JoinSide::Left => (join.right(), join.left()),
            _ => (join.left(), join.right()),
        };
        let Some(kind) = Kind::of(join, large) else {
            return Ok(None);
        };
        let Some(mut flat) = Self::of(scanned)? else {
            return Ok(None);
        };
        let Some((keys, own)) = flat.keys(join, large)? else {
            return Ok(None);
        };
        let met = Met {
            things: Arc::new(Things::new(join.null_equality())),
            keys: own,
        };
        let mut columns = met.columns(&small.schema(), kind == Kind::Outer);
        let condition = flat.condition(join, &columns, large)?;
        match kind {
            Kind::Inner | Kind::Semi => {
                flat.conditions.push(met.whether(Asked::IsThere));
                flat.conditions.extend(condition.clone());
            }
            Kind::Anti => {
                let is_met = flat.is_met(&met, condition.clone())?;
                flat.conditions.push(not(is_met)?);
            }
            Kind::NotIn => flat.conditions.push(met.whether(Asked::IsNone)),
            Kind::Mark => {
                let is_met = flat.is_met(&met, condition.clone())?;
                flat.columns.push(is_met);
            }
            Kind::Outer => {
                if let Some(condition) = &condition {
                    for column in &mut columns {
                        let own = vec![(Arc::clone(condition), Arc::clone(column))];
                        *column = case(None, own, None)?;
                    }
                }
            }
        }
        let adds = matches!(kind, Kind::Inner | Kind::Outer);
        if adds {
            let at = match large {
                JoinSide::Left => flat.columns.len(),
                _ => 0,
            };
            flat.columns.splice(at..at, columns);
        }
        flat.project(join.projection.as_deref());
        flat.small.push(Small {
            plan: Arc::clone(small),
            keys,
            things: met.things,
            must_be_unique: adds || condition.is_some(),
        });
        Ok(Some(flat))
    }

    /// What a join asks of both rows besides their keys; `met` are the columns of the small one.
    fn condition(
        &self,
        join: &HashJoinExec,
        met: &[Expr],
        large: JoinSide,
    ) -> Result<Option<Expr>> {
        let condition = join.filter().map(|filter| {
            replace_columns(Arc::clone(filter.expression()), |column| {
                let from = filter.column_indices().get(column.index())?;
                let side = if from.side == large {
                    &self.columns
                } else {
                    met
                };
                side.get(from.index).cloned()
            })
        });
        condition.transpose()
    }

    /// Whether there is a row of the small side for which the condition is true.
    fn is_met(&self, met: &Met, condition: Option<Expr>) -> Result<Expr> {
        let is_there = met.whether(Asked::IsThere);
        let Some(condition) = condition else {
            return Ok(is_there);
        };
        let schema = self.scan.schema();
        let is_true = binary(condition, Operator::IsNotDistinctFrom, lit(true), schema)?;
        binary(is_there, Operator::And, is_true, schema)
    }

    /// Of the small side, over its columns, and of this one, over the scan's.
    fn keys(&self, join: &HashJoinExec, large: JoinSide) -> Result<Option<(Vec<Expr>, Vec<Expr>)>> {
        let (mut keys, mut own) = (Vec::new(), Vec::new());
        for (left, right) in join.on() {
            let (small, scanned, schema) = match large {
                JoinSide::Left => (right, left, join.right().schema()),
                _ => (left, right, join.left().schema()),
            };
            let scanned = self.over(scanned)?;
            let of_scan = scanned.data_type(self.scan.schema())?;
            if small.data_type(&schema)? != of_scan || !can_be_key(&of_scan) {
                return Ok(None);
            }
            keys.push(Arc::clone(small));
            own.push(scanned);
        }
        Ok(Some((keys, own)))
    }

    /// The aggregate over the scan; `None`: it is more than that.
    fn aggregate(&self, over: &AggregateExec) -> Result<Option<AggregateExec>> {
        let groups = over.group_expr();
        if groups.has_grouping_set() {
            return Ok(None);
        }
        let keys = groups.expr().iter();
        let keys = keys.map(|(expr, name)| Ok((self.over(expr)?, name.clone())));
        let keys = keys.collect::<Result<Vec<_>>>()?;
        let mut functions = Vec::with_capacity(over.aggr_expr().len());
        for function in over.aggr_expr() {
            match self.function(function)? {
                Some(function) => functions.push(Arc::new(function)),
                None => return Ok(None),
            }
        }
        let filters = over.filter_expr().iter();
        let filters = filters.map(|filter| filter.as_ref().map(|own| self.over(own)).transpose());
        let filters = filters.collect::<Result<Vec<_>>>()?;
        let arguments: Vec<Expr> = functions.iter().flat_map(|own| own.expressions()).collect();
        let read = keys.iter().map(|(expr, _)| expr).chain(&self.conditions);
        let mut read = read.chain(filters.iter().flatten()).chain(&arguments);
        if read.any(is_volatile) {
            return Ok(None);
        }
        let scan = self.scan.keeping(&self.conditions)?;
        let schema = Arc::clone(scan.schema());
        let own = AggregateExec::try_new(
            *over.mode(),
            PhysicalGroupBy::new_single(keys),
            functions,
            filters,
            Arc::new(scan),
            schema,
        )?;
        Ok(Some(own))
    }

    fn function(&self, function: &AggregateFunctionExpr) -> Result<Option<AggregateFunctionExpr>> {
        let arguments = function.expressions();
        let arguments = arguments.iter().map(|own| self.over(own));
        let arguments = arguments.collect::<Result<Vec<_>>>()?;
        if function.order_bys().is_empty() {
            return Ok(function.with_new_expressions(arguments, Vec::new()));
        }
        let order = function.order_bys().iter().map(|by| {
            let options = by.options;
            self.over(&by.expr)
                .map(|expr| PhysicalSortExpr { expr, options })
        });
        // The accumulator asks the schema for the types of its order.
        let own = AggregateExprBuilder::new(Arc::new(function.fun().clone()), arguments)
            .schema(Arc::clone(self.scan.schema()))
            .alias(function.name())
            .order_by(order.collect::<Result<_>>()?)
            .with_ignore_nulls(function.ignore_nulls())
            .with_distinct(function.is_distinct())
            .with_reversed(function.is_reversed());
        own.build().map(Some)
    }
}

/// Another answer each time it is asked.
fn is_volatile(expr: &Expr) -> bool {
    let found = expr.exists(|part| Ok(part.is_volatile_node()));
    found.unwrap_or(true)
}

/// What a join does to a row of its large side, which meets one row of the small side or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// It has the columns of the other, or is left out.
    Inner,
    /// It has the columns of the other, or nulls.
    Outer,
    Semi,
    Anti,
    NotIn,
    /// It has a column that tells whether it met one.
    Mark,
}

impl Kind {
    fn of(join: &HashJoinExec, large: JoinSide) -> Option<Self> {
        let kind = match (join.join_type(), large) {
            (JoinType::Inner, _) => Self::Inner,
            (JoinType::Left, JoinSide::Left) | (JoinType::Right, JoinSide::Right) => Self::Outer,
            (JoinType::LeftSemi, JoinSide::Left) | (JoinType::RightSemi, JoinSide::Right) => {
                Self::Semi
            }
            (JoinType::LeftAnti, JoinSide::Left) if join.null_aware => Self::NotIn,
            (JoinType::LeftAnti, JoinSide::Left) | (JoinType::RightAnti, JoinSide::Right) => {
                Self::Anti
            }
            (JoinType::LeftMark, JoinSide::Left) | (JoinType::RightMark, JoinSide::Right) => {
                Self::Mark
            }
            _ => return None,
        };
        (kind != Self::NotIn || join.filter().is_none()).then_some(kind)
    }
}

/// The plan as it was, with other small sides.
pub(super) fn with_small(plan: Plan, small: &[(Plan, Plan)]) -> Result<Plan> {
    let changed = plan.transform_down(|node| {
        let other = small.iter().find(|(own, _)| Arc::ptr_eq(own, &node));
        Ok(match other {
            Some((_, other)) => Transformed::new(Arc::clone(other), true, TreeNodeRecursion::Jump),
            None => Transformed::no(node),
        })
    })?;
    Ok(changed.data)
}
