//! Where a fault is in its statement, for people: line and column count from 1, in characters.

use schemas::{Fault, Span};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) line: usize,
    pub(crate) column: usize,
}

impl Place {
    /// `sql` is the text that the span is of.
    pub(crate) fn of(span: Span, sql: &str) -> Self {
        let before = sql.get(..span.start as usize).unwrap_or("");
        Self {
            line: before.matches('\n').count() + 1,
            column: before.rsplit('\n').next().unwrap_or("").chars().count() + 1,
        }
    }
}

/// The message with its place behind it, for clients that show nothing but text.
pub(crate) fn message_with_place(fault: &Fault, sql: &str) -> String {
    match fault.span {
        Some(span) => {
            let Place { line, column } = Place::of(span, sql);
            format!("{} (line {line}, column {column})", fault.message)
        }
        None => fault.message.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_characters_of_their_line() {
        let sql = "SELECT 'ü',\n  nmae";
        let at = sql.find("nmae").unwrap() as u32;
        let span = Span {
            start: at,
            end: at + 4,
        };
        assert_eq!(Place::of(span, sql), Place { line: 2, column: 3 });
        let comma = sql.find(',').unwrap() as u32;
        let span = Span {
            start: comma,
            end: comma + 1,
        };
        assert_eq!(Place::of(span, sql).column, 11);
        let fault = Fault::invalid("there is no column `nmae`").at(span);
        assert_eq!(
            message_with_place(&fault, sql),
            "there is no column `nmae` (line 1, column 11)"
        );
    }
}
