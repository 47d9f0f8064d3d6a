//! PREFIXES, SUFFIXES, UNIQUENGRAMS: parts of a text for indexes and searches.

use std::collections::HashSet;

use super::byte_at;
use crate::docs::Section;
use crate::plain::{Plain, Takes, list_of};
use crate::rows::TEXT;

fn prefixes(text: &str, longest: i64, before: &str) -> Vec<String> {
    let longest = usize::try_from(longest).unwrap_or(0);
    let ends = text
        .char_indices()
        .skip(1)
        .map(|(at, _)| at)
        .chain([text.len()]);
    let ends = ends.filter(|end| *end > 0).take(longest);
    ends.map(|end| [before, &text[..end]].concat()).collect()
}

fn suffixes(text: &str, longest: i64, behind: &str) -> Vec<String> {
    let longest = usize::try_from(longest).unwrap_or(0);
    let begins = text.char_indices().rev().map(|(at, _)| at).take(longest);
    begins
        .map(|begin| [&text[begin..], behind].concat())
        .collect()
}

fn ngrams(text: &str, shortest: i64, longest: i64) -> Vec<String> {
    let mut seen = HashSet::new();
    let mut all = Vec::new();
    for size in shortest.max(1)..=longest.min(text.len() as i64) {
        let size = size as usize;
        for (begin, _) in text.char_indices() {
            let rest = &text[begin..];
            let end = byte_at(rest, size);
            let gram = &rest[..end];
            if super::length(gram) == size && seen.insert(gram) {
                all.push(gram.to_owned());
            }
        }
    }
    all
}

fn prefixes_function() -> Plain {
    use Takes::{Long, Text};
    Plain::new("prefixes", &[Text, Long], list_of(TEXT), |rows| {
        rows.map2(|text: &str, longest: i64| Some(prefixes(text, longest, "")))
    })
    .says(
        Section::Text,
        "PREFIXES(text, longest)",
        "The first character, the first two, and so on.",
        &[("PREFIXES('Pinot', 3)", "[P, Pi, Pin]")],
    )
}

fn prefixes_with_prefix() -> Plain {
    use Takes::{Long, Text};
    Plain::new(
        "prefixes_with_prefix",
        &[Text, Long, Text],
        list_of(TEXT),
        |rows| {
            rows.map3(|text: &str, longest: i64, before: &str| {
                Some(prefixes(text, longest, before))
            })
        },
    )
    .says(
        Section::Text,
        "PREFIXESWITHPREFIX(text, longest, before)",
        "The same with something before each.",
        &[("PREFIXESWITHPREFIX('Pinot', 2, '^')", "[^P, ^Pi]")],
    )
}

fn suffixes_function() -> Plain {
    use Takes::{Long, Text};
    Plain::new("suffixes", &[Text, Long], list_of(TEXT), |rows| {
        rows.map2(|text: &str, longest: i64| Some(suffixes(text, longest, "")))
    })
    .says(
        Section::Text,
        "SUFFIXES(text, longest)",
        "The last character, the last two, and so on.",
        &[("SUFFIXES('Pinot', 3)", "[t, ot, not]")],
    )
}

fn suffixes_with_suffix() -> Plain {
    use Takes::{Long, Text};
    Plain::new(
        "suffixes_with_suffix",
        &[Text, Long, Text],
        list_of(TEXT),
        |rows| {
            rows.map3(|text: &str, longest: i64, behind: &str| {
                Some(suffixes(text, longest, behind))
            })
        },
    )
    .says(
        Section::Text,
        "SUFFIXESWITHSUFFIX(text, longest, behind)",
        "The same with something behind each.",
        &[("SUFFIXESWITHSUFFIX('Pinot', 2, '$')", "[t$, ot$]")],
    )
}

fn unique_ngrams() -> Plain {
    use Takes::{Long, Text};
    Plain::new(
        "unique_ngrams",
        &[Text, Long, Long],
        list_of(TEXT),
        |rows| match rows.has(2) {
            true => rows.map3(|text: &str, shortest: i64, longest: i64| {
                Some(ngrams(text, shortest, longest))
            }),
            false => rows.map2(|text: &str, size: i64| Some(ngrams(text, size, size))),
        },
    )
    .optional(1)
    .alias("generate_unique_ngrams")
    .says(
        Section::Text,
        "UNIQUENGRAMS(text, shortest [, longest])",
        "Parts of so many characters, each once. Also called GENERATEUNIQUENGRAMS.",
        &[("UNIQUENGRAMS('banana', 2)", "[ba, an, na]")],
    )
}

pub(super) fn all() -> Vec<Plain> {
    vec![
        prefixes_function(),
        prefixes_with_prefix(),
        suffixes_function(),
        suffixes_with_suffix(),
        unique_ngrams(),
    ]
}
