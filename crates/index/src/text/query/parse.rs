//! The grammar of queries, that of Lucene's classic parser:
//!
//! ```text
//! QUERY  := ( JOIN? SIGN? CLAUSE )*      JOIN := AND | && | OR | ||     SIGN := + | - | NOT | !
//! CLAUSE := word | wo*d | wo?d | word~2 | "a phrase" | "a phrase"~3 | /regex/ | [low TO high]
//!         | ( QUERY )
//! ```
//!
//! As there, AND makes both its neighbours necessary, and does not bind closer than OR: brackets
//! say what belongs together.

use std::ops::Bound;

use super::super::Analyzer;
use super::pattern::Pattern;
use super::syntax::{Char, Placed, Token, fault, tokens};
use super::{DefaultOperator, Leaf, QueryFault, TextQuery};

const DEPTH_MAX: usize = 64;
const CLAUSES_MAX: usize = 4_096;
/// The automaton of a fuzzy term grows with it.
const FUZZY_CHARS_MAX: usize = 64;

pub(super) fn parse(
    text: &str,
    analyzer: &Analyzer,
    default: DefaultOperator,
) -> Result<TextQuery, QueryFault> {
    let tokens = tokens(text)?;
    if tokens.len() > CLAUSES_MAX {
        let what = format!("it has more than {CLAUSES_MAX} words and signs");
        return Err(fault(0, what));
    }
    if tokens.is_empty() {
        return Err(fault(0, "it is empty"));
    }
    let mut parser = Parser {
        tokens: &tokens,
        at: 0,
        end: text.chars().count(),
        analyzer,
        default,
    };
    let query = parser.query(0)?;
    match parser.tokens.get(parser.at) {
        None => Ok(query),
        Some((at, _)) => Err(fault(*at, "a closing bracket without its opening one")),
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Occur {
    Must,
    Should,
    MustNot,
}

struct Parser<'a> {
    tokens: &'a [Placed],
    at: usize,
    /// The character after the last.
    end: usize,
    analyzer: &'a Analyzer,
    default: DefaultOperator,
}

impl Parser<'_> {
    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.at).map(|(_, token)| token)
    }

    fn place(&self) -> usize {
        self.tokens.get(self.at).map_or(self.end, |(at, _)| *at)
    }

    fn query(&mut self, depth: usize) -> Result<TextQuery, QueryFault> {
        if depth > DEPTH_MAX {
            let what = format!("brackets are nested more than {DEPTH_MAX} deep");
            return Err(fault(self.place(), what));
        }
        let mut clauses: Vec<(Occur, TextQuery)> = Vec::new();
        let mut first = true;
        while !matches!(self.peek(), None | Some(Token::Close)) {
            let join = match self.peek() {
                Some(Token::And) => Some(DefaultOperator::And),
                Some(Token::Or) => Some(DefaultOperator::Or),
                _ => None,
            };
            if join.is_some() {
                if first {
                    return Err(fault(self.place(), "AND and OR stand between two words"));
                }
                self.at += 1;
            }
            first = false;
            let sign = match self.peek() {
                Some(Token::Plus) => Some(Occur::Must),
                Some(Token::Minus | Token::Not) => Some(Occur::MustNot),
                _ => None,
            };
            self.at += usize::from(sign.is_some());
            self.join_last(join, &mut clauses);
            // Nothing but stop words: the clause is not there.
            if let Some(clause) = self.clause(depth)? {
                clauses.push((self.occur(join, sign), clause));
            }
        }
        Ok(boolean(clauses))
    }

    /// AND reaches back to the clause before it; so does OR where AND is the default.
    fn join_last(&self, join: Option<DefaultOperator>, clauses: &mut [(Occur, TextQuery)]) {
        let Some((last, _)) = clauses.last_mut() else {
            return;
        };
        if *last == Occur::MustNot {
            return;
        }
        match (join, self.default) {
            (Some(DefaultOperator::And), _) => *last = Occur::Must,
            (Some(DefaultOperator::Or), DefaultOperator::And) => *last = Occur::Should,
            _ => {}
        }
    }

    fn occur(&self, join: Option<DefaultOperator>, sign: Option<Occur>) -> Occur {
        match (sign, self.default, join) {
            (Some(Occur::MustNot), _, _) => Occur::MustNot,
            (Some(_), DefaultOperator::Or, _) => Occur::Must,
            (_, DefaultOperator::Or, Some(DefaultOperator::And)) => Occur::Must,
            (_, DefaultOperator::Or, _) => Occur::Should,
            (_, DefaultOperator::And, Some(DefaultOperator::Or)) => Occur::Should,
            (_, DefaultOperator::And, _) => Occur::Must,
        }
    }

    fn clause(&mut self, depth: usize) -> Result<Option<TextQuery>, QueryFault> {
        let place = self.place();
        let Some((_, token)) = self.tokens.get(self.at) else {
            return Err(fault(place, "it ends where a word was expected"));
        };
        self.at += 1;
        let clause = match token {
            Token::Open => {
                let query = self.query(depth + 1)?;
                if self.peek() != Some(&Token::Close) {
                    return Err(fault(place, "the bracket is not closed"));
                }
                self.at += 1;
                match query {
                    TextQuery::Nothing => None,
                    query => Some(query),
                }
            }
            Token::Word(word) => self.word(place, word)?,
            Token::Quoted(text) => {
                let slop = match self.tilde(place)? {
                    Some(Some(slop)) => slop,
                    Some(None) => return Err(fault(place, "`~` behind a phrase takes a number")),
                    None => 0,
                };
                self.phrase(text, slop)
            }
            Token::Regex(expression) => {
                let pattern = Pattern::regex(expression)
                    .map_err(|error| fault(place, format!("the regular expression: {error}")))?;
                Some(TextQuery::Leaf(Leaf::Pattern(pattern)))
            }
            Token::Range {
                low,
                low_included,
                high,
                high_included,
            } => {
                let low = self.bound(low.as_deref(), *low_included);
                let high = self.bound(high.as_deref(), *high_included);
                Some(TextQuery::Leaf(Leaf::Pattern(Pattern::Range(low, high))))
            }
            Token::Close => return Err(fault(place, "a word was expected before the bracket")),
            Token::Tilde(_) => return Err(fault(place, "`~` stands behind a word or a phrase")),
            Token::Boost => return Err(fault(place, "`^` stands behind a word or a phrase")),
            Token::And | Token::Or => {
                return Err(fault(place, "AND and OR stand between two words"));
            }
            Token::Not | Token::Plus | Token::Minus => {
                return Err(fault(place, "one sign before a word is enough"));
            }
        };
        while self.peek() == Some(&Token::Boost) {
            self.at += 1;
        }
        Ok(clause)
    }

    /// `Some(None)`: a `~` without a number.
    fn tilde(&mut self, place: usize) -> Result<Option<Option<u32>>, QueryFault> {
        let Some(Token::Tilde(number)) = self.peek().cloned() else {
            return Ok(None);
        };
        self.at += 1;
        let Some(number) = number else {
            return Ok(Some(None));
        };
        let parsed = number.parse().map_err(|_| {
            let what = format!("`~` takes a whole number, not `{number}`");
            fault(place, what)
        })?;
        Ok(Some(Some(parsed)))
    }

    fn bound(&self, text: Option<&str>, included: bool) -> Bound<String> {
        match text.map(|text| self.analyzer.normalized(text)) {
            None => Bound::Unbounded,
            Some(text) if included => Bound::Included(text),
            Some(text) => Bound::Excluded(text),
        }
    }

    fn word(&mut self, place: usize, word: &[Char]) -> Result<Option<TextQuery>, QueryFault> {
        let plain: String = word.iter().map(|c| c.value).collect();
        if let Some(edits) = self.tilde(place)? {
            return self.fuzzy(place, &plain, edits.unwrap_or(2)).map(Some);
        }
        if plain == "***" && word.iter().all(|c| !c.escaped) {
            return Ok(Some(TextQuery::All));
        }
        let is_wild = |c: &Char| !c.escaped && matches!(c.value, '*' | '?');
        if word.iter().any(is_wild) {
            let normalized = self.analyzer.normalized(&plain);
            // Lower case may have another number of characters: then each by itself.
            let chars = word.iter().flat_map(|c| {
                let lower = self.analyzer.normalized(&c.value.to_string());
                let escaped = c.escaped;
                let chars: Vec<char> = lower.chars().collect();
                chars.into_iter().map(move |value| Char { value, escaped })
            });
            let chars: Vec<Char> = chars.collect();
            let pattern = Pattern::wildcard(&chars, &normalized)
                .map_err(|error| fault(place, format!("the pattern: {error}")))?;
            return Ok(Some(TextQuery::Leaf(Leaf::Pattern(pattern))));
        }
        let mut terms = Vec::new();
        let add = |term: &str, _| terms.push(TextQuery::Leaf(Leaf::Term(term.to_owned())));
        self.analyzer.each_token(&plain, add);
        let occur = match self.default {
            DefaultOperator::Or => Occur::Should,
            DefaultOperator::And => Occur::Must,
        };
        Ok(match terms.len() {
            0 => None,
            1 => terms.pop(),
            _ => Some(boolean(
                terms.into_iter().map(|term| (occur, term)).collect(),
            )),
        })
    }

    fn fuzzy(&self, place: usize, word: &str, edits: u32) -> Result<TextQuery, QueryFault> {
        if edits > 2 {
            let what = format!("a word may be 0, 1 or 2 edits away, not {edits}");
            return Err(fault(place, what));
        }
        if word.chars().count() > FUZZY_CHARS_MAX {
            let what = format!("a fuzzy word has at most {FUZZY_CHARS_MAX} characters");
            return Err(fault(place, what));
        }
        let pattern = Pattern::fuzzy(&self.analyzer.normalized(word), edits as u8);
        Ok(TextQuery::Leaf(Leaf::Pattern(pattern)))
    }

    fn phrase(&self, text: &str, slop: u32) -> Option<TextQuery> {
        let mut terms: Vec<(String, u32)> = Vec::new();
        self.analyzer
            .each_token(text, |term, at| terms.push((term.to_owned(), at)));
        let first = terms.first()?.1;
        terms.iter_mut().for_each(|(_, at)| *at -= first);
        Some(match terms.len() {
            1 => TextQuery::Leaf(Leaf::Term(terms.remove(0).0)),
            _ => TextQuery::Phrase { terms, slop },
        })
    }
}

fn boolean(clauses: Vec<(Occur, TextQuery)>) -> TextQuery {
    let (mut must, mut should, mut must_not) = (Vec::new(), Vec::new(), Vec::new());
    for (occur, clause) in clauses {
        match occur {
            Occur::Must => must.push(clause),
            Occur::Should => should.push(clause),
            Occur::MustNot => must_not.push(clause),
        }
    }
    match (must.len(), should.len(), must_not.len()) {
        (0, 0, 0) => TextQuery::Nothing,
        (1, 0, 0) => must.remove(0),
        (0, 1, 0) => should.remove(0),
        _ => TextQuery::Boolean {
            must,
            should,
            must_not,
        },
    }
}
