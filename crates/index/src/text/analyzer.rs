//! From a text to its tokens: words with their positions.
//!
//! Documents and queries go through the same analyzer, or they do not meet. Positions count every
//! word, those that are left out too, so that a phrase knows of the gap.

use std::collections::BTreeSet;

use rust_stemmers::{Algorithm, Stemmer};
use serde_json::Value;
use unicode_segmentation::UnicodeSegmentation;

/// Longer tokens are neither indexed nor found.
const TOKEN_BYTES_MAX: usize = 32_000;

/// Positions between two values of one row: no phrase reaches across.
pub(super) const VALUE_GAP: u32 = 1_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AnalyzerKind {
    /// Words by the rules of Unicode (UAX #29), in lower case.
    Standard,
    /// Words between white space, as they are.
    Whitespace,
    /// The whole text.
    Keyword,
    /// As `Standard`, without `'s`, cut to the English stem.
    English,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Analyzer {
    kind: AnalyzerKind,
    stop_words: BTreeSet<String>,
    /// Bytes of the longest stop word.
    stop_max: usize,
}

impl Analyzer {
    pub fn new<S: Into<String>>(
        kind: AnalyzerKind,
        stop_words: impl IntoIterator<Item = S>,
    ) -> Self {
        let stop_words: BTreeSet<String> = stop_words.into_iter().map(Into::into).collect();
        Self {
            kind,
            stop_max: stop_words.iter().map(String::len).max().unwrap_or(0),
            stop_words,
        }
    }

    /// From `{"analyzer": "english", "stop_words": ["the"]}`, as an index keeps it. `None`: that
    /// analyzer is not known here.
    pub fn of_parameters(parameters: &Value) -> Option<Self> {
        let kind = match parameters.get("analyzer").and_then(Value::as_str) {
            None | Some("standard") => AnalyzerKind::Standard,
            Some("whitespace") => AnalyzerKind::Whitespace,
            Some("keyword") => AnalyzerKind::Keyword,
            Some("english") => AnalyzerKind::English,
            Some(_) => return None,
        };
        let stop_words = parameters.get("stop_words").and_then(Value::as_array);
        let stop_words = stop_words.into_iter().flatten().filter_map(Value::as_str);
        Some(Self::new(kind, stop_words))
    }

    /// Calls `token` with every token and its position; returns the first position after them.
    pub fn each_token(&self, text: &str, token: impl FnMut(&str, u32)) -> u32 {
        let mut sink = Sink {
            analyzer: self,
            token,
            position: 0,
        };
        match self.kind {
            AnalyzerKind::Keyword => sink.add(text),
            AnalyzerKind::Whitespace => text.split_whitespace().for_each(|word| sink.add(word)),
            AnalyzerKind::Standard => {
                let mut lower = String::new();
                text.unicode_words()
                    .for_each(|word| sink.add(lowered(word, &mut lower)));
            }
            AnalyzerKind::English => {
                let stemmer = Stemmer::create(Algorithm::English);
                let mut lower = String::new();
                for word in text.unicode_words() {
                    let word = lowered(word, &mut lower);
                    let word = word.strip_suffix("'s").unwrap_or(word);
                    if sink.is_stop_word(word) {
                        sink.position += 1;
                    } else {
                        sink.add(&stemmer.stem(word));
                    }
                }
            }
        }
        sink.position
    }

    /// What prefixes, patterns and ends of ranges become: no word is cut or left out.
    pub(super) fn normalized(&self, text: &str) -> String {
        match self.kind {
            AnalyzerKind::Standard | AnalyzerKind::English => text.to_lowercase(),
            AnalyzerKind::Whitespace | AnalyzerKind::Keyword => text.to_owned(),
        }
    }
}

struct Sink<'a, F> {
    analyzer: &'a Analyzer,
    token: F,
    position: u32,
}

impl<F: FnMut(&str, u32)> Sink<'_, F> {
    fn add(&mut self, word: &str) {
        if word.len() <= TOKEN_BYTES_MAX && !self.is_stop_word(word) {
            (self.token)(word, self.position);
        }
        self.position += 1;
    }

    fn is_stop_word(&self, word: &str) -> bool {
        word.len() <= self.analyzer.stop_max && self.analyzer.stop_words.contains(word)
    }
}

fn lowered<'a>(word: &'a str, scratch: &'a mut String) -> &'a str {
    if word.is_ascii() {
        if !word.bytes().any(|byte| byte.is_ascii_uppercase()) {
            return word;
        }
        scratch.clear();
        scratch.push_str(word);
        scratch.make_ascii_lowercase();
    } else {
        *scratch = word.to_lowercase();
    }
    scratch
}

#[cfg(test)]
mod tests {
    use super::{Analyzer, AnalyzerKind};
    use crate::text::tests::STOP_WORDS;

    fn tokens(kind: AnalyzerKind, stop_words: &[&str], text: &str) -> Vec<(String, u32)> {
        let mut found = Vec::new();
        Analyzer::new(kind, stop_words.iter().copied())
            .each_token(text, |token, at| found.push((token.to_owned(), at)));
        found
    }

    fn at(tokens: &[(&str, u32)]) -> Vec<(String, u32)> {
        tokens
            .iter()
            .map(|(t, at)| ((*t).to_owned(), *at))
            .collect()
    }

    #[test]
    fn every_kind_takes_a_text_apart_in_its_way() {
        let text = "The Foxes can't find 3.14 of Zoë's foo_bar-baz";
        assert_eq!(
            tokens(AnalyzerKind::Standard, &STOP_WORDS, text),
            at(&[
                ("foxes", 1),
                ("can't", 2),
                ("find", 3),
                ("3.14", 4),
                ("zoë's", 6),
                ("foo_bar", 7),
                ("baz", 8),
            ])
        );
        assert_eq!(
            tokens(
                AnalyzerKind::English,
                &STOP_WORDS,
                "The running foxes of Zoë's"
            ),
            at(&[("run", 1), ("fox", 2), ("zoë", 4)])
        );
        assert_eq!(
            tokens(AnalyzerKind::Whitespace, &["b"], " A-a  b\tC. "),
            at(&[("A-a", 0), ("C.", 2)])
        );
        assert_eq!(tokens(AnalyzerKind::Keyword, &[], "A b"), at(&[("A b", 0)]));
        assert_eq!(tokens(AnalyzerKind::Standard, &[], " -- "), at(&[]));
    }
}
