//! What statements are written with: two sources of chance, names that are not taken, what was
//! used.

use std::collections::BTreeSet;

use rand::rngs::SmallRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};

/// Of a value, as far as it matters for where it may stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Of {
    Whole,
    Double,
    Text,
    Flag,
    Time,
    Day,
}

impl Of {
    pub(super) const ALL: [Self; 6] = [
        Self::Whole,
        Self::Double,
        Self::Text,
        Self::Flag,
        Self::Time,
        Self::Day,
    ];
}

/// An expression and what it gives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Value {
    pub(super) text: String,
    pub(super) of: Of,
}

impl Value {
    pub(super) fn new(text: impl Into<String>, of: Of) -> Self {
        Self {
            text: text.into(),
            of,
        }
    }
}

/// What may be named: columns around the place, and those of the statement around it.
#[derive(Clone, Debug, Default)]
pub(super) struct Scope {
    pub(super) own: Vec<Value>,
    pub(super) outer: Vec<Value>,
    /// Lists, which only a few expressions take.
    pub(super) lists: Vec<String>,
}

/// What stands in FROM.
#[derive(Clone, Debug)]
pub(super) struct Relation {
    pub(super) text: String,
    pub(super) columns: Vec<Value>,
    pub(super) lists: Vec<String>,
    /// No two rows are equal in these.
    pub(super) unique: Option<Vec<String>>,
    /// About how many there are.
    pub(super) rows: f64,
}

/// A query whose columns are named `c0`, `c1` and so on.
#[derive(Clone, Debug)]
pub(super) struct Query {
    pub(super) text: String,
    pub(super) columns: Vec<Of>,
    pub(super) unique: Option<Vec<usize>>,
    pub(super) rows: f64,
}

/// More rows than these are not joined any further.
pub(super) const ROWS_MAX: f64 = 8_000.0;

pub(super) struct Author {
    shape: SmallRng,
    literals: SmallRng,
    names: usize,
    pub(super) kinds: BTreeSet<&'static str>,
    pub(super) is_pinot: bool,
    /// Queries of WITH that may be named.
    pub(super) known: Vec<Relation>,
    /// How many subqueries may still be written where one may stand.
    pub(super) subqueries: usize,
}

const OURS: char = '\u{1}';
const DUCK: char = '\u{2}';
const END: char = '\u{3}';

/// A part that is said in other words.
pub(super) fn either(ours: &str, duck: &str) -> String {
    format!("{OURS}{ours}{DUCK}{duck}{END}")
}

/// The words of one side; parts do not stand within parts.
pub(super) fn said(text: &str, is_ours: bool) -> String {
    let mut said = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once(OURS) {
        said.push_str(before);
        let (ours, after) = after.split_once(DUCK).unwrap_or((after, ""));
        let (duck, after) = after.split_once(END).unwrap_or((after, ""));
        said.push_str(if is_ours { ours } else { duck });
        rest = after;
    }
    said + rest
}

impl Author {
    pub(super) fn new(shape: u64, literals: u64) -> Self {
        Self {
            shape: SmallRng::seed_from_u64(shape),
            literals: SmallRng::seed_from_u64(literals),
            names: 0,
            kinds: BTreeSet::new(),
            is_pinot: true,
            known: Vec::new(),
            subqueries: 0,
        }
    }

    pub(super) fn uses(&mut self, kind: &'static str) {
        self.kinds.insert(kind);
    }

    pub(super) fn chance(&mut self, share: f64) -> bool {
        self.shape.random_bool(share)
    }

    /// One of so many.
    pub(super) fn one_of(&mut self, count: usize) -> usize {
        self.shape.random_range(0..count)
    }

    pub(super) fn pick<'t, T>(&mut self, from: &'t [T]) -> &'t T {
        from.choose(&mut self.shape)
            .expect("there is something to pick")
    }

    pub(super) fn number(&mut self, low: i64, high: i64) -> i64 {
        self.literals.random_range(low..=high)
    }

    pub(super) fn name(&mut self) -> String {
        self.names += 1;
        format!("t{}", self.names)
    }

    /// `low`, `low + 1`, … to `high`, part of the shape.
    pub(super) fn count(&mut self, low: usize, high: usize) -> usize {
        self.shape.random_range(low..=high)
    }

    pub(super) fn literal(&mut self, of: Of) -> String {
        match of {
            Of::Whole => self.number(-3, 14).to_string(),
            Of::Double => format!("{:e}", self.number(-8, 120) as f64 / 8.0),
            Of::Text => {
                let words = super::tables::WORDS;
                let word = words[self.literals.random_range(0..words.len())];
                format!("'{}'", word.replace('\'', "''"))
            }
            Of::Flag => (*self.pick(&["true", "false"])).to_owned(),
            Of::Time => {
                let (day, hour) = (self.number(1, 8), self.number(0, 23));
                format!("TIMESTAMP '2024-01-{day:02} {hour:02}:00:00'")
            }
            Of::Day => format!("DATE '2024-01-{:02}'", self.number(1, 8)),
        }
    }

    pub(super) fn column_of(&mut self, columns: &[Value], of: Of) -> Option<String> {
        let fitting = columns.iter().filter(|column| column.of == of);
        let fitting: Vec<&Value> = fitting.collect();
        fitting
            .choose(&mut self.shape)
            .map(|column| column.text.clone())
    }

    /// A column, most often one around the place.
    pub(super) fn column(&mut self, scope: &Scope, of: Of) -> Option<String> {
        if !scope.outer.is_empty() && self.chance(0.15) {
            let outer = self.column_of(&scope.outer, of);
            if outer.is_some() {
                return outer;
            }
        }
        self.column_of(&scope.own, of)
    }
}

impl Scope {
    pub(super) fn of(relation: &Relation) -> Self {
        Self {
            own: relation.columns.clone(),
            outer: Vec::new(),
            lists: relation.lists.clone(),
        }
    }

    /// Those that a subquery sees around it: names without a table would be its own.
    pub(super) fn as_outer(&self) -> Vec<Value> {
        let named = self.own.iter().filter(|column| column.text.contains('.'));
        let plain = |column: &&Value| {
            column
                .text
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || c == '.')
        };
        named.filter(plain).cloned().collect()
    }
}
