//! Files whose place a compacted segment has taken: which rows of theirs its own are.
//!
//! Invariant: what is known of the rows of such a file by its checksum is known of those here.
//! Others may have told it before they heard of this file ([`crate::KeysAtEnd`]).
//!
//! ```text
//! EARLIER := 1: u8 | count: u8 | FILE*
//! FILE    := crc: u32 | rows: u32 | 0: u8 | BITS          of its rows these, in their order
//!          | crc: u32 | rows: u32 | 1: u8 | (row: u32)*   of each row here the one there
//! BITS    := as in `keys.rs`
//! ```

use crate::keys::{KeyRows, put_bits, take, take_bits};
use crate::valid::ValidRows;

const VERSION: u8 = 1;
/// The last ones. Whoever still holds an older one loads the newest before it is asked again.
pub const EARLIER_MAX: usize = 8;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EarlierFile {
    pub crc: u32,
    /// Of that file.
    pub row_count: u32,
    /// Of each row here the one there.
    pub rows: Vec<u32>,
}

impl EarlierFile {
    /// What is known of its rows, of those here.
    pub fn known_here(&self, there: &KeyRows) -> Option<KeyRows> {
        let fits = there.live().row_count() == self.row_count;
        fits.then(|| there.in_order(&self.rows))
    }

    /// Where the rows here are in another order: of each row there the one here.
    pub(crate) fn in_order(&self, order: &[u32]) -> Self {
        let rows = order.iter().map(|row| self.rows[*row as usize]);
        Self {
            rows: rows.collect(),
            ..*self
        }
    }
}

pub(crate) fn to_bytes(files: &[EarlierFile]) -> Vec<u8> {
    let mut out = vec![VERSION, files.len() as u8];
    for file in files {
        out.extend_from_slice(&file.crc.to_le_bytes());
        out.extend_from_slice(&file.row_count.to_le_bytes());
        match file.rows.is_sorted_by(|one, next| one < next) {
            true => {
                out.push(0);
                let mut bits = ValidRows::all(file.row_count);
                let mut kept = file.rows.iter().copied().peekable();
                let gone = (0..file.row_count).filter(|row| kept.next_if_eq(row).is_none());
                bits.clear_all(&gone.collect::<Vec<_>>());
                put_bits(&bits, &mut out);
            }
            false => {
                out.push(1);
                let rows = file.rows.iter();
                rows.for_each(|row| out.extend_from_slice(&row.to_le_bytes()));
            }
        }
    }
    out
}

/// Of a segment with so many rows. `None`: the bytes are none, or of a newer program.
pub(crate) fn from_bytes(mut bytes: &[u8], rows: u32) -> Option<Vec<EarlierFile>> {
    let bytes = &mut bytes;
    if take(bytes)? != [VERSION] {
        return None;
    }
    let [count] = take(bytes)?;
    let mut files = Vec::new();
    for _ in 0..count {
        let crc = u32::from_le_bytes(take(bytes)?);
        let row_count = u32::from_le_bytes(take(bytes)?);
        let found: Vec<u32> = match take(bytes)? {
            [0] => {
                let bits = take_bits(row_count, bytes)?;
                if bits.live() != rows {
                    return None;
                }
                (0..row_count).filter(|row| bits.contains(*row)).collect()
            }
            [1] => {
                let mut found = Vec::new();
                for _ in 0..rows {
                    found.push(u32::from_le_bytes(take(bytes)?));
                }
                found
            }
            _ => return None,
        };
        if found.iter().any(|row| *row >= row_count) {
            return None;
        }
        files.push(EarlierFile {
            crc,
            row_count,
            rows: found,
        });
    }
    bytes.is_empty().then_some(files)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Some rows of so many, in their order or turned.
    fn file(rows: usize) -> impl Strategy<Value = EarlierFile> {
        let more = 0..70_000_usize;
        (any::<u32>(), more, any::<bool>()).prop_flat_map(move |(crc, more, turns)| {
            let all: Vec<u32> = (0..(rows + more) as u32).collect();
            prop::sample::subsequence(all, rows).prop_map(move |mut kept| {
                if turns {
                    kept.reverse();
                }
                EarlierFile {
                    crc,
                    row_count: (rows + more) as u32,
                    rows: kept,
                }
            })
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn what_is_read_is_what_was_written(
            (rows, files) in (0..500_usize)
                .prop_flat_map(|rows| (Just(rows), prop::collection::vec(file(rows), 0..3))),
            cut in any::<prop::sample::Index>(),
        ) {
            let bytes = to_bytes(&files);
            prop_assert_eq!(from_bytes(&bytes, rows as u32), Some(files.clone()));
            prop_assert!(from_bytes(&bytes[..cut.index(bytes.len())], rows as u32).is_none());
            prop_assert!(files.is_empty() || from_bytes(&bytes, rows as u32 + 1).is_none());
        }
    }

    #[test]
    fn what_is_known_there_is_known_here() {
        let file = EarlierFile {
            crc: 7,
            row_count: 4,
            rows: vec![3, 1],
        };
        let mut there = KeyRows::all(4, true);
        there.replace(&[0, 3]);
        there.delete(&[1]);
        let here = file.known_here(&there).unwrap();
        let rows = |bits: &ValidRows| [bits.contains(0), bits.contains(1)];
        assert_eq!(rows(here.live()), [false, false]);
        assert_eq!(rows(here.newest()), [false, true]);
        assert!(file.known_here(&KeyRows::all(3, true)).is_none());
    }
}
