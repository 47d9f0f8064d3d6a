//! The table: as a plain map says it is, and as it is.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::array::{
    ArrayRef, AsArray, BooleanArray, Int64Array, RecordBatch, StringViewArray,
    TimestampMillisecondArray,
};
use arrow::datatypes::Int64Type;
use runtime::{MemoryBudget, OsFiles};
use schemas::keyed::{KeyedSpec, UpsertSpec};
use schemas::segment::Ledger;
use schemas::{ColumnSpec, DataType, FieldRole, Offset, SegmentId, TableSpec, TableType};
use segment::view::{CodeRoom, Values, blocks};
use segment::{
    KeyRows, KeysAtEnd, MutableSegment, SealExtra, SealedSegment, SegmentError, SegmentView, seal,
};
use upsert::{PartitionKeys, Spill, Stage, StoredRows};

#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) key: i64,
    pub(crate) compared: i64,
    /// Where rows are compared by several columns: it is in the second of them.
    pub(crate) second: bool,
    pub(crate) deleted: bool,
}

impl Row {
    pub(crate) fn new(key: i64, compared: i64) -> Self {
        Self {
            key,
            compared,
            second: false,
            deleted: false,
        }
    }

    /// Of both columns.
    pub(crate) fn numbers(&self) -> [Option<i64>; 2] {
        match self.second {
            false => [Some(self.compared), None],
            true => [None, Some(self.compared)],
        }
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Table {
    pub(crate) keyed: KeyedSpec,
    pub(crate) key: &'static [&'static str],
    pub(crate) sorted: Option<&'static str>,
    /// Segments tell what is known of keys at their end.
    pub(crate) tells: bool,
}

impl Table {
    pub(crate) fn upsert(&self) -> Option<&UpsertSpec> {
        self.keyed.upsert()
    }

    pub(crate) fn compares_several(&self) -> bool {
        self.upsert().is_some_and(|own| own.comparison.len() > 1)
    }
}

pub(crate) fn spec(table: &Table) -> Arc<TableSpec> {
    let column = |name: &str, data_type| ColumnSpec::new(name, data_type, FieldRole::Dimension);
    Arc::new(TableSpec {
        primary_key: table.key.iter().map(|name| (*name).to_owned()).collect(),
        sorted_column: table.sorted.map(str::to_owned),
        keyed: Some(table.keyed.clone()),
        ..TableSpec::new(
            "t".parse().unwrap(),
            TableType::Realtime,
            vec![
                column("k", DataType::Long),
                column("name", DataType::String),
                column("compared", DataType::Long),
                column("second", DataType::Long),
                column("text", DataType::String),
                column("deleted", DataType::Boolean),
                column("late", DataType::Boolean),
            ],
        )
    })
}

/// A key of null is the key of the default.
pub(crate) fn batch(spec: &TableSpec, first: Offset, rows: &[Row]) -> RecordBatch {
    let key = |row: &Row| (row.key != 0).then_some(row.key);
    let columns: Vec<ArrayRef> = vec![
        Arc::new(rows.iter().map(key).collect::<Int64Array>()),
        Arc::new(
            rows.iter()
                .map(|row| key(row).map(|key| format!("a longer name of {key}")))
                .collect::<StringViewArray>(),
        ),
        Arc::new(
            rows.iter()
                .map(|row| row.numbers()[0])
                .collect::<Int64Array>(),
        ),
        Arc::new(
            rows.iter()
                .map(|row| row.numbers()[1])
                .collect::<Int64Array>(),
        ),
        Arc::new(
            rows.iter()
                .map(|row| Some(format!("version {:012}", row.compared)))
                .collect::<StringViewArray>(),
        ),
        Arc::new(BooleanArray::from_iter(
            rows.iter().map(|row| Some(row.deleted)),
        )),
        Arc::new(BooleanArray::from(vec![None; rows.len()])),
        Arc::new(Int64Array::from_iter_values((first..).take(rows.len()))),
        Arc::new(TimestampMillisecondArray::from_iter_values(vec![
            7;
            rows.len()
        ])),
    ];
    RecordBatch::try_new(schemas::arrow::ingest_schema(spec), columns).unwrap()
}

/// Numbers that are stored raw.
#[derive(Debug)]
pub(crate) struct Plain;

impl StoredRows for Plain {
    fn read(
        &self,
        view: &SegmentView,
        spec: &TableSpec,
        columns: &[usize],
        rows: &[u32],
    ) -> Result<Vec<ArrayRef>, SegmentError> {
        assert!(rows.is_sorted());
        let read = columns.iter().map(|at| {
            let name = &spec.columns[*at].name;
            let (values, own) = (column(view, name), view.column(name).unwrap().unwrap());
            let value = |row: &u32| {
                let is_null = own.nulls().is_some_and(|nulls| nulls.is_null(*row));
                (!is_null).then(|| values[*row as usize])
            };
            Arc::new(rows.iter().map(value).collect::<Int64Array>()) as ArrayRef
        });
        Ok(read.collect())
    }
}

/// What a plain map says of a key: what its newest row is compared by, where it is, and whether it
/// deletes the key.
pub(crate) type Known = ([Option<i64>; 2], Offset, bool);

/// What a plain map says.
#[derive(Clone, Debug)]
pub(crate) struct Model {
    pub(crate) keyed: KeyedSpec,
    pub(crate) known: BTreeMap<i64, Known>,
    pub(crate) visible: BTreeSet<Offset>,
    /// Newest rows of their keys, which they delete.
    pub(crate) deleting: BTreeSet<Offset>,
    pub(crate) stored: BTreeMap<Offset, Row>,
    pub(crate) newest: i64,
    pub(crate) filtered: u64,
}

impl Model {
    pub(crate) fn new(keyed: &KeyedSpec) -> Self {
        Self {
            keyed: keyed.clone(),
            known: BTreeMap::new(),
            visible: BTreeSet::new(),
            deleting: BTreeSet::new(),
            stored: BTreeMap::new(),
            newest: i64::MIN / 2,
            filtered: 0,
        }
    }

    pub(crate) fn take(&mut self, row: &Row, offset: Offset) {
        let (ttl, deleted_ttl, drops) = match &self.keyed {
            KeyedSpec::Upsert(own) => (own.ttl, own.deleted_ttl, own.drops_out_of_order),
            KeyedSpec::Dedup(own) => (own.ttl, None, true),
        };
        let newest = self.newest.max(row.compared);
        let old = |ttl: Option<i64>, at: i64| ttl.is_some_and(|ttl| at < newest - ttl);
        let known = self.known.get(&row.key).copied();
        let known = known.filter(|([at, _], _, deleted)| {
            let at = at.unwrap_or(i64::MAX);
            !(old(ttl, at) || *deleted && old(deleted_ttl, at))
        });
        let is_dedup = matches!(self.keyed, KeyedSpec::Dedup(_));
        let own = row.numbers();
        let is_late = known.is_some_and(|(known, ..)| {
            let mut both = own.iter().zip(known);
            is_dedup || both.any(|(own, known)| own.is_some() && *own < known)
        });
        if is_late && drops {
            self.filtered += 1;
            return;
        }
        self.newest = newest;
        self.stored.insert(offset, row.clone());
        if is_late {
            return;
        }
        let mut numbers = own;
        if let Some((before, at, _)) = known {
            self.visible.remove(&at);
            self.deleting.remove(&at);
            numbers = std::array::from_fn(|column| own[column].or(before[column]));
        }
        let deleted = row.deleted && !is_dedup;
        let shown = match deleted {
            true => &mut self.deleting,
            false => &mut self.visible,
        };
        shown.insert(offset);
        self.known.insert(row.key, (numbers, offset, deleted));
    }

    /// The rows at these offsets go, and the keys of which they are the newest.
    pub(crate) fn retire(&mut self, offsets: &std::ops::Range<Offset>) {
        let stays = |offset: &Offset| !offsets.contains(offset);
        self.visible.retain(stays);
        self.deleting.retain(stays);
        self.stored.retain(|offset, _| stays(offset));
        self.known.retain(|_, (_, offset, _)| stays(offset));
    }

    /// Of the rows at these offsets only those are stored by which `sealed` knows keys.
    pub(crate) fn compact(&mut self, offsets: &std::ops::Range<Offset>, sealed: &Self) {
        self.stored.retain(|offset, _| {
            !offsets.contains(offset)
                || sealed.visible.contains(offset)
                || sealed.deleting.contains(offset)
        });
    }
}

/// A segment that takes no more rows and is not sealed yet.
#[derive(Debug)]
struct Frozen {
    segment: Arc<MutableSegment>,
    keys: KeysAtEnd,
    end: Offset,
}

pub(crate) struct Real {
    pub(crate) table: Table,
    pub(crate) spec: Arc<TableSpec>,
    pub(crate) folder: tempfile::TempDir,
    pub(crate) spill: Spill,
    pub(crate) keys: Arc<PartitionKeys>,
    pub(crate) sealed: Vec<Arc<SealedSegment>>,
    frozen: Option<Frozen>,
    pub(crate) current: Arc<MutableSegment>,
    /// What the log has from the end of what is sealed on.
    pub(crate) log: Vec<(Offset, Vec<Row>)>,
    pub(crate) next: Offset,
}

pub(crate) fn open(spec: &Arc<TableSpec>, sequence: u32, start: Offset) -> Arc<MutableSegment> {
    let id = SegmentId {
        table: spec.id,
        partition: 0,
        sequence,
    };
    let name = format!("t__0__{sequence}");
    Arc::new(MutableSegment::new(Arc::clone(spec), id, name, start).unwrap())
}

impl Real {
    pub(crate) fn new(table: &Table, bytes: u64) -> Self {
        Self::of(table, &spec(table), bytes)
    }

    /// A replica of others of the same table.
    pub(crate) fn of(table: &Table, spec: &Arc<TableSpec>, bytes: u64) -> Self {
        let (spec, folder) = (Arc::clone(spec), tempfile::tempdir().unwrap());
        let spill = Spill::new(
            MemoryBudget::root("keys", bytes),
            folder.path().join("keys"),
        );
        let keys = Arc::new(
            PartitionKeys::new(&spec, &spill, Arc::new(Plain))
                .unwrap()
                .unwrap(),
        );
        let current = open(&spec, 0, 0);
        keys.open(&current);
        Self {
            table: table.clone(),
            spec,
            folder,
            spill,
            keys,
            sealed: Vec::new(),
            frozen: None,
            current,
            log: Vec::new(),
            next: 0,
        }
    }

    pub(crate) fn append(&mut self, rows: Vec<Row>) -> u64 {
        let first = self.next;
        self.next += rows.len() as i64;
        self.log.push((first, rows));
        self.feed(self.log.len() - 1)
    }

    pub(crate) fn feed(&self, at: usize) -> u64 {
        let (first, rows) = &self.log[at];
        let batch = batch(&self.spec, *first, rows);
        let appended = self.keys.append(&self.current, &batch).unwrap();
        let rejected = appended.rejected.len() as u64;
        assert_eq!(
            appended.rows + appended.filtered + rejected,
            rows.len() as u64
        );
        self.current.advance_to(first + rows.len() as i64);
        appended.filtered
    }

    pub(crate) fn pass(&mut self, offsets: i64) {
        self.next += offsets;
        self.current.advance_to(self.next);
    }

    /// What comes goes into the next segment. `false`: one is frozen already.
    pub(crate) fn freeze(&mut self) -> bool {
        if self.frozen.is_some() {
            return false;
        }
        let next = open(&self.spec, self.current.id().sequence + 1, self.next);
        self.frozen = Some(Frozen {
            keys: self.keys.at_end(&self.current),
            end: self.next,
            segment: std::mem::replace(&mut self.current, next),
        });
        self.keys.open(&self.current);
        true
    }

    /// The frozen segment is sealed; gives its offsets.
    pub(crate) fn seal(&mut self) -> std::ops::Range<Offset> {
        self.freeze();
        let Frozen { segment, keys, end } = self.frozen.take().unwrap();
        let start = segment.start_offset();
        let upsert = self.table.upsert();
        let extra = SealExtra {
            start,
            end,
            ledger: Ledger {
                rows: u64::from(segment.row_count()),
                ..Ledger::default()
            },
            keys: self.table.tells.then_some(keys),
            drops_replaced: upsert.is_some_and(|own| own.drops_replaced),
            ..SealExtra::default()
        };
        let sealed = seal(&segment, &OsFiles, self.folder.path(), extra).unwrap();
        let ledger = sealed.record.ledger;
        assert_eq!(ledger.total(), u64::from(segment.row_count()));
        let sealed = SealedSegment::open(&sealed.path, &self.spec, sealed.record.crc).unwrap();
        assert_eq!(ledger.rows, u64::from(sealed.row_count()));
        sealed.verify_all().unwrap();
        self.keys.seat(&sealed).unwrap();
        assert!(self.keys.holds(&sealed));
        self.sealed.push(sealed);
        self.log.retain(|(first, _)| *first >= end);
        start..end
    }

    /// One of the sealed segments but the newest, by what that one tells; gives its offsets.
    pub(crate) fn compact(&mut self, which: usize) -> Option<std::ops::Range<Offset>> {
        let (newest, older) = self.sealed.split_last()?;
        let at = which.checked_rem(older.len())?;
        let before = &older[at];
        let told = newest.keys_at_end().unwrap()?.others;
        let find = |crc: u32| -> Option<KeyRows> {
            let name = (before.id().sequence, crc);
            let mut told = told.iter();
            told.find(|(own, _)| *own == name)
                .map(|(_, rows)| rows.clone())
        };
        let known = before.known_rows(find).unwrap()?;
        if known.newest().is_all() {
            return None;
        }
        let place: (&dyn runtime::Files, _) = (&OsFiles, self.folder.path());
        let made = segment::compact(before, &known, &self.spec, place).unwrap();
        assert_eq!(made.record.ledger.total(), before.ledger().total());
        let fresh = SealedSegment::open(&made.path, &self.spec, made.record.crc).unwrap();
        fresh.verify_all().unwrap();
        assert_eq!(fresh.row_count(), known.newest().live());
        self.keys.seat(&fresh).unwrap();
        assert!(self.keys.holds(&fresh));
        let offsets = fresh.start()..fresh.end();
        self.sealed[at] = fresh;
        Some(offsets)
    }

    /// After a kill: what was not sealed comes again.
    pub(crate) fn start(&mut self) {
        let keys = PartitionKeys::new(&self.spec, &self.spill, Arc::new(Plain));
        self.keys = Arc::new(keys.unwrap().unwrap());
        let load = self.keys.plan(self.sealed.clone()).unwrap();
        for stage in Stage::ALL {
            std::thread::scope(|scope| {
                for _ in 0..2 {
                    scope.spawn(|| self.keys.work(&load, stage, &|| false).unwrap());
                }
            });
        }
        self.keys.loaded(&load);
        let first = self
            .frozen
            .take()
            .map_or(Arc::clone(&self.current), |own| own.segment);
        self.current = open(&self.spec, first.id().sequence, first.start_offset());
        self.keys.open(&self.current);
        for at in 0..self.log.len() {
            self.feed(at);
        }
        self.current.advance_to(self.next);
    }

    pub(crate) fn views(&self) -> Vec<SegmentView> {
        let sealed = self.sealed.iter().map(SealedSegment::view);
        let frozen = self.frozen.iter().map(|own| own.segment.view());
        let all = sealed.chain(frozen).chain([self.current.view()]);
        self.keys
            .at_one_moment(|valid| all.map(|view| valid(view).unwrap()).collect())
    }
}

pub(crate) fn column(view: &SegmentView, name: &str) -> Vec<i64> {
    let column = view.column(name).unwrap().unwrap();
    let mut longs = Vec::new();
    for block in blocks(view.row_count()) {
        match column.values() {
            Values::Raw(raw) => raw.values(block).longs_into(&mut longs),
            Values::Dictionary(own) => {
                let (values, mut room) = (own.array(), CodeRoom::default());
                let values = values.as_primitive::<Int64Type>();
                let codes = own.codes(block, &mut room);
                longs.extend((0..codes.len()).map(|at| values.value(codes.get(at) as usize)));
            }
            other => panic!("{other:?}"),
        }
    }
    longs
}

/// Offsets of the rows that count, and of all that are stored.
pub(crate) fn offsets(views: &[SegmentView]) -> (BTreeSet<Offset>, BTreeSet<Offset>) {
    let (mut visible, mut stored) = (BTreeSet::new(), BTreeSet::new());
    for view in views {
        for (row, offset) in column(view, "$offset").into_iter().enumerate() {
            assert!(stored.insert(offset), "offset {offset} twice");
            if view.valid().is_none_or(|valid| valid.contains(row as u32)) {
                visible.insert(offset);
            }
        }
    }
    (visible, stored)
}
