//! What is known of the keys of a partition at the end of a segment. It is stored in the file of
//! that segment, and comes with it to whoever starts.
//!
//! Invariants: it follows from the rows before the segment's end alone, whatever was consumed after
//! it when it was taken; rows are those of the files that are named by their checksums. A row that
//! did not count then never counts again, also when the rows that replaced it are gone.
//!
//! ```text
//! KEYS    := 1: u8 | newest: i64 | ROWS own | count: u32 | (sequence: u32 | crc: u32 | ROWS)*
//! ROWS    := rows: u32 | deletes: u8 | BITS live | (BITS newest, if `deletes` is 1)
//! BITS    := CHUNK for each 65,536 rows
//! CHUNK   := 0: u8                              all rows
//!          | 1: u8 | count: u16 | (row: u16)*   all but these
//!          | 2: u8 | count: u16 | (row: u16)*   only these
//!          | 3: u8 | 1024 × u64                 a bit for each row
//! ```

use std::sync::Arc;

use schemas::Sequence;

use crate::valid::{CHUNK_ROWS, CHUNK_WORDS, Chunk, ValidRows, ones};

const VERSION: u8 = 1;
/// Rows that are named one by one at most: more take less as bits.
const NAMED_MAX: u32 = CHUNK_WORDS as u32 * 4;

/// The rows of a segment by which keys are known.
#[derive(Clone, Debug, Default)]
pub struct KeyRows {
    live: ValidRows,
    /// Also those that delete their key; `None`: there are no such.
    newest: Option<ValidRows>,
}

impl KeyRows {
    /// All of so many rows. `deletes`: rows can delete their key.
    pub fn all(rows: u32, deletes: bool) -> Self {
        let live = ValidRows::all(rows);
        let newest = deletes.then(|| live.clone());
        Self { live, newest }
    }

    /// Rows that count.
    pub fn live(&self) -> &ValidRows {
        &self.live
    }

    /// The newest rows of their keys: those that count and those that delete their key.
    pub fn newest(&self) -> &ValidRows {
        self.newest.as_ref().unwrap_or(&self.live)
    }

    pub fn extend(&mut self, rows: u32) {
        self.live.extend(rows);
        if let Some(newest) = &mut self.newest {
            newest.extend(rows);
        }
    }

    /// Newer rows of their keys have come.
    pub fn replace(&mut self, rows: &[u32]) {
        self.live.clear_all(rows);
        if let Some(newest) = &mut self.newest {
            newest.clear_all(rows);
        }
    }

    /// These rows delete their keys.
    pub fn delete(&mut self, rows: &[u32]) {
        self.live.clear_all(rows);
    }

    /// As they are in another order: of each row there the one here.
    pub(crate) fn in_order(&self, order: &[u32]) -> Self {
        let of = |rows: &ValidRows| {
            let mut moved = ValidRows::all(order.len() as u32);
            let places = 0..order.len() as u32;
            let dead = places.filter(|at| !rows.contains(order[*at as usize]));
            moved.clear_all(&dead.collect::<Vec<_>>());
            moved
        };
        Self {
            live: of(&self.live),
            newest: self.newest.as_ref().map(of),
        }
    }
}

#[derive(Clone, Debug, Default)]
pub struct KeysAtEnd {
    /// The greatest value by which a row of the partition was compared.
    pub newest: i64,
    /// Of the segment itself.
    pub own: KeyRows,
    /// Of the segments before it, by sequence and checksum.
    pub others: Vec<((Sequence, u32), KeyRows)>,
}

impl KeysAtEnd {
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let mut out = vec![VERSION];
        out.extend_from_slice(&self.newest.to_le_bytes());
        put_rows(&self.own, &mut out);
        out.extend_from_slice(&(self.others.len() as u32).to_le_bytes());
        for ((sequence, crc), rows) in &self.others {
            out.extend_from_slice(&sequence.to_le_bytes());
            out.extend_from_slice(&crc.to_le_bytes());
            put_rows(rows, &mut out);
        }
        out
    }

    /// `None`: the bytes are none, or of a newer program.
    pub(crate) fn from_bytes(mut bytes: &[u8]) -> Option<Self> {
        let bytes = &mut bytes;
        if take(bytes)? != [VERSION] {
            return None;
        }
        let newest = i64::from_le_bytes(take(bytes)?);
        let own = take_rows(bytes)?;
        let count = u32::from_le_bytes(take(bytes)?);
        let mut others = Vec::new();
        for _ in 0..count {
            let sequence = u32::from_le_bytes(take(bytes)?);
            let crc = u32::from_le_bytes(take(bytes)?);
            others.push(((sequence, crc), take_rows(bytes)?));
        }
        bytes.is_empty().then_some(Self {
            newest,
            own,
            others,
        })
    }
}

fn put_rows(rows: &KeyRows, out: &mut Vec<u8>) {
    out.extend_from_slice(&rows.live.row_count().to_le_bytes());
    out.push(u8::from(rows.newest.is_some()));
    for bits in std::iter::once(&rows.live).chain(&rows.newest) {
        put_bits(bits, out);
    }
}

pub(crate) fn put_bits(bits: &ValidRows, out: &mut Vec<u8>) {
    let starts = (0..bits.row_count()).step_by(CHUNK_ROWS as usize);
    for (chunk, first) in bits.chunks().iter().zip(starts) {
        let rows = CHUNK_ROWS.min(bits.row_count() - first);
        let Some(chunk) = chunk else {
            out.push(0);
            continue;
        };
        let set = ones(chunk, rows);
        let (kind, wanted, count) = match rows - set <= set {
            true => (1, 0, rows - set),
            false => (2, 1, set),
        };
        if count == 0 && kind == 1 {
            out.push(0);
        } else if count <= NAMED_MAX {
            out.push(kind);
            out.extend_from_slice(&(count as u16).to_le_bytes());
            let is_named = |row: &u32| chunk[*row as usize / 64] >> (row % 64) & 1 == wanted;
            for row in (0..rows).filter(is_named) {
                out.extend_from_slice(&(row as u16).to_le_bytes());
            }
        } else {
            out.push(3);
            chunk
                .iter()
                .for_each(|word| out.extend_from_slice(&word.to_le_bytes()));
        }
    }
}

fn take_rows(bytes: &mut &[u8]) -> Option<KeyRows> {
    let rows = u32::from_le_bytes(take(bytes)?);
    let [deletes] = take(bytes)?;
    let live = take_bits(rows, bytes)?;
    let newest = match deletes {
        0 => None,
        1 => Some(take_bits(rows, bytes)?),
        _ => return None,
    };
    Some(KeyRows { live, newest })
}

pub(crate) fn take_bits(rows: u32, bytes: &mut &[u8]) -> Option<ValidRows> {
    let mut chunks = Vec::new();
    for first in (0..rows).step_by(CHUNK_ROWS as usize) {
        let own = CHUNK_ROWS.min(rows - first);
        chunks.push(match take(bytes)? {
            [0] => None,
            [kind @ (1 | 2)] => Some(Arc::new(take_named(kind == 2, own, bytes)?)),
            [3] => {
                let mut chunk = [0; CHUNK_WORDS];
                for word in &mut chunk {
                    *word = u64::from_le_bytes(take(bytes)?);
                }
                Some(Arc::new(chunk))
            }
            _ => return None,
        });
    }
    ValidRows::of_chunks(rows, chunks)
}

/// Only the rows that are named, or all but those. Bits past the last row are set.
fn take_named(only: bool, rows: u32, bytes: &mut &[u8]) -> Option<Chunk> {
    let mut chunk = [if only { 0 } else { u64::MAX }; CHUNK_WORDS];
    for row in (rows..CHUNK_ROWS).filter(|_| only) {
        chunk[row as usize / 64] |= 1 << (row % 64);
    }
    for _ in 0..u16::from_le_bytes(take(bytes)?) {
        let row = u16::from_le_bytes(take(bytes)?);
        if u32::from(row) >= rows {
            return None;
        }
        chunk[usize::from(row) / 64] ^= 1 << (row % 64);
    }
    Some(chunk)
}

pub(crate) fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (head, tail) = bytes.split_first_chunk::<N>()?;
    *bytes = tail;
    Some(*head)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Rows of which one in `every` counts, or does not.
    fn rows() -> impl Strategy<Value = KeyRows> {
        let kinds = (0..200_000_u32, 1..60_u32, any::<[bool; 3]>());
        kinds.prop_map(|(count, every, [inverted, deletes, is_all])| {
            let mut rows = KeyRows::all(count, deletes);
            let dead = |row: &u32| !is_all && (row.is_multiple_of(every) != inverted);
            rows.replace(&(0..count).filter(dead).collect::<Vec<_>>());
            rows.delete(&(0..count).step_by(7).collect::<Vec<_>>()[..count as usize / 9]);
            rows
        })
    }

    fn listed(rows: &KeyRows) -> [Vec<u32>; 2] {
        [rows.live(), rows.newest()].map(|bits| {
            let rows = 0..bits.row_count();
            let listed: Vec<u32> = rows.filter(|row| bits.contains(*row)).collect();
            assert_eq!(listed.len() as u32, bits.live());
            listed
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn what_is_read_is_what_was_written(
            own in rows(),
            others in prop::collection::vec((any::<(u32, u32)>(), rows()), 0..3),
            newest in any::<i64>(),
            cut in any::<prop::sample::Index>(),
        ) {
            let keys = KeysAtEnd { newest, own, others };
            let bytes = keys.to_bytes();
            let read = KeysAtEnd::from_bytes(&bytes).unwrap();
            prop_assert_eq!(read.newest, newest);
            prop_assert_eq!(listed(&read.own), listed(&keys.own));
            for ((name, rows), (read_name, read)) in keys.others.iter().zip(&read.others) {
                prop_assert_eq!(name, read_name);
                prop_assert_eq!(listed(rows), listed(read));
            }
            prop_assert!(KeysAtEnd::from_bytes(&bytes[..cut.index(bytes.len())]).is_none());
        }
    }
}
