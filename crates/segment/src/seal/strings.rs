//! The sorted dictionary of a string column from the growing one.

use index::IndexTooLarge;
use index::dictionary::DictionaryWriter;
use schemas::types::uuid_bytes;

use crate::mutable::dictionary::DictionaryReader;
use crate::mutable::order::by_beginnings;

/// Codes in the order of their values; values that no row holds are gone.
#[derive(Debug)]
pub(super) struct SortedStrings<'a> {
    pub(super) codes: Vec<u32>,
    pub(super) doc_counts: Vec<u32>,
    /// New code → old code.
    order: Vec<u32>,
    values: Vec<&'a [u8]>,
}

pub(super) fn sort<'a>(codes: &[u32], dictionary: &'a DictionaryReader) -> SortedStrings<'a> {
    let cardinality = codes
        .iter()
        .max()
        .map_or(0, |greatest| *greatest as usize + 1);
    let mut counts = vec![0_u32; cardinality];
    for code in codes {
        counts[*code as usize] += 1;
    }
    let values: Vec<&[u8]> = (0..cardinality as u32)
        .map(|code| dictionary.value(code))
        .collect();
    let held = (0..cardinality as u32).filter(|code| counts[*code as usize] > 0);
    let order = by_beginnings(held, |code| values[code as usize]);
    let mut rank = vec![0_u32; cardinality];
    for (new, old) in order.iter().enumerate() {
        rank[*old as usize] = new as u32;
    }
    SortedStrings {
        codes: codes.iter().map(|code| rank[*code as usize]).collect(),
        doc_counts: order.iter().map(|code| counts[*code as usize]).collect(),
        order,
        values,
    }
}

impl SortedStrings<'_> {
    /// Offsets and bytes.
    pub(super) fn write(&self) -> Result<(Vec<u32>, Vec<u8>), IndexTooLarge> {
        let mut writer = DictionaryWriter::default();
        for old in &self.order {
            writer.push(self.values[*old as usize])?;
        }
        Ok(writer.finish())
    }

    /// The bytes of all values, which are UUIDs.
    pub(super) fn uuids(&self) -> Vec<u8> {
        uuids(self.order.iter().map(|old| self.values[*old as usize]))
    }

    /// Least and greatest value.
    pub(super) fn bounds(&self) -> Option<(&[u8], &[u8])> {
        let value = |old: &u32| self.values[*old as usize];
        Some((value(self.order.first()?), value(self.order.last()?)))
    }
}

/// The bytes of texts, all of them UUIDs: a consuming segment takes nothing else.
pub(super) fn uuids<'a>(texts: impl Iterator<Item = &'a [u8]>) -> Vec<u8> {
    let uuid = |text: &[u8]| {
        let text = std::str::from_utf8(text).ok();
        text.and_then(uuid_bytes).unwrap_or_default()
    };
    texts.flat_map(uuid).collect()
}
