//! From the postings of terms to sets of documents.

use std::ops::Range;

use roaring::RoaringBitmap;
use tantivy::index::InvertedIndexReader;
use tantivy::postings::{Postings, SegmentPostings, TermInfo};
use tantivy::schema::IndexRecordOption;
use tantivy::{DocSet, TERMINATED};

use super::query::stands_together;
use crate::CorruptIndex;

/// From one document in so many on, a bit for each is cheaper than a list.
const DENSE_FROM: u32 = 64;

/// Documents as bits, which become a bitmap at the end.
pub(super) struct Bits {
    words: Vec<u64>,
    docs: u32,
}

impl Bits {
    pub(super) fn new(docs: u32) -> Self {
        Self {
            words: vec![0; docs.div_ceil(64) as usize],
            docs,
        }
    }

    pub(super) fn add(
        &mut self,
        inverted: &InvertedIndexReader,
        term: &TermInfo,
    ) -> Result<(), CorruptIndex> {
        each_block(inverted, term, |docs| {
            for doc in docs {
                if *doc >= self.docs {
                    return Err(past(*doc, self.docs));
                }
                self.words[*doc as usize / 64] |= 1 << (doc % 64);
            }
            Ok(())
        })
    }

    pub(super) fn into_bitmap(self) -> RoaringBitmap {
        let bytes: Vec<u8> = self
            .words
            .iter()
            .flat_map(|word| word.to_le_bytes())
            .collect();
        RoaringBitmap::from_lsb0_bytes(0, &bytes)
    }
}

/// The documents of one term.
pub(super) fn documents(
    inverted: &InvertedIndexReader,
    term: &TermInfo,
    docs: u32,
) -> Result<RoaringBitmap, CorruptIndex> {
    if term.doc_freq > docs / DENSE_FROM {
        let mut bits = Bits::new(docs);
        bits.add(inverted, term)?;
        return Ok(bits.into_bitmap());
    }
    let mut bitmap = RoaringBitmap::new();
    each_block(inverted, term, |block| {
        if let Some(last) = block.last().filter(|last| **last >= docs) {
            return Err(past(*last, docs));
        }
        bitmap
            .append(block.iter().copied())
            .map(drop)
            .map_err(|_| disorder())
    })?;
    Ok(bitmap)
}

fn each_block(
    inverted: &InvertedIndexReader,
    term: &TermInfo,
    mut visit: impl FnMut(&[u32]) -> Result<(), CorruptIndex>,
) -> Result<(), CorruptIndex> {
    let mut postings = inverted
        .read_block_postings_from_terminfo(term, IndexRecordOption::Basic)
        .map_err(broken)?;
    while !postings.docs().is_empty() {
        visit(postings.docs())?;
        postings.advance();
    }
    Ok(())
}

/// Documents in which all the terms are, and, with places, in which they stand together.
pub(super) fn conjunction(
    inverted: &InvertedIndexReader,
    terms: &[(TermInfo, u32)],
    slop: Option<u32>,
    docs: u32,
) -> Result<RoaringBitmap, CorruptIndex> {
    let wanted = match slop {
        Some(_) => IndexRecordOption::WithFreqsAndPositions,
        None => IndexRecordOption::Basic,
    };
    let mut order: Vec<&(TermInfo, u32)> = terms.iter().collect();
    order.sort_by_key(|(term, _)| term.doc_freq);
    let mut lists = Vec::with_capacity(order.len());
    for (term, place) in order {
        let postings = inverted.read_postings_from_terminfo(term, wanted);
        lists.push((postings.map_err(broken)?, *place));
    }
    let mut found = Vec::new();
    let mut positions: Vec<Vec<u32>> = vec![Vec::new(); lists.len()];
    let mut doc = lists.first().map_or(TERMINATED, |(first, _)| first.doc());
    while doc != TERMINATED {
        match next_common(&mut lists, doc, 1..terms.len()) {
            Ok(()) => {
                if slop.is_none_or(|slop| together(&mut lists, &mut positions, slop)) {
                    found.push(doc);
                }
                doc = lists[0].0.advance();
            }
            Err(next) => doc = seek(&mut lists[0].0, next),
        }
    }
    match found.last() {
        Some(last) if *last >= docs => Err(past(*last, docs)),
        _ => RoaringBitmap::from_sorted_iter(found).map_err(|_| disorder()),
    }
}

/// `Err`: the next document that can be in all of them.
fn next_common(
    lists: &mut [(SegmentPostings, u32)],
    doc: u32,
    others: Range<usize>,
) -> Result<(), u32> {
    for (list, _) in &mut lists[others] {
        let at = seek(list, doc);
        if at != doc {
            return Err(at);
        }
    }
    Ok(())
}

fn seek(list: &mut SegmentPostings, doc: u32) -> u32 {
    if list.doc() >= doc {
        list.doc()
    } else {
        list.seek(doc)
    }
}

fn together(lists: &mut [(SegmentPostings, u32)], positions: &mut [Vec<u32>], slop: u32) -> bool {
    for ((list, place), positions) in lists.iter_mut().zip(positions.iter_mut()) {
        list.positions(positions);
        positions
            .iter_mut()
            .for_each(|at| *at = at.wrapping_sub(*place));
    }
    stands_together(positions, slop)
}

pub(super) fn broken(error: std::io::Error) -> CorruptIndex {
    CorruptIndex::Text(error.to_string())
}

fn past(doc: u32, docs: u32) -> CorruptIndex {
    CorruptIndex::Text(format!("it names document {doc} of {docs}"))
}

fn disorder() -> CorruptIndex {
    CorruptIndex::Text("its documents do not ascend".to_owned())
}
