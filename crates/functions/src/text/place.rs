//! LENGTH, STRPOS, STRRPOS, STARTSWITH, CONTAINS: how long a text is and where something stands.

use arrow::array::ArrayRef;
use arrow::datatypes::DataType;
use datafusion::common::Result;

use super::{byte_at, length};
use crate::docs::Section;
use crate::plain::{Plain, Takes};
use crate::rows::Rows;

fn chars_before(text: &str, at: Option<usize>) -> i32 {
    at.map_or(-1, |at| length(&text[..at]) as i32)
}

/// Of the nth one; one may begin within another.
fn nth_place(text: &str, part: &str, nth: i64) -> i32 {
    let Some(mut left) = usize::try_from(nth).ok().filter(|nth| *nth > 0) else {
        return -1;
    };
    let mut from = 0;
    while let Some(at) = text.get(from..).and_then(|rest| rest.find(part)) {
        let found = from + at;
        left -= 1;
        if left == 0 {
            return chars_before(text, Some(found));
        }
        from = found + text[found..].chars().next().map_or(1, char::len_utf8);
    }
    -1
}

fn strpos(rows: &Rows) -> Result<ArrayRef> {
    match rows.has(2) {
        true => rows.map3(|text: &str, part: &str, nth: i64| Some(nth_place(text, part, nth))),
        false => rows.map2(|text: &str, part: &str| Some(chars_before(text, text.find(part)))),
    }
}

/// The last that begins at a place or before it.
fn strrpos(rows: &Rows) -> Result<ArrayRef> {
    match rows.has(2) {
        true => rows.map3(|text: &str, part: &str, place: i64| {
            let Ok(place) = usize::try_from(place) else {
                return Some(-1);
            };
            let end = byte_at(text, place.saturating_add(length(part)));
            Some(chars_before(text, text[..end].rfind(part)))
        }),
        false => rows.map2(|text: &str, part: &str| Some(chars_before(text, text.rfind(part)))),
    }
}

fn begins_with(text: &str, part: &str) -> bool {
    text.to_lowercase().starts_with(&part.to_lowercase())
}

fn ends_with(text: &str, part: &str) -> bool {
    text.to_lowercase().ends_with(&part.to_lowercase())
}

fn int(name: &str, takes: &[Takes], body: fn(&Rows) -> Result<ArrayRef>) -> Plain {
    Plain::new(name, takes, DataType::Int32, body).of_entries()
}

fn flag(name: &str, of: fn(&str, &str) -> bool) -> Plain {
    use Takes::Text;
    Plain::new(name, &[Text, Text], DataType::Boolean, move |rows| {
        rows.map2(|text: &str, part: &str| Some(of(text, part)))
    })
    .of_entries()
}

fn size(name: &str, of: fn(&str) -> usize) -> Plain {
    use Takes::Text;
    Plain::new(name, &[Text], DataType::Int32, move |rows| {
        rows.map(|text: &str| Some(of(text) as i32))
    })
    .of_entries()
}

fn length_function() -> Plain {
    size("pinot_length", length)
        .in_pinot(&["LENGTH", "CHAR_LENGTH", "CHARACTER_LENGTH"])
        .says(
            Section::Text,
            "LENGTH(text)",
            "How many characters. Also called CHARLENGTH and CHARACTERLENGTH.",
            &[("LENGTH('naïve')", "5")],
        )
}

fn octet_length() -> Plain {
    size("pinot_octet_length", str::len)
        .in_pinot(&["OCTET_LENGTH"])
        .says(
            Section::Text,
            "OCTETLENGTH(text)",
            "How many bytes the text has in UTF-8.",
            &[("OCTETLENGTH('naïve')", "6")],
        )
}

fn bit_length() -> Plain {
    size("pinot_bit_length", |text| text.len() * 8)
        .in_pinot(&["BIT_LENGTH"])
        .says(
            Section::Text,
            "BITLENGTH(text)",
            "How many bits the text has in UTF-8.",
            &[("BITLENGTH('ab')", "16")],
        )
}

fn strpos_function() -> Plain {
    use Takes::{Long, Text};
    int("pinot_strpos", &[Text, Text, Long], strpos)
        .optional(1)
        .in_pinot(&["STRPOS"])
        .says(
            Section::Text,
            "STRPOS(text, part [, nth])",
            "Where the part stands, or the nth of them, counted from 0; -1 if nowhere.",
            &[
                ("STRPOS('banana', 'an')", "1"),
                ("STRPOS('banana', 'an', 2)", "3"),
            ],
        )
}

fn strrpos_function() -> Plain {
    use Takes::{Long, Text};
    int("strrpos", &[Text, Text, Long], strrpos)
        .optional(1)
        .says(
            Section::Text,
            "STRRPOS(text, part [, place])",
            "Where the last of the part stands, that begins at a place or before; -1 if nowhere.",
            &[
                ("STRRPOS('banana', 'an')", "3"),
                ("STRRPOS('banana', 'an', 2)", "1"),
            ],
        )
}

fn starts_with() -> Plain {
    flag("pinot_starts_with", |text, part| text.starts_with(part))
        .in_pinot(&["STARTS_WITH"])
        .says(
            Section::Text,
            "STARTSWITH(text, part)",
            "Whether the text begins with the part.",
            &[("STARTSWITH('banana', 'ba')", "true")],
        )
}

fn ends_with_function() -> Plain {
    flag("pinot_ends_with", |text, part| text.ends_with(part))
        .in_pinot(&["ENDS_WITH"])
        .says(
            Section::Text,
            "ENDSWITH(text, part)",
            "Whether the text ends with the part.",
            &[("ENDSWITH('banana', 'ba')", "false")],
        )
}

fn contains() -> Plain {
    flag("pinot_contains", |text, part| text.contains(part))
        .in_pinot(&["CONTAINS"])
        .says(
            Section::Text,
            "CONTAINS(text, part)",
            "Whether the part stands anywhere in the text.",
            &[("CONTAINS('banana', 'nan')", "true")],
        )
}

fn starts_with_case_insensitive() -> Plain {
    flag("starts_with_case_insensitive", begins_with).says(
        Section::Text,
        "STARTSWITHCASEINSENSITIVE(text, part)",
        "Whether the text begins with the part in any case.",
        &[("STARTSWITHCASEINSENSITIVE('Banana', 'bA')", "true")],
    )
}

fn ends_with_case_insensitive() -> Plain {
    flag("ends_with_case_insensitive", ends_with).says(
        Section::Text,
        "ENDSWITHCASEINSENSITIVE(text, part)",
        "Whether the text ends with the part in any case.",
        &[("ENDSWITHCASEINSENSITIVE('Banana', 'NA')", "true")],
    )
}

pub(super) fn all() -> Vec<Plain> {
    vec![
        length_function(),
        octet_length(),
        bit_length(),
        strpos_function(),
        strrpos_function(),
        starts_with(),
        ends_with_function(),
        contains(),
        starts_with_case_insensitive(),
        ends_with_case_insensitive(),
    ]
}
