//! Aggregates over a join with a small table, computed before the join.
//!
//! Where keys come from the small side and values from the scanned one, rows of the scan with the
//! same join key meet the same rows of the small side. So they are aggregated by join key first;
//! the states then pass the join in their place, each as often as its rows would have, and are
//! merged by the keys that were asked for. This holds for whatever can merge states, also when
//! several rows of the small side have one key.

use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{JoinType, NullEquality, Result};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::aggregate::AggregateFunctionExpr;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::utils::collect_columns;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::aggregates::{AggregateExec, AggregateMode, PhysicalGroupBy};
use datafusion::physical_plan::coalesce_partitions::CoalescePartitionsExec;
use datafusion::physical_plan::coop::CooperativeExec;
use datafusion::physical_plan::joins::{HashJoinExec, PartitionMode};
use datafusion::physical_plan::projection::ProjectionExec;
use segment::view::Values;

use super::plan;
use crate::columns::external;
use crate::scan_exec::ServerScanExec;

type Expr = Arc<dyn PhysicalExpr>;
type Plan = Arc<dyn ExecutionPlan>;
/// With their names.
type Groups = Vec<(Expr, String)>;

/// Fewer rows than this for each join key are not worth a table of groups.
const ROWS_PER_KEY: u64 = 4;

/// The plan in the place of `aggregate`, if the join may come after it.
pub(super) fn recognise(aggregate: &AggregateExec) -> Result<Option<Plan>> {
    let mode = match aggregate.mode() {
        AggregateMode::Partial => AggregateMode::PartialReduce,
        AggregateMode::Single | AggregateMode::SinglePartitioned => AggregateMode::Final,
        _ => return Ok(None),
    };
    let Some(over) = OverJoin::below(aggregate) else {
        return Ok(None);
    };
    let Some((groups, below)) = over.split(aggregate)? else {
        return Ok(None);
    };
    // Accumulators over no keys may not know the states of others over some.
    let Some(native) = plan::recognise(&below)?.filter(|native| !native.is_general()) else {
        return Ok(None);
    };
    over.joined(aggregate, mode, groups, Arc::new(native))
}

struct OverJoin<'a> {
    join: &'a HashJoinExec,
    /// Between the aggregate and the join, from above.
    projections: Vec<&'a ProjectionExec>,
    /// Columns of the scanned side, by which it is joined.
    keys: Vec<Column>,
}

impl<'a> OverJoin<'a> {
    fn below(aggregate: &'a AggregateExec) -> Option<Self> {
        let mut node = aggregate.input();
        let mut projections = Vec::new();
        let join = loop {
            if let Some(join) = node.downcast_ref::<HashJoinExec>() {
                break join;
            }
            match node.downcast_ref::<ProjectionExec>() {
                Some(projection) => projections.push(projection),
                None if passes(node) => {}
                None => return None,
            }
            node = node.children().first().copied()?;
        };
        let is_plain = join.join_type == JoinType::Inner
            && join.filter.is_none()
            && join.fetch().is_none()
            && join.mode == PartitionMode::CollectLeft
            && join.null_equality == NullEquality::NullEqualsNothing;
        let keys = join.on.iter();
        let keys = keys.map(|(_, right)| right.downcast_ref::<Column>().cloned());
        Some(Self {
            join,
            projections,
            keys: keys.collect::<Option<_>>()?,
        })
        .filter(|over| {
            let scans = scan_of(join.left()).is_some() && scan_of(join.right()).is_some();
            is_plain && scans && over.keys_repeat()
        })
    }

    /// Whether there are far fewer keys than rows.
    fn keys_repeat(&self) -> bool {
        let Some((scan, projections)) = scan_of(self.join.right()) else {
            return false;
        };
        let distinct = |key: &Column| {
            let mut index = key.index();
            for projection in &projections {
                index = projection.expr()[index]
                    .expr
                    .downcast_ref::<Column>()?
                    .index();
            }
            let column = *scan.description.projection.get(index)?;
            let name = scan.description.table_schema.field(column).name();
            let mut distinct = 0;
            for view in scan.segments.iter() {
                match view
                    .column(name)
                    .map_err(external)
                    .ok()?
                    .map(|column| column.values())
                {
                    Some(Values::Dictionary(codes)) => distinct += u64::from(codes.cardinality()),
                    Some(_) => return None,
                    None => distinct += 1,
                }
            }
            Some(distinct)
        };
        let distinct = self.keys.iter().map(distinct);
        let most = distinct
            .reduce(|a, b| Some(a?.saturating_mul(b?)))
            .flatten();
        most.is_some_and(|most| most.saturating_mul(ROWS_PER_KEY) <= scan.rows())
    }

    /// The groups over the small side, and the aggregate below the join.
    fn split(&self, aggregate: &AggregateExec) -> Result<Option<(Groups, AggregateExec)>> {
        let groups = aggregate.group_expr();
        if groups.has_grouping_set() || groups.expr().is_empty() {
            return Ok(None);
        }
        let mut above = Vec::with_capacity(groups.expr().len());
        for (expr, name) in groups.expr() {
            let Some(expr) = self.over_left(expr)? else {
                return Ok(None);
            };
            above.push((expr, name.clone()));
        }
        let mut functions = Vec::with_capacity(aggregate.aggr_expr().len());
        let mut filters = Vec::with_capacity(functions.len());
        for (function, filter) in aggregate.aggr_expr().iter().zip(aggregate.filter_expr()) {
            let Some(function) = self.function(function)? else {
                return Ok(None);
            };
            let filter = match filter {
                Some(filter) => match self.over_right(filter)? {
                    Some(filter) => Some(filter),
                    None => return Ok(None),
                },
                None => None,
            };
            functions.push(Arc::new(function));
            filters.push(filter);
        }
        let keys = self.keys.iter();
        let keys = keys.map(|key| (Arc::new(key.clone()) as Expr, key.name().to_owned()));
        let right = self.join.right();
        let below = AggregateExec::try_new(
            AggregateMode::Partial,
            PhysicalGroupBy::new_single(keys.collect()),
            functions,
            filters,
            Arc::clone(right),
            right.schema(),
        )?;
        Ok(Some((above, below)))
    }

    fn function(&self, function: &AggregateFunctionExpr) -> Result<Option<AggregateFunctionExpr>> {
        if !function.order_bys().is_empty() {
            return Ok(None);
        }
        let mut arguments = Vec::new();
        for argument in function.expressions() {
            match self.over_right(&argument)? {
                Some(argument) => arguments.push(argument),
                None => return Ok(None),
            }
        }
        Ok(function.with_new_expressions(arguments, Vec::new()))
    }

    /// The expression over the columns of both sides.
    fn over_both(&self, expr: &Expr) -> Result<Expr> {
        let mut expr = Arc::clone(expr);
        for projection in &self.projections {
            let below = |column: &Column| Arc::clone(&projection.expr()[column.index()].expr);
            expr = replaced(expr, |column| Some(below(column)))?;
        }
        let Some(projection) = &self.join.projection else {
            return Ok(expr);
        };
        let schema = self.join.join_schema();
        replaced(expr, |column| {
            let index = projection[column.index()];
            Some(Arc::new(Column::new(schema.field(index).name(), index)) as Expr)
        })
    }

    /// `None`: it needs a column of the scanned side that is no join key.
    fn over_left(&self, expr: &Expr) -> Result<Option<Expr>> {
        let width = self.join.left().schema().fields().len();
        let expr = replaced(self.over_both(expr)?, |column| {
            let key = column.index().checked_sub(width)?;
            let at = self.keys.iter().position(|known| known.index() == key)?;
            let (left, right) = &self.join.on[at];
            let types = [(left, self.join.left()), (right, self.join.right())];
            let [one, other] = types.map(|(expr, side)| expr.data_type(&side.schema()).ok());
            (one.is_some() && one == other).then(|| Arc::clone(left))
        })?;
        let fits = collect_columns(&expr)
            .iter()
            .all(|column| column.index() < width);
        Ok(fits.then_some(expr))
    }

    /// `None`: it needs a column of the small side.
    fn over_right(&self, expr: &Expr) -> Result<Option<Expr>> {
        let width = self.join.left().schema().fields().len();
        let expr = self.over_both(expr)?;
        if collect_columns(&expr)
            .iter()
            .any(|column| column.index() < width)
        {
            return Ok(None);
        }
        let on_its_side = |column: &Column| {
            let index = column.index() - width;
            Some(Arc::new(Column::new(column.name(), index)) as Expr)
        };
        replaced(expr, on_its_side).map(Some)
    }

    fn joined(
        &self,
        aggregate: &AggregateExec,
        mode: AggregateMode,
        groups: Groups,
        below: Plan,
    ) -> Result<Option<Plan>> {
        let left = self.join.left();
        let width = left.schema().fields().len();
        let states = below.schema();
        let on = self.join.on.iter().zip(states.fields()).enumerate();
        let on = on.map(|(at, ((left, _), key))| {
            (
                Arc::clone(left),
                Arc::new(Column::new(key.name(), at)) as Expr,
            )
        });
        let join = HashJoinExec::try_new(
            Arc::clone(left),
            below,
            on.collect(),
            None,
            &JoinType::Inner,
            None,
            PartitionMode::CollectLeft,
            self.join.null_equality,
            false,
        )?;
        let count = groups.len();
        let states = states.fields().iter().enumerate().skip(self.keys.len());
        let states = states.map(|(at, state)| {
            let column = Column::new(state.name(), width + at);
            (Arc::new(column) as Expr, state.name().clone())
        });
        let rows = ProjectionExec::try_new(groups.into_iter().chain(states), Arc::new(join))?;
        let rows: Plan = Arc::new(rows);
        let schema = rows.schema();
        let keys = schema.fields().iter().enumerate().take(count);
        let keys = keys.map(|(at, key)| {
            let column = Column::new(key.name(), at);
            (Arc::new(column) as Expr, key.name().clone())
        });
        let functions = aggregate.aggr_expr().to_vec();
        let filters = vec![None; functions.len()];
        let keys = PhysicalGroupBy::new_single(keys.collect());
        let merged = AggregateExec::try_new(mode, keys, functions, filters, rows, schema)?;
        let is_same = merged.schema() == aggregate.schema();
        Ok(is_same.then(|| Arc::new(merged) as Plan))
    }
}

/// The scan below projections alone, and these from above.
fn scan_of(plan: &Plan) -> Option<(&ServerScanExec, Vec<&ProjectionExec>)> {
    let mut node = plan;
    let mut projections = Vec::new();
    loop {
        if let Some(scan) = node.downcast_ref::<ServerScanExec>() {
            return Some((scan, projections));
        }
        match node.downcast_ref::<ProjectionExec>() {
            Some(projection) => projections.push(projection),
            None if passes(node) => {}
            None => return None,
        }
        node = node.children().first().copied()?;
    }
}

/// One partition goes through them as it is.
pub(super) fn passes(node: &Plan) -> bool {
    node.is::<CooperativeExec>() || node.is::<CoalescePartitionsExec>()
}

/// With other expressions in the place of columns; `None` leaves a column as it is.
fn replaced(expr: Expr, with: impl Fn(&Column) -> Option<Expr>) -> Result<Expr> {
    let replaced = expr.transform_down(|node| {
        let other = node.downcast_ref::<Column>().and_then(&with);
        Ok(match other {
            Some(other) => Transformed::new(other, true, TreeNodeRecursion::Jump),
            None => Transformed::no(node),
        })
    })?;
    Ok(replaced.data)
}
