//! What a filter means: its verdict on one document; and the value at a path of it.
//!
//! This is the definition that the index is tested against, and what judges rows that have no
//! index.

use super::filter::Check;
use super::flatten::{Entries, Flattening, records};
use super::{JsonFilter, JsonPath};

/// A condition on one entry of a record.
#[derive(Debug)]
enum Atom<'a> {
    Check(&'a str, &'a Check),
    Value(&'a str, &'a str),
}

#[derive(Debug)]
enum Node {
    And(Vec<Node>),
    Or(Vec<Node>),
    Not(Box<Node>),
    /// All these atoms, in one record.
    Test(Vec<u32>),
}

/// Judges document after document.
#[derive(Debug)]
pub struct JsonMatcher<'a> {
    flattening: &'a Flattening,
    atoms: Atoms<'a>,
    root: Node,
}

#[derive(Debug)]
struct Atoms<'a>(Vec<Atom<'a>>);

impl Entries for Atoms<'_> {
    fn entry(&mut self, key: &str, value: &str, record: &mut Vec<u32>) {
        for (at, atom) in (0..).zip(&self.0) {
            let holds = match atom {
                Atom::Check(wanted, check) => *wanted == key && check.holds(value),
                Atom::Value(wanted, text) => *wanted == key && *text == value,
            };
            if holds {
                record.push(at);
            }
        }
    }
}

impl<'a> JsonMatcher<'a> {
    pub fn new(filter: &'a JsonFilter, flattening: &'a Flattening) -> Self {
        let mut atoms = Vec::new();
        let root = node(filter, &mut atoms);
        Self {
            flattening,
            atoms: Atoms(atoms),
            root,
        }
    }

    pub fn matches(&mut self, document: &str) -> bool {
        let records = records(document, self.flattening, &mut self.atoms);
        holds(&self.root, &records).contains(&true)
    }
}

fn node<'a>(filter: &'a JsonFilter, atoms: &mut Vec<Atom<'a>>) -> Node {
    match filter {
        JsonFilter::And(parts) => Node::And(parts.iter().map(|part| node(part, atoms)).collect()),
        JsonFilter::Or(parts) => Node::Or(parts.iter().map(|part| node(part, atoms)).collect()),
        JsonFilter::Not(inner) => Node::Not(Box::new(node(inner, atoms))),
        JsonFilter::Test(path, check) => {
            let first = atoms.len() as u32;
            let places = path.places().iter();
            atoms.push(Atom::Check(path.key(), check));
            atoms.extend(places.map(|(key, value)| Atom::Value(key, value)));
            Node::Test((first..atoms.len() as u32).collect())
        }
    }
}

/// For each record.
fn holds(node: &Node, records: &[Vec<u32>]) -> Vec<bool> {
    let fold = |parts: &[Node], of: fn(bool, bool) -> bool| {
        let parts = parts.iter().map(|part| holds(part, records));
        let joined = parts.reduce(|one, other| {
            let pairs = one.into_iter().zip(other);
            pairs.map(|(one, other)| of(one, other)).collect()
        });
        joined.unwrap_or_default()
    };
    match node {
        Node::And(parts) => fold(parts, |one, other| one && other),
        Node::Or(parts) => fold(parts, |one, other| one || other),
        Node::Not(inner) => {
            let none = !holds(inner, records).contains(&true);
            vec![none; records.len()]
        }
        Node::Test(atoms) => records
            .iter()
            .map(|record| atoms.iter().all(|atom| record.contains(atom)))
            .collect(),
    }
}

/// Takes the value at a path out of document after document: that of the first record which has
/// one, and, with a filter, fulfils it.
#[derive(Debug)]
pub struct JsonExtractor<'a> {
    flattening: &'a Flattening,
    path: &'a JsonPath,
    filter: Option<Node>,
    found: Found<'a>,
}

#[derive(Debug)]
struct Found<'a> {
    key: &'a str,
    atoms: Atoms<'a>,
    values: Vec<String>,
}

/// Numbers of values begin here; below are atoms.
const VALUES_FROM: u32 = 1 << 31;

impl Entries for Found<'_> {
    fn entry(&mut self, key: &str, value: &str, record: &mut Vec<u32>) {
        self.atoms.entry(key, value, record);
        if key == self.key {
            record.push(VALUES_FROM + self.values.len() as u32);
            self.values.push(value.to_owned());
        }
    }
}

impl<'a> JsonExtractor<'a> {
    pub fn new(
        path: &'a JsonPath,
        filter: Option<&'a JsonFilter>,
        flattening: &'a Flattening,
    ) -> Self {
        let places = path.places().iter();
        let mut atoms: Vec<Atom<'a>> = places.map(|(key, value)| Atom::Value(key, value)).collect();
        let filter = filter.map(|filter| node(filter, &mut atoms));
        Self {
            flattening,
            path,
            filter,
            found: Found {
                key: path.key(),
                atoms: Atoms(atoms),
                values: Vec::new(),
            },
        }
    }

    pub fn value(&mut self, document: &str) -> Option<String> {
        self.found_in(document).next()
    }

    /// Those of all such records, in their order.
    pub fn values(&mut self, document: &str) -> Vec<String> {
        self.found_in(document).collect()
    }

    fn found_in(&mut self, document: &str) -> impl Iterator<Item = String> {
        self.found.values.clear();
        let records = records(document, self.flattening, &mut self.found);
        let passes = match &self.filter {
            Some(filter) => holds(filter, &records),
            None => vec![true; records.len()],
        };
        let places = 0..self.path.places().len() as u32;
        let values = &self.found.values;
        records
            .into_iter()
            .zip(passes)
            .filter_map(move |(record, passes)| {
                let is_there = passes && places.clone().all(|place| record.contains(&place));
                let value = record.iter().find(|entry| **entry >= VALUES_FROM);
                let value = value.filter(|_| is_there)?;
                values.get((value - VALUES_FROM) as usize).cloned()
            })
    }
}
