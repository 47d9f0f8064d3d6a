//! REGEXPEXTRACT, REGEXPREPLACE, REGEXPLIKE and their kin. Expressions are those of Rust's `regex`,
//! which are Java's without looking around and references back.

use std::collections::HashMap;

use arrow::array::ArrayRef;
use arrow::datatypes::DataType;
use datafusion::common::{Result, ScalarValue};
use regex::{Captures, Regex, RegexBuilder};
use std::cell::RefCell;

use crate::arguments::wrong;
use crate::docs::Section;
use crate::plain::{Plain, Takes, literal};
use crate::rows::{Rows, TEXT};

fn compiled(name: &str, pattern: &str, ignores_case: bool) -> Result<Regex> {
    let mut builder = RegexBuilder::new(pattern);
    builder
        .case_insensitive(ignores_case)
        .build()
        .map_err(|error| {
            let last = error.to_string();
            let last = last.lines().last().unwrap_or_default().to_owned();
            wrong(format!(
                "{name}: `{pattern}` is no regular expression that can be used here: {last}"
            ))
        })
}

/// Expressions of one call, each compiled once.
struct Compiled<'a> {
    name: &'a str,
    ignores_case: bool,
    known: RefCell<HashMap<String, Regex>>,
}

impl<'a> Compiled<'a> {
    fn new(name: &'a str) -> Self {
        Self {
            name,
            ignores_case: false,
            known: RefCell::default(),
        }
    }

    fn with<T>(&self, pattern: &str, use_it: impl FnOnce(&Regex) -> T) -> Result<T> {
        if let Some(known) = self.known.borrow().get(pattern) {
            return Ok(use_it(known));
        }
        let regex = compiled(self.name, pattern, self.ignores_case)?;
        let result = use_it(&regex);
        self.known.borrow_mut().insert(pattern.to_owned(), regex);
        Ok(result)
    }
}

fn check(name: &'static str) -> impl Fn(&[Option<&ScalarValue>]) -> Result<()> {
    move |values| literal(values, 1).map_or(Ok(()), |p| compiled(name, p, false).map(|_| ()))
}

fn extract(rows: &Rows) -> Result<ArrayRef> {
    let otherwise = match rows.has(3) {
        true => rows.literal(3)?.map(str::to_owned),
        false => Some(String::new()),
    };
    let compiled = Compiled::new(rows.name());
    let of = |text: &str, pattern: &str, group: usize| {
        compiled.with(pattern, |regex| {
            let found = regex.captures(text).and_then(|found| found.get(group));
            found
                .map(|found| found.as_str().to_owned())
                .or(otherwise.clone())
        })
    };
    match rows.has(2) {
        true => rows.try_map3(|text: &str, pattern: &str, group: i64| {
            of(text, pattern, usize::try_from(group).unwrap_or(usize::MAX))
        }),
        false => rows.try_map2(|text: &str, pattern: &str| of(text, pattern, 0)),
    }
}

/// `$1` is a group, `\$` a dollar.
fn expanded(by: &str, found: &Captures<'_>, to: &mut String) {
    let mut letters = by.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            '\\' => to.extend(letters.next()),
            '$' => {
                let mut group = 0;
                while let Some(digit) = letters.peek().and_then(|c| c.to_digit(10)) {
                    group = group * 10 + digit as usize;
                    letters.next();
                }
                to.push_str(found.get(group).map_or("", |group| group.as_str()));
            }
            other => to.push(other),
        }
    }
}

/// `from`: the character from which on it is looked; `nth`: the only one that is replaced, from 0
/// on, or all.
fn replaced(regex: &Regex, text: &str, by: &str, from: usize, nth: Option<usize>) -> String {
    let from = super::byte_at(text, from);
    let mut result = text[..from].to_owned();
    let mut done = from;
    for (number, found) in regex.captures_iter(&text[from..]).enumerate() {
        let Some(whole) = found.get(0) else { continue };
        result.push_str(&text[done..from + whole.start()]);
        match nth.is_none_or(|nth| nth == number) {
            true => expanded(by, &found, &mut result),
            false => result.push_str(whole.as_str()),
        }
        done = from + whole.end();
    }
    result.push_str(&text[done..]);
    result
}

fn replace(rows: &Rows) -> Result<ArrayRef> {
    let number = |at: usize| -> Result<Option<i64>> {
        match rows.literal(at)? {
            Some(text) => text.trim().parse().map(Some).map_err(|_| {
                let (name, number) = (rows.name(), at + 1);
                wrong(format!("{name}: argument {number} is a whole number"))
            }),
            None => Ok(None),
        }
    };
    let from = usize::try_from(number(3)?.unwrap_or(0)).unwrap_or(0);
    let nth = number(4)?.and_then(|nth| usize::try_from(nth).ok());
    let mut compiled = Compiled::new(rows.name());
    compiled.ignores_case = rows.literal(5)?.is_some_and(|flags| flags.contains('i'));
    rows.try_map3(|text: &str, pattern: &str, by: &str| {
        compiled.with(pattern, |regex| Some(replaced(regex, text, by, from, nth)))
    })
}

fn like(rows: &Rows) -> Result<ArrayRef> {
    let mut compiled = Compiled::new(rows.name());
    compiled.ignores_case = rows.literal(2)?.is_some_and(|flags| flags.contains('i'));
    rows.try_map2(|text: &str, pattern: &str| {
        compiled.with(pattern, |regex| Some(regex.is_match(text)))
    })
}

fn regexp_extract() -> Plain {
    use Takes::{Long, Text};
    Plain::new("regexp_extract", &[Text, Text, Long, Text], TEXT, extract)
        .optional(2)
        .of_entries()
        .checks(check("REGEXPEXTRACT"))
        .says(
            Section::Text,
            "REGEXPEXTRACT(text, 'expression' [, group [, default]])",
            "What the expression finds first, or a group of it; the default, an empty text if \
                 nothing is said, where it finds nothing.",
            &[
                ("REGEXPEXTRACT('v1.52', '[0-9]+')", "1"),
                ("REGEXPEXTRACT('v1.52', 'v(\\d+)\\.(\\d+)', 2)", "52"),
                ("REGEXPEXTRACT('x', '[0-9]+', 0, 'none')", "none"),
            ],
        )
}

fn regexp_replace() -> Plain {
    use Takes::Text;
    Plain::new("pinot_regexp_replace", &[Text; 6], TEXT, replace)
        .optional(3)
        .of_entries()
        .in_pinot(&["REGEXP_REPLACE"])
        .checks(check("REGEXPREPLACE"))
        .says(
            Section::Text,
            "REGEXPREPLACE(text, 'expression', by [, from [, nth [, 'flags']]])",
            "The text with something else in the place of what the expression finds, from a \
                 place on, all or the nth (both count from 0); `$1` is a group. The flag `i` \
                 ignores case.",
            &[
                ("REGEXPREPLACE('a1b22', '[0-9]+', '#')", "a#b#"),
                (
                    "REGEXPREPLACE('John Smith', '(\\w+) (\\w+)', '$2, $1')",
                    "Smith, John",
                ),
                ("REGEXPREPLACE('aAa', 'a', 'x', 0, 1, 'i')", "axa"),
            ],
        )
}

fn regexp_like() -> Plain {
    use Takes::Text;
    Plain::new(
        "pinot_regexp_like",
        &[Text, Text, Text],
        DataType::Boolean,
        like,
    )
    .optional(1)
    .of_entries()
    .in_pinot(&["REGEXP_LIKE"])
    .checks(check("REGEXPLIKE"))
    .says(
        Section::Text,
        "REGEXPLIKE(text, 'expression' [, 'flags'])",
        "Whether the expression finds anything. The flag `i` ignores case.",
        &[("REGEXPLIKE('banana', '^b.n')", "true")],
    )
}

fn regexp_count() -> Plain {
    use Takes::Text;
    Plain::new(
        "pinot_regexp_count",
        &[Text, Text],
        DataType::Int32,
        |rows| {
            let compiled = Compiled::new(rows.name());
            rows.try_map2(|text: &str, pattern: &str| {
                compiled.with(pattern, |regex| Some(regex.find_iter(text).count() as i32))
            })
        },
    )
    .of_entries()
    .in_pinot(&["REGEXP_COUNT"])
    .checks(check("REGEXPCOUNT"))
    .says(
        Section::Text,
        "REGEXPCOUNT(text, 'expression')",
        "How often the expression finds something.",
        &[("REGEXPCOUNT('banana', 'an')", "2")],
    )
}

fn regexp_substr() -> Plain {
    use Takes::Text;
    Plain::new("regexp_substr", &[Text, Text], TEXT, |rows| {
        let compiled = Compiled::new(rows.name());
        rows.try_map2(|text: &str, pattern: &str| {
            compiled.with(pattern, |regex| {
                regex.find(text).map(|found| found.as_str().to_owned())
            })
        })
    })
    .of_entries()
    .checks(check("REGEXPSUBSTR"))
    .says(
        Section::Text,
        "REGEXPSUBSTR(text, 'expression')",
        "What the expression finds first; null if nothing.",
        &[("REGEXPSUBSTR('v1.52', '[0-9.]+')", "1.52")],
    )
}

pub(super) fn all() -> Vec<Plain> {
    vec![
        regexp_extract(),
        regexp_replace(),
        regexp_like(),
        regexp_count(),
        regexp_substr(),
    ]
}
