//! Functions and operators of PostgreSQL by those that there are.

use datafusion::sql::sqlparser::ast::{
    BinaryOperator, CastKind, DataType, DateTimeField, Expr, Function, FunctionArg,
    FunctionArgExpr, FunctionArguments, Ident, ObjectName, ObjectNamePart, Value,
};
use schemas::Fault;

use super::called;
use super::gaps::{arguments, expression, literal, name_of, quoted};

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
        ("monthname", [time]) => format!("to_char({time}, '%B')"),
        ("dayname", [time]) => format!("to_char({time}, '%A')"),
        ("make_timestamp", [year, month, day, hour, minute, second]) => format!(
            "arrow_cast(CAST(arrow_cast(make_date({year}, {month}, {day}), 'Timestamp(Microsecond, \
             None)') AS BIGINT) + (({hour}) * 60 + ({minute})) * 60000000 + \
             CAST(round(({second}) * 1000000) AS BIGINT), 'Timestamp(Microsecond, None)')"
        ),
        ("regexp_matches", [_, _] | [_, _, _]) => format!("unnest({function})"),
        ("json_extract_path_text" | "jsonb_extract_path_text", [document, steps @ ..])
            if !steps.is_empty() =>
        {
            let steps = steps.iter().map(|step| step_of(step));
            let Some(path) = steps.collect::<Option<String>>() else {
                return Ok(None);
            };
            at_path(document, &path)
        }
        _ => return Ok(None),
    };
    expression(&sql).map(Some)
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
        Expr::Identifier(name)
            if name.quote_style.is_none() && name.value.eq_ignore_ascii_case("localtimestamp") =>
        {
            Ok(Some(called("now", Vec::new())))
        }
        Expr::BinaryOp { left, op, right } => match op {
            BinaryOperator::PGOverlap => {
                let lists = vec![left.as_ref().clone(), right.as_ref().clone()];
                Ok(Some(called("array_has_any", lists)))
            }
            BinaryOperator::Arrow | BinaryOperator::LongArrow => match step_of(right) {
                Some(step) => expression(&at_path(left, &step)).map(Some),
                None => Ok(None),
            },
            _ => Ok(None),
        },
        // Comparisons know how long intervals are.
        Expr::Between {
            expr,
            negated,
            low,
            high,
        } if [low, high]
            .iter()
            .any(|end| matches!(***end, Expr::Interval(_))) =>
        {
            let not = if *negated { "NOT " } else { "" };
            let within = format!("({not}(({expr}) >= {low} AND ({expr}) <= {high}))");
            expression(&within).map(Some)
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

/// A name or a place in a document. `None`: it is not known before the statement runs.
fn step_of(step: &Expr) -> Option<String> {
    let text = literal(step)?;
    let is_place = matches!(step, Expr::Value(value) if matches!(value.value, Value::Number(..)));
    Some(match is_place {
        true => format!("[{text}]"),
        false => format!("['{}']", text.replace('\'', "\\'")),
    })
}

fn at_path(document: &Expr, path: &str) -> String {
    let path = quoted(&format!("${path}"));
    // Nothing there is null.
    format!(
        "CASE WHEN jsonpathexists({document}, {path}) THEN jsonpathstring({document}, {path}) END"
    )
}
