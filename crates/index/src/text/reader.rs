//! Read half of the text index: a query → the documents that match.
//!
//! Conjunctions and phrases walk the postings of all their terms side by side, the rarest first;
//! patterns unite the postings of all terms that the automaton accepts.

use std::io;
use std::ops::Bound;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use bytes::Bytes;
use roaring::RoaringBitmap;
use tantivy::index::InvertedIndexReader;
use tantivy::postings::TermInfo;
use tantivy::termdict::TermStreamer;
use tantivy::{Index, SegmentReader, TantivyError};
use tantivy_fst::Automaton;

use super::bundle::Bundle;
use super::postings::{Bits, broken, conjunction, documents};
use super::query::{Leaf, Pattern};
use super::writer::{FIELD, FILES, path_of};
use super::{Analyzer, DefaultOperator, QueryFault, TextQuery};
use crate::CorruptIndex;

#[derive(Clone)]
pub struct TextIndexReader {
    inverted: Arc<InvertedIndexReader>,
    analyzer: Arc<Analyzer>,
    docs: u32,
}

impl std::fmt::Debug for TextIndexReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TextIndexReader")
            .field("docs", &self.docs)
            .finish_non_exhaustive()
    }
}

impl TextIndexReader {
    /// The files in the order in which the writer gave them, and its analyzer.
    pub fn open(files: Vec<Bytes>, analyzer: Analyzer) -> Result<Self, CorruptIndex> {
        if files.len() != FILES.len() {
            return Err(CorruptIndex::Buffers {
                wanted: FILES.len() as u32,
                got: files.len() as u32,
            });
        }
        let names = FILES.iter().map(|name| path_of(name));
        let bundle = Bundle::new(names.zip(files));
        let (inverted, docs) = caught(|| {
            let index = Index::open(bundle)?;
            let field = index.schema().get_field(FIELD)?;
            let segments = index.searchable_segments()?;
            let [segment] = segments.as_slice() else {
                return Ok(Err(CorruptIndex::Text(format!(
                    "it has {} segments and not one",
                    segments.len()
                ))));
            };
            let reader = SegmentReader::open(segment)?;
            let inverted = reader.inverted_index(field)?;
            Ok(Ok((inverted, reader.max_doc())))
        })?
        .map_err(|error: TantivyError| CorruptIndex::Text(error.to_string()))??;
        Ok(Self {
            inverted,
            analyzer: Arc::new(analyzer),
            docs,
        })
    }

    pub fn doc_count(&self) -> u32 {
        self.docs
    }

    pub fn analyzer(&self) -> &Analyzer {
        &self.analyzer
    }

    pub fn parse(&self, text: &str, default: DefaultOperator) -> Result<TextQuery, QueryFault> {
        TextQuery::parse(text, &self.analyzer, default)
    }

    /// Documents whose text matches.
    pub fn search(&self, query: &TextQuery) -> Result<RoaringBitmap, CorruptIndex> {
        caught(|| self.find(query))?
    }

    /// Reads every list of every term.
    pub fn verify(&self) -> Result<(), CorruptIndex> {
        caught(|| {
            let mut terms = self.inverted.terms().stream().map_err(broken)?;
            while let Some((_, term)) = terms.next() {
                documents(&self.inverted, term, self.docs)?;
            }
            Ok(())
        })?
    }

    fn find(&self, query: &TextQuery) -> Result<RoaringBitmap, CorruptIndex> {
        match query {
            TextQuery::All => Ok(self.all()),
            TextQuery::Nothing => Ok(RoaringBitmap::new()),
            TextQuery::Leaf(Leaf::Term(term)) => match self.term(term)? {
                Some(term) => documents(&self.inverted, &term, self.docs),
                None => Ok(RoaringBitmap::new()),
            },
            TextQuery::Leaf(Leaf::Pattern(pattern)) => self.pattern(pattern),
            TextQuery::Phrase { terms, slop } => {
                let terms = terms.iter().map(|(term, at)| (term.as_str(), *at));
                self.conjunction(terms, Some(*slop))
            }
            TextQuery::Boolean {
                must,
                should,
                must_not,
            } => self.boolean(must, should, must_not),
        }
    }

    fn boolean(
        &self,
        must: &[TextQuery],
        should: &[TextQuery],
        must_not: &[TextQuery],
    ) -> Result<RoaringBitmap, CorruptIndex> {
        let mut found = match (must.is_empty(), should.is_empty()) {
            (false, _) => self.all_of(must)?,
            (true, false) => self.any_of(should)?,
            (true, true) => self.all(),
        };
        for query in must_not {
            if found.is_empty() {
                break;
            }
            found -= self.find(query)?;
        }
        Ok(found)
    }

    fn all_of(&self, must: &[TextQuery]) -> Result<RoaringBitmap, CorruptIndex> {
        let (terms, others): (Vec<_>, Vec<_>) = must
            .iter()
            .partition(|query| matches!(query, TextQuery::Leaf(Leaf::Term(_))));
        let names = terms.iter().filter_map(|query| match query {
            TextQuery::Leaf(Leaf::Term(term)) => Some((term.as_str(), 0)),
            _ => None,
        });
        let mut found = match terms.len() {
            0 => None,
            _ => Some(self.conjunction(names, None)?),
        };
        for query in others {
            if found.as_ref().is_some_and(RoaringBitmap::is_empty) {
                break;
            }
            let more = self.find(query)?;
            found = Some(match found {
                Some(found) => found & more,
                None => more,
            });
        }
        Ok(found.unwrap_or_default())
    }

    fn any_of(&self, should: &[TextQuery]) -> Result<RoaringBitmap, CorruptIndex> {
        let mut bits = Bits::new(self.docs);
        let mut found = RoaringBitmap::new();
        for query in should {
            match query {
                TextQuery::Leaf(Leaf::Term(term)) => {
                    if let Some(term) = self.term(term)? {
                        bits.add(&self.inverted, &term)?;
                    }
                }
                other => found |= self.find(other)?,
            }
        }
        found |= bits.into_bitmap();
        Ok(found)
    }

    fn conjunction<'t>(
        &self,
        terms: impl Iterator<Item = (&'t str, u32)>,
        slop: Option<u32>,
    ) -> Result<RoaringBitmap, CorruptIndex> {
        let mut found = Vec::new();
        for (term, place) in terms {
            match self.term(term)? {
                Some(term) => found.push((term, place)),
                None => return Ok(RoaringBitmap::new()),
            }
        }
        conjunction(&self.inverted, &found, slop, self.docs)
    }

    fn term(&self, term: &str) -> Result<Option<TermInfo>, CorruptIndex> {
        self.inverted.terms().get(term).map_err(broken)
    }

    fn pattern(&self, pattern: &Pattern) -> Result<RoaringBitmap, CorruptIndex> {
        let terms = self.inverted.terms();
        match pattern {
            Pattern::Regex(regex) => self.union(terms.search(regex).into_stream()),
            Pattern::Fuzzy(fuzzy) => self.union(terms.search(fuzzy).into_stream()),
            Pattern::Prefix(prefix) => {
                let range = terms.range().ge(prefix);
                let range = match after_prefix(prefix) {
                    Some(end) => range.lt(end),
                    None => range,
                };
                self.union(range.into_stream())
            }
            Pattern::Range(low, high) => {
                let range = match low {
                    Bound::Included(low) => terms.range().ge(low),
                    Bound::Excluded(low) => terms.range().gt(low),
                    Bound::Unbounded => terms.range(),
                };
                let range = match high {
                    Bound::Included(high) => range.le(high),
                    Bound::Excluded(high) => range.lt(high),
                    Bound::Unbounded => range,
                };
                self.union(range.into_stream())
            }
        }
    }

    fn union<A: Automaton>(
        &self,
        terms: io::Result<TermStreamer<'_, A>>,
    ) -> Result<RoaringBitmap, CorruptIndex>
    where
        A::State: Clone,
    {
        let mut bits = Bits::new(self.docs);
        let mut stream = terms.map_err(broken)?;
        while let Some((_, term)) = stream.next() {
            bits.add(&self.inverted, term)?;
        }
        Ok(bits.into_bitmap())
    }

    fn all(&self) -> RoaringBitmap {
        let mut all = RoaringBitmap::new();
        all.insert_range(0..self.docs);
        all
    }
}

/// The least string that is greater than all with this prefix, as bytes.
fn after_prefix(prefix: &str) -> Option<Vec<u8>> {
    let mut end = prefix.as_bytes().to_vec();
    while let Some(last) = end.pop() {
        if last < u8::MAX {
            end.push(last + 1);
            return Some(end);
        }
    }
    None
}

/// tantivy panics on some bytes that it did not write.
fn caught<T>(work: impl FnOnce() -> T) -> Result<T, CorruptIndex> {
    catch_unwind(AssertUnwindSafe(work))
        .map_err(|_| CorruptIndex::Text("its content contradicts itself".to_owned()))
}
