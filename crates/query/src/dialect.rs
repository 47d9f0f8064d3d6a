//! Two front ends, one planner: what each dialect does to a statement before it is planned.
//!
//! Pinot's: `SET k=v;` before and `OPTION(k=v)` behind the statement, LIMIT 10 when there is none,
//! `EXPLAIN PLAN FOR`, names of unaliased columns as the single-stage engine gives them. The
//! standard dialect takes the statement as it is. Both keep the case of names.

use std::collections::BTreeMap;

use datafusion::sql::sqlparser::ast::{
    Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, LimitClause, Query,
    SelectItem, SetExpr, Statement as SqlStatement, Value, WildcardAdditionalOptions,
};
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::parser::Parser;
use schemas::fault::pinot_code as code;
use schemas::{Fault, FaultKind};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Dialect {
    Pinot,
    Standard,
}

/// Query options by lower-case name, as Pinot resolves them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options(pub BTreeMap<String, String>);

impl Options {
    pub fn set(&mut self, name: &str, value: &str) {
        let value = value.trim().trim_matches('\'').to_owned();
        self.0.insert(name.trim().to_lowercase(), value);
    }

    /// `k1=v1;k2=v2`, as clients send it; empty pieces are fine.
    pub fn set_all(&mut self, text: &str) {
        for piece in text.split(';') {
            if let Some((name, value)) = piece.split_once('=') {
                self.set(name, value);
            }
        }
    }

    pub fn flag(&self, name: &str) -> Option<bool> {
        self.0
            .get(&name.to_lowercase())
            .map(|value| value.eq_ignore_ascii_case("true"))
    }

    pub fn number(&self, name: &str) -> Option<u64> {
        self.0.get(&name.to_lowercase())?.parse().ok()
    }
}

/// How a column of the answer is shown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OutputColumn {
    /// Pinot's name of a column without an alias.
    pub name: Option<String>,
    /// SUM, MIN, MAX and AVG are DOUBLE in Pinot.
    pub as_double: bool,
}

/// A statement ready for the planner.
#[derive(Clone, Debug)]
pub struct Statement {
    pub sql: SqlStatement,
    /// The statement alone, without SET and OPTION.
    pub text: String,
    pub options: Options,
    /// EXPLAIN: plan it, do not run it.
    pub explain: bool,
    /// For each item of the outermost SELECT list; empty when the planner's names are right.
    pub output: Vec<OutputColumn>,
    /// A LIMIT that we added.
    pub limit_added: Option<u64>,
    /// It names a `$` column.
    pub names_virtual_columns: bool,
}

pub(crate) const VIRTUAL_MARK: char = '$';

pub fn parse(
    text: &str,
    dialect: Dialect,
    mut options: Options,
    default_limit: u64,
) -> Result<Statement, Fault> {
    let mut statement = "";
    for piece in split_statements(text) {
        if let Some(setting) = strip_word(piece, "SET") {
            let (name, value) = setting
                .split_once('=')
                .ok_or_else(|| syntax("SET takes a name and a value: SET timeoutMs = 1000"))?;
            options.set(name, value);
        } else if !piece.is_empty() {
            if !statement.is_empty() {
                return Err(syntax("one statement at a time"));
            }
            statement = piece;
        }
    }
    if statement.is_empty() {
        return Err(syntax("the statement is empty"));
    }
    let (statement, option_clause) = split_option_clause(statement);
    for pair in option_clause
        .split(',')
        .filter(|pair| !pair.trim().is_empty())
    {
        let (name, value) = pair
            .split_once('=')
            .ok_or_else(|| syntax("OPTION takes name=value pairs"))?;
        options.set(name, value);
    }
    let (statement, explain) = strip_explain(statement);
    let names_virtual_columns = statement.contains(VIRTUAL_MARK);
    let mut sql = parse_one(statement)?;
    let mut output = Vec::new();
    let mut limit_added = None;
    let SqlStatement::Query(query) = &mut sql else {
        return Err(Fault::new(
            FaultKind::Invalid,
            code::QUERY_VALIDATION,
            "only queries are answered here: SELECT, WITH, VALUES, EXPLAIN",
        ));
    };
    if dialect == Dialect::Pinot {
        output = output_columns(query);
        if query.limit_clause.is_none() && query.fetch.is_none() {
            query.limit_clause = Some(limit_clause(default_limit));
            limit_added = Some(default_limit);
        }
    }
    if names_virtual_columns {
        hide_virtual_columns(query);
    }
    let text = statement.to_owned();
    Ok(Statement {
        sql,
        text,
        options,
        explain,
        output,
        limit_added,
        names_virtual_columns,
    })
}

fn syntax(message: &str) -> Fault {
    Fault::new(FaultKind::Invalid, code::SQL_PARSING, message)
}

fn parse_one(text: &str) -> Result<SqlStatement, Fault> {
    let parsed = Parser::parse_sql(&GenericDialect {}, text).map_err(|error| {
        let error = datafusion::common::DataFusionError::SQL(Box::new(error), None);
        crate::to_fault(&error, text)
    })?;
    let mut statements = parsed.into_iter();
    match (statements.next(), statements.next()) {
        (Some(statement), None) => Ok(statement),
        _ => Err(syntax("one statement at a time")),
    }
}

fn limit_clause(limit: u64) -> LimitClause {
    let value = Value::Number(limit.to_string(), false).into();
    LimitClause::LimitOffset {
        limit: Some(Expr::Value(value)),
        offset: None,
        limit_by: vec![],
    }
}

/// Pieces between semicolons that stand outside of quotes and comments.
fn split_statements(text: &str) -> Vec<&str> {
    let mut pieces = Vec::new();
    let mut start = 0;
    for (at, _) in outside_quotes(text).filter(|(_, c)| *c == ';') {
        pieces.push(text[start..at].trim());
        start = at + 1;
    }
    pieces.push(text[start..].trim());
    pieces
}

/// Characters outside of 'text', "names", `names`, -- and /* comments */.
fn outside_quotes(text: &str) -> impl Iterator<Item = (usize, char)> {
    let mut quote: Option<char> = None;
    let mut comment: Option<&'static str> = None;
    text.char_indices().filter(move |(at, c)| {
        let rest = &text[*at..];
        if let Some(end) = comment {
            if rest.starts_with(end) {
                comment = None;
            }
            return false;
        }
        if let Some(open) = quote {
            if *c == open {
                quote = None;
            }
            return false;
        }
        if rest.starts_with("--") {
            comment = Some("\n");
            return false;
        }
        if rest.starts_with("/*") {
            comment = Some("*/");
            return false;
        }
        if matches!(c, '\'' | '"' | '`') {
            quote = Some(*c);
            return false;
        }
        true
    })
}

/// What follows `word` at the start, in any case.
fn strip_word<'a>(text: &'a str, word: &str) -> Option<&'a str> {
    let head = text.get(..word.len())?;
    let rest = &text[word.len()..];
    (head.eq_ignore_ascii_case(word) && rest.starts_with(char::is_whitespace)).then(|| rest.trim())
}

fn strip_explain(text: &str) -> (&str, bool) {
    let Some(rest) = strip_word(text, "EXPLAIN") else {
        return (text, false);
    };
    let mut rest = rest;
    for word in ["IMPLEMENTATION", "PLAN", "WITHOUT", "IMPLEMENTATION", "FOR"] {
        rest = strip_word(rest, word).unwrap_or(rest);
    }
    (rest, true)
}

/// `… OPTION(a=b, c=d)` at the end.
fn split_option_clause(text: &str) -> (&str, &str) {
    let Some(body) = text.strip_suffix(')') else {
        return (text, "");
    };
    let Some((open, _)) = outside_quotes(body).filter(|(_, c)| *c == '(').last() else {
        return (text, "");
    };
    let head = body[..open].trim_end();
    match head
        .len()
        .checked_sub("OPTION".len())
        .and_then(|at| Some((head.get(at..)?, at)))
    {
        Some((word, at)) if word.eq_ignore_ascii_case("OPTION") => {
            (head[..at].trim_end(), &body[open + 1..])
        }
        _ => (text, ""),
    }
}

/// `SELECT *` never shows virtual columns, also when the statement names one elsewhere.
fn hide_virtual_columns(query: &mut Query) {
    let SetExpr::Select(select) = query.body.as_mut() else {
        return;
    };
    let plain = select.from.iter().all(|from| {
        let is_table = |factor: &datafusion::sql::sqlparser::ast::TableFactor| {
            matches!(
                factor,
                datafusion::sql::sqlparser::ast::TableFactor::Table { .. }
            )
        };
        is_table(&from.relation) && from.joins.is_empty()
    });
    if !plain || query.with.is_some() {
        return;
    }
    let hidden: Vec<_> = schemas::arrow::VIRTUAL_COLUMNS
        .iter()
        .map(|(name, _)| datafusion::sql::sqlparser::ast::Ident::with_quote('"', *name).into())
        .collect();
    for item in &mut select.projection {
        if let SelectItem::Wildcard(options) | SelectItem::QualifiedWildcard(_, options) = item
            && options.opt_exclude.is_none()
        {
            use datafusion::sql::sqlparser::ast::ExcludeSelectItem;
            *options = WildcardAdditionalOptions {
                opt_exclude: Some(ExcludeSelectItem::Multiple(hidden.clone())),
                ..options.clone()
            };
        }
    }
}

/// Names and types that Pinot's single-stage engine gives the items of a plain SELECT.
fn output_columns(query: &Query) -> Vec<OutputColumn> {
    let SetExpr::Select(select) = query.body.as_ref() else {
        return Vec::new();
    };
    let wildcard = |item: &SelectItem| {
        matches!(
            item,
            SelectItem::Wildcard(_) | SelectItem::QualifiedWildcard(_, _)
        )
    };
    if select.projection.iter().any(wildcard) {
        return Vec::new();
    }
    let columns = select.projection.iter().map(|item| match item {
        SelectItem::UnnamedExpr(expr) => OutputColumn {
            name: Some(canonical(expr)),
            as_double: is_double_aggregate(expr),
        },
        SelectItem::ExprWithAlias { expr, .. } => OutputColumn {
            name: None,
            as_double: is_double_aggregate(expr),
        },
        _ => OutputColumn::default(),
    });
    columns.collect()
}

fn is_double_aggregate(expr: &Expr) -> bool {
    let Expr::Function(function) = expr else {
        return false;
    };
    let name = function.name.to_string().to_lowercase();
    function.over.is_none() && ["sum", "min", "max", "avg"].contains(&name.as_str())
}

/// Pinot's canonical text: `sum(delay)`, `count(*)`, `distinctcount(x)`.
fn canonical(expr: &Expr) -> String {
    match expr {
        Expr::Identifier(ident) => ident.value.clone(),
        Expr::CompoundIdentifier(parts) => parts
            .last()
            .map(|ident| ident.value.clone())
            .unwrap_or_default(),
        Expr::Nested(inner) => canonical(inner),
        Expr::Function(function) => canonical_call(function),
        Expr::Value(value) => match &value.value {
            Value::SingleQuotedString(text) => format!("'{text}'"),
            other => format!("'{other}'"),
        },
        Expr::BinaryOp { left, op, right } => {
            let name = match op.to_string().as_str() {
                "+" => "plus".to_owned(),
                "-" => "minus".to_owned(),
                "*" => "times".to_owned(),
                "/" => "divide".to_owned(),
                other => other.to_lowercase(),
            };
            format!("{name}({},{})", canonical(left), canonical(right))
        }
        Expr::Cast {
            expr, data_type, ..
        } => {
            format!(
                "cast({},'{}')",
                canonical(expr),
                data_type.to_string().to_uppercase()
            )
        }
        other => other.to_string().to_lowercase(),
    }
}

fn canonical_call(function: &Function) -> String {
    let name = function.name.to_string().to_lowercase();
    let FunctionArguments::List(list) = &function.args else {
        return format!("{name}()");
    };
    if name == "count" {
        return match (list.duplicate_treatment.is_some(), list.args.first()) {
            (true, Some(argument)) => format!("distinctcount({})", canonical_argument(argument)),
            _ => "count(*)".to_owned(),
        };
    }
    let arguments: Vec<String> = list.args.iter().map(canonical_argument).collect();
    format!("{name}({})", arguments.join(","))
}

fn canonical_argument(argument: &FunctionArg) -> String {
    match argument {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => canonical(expr),
        FunctionArg::Unnamed(FunctionArgExpr::Wildcard) => "*".to_owned(),
        other => other.to_string().to_lowercase(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pinot(text: &str) -> Statement {
        parse(text, Dialect::Pinot, Options::default(), 10).unwrap()
    }

    #[test]
    fn settings_before_and_options_behind() {
        let statement = pinot(
            "SET timeoutMs = 100; SET a='x;y';\nSELECT ';' FROM t -- it; ends\n \
             OPTION(useMultistageEngine=true, b=2)",
        );
        assert_eq!(statement.options.number("TIMEOUTMS"), Some(100));
        assert_eq!(statement.options.0["a"], "x;y");
        assert_eq!(statement.options.flag("usemultistageengine"), Some(true));
        assert!(statement.text.starts_with("SELECT ';' FROM t"));
    }

    #[test]
    fn a_missing_limit_is_added_and_told() {
        assert_eq!(pinot("SELECT a FROM t").limit_added, Some(10));
        assert_eq!(pinot("SELECT a FROM t LIMIT 5, 7").limit_added, None);
        let standard = parse("SELECT a FROM t", Dialect::Standard, Options::default(), 10);
        assert_eq!(standard.unwrap().limit_added, None);
    }

    #[test]
    fn columns_are_named_as_pinot_names_them() {
        let names = |sql: &str| -> Vec<String> {
            pinot(sql)
                .output
                .into_iter()
                .map(|column| column.name.unwrap_or_default())
                .collect()
        };
        assert_eq!(
            names("SELECT COUNT(x), Sum(Delay), COUNT(DISTINCT y), Delay/100, t.z, '0.6' FROM t"),
            [
                "count(*)",
                "sum(Delay)",
                "distinctcount(y)",
                "divide(Delay,'100')",
                "z",
                "'0.6'"
            ]
        );
    }

    #[test]
    fn explain_in_its_forms() {
        for sql in [
            "EXPLAIN PLAN FOR SELECT 1",
            "explain select 1",
            "EXPLAIN PLAN WITHOUT IMPLEMENTATION FOR SELECT 1",
        ] {
            assert!(pinot(sql).explain, "{sql}");
        }
    }

    #[test]
    fn what_is_no_query_is_refused() {
        let fault = parse("DROP TABLE t", Dialect::Standard, Options::default(), 10).unwrap_err();
        assert_eq!(fault.code, code::QUERY_VALIDATION);
        let fault = parse("POTATO", Dialect::Pinot, Options::default(), 10).unwrap_err();
        assert_eq!(fault.code, code::SQL_PARSING);
        assert!(fault.span.is_some(), "{fault:?}");
    }
}
