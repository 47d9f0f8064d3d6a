//! By what the rows of a key are compared: a number, a text, or several numbers of which a row has
//! one.
//!
//! Invariants: of two rows of a key the one with the greater words is newer, word after word. Of
//! several numbers a row has one word for each: what it does not have itself is that of the row
//! before it, and less than any number where no row had it. Of a text the first 32 bytes count.

use std::ops::Range;

use arrow::array::{Array, RecordBatch};
use arrow::error::ArrowError;
use segment::view::Nulls;
use segment::{SegmentError, SegmentView};

use crate::cells::{CellColumn, Cells, SegmentCells};

/// Of a number that no row of the key has had.
pub(crate) const NOTHING: i64 = i64::MIN;

/// Words of a text.
const TEXT_WORDS: usize = 4;

#[derive(Debug, Default)]
pub(crate) struct Compared {
    columns: Vec<CellColumn>,
}

/// A value that a row takes over from the one before it: row, column, value.
pub(crate) type Filled = (usize, usize, i64);

/// The words of some rows, a line for each word.
pub(crate) type Lines = Vec<Vec<i64>>;

impl Compared {
    pub(crate) fn new(columns: Vec<CellColumn>) -> Self {
        Self { columns }
    }

    pub(crate) fn columns(&self) -> &[CellColumn] {
        &self.columns
    }

    /// A row has one of them.
    pub(crate) fn are_several(&self) -> bool {
        self.columns.len() > 1
    }

    /// Words of a row: 1, 2 or 4.
    pub(crate) fn words(&self) -> usize {
        match self.columns.as_slice() {
            [one] if one.is_text() => TEXT_WORDS,
            [] | [_] => 1,
            [_, _] => 2,
            _ => 4,
        }
    }

    pub(crate) fn of_batch(&self, batch: &RecordBatch) -> Result<Lines, SegmentError> {
        let mut lines = Lines::new();
        for own in &self.columns {
            let mut words = words_of(own.of_batch(batch)?, batch.num_rows());
            let array = batch.column_by_name(&own.name);
            let nulls = array.and_then(|array| array.logical_nulls());
            if let (true, Some(nulls), [line]) = (self.are_several(), nulls, words.as_mut_slice()) {
                let rows = line.iter_mut().enumerate();
                rows.filter(|(row, _)| nulls.is_null(*row))
                    .for_each(|(_, word)| *word = NOTHING);
            }
            lines.extend(words);
        }
        Ok(lines)
    }

    /// Rows of a batch that have none of several numbers, or more than one.
    pub(crate) fn undecided(&self, lines: &Lines) -> Vec<usize> {
        let rows = match self.are_several() {
            true => lines.first().map_or(0, Vec::len),
            false => 0,
        };
        let has_one = |row: &usize| {
            let own = lines.iter().filter(|line| line[*row] != NOTHING);
            own.count() == 1
        };
        (0..rows).filter(|row| !has_one(row)).collect()
    }

    /// Why such rows are not taken.
    pub(crate) fn refusal(&self) -> String {
        let names = self.columns.iter().map(|own| format!("`{}`", own.name));
        let names: Vec<String> = names.collect();
        format!(
            "a row must have a value in one of the comparison columns {}, and in no other of them",
            names.join(", ")
        )
    }

    pub(crate) fn of_segment<'a>(
        &'a self,
        view: &'a SegmentView,
    ) -> Result<Vec<SegmentWords<'a>>, SegmentError> {
        let several = self.are_several();
        let of = |own: &'a CellColumn| {
            let column = view.column(&own.name)?;
            Ok(SegmentWords {
                cells: own.of_segment(view)?,
                is_absent: several && column.is_none(),
                nulls: column.and_then(|column| column.nulls()).filter(|_| several),
            })
        };
        self.columns.iter().map(of).collect()
    }

    /// The batch with the numbers that its rows have from those before them.
    pub(crate) fn fill(
        &self,
        batch: RecordBatch,
        filled: &[Filled],
    ) -> Result<RecordBatch, ArrowError> {
        if filled.is_empty() {
            return Ok(batch);
        }
        let mut columns = batch.columns().to_vec();
        for (at, own) in self.columns.iter().enumerate() {
            let values = filled.iter().filter(|(_, column, _)| *column == at);
            let values: Vec<(usize, i64)> = values.map(|(row, _, value)| (*row, *value)).collect();
            let position = batch.schema_ref().index_of(&own.name)?;
            columns[position] = own.with(&columns[position], &values)?;
        }
        RecordBatch::try_new(batch.schema(), columns)
    }
}

/// A column of a segment by which its rows are compared.
#[derive(Debug)]
pub(crate) struct SegmentWords<'a> {
    cells: SegmentCells<'a>,
    /// The segment was written before there was such a number.
    is_absent: bool,
    /// Those of several.
    nulls: Option<Nulls<'a>>,
}

impl SegmentWords<'_> {
    /// Of rows of one block.
    pub(crate) fn read(&self, rows: Range<u32>) -> Result<Lines, SegmentError> {
        if self.is_absent {
            return Ok(vec![vec![NOTHING; rows.len()]]);
        }
        let mut lines = words_of(self.cells.read(rows.clone())?, rows.len());
        if let (Some(nulls), [line]) = (&self.nulls, lines.as_mut_slice()) {
            let words = rows.zip(line);
            words
                .filter(|(row, _)| nulls.is_null(*row))
                .for_each(|(_, word)| *word = NOTHING);
        }
        Ok(lines)
    }
}

fn words_of(cells: Cells, rows: usize) -> Lines {
    let Cells::Bytes(texts) = &cells else {
        return vec![cells.in_order()];
    };
    let mut lines = vec![vec![0; rows]; TEXT_WORDS];
    for row in 0..rows {
        let words = text_words(texts.at(row));
        for (line, word) in lines.iter_mut().zip(words) {
            line[row] = word;
        }
    }
    lines
}

/// In the order of the first bytes.
fn text_words(text: &[u8]) -> [i64; TEXT_WORDS] {
    std::array::from_fn(|word| {
        let mut bytes = [0; 8];
        let own = text.get(word * 8..).unwrap_or_default();
        let count = own.len().min(8);
        bytes[..count].copy_from_slice(&own[..count]);
        (u64::from_be_bytes(bytes) ^ 1 << 63) as i64
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn words_of_texts_are_in_the_order_of_texts(a in "[a-c]{0,20}", b in "\\PC{0,12}") {
            let cut = |text: &str| text.as_bytes()[..text.len().min(32)].to_vec();
            for (one, other) in [(&a, &b), (&b, &a), (&a, &a)] {
                let (words, others) = (text_words(one.as_bytes()), text_words(other.as_bytes()));
                if !one.contains('\0') && !other.contains('\0') {
                    prop_assert_eq!(words.cmp(&others), cut(one).cmp(&cut(other)));
                }
            }
        }
    }
}
