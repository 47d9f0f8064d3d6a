//! PostgreSQL's REGEXP_MATCHES and REGEXP_SPLIT_TO_ARRAY: lists of what an expression finds, and of
//! what lies between.

use arrow::array::ArrayRef;
use datafusion::common::Result;

use super::expression::{Expression, Found};
use super::regexp::{Compiled, check};
use crate::docs::Section;
use crate::plain::{Plain, Takes, list_of};
use crate::rows::{Rows, TEXT};

type Groups<'t> = Vec<Option<&'t str>>;

/// What is found, or its groups where there are some.
fn groups_of<'t>(found: &Found<'_>, text: &'t str, group_count: usize) -> Groups<'t> {
    let groups = if group_count > 1 {
        1..group_count
    } else {
        0..1
    };
    let groups = groups.map(|group| found.group(group).map(|at| &text[at]));
    groups.collect()
}

fn found<'t>(expression: &mut Expression, text: &'t str, all_of_them: bool) -> Vec<Groups<'t>> {
    let group_count = expression.group_count();
    expression.tell(group_count - 1);
    let mut lists = Vec::new();
    match all_of_them {
        true => expression.all(text, |found| {
            lists.push(groups_of(found, text, group_count))
        }),
        false => {
            let first = expression.first(text);
            lists.extend(first.map(|found| groups_of(&found, text, group_count)));
        }
    }
    lists
}

fn matches(rows: &Rows) -> Result<ArrayRef> {
    let flags = rows.literal(2)?.unwrap_or_default();
    let mut compiled = Compiled::new(rows.name());
    compiled.ignores_case = flags.contains('i');
    let all_of_them = flags.contains('g');
    rows.try_map2(|text: &str, pattern: &str| {
        Ok(Some(found(compiled.of(pattern)?, text, all_of_them)))
    })
}

fn split(rows: &Rows) -> Result<ArrayRef> {
    let mut compiled = Compiled::new(rows.name());
    rows.try_map2(|text: &str, pattern: &str| {
        let (mut parts, mut done) = (Vec::new(), 0);
        compiled.of(pattern)?.all(text, |found| {
            let Some(at) = found.group(0) else { return };
            // Nothing at the ends parts nothing.
            if at.end > done.max(at.start) || at.start > done && at.end < text.len() {
                parts.push(&text[done..at.start]);
                done = at.end;
            }
        });
        parts.push(&text[done..]);
        Ok(Some(parts))
    })
}

pub(super) fn all() -> Vec<Plain> {
    use Takes::Text;
    vec![
        Plain::new(
            "regexp_matches",
            &[Text; 3],
            list_of(list_of(TEXT)),
            matches,
        )
        .optional(1)
        .checks(check("REGEXP_MATCHES"))
        .says(
            Section::Text,
            "REGEXP_MATCHES(text, 'expression' [, 'flags'])",
            "What the expression finds first, as a list of its groups, or of the whole where \
                 it has none; with the flag `g` one for each place. In a list of SELECT each is a \
                 row. The flag `i` ignores case.",
            &[
                (
                    "REGEXP_MATCHES('foobarbeque', '(b[^b]+)(b[^b]+)')",
                    "[[bar, beque]]",
                ),
                ("REGEXP_MATCHES('a1b22', '[0-9]+', 'g')", "[[1], [22]]"),
            ],
        ),
        Plain::new("regexp_split_to_array", &[Text; 2], list_of(TEXT), split)
            .checks(check("REGEXP_SPLIT_TO_ARRAY"))
            .says(
                Section::Text,
                "REGEXP_SPLIT_TO_ARRAY(text, 'expression')",
                "The parts of the text between what the expression finds.",
                &[(
                    "REGEXP_SPLIT_TO_ARRAY('one, two,three', ', *')",
                    "[one, two, three]",
                )],
            ),
    ]
}
