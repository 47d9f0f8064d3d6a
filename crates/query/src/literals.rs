//! The literals of a statement, and its shape: what is left when they are taken out.
//!
//! Statements of one shape differ in nothing but literals. A literal becomes a parameter where the
//! plan cannot depend on its value: compared with a column in WHERE. All others are part of what a
//! plan is kept by. In doubt a text has no shape: it is planned as it is.
//!
//! The planner takes parameters that differ for values that differ where it joins two IN lists of
//! one column: lists that may meet keep their literals.

use std::collections::HashMap;
use std::ops::{ControlFlow, Range};

use arrow::datatypes::{DataType, TimeUnit, i256};
use datafusion::scalar::ScalarValue;
use datafusion::sql::sqlparser::ast::{
    BinaryOperator, Expr, Select, Statement, TableFactor, UnaryOperator, Value, ValueWithSpan,
    Visit, VisitMut, Visitor, VisitorMut,
};
use datafusion::sql::sqlparser::tokenizer::Location;

use crate::dialect::Semantics;

/// More would make keys that cost more than they bring.
const LITERALS_MAX: usize = 1000;
const TEXT_BYTES_MAX: usize = 32 << 10;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Text,
    Whole,
    Decimal,
}

impl Kind {
    /// In the place of the literal; texts that hold such a character have no shape.
    const fn mark(self) -> char {
        match self {
            Self::Text => '\u{1}',
            Self::Whole => '\u{2}',
            Self::Decimal => '\u{3}',
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Literal {
    pub(crate) kind: Kind,
    /// Of the text, quotes included.
    pub(crate) at: Range<usize>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Shape {
    /// The text with marks in the place of literals.
    pub(crate) marked: String,
    pub(crate) literals: Vec<Literal>,
}

impl Shape {
    /// `None`: the text has something that this does not understand.
    pub(crate) fn of(text: &str) -> Option<Self> {
        if text.len() > TEXT_BYTES_MAX {
            return None;
        }
        let mut marked = String::with_capacity(text.len());
        let mut literals = Vec::new();
        let (bytes, mut at, mut copied) = (text.as_bytes(), 0, 0);
        while at < bytes.len() {
            let begins = at == 0 || !is_part_of_word(bytes[at - 1]);
            let end = match bytes[at] {
                1..=3 => return None,
                b'\'' if begins => end_of_text(bytes, at)?,
                // A prefix gives the text another meaning.
                b'\'' => return None,
                b'0'..=b'9' if begins => end_of_number(bytes, at)?,
                _ => {
                    at = after_other(bytes, at)?;
                    continue;
                }
            };
            let kind = kind_of(&text[at..end]);
            marked.push_str(&text[copied..at]);
            marked.push(kind.mark());
            literals.push(Literal { kind, at: at..end });
            (at, copied) = (end, end);
        }
        marked.push_str(&text[copied..]);
        (literals.len() <= LITERALS_MAX).then_some(Self { marked, literals })
    }

    /// Where each literal begins, as the parser says it.
    fn places(&self, text: &str) -> HashMap<Location, usize> {
        let (mut line, mut column, mut from) = (1, 1, 0);
        let places = self.literals.iter().enumerate().map(|(number, literal)| {
            for c in text[from..literal.at.start].chars() {
                (line, column) = match c {
                    '\n' => (line + 1, 1),
                    _ => (line, column + 1),
                };
            }
            from = literal.at.start;
            (Location::new(line, column), number)
        });
        places.collect()
    }
}

fn is_part_of_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$' | b'.' | b'@' | b'#') || byte >= 128
}

fn kind_of(literal: &str) -> Kind {
    match literal.as_bytes()[0] {
        b'\'' => Kind::Text,
        _ if literal.bytes().all(|byte| byte.is_ascii_digit()) => Kind::Whole,
        _ => Kind::Decimal,
    }
}

/// Behind the closing quote. A doubled quote is a quote.
fn end_of_text(bytes: &[u8], start: usize) -> Option<usize> {
    let mut at = start + 1;
    loop {
        at += memchr::memchr(b'\'', &bytes[at..])? + 1;
        match bytes.get(at) {
            Some(b'\'') => at += 1,
            Some(byte) if is_part_of_word(*byte) => return None,
            _ => return Some(at),
        }
    }
}

fn end_of_number(bytes: &[u8], start: usize) -> Option<usize> {
    let digits = |mut at: usize| {
        while bytes.get(at).is_some_and(u8::is_ascii_digit) {
            at += 1;
        }
        at
    };
    let mut at = digits(start);
    if bytes.get(at) == Some(&b'.') {
        at = digits(at + 1);
    }
    if matches!(bytes.get(at), Some(b'e' | b'E')) {
        let signed = matches!(bytes.get(at + 1), Some(b'+' | b'-'));
        let exponent = at + 1 + usize::from(signed);
        at = digits(exponent);
        if at == exponent {
            return None;
        }
    }
    match bytes.get(at) {
        Some(byte) if is_part_of_word(*byte) => None,
        _ => Some(at),
    }
}

/// Behind a name in quotes, a comment, or one byte of anything else.
fn after_other(bytes: &[u8], at: usize) -> Option<usize> {
    let rest = &bytes[at..];
    Some(match bytes[at] {
        quote @ (b'"' | b'`') => at + 1 + memchr::memchr(quote, &rest[1..])? + 1,
        b'-' if rest.starts_with(b"--") => at + memchr::memchr(b'\n', rest)? + 1,
        // They may be nested.
        b'/' if rest.starts_with(b"/*") => return None,
        _ => at + 1,
    })
}

/// A literal that may be a parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Candidate {
    /// Position among the literals of the shape.
    pub(crate) literal: usize,
    /// A minus stands before it.
    pub(crate) negated: bool,
}

/// Puts `$1`, `$2`, … in the place of literals that a column is compared with in WHERE, where
/// `wanted` agrees; parameter n of the plan is then `$n+1`.
pub(crate) fn with_placeholders(
    statement: &mut Statement,
    text: &str,
    shape: &Shape,
    wanted: impl Fn(Candidate) -> bool,
) -> Vec<Candidate> {
    let mut lists = Lists::default();
    let _ = Visit::visit(statement, &mut lists);
    let mut marking = Marking {
        places: shape.places(text),
        wanted,
        found: Vec::new(),
        lists_may_meet: lists.may_meet(),
        has_others: false,
    };
    let _ = VisitMut::visit(statement, &mut marking);
    match marking.has_others {
        true => Vec::new(),
        false => marking.found,
    }
}

/// The IN lists of a statement.
#[derive(Debug, Default)]
struct Lists {
    /// Last part of the name of the column before each.
    columns: Vec<String>,
    tables: usize,
    selects: usize,
}

impl Lists {
    /// Whether two of them may come to stand before one column: by its name, by another name that
    /// a subquery gives it, or by a join that makes two columns equal.
    fn may_meet(&self) -> bool {
        let mut names: Vec<String> = self.columns.iter().map(|c| c.to_lowercase()).collect();
        names.sort_unstable();
        names.dedup();
        let are_of_one_table = self.tables <= 1 && self.selects <= 1;
        self.columns.len() > 1 && !(are_of_one_table && names.len() == self.columns.len())
    }
}

impl Visitor for Lists {
    type Break = ();

    fn pre_visit_select(&mut self, _: &Select) -> ControlFlow<()> {
        self.selects += 1;
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, _: &TableFactor) -> ControlFlow<()> {
        self.tables += 1;
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        if let Expr::InList { expr, .. } = expr
            && let Some(name) = name_of(expr)
        {
            self.columns.push(name.to_owned());
        }
        ControlFlow::Continue(())
    }
}

struct Marking<F> {
    places: HashMap<Location, usize>,
    wanted: F,
    found: Vec<Candidate>,
    lists_may_meet: bool,
    /// The statement has placeholders of its own.
    has_others: bool,
}

impl<F: Fn(Candidate) -> bool> VisitorMut for Marking<F> {
    type Break = ();

    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<()> {
        if let Some(condition) = &mut select.selection {
            self.condition(condition);
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_value(&mut self, value: &mut ValueWithSpan) -> ControlFlow<()> {
        if let Value::Placeholder(name) = &value.value {
            let number = name.strip_prefix('$').and_then(|n| n.parse::<usize>().ok());
            let is_ours = number.is_some_and(|n| (1..=self.found.len()).contains(&n))
                && value.span.start == Location::empty();
            self.has_others |= !is_ours;
        }
        ControlFlow::Continue(())
    }
}

impl<F: Fn(Candidate) -> bool> Marking<F> {
    fn condition(&mut self, expr: &mut Expr) {
        use BinaryOperator as Op;
        match expr {
            Expr::Nested(inner) => self.condition(inner),
            Expr::UnaryOp {
                op: UnaryOperator::Not,
                expr,
            } => self.condition(expr),
            Expr::BinaryOp {
                left,
                op: Op::And | Op::Or,
                right,
            } => {
                self.condition(left);
                self.condition(right);
            }
            Expr::BinaryOp {
                left,
                op: Op::Eq | Op::NotEq | Op::Lt | Op::LtEq | Op::Gt | Op::GtEq,
                right,
            } => match (is_column(left), is_column(right)) {
                (true, false) => self.literal(right),
                (false, true) => self.literal(left),
                _ => {}
            },
            Expr::Between {
                expr, low, high, ..
            } if is_column(expr) => {
                self.literal(low);
                self.literal(high);
            }
            Expr::InList { expr, list, .. } if is_column(expr) && !self.lists_may_meet => {
                list.iter_mut().for_each(|value| self.literal(value));
            }
            _ => {}
        }
    }

    fn literal(&mut self, expr: &mut Expr) {
        let (value, negated) = match &*expr {
            Expr::Value(value) => (value, false),
            Expr::UnaryOp {
                op: UnaryOperator::Minus,
                expr,
            } => match &**expr {
                Expr::Value(value) if matches!(value.value, Value::Number(_, _)) => (value, true),
                _ => return,
            },
            _ => return,
        };
        if !matches!(
            value.value,
            Value::SingleQuotedString(_) | Value::Number(_, false)
        ) {
            return;
        }
        let Some(literal) = self.places.get(&value.span.start).copied() else {
            return;
        };
        let candidate = Candidate { literal, negated };
        if (self.wanted)(candidate) {
            self.found.push(candidate);
            let name = format!("${}", self.found.len());
            *expr = Expr::value(Value::Placeholder(name));
        }
    }
}

fn is_column(expr: &Expr) -> bool {
    name_of(expr).is_some()
}

/// Of a column, its table left out.
fn name_of(expr: &Expr) -> Option<&str> {
    match expr {
        Expr::Nested(inner) => name_of(inner),
        Expr::Identifier(name) => Some(&name.value),
        Expr::CompoundIdentifier(parts) => parts.last().map(|name| name.value.as_str()),
        _ => None,
    }
}

/// The value of the literal for a column of this type, exactly as the planner would see it in the
/// statement; `None`: the planner must.
pub(crate) fn value(
    literal: &Literal,
    negated: bool,
    text: &str,
    data_type: &DataType,
    semantics: Semantics,
) -> Option<ScalarValue> {
    const EPOCH_MS: DataType = DataType::Timestamp(TimeUnit::Millisecond, None);
    let raw = &text[literal.at.clone()];
    let whole = || -> Option<i64> {
        match negated {
            true => format!("-{raw}").parse().ok(),
            false => raw.parse().ok(),
        }
    };
    let unquoted = || raw[1..raw.len() - 1].replace("''", "'");
    Some(match (literal.kind, data_type) {
        (Kind::Whole, DataType::Int32) => ScalarValue::Int32(Some(whole()?.try_into().ok()?)),
        (Kind::Whole, DataType::Int64) => ScalarValue::Int64(Some(whole()?)),
        (Kind::Whole, DataType::Float64) => ScalarValue::Float64(Some(whole()? as f64)),
        (Kind::Whole, &DataType::Decimal256(precision, scale)) => {
            let unit = i256::from(10).checked_pow(scale.try_into().ok()?)?;
            let unscaled = i256::from(whole()?).checked_mul(unit)?;
            ScalarValue::Decimal256(Some(unscaled), precision, scale)
        }
        (Kind::Whole, time) if *time == EPOCH_MS && semantics != Semantics::Standard => {
            ScalarValue::TimestampMillisecond(Some(whole()?), None)
        }
        (Kind::Decimal, DataType::Float64) => {
            let value: f64 = raw.parse().ok()?;
            ScalarValue::Float64(Some(if negated { -value } else { value }))
        }
        (Kind::Text, DataType::Utf8View) => ScalarValue::Utf8View(Some(unquoted())),
        (Kind::Text, time) if *time == EPOCH_MS => {
            // The planner compares with nanoseconds; only whole milliseconds are the same.
            let nanos = DataType::Timestamp(TimeUnit::Nanosecond, None);
            match ScalarValue::Utf8(Some(unquoted())).cast_to(&nanos).ok()? {
                ScalarValue::TimestampNanosecond(Some(ns), _) if ns % 1_000_000 == 0 => {
                    ScalarValue::TimestampMillisecond(Some(ns / 1_000_000), None)
                }
                _ => return None,
            }
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use datafusion::sql::sqlparser::dialect::GenericDialect;
    use datafusion::sql::sqlparser::parser::Parser;

    use super::*;

    fn shown(text: &str) -> Option<(String, Vec<&str>)> {
        let shape = Shape::of(text)?;
        let marked = shape.marked.replace('\u{1}', "<t>").replace('\u{2}', "<w>");
        let literals = shape.literals.iter().map(|l| &text[l.at.clone()]).collect();
        Some((marked.replace('\u{3}', "<d>"), literals))
    }

    #[test]
    fn literals_are_taken_out() {
        let text = "SELECT \"a1\" -- it's 5\n, b2 FROM t WHERE c>-5 AND d='it''s' AND e<=1.5e-3";
        let marked =
            "SELECT \"a1\" -- it's 5\n, b2 FROM t WHERE c>-<w> AND d=<t> AND e<=<d>".to_owned();
        assert_eq!(shown(text), Some((marked, vec!["5", "'it''s'", "1.5e-3"])));
        assert_eq!(shown("x IN(1,2)").unwrap().1, ["1", "2"]);
        for unknown in [
            "E'a'", "x = 5L", "'a'b", "/* 1 */", "'open", "-- end", "a \u{1}", "1.e",
        ] {
            assert_eq!(shown(unknown), None, "{unknown}");
        }
    }

    #[test]
    fn what_columns_are_compared_with_becomes_a_parameter() {
        let text = "SELECT 1, f(2) FROM t WHERE (a = 3 OR -4 < t.b) AND c IN ('x', 'ü', d)\n\
                    AND NOT e BETWEEN 5 AND 6.5 AND f(g) = 7 AND 8 = 9 AND h LIKE 'y%' \
                    AND i IN (SELECT j FROM u WHERE k > 10 LIMIT 11) LIMIT 12";
        let mut parsed = Parser::parse_sql(&GenericDialect {}, text).unwrap();
        let shape = Shape::of(text).unwrap();
        let found = with_placeholders(&mut parsed[0], text, &shape, |_| true);
        let literals = found
            .iter()
            .map(|c| &text[shape.literals[c.literal].at.clone()]);
        let literals: Vec<&str> = literals.collect();
        assert_eq!(literals, ["3", "4", "'x'", "'ü'", "5", "6.5", "10"]);
        assert_eq!(found.iter().filter(|c| c.negated).count(), 1);
        let sql = parsed[0].to_string();
        assert!(
            sql.contains("(a = $1 OR $2 < t.b) AND c IN ($3, $4, d)"),
            "{sql}"
        );
        assert!(sql.contains("k > $7 LIMIT 11) LIMIT 12"), "{sql}");

        let kept = |text: &str| {
            let mut parsed = Parser::parse_sql(&GenericDialect {}, text).unwrap();
            let shape = Shape::of(text).unwrap();
            with_placeholders(&mut parsed[0], text, &shape, |_| true).len()
        };
        assert_eq!(kept("SELECT 1 FROM t WHERE a IN (3) AND b IN (4)"), 2);
        for meets in [
            "SELECT 1 FROM t WHERE a IN (3) AND t.A NOT IN (4)",
            "SELECT 1 FROM (SELECT a AS b FROM t WHERE a IN (3)) WHERE b IN (4)",
            "SELECT 1 FROM t JOIN u ON a = b WHERE a IN (3) AND b IN (4)",
        ] {
            assert_eq!(kept(meets), 0, "{meets}");
        }

        let own = "SELECT a FROM t WHERE a = 3 AND b = $1";
        let mut parsed = Parser::parse_sql(&GenericDialect {}, own).unwrap();
        let shape = Shape::of(own).unwrap();
        assert!(with_placeholders(&mut parsed[0], own, &shape, |_| true).is_empty());
    }
}
