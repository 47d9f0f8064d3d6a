//! The rules of a table: what is read of a row, and what becomes of it beside what is known of its
//! key.
//!
//! Of two rows of a key the one with the greater compared values is newer, of equals the one with
//! the greater offset. So it does not matter in which order segments are looked at after a start;
//! only times to live do, which are counted in the order of the log.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::RecordBatch;
use schemas::keyed::{KeyedSpec, PartialSpec};
use schemas::table::virtual_column;
use schemas::{ColumnSpec, DataType, FieldRole, Offset, TableSpec};
use segment::view::blocks;
use segment::{SegmentError, SegmentView};

use crate::cells::{CellColumn, Cells, KeyColumns, SegmentCells};
use crate::compared::{Compared, Lines, NOTHING};
use crate::map::Entry;

#[derive(Debug)]
pub(crate) struct Rules {
    pub(crate) key: KeyColumns,
    pub(crate) compared: Compared,
    deletes: Option<CellColumn>,
    offset: CellColumn,
    /// The first row of a key counts, and not the newest.
    pub(crate) is_dedup: bool,
    ttl: Option<i64>,
    deleted_ttl: Option<i64>,
    drops_out_of_order: bool,
    /// The column that tells of rows out of order.
    pub(crate) marks: Option<String>,
    pub(crate) partial: Option<PartialSpec>,
}

/// What the rules look at, of some rows.
#[derive(Debug)]
pub(crate) struct Looked {
    /// The first of them, in their segment.
    pub(crate) first: u32,
    pub(crate) keys: Vec<Cells>,
    pub(crate) compared: Lines,
    pub(crate) deleted: Option<Vec<i64>>,
    pub(crate) offsets: Vec<Offset>,
    /// Rows that cannot be compared. Ascending.
    pub(crate) undecided: Vec<usize>,
}

/// What becomes of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It is the newest of its key.
    Newest,
    /// A newer one is there already.
    Late,
    /// It is not taken.
    Dropped,
}

impl Rules {
    /// `None`: the table has no such rules.
    pub(crate) fn new(
        spec: &Arc<TableSpec>,
        seeds: [u64; 2],
    ) -> Result<Option<Self>, SegmentError> {
        let Some(keyed) = &spec.keyed else {
            return Ok(None);
        };
        let column = |name: &str| {
            let column = spec.column(name).ok_or_else(|| SegmentError::Batch {
                what: format!("the table has no column `{name}`, by which its rows are told apart"),
            })?;
            CellColumn::new(column)
        };
        let key = spec.primary_key.iter().map(|name| column(name));
        let key = KeyColumns::new(key.collect::<Result<_, _>>()?, seeds);
        let optional = |name: Option<&String>| name.map(|name| column(name)).transpose();
        let compared = |names: &[String]| {
            let columns = names.iter().map(|name| column(name));
            columns.collect::<Result<_, _>>().map(Compared::new)
        };
        let of_offset =
            ColumnSpec::new(virtual_column::OFFSET, DataType::Long, FieldRole::Dimension);
        let offset = CellColumn::new(&of_offset)?;
        let is_dedup = matches!(keyed, KeyedSpec::Dedup(_));
        let rules = Self {
            key,
            offset,
            is_dedup,
            compared: Compared::default(),
            deletes: None,
            ttl: None,
            deleted_ttl: None,
            drops_out_of_order: false,
            marks: None,
            partial: None,
        };
        Ok(Some(match keyed {
            KeyedSpec::Dedup(dedup) => Self {
                compared: compared(dedup.time_column.as_slice())?,
                ttl: dedup.ttl,
                ..rules
            },
            KeyedSpec::Upsert(upsert) => Self {
                compared: compared(&upsert.comparison)?,
                deletes: optional(upsert.delete_column.as_ref())?,
                ttl: upsert.ttl,
                deleted_ttl: upsert.deleted_ttl,
                drops_out_of_order: upsert.drops_out_of_order,
                marks: upsert.out_of_order_column.clone(),
                partial: upsert.partial.clone(),
                ..rules
            },
        }))
    }

    /// Of the key, of the comparison, or told by the rules themselves.
    pub(crate) fn is_never_merged(&self, column: &str) -> bool {
        let of_key = self.key.columns.iter();
        let compared = self.compared.columns();
        let read = of_key.chain(compared).chain(&self.deletes);
        let mut names = read.map(|own| &own.name).chain(&self.marks);
        names.any(|own| own == column)
    }

    /// Some keys are forgotten by their age.
    pub(crate) fn forgets(&self) -> bool {
        self.ttl.is_some() || self.deleted_ttl.is_some()
    }

    /// Rows can delete their key.
    pub(crate) fn deletes(&self) -> bool {
        self.deletes.is_some()
    }

    /// Nothing is known of the key any more, beside a row of this age.
    pub(crate) fn is_expired<const V: usize>(&self, known: Entry<V>, newest: i64) -> bool {
        let age = known.compared[0];
        let is_before = |ttl: Option<i64>| ttl.is_some_and(|ttl| age < newest.saturating_sub(ttl));
        is_before(self.ttl) || (known.deleted && is_before(self.deleted_ttl))
    }

    /// The row with the numbers that it has from the one before it.
    pub(crate) fn filled<const V: usize>(
        &self,
        row: Entry<V>,
        known: Option<Entry<V>>,
    ) -> Entry<V> {
        let Some(known) = known.filter(|_| self.compared.are_several()) else {
            return row;
        };
        let own = row.compared.iter().zip(known.compared);
        let mut own = own.map(|(own, before)| if *own == NOTHING { before } else { *own });
        Entry {
            compared: std::array::from_fn(|_| own.next().unwrap_or(NOTHING)),
            ..row
        }
    }

    /// `row` has what it has from the one before it.
    pub(crate) fn judge<const V: usize>(&self, row: Entry<V>, known: Option<Entry<V>>) -> Verdict {
        let Some(known) = known else {
            return Verdict::Newest;
        };
        let is_newer = (row.compared, row.offset) > (known.compared, known.offset);
        match (self.is_dedup, is_newer) {
            (true, _) => Verdict::Dropped,
            (false, true) => Verdict::Newest,
            (false, false) if self.drops_out_of_order => Verdict::Dropped,
            (false, false) => Verdict::Late,
        }
    }

    /// Of all rows of a batch.
    pub(crate) fn look_at_batch(&self, batch: &RecordBatch) -> Result<Looked, SegmentError> {
        let read = |own: &CellColumn| own.of_batch(batch);
        let keys = self.key.columns.iter().map(read);
        let deleted = self.deletes.as_ref();
        let deleted = deleted.map(|own| read(own).map(Cells::in_order));
        let compared = self.compared.of_batch(batch)?;
        Ok(Looked {
            first: 0,
            keys: keys.collect::<Result<_, _>>()?,
            undecided: self.compared.undecided(&compared),
            compared,
            deleted: deleted.transpose()?,
            offsets: read(&self.offset)?.in_order(),
        })
    }

    /// Of the rows of a segment, block by block, of those blocks that are wanted.
    pub(crate) fn look_at_segment(
        &self,
        view: &SegmentView,
        wants: impl Fn(&Range<u32>) -> bool,
        mut each: impl FnMut(Looked),
    ) -> Result<(), SegmentError> {
        let keys = self.key.columns.iter().map(|own| own.of_segment(view));
        let keys = keys.collect::<Result<Vec<_>, _>>()?;
        let compared = self.compared.of_segment(view)?;
        let deletes = self.deletes.as_ref();
        let deletes = deletes.map(|own| own.of_segment(view)).transpose()?;
        let offset = self.offset.of_segment(view)?;
        for block in blocks(view.row_count()).filter(wants) {
            let read = |own: &SegmentCells<'_>| own.read(block.clone()).map(Cells::in_order);
            let cells = keys.iter().map(|own| own.read(block.clone()));
            let lines = compared.iter().map(|own| own.read(block.clone()));
            let lines = lines.collect::<Result<Vec<Lines>, _>>()?;
            each(Looked {
                first: block.start,
                keys: cells.collect::<Result<_, _>>()?,
                compared: lines.into_iter().flatten().collect(),
                deleted: deletes.as_ref().map(read).transpose()?,
                offsets: read(&offset)?,
                undecided: Vec::new(),
            });
        }
        Ok(())
    }

    /// The offsets of all rows of a segment.
    pub(crate) fn offsets(&self, view: &SegmentView) -> Result<Vec<Offset>, SegmentError> {
        let offset = self.offset.of_segment(view)?;
        let mut offsets = Vec::with_capacity(view.row_count() as usize);
        for block in blocks(view.row_count()) {
            offsets.extend(offset.read(block)?.in_order());
        }
        Ok(offsets)
    }
}

impl Looked {
    pub(crate) fn rows(&self) -> usize {
        self.offsets.len()
    }

    /// What will be known of the row's key if the row is its newest.
    pub(crate) fn entry<const V: usize>(&self, row: usize) -> Entry<V> {
        let word = |at: usize| self.compared.get(at).map_or(NOTHING, |line| line[row]);
        Entry {
            offset: self.offsets[row],
            compared: std::array::from_fn(word),
            deleted: self.deleted.as_ref().is_some_and(|own| own[row] != 0),
        }
    }
}
