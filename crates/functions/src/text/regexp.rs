//! REGEXPEXTRACT, REGEXPREPLACE, REGEXPLIKE and their kin. Expressions are those of Rust's `regex`,
//! which are Java's without looking around and references back.

use std::collections::HashMap;

use arrow::array::ArrayRef;
use arrow::datatypes::DataType;
use datafusion::common::{Result, ScalarValue};

use super::expression::{Expression, Found};
use crate::arguments::wrong;
use crate::docs::Section;
use crate::plain::{Plain, Takes, literal};
use crate::rows::{Rows, TEXT};

/// As many are kept where expressions differ from row to row.
const KEPT_MAX: usize = 64;

fn compiled(name: &str, pattern: &str, ignores_case: bool) -> Result<Expression> {
    Expression::new(pattern, ignores_case).map_err(|reason| {
        wrong(format!(
            "{name}: `{pattern}` is no regular expression that can be used here: {reason}"
        ))
    })
}

/// Expressions of one call, each compiled once.
pub(super) struct Compiled<'a> {
    name: &'a str,
    pub(super) ignores_case: bool,
    kept: Vec<(String, Expression)>,
    places: HashMap<String, usize>,
    /// The place of the one that was asked for last.
    last: usize,
}

impl<'a> Compiled<'a> {
    pub(super) fn new(name: &'a str) -> Self {
        Self {
            name,
            ignores_case: false,
            kept: Vec::new(),
            places: HashMap::new(),
            last: 0,
        }
    }

    pub(super) fn of(&mut self, pattern: &str) -> Result<&mut Expression> {
        let last = self.kept.get(self.last);
        if last.is_none_or(|(last, _)| last != pattern) {
            self.last = match self.places.get(pattern) {
                Some(place) => *place,
                None => self.compile(pattern)?,
            };
        }
        Ok(&mut self.kept[self.last].1)
    }

    fn compile(&mut self, pattern: &str) -> Result<usize> {
        let expression = compiled(self.name, pattern, self.ignores_case)?;
        if self.kept.len() == KEPT_MAX {
            self.kept.clear();
            self.places.clear();
        }
        let place = self.kept.len();
        self.kept.push((pattern.to_owned(), expression));
        self.places.insert(pattern.to_owned(), place);
        Ok(place)
    }
}

pub(super) fn check(name: &'static str) -> impl Fn(&[Option<&ScalarValue>]) -> Result<()> {
    move |values| literal(values, 1).map_or(Ok(()), |p| compiled(name, p, false).map(|_| ()))
}

fn extract(rows: &Rows) -> Result<ArrayRef> {
    let otherwise = match rows.has(3) {
        true => rows.literal(3)?,
        false => Some(""),
    };
    let mut compiled = Compiled::new(rows.name());
    match rows.has(2) {
        true => rows.try_map3(|text: &str, pattern: &str, group: i64| {
            let group = usize::try_from(group).unwrap_or(usize::MAX);
            Ok(group_of(compiled.of(pattern)?, text, group).or(otherwise))
        }),
        false => rows.try_map2(|text: &str, pattern: &str| {
            Ok(group_of(compiled.of(pattern)?, text, 0).or(otherwise))
        }),
    }
}

fn group_of<'t>(expression: &mut Expression, text: &'t str, group: usize) -> Option<&'t str> {
    expression.tell(group);
    let group = expression.first(text)?.group(group)?;
    Some(&text[group])
}

/// What comes in the place of what is found.
#[derive(Debug, Default)]
struct Template {
    by: String,
    group_count: usize,
    /// Texts, each with the group behind it.
    pieces: Vec<(String, usize)>,
    last: String,
}

impl Template {
    /// `$1` is a group, of as many digits as there are groups; `\$` is a dollar.
    fn new(by: &str, group_count: usize) -> Self {
        let mut template = Self {
            by: by.to_owned(),
            group_count,
            ..Self::default()
        };
        let mut letters = by.chars().peekable();
        while let Some(letter) = letters.next() {
            match letter {
                '\\' => template.last.extend(letters.next()),
                '$' => {
                    let digit = |c: &char| Some(c.to_digit(10)? as usize);
                    let mut group = letters.peek().and_then(digit);
                    if group.is_some() {
                        letters.next();
                    }
                    while let Some(longer) = letters.peek().and_then(digit)
                        && let Some(longer) = group.map(|group| group * 10 + longer)
                        && longer < group_count
                    {
                        group = Some(longer);
                        letters.next();
                    }
                    let text = std::mem::take(&mut template.last);
                    template.pieces.push((text, group.unwrap_or(0)));
                }
                other => template.last.push(other),
            }
        }
        template
    }

    fn greatest_group(&self) -> usize {
        let groups = self.pieces.iter().map(|(_, group)| *group);
        groups.max().unwrap_or(0)
    }

    fn write(&self, text: &str, found: &Found<'_>, to: &mut String) {
        for (before, group) in &self.pieces {
            to.push_str(before);
            to.push_str(found.group(*group).map_or("", |group| &text[group]));
        }
        to.push_str(&self.last);
    }
}

/// `from`: the character from which on it is looked; `nth`: the only one that is replaced, from 0
/// on, or all.
struct Replace {
    from: usize,
    nth: Option<usize>,
}

impl Replace {
    fn write(&self, expression: &mut Expression, text: &str, by: &Template, to: &mut String) {
        let (before, text) = text.split_at(super::byte_at(text, self.from));
        to.push_str(before);
        let (mut done, mut number) = (0, 0);
        expression.all(text, |found| {
            let Some(whole) = found.group(0) else { return };
            to.push_str(&text[done..whole.start]);
            match self.nth.is_none_or(|nth| nth == number) {
                true => by.write(text, found, to),
                false => to.push_str(&text[whole.clone()]),
            }
            done = whole.end;
            number += 1;
        });
        to.push_str(&text[done..]);
    }
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
    let replace = Replace {
        from: usize::try_from(number(3)?.unwrap_or(0)).unwrap_or(0),
        nth: number(4)?.and_then(|nth| usize::try_from(nth).ok()),
    };
    let mut compiled = Compiled::new(rows.name());
    compiled.ignores_case = rows.literal(5)?.is_some_and(|flags| flags.contains('i'));
    let mut template = Template::default();
    rows.write3(|text: &str, pattern: &str, by: &str, to| {
        let expression = compiled.of(pattern)?;
        let group_count = expression.group_count();
        if template.by != by || template.group_count != group_count {
            template = Template::new(by, group_count);
        }
        expression.tell(template.greatest_group());
        replace.write(expression, text, &template, to);
        Ok(())
    })
}

fn like(rows: &Rows) -> Result<ArrayRef> {
    let mut compiled = Compiled::new(rows.name());
    compiled.ignores_case = rows.literal(2)?.is_some_and(|flags| flags.contains('i'));
    rows.try_map2(|text: &str, pattern: &str| Ok(Some(compiled.of(pattern)?.is_in(text))))
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
            let mut compiled = Compiled::new(rows.name());
            rows.try_map2(|text: &str, pattern: &str| {
                Ok(Some(compiled.of(pattern)?.count(text) as i32))
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
        let mut compiled = Compiled::new(rows.name());
        rows.try_map2(|text: &str, pattern: &str| Ok(group_of(compiled.of(pattern)?, text, 0)))
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
