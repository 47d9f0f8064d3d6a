//! The values at a path of a column's documents, as its JSON index knows them: a code for each row,
//! and the value of each code. No document is read for it.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{ArrayRef, UInt32Array};
use arrow::compute::take;
use datafusion::common::Result;
use index::json::Extracted;
use segment::view::{Codes, Nulls};

#[derive(Clone, Debug)]
pub(crate) struct ExtractedColumn<'a> {
    found: Arc<Extracted>,
    /// Last what documents without a value have.
    values: ArrayRef,
    /// Rows whose document is null, and so is the value.
    nulls: Option<Nulls<'a>>,
}

impl<'a> ExtractedColumn<'a> {
    /// `values` has one more than `found`.
    pub(crate) fn new(found: Arc<Extracted>, values: ArrayRef, nulls: Option<Nulls<'a>>) -> Self {
        Self {
            found,
            values,
            nulls,
        }
    }

    /// Codes are below it. Two may have the same value.
    pub(crate) fn cardinality(&self) -> u32 {
        self.values.len() as u32
    }

    /// The value of each code.
    pub(crate) fn values(&self) -> &ArrayRef {
        &self.values
    }

    pub(crate) fn nulls(&self) -> Option<Nulls<'a>> {
        self.nulls
    }

    pub(crate) fn codes(&self, rows: Range<u32>) -> Codes<'_> {
        Codes::U32(&self.found.codes[rows.start as usize..rows.end as usize])
    }

    /// As [`crate::columns::Source::array`].
    pub(crate) fn array(&self, start: u32, len: u32, rows: Option<&[u32]>) -> Result<ArrayRef> {
        let codes = self.codes(start..start + len);
        let null = |row: u32| self.nulls.is_some_and(|nulls| nulls.is_null(start + row));
        let code = |row: u32| (!null(row)).then(|| codes.get(row as usize));
        let codes: UInt32Array = match rows {
            None => (0..len).map(code).collect(),
            Some(rows) => rows.iter().map(|row| code(*row)).collect(),
        };
        Ok(take(&self.values, &codes, None)?)
    }
}
