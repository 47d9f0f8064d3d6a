//! A plain map beside the real thing: rows out of order, ties, deletes, keys that expire, segments
//! that are sealed, sorted or not, and starts from what is stored.

#![expect(clippy::unwrap_used, reason = "all of it is a test")]

mod world;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arrow::array::{ArrayRef, Int64Array, RecordBatch, TimestampMillisecondArray};
use proptest::prelude::*;
use runtime::{MemoryBudget, OsFiles};
use schemas::keyed::{DedupSpec, KeyedSpec, MergeStrategy, PartialSpec, UpsertSpec};
use schemas::{ColumnSpec, DataType, FieldRole, Offset, TableSpec, TableType};
use segment::{MutableSegment, SealExtra, SealedSegment, SegmentView, seal};
use upsert::{PartitionKeys, Spill};

use world::{Model, Plain, Real, Row, Table, column, offsets, open};

#[derive(Clone, Debug)]
enum Step {
    Append(Vec<Row>),
    /// Offsets that gave no row.
    Pass(i64),
    Seal,
    Start,
    Tidy,
    /// The oldest sealed segment goes.
    Retire,
}

fn agrees(table: &Table, steps: Vec<Step>, bytes: u64) {
    let mut real = Real::new(table, bytes);
    let mut model = Model {
        keyed: table.keyed.clone(),
        known: BTreeMap::new(),
        visible: BTreeSet::new(),
        stored: BTreeMap::new(),
        newest: i64::MIN / 2,
        filtered: 0,
    };
    let (mut filtered, mut retired) = (0, false);
    for step in steps {
        match step {
            Step::Append(rows) => {
                let first = real.next;
                for (row, offset) in rows.iter().zip(first..) {
                    model.take(row, offset);
                }
                filtered += real.append(rows);
            }
            Step::Pass(offsets) => real.pass(offsets),
            Step::Seal => real.seal(),
            Step::Start => {
                let before = model.visible.clone();
                real.start();
                model.start();
                assert!(retired || before == model.visible);
            }
            Step::Tidy => real.keys.tidy(),
            Step::Retire if !real.sealed.is_empty() => {
                retired = true;
                let gone = real.sealed.remove(0);
                real.keys.retire(&gone);
                let is_gone = |offset: &Offset| (gone.start()..gone.end()).contains(offset);
                model.visible.retain(|offset| !is_gone(offset));
                model.stored.retain(|offset, _| !is_gone(offset));
                model.known.retain(|_, (_, offset, _)| !is_gone(offset));
            }
            Step::Retire => {}
        }
        let (visible, stored) = offsets(&real.views());
        assert_eq!(visible, model.visible, "rows that count, {:?}", real.table);
        assert!(stored.iter().eq(model.stored.keys()));
    }
    assert_eq!(filtered, model.filtered);
    let figures = real.keys.figures();
    assert_eq!(figures.live_rows, model.visible.len() as u64);
    assert_eq!(figures.rows, model.stored.len() as u64);
}

fn rows() -> impl Strategy<Value = Vec<Row>> {
    let row =
        (0..12_i64, 0..40_i64, prop::bool::weighted(0.15)).prop_map(|(key, compared, deleted)| {
            Row {
                key,
                compared,
                deleted,
            }
        });
    prop::collection::vec(row, 0..20)
}

/// `retires`: segments go as well.
fn steps(retires: bool) -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        12 => rows().prop_map(Step::Append),
        1 => (1..4_i64).prop_map(Step::Pass),
        4 => Just(Step::Seal),
        2 => Just(Step::Start),
        1 => Just(Step::Tidy),
        u32::from(retires) => Just(Step::Retire),
    ];
    prop::collection::vec(step, 1..25)
}

fn tables() -> impl Strategy<Value = Table> {
    let ttl = || prop::option::weighted(0.3, 0..20_i64);
    let upsert = (any::<[bool; 3]>(), ttl(), ttl()).prop_map(
        |([compares, deletes, drops], ttl, deleted_ttl)| {
            KeyedSpec::Upsert(UpsertSpec {
                comparison: match compares || ttl.is_some() || deleted_ttl.is_some() {
                    true => vec!["compared".to_owned()],
                    false => Vec::new(),
                },
                delete_column: deletes.then(|| "deleted".to_owned()),
                ttl,
                deleted_ttl,
                drops_out_of_order: drops,
                out_of_order_column: (!drops).then(|| "late".to_owned()),
                partial: None,
            })
        },
    );
    let dedup = ttl().prop_map(|ttl| {
        KeyedSpec::Dedup(DedupSpec {
            time_column: Some("compared".to_owned()),
            ttl,
        })
    });
    let keys: [&'static [&'static str]; 3] = [&["k"], &["name"], &["k", "name"]];
    let sorted = prop::sample::select(vec![None, Some("compared"), Some("name")]);
    (
        prop_oneof![3 => upsert, 1 => dedup],
        prop::sample::select(keys.to_vec()),
        sorted,
    )
        .prop_map(|(keyed, key, sorted)| Table { keyed, key, sorted })
}

/// The model compares by what the table does.
fn seen_by(table: &Table, steps: Vec<Step>) -> Vec<Step> {
    let KeyedSpec::Upsert(upsert) = &table.keyed else {
        return steps;
    };
    let seen = |row: Row| Row {
        compared: if upsert.comparison.is_empty() {
            0
        } else {
            row.compared
        },
        deleted: row.deleted && upsert.delete_column.is_some(),
        ..row
    };
    let steps = steps.into_iter().map(|step| match step {
        Step::Append(rows) => Step::Append(rows.into_iter().map(seen).collect()),
        other => other,
    });
    steps.collect()
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 256,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]
    #[test]
    fn the_rows_that_count_are_those_of_a_plain_map(table in tables(), steps in steps(false)) {
        agrees(&table, seen_by(&table, steps), u64::MAX);
    }

    #[test]
    fn also_when_segments_go_and_keys_are_on_disk(
        key in prop::sample::select(vec![&["k"] as &'static [&'static str], &["name"]]),
        steps in steps(true),
    ) {
        let keyed = KeyedSpec::Upsert(UpsertSpec {
            comparison: vec!["compared".to_owned()],
            delete_column: Some("deleted".to_owned()),
            ..UpsertSpec::default()
        });
        let table = Table { keyed, key, sorted: None };
        agrees(&table, steps, 0);
    }
}

#[test]
fn late_rows_are_marked() {
    let keyed = KeyedSpec::Upsert(UpsertSpec {
        comparison: vec!["compared".to_owned()],
        out_of_order_column: Some("late".to_owned()),
        ..UpsertSpec::default()
    });
    let mut real = Real::new(
        &Table {
            keyed,
            key: &["k"],
            sorted: None,
        },
        u64::MAX,
    );
    let row = |key, compared| Row {
        key,
        compared,
        deleted: false,
    };
    real.append(vec![row(1, 5), row(1, 4), row(2, 1), row(1, 5), row(2, 0)]);
    real.seal();
    let views = real.views();
    assert_eq!(column(&views[0], "late"), [0, 1, 0, 0, 1]);
    assert_eq!(offsets(&views).0, BTreeSet::from([2, 3]));
}

/// While all keys are written again and again, every look finds each of them once.
#[test]
fn no_look_finds_a_key_twice_or_not_at_all() {
    const KEYS: i64 = 500;
    let keyed = KeyedSpec::Upsert(UpsertSpec {
        comparison: vec!["compared".to_owned()],
        ..UpsertSpec::default()
    });
    let table = Table {
        keyed,
        key: &["name"],
        sorted: Some("name"),
    };
    let mut real = Real::new(&table, u64::MAX);
    let row = |key, compared| Row {
        key,
        compared,
        deleted: false,
    };
    real.append((1..=KEYS).map(|key| row(key, 0)).collect());
    let stop = AtomicBool::new(false);
    for round in 0..6 {
        let (keys, sealed) = (Arc::clone(&real.keys), real.sealed.clone());
        let current = Arc::clone(&real.current);
        stop.store(false, Ordering::Relaxed);
        std::thread::scope(|scope| {
            let look = || {
                let mut looks = 0;
                while !stop.load(Ordering::Relaxed) || looks == 0 {
                    let views: Vec<SegmentView> = keys.at_one_moment(|valid| {
                        let all = sealed.iter().map(SealedSegment::view);
                        let all = all.chain([current.view()]);
                        all.map(|view| valid(view).unwrap()).collect()
                    });
                    assert_eq!(offsets(&views).0.len() as i64, KEYS, "after {looks} looks");
                    looks += 1;
                }
            };
            let looker = scope.spawn(look);
            for again in 0..40 {
                let at = round * 100 + again;
                let keys = (0..97).map(|own| (own * 7 + at * 13) % KEYS + 1);
                real.append(keys.map(|key| row(key, at)).collect());
            }
            stop.store(true, Ordering::Relaxed);
            looker.join().unwrap();
        });
        real.seal();
    }
}

const STRATEGIES: [(&str, MergeStrategy); 6] = [
    ("latest", MergeStrategy::Overwrite),
    ("forced", MergeStrategy::ForceOverwrite),
    ("first", MergeStrategy::Ignore),
    ("sum", MergeStrategy::Increment),
    ("most", MergeStrategy::Max),
    ("least", MergeStrategy::Min),
];

/// A column for each strategy.
fn partial() -> Arc<TableSpec> {
    let column = |name: &str| ColumnSpec::new(name, DataType::Long, FieldRole::Metric);
    let names = STRATEGIES.iter().map(|(name, _)| *name);
    let columns = STRATEGIES.map(|(name, own)| (name.to_owned(), own));
    Arc::new(TableSpec {
        primary_key: vec!["k".to_owned()],
        keyed: Some(KeyedSpec::Upsert(UpsertSpec {
            partial: Some(PartialSpec {
                default: MergeStrategy::Overwrite,
                columns: columns.to_vec(),
            }),
            ..UpsertSpec::default()
        })),
        ..TableSpec::new(
            "t".parse().unwrap(),
            TableType::Realtime,
            ["k"].into_iter().chain(names).map(column).collect(),
        )
    })
}

/// Rows of a key and the value of all other columns.
fn numbers(spec: &TableSpec, first: Offset, rows: &[(i64, Option<i64>)]) -> RecordBatch {
    let keys = rows.iter().map(|row| row.0);
    let values: ArrayRef = Arc::new(rows.iter().map(|row| row.1).collect::<Int64Array>());
    let offsets = (first..).take(rows.len());
    let mut columns: Vec<ArrayRef> = vec![Arc::new(Int64Array::from_iter_values(keys))];
    columns.extend(STRATEGIES.map(|_| Arc::clone(&values)));
    columns.push(Arc::new(Int64Array::from_iter_values(offsets)));
    let times = TimestampMillisecondArray::from(vec![0; rows.len()]);
    columns.push(Arc::new(times));
    RecordBatch::try_new(schemas::arrow::ingest_schema(spec), columns).unwrap()
}

/// What comes of a row and the one before, by each strategy.
#[test]
fn rows_are_made_of_the_one_before_and_what_comes() {
    let (spec, folder) = (partial(), tempfile::tempdir().unwrap());
    let budget = MemoryBudget::root("keys", 1 << 20);
    let spill = Spill::new(budget, folder.path().to_owned());
    let keys = PartitionKeys::new(&spec, &spill, Arc::new(Plain));
    let keys = keys.unwrap().unwrap();
    let append = |segment: &MutableSegment, first: Offset, rows: &[(i64, Option<i64>)]| {
        keys.append(segment, &numbers(&spec, first, rows)).unwrap();
    };
    let first = open(&spec, 0, 0);
    keys.open(&first);
    append(
        &first,
        0,
        &[(1, Some(5)), (2, None), (1, None), (1, Some(3))],
    );
    append(&first, 4, &[(2, Some(7)), (3, Some(1))]);
    let extra = SealExtra {
        end: 6,
        ..SealExtra::default()
    };
    let sealed = seal(&first, &OsFiles, folder.path(), extra).unwrap();
    let sealed = SealedSegment::open(&sealed.path, &spec, sealed.record.crc).unwrap();
    keys.seat(&sealed).unwrap();
    let second = open(&spec, 1, 6);
    keys.open(&second);
    append(
        &second,
        6,
        &[(3, None), (1, Some(4)), (2, Some(9)), (2, Some(8))],
    );
    let views: Vec<SegmentView> = keys.at_one_moment(|valid| {
        [sealed.view(), second.view()]
            .map(|view| valid(view).unwrap())
            .into()
    });
    assert_eq!(offsets(&views).0, BTreeSet::from([6, 7, 9]));
    let of = |name: &str| {
        let all = column(&views[1], name);
        [all[0], all[1], all[3]]
    };
    // Key 3 had 1, then nothing; key 1 had 5, nothing, 3, 4; key 2 had nothing, 7, 9, 8.
    assert_eq!(of("k"), [3, 1, 2]);
    assert_eq!(of("latest"), [1, 4, 8]);
    assert_eq!(of("forced"), [0, 4, 8]);
    assert_eq!(of("first"), [1, 5, 7]);
    assert_eq!(of("sum"), [1, 12, 24]);
    assert_eq!(of("most"), [1, 5, 9]);
    assert_eq!(of("least"), [1, 3, 7]);
}
