//! The way down the tree: which records together answer a question.

use bytes::Bytes;

use super::reader::{StarTreeReader, array};
use super::tree::Node;
use crate::forward::Width;

/// With so many more children than codes, each code is searched.
const SEARCHED_SHARE: u32 = 16;

/// Codes of one dimension, one for each record.
#[derive(Clone, Debug)]
pub struct Codes {
    pub(super) width: Width,
    pub(super) bytes: Bytes,
}

impl Codes {
    pub fn get(&self, record: u32) -> u32 {
        let at = record as usize * self.width.bytes();
        match self.width {
            Width::One => u32::from(self.bytes[at]),
            Width::Two => u32::from(u16::from_le_bytes(array(&self.bytes, at))),
            Width::Four => u32::from_le_bytes(array(&self.bytes, at)),
        }
    }

    pub(super) fn greatest(&self) -> u32 {
        let records = (self.bytes.len() / self.width.bytes()) as u32;
        (0..records)
            .map(|record| self.get(record))
            .max()
            .unwrap_or(0)
    }
}

/// What is asked of each dimension.
#[derive(Clone, Debug, Default)]
pub struct Question {
    /// Codes that match, ascending; `None`: all.
    pub filters: Vec<Option<Vec<u32>>>,
    pub grouped: Vec<bool>,
}

/// The records of an answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    pub records: Vec<u32>,
    /// Records of leaves that were looked at for the filters.
    pub looked_at: u64,
}

impl StarTreeReader {
    /// The records that hold each matching row exactly once. `None`: there are more than
    /// `records_max` to look at.
    pub fn find(&self, question: &Question, records_max: usize) -> Option<Found> {
        let dimensions = self.shape.dimensions.len();
        assert_eq!(question.filters.len(), dimensions, "one filter for each");
        assert_eq!(question.grouped.len(), dimensions, "one flag for each");
        let asked = |d: &usize| question.filters[*d].is_some() || question.grouped[*d];
        let search = Search {
            tree: self,
            question,
            depth: (0..dimensions).rfind(asked).map_or(0, |last| last + 1),
            tables: question
                .filters
                .iter()
                .enumerate()
                .map(table(self))
                .collect(),
        };
        let mut found = Found::default();
        let mut open: Vec<(u32, usize)> = vec![(0, 0)];
        while let Some((at, depth)) = open.pop() {
            let node = self.nodes.get(at);
            if depth >= search.depth {
                found.records.push(node.total);
            } else if node.children == 0 {
                search.look_through(node, depth, &mut found);
            } else {
                search.descend(node, depth, &mut open);
            }
            let all = found.records.len() + open.len();
            if all > records_max || found.looked_at > records_max as u64 {
                return None;
            }
        }
        Some(found)
    }
}

/// One flag for each code, the star's among them.
fn table(tree: &StarTreeReader) -> impl Fn((usize, &Option<Vec<u32>>)) -> Option<Vec<bool>> {
    let dimensions = tree.shape.dimensions.clone();
    move |(dimension, codes)| {
        let codes = codes.as_ref()?;
        let mut table = vec![false; dimensions[dimension].cardinality as usize + 1];
        for code in codes {
            table[*code as usize] = true;
        }
        Some(table)
    }
}

struct Search<'a> {
    tree: &'a StarTreeReader,
    question: &'a Question,
    /// Dimensions from here on are not asked about.
    depth: usize,
    tables: Vec<Option<Vec<bool>>>,
}

impl Search<'_> {
    fn look_through(&self, node: Node, depth: usize, found: &mut Found) {
        let tests = (depth..self.depth)
            .filter_map(|d| Some((&self.tree.codes[d], self.tables[d].as_ref()?)));
        let tests: Vec<_> = tests.collect();
        let records = node.start..node.end;
        if !tests.is_empty() {
            found.looked_at += u64::from(node.end - node.start);
        }
        let matches = |record: &u32| {
            let mut tests = tests.iter();
            tests.all(|(codes, table)| table[codes.get(*record) as usize])
        };
        found.records.extend(records.filter(matches));
    }

    fn descend(&self, node: Node, depth: usize, open: &mut Vec<(u32, usize)>) {
        let nodes = &self.tree.nodes;
        let mut children = node.first_child..node.first_child + node.children;
        let last = children.end - 1;
        let has_star = nodes.code(last) == self.tree.shape.star(depth);
        let (filter, table) = (&self.question.filters[depth], &self.tables[depth]);
        if filter.is_none() && !self.question.grouped[depth] && has_star {
            open.push((last, depth + 1));
            return;
        }
        if has_star {
            children.end = last;
        }
        let (Some(codes), Some(table)) = (filter, table) else {
            open.extend(children.map(|child| (child, depth + 1)));
            return;
        };
        if (codes.len() as u32).saturating_mul(SEARCHED_SHARE) < children.len() as u32 {
            let found = codes
                .iter()
                .filter_map(|code| self.search(*code, children.clone()));
            open.extend(found.map(|child| (child, depth + 1)));
            return;
        }
        let matching = children.filter(|child| {
            let code = nodes.code(*child) as usize;
            table.get(code).is_some_and(|matches| *matches)
        });
        open.extend(matching.map(|child| (child, depth + 1)));
    }

    /// The child of a code; they ascend.
    fn search(&self, code: u32, children: std::ops::Range<u32>) -> Option<u32> {
        let (mut low, mut high) = (children.start, children.end);
        while low < high {
            let middle = low.midpoint(high);
            match self.tree.nodes.code(middle).cmp(&code) {
                std::cmp::Ordering::Equal => return Some(middle),
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Greater => high = middle,
            }
        }
        None
    }
}
