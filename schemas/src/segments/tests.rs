//! Copies that change are held against a plain ordered map.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::ids::TableId;
use crate::segment::SegmentRecord;
use crate::table::TableSpec;
use crate::types::{DataType, FieldRole};
use crate::{ColumnSpec, TableType};

fn spec() -> TableSpec {
    let columns = vec![ColumnSpec::new("id", DataType::Long, FieldRole::Dimension)];
    TableSpec::new("events".parse().unwrap(), TableType::Realtime, columns)
}

fn segment(spec: &TableSpec, (partition, sequence): SegmentKey, rows: u64) -> SegmentState {
    let id = SegmentId {
        table: TableId::random(),
        partition,
        sequence,
    };
    let mut record = SegmentRecord::consuming(id, spec, 0, 0);
    record.ledger.rows = rows;
    SegmentState {
        record,
        assigned: Default::default(),
        online: Default::default(),
        hidden: false,
    }
}

fn keys(segments: &Segments) -> Vec<SegmentKey> {
    segments.iter().map(key).collect()
}

fn check_form(segments: &Segments) {
    assert!(
        segments
            .chunks
            .iter()
            .all(|c| (1..=CHUNK_MAX).contains(&c.len()))
    );
    assert!(keys(segments).is_sorted_by(|a, b| a < b));
    assert_eq!(keys(segments).len(), segments.len());
}

#[test]
fn a_change_leaves_all_other_chunks_shared() {
    let spec = spec();
    let all = (0..100).flat_map(|partition| (0..100).map(move |sequence| (partition, sequence)));
    let before: Segments = all.map(|key| segment(&spec, key, 0)).collect();
    let mut after = before.clone();
    after.put(segment(&spec, (50, 100), 7));
    after.put(segment(&spec, (50, 99), 7));
    after.remove((0, 0));
    let shared = after.chunks.iter();
    let shared = shared.filter(|one| before.chunks.iter().any(|other| Arc::ptr_eq(one, other)));
    assert_eq!(shared.count(), before.chunks.len() - 2);
    let changes = before.changes(&after);
    assert_eq!(changes.removed, [(0, 0)]);
    let put: Vec<SegmentKey> = changes.put.iter().map(|one| key(one)).collect();
    assert_eq!(put, [(50, 99), (50, 100)]);
    assert_eq!(after.len(), 10_000);
    check_form(&after);
}

#[test]
fn a_segment_that_is_put_again_as_it_was_is_no_change() {
    let spec = spec();
    let one = segment(&spec, (3, 4), 5);
    let before: Segments = vec![one.clone()].into();
    let mut after = before.clone();
    after.put(one);
    assert!(!Arc::ptr_eq(&before.chunks[0], &after.chunks[0]));
    assert!(before.changes(&after).is_empty());
    assert_eq!(before, after);
}

#[test]
fn of_two_with_one_key_the_last_counts() {
    let spec = spec();
    let listed = [((1, 0), 1), ((0, 0), 2), ((1, 0), 3)];
    let segments: Segments = listed
        .into_iter()
        .map(|(key, rows)| segment(&spec, key, rows))
        .collect();
    assert_eq!(keys(&segments), [(0, 0), (1, 0)]);
    assert_eq!(segments[1].record.ledger.rows, 3);
    let json = serde_json::to_string(&segments).unwrap();
    assert_eq!(serde_json::from_str::<Segments>(&json).unwrap(), segments);
}

#[test]
fn what_is_made_of_chunks_is_made_anew_for_those_that_change() {
    let spec = spec();
    let all = (0..40).flat_map(|partition| (0..100).map(move |sequence| (partition, sequence)));
    let mut segments: Segments = all.map(|key| segment(&spec, key, 1)).collect();
    let mut made = 0;
    let mut rows = |chunk: &Chunk| {
        made += 1;
        chunk.iter().map(|one| one.record.ledger.rows).sum::<u64>()
    };
    let first = PerChunk::default().updated(&segments, &mut rows);
    segments.put(segment(&spec, (7, 7), 10));
    segments.remove((0, 0));
    segments.put(segment(&spec, (39, 100), 5));
    let second = first.updated(&segments, &mut rows);
    assert_eq!(made, segments.chunks().len() + 3);
    assert_eq!(
        second.iter().map(|(_, rows)| rows).sum::<u64>(),
        4_000 + 9 - 1 + 5
    );
}

#[derive(Clone, Debug)]
enum Step {
    Put(SegmentKey, u64),
    Remove(SegmentKey),
    /// Later changes are told from here.
    Copy,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let key = || (0_u32..6, 0_u32..400);
    let step = prop_oneof![
        6 => (key(), 0_u64..3).prop_map(|(key, rows)| Step::Put(key, rows)),
        3 => key().prop_map(Step::Remove),
        1 => Just(Step::Copy),
    ];
    prop::collection::vec(step, 1..200)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn copies_and_changes_agree_with_an_ordered_map(
        begin in 0_u32..2_000, steps in steps(), range in ((0_u32..6, 0_u32..400), (0_u32..6, 0_u32..400)),
    ) {
        let spec = spec();
        let keys_at_first = (0..begin).map(|at| (at / 400, at % 400));
        let mut model: BTreeMap<SegmentKey, Arc<SegmentState>> = keys_at_first
            .map(|key| (key, Arc::new(segment(&spec, key, 0))))
            .collect();
        let mut segments: Segments = model.values().cloned().collect();
        let mut copy = (segments.clone(), model.clone());
        for step in steps {
            match step {
                Step::Put(key, rows) => {
                    let fresh = Arc::new(segment(&spec, key, rows));
                    model.insert(key, Arc::clone(&fresh));
                    segments.put(fresh);
                }
                Step::Remove(key) => {
                    prop_assert_eq!(segments.remove(key).is_some(), model.remove(&key).is_some());
                }
                Step::Copy => copy = (segments.clone(), model.clone()),
            }
        }
        check_form(&segments);
        prop_assert!(segments.iter().eq(model.values().map(|one| &**one)));
        let mut partitions: Vec<u32> = model.keys().map(|(partition, _)| *partition).collect();
        partitions.dedup();
        prop_assert!(segments.partitions().eq(partitions));
        prop_assert!(copy.0.iter().eq(copy.1.values().map(|one| &**one)), "the copy stays");
        let (from, to) = range;
        let wanted = model.iter().filter(|(key, _)| (from..to).contains(*key));
        prop_assert!(segments.between(from, to).map(key).eq(wanted.clone().map(|(key, _)| *key)));
        prop_assert!(segments.between(from, to).rev().map(key).eq(wanted.rev().map(|(key, _)| *key)));
        let changes = copy.0.changes(&segments);
        let mut made = copy.0.clone();
        changes.removed.iter().for_each(|key| drop(made.remove(*key)));
        changes.put.iter().for_each(|one| made.put(Arc::clone(one)));
        prop_assert_eq!(&made, &segments);
        let differ = model.iter().filter(|(key, one)| copy.1.get(*key) != Some(*one));
        prop_assert_eq!(changes.put.len(), differ.count(), "nothing is told that is the same");
    }
}
