//! Subqueries whose rows depend on those around them, where the planner's own rules give up, and
//! where they would give wrong answers: below windows, LIMIT, set operations and outer joins.
//!
//! A subquery is computed for all values that it depends on at once: [`push`] joins the distinct
//! ones, its domain, to what it reads, and what comes of it is joined to the rows around it.
//! Follows T. Neumann and A. Kemper, "Unnesting Arbitrary Queries" (BTW 2015). The rows around are
//! read twice for that.

mod both_sides;
mod hoist;
mod push;
mod shaped;
mod unknown;
mod values;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use arrow::datatypes::Field;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, DFSchema, ExprSchema, Result, ScalarValue, internal_err};
use datafusion::functions::core::expr_fn::coalesce;
use datafusion::functions_aggregate::count::count_all;
use datafusion::logical_expr::expr::{Exists, InSubquery};
use datafusion::logical_expr::{
    Expr, FetchType, Filter, Join, JoinType, LogicalPlan, LogicalPlanBuilder, Operator, Projection,
    SkipType, Subquery, SubqueryAlias, binary_expr, lit, when,
};
use datafusion::optimizer::{ApplyOrder, OptimizerConfig, OptimizerRule};

pub(crate) use hoist::hoisted;
use push::{Domain, Pushed, depends, is_single_row, push};

#[derive(Debug)]
pub(crate) struct UnnestSubqueries {
    which: Which,
    /// Columns that are made have names of their own.
    made: AtomicUsize,
}

/// The rule stands before and behind the planner's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Which {
    /// That the planner's rules would take for others.
    Misread,
    /// That they left.
    Left,
}

impl OptimizerRule for UnnestSubqueries {
    fn name(&self) -> &str {
        match self.which {
            Which::Misread => "unnest_misread_subqueries",
            Which::Left => "unnest_subqueries",
        }
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        Some(ApplyOrder::TopDown)
    }

    fn supports_rewrite(&self) -> bool {
        true
    }

    fn rewrite(
        &self,
        plan: LogicalPlan,
        _: &dyn OptimizerConfig,
    ) -> Result<Transformed<LogicalPlan>> {
        let mut shaped = Transformed::no(plan);
        if self.which == Which::Misread {
            let name = |what: &str| self.name(what);
            shaped = shaped.transform_data(|plan| shaped::with_named_casts(plan, &name))?;
            shaped = shaped.transform_data(shaped::with_projected_laterals)?;
        }
        let (plan, changed) = (shaped.data, shaped.transformed);
        let rewritten = match &plan {
            LogicalPlan::Join(join) => self.lateral(join)?,
            LogicalPlan::Filter(filter) => self.filter(filter)?,
            LogicalPlan::Projection(projection) => self.projection(projection)?,
            _ => None,
        };
        Ok(match rewritten {
            Some(rewritten) => Transformed::yes(rewritten),
            None => Transformed::new_transformed(plan, changed),
        })
    }
}

impl UnnestSubqueries {
    pub(crate) fn new(which: Which) -> Self {
        Self {
            which,
            made: AtomicUsize::new(0),
        }
    }

    fn wants(&self, subquery: &LogicalPlan) -> Result<bool> {
        match self.which {
            Which::Misread => is_misread(subquery),
            Which::Left => Ok(true),
        }
    }

    /// NOT IN of what depends on the row is too much for the planner's own join.
    fn wants_in(&self, within: &InSubquery) -> Result<bool> {
        let subquery = &within.subquery.subquery;
        Ok(self.wants(subquery)? || within.negated && depends(subquery)?)
    }

    fn filter(&self, filter: &Filter) -> Result<Option<LogicalPlan>> {
        let written = match self.which {
            Which::Misread => {
                unknown::written_out(&filter.predicate, &filter.input, &|| self.name("within"))?
            }
            Which::Left => None,
        };
        let predicate = written.as_ref().unwrap_or(&filter.predicate);
        let unnested = self.without_subqueries(&filter.input, [predicate])?;
        let Some((input, [predicate])) = unnested else {
            let Some(predicate) = written else {
                return Ok(None);
            };
            let written = Filter::try_new(predicate, Arc::clone(&filter.input))?;
            return Ok(Some(LogicalPlan::Filter(written)));
        };
        let columns = filter.input.schema().columns();
        LogicalPlanBuilder::from(input)
            .filter(predicate)?
            .project(columns.into_iter().map(Expr::Column))?
            .build()
            .map(Some)
    }

    fn projection(&self, projection: &Projection) -> Result<Option<LogicalPlan>> {
        let before: Vec<&Expr> = projection.expr.iter().collect();
        let Some((input, exprs)) = self.without_subqueries_in(&projection.input, &before)? else {
            return Ok(None);
        };
        let names = projection.schema.iter();
        let named = exprs.into_iter().zip(names).map(|(expr, (table, field))| {
            // Names may hold the text of a subquery.
            expr.unalias().alias_qualified(table.cloned(), field.name())
        });
        LogicalPlanBuilder::from(input)
            .project(named.collect::<Vec<_>>())?
            .build()
            .map(Some)
    }

    fn without_subqueries<const N: usize>(
        &self,
        input: &Arc<LogicalPlan>,
        exprs: [&Expr; N],
    ) -> Result<Option<(LogicalPlan, [Expr; N])>> {
        let rewritten = self.without_subqueries_in(input, &exprs)?;
        Ok(rewritten.and_then(|(input, exprs)| Some((input, exprs.try_into().ok()?))))
    }

    /// The expressions over `input` joined with what their subqueries give. `None`: they have none
    /// that can be unnested.
    fn without_subqueries_in(
        &self,
        input: &Arc<LogicalPlan>,
        exprs: &[&Expr],
    ) -> Result<Option<(LogicalPlan, Vec<Expr>)>> {
        let mut plan = Arc::clone(input);
        let mut changed = false;
        // Those that were joined, and where their values are.
        let mut known: Vec<(Expr, Expr)> = Vec::new();
        let mut after = Vec::with_capacity(exprs.len());
        for expr in exprs {
            let rewritten = (*expr).clone().transform_down(|expr| {
                if let Some((_, value)) = known.iter().find(|(own, _)| *own == expr) {
                    let value = value.clone();
                    return Ok(Transformed::new(value, true, TreeNodeRecursion::Jump));
                }
                let joined = match &expr {
                    Expr::ScalarSubquery(subquery) if is_single_row(&subquery.subquery) => {
                        self.with_value(&plan, subquery)?
                    }
                    Expr::Exists(exists) => self.with_mark(&plan, exists)?,
                    Expr::InSubquery(within) if self.wants_in(within)? => {
                        changed = true;
                        let exists = within.clone();
                        let name = self.name("within");
                        return Ok(Transformed::yes(as_exists(exists, &plan, name)?));
                    }
                    _ => None,
                };
                let Some((joined, value)) = joined else {
                    return Ok(Transformed::no(expr));
                };
                plan = Arc::new(joined);
                changed = true;
                known.push((expr, value.clone()));
                Ok(Transformed::new(value, true, TreeNodeRecursion::Jump))
            })?;
            after.push(rewritten.data);
        }
        Ok(changed.then(|| (Arc::unwrap_or_clone(plan), after)))
    }

    /// The value of a scalar subquery beside each row.
    fn with_value(
        &self,
        plan: &Arc<LogicalPlan>,
        subquery: &Subquery,
    ) -> Result<Option<(LogicalPlan, Expr)>> {
        let Some((domain, pushed)) = self.pushed(plan, subquery)? else {
            return Ok(None);
        };
        if pushed.domain.is_empty() {
            // The planner's own.
            return Ok(None);
        }
        let value = self.name("value");
        let columns = subquery.subquery.schema().columns();
        let Some(of_subquery) = columns.into_iter().next() else {
            return Ok(None);
        };
        let of_subquery = Expr::Column(of_subquery).alias(&value);
        let joined = self.joined(plan, (&domain, pushed), of_subquery)?;
        Ok(Some((joined, Expr::Column(Column::from_name(value)))))
    }

    /// Whether a subquery has rows, beside each row.
    fn with_mark(
        &self,
        plan: &Arc<LogicalPlan>,
        exists: &Exists,
    ) -> Result<Option<(LogicalPlan, Expr)>> {
        let subquery = Subquery {
            subquery: rows_of(&exists.subquery.subquery)?,
            ..exists.subquery.clone()
        };
        let Some((domain, pushed)) = self.pushed(plan, &subquery)? else {
            return Ok(None);
        };
        let mark = self.name("mark");
        if pushed.domain.is_empty() {
            return self.with_count(plan, (pushed.plan, exists.negated), &mark);
        }
        let keys = pushed.domain.iter().cloned().map(Expr::Column);
        let distinct = LogicalPlanBuilder::from(pushed.plan)
            .project(keys.collect::<Vec<_>>())?
            .distinct()?
            .build()?;
        let pushed = Pushed {
            plan: distinct,
            domain: pushed.domain,
        };
        let joined = self.joined(plan, (&domain, pushed), lit(true).alias(&mark))?;
        let found = Expr::Column(Column::from_name(mark));
        let found = match exists.negated {
            true => found.is_null(),
            false => found.is_not_null(),
        };
        Ok(Some((joined, found)))
    }

    /// The same of a subquery that depends on nothing.
    fn with_count(
        &self,
        plan: &Arc<LogicalPlan>,
        (subquery, negated): (LogicalPlan, bool),
        mark: &str,
    ) -> Result<Option<(LogicalPlan, Expr)>> {
        let one = LogicalPlanBuilder::from(subquery)
            .limit(0, Some(1))?
            .aggregate(Vec::<Expr>::new(), vec![count_all().alias(mark)])?
            .build()?;
        let joined = LogicalPlanBuilder::from(plan.as_ref().clone())
            .cross_join(one)?
            .build()?;
        let found = Expr::Column(Column::from_name(mark));
        let found = match negated {
            true => found.eq(lit(0_i64)),
            false => found.gt(lit(0_i64)),
        };
        Ok(Some((joined, found)))
    }

    fn joined(
        &self,
        plan: &Arc<LogicalPlan>,
        (domain, pushed): (&Domain, Pushed),
        value: Expr,
    ) -> Result<LogicalPlan> {
        let keys: Vec<String> = pushed.domain.iter().map(|_| self.name("key")).collect();
        let named = pushed.domain.into_iter().zip(&keys);
        let mut columns: Vec<Expr> = named
            .map(|(column, name)| Expr::Column(column).alias(name))
            .collect();
        columns.push(value);
        let right = LogicalPlanBuilder::from(pushed.plan)
            .project(columns)?
            .build()?;
        let keys = keys.into_iter().map(Column::from_name);
        LogicalPlanBuilder::from(plan.as_ref().clone())
            .join_on(
                right,
                JoinType::Left,
                same(&domain.outer, plan.schema(), keys)?,
            )?
            .build()
    }

    /// `left JOIN LATERAL subquery`.
    fn lateral(&self, join: &Join) -> Result<Option<LogicalPlan>> {
        if !matches!(join.join_type, JoinType::Inner | JoinType::Left) {
            return Ok(None);
        }
        let Some((subquery, alias)) = shaped::lateral(join) else {
            return Ok(None);
        };
        let Some((domain, pushed)) = self.pushed(&join.left, subquery)? else {
            return Ok(None);
        };
        if pushed.domain.is_empty() {
            return Ok(None);
        }
        let Pushed { plan, domain: keys } = match alias {
            None => pushed,
            Some(alias) => pushed.under(alias)?,
        };
        let on = join.on.iter().cloned();
        let on = on.map(|(left, right)| binary_expr(left, Operator::Eq, right));
        let same = same(&domain.outer, join.left.schema(), keys)?;
        let on = on.chain(join.filter.clone()).chain(same);
        let columns = join.schema.columns();
        LogicalPlanBuilder::from(join.left.as_ref().clone())
            .join_on(plan, join.join_type, on.collect::<Vec<_>>())?
            .project(columns.into_iter().map(Expr::Column))?
            .build()
            .map(Some)
    }

    /// `None`: it is not wanted, depends on more than the rows of `plan`, or cannot be unnested.
    fn pushed(
        &self,
        plan: &Arc<LogicalPlan>,
        subquery: &Subquery,
    ) -> Result<Option<(Domain, Pushed)>> {
        if !self.wants(&subquery.subquery)? {
            return Ok(None);
        }
        let Some(mut domain) = Domain::new(plan, subquery) else {
            return Ok(None);
        };
        let pushed = push(&subquery.subquery, &mut domain, &|what| self.name(what))?;
        Ok(pushed.map(|pushed| (domain, pushed)))
    }

    /// The other rule counts for itself, over the same plan.
    fn name(&self, what: &str) -> String {
        let rule = match self.which {
            Which::Misread => "",
            Which::Left => "left_",
        };
        format!(
            "__{rule}{what}_{}",
            self.made.fetch_add(1, Ordering::Relaxed)
        )
    }
}

/// The planner's rules move the condition on the rows around out of the subquery, also past what
/// must see the rows of one of them alone.
fn is_misread(subquery: &LogicalPlan) -> Result<bool> {
    let mut misread = false;
    subquery.apply(|node| {
        let sees_one = match node {
            LogicalPlan::Window(_) | LogicalPlan::Limit(_) | LogicalPlan::Union(_) => true,
            LogicalPlan::Sort(sort) => sort.fetch.is_some(),
            LogicalPlan::Join(join) => join.join_type != JoinType::Inner,
            LogicalPlan::Aggregate(aggregate) => values::is_own(aggregate),
            // Columns that a condition needs are lost behind new names.
            LogicalPlan::SubqueryAlias(_) => true,
            _ => false,
        };
        misread |= sees_one && depends(node)?;
        Ok(match misread {
            true => TreeNodeRecursion::Stop,
            false => TreeNodeRecursion::Continue,
        })
    })?;
    Ok(misread)
}

/// What has rows whenever the subquery has.
fn rows_of(subquery: &Arc<LogicalPlan>) -> Result<Arc<LogicalPlan>> {
    Ok(match subquery.as_ref() {
        LogicalPlan::Limit(limit) => match (limit.get_skip_type()?, limit.get_fetch_type()?) {
            (SkipType::Literal(0), FetchType::Literal(fetch)) if fetch != Some(0) => {
                rows_of(&limit.input)?
            }
            _ => Arc::clone(subquery),
        },
        LogicalPlan::Sort(sort) if sort.fetch != Some(0) => rows_of(&sort.input)?,
        LogicalPlan::Projection(projection) => rows_of(&projection.input)?,
        _ => Arc::clone(subquery),
    })
}

/// `x IN (…)`, null where it is not known.
/// `name`: of its column, which may be called like one of the rows around.
fn as_exists(within: InSubquery, plan: &LogicalPlan, name: String) -> Result<Expr> {
    let InSubquery {
        expr,
        subquery,
        negated,
    } = within;
    let Some(value) = subquery.subquery.schema().columns().into_iter().next() else {
        return internal_err!("a subquery without columns");
    };
    let named = Expr::Column(value).alias(&name);
    let value = Expr::Column(Column::from_name(name));
    let with = |condition: Expr| -> Result<Expr> {
        let filtered = LogicalPlanBuilder::from(subquery.subquery.as_ref().clone())
            .project([named.clone()])?
            .filter(condition)?
            .build()?;
        let filtered = Arc::new(filtered);
        Ok(Expr::Exists(Exists {
            subquery: Subquery {
                outer_ref_columns: filtered.all_out_ref_exprs(),
                subquery: filtered,
                spans: subquery.spans.clone(),
            },
            negated: false,
        }))
    };
    let outer = expr.as_ref().clone().transform_up(|expr| match expr {
        Expr::Column(column) => {
            let field = plan.schema().field_from_column(&column)?;
            let field = Arc::clone(field);
            Ok(Transformed::yes(Expr::OuterReferenceColumn(field, column)))
        }
        other => Ok(Transformed::no(other)),
    })?;
    let found = with(value.clone().eq(outer.data))?;
    let unknown = with(value.is_null())?;
    let any = with(lit(true))?;
    let unknown = unknown.or(expr.is_null().and(any));
    let null = lit(ScalarValue::Boolean(None));
    let within = when(found, lit(true))
        .when(unknown, null)
        .otherwise(lit(false))?;
    Ok(match negated {
        true => Expr::Not(Box::new(within)),
        false => within,
    })
}

/// That pairs of columns are the same; nulls are.
fn same(
    left: &[Column],
    schema: &DFSchema,
    right: impl IntoIterator<Item = Column>,
) -> Result<Vec<Expr>> {
    let mut same = Vec::with_capacity(left.len());
    for (left, right) in left.iter().zip(right) {
        let pair = (Expr::Column(left.clone()), Expr::Column(right));
        same.extend(alike(pair, schema.field_from_column(left)?));
    }
    Ok(same)
}

/// That both are the same; nulls are. `field`: of the left one.
///
/// IS NOT DISTINCT FROM would say it, but a join by it takes nulls for equal in every condition
/// that the planner moves into it later, also in `=`.
fn alike((left, right): (Expr, Expr), field: &Field) -> Vec<Expr> {
    if !field.is_nullable() {
        return vec![left.eq(right)];
    }
    let data_type = field.data_type();
    let zero = ScalarValue::new_zero(data_type);
    let Ok(filler) = zero.or_else(|_| ScalarValue::new_default(data_type)) else {
        return vec![binary_expr(left, Operator::IsNotDistinctFrom, right)];
    };
    let filled = |expr: &Expr| coalesce(vec![expr.clone(), lit(filler.clone())]);
    let (of_left, of_right) = (filled(&left), filled(&right));
    vec![left.is_null().eq(right.is_null()), of_left.eq(of_right)]
}

impl Pushed {
    fn under(self, alias: &datafusion::common::TableReference) -> Result<Self> {
        let domain = self.domain.into_iter();
        let domain = domain.map(|column| Column::new(Some(alias.clone()), column.name));
        let alias = SubqueryAlias::try_new(Arc::new(self.plan), alias.clone())?;
        Ok(Self {
            domain: domain.collect(),
            plan: LogicalPlan::SubqueryAlias(alias),
        })
    }
}
