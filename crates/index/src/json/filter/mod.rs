//! What JSON_MATCH asks of a document: `"$.a.b" = 'x' AND "$.c[*].d" > 3`.

mod parse;

use std::ops::Bound;

use regex::Regex;

use super::JsonPath;

/// Why a filter cannot be read. `at` counts characters from 0.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the JSON filter is wrong at character {}: {what}", at + 1)]
pub struct FilterFault {
    pub at: usize,
    pub what: String,
}

impl FilterFault {
    pub(super) fn new(at: usize, what: impl Into<String>) -> Self {
        Self {
            at,
            what: what.into(),
        }
    }
}

#[derive(Debug)]
pub enum JsonFilter {
    And(Vec<JsonFilter>),
    Or(Vec<JsonFilter>),
    /// No record of the document fulfils it.
    Not(Box<JsonFilter>),
    Test(JsonPath, Check),
}

/// About the value at one path.
#[derive(Debug)]
pub enum Check {
    Exists,
    OneOf(Vec<String>),
    Numbers(Bound<f64>, Bound<f64>),
    Texts(Bound<String>, Bound<String>),
    /// Of the whole value.
    Regex(Regex),
}

impl JsonFilter {
    pub fn parse(text: &str) -> Result<Self, FilterFault> {
        parse::parse(text)
    }
}

impl Check {
    pub(super) fn holds(&self, value: &str) -> bool {
        match self {
            Self::Exists => true,
            Self::OneOf(values) => values.iter().any(|one| one == value),
            Self::Numbers(low, high) => value
                .parse::<f64>()
                .is_ok_and(|value| within(&value, low, high)),
            Self::Texts(low, high) => within(
                value,
                &low.as_ref().map(String::as_str),
                &high.as_ref().map(String::as_str),
            ),
            Self::Regex(regex) => regex.is_match(value),
        }
    }
}

fn within<T: PartialOrd + ?Sized, B: std::borrow::Borrow<T>>(
    value: &T,
    low: &Bound<B>,
    high: &Bound<B>,
) -> bool {
    let above = match low {
        Bound::Included(low) => value >= low.borrow(),
        Bound::Excluded(low) => value > low.borrow(),
        Bound::Unbounded => true,
    };
    above
        && match high {
            Bound::Included(high) => value <= high.borrow(),
            Bound::Excluded(high) => value < high.borrow(),
            Bound::Unbounded => true,
        }
}
