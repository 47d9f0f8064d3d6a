//! What a text is asked for.
//!
//! A query is parsed once ([`parse`]); its words have gone through the analyzer, its patterns are
//! automata over the bytes of a term. Nothing here is scored: a text matches or it does not.

mod parse;
mod pattern;
mod syntax;

use super::Analyzer;
pub(super) use pattern::Pattern;

/// How words that stand side by side are joined.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum DefaultOperator {
    #[default]
    Or,
    And,
}

/// Why a query cannot be read. `at` counts characters from 0.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the text query is wrong at character {}: {what}", at + 1)]
pub struct QueryFault {
    pub at: usize,
    pub what: String,
}

#[derive(Debug)]
pub enum TextQuery {
    /// Every text.
    All,
    /// No text: nothing but stop words was asked for.
    Nothing,
    Leaf(Leaf),
    /// Terms at these distances from the first, in ascending order; `slop` is how much they may
    /// be moved against each other.
    Phrase {
        terms: Vec<(String, u32)>,
        slop: u32,
    },
    /// All of `must`, or else, where there is none, any of `should`; never one of `must_not`.
    /// With `must_not` alone, every other text.
    Boolean {
        must: Vec<TextQuery>,
        should: Vec<TextQuery>,
        must_not: Vec<TextQuery>,
    },
}

/// A question about one token.
#[derive(Debug)]
pub enum Leaf {
    Term(String),
    Pattern(Pattern),
}

impl Leaf {
    pub(super) fn matches(&self, token: &str) -> bool {
        match self {
            Self::Term(term) => term == token,
            Self::Pattern(pattern) => pattern.matches(token),
        }
    }
}

impl TextQuery {
    /// From the syntax of Lucene's classic parser.
    pub fn parse(
        text: &str,
        analyzer: &Analyzer,
        default: DefaultOperator,
    ) -> Result<Self, QueryFault> {
        parse::parse(text, analyzer, default)
    }
}

/// Whether terms of a phrase stand together: for each term its positions less its place in the
/// phrase, ascending.
pub(super) fn stands_together(positions: &[Vec<u32>], slop: u32) -> bool {
    let mut at = vec![0; positions.len()];
    loop {
        let (mut least, mut greatest) = (0, 0_i64);
        let mut low = i64::MAX;
        for (term, next) in at.iter().enumerate() {
            let Some(position) = positions[term].get(*next) else {
                return false;
            };
            let position = i64::from(*position as i32);
            if position < low {
                (low, least) = (position, term);
            }
            greatest = if term == 0 {
                position
            } else {
                greatest.max(position)
            };
        }
        if greatest - low <= i64::from(slop) {
            return true;
        }
        at[least] += 1;
    }
}
