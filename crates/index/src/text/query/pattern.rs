//! Patterns of terms, as automata: the dictionary of the index is walked with the very automaton
//! that judges a single token.

use std::fmt;
use std::ops::Bound;
use std::sync::OnceLock;

use levenshtein_automata::{DFA, Distance, LevenshteinAutomatonBuilder, SINK_STATE};
use tantivy_fst::{Automaton, Regex};

pub enum Pattern {
    Prefix(String),
    /// Matches the whole term.
    Regex(Regex),
    Fuzzy(Fuzzy),
    Range(Bound<String>, Bound<String>),
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Prefix(prefix) => f.debug_tuple("Prefix").field(prefix).finish(),
            Self::Regex(regex) => f.debug_tuple("Regex").field(regex).finish(),
            Self::Fuzzy(fuzzy) => f.debug_tuple("Fuzzy").field(fuzzy).finish(),
            Self::Range(low, high) => f.debug_tuple("Range").field(low).field(high).finish(),
        }
    }
}

impl Pattern {
    /// `None`: no regular expression, or one that is too large.
    pub(super) fn regex(expression: &str) -> Result<Self, String> {
        Regex::new(expression)
            .map(Self::Regex)
            .map_err(|error| error.to_string())
    }

    /// `?` is one character, `*` any number of them; what is escaped stands for itself.
    pub(super) fn wildcard(text: &[super::syntax::Char], normalized: &str) -> Result<Self, String> {
        let is_star = |c: &super::syntax::Char| !c.escaped && c.value == '*';
        let is_wild = |c: &super::syntax::Char| !c.escaped && matches!(c.value, '*' | '?');
        let wild = text.iter().filter(|c| is_wild(c)).count();
        if wild == 1 && text.last().is_some_and(is_star) {
            let prefix = normalized.strip_suffix('*').unwrap_or(normalized);
            return Ok(Self::Prefix(prefix.to_owned()));
        }
        let mut expression = String::from("(?s)");
        for c in text {
            match (c.escaped, c.value) {
                (false, '*') => expression.push_str(".*"),
                (false, '?') => expression.push('.'),
                (_, value) => push_literal(value, &mut expression),
            }
        }
        Self::regex(&expression)
    }

    pub(super) fn fuzzy(term: &str, distance: u8) -> Self {
        static BUILDERS: OnceLock<[LevenshteinAutomatonBuilder; 3]> = OnceLock::new();
        let builders = BUILDERS
            .get_or_init(|| [0, 1, 2].map(|most| LevenshteinAutomatonBuilder::new(most, true)));
        Self::Fuzzy(Fuzzy {
            term: term.to_owned(),
            dfa: builders[usize::from(distance.min(2))].build_dfa(term),
        })
    }

    pub(in crate::text) fn matches(&self, token: &str) -> bool {
        match self {
            Self::Prefix(prefix) => token.starts_with(prefix.as_str()),
            Self::Regex(regex) => runs(regex, token),
            Self::Fuzzy(fuzzy) => runs(fuzzy, token),
            Self::Range(low, high) => {
                let above = match low {
                    Bound::Included(low) => token >= low.as_str(),
                    Bound::Excluded(low) => token > low.as_str(),
                    Bound::Unbounded => true,
                };
                above
                    && match high {
                        Bound::Included(high) => token <= high.as_str(),
                        Bound::Excluded(high) => token < high.as_str(),
                        Bound::Unbounded => true,
                    }
            }
        }
    }
}

fn push_literal(value: char, expression: &mut String) {
    if value.is_ascii() && !value.is_ascii_alphanumeric() && !value.is_ascii_whitespace() {
        expression.push('\\');
    }
    expression.push(value);
}

fn runs<A: Automaton>(automaton: &A, token: &str) -> bool {
    let mut state = automaton.start();
    for byte in token.bytes() {
        if !automaton.can_match(&state) {
            return false;
        }
        state = automaton.accept(&state, byte);
    }
    automaton.is_match(&state)
}

/// Terms at most so many edits away; two letters that change places are one edit.
pub struct Fuzzy {
    term: String,
    dfa: DFA,
}

impl fmt::Debug for Fuzzy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.term)
    }
}

impl Automaton for Fuzzy {
    type State = u32;

    fn start(&self) -> u32 {
        self.dfa.initial_state()
    }

    fn is_match(&self, state: &u32) -> bool {
        matches!(self.dfa.distance(*state), Distance::Exact(_))
    }

    fn can_match(&self, state: &u32) -> bool {
        *state != SINK_STATE
    }

    fn accept(&self, state: &u32, byte: u8) -> u32 {
        self.dfa.transition(*state, byte)
    }
}
