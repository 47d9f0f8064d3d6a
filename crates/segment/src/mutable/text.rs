//! The text index of a consuming column: chunks of its dictionary, each indexed once it is whole.
//!
//! Invariants: chunks follow each other from code 0 on without a gap; values never change, so what
//! a chunk says stays true. Fewer than [`CHUNK`] values lie behind the last chunk: readers judge
//! them one by one. Only the writer makes chunks, after the rows are visible, so a row is found
//! from the moment it is published.

use std::ops::Range;
use std::sync::Arc;

use arc_swap::ArcSwap;
use bytes::Bytes;
use index::text::{Analyzer, TextIndexReader, TextIndexWriter};
use schemas::table::TextIndexSpec;
use serde_json::Value;

use super::dictionary::DictionaryReader;
use crate::SegmentError;

/// Values of a new chunk: as many as are judged one by one in the time of a query.
const CHUNK: u32 = 8_192;
/// So many small chunks in a row become one.
const JOINED: u32 = 8;

/// Codes and the index over their values: document `n` is code `codes.start + n`.
#[derive(Debug)]
pub struct TextChunk {
    pub codes: Range<u32>,
    pub index: TextIndexReader,
    bytes: usize,
}

#[derive(Debug)]
pub(crate) struct TextChunks {
    analyzer: Analyzer,
    parameters: Value,
    chunks: ArcSwap<Vec<Arc<TextChunk>>>,
}

impl TextChunks {
    /// `None`: a newer program asked for an analyzer that is not known here.
    pub(crate) fn new(spec: &TextIndexSpec) -> Option<Self> {
        let parameters = serde_json::to_value(spec).expect("a spec has only string keys");
        Some(Self {
            analyzer: Analyzer::of_parameters(&parameters)?,
            parameters,
            chunks: ArcSwap::default(),
        })
    }

    /// The chunks so far, if they were made with these parameters.
    pub(crate) fn chunks(&self, parameters: &Value) -> Option<Arc<Vec<Arc<TextChunk>>>> {
        (*parameters == self.parameters).then(|| self.chunks.load_full())
    }

    pub(crate) fn bytes(&self) -> usize {
        self.chunks.load().iter().map(|chunk| chunk.bytes).sum()
    }

    /// Indexes what became whole since the last call. Called by the writer alone.
    pub(crate) fn extend(&self, dictionary: &DictionaryReader) -> Result<(), SegmentError> {
        loop {
            let chunks = self.chunks.load_full();
            let from = chunks.last().map_or(0, |chunk| chunk.codes.end);
            if dictionary.cardinality() - from < CHUNK {
                return Ok(());
            }
            let mut chunks = Vec::clone(&chunks);
            let is_small = |chunk: &Arc<TextChunk>| chunk.codes.len() as u32 == CHUNK;
            let small = chunks
                .iter()
                .rev()
                .take_while(|chunk| is_small(chunk))
                .count() as u32;
            let codes = match small + 1 {
                JOINED => {
                    chunks.truncate(chunks.len() - small as usize);
                    from - small * CHUNK..from + CHUNK
                }
                _ => from..from + CHUNK,
            };
            chunks.push(Arc::new(self.build(dictionary, codes)?));
            self.chunks.store(Arc::new(chunks));
        }
    }

    fn build(
        &self,
        dictionary: &DictionaryReader,
        codes: Range<u32>,
    ) -> Result<TextChunk, SegmentError> {
        let mut writer = TextIndexWriter::new(self.analyzer.clone())?;
        for code in codes.clone() {
            writer.add(dictionary.text(code))?;
        }
        let files = writer.finish()?;
        let bytes = files.iter().map(Vec::len).sum();
        let files = files.into_iter().map(Bytes::from).collect();
        let index = TextIndexReader::open(files, self.analyzer.clone());
        Ok(TextChunk {
            codes,
            index: index.map_err(SegmentError::Index)?,
            bytes,
        })
    }
}
