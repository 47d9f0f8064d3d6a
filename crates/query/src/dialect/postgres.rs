//! Functions and operators of PostgreSQL by those that there are.

use datafusion::sql::sqlparser::ast::{
    BinaryOperator, CastKind, DataType, DateTimeField, Expr, Function, FunctionArg,
    FunctionArgExpr, FunctionArguments, Ident, ObjectName, ObjectNamePart, Value,
};
use schemas::Fault;

use super::gaps::{arguments, expression, literal, name_of, quoted};
use super::{called, documents};
use crate::catalog::DEFAULT_SCHEMA;
use crate::system::CATALOG;

/// `None`: the call is what it is.
pub(super) fn of_function(function: &Function) -> Result<Option<Expr>, Fault> {
    let Some(name) = name_of(function).map(str::to_lowercase) else {
        return Ok(None);
    };
    let sql = match (name.as_str(), arguments(function).as_slice()) {
        ("age", [time]) => format!("age(current_date(), {time})"),
        ("last_day", [time]) => format!(
            "CAST(date_trunc('month', {time}) + INTERVAL '1 month' - INTERVAL '1 day' AS DATE)"
        ),
        ("date_trunc" | "datetrunc", [unit, time]) => match years_of(unit) {
            Some(years) => begin_of_years(years, time),
            None => return Ok(None),
        },
        // A zone has a slash in its name, a unit has none.
        ("date_trunc", [unit, time, zone])
            if literal(zone).is_some_and(|zone| zone.contains('/') || zone == "UTC") =>
        {
            let utc = format!("arrow_cast({time}, 'Timestamp(Millisecond, None)')");
            let local = format!("at_time_zone(at_time_zone({utc}, 'UTC'), {zone})");
            format!("at_time_zone(date_trunc({unit}, {local}), {zone})")
        }
        ("array_upper", [list, dimension]) if literal(dimension).as_deref() == Some("1") => {
            format!("nullif(cardinality({list}), 0)")
        }
        ("monthname", [time]) => format!("to_char({time}, '%B')"),
        ("dayname", [time]) => format!("to_char({time}, '%A')"),
        ("make_timestamp", [year, month, day, hour, minute, second]) => format!(
            "arrow_cast(CAST(arrow_cast(make_date({year}, {month}, {day}), 'Timestamp(Microsecond, \
             None)') AS BIGINT) + (({hour}) * 60 + ({minute})) * 60000000 + \
             CAST(round(({second}) * 1000000) AS BIGINT), 'Timestamp(Microsecond, None)')"
        ),
        ("regexp_matches", [_, _] | [_, _, _]) => format!("unnest({function})"),
        ("to_char", [number, pattern])
            if literal(pattern).is_some_and(|text| functions::is_number_pattern(&text)) =>
        {
            format!("number_to_char({number}, {pattern})")
        }
        ("timezone", [zone, time]) => format!("at_time_zone({time}, {zone})"),
        ("clock_timestamp" | "statement_timestamp" | "transaction_timestamp", []) => {
            "now()".to_owned()
        }
        ("version", []) => quoted(concat!("Tannin ", env!("CARGO_PKG_VERSION"))),
        ("current_database" | "current_catalog", []) => quoted(CATALOG),
        ("current_schema", []) => quoted(DEFAULT_SCHEMA),
        ("quote_nullable", [value]) => format!("coalesce(quote_literal({value}), 'NULL')"),
        ("num_nulls", values @ [_, ..]) => counted(values, "IS NULL"),
        ("num_nonnulls", values @ [_, ..]) => counted(values, "IS NOT NULL"),
        (name, arguments) if name.starts_with("json") => {
            return documents::of_function(function, (name, arguments));
        }
        _ => return Ok(None),
    };
    expression(&sql).map(Some)
}

/// How many of them are as `wanted`.
fn counted(values: &[&Expr], wanted: &str) -> String {
    let counted = values
        .iter()
        .map(|value| format!("CAST(({value}) {wanted} AS INT)"));
    format!("({})", counted.collect::<Vec<_>>().join(" + "))
}

/// Of the units that the planner's own does not know.
fn years_of(unit: &Expr) -> Option<u16> {
    Some(match literal(unit)?.to_ascii_lowercase().as_str() {
        "decade" | "decades" => 10,
        "century" | "centuries" => 100,
        "millennium" | "millennia" | "millenniums" => 1_000,
        _ => return None,
    })
}

fn begin_of_years(years: u16, time: &Expr) -> String {
    // The first century begins with the year 1, the first decade with 0.
    let first = u8::from(years > 10);
    let year = format!("extract(year FROM {time}) - {first}");
    let begin = format!("CAST(floor(({year}) / {years}.0) * {years} + {first} AS INT)");
    // The day is made of an existing one, so that nothing gives nothing.
    format!("arrow_cast(make_date({begin}, 1, 1), 'Timestamp(Millisecond, None)')")
}

/// MODE() WITHIN GROUP (ORDER BY x) is an aggregate of x.
pub(super) fn ordered_mode(function: &mut Function) {
    let is_mode = name_of(function).is_some_and(|name| name.eq_ignore_ascii_case("mode"));
    if !is_mode || function.within_group.is_empty() || !arguments(function).is_empty() {
        return;
    }
    let by = function.within_group.remove(0);
    function.within_group.clear();
    function.name = ObjectName(vec![ObjectNamePart::Identifier(Ident::new(
        "most_frequent",
    ))]);
    if let FunctionArguments::List(list) = &mut function.args {
        list.args = vec![FunctionArg::Unnamed(FunctionArgExpr::Expr(by.expr))];
    }
}

/// `None`: the expression is taken as it is.
pub(super) fn of_expr(expr: &Expr) -> Result<Option<Expr>, Fault> {
    match expr {
        Expr::Extract { field, expr, .. } => extracted(field, expr),
        Expr::AtTimeZone {
            timestamp,
            time_zone,
        } => expression(&format!("at_time_zone({timestamp}, {time_zone})")).map(Some),
        Expr::Identifier(name) if name.quote_style.is_none() => Ok(of_word(&name.value)),
        // What an expression finds, or its first group.
        Expr::Substring {
            expr,
            substring_from: Some(from),
            substring_for: None,
            ..
        } if matches!(from.as_ref(), Expr::Value(value) if is_text(&value.value)) => {
            expression(&format!("array_element(regexp_match({expr}, {from}), 1)")).map(Some)
        }
        Expr::BinaryOp { left, op, right } => match op {
            BinaryOperator::PGOverlap => {
                let lists = vec![left.as_ref().clone(), right.as_ref().clone()];
                Ok(Some(called("array_has_any", lists)))
            }
            BinaryOperator::Arrow
            | BinaryOperator::LongArrow
            | BinaryOperator::HashArrow
            | BinaryOperator::HashLongArrow => documents::of_operator(left, op, right),
            _ => Ok(None),
        },
        // As drivers write a list: `= ANY('{a,b}')`.
        Expr::AnyOp { right, .. } | Expr::AllOp { right, .. } => {
            let Some(list) = literal(right).as_deref().and_then(list_of) else {
                return Ok(None);
            };
            let mut compared = expr.clone();
            if let Expr::AnyOp { right, .. } | Expr::AllOp { right, .. } = &mut compared {
                **right = expression(&list)?;
            }
            Ok(Some(compared))
        }
        Expr::Between { low, high, .. }
            if [low, high]
                .iter()
                .any(|end| matches!(***end, Expr::Interval(_))) =>
        {
            between(expr)
        }
        Expr::Cast {
            data_type: DataType::CharacterVarying(length) | DataType::CharVarying(length),
            ..
        } => {
            let mut cast = expr.clone();
            if let Expr::Cast { data_type, .. } = &mut cast {
                *data_type = DataType::Varchar(*length);
            }
            Ok(Some(cast))
        }
        // Documents are texts here.
        Expr::Cast {
            kind: CastKind::Cast | CastKind::DoubleColon,
            expr,
            data_type: DataType::JSON | DataType::JSONB,
            ..
        } => Ok(Some(Expr::Nested(expr.clone()))),
        _ => Ok(None),
    }
}

/// Comparisons know how long intervals are.
fn between(expr: &Expr) -> Result<Option<Expr>, Fault> {
    let Expr::Between {
        expr,
        negated,
        low,
        high,
    } = expr
    else {
        return Ok(None);
    };
    let not = if *negated { "NOT " } else { "" };
    let within = format!("({not}(({expr}) >= {low} AND ({expr}) <= {high}))");
    expression(&within).map(Some)
}

/// Of `{a,b}`, without quotes around what stands in it.
fn list_of(text: &str) -> Option<String> {
    let parts = text.trim().strip_prefix('{')?.strip_suffix('}')?;
    let is_plain = !parts.is_empty() && !parts.contains(['"', '{', '\\']);
    let parts = parts.split(',').map(|part| match part.trim() {
        number if number.parse::<i64>().is_ok() => number.to_owned(),
        text => quoted(text),
    });
    is_plain.then(|| format!("ARRAY[{}]", parts.collect::<Vec<_>>().join(", ")))
}

/// `None`: it is no word that stands for a value.
fn of_word(word: &str) -> Option<Expr> {
    let text = |text: &str| Expr::value(Value::SingleQuotedString(text.to_owned()));
    Some(match word.to_ascii_lowercase().as_str() {
        "localtimestamp" => called("now", Vec::new()),
        "current_catalog" => text(CATALOG),
        "current_schema" => text(DEFAULT_SCHEMA),
        _ => return None,
    })
}

const fn is_text(value: &Value) -> bool {
    matches!(value, Value::SingleQuotedString(_))
}

/// Parts of a time that are counted by years.
fn extracted(field: &DateTimeField, time: &Expr) -> Result<Option<Expr>, Fault> {
    let years = match field {
        DateTimeField::Decade => 10,
        DateTimeField::Century => 100,
        DateTimeField::Millennium | DateTimeField::Millenium => 1_000,
        _ => return Ok(None),
    };
    let year = format!("extract(year FROM {time})");
    // The first century ends with the year 100.
    let counted = match years {
        10 => format!("floor({year} / 10.0)"),
        years => format!("ceil({year} / {years}.0)"),
    };
    expression(&format!("CAST({counted} AS BIGINT)")).map(Some)
}
