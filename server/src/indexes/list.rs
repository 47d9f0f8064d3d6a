//! Which indexes segments have, as heartbeats tell it: each list once, however many have it.

use std::collections::HashMap;

use schemas::TableSpec;
use schemas::proto::{IndexList, SegmentIndex};
use segment::SealedSegment;
use segment::view::IndexKey;

#[derive(Debug, Default)]
pub(crate) struct IndexLists {
    lists: Vec<IndexList>,
    /// What segments say of themselves → position of the list, from 1.
    known: HashMap<u64, u32>,
}

impl IndexLists {
    /// Position of the segment's list, from 1. To be asked for segments of one table config only.
    pub(crate) fn position(&mut self, segment: &SealedSegment, spec: &TableSpec) -> u32 {
        let lists = &mut self.lists;
        *self.known.entry(segment.indexes_hash()).or_insert_with(|| {
            let present = segment.indexes().iter().map(|index| told(index.key()));
            lists.push(IndexList {
                present: present.collect(),
                missing: segment.missing(spec).iter().map(told).collect(),
            });
            lists.len() as u32
        })
    }

    /// Those of another table follow.
    pub(crate) fn next_table(&mut self) {
        self.known.clear();
    }

    pub(crate) fn finish(self) -> Vec<IndexList> {
        self.lists
    }
}

fn told(key: &IndexKey) -> SegmentIndex {
    SegmentIndex {
        kind: key.kind.name().to_owned(),
        columns: key.columns.clone(),
        parameters: match key.parameters.is_null() {
            true => Default::default(),
            false => key.parameters.to_string().into(),
        },
    }
}
