//! Rows for times without any: Pinot's GAPFILL, and SAMPLE BY … FILL.
//!
//! The statement becomes one of operators that there are. Of the rows that it gives without filling
//! (`__base`), the series are taken, each is given a row for every time, and windows carry values
//! into the rows that were made. As in Pinot, a value that is carried is that of the last row of
//! its series, and what is not filled gets the default of its type.

use std::ops::ControlFlow;

use datafusion::common::DataFusionError;
use datafusion::sql::sqlparser::ast::{
    Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, Ident, ObjectNamePart, Query,
    Select, SelectItem, SetExpr, Statement, TableFactor, Value, VisitMut, VisitorMut,
};
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::parser::Parser;
use datafusion::sql::sqlparser::tokenizer::Tokenizer;
use functions::{granularity_of, time_in};
use schemas::Fault;

use super::syntax;
use super::times::Format;
use crate::to_fault;

/// What the parser is given for SAMPLE BY, see [`super::words`].
pub(super) const SAMPLED: &str = "sampled_by";
const GAPFILL: &str = "gapfill";
const BASE: &str = "__base";

/// More times than these are a mistake.
const TIMES_MAX: i64 = 10_000_000;

pub(super) fn fill(text: &str, statement: &mut Statement) -> Result<(), Fault> {
    let lower = text.to_lowercase();
    if !lower.contains(GAPFILL) && !lower.contains("sample") {
        return Ok(());
    }
    match VisitMut::visit(statement, &mut Fill) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(fault) => Err(*fault),
    }
}

struct Fill;

impl VisitorMut for Fill {
    type Break = Box<Fault>;

    fn post_visit_query(&mut self, query: &mut Query) -> ControlFlow<Box<Fault>> {
        match filled(query) {
            Ok(()) => ControlFlow::Continue(()),
            Err(fault) => ControlFlow::Break(Box::new(fault)),
        }
    }
}

/// How a column is filled.
#[derive(Clone, Debug, PartialEq)]
enum With {
    /// The default of its type.
    Default,
    Previous,
    Null,
    Linear,
    Constant(String),
}

/// A column of the statement.
#[derive(Debug)]
struct Column {
    name: String,
    role: Role,
}

#[derive(Debug, PartialEq)]
enum Role {
    Time,
    /// Tells the series.
    Key,
    Value(With),
}

/// Which times there shall be, in milliseconds.
#[derive(Debug)]
struct Times {
    format: Format,
    /// First, and behind the last; `None`: those that there are.
    range: Option<(i64, i64)>,
    step_ms: i64,
    /// Times are then told in steps of these.
    shown_ms: Option<i64>,
}

fn filled(query: &mut Query) -> Result<(), Fault> {
    let SetExpr::Select(select) = query.body.as_mut() else {
        return Ok(());
    };
    let Some(at) = select.projection.iter().position(is_filling) else {
        return Ok(());
    };
    let (function, alias) = taken(&select.projection[at])?;
    let (time, times, columns) = match name_of(&function) {
        Some(name) if name.eq_ignore_ascii_case(GAPFILL) => gapfill(&function, alias, select, at)?,
        _ => sampled(&function, alias, select, at)?,
    };
    for (item, column) in select.projection.iter_mut().zip(&columns) {
        let expr = match item {
            SelectItem::UnnamedExpr(expr) => expr.clone(),
            SelectItem::ExprWithAlias { expr, .. } => expr.clone(),
            _ => {
                return Err(syntax(
                    "a statement that fills gaps names its columns; write no *",
                ));
            }
        };
        let expr = if column.role == Role::Time {
            time.clone()
        } else {
            expr
        };
        *item = SelectItem::ExprWithAlias {
            expr,
            alias: Ident::with_quote('"', &column.name),
        };
    }
    let Some(times) = times else {
        return Ok(());
    };
    let mut base = super::standard::as_query(query.body.as_ref().clone());
    let mut made = parse(&statement_of(&columns, &times))?;
    let _ = VisitMut::visit(&mut made, &mut Replace(&mut base));
    let Query { body, order_by, .. } = made;
    *query.body = *body;
    if query.order_by.is_none() {
        query.order_by = order_by;
    }
    Ok(())
}

fn is_filling(item: &SelectItem) -> bool {
    let (SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. }) = item else {
        return false;
    };
    let Expr::Function(function) = expr else {
        return false;
    };
    let name = name_of(function);
    name.is_some_and(|name| name.eq_ignore_ascii_case(GAPFILL) || name == SAMPLED)
}

pub(super) fn name_of(function: &Function) -> Option<&str> {
    match function.name.0.as_slice() {
        [ObjectNamePart::Identifier(name)] => Some(&name.value),
        _ => None,
    }
}

fn taken(item: &SelectItem) -> Result<(Function, Option<String>), Fault> {
    match item {
        SelectItem::UnnamedExpr(Expr::Function(function)) => Ok((function.clone(), None)),
        SelectItem::ExprWithAlias {
            expr: Expr::Function(function),
            alias,
        } => Ok((function.clone(), Some(alias.value.clone()))),
        _ => Err(syntax("GAPFILL stands alone in the list of SELECT")),
    }
}

pub(super) fn arguments(function: &Function) -> Vec<&Expr> {
    let FunctionArguments::List(list) = &function.args else {
        return Vec::new();
    };
    let exprs = list.args.iter().filter_map(|argument| match argument {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => Some(expr),
        _ => None,
    });
    exprs.collect()
}

pub(super) fn literal(expr: &Expr) -> Option<String> {
    match expr {
        Expr::Value(value) => match &value.value {
            Value::SingleQuotedString(text) => Some(text.clone()),
            Value::Number(digits, _) => Some(digits.clone()),
            _ => None,
        },
        _ => None,
    }
}

/// What a column is called outside.
fn shown(expr: &Expr, at: usize) -> String {
    match expr {
        Expr::Identifier(name) => name.value.clone(),
        Expr::CompoundIdentifier(names) => names
            .last()
            .map_or_else(|| format!("__column_{at}"), |name| name.value.clone()),
        _ => format!("__column_{at}"),
    }
}

type Filling = (Expr, Option<Times>, Vec<Column>);

const USAGE: &str = "write GAPFILL(time, 'format', 'first', 'end', 'granularity', \
                     FILL(column, 'FILL_PREVIOUS_VALUE'), TIMESERIESON(column))";

/// GAPFILL(time, format, first, end, granularity [, shown granularity], FILL(…)…, TIMESERIESON(…)).
fn gapfill(
    function: &Function,
    alias: Option<String>,
    select: &Select,
    at: usize,
) -> Result<Filling, Fault> {
    let all = arguments(function);
    let [time, format, first, end, step, rest @ ..] = all.as_slice() else {
        return Err(syntax(&format!("GAPFILL needs more arguments; {USAGE}")));
    };
    let text = |expr: &Expr| {
        let wrong = || syntax(&format!("`{expr}` in GAPFILL must be a literal; {USAGE}"));
        literal(expr).ok_or_else(wrong)
    };
    let told = |time: Result<i64, DataFusionError>| time.map_err(|error| to_fault(&error, ""));
    let step_of = |expr: &Expr| told(granularity_of(&text(expr)?, "GAPFILL"));
    let format = text(format)?;
    let step_ms = step_of(step)?;
    let (shown_ms, rest) = match rest.split_first() {
        Some((shown, rest)) if literal(shown).is_some() => (Some(step_of(shown)?), rest),
        _ => (None, rest),
    };
    let Clauses { keys, fills } = clauses(rest)?;
    let mut columns = columns_of(select, at, alias, time)?;
    for column in &mut columns {
        let fill = fills.iter().find(|(name, _)| *name == column.name);
        column.role = match (&column.role, fill) {
            (Role::Time, _) => Role::Time,
            _ if keys.contains(&column.name) => Role::Key,
            (_, Some((_, with))) => Role::Value(with.clone()),
            _ => Role::Value(With::Default),
        };
    }
    if let Some(missing) = keys
        .iter()
        .find(|key| !columns.iter().any(|c| c.name == **key))
    {
        return Err(syntax(&format!(
            "TIMESERIESON names `{missing}`, which is not in the list of SELECT"
        )));
    }
    let time_of = |expr: &Expr| told(time_in(&text(expr)?, &format, "GAPFILL"));
    let (first, end) = (time_of(first)?, time_of(end)?);
    if end.saturating_sub(first) / step_ms > TIMES_MAX {
        return Err(syntax(&format!(
            "GAPFILL from {first} to {end} in steps of {step_ms} ms gives more than {TIMES_MAX} \
             times"
        )));
    }
    let times = Times {
        format: Format::of(&format),
        range: Some((first, end)),
        step_ms,
        shown_ms,
    };
    Ok(((*time).clone(), Some(times), columns))
}

/// What stands behind the granularity.
#[derive(Default)]
struct Clauses {
    keys: Vec<String>,
    fills: Vec<(String, With)>,
}

fn clauses(rest: &[&Expr]) -> Result<Clauses, Fault> {
    let mut clauses = Clauses::default();
    for clause in rest {
        let unknown = || syntax(&format!("GAPFILL does not know `{clause}`; {USAGE}"));
        let Expr::Function(function) = clause else {
            return Err(unknown());
        };
        let inner = arguments(function);
        let name = name_of(function).map(str::to_lowercase);
        match (name.as_deref(), inner.as_slice()) {
            (Some("timeserieson"), of) => {
                clauses.keys.extend(of.iter().map(|key| shown(key, 0)));
            }
            (Some("fill"), [column, with]) => {
                let with = match literal(with).unwrap_or_default().to_uppercase().as_str() {
                    "FILL_PREVIOUS_VALUE" => With::Previous,
                    "FILL_DEFAULT_VALUE" => With::Default,
                    _ => {
                        return Err(syntax(&format!(
                            "FILL takes 'FILL_PREVIOUS_VALUE' or 'FILL_DEFAULT_VALUE', not {with}"
                        )));
                    }
                };
                clauses.fills.push((shown(column, 0), with));
            }
            _ => return Err(unknown()),
        }
    }
    Ok(clauses)
}

fn columns_of(
    select: &Select,
    time_at: usize,
    alias: Option<String>,
    time: &Expr,
) -> Result<Vec<Column>, Fault> {
    let items = select.projection.iter().enumerate();
    let columns = items.map(|(at, item)| {
        let (name, role) = match item {
            _ if at == time_at => {
                let name = alias.clone().unwrap_or_else(|| shown(time, at));
                (name, Role::Time)
            }
            SelectItem::ExprWithAlias { alias, expr } => (alias.value.clone(), role_of(expr)),
            SelectItem::UnnamedExpr(expr) => (shown(expr, at), role_of(expr)),
            _ => {
                return Err(syntax(
                    "a statement that fills gaps names its columns; write no *",
                ));
            }
        };
        Ok(Column { name, role })
    });
    columns.collect()
}

/// Of a statement that does not say which columns tell the series: plain ones do.
fn role_of(expr: &Expr) -> Role {
    match expr {
        Expr::Identifier(_) | Expr::CompoundIdentifier(_) => Role::Key,
        _ => Role::Value(With::Null),
    }
}

/// SAMPLED_BY(time, 'interval', 'fill'), which is made of SAMPLE BY.
fn sampled(
    function: &Function,
    alias: Option<String>,
    select: &Select,
    at: usize,
) -> Result<Filling, Fault> {
    let all = arguments(function);
    let [time, step, fill] = all.as_slice() else {
        return Err(syntax(
            "SAMPLE BY takes an interval: SAMPLE BY 1h FILL(PREV)",
        ));
    };
    let (step, fill) = (
        literal(step).unwrap_or_default(),
        literal(fill).unwrap_or_default(),
    );
    let (interval, step_ms) = super::times::interval_of(&step)?;
    let mut columns = columns_of(select, at, alias, time)?;
    let with = match fill.to_uppercase().as_str() {
        "" | "NONE" => None,
        "NULL" => Some(With::Null),
        "PREV" => Some(With::Previous),
        "LINEAR" => Some(With::Linear),
        number if number.parse::<f64>().is_ok() => Some(With::Constant(number.to_owned())),
        other => {
            return Err(syntax(&format!(
                "FILL takes NONE, NULL, PREV, LINEAR or a number, not `{other}`"
            )));
        }
    };
    for column in &mut columns {
        if let (Role::Value(own), Some(with)) = (&mut column.role, &with) {
            *own = with.clone();
        }
    }
    let bucket = expression(&format!("date_bin(INTERVAL '{interval}', {time})"))?;
    let times = match (with, step_ms) {
        (None, _) => None,
        (Some(_), Some(step_ms)) => Some(Times {
            format: Format::Timestamp,
            range: None,
            step_ms,
            shown_ms: None,
        }),
        (Some(_), None) => {
            return Err(syntax(
                "months and years have no fixed length, so FILL cannot fill them; leave FILL out",
            ));
        }
    };
    Ok((bucket, times, columns))
}

pub(super) fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

pub(super) fn name(text: &str) -> String {
    format!("\"{}\"", text.replace('"', "\"\""))
}

/// The statement around `__base`.
fn statement_of(columns: &[Column], times: &Times) -> String {
    let time = columns.iter().find(|column| column.role == Role::Time);
    let time = time.map_or_else(String::new, |column| name(&column.name));
    let time_ms = times.format.to_millis(&time);
    let keys = columns.iter().filter(|column| column.role == Role::Key);
    let keys: Vec<String> = keys.map(|column| name(&column.name)).collect();
    let by = |more: &str| {
        let all = keys
            .iter()
            .map(String::as_str)
            .chain((!more.is_empty()).then_some(more));
        let all = all.collect::<Vec<_>>().join(", ");
        match all.is_empty() {
            true => String::new(),
            false => format!("PARTITION BY {all}"),
        }
    };
    let all: Vec<String> = columns.iter().map(|column| name(&column.name)).collect();
    let all = all.join(", ");
    let of_series = columns.iter().map(|column| match column.role {
        Role::Key => name(&column.name),
        _ => "NULL".to_owned(),
    });
    let of_series = of_series.collect::<Vec<_>>().join(", ");
    let distinct = match keys.is_empty() {
        true => format!("SELECT 1 AS \"__one\" FROM {BASE} HAVING count(*) > 0"),
        false => format!("SELECT DISTINCT {} FROM {BASE}", keys.join(", ")),
    };
    let step = times.step_ms;
    let (first, end) = match &times.range {
        Some((first, end)) => (first.to_string(), format!("{end} - 1")),
        None => {
            let of = |which: &str| format!("(SELECT {which}({time_ms}) FROM {BASE})");
            (of("min"), of("max"))
        }
    };
    let within = match &times.range {
        Some((first, end)) => format!("WHERE \"__t\" >= {first} AND \"__t\" < {end}"),
        None => String::new(),
    };
    let shown = columns.iter().map(|column| shown_value(column, times, &by));
    let shown = shown.collect::<Vec<_>>().join(", ");
    let frame = "ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW";
    format!(
        "SELECT {all} FROM (SELECT {shown}, \"__t\" FROM (\
           SELECT *, \
             count(\"__real\") OVER ({p} ORDER BY \"__t\" {frame}) AS \"__run\", \
             count(\"__real\") OVER ({p} ORDER BY \"__t\" DESC {frame}) AS \"__next\" \
           FROM (\
             SELECT *, max(\"__real\") OVER ({pt}) AS \"__has\" FROM (\
               SELECT {all}, {time_ms} AS \"__t\", 1 AS \"__real\" FROM {BASE} \
               UNION ALL \
               SELECT {of_series}, \"__b\" AS \"__t\", NULL AS \"__real\" \
               FROM ({distinct}) AS \"__s\" CROSS JOIN \
                 (SELECT unnest(generate_series({first}, {end}, {step})) AS \"__b\") AS \"__g\"\
             ) AS \"__u\"\
           ) AS \"__h\" WHERE \"__real\" IS NOT NULL OR \"__has\" IS NULL\
         ) AS \"__f\") AS \"__w\" {within} ORDER BY \"__t\"",
        p = by(""),
        pt = by("\"__t\""),
    )
}

fn shown_value(column: &Column, times: &Times, by: &dyn Fn(&str) -> String) -> String {
    let own = name(&column.name);
    let carried = |what: &str, run: &str, order: &str| {
        format!(
            "first_value({what}) OVER ({} ORDER BY \"__t\" {order})",
            by(run)
        )
    };
    let with = match &column.role {
        Role::Key => return own,
        Role::Time => {
            let at = match (times.shown_ms, &times.range) {
                (Some(shown), Some((first, _))) => {
                    format!("(\"__t\" - (\"__t\" - {first}) % {shown})")
                }
                _ => "\"__t\"".to_owned(),
            };
            return format!("{} AS {own}", times.format.of_millis(&at));
        }
        Role::Value(with) => with,
    };
    let made = match with {
        With::Null => return own,
        With::Default => format!("default_like({own})"),
        With::Constant(number) => number.clone(),
        With::Previous if times.range.is_none() => carried(&own, "\"__run\"", ""),
        With::Previous => {
            let before = carried(&own, "\"__run\"", "");
            format!("coalesce({before}, default_like({own}))")
        }
        With::Linear => {
            let (a, b) = (
                carried(&own, "\"__run\"", ""),
                carried(&own, "\"__next\"", "DESC"),
            );
            let (s, e) = (
                carried("\"__t\"", "\"__run\"", ""),
                carried("\"__t\"", "\"__next\"", "DESC"),
            );
            // Before the first row and behind the last there is nothing to be between.
            format!(
                "CASE WHEN \"__run\" > 0 AND \"__next\" > 0 THEN {a} + \
                 ({b} - {a}) * (CAST(\"__t\" - {s} AS DOUBLE) / CAST({e} - {s} AS DOUBLE)) END"
            )
        }
    };
    format!("CASE WHEN \"__real\" IS NULL THEN {made} ELSE {own} END AS {own}")
}

/// Made here, so nothing in it has a place in what was sent.
pub(super) fn parse(sql: &str) -> Result<Query, Fault> {
    let dialect = GenericDialect {};
    let made = Tokenizer::new(&dialect, sql)
        .tokenize()
        .map_err(|error| error.to_string())
        .and_then(|tokens| {
            let mut parser = Parser::new(&dialect).with_tokens(tokens);
            parser.parse_query().map_err(|error| error.to_string())
        });
    let wrong = |error| Fault::internal(format!("the statement that fills gaps: {error}"));
    made.map(|query| *query).map_err(wrong)
}

pub(super) fn expression(sql: &str) -> Result<Expr, Fault> {
    let query = parse(&format!("SELECT {sql}"))?;
    if let SetExpr::Select(select) = *query.body
        && let Some(SelectItem::UnnamedExpr(expr)) = select.projection.into_iter().next()
    {
        return Ok(expr);
    }
    Err(Fault::internal("no expression"))
}

/// Puts the statement without filling in the place of its name.
struct Replace<'a>(&'a mut Query);

impl VisitorMut for Replace<'_> {
    type Break = ();

    fn post_visit_table_factor(&mut self, table: &mut TableFactor) -> ControlFlow<()> {
        if let TableFactor::Table { name, .. } = table
            && name.to_string() == BASE
        {
            *table = TableFactor::Derived {
                lateral: false,
                subquery: Box::new(self.0.clone()),
                alias: None,
                sample: None,
            };
        }
        ControlFlow::Continue(())
    }
}
