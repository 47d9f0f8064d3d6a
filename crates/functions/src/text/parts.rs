//! SUBSTR, LEFT, RIGHT, SUBSTRINGINDEX, OVERLAY: parts of a text by their place.

use arrow::array::ArrayRef;
use datafusion::common::Result;

use super::{byte_at, length};
use crate::docs::Section;
use crate::plain::{Plain, Takes};
use crate::rows::{Rows, TEXT};

/// From a place that counts from 0, or from the end if it is negative, up to another.
fn between(text: &str, begin: i64, end: Option<i64>) -> &str {
    let from_end = begin < 0 || end.is_some_and(|end| end < 0);
    let count = if from_end { length(text) as i64 } else { 0 };
    let place = |at: i64| usize::try_from(if at < 0 { at + count } else { at }).unwrap_or(0);
    let from = byte_at(text, place(begin));
    let to = end.map_or(text.len(), |end| byte_at(text, place(end)));
    text.get(from..to).unwrap_or_default()
}

fn substr(rows: &Rows) -> Result<ArrayRef> {
    match rows.has(2) {
        true => rows.map3::<&str, i64, i64, &str>(|text, begin, end| {
            Some(between(text, begin, (end != -1).then_some(end)))
        }),
        false => rows.map2::<&str, i64, &str>(|text, begin| Some(between(text, begin, None))),
    }
}

fn left(text: &str, count: i64) -> &str {
    &text[..byte_at(text, usize::try_from(count).unwrap_or(0))]
}

fn right(text: &str, count: i64) -> &str {
    let count = usize::try_from(count).unwrap_or(0);
    &text[byte_at(text, length(text).saturating_sub(count))..]
}

/// Before so many separators, or behind so many from the end.
fn before(text: &str, separator: &str, count: i64) -> Option<String> {
    if count == 0 || separator.is_empty() {
        return Some(String::new());
    }
    let nth = usize::try_from(count.unsigned_abs() - 1).ok()?;
    let part = match count > 0 {
        true => text
            .match_indices(separator)
            .nth(nth)
            .map(|(at, _)| &text[..at]),
        false => {
            let found = text.rmatch_indices(separator).nth(nth);
            found.map(|(at, found)| &text[at + found.len()..])
        }
    };
    Some(part.unwrap_or(text).to_owned())
}

/// As SQL has it: places count from 1.
fn overlaid(text: &str, by: &str, place: i64, count: Option<i64>) -> Option<String> {
    let from = usize::try_from(place - 1).ok()?;
    let count = count.map_or(length(by), |count| usize::try_from(count).unwrap_or(0));
    let (begin, end) = (
        byte_at(text, from),
        byte_at(text, from.saturating_add(count)),
    );
    Some([&text[..begin], by, &text[end..]].concat())
}

fn overlay(rows: &Rows) -> Result<ArrayRef> {
    match rows.has(3) {
        true => rows.try_map4(|text: &str, by: &str, place: i64, count: i64| {
            Ok(overlaid(text, by, place, Some(count)))
        }),
        false => rows.map3(|text: &str, by: &str, place: i64| overlaid(text, by, place, None)),
    }
}

fn plain(name: &str, takes: &[Takes], body: fn(&Rows) -> Result<ArrayRef>) -> Plain {
    Plain::new(name, takes, TEXT, body).of_entries()
}

fn substr_function() -> Plain {
    use Takes::{Long, Text};
    plain("pinot_substr", &[Text, Long, Long], substr)
        .optional(1)
        .in_pinot(&["SUBSTR"])
        .says(
            Section::Text,
            "SUBSTR(text, begin [, end])",
            "The text from one place up to another; places count from 0, negative ones from the \
                 end, and an end of -1 is the text's. SUBSTRING is SQL's: it takes a begin that \
                 counts from 1 and a length.",
            &[
                ("\"substr\"('Pinot', 1)", "inot"),
                ("\"substr\"('Pinot', 1, 3)", "in"),
                ("SUBSTRING('Pinot', 1, 3)", "Pin"),
            ],
        )
}

fn left_sub_str() -> Plain {
    use Takes::{Long, Text};
    plain("left_sub_str", &[Text, Long], |rows| {
        rows.map2::<&str, i64, &str>(|text, count| Some(left(text, count)))
    })
    .in_pinot(&["LEFT"])
    .says(
        Section::Text,
        "LEFT(text, count)",
        "The first characters. Also called LEFTSUBSTR.",
        &[("LEFT('Pinot', 2)", "Pi")],
    )
}

fn right_sub_str() -> Plain {
    use Takes::{Long, Text};
    plain("right_sub_str", &[Text, Long], |rows| {
        rows.map2::<&str, i64, &str>(|text, count| Some(right(text, count)))
    })
    .in_pinot(&["RIGHT"])
    .says(
        Section::Text,
        "RIGHT(text, count)",
        "The last characters. Also called RIGHTSUBSTR.",
        &[("RIGHT('Pinot', 2)", "ot")],
    )
}

fn substring_index() -> Plain {
    use Takes::{Long, Text};
    plain("pinot_substring_index", &[Text, Text, Long], |rows| {
        rows.map3(|text: &str, separator: &str, count: i64| before(text, separator, count))
    })
    .in_pinot(&["SUBSTRING_INDEX"])
    .says(
        Section::Text,
        "SUBSTRINGINDEX(text, separator, count)",
        "What stands before so many separators; behind so many from the end if the count is \
             negative.",
        &[
            ("SUBSTRINGINDEX('a.b.c', '.', 2)", "a.b"),
            ("SUBSTRINGINDEX('a.b.c', '.', -1)", "c"),
        ],
    )
}

fn overlay_function() -> Plain {
    use Takes::{Long, Text};
    plain("pinot_overlay", &[Text, Text, Long, Long], overlay)
        .optional(1)
        .in_pinot(&["OVERLAY"])
        .says(
            Section::Text,
            "OVERLAY(text, by, place [, count])",
            "The text with another in the place of so many characters from a place on, which \
                 counts from 1.",
            &[("OVERLAY('abcdef', 'XY', 3, 3)", "abXYf")],
        )
}

pub(super) fn all() -> Vec<Plain> {
    vec![
        substr_function(),
        left_sub_str(),
        right_sub_str(),
        substring_index(),
        overlay_function(),
    ]
}
