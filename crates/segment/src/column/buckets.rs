//! The timestamp indexes of a column, where a sealed one has some.

use std::cmp::Reverse;

use schemas::table::TimeGranularity;

use super::{ColumnView, DictionaryColumn, DictionarySource, Source};
use crate::SegmentError;
use crate::container::IndexKind;
use crate::sealed::buckets::{self, Buckets};

impl<'a> ColumnView<'a> {
    /// How the times of this column are cut in its timestamp indexes, the coarsest first.
    pub fn granularities(&self) -> Vec<TimeGranularity> {
        let Source::Sealed(segment, column, _) = self.source else {
            return Vec::new();
        };
        let keys = segment.indexes().iter().map(|index| index.key());
        let keys = keys.filter(|key| key.is_of(IndexKind::Timestamp, column.name()));
        let mut found: Vec<TimeGranularity> = keys
            .filter_map(|key| buckets::granularity(&key.parameters))
            .collect();
        let order = TimeGranularity::ALL;
        found.sort_by_key(|one| Reverse(order.iter().position(|known| known == one)));
        found
    }

    /// The times of this column, cut: as codes of the times at which the buckets begin.
    pub fn buckets(
        &self,
        granularity: TimeGranularity,
    ) -> Result<Option<DictionaryColumn<'a>>, SegmentError> {
        let Source::Sealed(segment, column, _) = self.source else {
            return Ok(None);
        };
        let key = buckets::key(column.name(), granularity);
        let mut indexes = segment.indexes().iter();
        let Some(index) = indexes.find(|index| *index.key() == key) else {
            return Ok(None);
        };
        let Buckets(column) = index.open_here(segment)?;
        Ok(Some(DictionaryColumn {
            row_count: self.row_count,
            cardinality: column.dictionary.cardinality,
            source: DictionarySource::Sealed(column),
        }))
    }
}
