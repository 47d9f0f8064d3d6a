//! What a query means: its verdict on one text.
//!
//! This is the definition that the index is tested against, and what judges rows that have no
//! index. A row of several values is one text whose values stand far apart.

use super::analyzer::VALUE_GAP;
use super::query::{Leaf, stands_together};
use super::{Analyzer, TextQuery};

/// Judges text after text; keeps its room between them.
#[derive(Debug)]
pub struct TextMatcher<'a> {
    analyzer: &'a Analyzer,
    root: Node,
    leaves: Vec<Asked<'a>>,
}

/// A question about tokens, and what the text at hand had for it.
#[derive(Debug)]
struct Asked<'a> {
    token: Token<'a>,
    /// Positions matter for this one.
    in_phrase: bool,
    found: bool,
    positions: Vec<u32>,
}

#[derive(Debug)]
enum Token<'a> {
    Term(&'a str),
    Leaf(&'a Leaf),
}

#[derive(Debug)]
enum Node {
    Always,
    Never,
    Leaf(usize),
    Phrase {
        /// Each with its place in the phrase.
        terms: Vec<(usize, u32)>,
        slop: u32,
    },
    Boolean {
        must: Vec<Node>,
        should: Vec<Node>,
        must_not: Vec<Node>,
    },
}

impl<'a> TextMatcher<'a> {
    pub fn new(query: &'a TextQuery, analyzer: &'a Analyzer) -> Self {
        let mut leaves = Vec::new();
        let root = node(query, &mut leaves);
        Self {
            analyzer,
            root,
            leaves,
        }
    }

    /// Of a row with these values; most have one.
    pub fn matches<'t>(&mut self, values: impl IntoIterator<Item = &'t str>) -> bool {
        for leaf in &mut self.leaves {
            leaf.found = false;
            leaf.positions.clear();
        }
        let leaves = &mut self.leaves;
        let mut base = 0;
        for value in values {
            let next = self.analyzer.each_token(value, |token, at| {
                for leaf in leaves.iter_mut() {
                    leaf.see(token, base + at);
                }
            });
            base += next + VALUE_GAP;
        }
        holds(&self.root, &self.leaves)
    }
}

impl Asked<'_> {
    fn see(&mut self, token: &str, at: u32) {
        if self.found && !self.in_phrase {
            return;
        }
        let hit = match self.token {
            Token::Term(term) => term == token,
            Token::Leaf(leaf) => leaf.matches(token),
        };
        if hit {
            self.found = true;
            if self.in_phrase {
                self.positions.push(at);
            }
        }
    }
}

fn node<'a>(query: &'a TextQuery, leaves: &mut Vec<Asked<'a>>) -> Node {
    let mut ask = |token, in_phrase| {
        leaves.push(Asked {
            token,
            in_phrase,
            found: false,
            positions: Vec::new(),
        });
        leaves.len() - 1
    };
    match query {
        TextQuery::All => Node::Always,
        TextQuery::Nothing => Node::Never,
        TextQuery::Leaf(leaf) => Node::Leaf(ask(Token::Leaf(leaf), false)),
        TextQuery::Phrase { terms, slop } => Node::Phrase {
            terms: terms
                .iter()
                .map(|(term, at)| (ask(Token::Term(term), true), *at))
                .collect(),
            slop: *slop,
        },
        TextQuery::Boolean {
            must,
            should,
            must_not,
        } => {
            let mut all = |queries: &'a [TextQuery]| {
                let nodes = queries.iter().map(|query| node(query, leaves));
                nodes.collect::<Vec<_>>()
            };
            Node::Boolean {
                must: all(must),
                should: all(should),
                must_not: all(must_not),
            }
        }
    }
}

fn holds(node: &Node, leaves: &[Asked<'_>]) -> bool {
    match node {
        Node::Always => true,
        Node::Never => false,
        Node::Leaf(leaf) => leaves[*leaf].found,
        Node::Phrase { terms, slop } => {
            if !terms.iter().all(|(leaf, _)| leaves[*leaf].found) {
                return false;
            }
            let moved = terms.iter().map(|(leaf, by)| {
                let positions = leaves[*leaf].positions.iter();
                positions.map(|at| at.wrapping_sub(*by)).collect::<Vec<_>>()
            });
            stands_together(&moved.collect::<Vec<_>>(), *slop)
        }
        Node::Boolean {
            must,
            should,
            must_not,
        } => {
            let wanted = match (must.is_empty(), should.is_empty()) {
                (false, _) => must.iter().all(|node| holds(node, leaves)),
                (true, false) => should.iter().any(|node| holds(node, leaves)),
                (true, true) => true,
            };
            wanted && !must_not.iter().any(|node| holds(node, leaves))
        }
    }
}
