//! The codes of a consuming column as one view sees them: in the order in which values came, or in
//! that of the values.

use std::ops::Range;

use arrow::array::ArrayRef;
use index::forward::counts::DocCounts;
use index::sketch::Raise;

use super::derived::{Derived, Kept};
use super::dictionary::DictionaryReader;
use super::order::Order;
use super::search::SeenTexts;
use crate::column::{CodeRoom, Codes};
use crate::prefix::Prefix;

#[derive(Clone, Copy, Debug)]
pub(crate) enum SeenCodes<'a> {
    Narrow(&'a Prefix<u8>),
    Wide(&'a Prefix<u32>),
}

impl SeenCodes<'_> {
    pub(super) fn each(self, rows: Range<usize>, mut each: impl FnMut(u32)) {
        match self {
            Self::Narrow(codes) => {
                let pieces = codes.pieces_of(rows);
                pieces.for_each(|piece| piece.iter().for_each(|code| each(u32::from(*code))));
            }
            Self::Wide(codes) => {
                let pieces = codes.pieces_of(rows);
                pieces.for_each(|piece| piece.iter().for_each(|code| each(*code)));
            }
        }
    }
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Seen<'a> {
    pub(crate) codes: SeenCodes<'a>,
    pub(crate) dictionary: &'a DictionaryReader,
    pub(crate) kept: &'a Kept,
    pub(crate) derived: &'a Derived,
    /// Of the view.
    pub(crate) rows: u32,
    pub(crate) cardinality: u32,
    /// Codes are places in it.
    pub(crate) order: Option<&'a Order>,
}

impl<'a> Seen<'a> {
    pub(crate) fn in_order(self) -> Self {
        let make = || self.kept.order(self.dictionary, self.cardinality);
        Self {
            order: Some(self.derived.order.get_or_init(make)),
            ..self
        }
    }

    pub(crate) fn is_ordered(&self) -> bool {
        self.order.is_some()
    }

    pub(crate) fn array(&self) -> ArrayRef {
        match self.order {
            None => self.dictionary.array(self.cardinality),
            Some(order) => order.array(self.dictionary),
        }
    }

    /// As [`crate::column::DictionaryColumn::codes`].
    pub(crate) fn codes<'r>(&self, rows: Range<usize>, room: &'r mut CodeRoom) -> Codes<'r>
    where
        'a: 'r,
    {
        match (self.codes, self.order) {
            (SeenCodes::Narrow(codes), None) => Codes::U8(codes.slice(rows)),
            (SeenCodes::Wide(codes), None) => Codes::U32(codes.slice(rows)),
            (SeenCodes::Narrow(codes), Some(order)) => {
                let codes = codes.slice(rows).iter();
                room.bytes.clear();
                let ranks = codes.map(|code| order.ranks[usize::from(*code)] as u8);
                room.bytes.extend(ranks);
                Codes::U8(&room.bytes)
            }
            (SeenCodes::Wide(codes), Some(order)) => {
                let codes = codes.slice(rows).iter();
                room.words.clear();
                room.words
                    .extend(codes.map(|code| order.ranks[*code as usize]));
                Codes::U32(&room.words)
            }
        }
    }

    pub(crate) fn doc_counts(&self) -> DocCounts<'a> {
        let Self {
            kept,
            derived,
            codes,
            ..
        } = *self;
        let (rows, cardinality) = (self.rows as usize, self.cardinality as usize);
        let counts = derived
            .counts
            .get_or_init(|| kept.counts(codes, rows, cardinality));
        let counts = &counts[..cardinality];
        DocCounts::wide(match self.order {
            None => counts,
            Some(order) => derived.ordered_counts.get_or_init(|| {
                let codes = order.codes.iter();
                codes.map(|code| counts[*code as usize]).collect()
            }),
        })
    }

    pub(crate) fn raises(&self) -> Option<&'a [Raise]> {
        if self.is_ordered() {
            return None;
        }
        let cardinality = self.cardinality as usize;
        let make = || self.kept.raises(self.dictionary, cardinality);
        let raises = self.derived.raises.get_or_init(make).as_ref();
        raises.map(|raises| &raises[..cardinality])
    }

    pub(crate) fn texts(&self) -> Option<SeenTexts<'a>> {
        match self.order {
            None => SeenTexts::new(self.dictionary, self.cardinality),
            Some(_) => None,
        }
    }
}
