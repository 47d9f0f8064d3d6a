//! From the rows that every worker found to the first of all, and to their columns.

use arrow::array::{ArrayRef, RecordBatch, UInt32Array};
use arrow::compute::{SortColumn, concat, lexsort_to_indices, sort_to_indices, take};
use datafusion::common::Result;

use super::exec::TopRowsExec;
use super::groups::not_after;
use super::search::Found;
use crate::columns::{batch, source};
use crate::gather::gather;
use crate::stats::Counters;

impl TopRowsExec {
    /// The first rows in their order, with all columns of the scan.
    pub(super) fn rows_of(
        &self,
        mut found: Vec<Found>,
        counters: &Counters,
    ) -> Result<RecordBatch> {
        let schema = self.scan.schema();
        found.retain(|found| !found.documents.is_empty());
        if found.is_empty() {
            return Ok(RecordBatch::new_empty(std::sync::Arc::clone(schema)));
        }
        self.cut(&mut found)?;
        found.retain(|found| !found.documents.is_empty());
        let order = self.order.iter();
        let columns = order.map(|by| {
            Ok(SortColumn {
                values: self.values(&found, by.column)?,
                options: Some(by.options),
            })
        });
        let columns = columns.collect::<Result<Vec<_>>>()?;
        let first = lexsort_to_indices(&columns, Some(self.fetch))?;
        let places = keep(&mut found, &first);
        let projection = self.scan.description.projection.iter();
        let columns = projection.map(|column| {
            let values = self.values(&found, *column)?;
            Ok(take(&values, &places, None)?)
        });
        let columns = columns.collect::<Result<Vec<_>>>()?;
        let values = (columns.len() * places.len()) as u64;
        counters.update(|stats| stats.entries_scanned_post_filter += values);
        batch(schema, columns, places.len())
    }

    /// Leaves out what the first column of the order tells is not among the first.
    fn cut(&self, found: &mut [Found]) -> Result<()> {
        let count: usize = found.iter().map(|found| found.documents.len()).sum();
        if self.order.len() == 1 || count <= self.fetch {
            return Ok(());
        }
        let by = self.order[0];
        let values = self.values(found, by.column)?;
        let first = sort_to_indices(&values, Some(by.options), Some(self.fetch))?;
        let last = first.value(self.fetch - 1) as usize;
        keep(found, &not_after(&values, by.options, last)?);
        Ok(())
    }

    /// Values of one column for all that was found, in that order.
    fn values(&self, found: &[Found], column: usize) -> Result<ArrayRef> {
        let scan = &self.scan;
        let field = scan.description.table_schema.field(column);
        let arrays = found.iter().map(|found| {
            let view = &scan.segments[found.segment];
            let source = source(view, &scan.spec, field, scan.description.null_mode)?;
            gather(&source, &found.documents)
        });
        let arrays = arrays.collect::<Result<Vec<_>>>()?;
        let arrays: Vec<_> = arrays.iter().map(AsRef::as_ref).collect();
        Ok(concat(&arrays)?)
    }
}

/// Leaves only the rows at `first`, those of a segment in the order of their numbers. Returns where
/// each of `first` is now.
fn keep(found: &mut [Found], first: &UInt32Array) -> UInt32Array {
    let mut from = 0;
    let mut places = vec![0; first.len()];
    let mut before = 0;
    for found in found {
        let until = from + found.documents.len() as u32;
        let ranked = (0u32..).zip(first.values());
        let own = ranked.filter(|(_, at)| (from..until).contains(at));
        let mut kept: Vec<(u32, u32)> = own
            .map(|(rank, at)| (found.documents[(at - from) as usize], rank))
            .collect();
        kept.sort_unstable();
        for (at, (_, rank)) in (before..).zip(&kept) {
            places[*rank as usize] = at;
        }
        before += kept.len() as u32;
        found.documents = kept.into_iter().map(|(document, _)| document).collect();
        from = until;
    }
    places.into()
}
