//! From DataFusion's errors to ours: Pinot's code, a place in the statement, the nearest name.

use datafusion::common::{Column, DataFusionError, SchemaError};
use schemas::fault::pinot_code as code;
use schemas::{Fault, FaultKind, Span};

/// A fault on its way through DataFusion.
pub(crate) fn from_fault(fault: Fault) -> DataFusionError {
    DataFusionError::External(Box::new(fault))
}

/// `sql` is the statement as it was given to the parser.
pub fn to_fault(error: &DataFusionError, sql: &str) -> Fault {
    let root = root_of(error);
    match root {
        DataFusionError::External(inner) => match inner.downcast_ref::<Fault>() {
            Some(fault) => fault.clone(),
            None => Fault::new(
                FaultKind::Internal,
                code::QUERY_EXECUTION,
                inner.to_string(),
            ),
        },
        DataFusionError::SQL(parser, _) => {
            let fault = Fault::new(FaultKind::Invalid, code::SQL_PARSING, parser.to_string());
            place_from_text(&parser.to_string(), sql).map_or(fault.clone(), |span| fault.at(span))
        }
        DataFusionError::SchemaError(schema, _) => schema_fault(schema, sql),
        DataFusionError::ResourcesExhausted(message) => {
            let message = format!("the query needs more memory than it may have: {message}");
            Fault::new(FaultKind::Overloaded, code::SERVER_RESOURCE_LIMIT, message)
        }
        DataFusionError::Plan(message) => plan_fault(message, sql),
        DataFusionError::NotImplemented(message) => {
            let message = format!("not supported: {message}");
            Fault::new(FaultKind::Invalid, code::QUERY_VALIDATION, message)
        }
        DataFusionError::Execution(message) => {
            Fault::new(FaultKind::Invalid, code::QUERY_EXECUTION, message.clone())
        }
        DataFusionError::ArrowError(arrow, _) => {
            Fault::new(FaultKind::Invalid, code::QUERY_EXECUTION, arrow.to_string())
        }
        other => Fault::new(FaultKind::Internal, code::INTERNAL, other.strip_backtrace()),
    }
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

fn schema_fault(error: &SchemaError, sql: &str) -> Fault {
    let SchemaError::FieldNotFound {
        field,
        valid_fields,
    } = error
    else {
        return Fault::new(
            FaultKind::Invalid,
            code::QUERY_VALIDATION,
            error.to_string(),
        );
    };
    unknown_column(&field.name, valid_fields, sql)
}

fn unknown_column(name: &str, valid: &[Column], sql: &str) -> Fault {
    let nearest = nearest(name, valid.iter().map(|column| column.name.as_str()));
    let hint = match nearest {
        Some(nearest) => format!("; did you mean `{nearest}`?"),
        None => String::new(),
    };
    let message = format!("there is no column `{name}`{hint}");
    let fault = Fault::new(FaultKind::Invalid, code::UNKNOWN_COLUMN, message);
    place_of_word(name, sql).map_or(fault.clone(), |span| fault.at(span))
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

fn plan_fault(message: &str, sql: &str) -> Fault {
    let unknown_function = message.contains("Invalid function") || message.contains("No function");
    let kind = FaultKind::Invalid;
    let fault = Fault::new(kind, code::QUERY_VALIDATION, message.replace('\n', " "));
    if unknown_function
        && let Some(name) = message.split('\'').nth(1)
        && let Some(span) = place_of_word(name, sql)
    {
        return fault.at(span);
    }
    fault
}

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

/// The parser's messages end with ` at Line: 1, Column: 15`.
fn place_from_text(message: &str, sql: &str) -> Option<Span> {
    let (_, place) = message.rsplit_once("at Line: ")?;
    let (line, column) = place.split_once(", Column: ")?;
    let line: usize = line.parse().ok()?;
    let digits: String = column.chars().take_while(char::is_ascii_digit).collect();
    let column: usize = digits.parse().ok()?;
    let start: usize = sql
        .split_inclusive('\n')
        .take(line.checked_sub(1)?)
        .map(str::len)
        .sum();
    let rest = sql.get(start..)?;
    let skip: usize = rest
        .chars()
        .take(column.checked_sub(1)?)
        .map(char::len_utf8)
        .sum();
    let at = (start + skip).min(sql.len());
    let word: usize = sql[at..]
        .chars()
        .take_while(|c| !c.is_whitespace())
        .map(char::len_utf8)
        .sum();
    Some(Span {
        start: at as u32,
        end: (at + word.max(1)) as u32,
    })
}
