//! Two front ends, one planner: what each dialect does to a statement before it is planned.
//!
//! Pinot's: `SET k=v;` before and `OPTION(k=v)` behind the statement, LIMIT 10 when there is none,
//! `EXPLAIN PLAN FOR`, names and types of columns as its engines give them. The standard dialect
//! takes the statement as it is. Both keep the case of names.
//!
//! Places in a statement ([`schemas::Span`]) always refer to the text as it was sent.

mod calls;
mod depth;
mod documents;
mod exact;
mod forms;
mod gaps;
mod import;
mod merged;
mod names;
pub(crate) mod natural;
mod options;
mod output;
mod patient;
mod pinot_calls;
mod postgres;
mod rewrite;
mod show;
mod stages;
mod standard;
mod text;
mod times;
mod tuples;
mod words;

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::sync::Arc;

use datafusion::sql::sqlparser::ast::{
    Expr, Function, FunctionArg, FunctionArgExpr, FunctionArgumentList, FunctionArguments, Ident,
    LimitClause, ObjectName, ObjectNamePart, SelectFlavor, SetExpr, Statement as SqlStatement,
    Value, visit_relations,
};
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::parser::{Parser, ParserError};
use datafusion::sql::sqlparser::tokenizer::Tokenizer;
use schemas::fault::pinot_code as code;
use schemas::proto::{Explain, NullMode, ScanOptions};
use schemas::{Fault, FaultKind, Span};

use crate::literals;
use crate::templates::Found;

use patient::Patient;

pub use import::{FileImport, file_import};
pub use options::Options;
pub use output::{Aggregate, End, OutputColumn, Shape};
pub(crate) use standard::is_own as is_own_join;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Dialect {
    Pinot,
    Standard,
}

/// Whose rules hold for types, names and limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Semantics {
    /// Pinot's single-stage engine: LIMIT 10, DOUBLE arithmetic, canonical names.
    SingleStage,
    /// Pinot's multi-stage engine: no LIMIT, types of SQL, `EXPR$0`.
    MultiStage,
    Standard,
}

/// A statement ready for the planner.
#[derive(Debug)]
pub struct Statement {
    /// The statement alone, without SET and OPTION.
    pub text: String,
    /// Where `text` begins in what was sent.
    pub starts_at: u32,
    pub semantics: Semantics,
    /// What the request asks for; a statement that only the multi-stage engine can answer follows
    /// the rules of that one.
    pub(crate) asked: Semantics,
    pub null_mode: NullMode,
    pub options: Options,
    /// Told how it is answered instead of the answer.
    pub explain: Explain,
    pub parsed: Arc<Parsed>,
    pub(crate) dialect: Dialect,
    pub(crate) default_limit: u64,
    /// `None`: it is planned as it is.
    pub(crate) shape: Option<literals::Shape>,
    /// Plans of its shape that may be used; `parsed` is then another of the shape.
    pub(crate) found: Option<Found>,
}

/// What the text of a statement says; the same for all that differ in parameters alone.
#[derive(Debug)]
pub struct Parsed {
    pub sql: SqlStatement,
    pub semantics: Semantics,
    /// For each item of the outermost SELECT list; empty when the planner's names are right.
    pub output: Vec<OutputColumn>,
    /// A null in the answer is one, also where nulls are defaults.
    pub shows_nulls: bool,
    /// A LIMIT that we added.
    pub limit_added: Option<u64>,
    /// Columns of which the single-stage engine is asked whether they are null.
    pub null_tests: Vec<String>,
    /// The `$` columns that it names.
    pub virtual_columns: Vec<&'static str>,
    /// Tables that it names and reads nothing of; they must be there.
    pub unread: Vec<ObjectName>,
}

impl Parsed {
    /// The tables that are named, as they are named.
    pub fn tables(&self) -> BTreeSet<String> {
        let mut names = BTreeSet::new();
        let _ = visit_relations(&self.sql, |name| {
            if let Some(ObjectNamePart::Identifier(last)) = name.0.last() {
                names.insert(last.value.clone());
            }
            ControlFlow::<()>::Continue(())
        });
        names
    }
}

impl Statement {
    /// The database of tables that are named without one.
    pub(crate) fn database(&self) -> Option<&str> {
        let named = self.options.0.get("database").map(String::as_str);
        named.filter(|name| !name.is_empty())
    }

    /// What servers are told.
    pub fn scan_options(&self) -> Result<ScanOptions, Fault> {
        Ok(ScanOptions {
            explain: self.explain.into(),
            ..self.options.of_scan()?
        })
    }

    /// The fault with its place in the text that was sent.
    pub(crate) fn place(&self, fault: Fault) -> Fault {
        with_code_of_engine(shifted(fault, self.starts_at), self.semantics)
    }

    /// What this very text says.
    pub(crate) fn sql(&self) -> Result<SqlStatement, Fault> {
        if self.found.is_none() {
            return Ok(self.parsed.sql.clone());
        }
        let limit = (self.explain == Explain::None).then_some(self.default_limit);
        parse_text(&self.text, self.dialect, self.asked, limit).map(|parsed| parsed.sql)
    }
}

/// Pinot's engines have other codes for two mistakes: a column that is not grouped by, which is a
/// matter of syntax for one, and a column that is not there, which has no code of its own in the
/// other.
fn with_code_of_engine(fault: Fault, semantics: Semantics) -> Fault {
    let is_not_grouped = fault.message.contains("must be in GROUP BY");
    match (semantics, fault.code) {
        (Semantics::SingleStage, code::QUERY_VALIDATION) if is_not_grouped => {
            fault.with_code(code::SQL_PARSING)
        }
        (Semantics::MultiStage, code::UNKNOWN_COLUMN) => fault.with_code(code::QUERY_VALIDATION),
        _ => fault,
    }
}

fn shifted(mut fault: Fault, by: u32) -> Fault {
    if let Some(span) = &mut fault.span {
        *span = Span {
            start: span.start + by,
            end: span.end + by,
        };
    }
    fault
}

pub fn parse(
    sent: &str,
    dialect: Dialect,
    options: Options,
    default_limit: u64,
) -> Result<Statement, Fault> {
    let unparsed = Unparsed::new(sent, dialect, options, default_limit)?;
    let parsed = unparsed.parse()?;
    Ok(unparsed.into_statement(Arc::new(parsed), None, None))
}

/// A statement of which the options are known and nothing else.
#[derive(Debug)]
pub(crate) struct Unparsed<'a> {
    pub(crate) text: &'a str,
    pub(crate) semantics: Semantics,
    pub(crate) null_mode: NullMode,
    pub(crate) options: Options,
    pub(crate) explain: Explain,
    pub(crate) default_limit: u64,
    starts_at: u32,
    dialect: Dialect,
}

impl<'a> Unparsed<'a> {
    pub(crate) fn new(
        sent: &'a str,
        dialect: Dialect,
        options: Options,
        default_limit: u64,
    ) -> Result<Self, Fault> {
        let (text, options) = take_options(sent, options)?;
        let (text, explain) = text::strip_explain(text);
        let semantics = match (dialect, options.flag("useMultistageEngine")) {
            (Dialect::Standard, _) => Semantics::Standard,
            (Dialect::Pinot, Some(true)) => Semantics::MultiStage,
            (Dialect::Pinot, _) => Semantics::SingleStage,
        };
        let null_mode = match (options.flag("enableNullHandling"), dialect) {
            (Some(true), _) | (None, Dialect::Standard) => NullMode::ThreeValued,
            _ => NullMode::Defaults,
        };
        Ok(Self {
            starts_at: (text.as_ptr() as usize - sent.as_ptr() as usize) as u32,
            text,
            semantics,
            null_mode,
            options,
            explain,
            default_limit,
            dialect,
        })
    }

    pub(crate) fn parse(&self) -> Result<Parsed, Fault> {
        let limit = (self.explain == Explain::None).then_some(self.default_limit);
        parse_text(self.text, self.dialect, self.semantics, limit)
            .map_err(|fault| shifted(fault, self.starts_at))
    }

    pub(crate) fn into_statement(
        self,
        parsed: Arc<Parsed>,
        shape: Option<literals::Shape>,
        found: Option<Found>,
    ) -> Statement {
        Statement {
            text: self.text.to_owned(),
            starts_at: self.starts_at,
            semantics: parsed.semantics,
            asked: self.semantics,
            null_mode: self.null_mode,
            options: self.options,
            explain: self.explain,
            parsed,
            dialect: self.dialect,
            default_limit: self.default_limit,
            shape,
            found,
        }
    }
}

/// `default_limit`: what is added where LIMIT is missing and Pinot would add one.
fn parse_text(
    text: &str,
    dialect: Dialect,
    asked: Semantics,
    default_limit: Option<u64>,
) -> Result<Parsed, Fault> {
    let mut sql = parse_one(text)?;
    let shown = show::as_query(&sql)?;
    if let Some(query) = &shown {
        sql = parse_one(query)?;
    }
    let semantics = match asked {
        Semantics::SingleStage if stages::needs_several(&sql) => Semantics::MultiStage,
        asked => asked,
    };
    let SqlStatement::Query(query) = &mut sql else {
        return Err(Fault::invalid(
            "only questions are answered here: SELECT, WITH, VALUES, TABLE, EXPLAIN, SHOW TABLES, \
             SHOW COLUMNS, DESCRIBE",
        ));
    };
    if let SetExpr::Select(select) = query.body.as_ref()
        && select.projection.is_empty()
        && select.flavor == SelectFlavor::Standard
    {
        return Err(syntax(
            "the list of SELECT is empty; name columns, or write *",
        ));
    }
    let virtual_columns = rewrite::virtual_columns_in(text);
    rewrite::name_virtual_columns(query, &virtual_columns);
    let lacks_limit = query.limit_clause.is_none() && query.fetch.is_none();
    let is_single_stage = semantics == Semantics::SingleStage;
    let limit_added = default_limit.filter(|_| is_single_stage && lacks_limit && shown.is_none());
    if let Some(limit) = limit_added {
        query.limit_clause = Some(limit_clause(limit));
    }
    let mut unread = Vec::new();
    let output = match semantics {
        _ if shown.is_some() => Vec::new(),
        Semantics::SingleStage => {
            if output::is_of_literals(query) {
                unread = stages::without_table(query);
            }
            output::single_stage(query)
        }
        Semantics::MultiStage => output::multi_stage(query),
        Semantics::Standard => Vec::new(),
    };
    let shows_nulls = semantics != Semantics::SingleStage || output::has_grouping_sets(query);
    let null_tests = match semantics {
        Semantics::SingleStage => rewrite::null_tests(query),
        _ => Vec::new(),
    };
    if semantics == Semantics::MultiStage {
        stages::with_ints(&mut sql);
    }
    rewrite::rewrite(&mut sql, dialect, &virtual_columns);
    gaps::fill(text, &mut sql)?;
    standard::to_known(&mut sql)?;
    Ok(Parsed {
        sql,
        semantics,
        output,
        shows_nulls,
        limit_added,
        null_tests,
        virtual_columns,
        unread,
    })
}

/// A request that only sets options, as some clients send it for a session.
pub fn is_settings_only(sent: &str) -> bool {
    let pieces = text::split_statements(sent);
    let is_setting = |piece: &&str| {
        let setting = text::strip_word(piece, "SET");
        setting.is_some_and(|setting| setting.contains('='))
    };
    !pieces.is_empty() && pieces.iter().all(is_setting)
}

/// The one statement in `sent`, and what SET and OPTION say.
fn take_options(sent: &str, mut options: Options) -> Result<(&str, Options), Fault> {
    let mut statement = "";
    for piece in text::split_statements(sent) {
        if let Some(setting) = text::strip_word(piece, "SET") {
            let (name, value) = setting
                .split_once('=')
                .ok_or_else(|| syntax("SET takes a name and a value: SET timeoutMs = 1000"))?;
            options.set(name, value);
        } else if statement.is_empty() {
            statement = piece;
        } else {
            return Err(syntax("one statement at a time"));
        }
    }
    if statement.is_empty() {
        return Err(syntax("the statement is empty"));
    }
    let (statement, clause) = text::split_option_clause(statement);
    let pairs = text::split_outside_quotes(clause, ',').into_iter();
    for pair in pairs.filter(|pair| !pair.is_empty()) {
        let (name, value) = pair
            .split_once('=')
            .ok_or_else(|| syntax("OPTION takes name=value pairs"))?;
        options.set(name, value);
    }
    Ok((statement, options))
}

fn syntax(message: &str) -> Fault {
    Fault::new(FaultKind::Invalid, code::SQL_PARSING, message)
}

fn parse_one(text: &str) -> Result<SqlStatement, Fault> {
    let not_sql = |error: ParserError| {
        let error = datafusion::common::DataFusionError::SQL(Box::new(error), None);
        crate::to_fault(&error, text)
    };
    let tokens = Tokenizer::new(&GenericDialect {}, text).tokenize_with_location();
    let tokens = tokens.map_err(|error| not_sql(error.into()))?;
    depth::check(&tokens)?;
    let patient = Patient::with(tokens.len());
    let mut parser = Parser::new(&patient).with_tokens_with_locations(words::known(tokens));
    let mut statements = parser.parse_statements().map_err(not_sql)?.into_iter();
    match (statements.next(), statements.next()) {
        (Some(mut statement), None) => {
            depth::balance(&mut statement);
            Ok(statement)
        }
        _ => Err(syntax("one statement at a time")),
    }
}

/// A call of a function.
pub(crate) fn called(name: &str, args: Vec<Expr>) -> Expr {
    let args = args.into_iter();
    let args = args.map(|arg| FunctionArg::Unnamed(FunctionArgExpr::Expr(arg)));
    Expr::Function(Function {
        name: Ident::new(name).into(),
        uses_odbc_syntax: false,
        parameters: FunctionArguments::None,
        args: FunctionArguments::List(FunctionArgumentList {
            duplicate_treatment: None,
            args: args.collect(),
            clauses: Vec::new(),
        }),
        filter: None,
        null_treatment: None,
        over: None,
        within_group: Vec::new(),
    })
}

fn number(value: u64) -> Expr {
    Expr::Value(Value::Number(value.to_string(), false).into())
}

fn limit_clause(limit: u64) -> LimitClause {
    LimitClause::LimitOffset {
        limit: Some(number(limit)),
        offset: None,
        limit_by: vec![],
    }
}

#[cfg(test)]
mod tests;
