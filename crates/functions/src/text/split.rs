//! SPLIT and SPLITPART. Separators are sets of characters, as Pinot has them: none are empty texts
//! between two.

use arrow::array::ArrayRef;
use datafusion::common::Result;

use crate::docs::Section;
use crate::plain::{Plain, Takes, list_of};
use crate::rows::{Rows, TEXT};

/// The pieces between any of the characters. At most so many: the last is the rest.
fn pieces(text: &str, separators: &str, most: usize) -> Vec<String> {
    let separates = |c: char| match separators.is_empty() {
        true => c.is_whitespace(),
        false => separators.contains(c),
    };
    let mut pieces = Vec::new();
    let mut rest = text.trim_start_matches(separates);
    while !rest.is_empty() {
        if pieces.len() + 1 == most {
            pieces.push(rest.to_owned());
            break;
        }
        let (piece, behind) = rest.split_at(rest.find(separates).unwrap_or(rest.len()));
        pieces.push(piece.to_owned());
        rest = behind.trim_start_matches(separates);
    }
    pieces
}

fn split(rows: &Rows) -> Result<ArrayRef> {
    match rows.has(2) {
        true => rows.map3(|text: &str, separators: &str, most: i64| {
            Some(pieces(text, separators, usize::try_from(most).unwrap_or(0)))
        }),
        false => rows.map2(|text: &str, separators: &str| Some(pieces(text, separators, 0))),
    }
}

fn part(pieces: &[String], index: i64) -> String {
    let at = match index < 0 {
        true => pieces.len().checked_sub(index.unsigned_abs() as usize),
        false => Some(index as usize),
    };
    at.and_then(|at| pieces.get(at))
        .map_or_else(|| "null".to_owned(), Clone::clone)
}

fn split_part(rows: &Rows) -> Result<ArrayRef> {
    match rows.has(3) {
        true => rows.try_map4(|text: &str, separators: &str, most: i64, index: i64| {
            let most = usize::try_from(most).unwrap_or(0);
            Ok(Some(part(&pieces(text, separators, most), index)))
        }),
        false => rows.map3(|text: &str, separators: &str, index: i64| {
            Some(part(&pieces(text, separators, 0), index))
        }),
    }
}

pub(super) fn all() -> Vec<Plain> {
    use Takes::{Long, Text};
    vec![
        Plain::new("split", &[Text, Text, Long], list_of(TEXT), split)
            .optional(1)
            .in_pinot(&["STRING_TO_ARRAY"])
            .says(
                Section::Text,
                "SPLIT(text, 'separators' [, most])",
                "The pieces between any of the separators, at most so many. Also called \
                 STRINGTOARRAY.",
                &[
                    ("SPLIT('a,b,,c', ',')", "[a, b, c]"),
                    ("SPLIT('a,b,c', ',', 2)", "[a, b,c]"),
                ],
            ),
        Plain::new(
            "pinot_split_part",
            &[Text, Text, Long, Long],
            TEXT,
            split_part,
        )
        .optional(1)
        .of_entries()
        .in_pinot(&["SPLIT_PART"])
        .says(
            Section::Text,
            "SPLITPART(text, 'separators' [, most], index)",
            "One of the pieces, counted from 0, or from the end if the index is negative; the \
                 text `null` if there is none.",
            &[
                ("SPLITPART('a.b.c', '.', 1)", "b"),
                ("SPLITPART('a.b.c', '.', -1)", "c"),
                ("SPLITPART('a.b.c', '.', 2, 1)", "b.c"),
            ],
        ),
    ]
}
