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
use segment::{MutableSegment, SealExtra, SealedSegment, SegmentError, SegmentView, seal};
use upsert::{PartitionKeys, Spill};

use world::{Model, Plain, Real, Row, Table, column, offsets, open};

#[derive(Clone, Debug)]
enum Step {
    Append(Vec<Row>),
    /// Offsets that gave no row.
    Pass(i64),
    /// What comes next goes into the next segment.
    Freeze,
    Seal,
    /// After a kill: what is not sealed is lost, and comes again.
    Start,
    Tidy,
    /// One of the sealed segments, not the newest, is written anew without the rows that did not
    /// count at the end of the newest.
    Compact(usize),
    /// One of the sealed segments goes, the newest only when it is alone.
    Retire(usize),
}

/// The plain map now, as it was when the current segment began, and as it was at the end of what
/// is sealed.
struct Models {
    now: Model,
    frozen: Option<Model>,
    sealed: Model,
}

impl Models {
    fn new(table: &Table) -> Self {
        Self {
            now: Model::new(&table.keyed),
            frozen: None,
            sealed: Model::new(&table.keyed),
        }
    }

    fn seal(&mut self, offsets: &std::ops::Range<Offset>, drops: bool) {
        self.sealed = self.frozen.take().unwrap();
        if drops {
            let sealed = self.sealed.clone();
            self.sealed.compact(offsets, &sealed);
            self.now.compact(offsets, &sealed);
        }
    }

    /// Which rows count stays as it is.
    fn compact(&mut self, offsets: &std::ops::Range<Offset>) {
        let sealed = self.sealed.clone();
        let Self { now, frozen, .. } = self;
        let all = [now, &mut self.sealed].into_iter().chain(frozen);
        all.for_each(|model| model.compact(offsets, &sealed));
    }

    fn start(&mut self, log: &[(Offset, Vec<Row>)]) {
        self.frozen = None;
        self.now = self.sealed.clone();
        for (first, rows) in log {
            let rows = rows.iter().zip(*first..);
            rows.for_each(|(row, offset)| self.now.take(row, offset));
        }
    }
}

fn agrees(table: &Table, steps: Vec<Step>, bytes: u64) {
    let mut real = Real::new(table, bytes);
    let mut models = Models::new(table);
    let drops = table.tells && table.upsert().is_some_and(|own| own.drops_replaced);
    let (mut filtered, mut retired) = (0, false);
    for step in steps {
        match step {
            Step::Append(rows) => {
                for (row, offset) in rows.iter().zip(real.next..) {
                    models.now.take(row, offset);
                }
                filtered += real.append(rows);
            }
            Step::Pass(offsets) => real.pass(offsets),
            Step::Freeze => {
                if real.freeze() {
                    models.frozen = Some(models.now.clone());
                }
            }
            Step::Seal => {
                models.frozen.get_or_insert_with(|| models.now.clone());
                models.seal(&real.seal(), drops);
            }
            Step::Start => {
                let before = models.now.visible.clone();
                real.start();
                models.start(&real.log);
                // What is not sealed comes again, and is judged beside what is left.
                assert!(retired || before == models.now.visible);
                assert!(retired || filtered == models.now.filtered);
                filtered = models.now.filtered;
            }
            Step::Tidy => real.keys.tidy(),
            Step::Compact(which) => {
                if let Some(offsets) = real.compact(which) {
                    models.compact(&offsets);
                }
            }
            Step::Retire(which) if !real.sealed.is_empty() => {
                retired = true;
                let older = real.sealed.len() - 1;
                let gone = real.sealed.remove(which.checked_rem(older).unwrap_or(0));
                real.keys.retire(&gone);
                let offsets = gone.start()..gone.end();
                let Models {
                    now,
                    frozen,
                    sealed,
                } = &mut models;
                let all = [now, sealed].into_iter().chain(frozen);
                all.for_each(|model| model.retire(&offsets));
            }
            Step::Retire(_) => {}
        }
        compare(&real, &models.now);
    }
    assert_eq!(filtered, models.now.filtered);
    let figures = real.keys.figures();
    assert_eq!(figures.live_rows, models.now.visible.len() as u64);
    assert_eq!(figures.rows, models.now.stored.len() as u64);
}

fn compare(real: &Real, model: &Model) {
    let views = real.views();
    let (visible, stored) = offsets(&views);
    assert_eq!(visible, model.visible, "rows that count, {:?}", real.table);
    assert!(stored.iter().eq(model.stored.keys()), "{:?}", real.table);
    if !real.table.compares_several() {
        return;
    }
    // Rows have what they are compared by from those before them.
    let known = model.known.values().filter(|known| !known.2);
    let known: BTreeMap<Offset, [Option<i64>; 2]> = known
        .map(|(numbers, offset, _)| (*offset, *numbers))
        .collect();
    for view in &views {
        let [first, second] = ["compared", "second"].map(|name| column(view, name));
        for (row, offset) in column(view, "$offset").into_iter().enumerate() {
            if let Some(numbers) = known.get(&offset) {
                let stored = [first[row], second[row]];
                let wanted = numbers.map(|number| number.unwrap_or(i64::MIN));
                assert_eq!(stored, wanted, "row at {offset}");
            }
        }
    }
}

fn rows() -> impl Strategy<Value = Vec<Row>> {
    let row = (
        0..12_i64,
        0..40_i64,
        any::<bool>(),
        prop::bool::weighted(0.15),
    );
    let row = row.prop_map(|(key, compared, second, deleted)| Row {
        key,
        compared,
        second,
        deleted,
    });
    prop::collection::vec(row, 0..20)
}

/// `retires`: segments go as well.
fn steps(retires: bool) -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        12 => rows().prop_map(Step::Append),
        1 => (1..4_i64).prop_map(Step::Pass),
        2 => Just(Step::Freeze),
        4 => Just(Step::Seal),
        3 => Just(Step::Start),
        1 => Just(Step::Tidy),
        3 => any::<usize>().prop_map(Step::Compact),
        2 * u32::from(retires) => any::<usize>().prop_map(Step::Retire),
    ];
    prop::collection::vec(step, 1..30)
}

fn tables() -> impl Strategy<Value = Table> {
    let ttl = || prop::option::weighted(0.3, 0..20_i64);
    let columns: [&[&str]; 5] = [
        &["compared"],
        &["compared"],
        &[],
        &["text"],
        &["compared", "second"],
    ];
    let columns = prop::sample::select(columns.to_vec());
    let upsert = (any::<[bool; 3]>(), columns, ttl(), ttl()).prop_map(
        |([deletes, drops, compacts], columns, ttl, deleted_ttl)| {
            let has_age = columns == ["compared"];
            KeyedSpec::Upsert(UpsertSpec {
                comparison: columns.iter().map(|name| (*name).to_owned()).collect(),
                delete_column: deletes.then(|| "deleted".to_owned()),
                ttl: ttl.filter(|_| has_age),
                deleted_ttl: deleted_ttl.filter(|_| has_age),
                drops_out_of_order: drops,
                out_of_order_column: (!drops).then(|| "late".to_owned()),
                partial: None,
                drops_replaced: compacts,
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
        prop::bool::weighted(0.7),
    )
        .prop_map(|(keyed, key, sorted, tells)| Table {
            keyed,
            key,
            sorted,
            tells,
        })
}

/// The model compares by what the table does.
fn seen_by(table: &Table, steps: Vec<Step>) -> Vec<Step> {
    let upsert = table.upsert();
    let is_compared = upsert.is_none_or(|own| !own.comparison.is_empty());
    let deletes = upsert.is_none_or(|own| own.delete_column.is_some());
    let seen = |row: Row| Row {
        compared: if is_compared { row.compared } else { 0 },
        second: row.second && table.compares_several(),
        deleted: row.deleted && deletes,
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
    fn also_when_segments_go_and_keys_are_on_disk(table in tables(), steps in steps(true)) {
        // What tells of the greatest value goes with the last segment.
        let forgets = |own: &UpsertSpec| own.ttl.is_some() || own.deleted_ttl.is_some();
        let table = Table { tells: true, ..table };
        prop_assume!(table.upsert().is_some_and(|own| !forgets(own)));
        agrees(&table, seen_by(&table, steps), 0);
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
            tells: true,
        },
        u64::MAX,
    );
    let row = Row::new;
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
        tells: true,
    };
    let mut real = Real::new(&table, u64::MAX);
    let row = Row::new;
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

/// A replica that has not come to the end up to which a file was compacted keeps its own until then.
#[test]
fn a_replica_that_is_behind_turns_when_it_has_caught_up() {
    let keyed = KeyedSpec::Upsert(UpsertSpec {
        comparison: vec!["compared".to_owned()],
        delete_column: Some("deleted".to_owned()),
        ..UpsertSpec::default()
    });
    let table = Table {
        keyed,
        key: &["k"],
        sorted: Some("compared"),
        tells: true,
    };
    let mut ahead = Real::new(&table, u64::MAX);
    let mut behind = Real::of(&table, &ahead.spec, u64::MAX);
    let row = Row::new;
    let first = || vec![row(1, 9), row(2, 3), row(3, 5), row(2, 2)];
    let deletes = Row {
        deleted: true,
        ..row(3, 6)
    };
    let then = || vec![row(1, 10), deletes.clone()];
    for real in [&mut ahead, &mut behind] {
        real.append(first());
        real.seal();
    }
    ahead.append(then());
    ahead.seal();
    ahead.compact(0).unwrap();
    let file = Arc::clone(&ahead.sealed[0]);
    assert_eq!(file.row_count(), 1, "only key 2 is left");

    let before = offsets(&behind.views()).0;
    let refused = behind.keys.seat(&file).unwrap_err();
    assert!(
        matches!(refused, SegmentError::Early { rows: 2, .. }),
        "{refused}"
    );
    assert!(!behind.keys.holds(&file));
    assert_eq!(offsets(&behind.views()).0, before);

    behind.append(then()[..1].to_vec());
    assert!(matches!(
        behind.keys.seat(&file),
        Err(SegmentError::Early { rows: 1, .. })
    ));
    behind.append(then()[1..].to_vec());
    behind.keys.seat(&file).unwrap();
    behind.sealed[0] = file;
    assert_eq!(offsets(&behind.views()).0, BTreeSet::from([1, 4]));
    assert_eq!(behind.keys.dead_rows(), [(0, 0, 1)]);
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
