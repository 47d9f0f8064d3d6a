//! Calls that are other expressions: TIME_BUCKET, LOOKUP, PERCENTILE_DISC.

use datafusion::sql::sqlparser::ast::{Expr, Function};
use schemas::Fault;

use super::gaps::{arguments, expression, literal, name, name_of, quoted};
use super::{postgres, syntax};

/// Where buckets begin, as in TimescaleDB: on a Monday, or with a year.
const ORIGIN: &str = "2000-01-03";
const ORIGIN_OF_MONTHS: &str = "2000-01-01";

/// `None`: the call is what it is.
pub(super) fn meant(function: &Function) -> Result<Option<Expr>, Fault> {
    let Some(called) = name_of(function) else {
        return Ok(None);
    };
    if called.eq_ignore_ascii_case("time_bucket") {
        return time_bucket(&arguments(function)).map(Some);
    }
    if called.eq_ignore_ascii_case("lookup") {
        return lookup(&arguments(function)).map(Some);
    }
    if called.eq_ignore_ascii_case("percentile_disc") && !function.within_group.is_empty() {
        return percentile_disc(function).map(Some);
    }
    postgres::of_function(function)
}

/// PERCENTILE_DISC(p) WITHIN GROUP (ORDER BY x) is the first value with so many up to it.
fn percentile_disc(function: &Function) -> Result<Expr, Fault> {
    let (arguments, order) = (arguments(function), &function.within_group);
    let ([percent], [by], None) = (arguments.as_slice(), order.as_slice(), &function.over) else {
        return Err(syntax(
            "write PERCENTILE_DISC(0.9) WITHIN GROUP (ORDER BY x)",
        ));
    };
    let value = &by.expr;
    let wanted = match &function.filter {
        Some(condition) => format!("({condition}) AND {value} IS NOT NULL"),
        None => format!("{value} IS NOT NULL"),
    };
    expression(&format!(
        "array_element(array_agg({value} ORDER BY {by}) FILTER (WHERE {wanted}), greatest(1, \
         CAST(ceil(({percent}) * count({value}) FILTER (WHERE {wanted})) AS BIGINT)))"
    ))
}

/// TIME_BUCKET(interval, time [, origin]) is DATE_BIN.
fn time_bucket(arguments: &[&Expr]) -> Result<Expr, Fault> {
    let (interval, time, origin) = match arguments {
        [interval, time] => (interval, time, None),
        [interval, time, origin] => (interval, time, Some(origin)),
        _ => {
            return Err(syntax(
                "write TIME_BUCKET('5 minutes', time), or with an origin behind it",
            ));
        }
    };
    let interval = match literal(interval) {
        Some(text) => format!("INTERVAL {}", quoted(&text)),
        None => interval.to_string(),
    };
    let lower = interval.to_lowercase();
    let of_months = ["month", "year", "quarter"]
        .iter()
        .any(|unit| lower.contains(unit));
    let origin = match (origin, of_months) {
        (Some(origin), _) => origin.to_string(),
        (None, true) => format!("TIMESTAMP '{ORIGIN_OF_MONTHS}'"),
        (None, false) => format!("TIMESTAMP '{ORIGIN}'"),
    };
    expression(&format!("date_bin({interval}, {time}, {origin})"))
}

const USAGE: &str = "write LOOKUP('dimension table', 'column', 'key', value of the key, …)";

/// LOOKUP('table', 'column', 'key', value, …): the column of the row with that key, else null.
fn lookup(arguments: &[&Expr]) -> Result<Expr, Fault> {
    let [table, column, keys @ ..] = arguments else {
        return Err(syntax(USAGE));
    };
    let text = |expr: &Expr| literal(expr).ok_or_else(|| syntax(USAGE));
    if keys.is_empty() || keys.len() % 2 == 1 {
        return Err(syntax(USAGE));
    }
    let (mut columns, mut conditions) = (Vec::new(), Vec::new());
    for (at, key) in keys.chunks(2).enumerate() {
        // The dimension's own names must not hide those of the row.
        columns.push(format!("{} AS \"__key_{at}\"", name(&text(key[0])?)));
        conditions.push(format!("\"__key_{at}\" = {}", key[1]));
    }
    let table = text(table)?
        .split('.')
        .map(name)
        .collect::<Vec<_>>()
        .join(".");
    // A key has one row; the planner wants to be told.
    expression(&format!(
        "(SELECT max(\"__value\") FROM (SELECT {} AS \"__value\", {} FROM {table}) AS \"__d\" \
         WHERE {})",
        name(&text(column)?),
        columns.join(", "),
        conditions.join(" AND ")
    ))
}
