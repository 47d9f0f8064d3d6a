//! Standard SQL that the planner does not take, in a form that it takes.
//!
//! Nothing here changes what a statement means. Joins that [`crate::relations`] plans stand alone
//! in parentheses afterwards, so that it finds them.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::helpers::attached_token::AttachedToken;
use datafusion::sql::sqlparser::ast::{
    BinaryOperator, Expr, Fetch, Function, GroupByExpr, Ident, Join, JoinConstraint, JoinOperator,
    LimitClause, ObjectNamePart, Offset, Query, Select, SelectFlavor, SelectItem, SetExpr,
    SetOperator, SetQuantifier, Statement, TableFactor, TableWithJoins, UnaryOperator, Value,
    VisitMut, VisitorMut, WildcardAdditionalOptions,
};
use schemas::Fault;

use super::natural::is_natural;
use super::{called, calls, documents, exact, forms, merged, syntax, tuples};

pub(super) fn to_known(statement: &mut Statement) -> Result<(), Fault> {
    match VisitMut::visit(statement, &mut ToKnown) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(fault) => Err(*fault),
    }
}

struct ToKnown;

impl VisitorMut for ToKnown {
    type Break = Box<Fault>;

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<Box<Fault>> {
        if let Some(fetch) = query.fetch.take()
            && let Err(fault) = limit_of(fetch, &mut query.limit_clause)
        {
            return ControlFlow::Break(Box::new(fault));
        }
        forms::order_by_all(query);
        if let SetExpr::Select(select) = query.body.as_mut()
            && !is_natural(select)
            && let Err(fault) = merged::spell_out(select, query.order_by.as_mut(), &|_| None)
        {
            return ControlFlow::Break(Box::new(fault));
        }
        match body(&mut query.body, true) {
            Ok(()) => ControlFlow::Continue(()),
            Err(fault) => ControlFlow::Break(Box::new(fault)),
        }
    }

    fn pre_visit_table_factor(&mut self, table: &mut TableFactor) -> ControlFlow<Box<Fault>> {
        if let Err(fault) = forms::check_table(table) {
            return ControlFlow::Break(Box::new(fault));
        }
        forms::name_series(table);
        if let TableFactor::NestedJoin {
            table_with_joins, ..
        } = table
            && !is_alone(table_with_joins)
        {
            joins(table_with_joins);
        }
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<Box<Fault>> {
        if let Expr::Between {
            expr: value,
            negated,
            low,
            high,
        } = expr
            && take_mark(low)
        {
            *expr = symmetric(value, *negated, low, high);
        } else if let Expr::BinaryOp {
            left,
            op: BinaryOperator::Spaceship,
            right,
        } = expr
        {
            let differ = take_mark(right);
            let (left, right) = (left.clone(), right.clone());
            *expr = match differ {
                true => Expr::IsDistinctFrom(left, right),
                false => Expr::IsNotDistinctFrom(left, right),
            };
        } else if let Expr::Function(function) = expr {
            grouping_id(function);
            forms::of_function(function);
            match calls::meant(function) {
                Ok(None) => {}
                Ok(Some(meant)) => *expr = meant,
                Err(fault) => return ControlFlow::Break(Box::new(fault)),
            }
        } else if let Expr::Exists { subquery, .. } = expr {
            select_one(subquery);
        } else if let Some(value) = exact::folded(expr) {
            *expr = value;
        } else {
            let meant = match tuples::compared(expr) {
                Ok(None) => forms::of_expr(expr),
                known => known,
            };
            match meant {
                Ok(None) => {}
                Ok(Some(meant)) => *expr = meant,
                Err(fault) => return ControlFlow::Break(Box::new(fault)),
            }
        }
        ControlFlow::Continue(())
    }
}

/// What EXISTS selects says nothing, and of two columns of one name in `*` the planner would take
/// one for the other in conditions with the rows around.
fn select_one(subquery: &mut Query) {
    if let SetExpr::Select(select) = subquery.body.as_mut()
        && subquery.order_by.is_none()
        && select.distinct.is_none()
        && matches!(select.projection[..], [SelectItem::Wildcard(_)])
    {
        let one = Expr::value(Value::Number("1".to_owned(), false));
        select.projection = vec![SelectItem::UnnamedExpr(one)];
    }
}

/// `is_whole`: it is not one side of a set operation.
fn body(set: &mut SetExpr, is_whole: bool) -> Result<(), Fault> {
    match set {
        SetExpr::Select(select) => {
            if !is_whole && !is_natural(select) {
                merged::spell_out(select, None, &|_| None)?;
            }
            one_group(select);
            let conditions = [
                &mut select.selection,
                &mut select.having,
                &mut select.qualify,
            ];
            conditions.into_iter().flatten().for_each(tuples::decide);
            for tables in &mut select.from {
                documents::unnest_parts(&mut tables.relation)?;
                for join in &mut tables.joins {
                    documents::unnest_parts(&mut join.relation)?;
                }
            }
            join_unnested(&mut select.from);
            select.from.iter_mut().for_each(joins);
        }
        SetExpr::SetOperation {
            op,
            set_quantifier,
            left,
            right,
        } => {
            body(left, false)?;
            body(right, false)?;
            let operator = match op {
                SetOperator::Intersect => JoinOperator::LeftSemi,
                SetOperator::Except | SetOperator::Minus => JoinOperator::LeftAnti,
                SetOperator::Union => return Ok(()),
            };
            if *set_quantifier == SetQuantifier::All {
                let join = Join {
                    relation: derived(right),
                    global: OF_ROWS,
                    join_operator: operator(JoinConstraint::None),
                };
                *set = all_of(nested(TableWithJoins {
                    relation: derived(left),
                    joins: vec![join],
                }));
            }
        }
        _ => {}
    }
    Ok(())
}

/// HAVING makes one group of all rows where there are no keys, as GROUP BY () does, and the planner
/// knows that by an aggregate alone.
fn one_group(select: &mut Select) {
    if let GroupByExpr::Expressions(keys, _) = &mut select.group_by
        && matches!(keys.as_slice(), [Expr::Tuple(none)] if none.is_empty())
    {
        keys.clear();
        let always = Expr::value(Value::Boolean(true));
        select.having.get_or_insert(always);
    }
    let has_keys = match &select.group_by {
        GroupByExpr::Expressions(keys, _) => !keys.is_empty(),
        GroupByExpr::All(_) => true,
    };
    if let Some(having) = select.having.take() {
        select.having = Some(match has_keys {
            true => having,
            false => Expr::BinaryOp {
                left: Box::new(Expr::Nested(Box::new(having))),
                op: BinaryOperator::And,
                right: Box::new(Expr::IsNotNull(Box::new(count_of_rows()))),
            },
        });
    }
}

fn count_of_rows() -> Expr {
    let one = Expr::value(Value::Number("1".to_owned(), false));
    called("count", vec![one])
}

/// Marks a join of whole rows, which nobody can write.
const OF_ROWS: bool = true;

/// SELECT * FROM the table.
pub(super) fn all_of(table: TableFactor) -> SetExpr {
    let select = Select {
        select_token: AttachedToken::empty(),
        optimizer_hints: Vec::new(),
        distinct: None,
        select_modifiers: None,
        top: None,
        top_before_distinct: false,
        projection: vec![SelectItem::Wildcard(WildcardAdditionalOptions::default())],
        exclude: None,
        into: None,
        from: vec![TableWithJoins {
            relation: table,
            joins: Vec::new(),
        }],
        lateral_views: Vec::new(),
        prewhere: None,
        selection: None,
        connect_by: Vec::new(),
        group_by: GroupByExpr::Expressions(Vec::new(), Vec::new()),
        cluster_by: Vec::new(),
        distribute_by: Vec::new(),
        sort_by: Vec::new(),
        having: None,
        named_window: Vec::new(),
        qualify: None,
        window_before_qualify: false,
        value_table_mode: None,
        flavor: SelectFlavor::Standard,
    };
    SetExpr::Select(Box::new(select))
}

pub(super) fn as_query(set: SetExpr) -> Query {
    Query {
        with: None,
        body: Box::new(set),
        order_by: None,
        limit_clause: None,
        fetch: None,
        locks: Vec::new(),
        for_clause: None,
        settings: None,
        format_clause: None,
        pipe_operators: Vec::new(),
    }
}

fn derived(set: &SetExpr) -> TableFactor {
    TableFactor::Derived {
        lateral: false,
        subquery: Box::new(as_query(set.clone())),
        alias: None,
        sample: None,
    }
}

/// FETCH FIRST n ROWS ONLY is LIMIT n.
fn limit_of(fetch: Fetch, clause: &mut Option<LimitClause>) -> Result<(), Fault> {
    if fetch.percent || fetch.with_ties {
        let what = if fetch.percent {
            "PERCENT"
        } else {
            "WITH TIES"
        };
        return Err(syntax(&format!(
            "FETCH … {what} is not supported; write FETCH FIRST n ROWS ONLY, or rank() in QUALIFY"
        )));
    }
    let limit = fetch.quantity.unwrap_or_else(|| super::number(1));
    match clause {
        None => {
            *clause = Some(LimitClause::LimitOffset {
                limit: Some(limit),
                offset: None::<Offset>,
                limit_by: Vec::new(),
            });
        }
        Some(LimitClause::LimitOffset { limit: none, .. }) if none.is_none() => *none = Some(limit),
        Some(_) => return Err(syntax("LIMIT and FETCH say the same; write one of them")),
    }
    Ok(())
}

/// `FROM t, UNNEST(t.list)` is a join: what is unnested may come from the tables before.
fn join_unnested(from: &mut Vec<TableWithJoins>) {
    let mut at = 1;
    while at < from.len() {
        if !matches!(from[at].relation, TableFactor::UNNEST { .. }) {
            at += 1;
            continue;
        }
        let unnested = from.remove(at);
        let before = &mut from[at - 1].joins;
        before.push(Join {
            relation: unnested.relation,
            global: false,
            join_operator: JoinOperator::CrossJoin(JoinConstraint::None),
        });
        before.extend(unnested.joins);
    }
}

fn joins(tables: &mut TableWithJoins) {
    for join in &mut tables.joins {
        join.join_operator = match std::mem::replace(
            &mut join.join_operator,
            JoinOperator::CrossJoin(JoinConstraint::None),
        ) {
            JoinOperator::Semi(on) => JoinOperator::LeftSemi(on),
            JoinOperator::Anti(on) => JoinOperator::LeftAnti(on),
            other => other,
        };
    }
    let Some(last) = tables.joins.iter().rposition(is_own) else {
        return;
    };
    let rest = tables.joins.split_off(last + 1);
    let own = tables.joins.split_off(last);
    // Those before come into the parentheses, and are looked at there.
    if !tables.joins.is_empty() {
        let before = TableWithJoins {
            relation: tables.relation.clone(),
            joins: std::mem::take(&mut tables.joins),
        };
        tables.relation = nested(before);
    }
    let alone = TableWithJoins {
        relation: tables.relation.clone(),
        joins: own,
    };
    tables.relation = nested(alone);
    tables.joins = rest;
}

fn nested(tables: TableWithJoins) -> TableFactor {
    TableFactor::NestedJoin {
        table_with_joins: Box::new(tables),
        alias: None,
    }
}

/// Planned by [`crate::relations`].
pub(crate) fn is_own(join: &Join) -> bool {
    let of_rows = matches!(
        join.join_operator,
        JoinOperator::LeftSemi(JoinConstraint::None) | JoinOperator::LeftAnti(JoinConstraint::None)
    );
    matches!(join.join_operator, JoinOperator::AsOf { .. })
        || matches!(join.relation, TableFactor::UNNEST { .. })
        || of_rows && join.global == OF_ROWS
}

fn is_alone(tables: &TableWithJoins) -> bool {
    matches!(tables.joins.as_slice(), [join] if is_own(join))
}

/// Takes the mark of [`super::words`] off what stands behind it.
fn take_mark(low: &mut Expr) -> bool {
    match low {
        Expr::BinaryOp { left, .. } => take_mark(left),
        Expr::UnaryOp {
            op: UnaryOperator::BitwiseNot,
            expr: inner,
        } => {
            let Expr::UnaryOp {
                op: UnaryOperator::BitwiseNot,
                expr: marked,
            } = inner.as_mut()
            else {
                return false;
            };
            *low = std::mem::replace(marked, super::number(0));
            true
        }
        _ => false,
    }
}

/// `x BETWEEN SYMMETRIC a AND b`, where either may be the lower end.
fn symmetric(value: &Expr, negated: bool, one: &Expr, other: &Expr) -> Expr {
    let between = |low: &Expr, high: &Expr| {
        Box::new(Expr::Between {
            expr: Box::new(value.clone()),
            negated,
            low: Box::new(low.clone()),
            high: Box::new(high.clone()),
        })
    };
    let either = Expr::BinaryOp {
        left: between(one, other),
        op: match negated {
            true => BinaryOperator::And,
            false => BinaryOperator::Or,
        },
        right: between(other, one),
    };
    Expr::Nested(Box::new(either))
}

/// GROUPING_ID is GROUPING with any number of arguments.
fn grouping_id(function: &mut Function) {
    if let [ObjectNamePart::Identifier(name)] = function.name.0.as_mut_slice()
        && name.value.eq_ignore_ascii_case("grouping_id")
    {
        *name = Ident {
            value: "grouping".to_owned(),
            ..name.clone()
        };
    }
}
