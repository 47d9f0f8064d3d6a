//! Tables whose newest row of a key counts: no look finds a key twice or not at all, whatever
//! happens to the segments.

use std::collections::BTreeMap;

use schemas::keyed::{KeyedSpec, UpsertSpec};
use schemas::proto::{ConsumingFrom, SegmentRef, TableScan};
use segment::SealedSegment;

use super::replicas::ghost_commits;
use super::*;
use crate::fragments::committed;
use crate::select::{IsCommitted, Selection, select_table};

fn keyed(sorted: bool) -> impl Fn(TableId) -> TableSpec {
    move |id| TableSpec {
        primary_key: vec!["n".to_owned()],
        sorted_column: sorted.then(|| "s".to_owned()),
        keyed: Some(KeyedSpec::Upsert(UpsertSpec::default())),
        ..spec(id)
    }
}

/// The newest offset of each key, as a query sees it; `None`: the partition is not shown.
fn look(world: &World, server: &Server) -> Option<BTreeMap<i64, i64>> {
    let from = ConsumingFrom {
        partition: 0,
        from_sequence: 0,
        start: 0,
    };
    let scan = TableScan {
        consuming: vec![from],
        ..TableScan::default()
    };
    look_at(world, server, &scan)
}

fn look_at(world: &World, server: &Server, scan: &TableScan) -> Option<BTreeMap<i64, i64>> {
    let table = server.core.tables.get(world.table)?;
    let mut selection = Selection::default();
    let cluster = Arc::clone(&server.core.cluster.borrow());
    let is_committed = |held: &SealedSegment| committed(&cluster, held);
    let scan = (scan, &is_committed as IsCommitted<'_>);
    table.select(|view| select_table(view, (world.table, false), scan, &mut selection));
    if !selection.missing.is_empty() {
        return None;
    }
    let mut seen = BTreeMap::new();
    for view in selection.tables[&world.table].iter() {
        let rows = numbers(view, "n").into_iter().zip(offsets_of(view));
        for (row, (key, offset)) in rows.enumerate() {
            if view.valid().is_none_or(|valid| valid.contains(row as u32)) {
                assert_eq!(seen.insert(key, offset), None, "key {key} twice");
            }
        }
    }
    Some(seen)
}

fn numbers(view: &SegmentView, name: &str) -> Vec<i64> {
    let column = view.column(name).unwrap().unwrap();
    let mut all = Vec::new();
    for block in segment::view::blocks(view.row_count()) {
        match column.values() {
            Values::Raw(raw) => raw.values(block).longs_into(&mut all),
            Values::Dictionary(own) => {
                let values = own.array();
                let values = arrow::array::AsArray::as_primitive::<arrow::datatypes::Int64Type>(
                    values.as_ref(),
                )
                .clone();
                let mut room = segment::view::CodeRoom::default();
                let codes = own.codes(block, &mut room);
                all.extend((0..codes.len()).map(|at| values.value(codes.get(at) as usize)));
            }
            other => panic!("{other:?}"),
        }
    }
    all
}

/// Looks until the newest offset of each of `keys` keys is as `until` wants it. Meanwhile no key
/// goes away once it was seen, and none goes back.
async fn watch_keys(world: &World, server: &Server, until: impl Fn(&BTreeMap<i64, i64>) -> bool) {
    let started = std::time::Instant::now();
    let mut before = BTreeMap::new();
    loop {
        if let Some(seen) = look(world, server) {
            for (key, offset) in &before {
                let now = seen.get(key);
                assert!(
                    now.is_some_and(|now| now >= offset),
                    "{key}: {now:?} after {offset}"
                );
            }
            if until(&seen) {
                return;
            }
            before = seen;
        }
        assert!(started.elapsed() < PATIENCE, "{:?}", world.state());
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// Row `at` has key `at % keys`.
fn push(world: &World, rows: std::ops::Range<i64>, keys: i64) {
    world.log.push(rows.map(|at| {
        let key = at % keys;
        Some(format!(
            r#"{{"n": {key}, "s": "row {}"}}"#,
            at * 7919 % 1000
        ))
    }));
}

fn newest(rows: i64, keys: i64) -> BTreeMap<i64, i64> {
    (0..rows).map(|at| (at % keys, at)).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_are_seen_once_through_seals_and_starts() {
    for sorted in [false, true] {
        let world = World::of(&["a"], keyed(sorted));
        let server = world.start("a").await;
        for rows in (0..2600).step_by(130) {
            push(&world, rows..rows + 130, 70);
            watch_keys(&world, &server, |seen| *seen == newest(rows + 130, 70)).await;
        }
        watch_keys(&world, &server, |_| world.sealed().len() == 5).await;
        world.check_ledgers();
        server.stop(GRACE).await;
        let server = world.start("a").await;
        watch_keys(&world, &server, |seen| *seen == newest(2600, 70)).await;
        push(&world, 2600..2640, 70);
        watch_keys(&world, &server, |seen| *seen == newest(2640, 70)).await;
        server.stop(GRACE).await;
    }
}

/// Everything that the state names.
fn whole(world: &World) -> TableScan {
    let segments = world.state().segments.into_iter().map(|s| s.record);
    let (sealed, heads): (Vec<_>, Vec<_>) = segments.partition(SegmentRecord::is_done);
    let of_sealed = |record: SegmentRecord| SegmentRef {
        partition: 0,
        sequence: record.id.sequence,
        crc: record.crc,
    };
    let of_head = |record: SegmentRecord| ConsumingFrom {
        partition: 0,
        from_sequence: record.id.sequence,
        start: record.start,
    };
    TableScan {
        sealed: sealed.into_iter().map(of_sealed).collect(),
        consuming: heads.into_iter().map(of_head).collect(),
        ..TableScan::default()
    }
}

/// What rows had replaced that are gone is never seen again, by whoever starts: with its files or
/// with those of the deep store. Neither are rows that were not stored at all.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_stay_hidden_when_those_that_replaced_them_are_gone() {
    for drops_replaced in [false, true] {
        let upsert = UpsertSpec {
            drops_replaced,
            ..UpsertSpec::default()
        };
        let spec = |id| TableSpec {
            keyed: Some(KeyedSpec::Upsert(upsert.clone())),
            ..keyed(true)(id)
        };
        let world = World::of(&["a"], spec);
        let server = world.start("a").await;
        push(&world, 0..1000, 70);
        // Each has a key of its own.
        push(&world, 1000..1700, 1_000_000);
        watch_keys(&world, &server, |seen| seen.len() == 770).await;
        watch_keys(&world, &server, |_| world.sealed().len() == 3).await;
        world.check_ledgers();
        let sealed = world.sealed();
        assert_eq!(
            sealed[0].ledger.rows,
            if drops_replaced { 70 } else { ROWS_MAX }
        );
        server.stop(GRACE).await;
        world.control.change(|tables| {
            let table = tables.get_mut(&world.table).unwrap();
            table.segments.retain(|s| s.record.id.sequence != 1);
        });
        let gone = sealed[1].start..sealed[1].end.unwrap();
        let newest = newest(1000, 70).into_iter();
        let own = (1000..1700).map(|at| (at, at));
        let left = newest.chain(own).filter(|(_, at)| !gone.contains(at));
        let left: BTreeMap<i64, i64> = left.collect();
        for without_files in [false, true] {
            if without_files {
                let files = world.folder.path().join("a").join("segments");
                std::fs::remove_dir_all(files).unwrap();
            }
            let server = world.start("a").await;
            let shown = || look_at(&world, &server, &whole(&world));
            eventually("all is consumed", || {
                shown().is_some_and(|seen| seen.len() >= left.len())
            })
            .await;
            assert_eq!(shown().unwrap(), left);
            server.stop(GRACE).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_replica_ended_the_segment_elsewhere() {
    let world = World::of(&["a"], keyed(false));
    let server = world.start("a").await;
    // The keys of the ghost's rows are their offsets.
    push(&world, 0..150, 150);
    push(&world, 150..400, 60);
    let expected = |rows: i64| {
        let first = (0..150).map(|at| (at, at));
        let then = (150..rows).map(|at| (at % 60, at));
        first.chain(then).collect::<BTreeMap<i64, i64>>()
    };
    watch_keys(&world, &server, |seen| *seen == expected(400)).await;
    let record = ghost_commits(&world, 150).await;
    let held = |seen: &BTreeMap<i64, i64>| {
        let held = world.control.held("a");
        *seen == expected(400) && held.contains(&(0, record.crc))
    };
    watch_keys(&world, &server, held).await;
    push(&world, 400..700, 60);
    watch_keys(&world, &server, |seen| *seen == expected(700)).await;
    watch_keys(&world, &server, |_| world.sealed().len() == 2).await;
    watch_keys(&world, &server, |seen| *seen == expected(700)).await;
    world.check_ledgers();
    server.stop(GRACE).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_file_is_loaded_again_before_its_keys_are_read() {
    let world = World::of(&["a"], keyed(false));
    let server = world.start("a").await;
    push(&world, 0..1200, 90);
    watch_keys(&world, &server, |seen| *seen == newest(1200, 90)).await;
    watch_keys(&world, &server, |_| world.sealed().len() == 2).await;
    let table = server.core.tables.get(world.table).unwrap();
    let path = table.view().find(0, 0).unwrap().path().to_owned();
    server.stop(GRACE).await;
    let mut bytes = std::fs::read(&path).unwrap();
    // The first buffers are those of the first column, which is the key.
    bytes[64..400].iter_mut().for_each(|byte| *byte ^= 0x5a);
    std::fs::write(&path, bytes).unwrap();
    let server = world.start("a").await;
    watch_keys(&world, &server, |seen| *seen == newest(1200, 90)).await;
    assert_eq!(server.core.metrics.quarantined.get(), 1);
    server.stop(GRACE).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_that_are_there_already_are_filtered() {
    let dedup = |id| TableSpec {
        keyed: Some(KeyedSpec::Dedup(schemas::keyed::DedupSpec::default())),
        ..keyed(false)(id)
    };
    let world = World::of(&["a"], dedup);
    let server = world.start("a").await;
    push(&world, 0..1300, 600);
    let first = |_: &BTreeMap<i64, i64>| true;
    watch_keys(&world, &server, first).await;
    let all: BTreeMap<i64, i64> = (0..600).map(|at| (at, at)).collect();
    watch_keys(&world, &server, |seen| *seen == all).await;
    let taken = |world: &World| world.control.consumers("a")[0].next_offset;
    eventually("all is consumed", || taken(&world) == 1300).await;
    server.stop(GRACE).await;
    let server = world.start("a").await;
    watch_keys(&world, &server, |seen| *seen == all).await;
    eventually("all is consumed", || taken(&world) == 1300).await;
    watch_keys(&world, &server, |seen| *seen == all).await;
    let ledger = server.core.tables.get(world.table).unwrap().view();
    let ledger = ledger.run(0).last().unwrap().ledger();
    assert_eq!((ledger.rows, ledger.filtered), (100, 700));
    world.check_ledgers();
    server.stop(GRACE).await;
}

/// Writes a segment anew without the rows that did not count at the end of the newest sealed one, as
/// a minion does, and says so to all. Gives the record of the new file.
async fn compacted(world: &World, server: &Server, sequence: u32) -> SegmentRecord {
    let view = server.core.tables.get(world.table).unwrap().view();
    let newest = view.sealed_of(0).last().unwrap();
    let before = view.find(0, sequence).unwrap();
    let told = newest.keys_at_end().unwrap().unwrap().others;
    let find = |crc: u32| {
        let mut told = told.iter();
        let found = told.find(|(name, _)| *name == (sequence, crc));
        found.map(|(_, rows)| rows.clone())
    };
    let known = before.known_rows(find).unwrap().unwrap();
    assert!(!known.newest().is_all());
    let folder = tempfile::tempdir().unwrap();
    let place: (&dyn Files, _) = (&OsFiles, folder.path());
    let made = segment::compact(before, &known, &view.spec, place).unwrap();
    let key = SegmentRecord::object_key(made.record.id, made.record.crc);
    let packed = segment::pack(&made.path, made.record.crc).unwrap();
    world.deep.upload(&key, packed.into()).await.unwrap();
    let mut record = made.record;
    record.uri = Some(key);
    world.control.change(|tables| {
        let table = tables.get_mut(&world.table).unwrap();
        let mut own = table.segments.iter_mut();
        let own = own.find(|s| s.record.id == record.id).unwrap();
        record.earlier = vec![own.record.crc];
        record.earlier.extend(&own.record.earlier);
        own.record = record.clone();
    });
    record
}

/// Nobody looks at a moment at which a key is missing or there twice, whichever file a broker asks
/// for, and whichever the server holds; neither after starts.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_are_seen_once_while_segments_are_compacted() {
    for sorted in [false, true] {
        let world = World::of(&["a"], keyed(sorted));
        let mut server = world.start("a").await;
        push(&world, 0..500, 10_000);
        push(&world, 500..2000, 70);
        watch_keys(&world, &server, |seen| seen.len() == 500).await;
        watch_keys(&world, &server, |_| world.sealed().len() == 4).await;
        let mut rows = 2000;
        // The last rows of two segments are all replaced, those of the first one by one.
        for (sequence, keys) in [(0, 200), (1, 200), (0, 300), (2, 300)] {
            let sealed = world.sealed().len();
            push(&world, rows..rows + 600, keys);
            rows += 600;
            watch_keys(&world, &server, |_| world.sealed().len() > sealed).await;
            let old = whole(&world);
            let record = compacted(&world, &server, sequence).await;
            let new = whole(&world);
            let is_turned = || world.control.held("a").contains(&(sequence, record.crc));
            loop {
                let done = is_turned();
                let [by_old, by_new] = [&old, &new].map(|scan| look_at(&world, &server, scan));
                assert_eq!(
                    by_old.unwrap().len(),
                    500,
                    "by a broker that has not heard of it"
                );
                // The server may not have heard of the file, but its own is a committed one.
                assert_eq!(by_new.unwrap().len(), 500, "by one that has");
                if done {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            world.check_ledgers();
            let before = look(&world, &server).unwrap();
            server.stop(GRACE).await;
            if rows > 3500 {
                let files = world.folder.path().join("a").join("segments");
                std::fs::remove_dir_all(files).unwrap();
            }
            server = world.start("a").await;
            watch_keys(&world, &server, |seen| *seen == before).await;
        }
        assert_eq!(world.sealed()[0].earlier.len(), 2);
        server.stop(GRACE).await;
    }
}
