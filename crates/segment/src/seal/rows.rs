//! The rows that are sealed and the order they are sealed in.

use index::inverted::Postings;

use super::{numbers, strings};
use crate::mutable::multi::Multi;
use crate::mutable::{Column, MutableSegment, Values};
use crate::prefix::Prefix;
use crate::valid::ValidRows;

#[derive(Debug)]
pub(super) struct Rows {
    /// Of the consuming segment.
    stored: u32,
    /// Of the file.
    count: u32,
    /// Sealed position → row, where the order changes or rows are left out.
    order: Option<Vec<u32>>,
}

impl Rows {
    /// `kept`: those that are not left out.
    pub(super) fn in_order(
        segment: &MutableSegment,
        sorted_column: Option<&str>,
        kept: Option<&ValidRows>,
    ) -> Self {
        let mut rows = Self {
            stored: segment.row_count(),
            count: segment.row_count(),
            order: None,
        };
        let column = sorted_column.and_then(|name| segment.find(name));
        if let Some(column) = column {
            let (codes, cardinality) = rows.ordered_codes(column);
            if !codes.is_sorted() {
                rows.order = Some(Postings::from_codes(&codes, cardinality).into_docs());
            }
        }
        if let Some(kept) = kept.filter(|kept| !kept.is_all()) {
            let all = rows.order.unwrap_or_else(|| (0..rows.stored).collect());
            let order: Vec<u32> = all.into_iter().filter(|row| kept.contains(*row)).collect();
            rows.count = order.len() as u32;
            rows.order = Some(order);
        }
        rows
    }

    pub(super) fn order(&self) -> Option<&[u32]> {
        self.order.as_deref()
    }

    /// Codes that ascend with the values of `column`.
    fn ordered_codes(&self, column: &Column) -> (Vec<u32>, u32) {
        match &column.values {
            Values::Dictionary { codes, dictionary } => {
                let sorted = strings::sort(&self.collect(codes), dictionary);
                let cardinality = sorted.doc_counts.len() as u32;
                (sorted.codes, cardinality)
            }
            values => {
                let dictionary = numbers::Dictionary::of(&numbers::keys(values, self));
                let cardinality = dictionary.values.len() as u32;
                (dictionary.codes, cardinality)
            }
        }
    }

    pub(super) fn count(&self) -> u32 {
        self.count
    }

    /// Values in the order of the file.
    pub(super) fn collect<T: Copy>(&self, values: &Prefix<T>) -> Vec<T> {
        let mut all = Vec::with_capacity(self.stored as usize);
        for piece in values.pieces(self.stored as usize) {
            all.extend_from_slice(piece);
        }
        match &self.order {
            Some(order) => order.iter().map(|row| all[*row as usize]).collect(),
            None => all,
        }
    }

    /// Where the entries of each row begin, and the codes of all, in the order of the file.
    pub(super) fn entries(&self, multi: &Multi) -> (Vec<u32>, Vec<u32>) {
        let count = self.stored as usize;
        let mut starts = Vec::with_capacity(count + 1);
        starts.push(0);
        for piece in multi.ends.pieces(count) {
            starts.extend_from_slice(piece);
        }
        let mut codes = Vec::with_capacity(starts[count] as usize);
        for piece in multi.codes.pieces(starts[count] as usize) {
            codes.extend_from_slice(piece);
        }
        let Some(order) = &self.order else {
            return (starts, codes);
        };
        let mut offsets = Vec::with_capacity(count + 1);
        let mut ordered = Vec::with_capacity(codes.len());
        offsets.push(0);
        for row in order {
            let row = *row as usize;
            ordered.extend_from_slice(&codes[starts[row] as usize..starts[row + 1] as usize]);
            offsets.push(ordered.len() as u32);
        }
        (offsets, ordered)
    }

    /// Null bits in the order of the file; `None` when no row is null.
    pub(super) fn nulls(&self, column: &Column) -> Option<Vec<u64>> {
        let bits = column.nulls.any_before(self.stored)?;
        let words: Vec<u64> = (0..index::null::words(self.stored))
            .map(|at| bits.word(at))
            .collect();
        let Some(order) = &self.order else {
            return Some(words);
        };
        let reader = index::null::NullReader::new(&words);
        let mut writer = index::null::NullWriter::new(self.count);
        for (doc, row) in order.iter().enumerate() {
            if reader.is_null(*row) {
                writer.set(doc as u32);
            }
        }
        let words = writer.finish();
        words.iter().any(|word| *word != 0).then_some(words)
    }
}
