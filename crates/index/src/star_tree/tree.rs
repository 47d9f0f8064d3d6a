//! Write half of the star-tree, second part: nodes are split, and star children merged.
//!
//! Nodes are numbered breadth first: the children of a node follow each other, after all nodes
//! that are no deeper. Records only grow at the end, so that those of a node stay where they are.

use super::key::{Key, Layout};
use super::metrics::Column;
use super::records::too_many_records;
use super::{MetricKind, Shape};
use crate::IndexTooLarge;

/// Merged rows, sorted by their keys.
#[derive(Debug)]
pub(super) struct Base<K> {
    pub(super) keys: Vec<K>,
    pub(super) rows: Vec<i64>,
    pub(super) metrics: Vec<Column>,
}

/// A tree that is ready to be written.
#[derive(Debug)]
pub struct Tree {
    pub(super) shape: Shape,
    pub(super) nodes: Vec<Node>,
    /// Codes of each dimension, one for each record.
    pub(super) codes: Vec<Vec<u32>>,
    pub(super) rows: Vec<i64>,
    pub(super) metrics: Vec<Column>,
    /// Records of the root.
    pub(super) base_records: u32,
}

impl Tree {
    pub fn records(&self) -> usize {
        self.rows.len()
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Node {
    /// Of the dimension that its parent was split by.
    pub(super) code: u32,
    pub(super) start: u32,
    pub(super) end: u32,
    /// The record for all that is below.
    pub(super) total: u32,
    /// Its children; none: it is a leaf.
    pub(super) first_child: u32,
    pub(super) children: u32,
}

pub(super) fn grow<K: Key>(
    shape: Shape,
    layout: &Layout,
    base: Base<K>,
) -> Result<Tree, IndexTooLarge> {
    let base_records = base.keys.len() as u32;
    let mut growing = Growing {
        shape: &shape,
        layout,
        keys: base.keys,
        rows: Column::Long(MetricKind::SumLong, base.rows),
        metrics: base.metrics,
        nodes: vec![Node {
            end: base_records,
            ..Node::default()
        }],
        depths: vec![0],
    };
    let mut at = 0;
    while at < growing.nodes.len() {
        growing.split(at)?;
        at += 1;
    }
    growing.total_all()?;
    let Growing {
        keys,
        rows,
        metrics,
        nodes,
        ..
    } = growing;
    let dimensions = 0..shape.dimensions.len();
    let codes = dimensions.map(|dimension| {
        let codes = keys.iter().map(|key| layout.code(*key, dimension));
        codes.collect()
    });
    let Column::Long(_, rows) = rows else {
        unreachable!("it was made as one");
    };
    Ok(Tree {
        codes: codes.collect(),
        shape,
        nodes,
        rows,
        metrics,
        base_records,
    })
}

struct Growing<'a, K> {
    shape: &'a Shape,
    layout: &'a Layout,
    keys: Vec<K>,
    rows: Column,
    metrics: Vec<Column>,
    nodes: Vec<Node>,
    /// Dimensions that are fixed in each node.
    depths: Vec<u8>,
}

impl<K: Key> Growing<'_, K> {
    fn split(&mut self, at: usize) -> Result<(), IndexTooLarge> {
        let (node, depth) = (self.nodes[at], usize::from(self.depths[at]));
        let is_leaf = depth == self.shape.dimensions.len()
            || node.end - node.start <= self.shape.leaf_records_max;
        if is_leaf {
            return Ok(());
        }
        let first_child = self.nodes.len();
        let mut start = node.start;
        while start < node.end {
            let code = self.code(start, depth);
            let rest = &self.keys[start as usize..node.end as usize];
            let same = rest.partition_point(|key| self.layout.code(*key, depth) <= code);
            let end = start + same as u32;
            self.add_node(code, start..end, depth + 1);
            start = end;
        }
        if self.shape.dimensions[depth].has_star && self.nodes.len() > first_child + 1 {
            let records = self.without(node, depth)?;
            self.add_node(self.shape.star(depth), records, depth + 1);
        }
        let children = self.nodes.len() - first_child;
        let node = &mut self.nodes[at];
        node.first_child = u32::try_from(first_child).map_err(|_| too_many_records())?;
        node.children = children as u32;
        Ok(())
    }

    fn code(&self, record: u32, dimension: usize) -> u32 {
        self.layout.code(self.keys[record as usize], dimension)
    }

    fn add_node(&mut self, code: u32, records: std::ops::Range<u32>, depth: usize) {
        self.nodes.push(Node {
            code,
            start: records.start,
            end: records.end,
            ..Node::default()
        });
        self.depths.push(depth as u8);
    }

    /// The records of a node without one of their dimensions, merged.
    fn without(
        &mut self,
        node: Node,
        dimension: usize,
    ) -> Result<std::ops::Range<u32>, IndexTooLarge> {
        let star = self.shape.star(dimension);
        let mut sorted: Vec<(K, u32)> = (node.start..node.end)
            .map(|record| {
                let key = self.keys[record as usize];
                (self.layout.with_code(key, dimension, star), record)
            })
            .collect();
        // Each child is a sorted run, which this sort finds and merges.
        sorted.sort_by_key(|(key, _)| *key);
        let start = self.keys.len() as u32;
        for same in sorted.chunk_by(|a, b| a.0 == b.0) {
            let records = same.iter().map(|(_, record)| *record as usize);
            self.join(same[0].0, records)?;
        }
        Ok(start..self.keys.len() as u32)
    }

    fn join(
        &mut self,
        key: K,
        records: impl Iterator<Item = usize> + Clone,
    ) -> Result<(), IndexTooLarge> {
        if self.keys.len() + 1 >= u32::MAX as usize {
            return Err(too_many_records());
        }
        self.keys.push(key);
        self.rows.join(records.clone());
        for metric in &mut self.metrics {
            metric.join(records.clone());
        }
        Ok(())
    }

    /// Gives each node its record, from the leaves up: parents come before their children.
    fn total_all(&mut self) -> Result<(), IndexTooLarge> {
        for at in (0..self.nodes.len()).rev() {
            let node = self.nodes[at];
            let depth = usize::from(self.depths[at]);
            self.nodes[at].total = self.total(node, depth)?;
        }
        Ok(())
    }

    fn total(&mut self, node: Node, depth: usize) -> Result<u32, IndexTooLarge> {
        if node.children == 0 {
            if node.end == node.start + 1 {
                return Ok(node.start);
            }
            let key = (node.start < node.end).then(|| self.keys[node.start as usize]);
            let key = self.cut(key.unwrap_or(K::ZERO), depth);
            self.join(key, node.start as usize..node.end as usize)?;
            return Ok(self.keys.len() as u32 - 1);
        }
        let children = node.first_child as usize..(node.first_child + node.children) as usize;
        let last = self.nodes[children.end - 1];
        if last.code == self.shape.star(depth) {
            return Ok(last.total);
        }
        if node.children == 1 {
            return Ok(last.total);
        }
        let totals: Vec<usize> = self.nodes[children]
            .iter()
            .map(|child| child.total as usize)
            .collect();
        let key = self.cut(self.keys[node.start as usize], depth);
        self.join(key, totals.into_iter())?;
        Ok(self.keys.len() as u32 - 1)
    }

    /// The key with a star in every dimension from `depth` on.
    fn cut(&self, mut key: K, depth: usize) -> K {
        for dimension in depth..self.shape.dimensions.len() {
            key = self
                .layout
                .with_code(key, dimension, self.shape.star(dimension));
        }
        key
    }
}
