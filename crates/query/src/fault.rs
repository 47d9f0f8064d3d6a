//! From DataFusion's errors to ours: Pinot's code, a place in the statement, the nearest name.
//!
//! A message holds no place of its own: the span does, so that each door can show it its way.

use datafusion::common::{Column, DataFusionError, Location, SchemaError, TableReference};
use schemas::fault::pinot_code as code;
use schemas::{Fault, FaultKind, Span};

/// A fault on its way through DataFusion.
pub(crate) fn from_fault(fault: Fault) -> DataFusionError {
    DataFusionError::External(Box::new(fault))
}

/// `what` did not happen before the query's deadline.
pub fn timed_out(what: &str, timeout_ms: u64) -> Fault {
    Fault::timeout(format!(
        "{what} within {timeout_ms} ms, the limit by `timeoutMs` or else by \
         `broker.query_timeout_ms`; raise it or ask for less"
    ))
}

/// `sql` is the statement as it was given to the parser.
pub fn to_fault(error: &DataFusionError, sql: &str) -> Fault {
    let mut fault = told(error, sql);
    if fault.span.is_none() && fault.kind == FaultKind::Invalid {
        fault.span = place_of_message(&fault.message, sql);
    }
    fault
}

fn told(error: &DataFusionError, sql: &str) -> Fault {
    if let Some(message) = too_large_a_pattern(&error.to_string()) {
        return Fault::new(FaultKind::Invalid, code::QUERY_EXECUTION, message);
    }
    let place = place_of_diagnostic(error, sql);
    match root_of(error) {
        DataFusionError::External(inner) => match inner.downcast_ref::<Fault>() {
            Some(fault) => fault.clone(),
            None => Fault::new(
                FaultKind::Internal,
                code::QUERY_EXECUTION,
                inner.to_string(),
            ),
        },
        DataFusionError::SQL(parser, _) => syntax_fault(&parser.to_string(), sql),
        DataFusionError::SchemaError(schema, _) => schema_fault(schema, sql, place),
        DataFusionError::ResourcesExhausted(message) => {
            let message = format!("the query needs more memory than it may have: {message}");
            Fault::new(FaultKind::Overloaded, code::SERVER_RESOURCE_LIMIT, message)
        }
        DataFusionError::Plan(message) => plan_fault(message, sql, place),
        DataFusionError::NotImplemented(message) => {
            let message = format!("not supported: {}", without_trees(message));
            Fault::new(FaultKind::Invalid, code::QUERY_VALIDATION, message)
        }
        DataFusionError::Execution(message) => {
            Fault::new(FaultKind::Invalid, code::QUERY_EXECUTION, message.clone())
        }
        DataFusionError::ArrowError(arrow, _) => {
            Fault::new(FaultKind::Invalid, code::QUERY_EXECUTION, arrow.to_string())
        }
        DataFusionError::Internal(message) if is_of_types(message) => {
            let message = format!("types that do not go together: {}", first_line(message));
            Fault::new(FaultKind::Invalid, code::QUERY_VALIDATION, message)
        }
        other => Fault::new(FaultKind::Internal, code::INTERNAL, other.strip_backtrace()),
    }
}

/// What the planner calls a bug of its own, and is one of the statement.
fn is_of_types(message: &str) -> bool {
    message.starts_with("Failed to coerce types")
        || message.contains("failed to match any signature")
}

fn first_line(message: &str) -> &str {
    message.lines().next().unwrap_or_default()
}

/// Planners put whole syntax trees into their messages; what kind of tree it is says enough.
fn without_trees(message: &str) -> String {
    let is_tree = ["Span(", "Field {", "span: ", "quote_style"]
        .iter()
        .any(|part| message.contains(part));
    let said = match message.find(['{', '(']).filter(|_| is_tree) {
        Some(at) => message[..at].trim_end(),
        None => message,
    };
    said.replace("Unsupported ast node", "the clause").replace(
        "Physical plan does not support logical expression OuterReferenceColumn",
        "a subquery that depends on the rows around it in this way",
    )
}

/// Regular expressions are matched in time that grows with the text alone; what they are compiled
/// to has a limit, which is the library's.
fn too_large_a_pattern(message: &str) -> Option<String> {
    let as_text = message.split_once("exceeds size limit of ");
    let (_, limit) = as_text.or_else(|| message.split_once("CompiledTooBig("))?;
    let digits = limit.find(|c: char| !c.is_ascii_digit())?;
    let limit = &limit[..digits];
    Some(format!(
        "a regular expression is too large: compiled it would take more than {limit} bytes; \
         repeat less, or split it"
    ))
}

fn root_of(error: &DataFusionError) -> &DataFusionError {
    match error {
        DataFusionError::Context(_, inner) | DataFusionError::Diagnostic(_, inner) => {
            root_of(inner)
        }
        DataFusionError::Shared(inner) => root_of(inner),
        DataFusionError::Collection(all) => all.first().map_or(error, root_of),
        DataFusionError::External(inner) => match inner.downcast_ref::<DataFusionError>() {
            Some(inner) => root_of(inner),
            None => error,
        },
        _ => error,
    }
}

fn schema_fault(error: &SchemaError, sql: &str, place: Option<Span>) -> Fault {
    let SchemaError::FieldNotFound {
        field,
        valid_fields,
    } = error
    else {
        let message = error.to_string();
        let mut fault = Fault::new(FaultKind::Invalid, code::QUERY_VALIDATION, message);
        fault.span = place;
        return fault;
    };
    let (message, word) = match &field.relation {
        Some(relation) if !has_relation(valid_fields, relation) => {
            let known = valid_fields.iter().filter_map(|c| c.relation.as_ref());
            let known = known.map(TableReference::table);
            let word = relation.table();
            (missing("table", word, known), word)
        }
        _ => {
            let known = valid_fields.iter().map(|column| column.name.as_str());
            (missing("column", &field.name, known), field.name.as_str())
        }
    };
    let mut fault = Fault::new(FaultKind::Invalid, code::UNKNOWN_COLUMN, message);
    // Of `a.x` only the part that is not known; the same word may stand in a text before.
    fault.span = match place {
        Some(whole) => place_of_word_in(word, sql, whole).or(Some(whole)),
        None => place_of_word(word, sql),
    };
    fault
}

fn has_relation(columns: &[Column], relation: &TableReference) -> bool {
    let mut known = columns.iter().filter_map(|c| c.relation.as_ref());
    known.any(|known| known.table() == relation.table())
}

fn missing<'a>(what: &str, name: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    let hint = match nearest(name, known) {
        Some(nearest) => format!("; did you mean `{nearest}`?"),
        None => String::new(),
    };
    format!("there is no {what} `{name}`{hint}")
}

/// Names less alike than this are no hint.
const LIKENESS_MIN: f64 = 0.7;

pub(crate) fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let name = name.to_lowercase();
    let likeness = |known: &str| strsim::jaro_winkler(&name, &known.to_lowercase());
    let alike = known
        .into_iter()
        .map(|known| (likeness(known), known))
        .filter(|(likeness, _)| *likeness > LIKENESS_MIN);
    alike
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, known)| known)
}

/// Functions that are called with OVER alone.
const OF_WINDOWS: [&str; 9] = [
    "row_number",
    "rank",
    "dense_rank",
    "percent_rank",
    "cume_dist",
    "ntile",
    "lag",
    "lead",
    "nth_value",
];

const NOT_GROUPED: &str = "must be in GROUP BY";

fn plan_fault(message: &str, sql: &str, place: Option<Span>) -> Fault {
    // What is wrong with types is told as a bug within a mistake.
    let message = message.split("This issue was likely caused by").next();
    let message = message
        .unwrap_or_default()
        .trim_end_matches(['.', '\n', ' ']);
    let message = message.trim_start_matches("Internal error: ");
    // `Invalid function 'foo'.\nDid you mean 'floor'?`
    let mut names = message.split('\'').skip(1).step_by(2);
    let (message, place) = match names.next() {
        Some(name) if message.starts_with("Invalid function") => {
            let message = match OF_WINDOWS.contains(&name.to_lowercase().as_str()) {
                true => format!("`{name}` is computed over a window; write {name}(…) OVER (…)"),
                false => functions::later(name)
                    .unwrap_or_else(|| missing("function", name, names.next())),
            };
            (message, place.or_else(|| place_of_word(name, sql)))
        }
        _ if message.starts_with("Column in ") && message.contains(NOT_GROUPED) => {
            let column = message.split('"').nth(1).unwrap_or_default();
            let said = format!("column `{column}` {NOT_GROUPED} or an aggregate function");
            (said, place)
        }
        _ => (message.replace('\n', " "), place),
    };
    let mut fault = Fault::new(FaultKind::Invalid, code::QUERY_VALIDATION, message);
    fault.span = place;
    fault
}

/// Of what a message names: the end of the statement, a text in it, or a function.
fn place_of_message(message: &str, sql: &str) -> Option<Span> {
    let span = |start: usize, length: usize| Span {
        start: start as u32,
        end: (start + length) as u32,
    };
    if message.ends_with("found: EOF") {
        return Some(span(sql.trim_end().len(), 0));
    }
    let named = message
        .split('\'')
        .nth(1)
        .filter(|named| !named.is_empty())?;
    let text = format!("'{named}'");
    match sql.find(&text) {
        Some(at) => Some(span(at, text.len())),
        None if message.contains("unction") || message.contains(CALLED) => {
            place_of_word(named, sql)
        }
        None => None,
    }
}

/// `'sum' does not support zero arguments.`
const CALLED: &str = "does not support zero arguments";

/// Where `word` stands in the statement, as a whole word.
pub(crate) fn place_of_word(word: &str, sql: &str) -> Option<Span> {
    let part_of_word = |c: char| c.is_alphanumeric() || c == '_';
    let lower = sql.to_lowercase();
    let word = word.to_lowercase();
    if lower.len() != sql.len() || word.is_empty() {
        return None;
    }
    lower.match_indices(&word).find_map(|(at, _)| {
        let end = at + word.len();
        let before = lower[..at].chars().next_back().is_some_and(part_of_word);
        let after = lower[end..].chars().next().is_some_and(part_of_word);
        (!before && !after).then_some(Span {
            start: at as u32,
            end: end as u32,
        })
    })
}

fn place_of_word_in(word: &str, sql: &str, within: Span) -> Option<Span> {
    let part = sql.get(within.start as usize..within.end as usize)?;
    let found = place_of_word(word, part)?;
    Some(Span {
        start: within.start + found.start,
        end: within.start + found.end,
    })
}

/// The planner's own word about the place.
fn place_of_diagnostic(error: &DataFusionError, sql: &str) -> Option<Span> {
    let errors = std::iter::successors(Some(error), |error| match error {
        DataFusionError::Collection(all) => all.first(),
        DataFusionError::Context(_, inner) => Some(inner),
        DataFusionError::Shared(inner) => Some(inner),
        _ => None,
    });
    let span = errors.last()?.diagnostic()?.span?;
    let at = |place: Location| offset_of(sql, place.line as usize, place.column as usize);
    let (start, end) = (at(span.start)?, at(span.end)?);
    (start < end).then_some(Span {
        start: start as u32,
        end: end as u32,
    })
}

/// The parser's messages end with ` at Line: 1, Column: 15`.
fn syntax_fault(message: &str, sql: &str) -> Fault {
    let bare = message.strip_prefix("sql parser error: ");
    let message = match bare.unwrap_or(message) {
        "recursion limit exceeded" => {
            "the statement is nested too deeply: about 50 parentheses, subqueries or calls within \
             one another are parsed"
        }
        message => message,
    };
    let (said, place) = match message.rsplit_once(" at Line: ") {
        Some((said, place)) => (said, place_from_text(place, sql)),
        None => (message, None),
    };
    let mut fault = Fault::new(FaultKind::Invalid, code::SQL_PARSING, said);
    fault.span = place;
    fault
}

fn place_from_text(place: &str, sql: &str) -> Option<Span> {
    let (line, column) = place.split_once(", Column: ")?;
    let digits: String = column.chars().take_while(char::is_ascii_digit).collect();
    let at = offset_of(sql, line.parse().ok()?, digits.parse().ok()?)?;
    let rest = &sql[at..];
    let word = rest.chars().take_while(|c| !c.is_whitespace());
    let word: usize = word.map(char::len_utf8).sum();
    // A space of any width, or the end of the text, which has none.
    let one = rest.chars().next().map_or(0, char::len_utf8);
    Some(Span {
        start: at as u32,
        end: (at + word.max(one)) as u32,
    })
}

/// Of a line and a column that count from 1, in characters. Past the end is the end.
fn offset_of(sql: &str, line: usize, column: usize) -> Option<usize> {
    let before = sql.split_inclusive('\n').take(line.checked_sub(1)?);
    let start: usize = before.map(str::len).sum();
    let rest = sql.get(start..)?.chars().take(column.checked_sub(1)?);
    let skip: usize = rest.map(char::len_utf8).sum();
    Some((start + skip).min(sql.len()))
}
