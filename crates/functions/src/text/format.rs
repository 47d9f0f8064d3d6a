//! PostgreSQL's FORMAT, QUOTE_LITERAL and QUOTE_IDENT: a text of a pattern and values, and values
//! as a statement would write them.

use arrow::array::ArrayRef;
use datafusion::common::{DataFusionError, Result};

use super::{fits, length};
use crate::arguments::wrong;
use crate::docs::Section;
use crate::plain::{Plain, Takes};
use crate::rows::{Rows, TEXT};
use crate::shown::Shown;

/// A part of a pattern.
#[derive(Debug, PartialEq)]
enum Part {
    Text(String),
    Value(Place),
}

/// `%[number$][-][width]s`, `I` or `L`.
#[derive(Debug, Default, PartialEq)]
struct Place {
    /// From 1; `None`: the one after the last.
    argument: Option<usize>,
    on_the_left: bool,
    width: Width,
    kind: Kind,
}

#[derive(Debug, Default, PartialEq)]
enum Width {
    #[default]
    None,
    Fixed(i64),
    /// An argument tells it.
    Of(Option<usize>),
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
enum Kind {
    #[default]
    Plain,
    Identifier,
    Literal,
}

/// Takes digits off; of too many it is the greatest number, which nothing has.
fn number(text: &mut &str) -> Option<usize> {
    let end = text.find(|c: char| !c.is_ascii_digit());
    let (digits, rest) = text.split_at(end.unwrap_or(text.len()));
    *text = rest;
    (!digits.is_empty()).then(|| digits.parse().unwrap_or(usize::MAX))
}

/// Takes `number$` off.
fn argument(text: &mut &str) -> Result<Option<usize>> {
    let mut rest = *text;
    let found = number(&mut rest);
    let Some((number, rest)) = found.zip(rest.strip_prefix('$')) else {
        return Ok(None);
    };
    *text = rest;
    match number {
        0 => Err(wrong("FORMAT: arguments are counted from 1, not from 0")),
        number => Ok(Some(number)),
    }
}

fn parts_of(pattern: &str) -> Result<Vec<Part>> {
    let (mut parts, mut text, mut rest) = (Vec::new(), String::new(), pattern);
    while let Some((before, after)) = rest.split_once('%') {
        text.push_str(before);
        rest = after;
        if let Some(after) = rest.strip_prefix('%') {
            text.push('%');
            rest = after;
            continue;
        }
        let mut place = Place {
            argument: argument(&mut rest)?,
            ..Place::default()
        };
        while let Some(after) = rest.strip_prefix('-') {
            place.on_the_left = true;
            rest = after;
        }
        if let Some(after) = rest.strip_prefix('*') {
            rest = after;
            place.width = Width::Of(argument(&mut rest)?);
        } else if let Some(width) = number(&mut rest) {
            place.width = Width::Fixed(i64::try_from(width).unwrap_or(i64::MAX));
        }
        let mut kinds = rest.chars();
        place.kind = match kinds.next() {
            Some('s') => Kind::Plain,
            Some('I') => Kind::Identifier,
            Some('L') => Kind::Literal,
            Some(other) => {
                return Err(wrong(format!(
                    "FORMAT: `%{other}` is none of %s, %I, %L and %%"
                )));
            }
            None => {
                return Err(wrong(
                    "FORMAT: the pattern ends behind a %; write %% for it",
                ));
            }
        };
        rest = kinds.as_str();
        parts.push(Part::Text(std::mem::take(&mut text)));
        parts.push(Part::Value(place));
    }
    text.push_str(rest);
    parts.push(Part::Text(text));
    Ok(parts)
}

/// The arguments behind the pattern.
struct Values<'a>(Vec<(Shown<'a>, bool)>);

impl Values<'_> {
    fn at(&self, number: usize, row: usize) -> Result<Option<String>> {
        let Some((values, is_literal)) = self.0.get(number - 1) else {
            return Err(wrong(format!(
                "FORMAT: the pattern asks for {number} values, and there are {}",
                self.0.len()
            )));
        };
        values.at(if *is_literal { 0 } else { row })
    }

    fn width(&self, number: usize, row: usize) -> Result<i64> {
        let Some(text) = self.at(number, row)? else {
            return Ok(0);
        };
        let width = text.trim().parse();
        width.map_err(|_| wrong(format!("FORMAT: a width is a whole number, not `{text}`")))
    }
}

fn written(parts: &[Part], values: &Values<'_>, row: usize) -> Result<String> {
    let mut written = String::new();
    let mut last = 0;
    for part in parts {
        let place = match part {
            Part::Text(text) => {
                written.push_str(text);
                continue;
            }
            Part::Value(place) => place,
        };
        let mut next = |named: Option<usize>| {
            last = named.unwrap_or(last + 1);
            last
        };
        let width = match place.width {
            Width::None => 0,
            Width::Fixed(width) => width,
            Width::Of(named) => values.width(next(named), row)?,
        };
        let value = values.at(next(place.argument), row)?;
        let value = match (place.kind, value) {
            (Kind::Plain, value) => value.unwrap_or_default(),
            (Kind::Literal, None) => "NULL".to_owned(),
            (Kind::Literal, Some(value)) => quoted(&value),
            (Kind::Identifier, Some(value)) => as_name(&value),
            (Kind::Identifier, None) => return Err(wrong("FORMAT: null is no name for %I")),
        };
        let wanted = usize::try_from(width.unsigned_abs()).unwrap_or(usize::MAX);
        let missing = wanted.saturating_sub(length(&value));
        fits("FORMAT", written.len().saturating_add(missing))?;
        let spaces = " ".repeat(missing);
        match place.on_the_left || width < 0 {
            true => written.extend([value, spaces]),
            false => written.extend([spaces, value]),
        }
    }
    fits("FORMAT", written.len())?;
    Ok(written)
}

fn format(rows: &Rows) -> Result<ArrayRef> {
    let values = rows.columns()[1..].iter();
    let values = values.map(|(array, is_literal)| Ok((Shown::new(array.as_ref())?, *is_literal)));
    let values = Values(values.collect::<Result<_>>()?);
    let mut known: Option<(&str, Vec<Part>)> = None;
    rows.try_map_rows(|row, pattern: &str| {
        if known.as_ref().is_none_or(|(text, _)| *text != pattern) {
            known = Some((pattern, parts_of(pattern)?));
        }
        let parts = known.as_ref().map_or(&[][..], |(_, parts)| parts);
        written(parts, &values, row).map(Some)
    })
}

/// As a literal of a statement.
fn quoted(text: &str) -> String {
    let escaped = text.replace('\'', "''");
    match text.contains('\\') {
        true => format!("E'{}'", escaped.replace('\\', "\\\\")),
        false => format!("'{escaped}'"),
    }
}

/// Words that are no names without quotes.
const WORDS: &str = "all analyse analyze and any array as asc asymmetric authorization \
    between bigint binary \
    bit boolean both case cast char character check coalesce collate collation column \
    concurrently constraint create cross current_catalog current_date current_role \
    current_schema current_time current_timestamp current_user dec decimal default \
    deferrable desc distinct do else end except exists extract false fetch float for foreign \
    freeze from full grant greatest group grouping having ilike in initially inner inout int \
    integer intersect interval into is isnull join lateral leading least left like limit \
    localtime localtimestamp national natural nchar none normalize not notnull null nullif \
    numeric offset on only or order out outer overlaps overlay placing position precision \
    primary real references returning right row select session_user setof similar smallint \
    some substring symmetric table tablesample then time timestamp to trailing treat trim \
    true union unique user using values varchar variadic verbose when where window with \
    xmlattributes xmlconcat xmlelement xmlexists xmlforest xmlnamespaces xmlparse xmlpi \
    xmlroot xmlserialize xmltable";

/// As a name in a statement.
fn as_name(text: &str) -> String {
    let is_plain = text.starts_with(|c: char| c.is_ascii_lowercase() || c == '_')
        && text
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
        && !WORDS.split_ascii_whitespace().any(|word| word == text);
    match is_plain {
        true => text.to_owned(),
        false => format!("\"{}\"", text.replace('"', "\"\"")),
    }
}

fn format_function() -> Plain {
    Plain::new("format", &[Takes::Text, Takes::Any], TEXT, format)
        .optional(1)
        .variadic()
        .says(
            Section::Text,
            "FORMAT('pattern', value, …)",
            "The pattern with values in the place of `%s` (as they are, nothing for null), \
             `%I` (as a name in a statement) and `%L` (as a literal); `%%` is a percent sign. \
             `%2$s` is the second value, `%10s` has ten characters at least, `%-10s` with the \
             spaces behind it, and `%*s` takes the width from the values.",
            &[
                ("FORMAT('%s of %s, %s%%', 3, 'four', 75)", "3 of four, 75%"),
                (
                    "FORMAT('INSERT INTO %I VALUES(%L)', 'Foo bar', 'O''Reilly')",
                    "INSERT INTO \"Foo bar\" VALUES('O''Reilly')",
                ),
            ],
        )
}

pub(super) fn all() -> Vec<Plain> {
    let quotes: fn(&Rows) -> Result<ArrayRef, DataFusionError> = |rows| {
        let values = Shown::new(rows.columns()[0].0.as_ref())?;
        rows.collect(|row| Ok(values.at(row)?.map(|text| quoted(&text))))
    };
    vec![
        format_function(),
        Plain::new("quote_literal", &[Takes::Any], TEXT, quotes).says(
            Section::Text,
            "QUOTE_LITERAL(value)",
            "The value as a literal of a statement.",
            &[("QUOTE_LITERAL('O''Reilly')", "'O''Reilly'")],
        ),
        Plain::new("quote_ident", &[Takes::Text], TEXT, |rows| {
            rows.map(|text: &str| Some(as_name(text)))
        })
        .says(
            Section::Text,
            "QUOTE_IDENT(text)",
            "The text as a name in a statement, in quotes where it needs them.",
            &[
                ("QUOTE_IDENT('Foo bar')", "\"Foo bar\""),
                ("QUOTE_IDENT('carrier')", "carrier"),
            ],
        ),
    ]
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{AsArray, Int32Array, StringViewArray};

    use super::*;

    fn formatted(pattern: &str, values: &[ArrayRef]) -> Result<String> {
        let text = |text: &str| Arc::new(StringViewArray::from(vec![text])) as ArrayRef;
        let values = values.iter().map(|value| (Arc::clone(value), true));
        let columns = std::iter::once((text(pattern), true)).chain(values);
        let found = format(&Rows::new("format", columns.collect(), 1))?;
        Ok(found.as_string_view().value(0).to_owned())
    }

    /// What PostgreSQL 15 answers.
    #[test]
    fn formats_are_those_of_postgresql() {
        let text = |text: &str| Arc::new(StringViewArray::from(vec![text])) as ArrayRef;
        let whole = |number| Arc::new(Int32Array::from(vec![number])) as ArrayRef;
        let null = || Arc::new(StringViewArray::from(vec![None::<&str>])) as ArrayRef;
        let three = || vec![text("one"), text("two"), text("three")];
        for (pattern, values, wanted) in [
            ("Hello %s", vec![text("World")], "Hello World"),
            (
                "Testing %s, %s, %s, %%",
                three(),
                "Testing one, two, three, %",
            ),
            (
                "Testing %3$s, %2$s, %1$s",
                three(),
                "Testing three, two, one",
            ),
            (
                "Testing %3$s, %2$s, %s",
                three(),
                "Testing three, two, three",
            ),
            ("|%10s|", vec![text("foo")], "|       foo|"),
            ("|%-10s|", vec![text("foo")], "|foo       |"),
            ("|%*s|", vec![whole(10), text("foo")], "|       foo|"),
            ("|%*s|", vec![whole(-10), text("foo")], "|foo       |"),
            ("|%-*s|", vec![whole(10), text("foo")], "|foo       |"),
            (
                "|%*2$s|",
                vec![text("foo"), whole(10), text("bar")],
                "|       bar|",
            ),
            (
                "|%1$*2$s|",
                vec![text("foo"), whole(10), text("bar")],
                "|       foo|",
            ),
            ("%s|%L|%%", vec![null(), null()], "|NULL|%"),
            (
                "%I %I %I",
                vec![text("a1"), text("select"), text("A\"b")],
                "a1 \"select\" \"A\"\"b\"",
            ),
            (
                "%L",
                vec![text("C:\\Program Files")],
                "E'C:\\\\Program Files'",
            ),
            ("none", vec![text("foo")], "none"),
        ] {
            assert_eq!(formatted(pattern, &values).unwrap(), wanted, "{pattern}");
        }
        for (pattern, told) in [
            ("%s %s", "asks for 2 values, and there are 1"),
            ("%d", "`%d` is none of"),
            ("100%", "ends behind a %"),
            ("%0$s", "counted from 1"),
            ("%99999999s", "is the most"),
            ("%99999999999999999999s", "is the most"),
            ("%99999999999999999999$s", "asks for"),
        ] {
            let error = formatted(pattern, &[text("a")]).unwrap_err().to_string();
            assert!(error.contains(told), "{pattern}: {error}");
        }
        assert!(formatted("%I", &[null()]).is_err());
    }
}
