//! Names that Pinot's single-stage engine gives to columns without an alias: the expression as a
//! chain of function calls, `divide(sum(delay),count(*))`.
//!
//! Functions are written without underscores, in lower case; only what a filter is made of keeps
//! them (`greater_than`). Literals stand in quotes, whatever they are.

use datafusion::sql::sqlparser::ast::{
    BinaryOperator, CaseWhen, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments,
    UnaryOperator, Value,
};

use super::output::is_distinct;

/// Functions that filters are made of.
const OF_FILTERS: [&str; 14] = [
    "not_equals",
    "greater_than",
    "greater_than_or_equal",
    "less_than",
    "less_than_or_equal",
    "not_in",
    "regexp_like",
    "text_contains",
    "text_match",
    "json_match",
    "vector_similarity",
    "vector_similarity_radius",
    "is_null",
    "is_not_null",
];

/// Aggregates that are named by their first argument alone.
const OF_ONE: [&str; 12] = [
    "distinctcounthll",
    "distinctcountrawhll",
    "distinctcounthllplus",
    "distinctcountrawhllplus",
    "distinctcountull",
    "distinctcountrawull",
    "distinctcountcpcsketch",
    "distinctcountthetasketch",
    "mode",
    "arrayagg",
    "histogram",
    "idset",
];

/// Percentiles are shown as doubles, behind a comma and a space.
const OF_PERCENT: [&str; 8] = [
    "percentile",
    "percentileest",
    "percentilerawest",
    "percentiletdigest",
    "percentilerawtdigest",
    "percentilesmarttdigest",
    "percentilekll",
    "percentilerawkll",
];

pub(super) fn canonical(expr: &Expr) -> String {
    match expr {
        Expr::Function(function) => outermost_call(function),
        other => text(other),
    }
}

/// Of a SELECT of nothing but literals, where numbers are not quoted.
pub(super) fn name_of_literal(value: &Value) -> String {
    match value {
        Value::SingleQuotedString(text) => format!("'{text}'"),
        other => plain(other),
    }
}

fn text(expr: &Expr) -> String {
    match expr {
        Expr::Identifier(ident) => ident.value.clone(),
        Expr::CompoundIdentifier(parts) => {
            let last = parts.last().map(|ident| ident.value.clone());
            last.unwrap_or_default()
        }
        Expr::Nested(inner) => text(inner),
        Expr::Value(value) => format!("'{}'", plain(&value.value)),
        Expr::Function(function) => call_of(function),
        Expr::UnaryOp { op, expr } => match (op, &**expr) {
            (UnaryOperator::Minus, Expr::Value(value)) => format!("'-{}'", plain(&value.value)),
            (UnaryOperator::Minus, inner) => call("negate", [inner]),
            (UnaryOperator::Not, inner) => call("not", [inner]),
            (_, inner) => text(inner),
        },
        Expr::BinaryOp { left, op, right } => match op {
            BinaryOperator::And | BinaryOperator::Or => chain(expr, op),
            _ => call(&operator(op), [&**left, right]),
        },
        Expr::Cast {
            expr, data_type, ..
        } => format!("cast({},'{}')", text(expr), upper(data_type)),
        Expr::Extract { field, expr, .. } => format!("extract('{}',{})", upper(field), text(expr)),
        Expr::Ceil { expr, .. } => call("ceil", [&**expr]),
        Expr::Floor { expr, .. } => call("floor", [&**expr]),
        Expr::Case {
            operand: None,
            conditions,
            else_result,
            ..
        } => case(conditions, else_result.as_deref()),
        Expr::Substring {
            expr,
            substring_from,
            substring_for,
            ..
        } => {
            let parts = [Some(expr), substring_from.as_ref(), substring_for.as_ref()];
            call("substring", parts.into_iter().flatten().map(|part| &**part))
        }
        other => condition(other),
    }
}

fn condition(expr: &Expr) -> String {
    match expr {
        Expr::IsNull(inner) => call("is_null", [&**inner]),
        Expr::IsNotNull(inner) => call("is_not_null", [&**inner]),
        Expr::IsTrue(inner) => call("istrue", [&**inner]),
        Expr::IsFalse(inner) => call("isfalse", [&**inner]),
        Expr::Between {
            expr,
            negated,
            low,
            high,
        } => negated_if(*negated, call("between", [&**expr, low, high])),
        Expr::Like {
            expr,
            negated,
            pattern,
            ..
        } => negated_if(*negated, call("like", [&**expr, pattern])),
        Expr::InList {
            expr,
            list,
            negated,
        } => {
            let name = if *negated { "not_in" } else { "in" };
            call(name, std::iter::once(&**expr).chain(list))
        }
        other => other.to_string().to_lowercase(),
    }
}

fn call<'a>(name: &str, args: impl IntoIterator<Item = &'a Expr>) -> String {
    let args: Vec<String> = args.into_iter().map(text).collect();
    format!("{name}({})", args.join(","))
}

fn negated_if(negated: bool, name: String) -> String {
    match negated {
        true => format!("not({name})"),
        false => name,
    }
}

/// `a AND b AND c` is one call.
fn chain(expr: &Expr, of: &BinaryOperator) -> String {
    fn collect(expr: &Expr, of: &BinaryOperator, parts: &mut Vec<String>) {
        match expr {
            Expr::BinaryOp { left, op, right } if op == of => {
                collect(left, of, parts);
                collect(right, of, parts);
            }
            Expr::Nested(inner) => collect(inner, of, parts),
            other => parts.push(text(other)),
        }
    }
    let mut parts = Vec::new();
    collect(expr, of, &mut parts);
    let name = of.to_string().to_lowercase();
    format!("{name}({})", parts.join(","))
}

fn case(conditions: &[CaseWhen], otherwise: Option<&Expr>) -> String {
    let branches = conditions.iter();
    let branches = branches.flat_map(|when| [text(&when.condition), text(&when.result)]);
    let otherwise = otherwise.map_or_else(|| "'null'".to_owned(), text);
    let parts: Vec<String> = branches.chain([otherwise]).collect();
    format!("case({})", parts.join(","))
}

fn operator(op: &BinaryOperator) -> String {
    let name = match op {
        BinaryOperator::Plus => "plus",
        BinaryOperator::Minus => "minus",
        BinaryOperator::Multiply => "times",
        BinaryOperator::Divide => "divide",
        BinaryOperator::Modulo => "mod",
        BinaryOperator::Eq => "equals",
        BinaryOperator::NotEq => "not_equals",
        BinaryOperator::Gt => "greater_than",
        BinaryOperator::GtEq => "greater_than_or_equal",
        BinaryOperator::Lt => "less_than",
        BinaryOperator::LtEq => "less_than_or_equal",
        BinaryOperator::StringConcat => "concat",
        other => return other.to_string().to_lowercase(),
    };
    name.to_owned()
}

fn plain(value: &Value) -> String {
    match value {
        Value::SingleQuotedString(text) => text.clone(),
        Value::Number(digits, _) if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
            digits.clone()
        }
        Value::Number(digits, _) => match digits.parse::<f64>() {
            Ok(number) => format!("{number:?}"),
            Err(_) => digits.clone(),
        },
        other => other.to_string().to_lowercase(),
    }
}

fn upper(word: &impl std::fmt::Display) -> String {
    word.to_string().to_uppercase()
}

fn function_name(function: &Function) -> String {
    let name = function.name.to_string().to_lowercase();
    let name = name.trim_matches('"');
    let bare = name.replace('_', "");
    let of_filter = OF_FILTERS.iter().find(|kept| kept.replace('_', "") == bare);
    match of_filter {
        Some(kept) => (*kept).to_owned(),
        None => bare,
    }
}

fn arguments(function: &Function) -> Vec<String> {
    match &function.args {
        FunctionArguments::List(list) => list.args.iter().map(argument).collect(),
        _ => Vec::new(),
    }
}

fn argument(argument: &FunctionArg) -> String {
    match argument {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => text(expr),
        FunctionArg::Unnamed(FunctionArgExpr::Wildcard) => "*".to_owned(),
        other => other.to_string().to_lowercase(),
    }
}

fn call_of(function: &Function) -> String {
    let name = match (function_name(function), is_distinct(function)) {
        (name, true) if matches!(name.as_str(), "count" | "sum" | "avg") => {
            format!("distinct{name}")
        }
        (name, _) => name,
    };
    format!("{name}({})", arguments(function).join(","))
}

/// The names of aggregates differ from those of calls within others.
fn outermost_call(function: &Function) -> String {
    let name = function_name(function);
    let arguments = arguments(function);
    let call = match arguments.split_first() {
        _ if name == "count" && !is_distinct(function) => "count(*)".to_owned(),
        Some((first, _)) if OF_ONE.contains(&name.as_str()) => format!("{name}({first})"),
        Some((first, rest)) if OF_PERCENT.contains(&name.as_str()) && !rest.is_empty() => {
            let rest = rest.iter().enumerate().map(|(at, number)| {
                let number = number.trim_matches('\'');
                match (at, number.parse::<f64>()) {
                    (0, Ok(percent)) => format!("{percent:?}"),
                    _ => number.to_owned(),
                }
            });
            let rest: Vec<String> = rest.collect();
            format!("{name}({first}, {})", rest.join(", "))
        }
        _ => call_of(function),
    };
    match &function.filter {
        Some(condition) => format!("{call} FILTER(WHERE {})", filter(condition)),
        None => call,
    }
}

/// A condition as Pinot shows it behind an aggregate.
fn filter(condition: &Expr) -> String {
    match condition {
        Expr::Nested(inner) => filter(inner),
        Expr::BinaryOp { left, op, right } => {
            let sign = op.to_string().replace("<>", "!=");
            match op {
                BinaryOperator::And | BinaryOperator::Or => {
                    format!("({} {sign} {})", filter(left), filter(right))
                }
                _ => format!("{} {sign} {}", text(left), text(right)),
            }
        }
        Expr::UnaryOp {
            op: UnaryOperator::Not,
            expr,
        } => format!("(NOT {})", filter(expr)),
        Expr::InList {
            expr,
            list,
            negated,
        } => {
            let list: Vec<String> = list.iter().map(text).collect();
            let word = if *negated { "NOT IN" } else { "IN" };
            format!("{} {word} ({})", text(expr), list.join(","))
        }
        Expr::Between {
            expr,
            negated,
            low,
            high,
        } => {
            let range = format!("{} BETWEEN {} AND {}", text(expr), text(low), text(high));
            if *negated {
                format!("(NOT {range})")
            } else {
                range
            }
        }
        Expr::IsNull(inner) => format!("{} IS NULL", text(inner)),
        Expr::IsNotNull(inner) => format!("{} IS NOT NULL", text(inner)),
        other => format!("{} = 'true'", text(other)),
    }
}

#[cfg(test)]
mod tests {
    use datafusion::sql::sqlparser::dialect::GenericDialect;
    use datafusion::sql::sqlparser::parser::Parser;

    use super::*;

    /// What Pinot's own classes print: `FunctionContext`, `LiteralContext`, `FilterContext`, and
    /// `getResultColumnName` of its aggregates.
    #[test]
    fn expressions_are_named_as_pinot_prints_them() {
        for (sql, wanted) in [
            ("Delay/100", "divide(Delay,'100')"),
            ("t.z", "z"),
            ("'0.6'", "'0.6'"),
            ("0.60", "'0.6'"),
            ("-5", "'-5'"),
            ("-x", "negate(x)"),
            ("CAST(a AS LONG)", "cast(a,'LONG')"),
            ("DATE_TRUNC('DAY', ts)", "datetrunc('DAY',ts)"),
            ("a > 5", "greater_than(a,'5')"),
            ("a <> 'x'", "not_equals(a,'x')"),
            ("a IS NULL", "is_null(a)"),
            ("a NOT IN (1, 2)", "not_in(a,'1','2')"),
            ("a NOT BETWEEN 1 AND 2", "not(between(a,'1','2'))"),
            (
                "a = 1 AND b = 2 AND c",
                "and(equals(a,'1'),equals(b,'2'),c)",
            ),
            (
                "CASE WHEN a > 1 THEN 'x' WHEN b THEN 'y' END",
                "case(greater_than(a,'1'),'x',b,'y','null')",
            ),
            ("EXTRACT(year FROM ts)", "extract('YEAR',ts)"),
            ("regexpLike(a, 'x')", "regexp_like(a,'x')"),
            ("COUNT(x)", "count(*)"),
            ("SUM(x)/COUNT(*)", "divide(sum(x),count(*))"),
            ("COUNT(DISTINCT x)", "distinctcount(x)"),
            ("distinctCountHLL(x, 12)", "distinctcounthll(x)"),
            ("PERCENTILE(x, 95)", "percentile(x, 95.0)"),
            ("percentile95(x)", "percentile95(x)"),
            (
                "PERCENTILE_TDIGEST(x, 99.9, 200)",
                "percentiletdigest(x, 99.9, 200)",
            ),
            ("lastWithTime(x, ts, 'LONG')", "lastwithtime(x,ts,'LONG')"),
            (
                "SUM(x) FILTER (WHERE a > 1 AND b IN ('u','v'))",
                "sum(x) FILTER(WHERE (a > '1' AND b IN ('u','v')))",
            ),
        ] {
            let parsed = Parser::new(&GenericDialect {})
                .try_with_sql(sql)
                .unwrap()
                .parse_expr();
            assert_eq!(canonical(&parsed.unwrap()), wanted, "{sql}");
        }
    }
}
