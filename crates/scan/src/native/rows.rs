//! Values of any types numbered in the order in which they appear, compared by Arrow's row format.

use arrow::array::{ArrayRef, UInt32Array};
use arrow::datatypes::DataType;
use arrow::row::{Row, RowConverter, Rows, SortField};
use datafusion::common::Result;
use hashbrown::HashTable;
use std::hash::BuildHasher;

#[derive(Debug)]
pub(super) struct RowNumbers {
    converter: RowConverter,
    seen: Rows,
    /// Hash and number of each row of `seen`.
    table: HashTable<(u64, u32)>,
    hasher: foldhash::fast::FixedState,
}

impl RowNumbers {
    pub(super) fn new(types: &[DataType]) -> Result<Self> {
        let fields = types.iter().map(|own| SortField::new(own.clone()));
        let converter = RowConverter::new(fields.collect())?;
        Ok(Self {
            seen: converter.empty_rows(0, 0),
            converter,
            table: HashTable::new(),
            hasher: foldhash::fast::FixedState::default(),
        })
    }

    pub(super) fn count(&self) -> usize {
        self.seen.num_rows()
    }

    pub(super) fn memory_bytes(&self) -> usize {
        self.seen.size() + self.table.capacity() * 17
    }

    /// The number of each row.
    pub(super) fn number(&mut self, columns: &[ArrayRef]) -> Result<Vec<u32>> {
        let rows = self.converter.convert_columns(columns)?;
        let mut numbers = Vec::with_capacity(rows.num_rows());
        for row in &rows {
            let hash = self.hasher.hash_one(row.data());
            let number = match self.number_of(hash, row) {
                Some(number) => number,
                None => {
                    let number = self.seen.num_rows() as u32;
                    self.seen.push(row);
                    self.table
                        .insert_unique(hash, (hash, number), |(hash, _)| *hash);
                    number
                }
            };
            numbers.push(number);
        }
        Ok(numbers)
    }

    /// The number of each row that was numbered.
    pub(super) fn find(&self, columns: &[ArrayRef]) -> Result<UInt32Array> {
        let rows = self.converter.convert_columns(columns)?;
        let find = |row: Row<'_>| self.number_of(self.hasher.hash_one(row.data()), row);
        Ok(rows.iter().map(find).collect())
    }

    fn number_of(&self, hash: u64, row: Row<'_>) -> Option<u32> {
        let same =
            |(known, number): &(u64, u32)| *known == hash && self.seen.row(*number as usize) == row;
        self.table.find(hash, same).map(|(_, number)| *number)
    }

    /// The numbers of the least and of the greatest value.
    pub(super) fn ends(&self) -> Option<[usize; 2]> {
        let in_order = |a: &usize, b: &usize| self.seen.row(*a).cmp(&self.seen.row(*b));
        let least = (0..self.count()).min_by(in_order)?;
        let greatest = (0..self.count()).max_by(in_order)?;
        Some([least, greatest])
    }

    pub(super) fn values(&self, numbers: impl Iterator<Item = usize>) -> Result<Vec<ArrayRef>> {
        let rows = numbers.map(|number| self.seen.row(number));
        Ok(self.converter.convert_rows(rows)?)
    }
}
