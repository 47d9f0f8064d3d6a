//! A predicate over one segment before it is decided how its rows are found.
//!
//! Costs are nanoseconds on one core, about; only their ratios matter.

use std::ops::Range;
use std::sync::Arc;

use datafusion::common::Result;
use index::inverted::InvertedReader;
use index::range::{Buckets, RangeReader};
use roaring::RoaringBitmap;
use segment::BLOCK_ROWS;
use segment::view::{CodeRoom, DictionaryColumn, Nulls, RawColumn};

use super::codes::code_at;
use super::conjunct::{Access, Conjunct};
use super::note::Note;
use super::raw::key_at;
use crate::columns::external;
use crate::ranges::RangeSet;

/// A document of a posting list, from the file into a mask.
const POSTED_NS: f64 = 2.0;
/// A posting list, however short.
const LIST_NS: f64 = 150.0;
/// A value that is looked up by its row.
const PROBED_NS: f64 = 4.0;

#[derive(Debug)]
pub(super) struct Candidate<'a> {
    /// `kind(columns)` of the index, for statistics.
    pub(super) told: String,
    /// The predicate, for a query that asks how it is answered.
    pub(super) text: Option<String>,
    pub(super) scan: Access<'a>,
    /// Rows of the segment that match, about.
    pub(super) estimate: f64,
    pub(super) is_exact: bool,
    /// Of a row that is scanned.
    pub(super) row_ns: f64,
    pub(super) by_index: Option<ByIndex<'a>>,
}

/// Another way to the rows, by an index over documents.
#[derive(Debug)]
pub(super) struct ByIndex<'a> {
    pub(super) told: String,
    pub(super) documents: Lists<'a>,
    /// Null rows are among the documents and do not match.
    pub(super) nulls: Option<Nulls<'a>>,
}

#[derive(Debug)]
pub(super) enum Lists<'a> {
    Sorted(Vec<Range<u32>>),
    /// Codes in ranges.
    Inverted(Arc<InvertedReader>, Vec<(u32, u32)>),
    /// An index has named them already.
    Found(RoaringBitmap),
    Range {
        reader: Arc<RangeReader>,
        buckets: Buckets,
        set: RangeSet,
        probe: Probe<'a>,
    },
}

/// Where the value of a document is looked up, in the terms of the index.
#[derive(Clone, Copy, Debug)]
pub(super) enum Probe<'a> {
    Codes(DictionaryColumn<'a>),
    Values(RawColumn<'a>),
}

impl Probe<'_> {
    fn key(self, document: u32) -> i64 {
        match self {
            Self::Codes(column) => {
                let mut room = CodeRoom::default();
                code_at(column.codes(document..document + 1, &mut room), 0).into()
            }
            Self::Values(column) => key_at(column.values(document..document + 1), 0),
        }
    }
}

impl ByIndex<'_> {
    /// How many it names.
    pub(super) fn documents_about(&self) -> f64 {
        match &self.documents {
            Lists::Sorted(ranges) => {
                let rows = ranges
                    .iter()
                    .map(|range| f64::from(range.end - range.start));
                rows.sum()
            }
            Lists::Inverted(..) => f64::INFINITY,
            Lists::Found(documents) => documents.len() as f64,
            Lists::Range { buckets, .. } => {
                buckets.whole_docs as f64 + buckets.touched_docs as f64 / 2.0
            }
        }
    }
}

impl<'a> Candidate<'a> {
    pub(super) fn is_sorted(&self) -> bool {
        matches!(&self.by_index, Some(index) if matches!(index.documents, Lists::Sorted(_)))
    }

    /// Of finding the rows by the index; infinite where there is none.
    fn index_ns(&self) -> f64 {
        match &self.by_index {
            None => f64::INFINITY,
            Some(index) => match &index.documents {
                Lists::Sorted(ranges) => ranges.len() as f64,
                Lists::Found(_) => 0.0,
                Lists::Inverted(_, codes) => {
                    let lists: u64 = codes
                        .iter()
                        .map(|(low, high)| u64::from(high - low) + 1)
                        .sum();
                    lists as f64 * LIST_NS + self.estimate * POSTED_NS
                }
                Lists::Range { buckets, .. } => {
                    let lists = (buckets.whole.len() + buckets.touched.len()) as f64 * LIST_NS;
                    let looked_at = buckets.touched_docs as f64 * (POSTED_NS + PROBED_NS);
                    lists + buckets.whole_docs as f64 * POSTED_NS + looked_at
                }
            },
        }
    }

    /// Of looking at the values of `rows` rows among `total`.
    pub(super) fn scan_ns(&self, rows: f64, total: f64) -> f64 {
        // Each of few rows may lie in a block of its own.
        let scanned = (rows * f64::from(BLOCK_ROWS)).min(total);
        (rows * PROBED_NS.max(self.row_ns)).min(scanned * self.row_ns)
    }

    pub(super) fn prefers_index(&self, rows: f64, total: f64) -> bool {
        self.index_ns() < self.scan_ns(rows, total)
    }

    pub(super) fn into_scan(self) -> (String, Conjunct<'a>) {
        let conjunct = Conjunct {
            note: self.text.map(|text| Note::new(text, &self.told)),
            access: self.scan,
            estimate: self.estimate as u64,
            is_exact: self.is_exact,
        };
        (self.told, conjunct)
    }

    /// By the index, which must be there.
    pub(super) fn into_indexed(self) -> Result<(String, Vec<Conjunct<'a>>)> {
        let Some(index) = self.by_index else {
            let (told, conjunct) = self.into_scan();
            return Ok((told, vec![conjunct]));
        };
        let (estimate, is_exact) = (self.estimate as u64, self.is_exact);
        let note = self.text.map(|text| Note::new(text, &index.told));
        let conjunct = |access, note| Conjunct {
            access,
            estimate,
            is_exact,
            note,
        };
        let documents = match index.documents {
            Lists::Sorted(ranges) => {
                let mut found = vec![conjunct(Access::Ranges(ranges), note)];
                found.extend(index.nulls.map(|nulls| {
                    let access = Access::Nulls {
                        nulls,
                        are_wanted: false,
                    };
                    conjunct(access, None)
                }));
                return Ok((index.told, found));
            }
            Lists::Found(documents) => documents,
            Lists::Inverted(reader, codes) => {
                let codes = codes.iter().flat_map(|(low, high)| *low..=*high);
                reader.docs_of_any(codes).map_err(external)?
            }
            Lists::Range {
                reader,
                buckets,
                set,
                probe,
            } => {
                let whole = reader.docs_of(&buckets.whole).map_err(external)?;
                let touched = reader.docs_of(&buckets.touched).map_err(external)?;
                let touched = touched.iter().filter(|row| set.contains(probe.key(*row)));
                whole | touched.collect::<RoaringBitmap>()
            }
        };
        let documents = match index.nulls {
            Some(nulls) => documents
                .iter()
                .filter(|row| !nulls.is_null(*row))
                .collect(),
            None => documents,
        };
        let found = Conjunct {
            note,
            ..Conjunct::documents(documents)
        };
        Ok((index.told, vec![found]))
    }
}

/// The documents of all alternatives, where an index has named them all. `None`: it has not.
pub(super) fn union<'a>(alternatives: &[Vec<Conjunct<'_>>]) -> Option<Conjunct<'a>> {
    let mut documents = RoaringBitmap::new();
    let mut note: Option<Box<Note>> = None;
    for conjuncts in alternatives {
        let [conjunct] = &conjuncts[..] else {
            return None;
        };
        match &conjunct.access {
            Access::Documents(more) => documents |= more,
            Access::Ranges(ranges) => {
                for range in ranges {
                    documents.insert_range(range.clone());
                }
            }
            _ => return None,
        }
        note = Note::joined(note.as_deref(), conjunct.note.as_deref(), "OR");
    }
    Some(Conjunct {
        note,
        ..Conjunct::documents(documents)
    })
}
