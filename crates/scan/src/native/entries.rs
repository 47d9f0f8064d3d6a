//! The rows of a block once for each entry of a column of several values.

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
    /// Of each entry its row, and its code; kept from block to block.
    rows: Vec<u32>,
    codes: Vec<u32>,
}

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
        for (picked, entries) in self.rows.chunks(most).zip(self.codes.chunks(most)) {
            each(BlockRows {
                picked: Some(picked),
                entries: Some(entries),
                ..rows
            })?;
        }
        Ok(())
    }

    fn fill(&mut self, rows: BlockRows<'_>) {
        self.rows.clear();
        self.codes.clear();
        let nulls = rows.nulls(self.nulls);
        let null = self.column.cardinality();
        let entries = self.column.entries(rows.range());
        let (mut cursor, codes) = (entries.cursor(), entries.codes());
        let mut add = |row: u32| {
            if nulls.as_ref().is_some_and(|nulls| nulls.contains(row)) {
                if self.keeps_null {
                    self.codes.push(null);
                }
            } else {
                let own = cursor.row(row as usize);
                match codes {
                    Codes::U8(codes) => {
                        self.codes
                            .extend(codes[own].iter().map(|code| u32::from(*code)));
                    }
                    Codes::U16(codes) => {
                        self.codes
                            .extend(codes[own].iter().map(|code| u32::from(*code)));
                    }
                    Codes::U32(codes) => self.codes.extend_from_slice(&codes[own]),
                }
            }
            self.rows.resize(self.codes.len(), row);
        };
        match rows.picked {
            None => (0..rows.len).for_each(&mut add),
            Some(picked) => picked.iter().copied().for_each(&mut add),
        }
    }
}
