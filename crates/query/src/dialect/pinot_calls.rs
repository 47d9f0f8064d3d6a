//! Calls of Pinot's dialect that its parser reads in another way, or that stand for others.

use datafusion::sql::sqlparser::ast::{
    BinaryOperator, CastKind, DataType, Expr, Function, FunctionArg, FunctionArgExpr,
    FunctionArgumentClause, FunctionArguments, SelectItem, SetExpr, Value,
};

use super::called;
use super::gaps::{arguments, literal, parse as query};

/// What is planned instead of a call.
pub(super) fn rewrite(expr: &mut Expr) {
    // SUBSTRING is SQL's.
    if matches!(
        expr,
        Expr::Substring {
            shorthand: true,
            ..
        }
    ) {
        return as_call(expr);
    }
    if let Some(within) = in_subquery(expr) {
        *expr = within;
        return;
    }
    let Expr::Function(function) = expr else {
        return;
    };
    unit_of_time(function);
    funnel(function);
    list_agg(function);
    if is_whole_percentile(function) {
        to_long(expr);
    }
}

/// `IN_SUBQUERY(x, 'SELECT ID_SET(y) FROM t')` is `x IN (SELECT y FROM t)`, and a comparison of it
/// with 1 says the same. `None`: it is something else.
fn in_subquery(expr: &Expr) -> Option<Expr> {
    match expr {
        Expr::Function(function) => {
            let names = ["insubquery", "inpartitionedsubquery"];
            if !names.iter().any(|name| is_call_of(function, name)) {
                return None;
            }
            let [value, text] = arguments(function)[..] else {
                return None;
            };
            let mut subquery = query(&literal(text)?).ok()?;
            let SetExpr::Select(select) = subquery.body.as_mut() else {
                return None;
            };
            let [SelectItem::UnnamedExpr(set)] = select.projection.as_mut_slice() else {
                return None;
            };
            let Expr::Function(ids) = set else {
                return None;
            };
            let id = match is_call_of(ids, "idset") {
                true => arguments(ids).first().map(|id| (*id).clone())?,
                false => return None,
            };
            *set = id;
            Some(Expr::InSubquery {
                expr: Box::new(value.clone()),
                subquery: Box::new(subquery),
                negated: false,
            })
        }
        Expr::BinaryOp { left, op, right } => {
            if !matches!(left.as_ref(), Expr::InSubquery { .. }) {
                return None;
            }
            let is_within = match literal(right)?.as_str() {
                "1" | "true" => true,
                "0" | "false" => false,
                _ => return None,
            };
            let is_not = match op {
                BinaryOperator::Eq => !is_within,
                BinaryOperator::NotEq => is_within,
                _ => return None,
            };
            let mut within = left.as_ref().clone();
            if let Expr::InSubquery { negated, .. } = &mut within {
                *negated ^= is_not;
            }
            Some(within)
        }
        _ => None,
    }
}

fn is_call_of(function: &Function, name: &str) -> bool {
    functions::is_same(&function.name.to_string(), name)
}

/// FUNNELCOUNT(STEPS(a, b), CORRELATEBY(id), SETTINGS('…')) is FUNNELCOUNT(id, a, b).
fn funnel(function: &mut Function) {
    if !is_call_of(function, "funnelcount") {
        return;
    }
    let FunctionArguments::List(list) = &mut function.args else {
        return;
    };
    let parts = |name: &str| {
        list.args.iter().find_map(|arg| match arg {
            FunctionArg::Unnamed(FunctionArgExpr::Expr(Expr::Function(part)))
                if is_call_of(part, name) =>
            {
                match &part.args {
                    FunctionArguments::List(inner) => Some(inner.args.clone()),
                    _ => None,
                }
            }
            _ => None,
        })
    };
    if let (Some(steps), Some(ids)) = (parts("steps"), parts("correlateby")) {
        list.args = ids.into_iter().take(1).chain(steps).collect();
    }
}

/// LISTAGG(x, '-') WITHIN GROUP (ORDER BY y) has its order among its arguments.
fn list_agg(function: &mut Function) {
    if function.within_group.is_empty() || !is_call_of(function, "listagg") {
        return;
    }
    if let FunctionArguments::List(list) = &mut function.args {
        let order = std::mem::take(&mut function.within_group);
        list.clauses.push(FunctionArgumentClause::OrderBy(order));
    }
}

/// PERCENTILEEST, also with the percent in its name, is a LONG; the digest's answer is a double.
fn is_whole_percentile(function: &Function) -> bool {
    let name = functions::canonical(&function.name.to_string());
    let name = name.trim_end_matches(|c: char| c.is_ascii_digit());
    matches!(name, "percentileest" | "percentileestmv")
}

fn to_long(expr: &mut Expr) {
    let own = std::mem::replace(expr, Expr::value(Value::Null));
    *expr = Expr::Cast {
        kind: CastKind::Cast,
        expr: Box::new(own),
        data_type: DataType::BigInt(None),
        array: false,
        format: None,
    };
}

/// The unit that these take may stand there without quotes.
fn unit_of_time(function: &mut Function) {
    let FunctionArguments::List(list) = &mut function.args else {
        return;
    };
    let name = function.name.to_string();
    let takes = ["timestampadd", "timestampdiff", "dateadd", "datediff"]
        .iter()
        .any(|known| functions::is_same(known, &name));
    if let Some(FunctionArg::Unnamed(FunctionArgExpr::Expr(unit))) = list.args.first_mut()
        && let Expr::Identifier(ident) = unit
        && ident.quote_style.is_none()
        && takes
    {
        *unit = Expr::Value(Value::SingleQuotedString(ident.value.clone()).into());
    }
}

/// SUBSTR(text, begin, end) as any other function.
fn as_call(expr: &mut Expr) {
    let Expr::Substring {
        expr: text,
        substring_from,
        substring_for,
        ..
    } = expr
    else {
        return;
    };
    let args = [Some(text), substring_from.as_mut(), substring_for.as_mut()];
    let args = args.into_iter().flatten();
    let args = args.map(|arg| std::mem::replace(arg.as_mut(), Expr::value(Value::Null)));
    *expr = called("substr", args.collect());
}
