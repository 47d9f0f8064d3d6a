//! The rows of a block once for each entry of a column of several values.

use std::ops::Range;

use arrow::datatypes::Schema;
use datafusion::common::{Result, internal_err};
use schemas::proto::NullMode;
use segment::view::{Codes, MultiColumn, Nulls, Values};
use segment::{BLOCK_ROWS, SegmentView};

use super::number::BlockRows;
use crate::columns::external;

/// Each entry of a column of the table makes a row.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ByEntry {
    pub(super) column: usize,
    /// A row that is null there makes one too.
    pub(super) keeps_null: bool,
}

#[derive(Debug)]
pub(super) struct Exploded<'a> {
    keeps_null: bool,
    column: MultiColumn<'a>,
    nulls: Option<Nulls<'a>>,
    /// Of each of `count` entries its row, and its code; kept from block to block.
    rows: Vec<u32>,
    codes: Vec<u32>,
    count: usize,
    offsets: Vec<u32>,
}

/// Where no more than one row in so many is picked, it is not worth it to know where the entries of
/// all of them begin.
const ROWS_PER_PICKED: usize = 64;

/// Most rows have no more entries: as many are always written, and the next row's over those that
/// are too many, so that nothing depends on their number.
const FEW: usize = 4;

/// Whether all segments hold the column as entries.
pub(super) fn are_in(segments: &[SegmentView], name: &str) -> Result<bool> {
    for view in segments {
        let column = view.column(name).map_err(external)?;
        if !column.is_some_and(|column| matches!(column.values(), Values::Multi(_))) {
            return Ok(false);
        }
    }
    Ok(true)
}

impl<'a> Exploded<'a> {
    pub(super) fn new(
        view: &'a SegmentView,
        table: &Schema,
        by: ByEntry,
        null_mode: NullMode,
    ) -> Result<Self> {
        let name = table.field(by.column).name();
        let stored = view.column(name).map_err(external)?;
        let values = stored.map(|stored| (stored.values(), stored.nulls()));
        let Some((Values::Multi(column), nulls)) = values else {
            return internal_err!("column `{name}` has no entries");
        };
        Ok(Self {
            keeps_null: by.keeps_null,
            column,
            nulls: nulls.filter(|_| null_mode == NullMode::ThreeValued),
            rows: Vec::new(),
            codes: Vec::new(),
            count: 0,
            offsets: Vec::new(),
        })
    }

    /// Whose entries they are, and which rows are null.
    pub(super) fn column(&self) -> (MultiColumn<'a>, Option<Nulls<'a>>) {
        (self.column, self.nulls)
    }

    /// Calls `each` with the rows once for each of their entries, no more than a block at a time.
    pub(super) fn each(
        &mut self,
        rows: BlockRows<'_>,
        mut each: impl FnMut(BlockRows<'_>) -> Result<()>,
    ) -> Result<()> {
        self.fill(rows);
        let most = BLOCK_ROWS as usize;
        let (rows_of, codes) = (&self.rows[..self.count], &self.codes[..self.count]);
        for (picked, entries) in rows_of.chunks(most).zip(codes.chunks(most)) {
            each(BlockRows {
                picked: Some(picked),
                entries: Some(entries),
                ..rows
            })?;
        }
        Ok(())
    }

    fn fill(&mut self, rows: BlockRows<'_>) {
        let column = self.column;
        let entries = column.entries(rows.range());
        let codes = entries.codes();
        let picked = rows.picked.map_or(rows.len as usize, <[u32]>::len);
        if picked < rows.len as usize / ROWS_PER_PICKED {
            let mut cursor = entries.cursor();
            return self.add(rows, codes, |row| cursor.row(row));
        }
        let mut room = std::mem::take(&mut self.offsets);
        let offsets = entries.offsets(&mut room);
        self.add(rows, codes, |row| {
            offsets[row] as usize..offsets[row + 1] as usize
        });
        self.offsets = room;
    }

    fn add(
        &mut self,
        rows: BlockRows<'_>,
        codes: Codes<'_>,
        own: impl FnMut(usize) -> Range<usize>,
    ) {
        match codes {
            Codes::U8(codes) => self.add_codes(rows, codes, own),
            Codes::U16(codes) => self.add_codes(rows, codes, own),
            Codes::U32(codes) => self.add_codes(rows, codes, own),
        }
    }

    /// `own`: where the codes of a row are.
    fn add_codes<T: Copy + Into<u32>>(
        &mut self,
        rows: BlockRows<'_>,
        codes: &[T],
        mut own: impl FnMut(usize) -> Range<usize>,
    ) {
        let nulls = rows.nulls(self.nulls);
        let null = self.column.cardinality();
        let room = codes.len() + rows.count() + FEW;
        if self.rows.len() < room {
            self.rows.resize(room, 0);
            self.codes.resize(room, 0);
        }
        let (into_rows, into_codes) = (&mut self.rows[..], &mut self.codes[..]);
        let mut count = 0;
        let mut add = |row: u32| {
            if nulls.as_ref().is_some_and(|nulls| nulls.contains(row)) {
                into_codes[count] = null;
                into_rows[count] = row;
                count += usize::from(self.keeps_null);
                return;
            }
            let own = own(row as usize);
            let entries = own.len();
            let (to_rows, to_codes) = (&mut into_rows[count..], &mut into_codes[count..]);
            let few = codes[own.start..].first_chunk::<FEW>();
            let to = to_rows
                .first_chunk_mut::<FEW>()
                .zip(to_codes.first_chunk_mut());
            match (few.zip(to), entries) {
                (Some((few, (to_rows, to_codes))), 0..=FEW) => {
                    *to_rows = [row; FEW];
                    *to_codes = few.map(Into::into);
                }
                _ => {
                    to_rows[..entries].fill(row);
                    for (to, code) in to_codes.iter_mut().zip(&codes[own]) {
                        *to = (*code).into();
                    }
                }
            }
            count += entries;
        };
        match rows.picked {
            None => (0..rows.len).for_each(&mut add),
            Some(picked) => picked.iter().copied().for_each(&mut add),
        }
        self.count = count;
    }
}
