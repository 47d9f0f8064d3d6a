//! Rows compared with rows: `(a, b) = (1, 2)`, `(a, b) IN ((1, 2), …)`, `(a, b) IN (SELECT …)`; and
//! times between ends, by OVERLAPS.
//!
//! They say what comparisons of their values say, nulls as well; the planner would compare them as
//! structures, in which nulls are equal.

use datafusion::sql::sqlparser::ast::helpers::attached_token::AttachedToken;
use datafusion::sql::sqlparser::ast::{
    BinaryOperator, CaseWhen, Expr, Ident, Query, Select, SelectItem, SetExpr, TableAlias,
    TableAliasColumnDef, TableFactor, UnaryOperator, Value,
};
use schemas::Fault;

use super::gaps::expression;
use super::standard::{all_of, as_query};
use super::{number, syntax};

/// `None`: it is no comparison of rows.
pub(super) fn compared(expr: &Expr) -> Result<Option<Expr>, Fault> {
    match expr {
        Expr::BinaryOp { left, op, right } => match (left.as_ref(), right.as_ref()) {
            (Expr::Tuple(left), Expr::Tuple(right)) if *op == BinaryOperator::Overlaps => {
                overlap(left, right).map(Some)
            }
            (Expr::Tuple(left), Expr::Tuple(right)) => {
                check_lengths(left.len(), right.len())?;
                Ok(by_operator(left, op, right))
            }
            _ => Ok(None),
        },
        Expr::InList {
            expr,
            list,
            negated,
        } => match expr.as_ref() {
            Expr::Tuple(row) => in_list(row, list, *negated),
            _ => Ok(None),
        },
        Expr::InSubquery {
            expr,
            subquery,
            negated,
        } => match expr.as_ref() {
            Expr::Tuple(row) => Ok(Some(Found::new(row, subquery).value(*negated))),
            _ => Ok(None),
        },
        _ => Ok(None),
    }
}

fn check_lengths(left: usize, right: usize) -> Result<(), Fault> {
    match left == right {
        true => Ok(()),
        false => Err(syntax(&format!(
            "a row of {left} values is compared with one of {right}"
        ))),
    }
}

/// `(first, last) OVERLAPS (first, last)`, where an end may stand first, or how long it is last.
/// The later end is not of the time between.
fn overlap(left: &[Expr], right: &[Expr]) -> Result<Expr, Fault> {
    let ends = |times: &[Expr]| match times {
        [first, length @ Expr::Interval(_)] => Ok((first.clone(), format!("({first} + {length})"))),
        [first, last] => Ok((first.clone(), last.to_string())),
        _ => Err(syntax("write (first, last) OVERLAPS (first, last)")),
    };
    let ((a, b), (c, d)) = (ends(left)?, ends(right)?);
    let (one, other) = (format!("least({a}, {b})"), format!("least({c}, {d})"));
    expression(&format!(
        "({one} = {other} OR {one} < {other} AND {other} < greatest({a}, {b}) OR {other} < {one} \
         AND {one} < greatest({c}, {d}))"
    ))
}

fn by_operator(left: &[Expr], op: &BinaryOperator, right: &[Expr]) -> Option<Expr> {
    use BinaryOperator as Op;
    match op {
        Op::Eq => Some(equal(left, right)),
        Op::NotEq => Some(not(equal(left, right))),
        Op::Lt | Op::LtEq | Op::Gt | Op::GtEq => in_order(left, op, right),
        _ => None,
    }
}

fn equal(left: &[Expr], right: &[Expr]) -> Expr {
    let pairs = left.iter().zip(right);
    let equal = pairs.map(|(left, right)| binary(left, BinaryOperator::Eq, right));
    let all = equal.reduce(|all, next| binary(&all, BinaryOperator::And, &next));
    Expr::Nested(Box::new(all.unwrap_or_else(|| number(1))))
}

/// The first values that differ decide.
fn in_order(left: &[Expr], op: &BinaryOperator, right: &[Expr]) -> Option<Expr> {
    use BinaryOperator as Op;
    let ((one, left), (other, right)) = (left.split_first()?, right.split_first()?);
    if left.is_empty() {
        return Some(binary(one, op.clone(), other));
    }
    let strict = match op {
        Op::Lt | Op::LtEq => Op::Lt,
        _ => Op::Gt,
    };
    let rest = in_order(left, op, right)?;
    let same = binary(&binary(one, Op::Eq, other), Op::And, &rest);
    let decided = binary(one, strict, other);
    Some(Expr::Nested(Box::new(binary(&decided, Op::Or, &same))))
}

fn in_list(row: &[Expr], list: &[Expr], negated: bool) -> Result<Option<Expr>, Fault> {
    let mut any: Option<Expr> = None;
    for other in list {
        let Expr::Tuple(other) = other else {
            return Ok(None);
        };
        check_lengths(row.len(), other.len())?;
        let equal = equal(row, other);
        any = Some(match any {
            Some(any) => binary(&any, BinaryOperator::Or, &equal),
            None => equal,
        });
    }
    let any = any.map(|any| Expr::Nested(Box::new(any)));
    Ok(any.map(|any| if negated { not(any) } else { any }))
}

/// What the rows of the subquery are called, and their values.
const ROWS: &str = "__rows";

/// `(a, b) IN (SELECT …)` in a condition that decides which rows there are, where unknown is as
/// good as false: EXISTS and NOT EXISTS alone, which become joins.
pub(super) fn decide(condition: &mut Expr) {
    match condition {
        Expr::BinaryOp {
            left,
            op: BinaryOperator::And | BinaryOperator::Or,
            right,
        } => {
            decide(left);
            decide(right);
        }
        Expr::Nested(inner) => decide(inner),
        Expr::InSubquery {
            expr,
            subquery,
            negated,
        } => {
            if let Expr::Tuple(row) = expr.as_ref() {
                *condition = Found::new(row, subquery).holds(*negated);
            }
        }
        _ => {}
    }
}

/// What is asked of the rows of a subquery to find one among them.
struct Found<'e> {
    row: &'e [Expr],
    rows: TableFactor,
    values: Vec<Expr>,
    equal: Expr,
}

impl<'e> Found<'e> {
    fn new(row: &'e [Expr], subquery: &Query) -> Self {
        let names: Vec<String> = (0..row.len()).map(|at| format!("__value_{at}")).collect();
        let columns = names.iter().map(TableAliasColumnDef::from_name);
        let rows = TableFactor::Derived {
            lateral: false,
            subquery: Box::new(subquery.clone()),
            alias: Some(TableAlias {
                explicit: true,
                name: Ident::new(ROWS),
                columns: columns.collect(),
                at: None,
            }),
            sample: None,
        };
        let value = |name| Expr::CompoundIdentifier(vec![Ident::new(ROWS), Ident::new(name)]);
        let values: Vec<Expr> = names.into_iter().map(value).collect();
        Self {
            row,
            rows,
            equal: equal(&values, row),
            values,
        }
    }

    fn exists(&self, condition: Expr, negated: bool) -> Expr {
        Expr::Exists {
            subquery: Box::new(with_condition(self.rows.clone(), condition)),
            negated,
        }
    }

    /// It is unknown whether a row is equal. That can be so of rows with nulls alone, which are
    /// asked by themselves: what is equal is found by its values.
    fn may_be(&self) -> (Expr, Expr) {
        let may_be = Expr::IsNotFalse(Box::new(self.equal.clone()));
        let has_null = any_of(self.values.iter().map(is_null));
        (binary(&has_null, BinaryOperator::And, &may_be), may_be)
    }

    /// NOT IN holds where no row is equal and of none it is unknown whether it is.
    fn holds(&self, negated: bool) -> Expr {
        if !negated {
            return self.exists(self.equal.clone(), false);
        }
        let (with_null, any) = self.may_be();
        let known = not(any_of(self.row.iter().map(is_null)));
        let either = binary(&known, BinaryOperator::Or, &self.exists(any, true));
        let none = self.exists(self.equal.clone(), true);
        let none = binary(&none, BinaryOperator::And, &self.exists(with_null, true));
        let either = Expr::Nested(Box::new(either));
        Expr::Nested(Box::new(binary(&none, BinaryOperator::And, &either)))
    }

    /// True, false or null.
    fn value(&self, negated: bool) -> Expr {
        let (with_null, any) = self.may_be();
        let has_null = any_of(self.row.iter().map(is_null));
        let of_row = binary(&has_null, BinaryOperator::And, &self.exists(any, false));
        let of_row = Expr::Nested(Box::new(of_row));
        let with_null = self.exists(with_null, false);
        let unknown = binary(&with_null, BinaryOperator::Or, &of_row);
        let when = |condition, result| CaseWhen { condition, result };
        let is = |value: bool| Expr::value(Value::Boolean(value));
        let case = Expr::Case {
            case_token: AttachedToken::empty(),
            end_token: AttachedToken::empty(),
            operand: None,
            conditions: vec![
                when(self.exists(self.equal.clone(), false), is(!negated)),
                when(unknown, Expr::value(Value::Null)),
            ],
            else_result: Some(Box::new(is(negated))),
        };
        Expr::Nested(Box::new(case))
    }
}

fn is_null(value: &Expr) -> Expr {
    Expr::IsNull(Box::new(value.clone()))
}

fn any_of(conditions: impl Iterator<Item = Expr>) -> Expr {
    let any = conditions.reduce(|any, next| binary(&any, BinaryOperator::Or, &next));
    Expr::Nested(Box::new(any.unwrap_or_else(|| number(0))))
}

fn with_condition(table: TableFactor, condition: Expr) -> Query {
    let mut set = all_of(table);
    if let SetExpr::Select(select) = &mut set {
        let Select {
            projection,
            selection,
            ..
        } = select.as_mut();
        *projection = vec![SelectItem::UnnamedExpr(number(1))];
        *selection = Some(condition);
    }
    as_query(set)
}

fn binary(left: &Expr, op: BinaryOperator, right: &Expr) -> Expr {
    Expr::BinaryOp {
        left: Box::new(left.clone()),
        op,
        right: Box::new(right.clone()),
    }
}

fn not(expr: Expr) -> Expr {
    Expr::UnaryOp {
        op: UnaryOperator::Not,
        expr: Box::new(expr),
    }
}
