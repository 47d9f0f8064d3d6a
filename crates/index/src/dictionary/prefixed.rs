//! Values as what each has in common with the one before it, and the rest: for dictionaries on
//! disk. They are unpacked as a whole, to offsets and bytes.

use crate::CorruptIndex;

/// Values take no more than so many times their packed form.
const EXPANSION_MAX: u64 = 16;

/// Of a dictionary's offsets and bytes; `None`: not a quarter would be saved, or values would take
/// too much of their packed form.
pub fn pack(offsets: &[u32], bytes: &[u8]) -> Option<Vec<u8>> {
    let mut packed = Vec::with_capacity(bytes.len() / 2);
    let mut last: &[u8] = &[];
    for ends in offsets.windows(2) {
        let value = &bytes[ends[0] as usize..ends[1] as usize];
        let pairs = value.iter().zip(last).take(u8::MAX as usize);
        let shared = pairs.take_while(|(own, before)| own == before).count();
        packed.push(shared as u8);
        put_number((value.len() - shared) as u32, &mut packed);
        packed.extend_from_slice(&value[shared..]);
        last = value;
    }
    let is_small = packed.len() as u64 * 4 <= (size_of_val(offsets) + bytes.len()) as u64 * 3;
    (is_small && fits(packed.len(), bytes.len() as u64)).then_some(packed)
}

/// Offsets and bytes of `cardinality` values, `length` bytes together.
pub fn unpack(
    packed: &[u8],
    cardinality: u32,
    length: u64,
) -> Result<(Vec<u32>, Vec<u8>), CorruptIndex> {
    // Each takes two bytes at least.
    if !fits(packed.len(), length) || cardinality as usize > packed.len() / 2 {
        return Err(CorruptIndex::Length {
            wanted: length,
            got: packed.len() as u64,
        });
    }
    let mut offsets = Vec::with_capacity(cardinality as usize + 1);
    let mut bytes: Vec<u8> = Vec::with_capacity(length as usize);
    offsets.push(0);
    let (mut rest, mut last) = (packed, 0);
    for index in 0..cardinality {
        let cut = || CorruptIndex::Prefix { index };
        let (shared, after) = rest.split_first().ok_or_else(cut)?;
        let (own, after) = take_number(after).ok_or_else(cut)?;
        let (own, after) = after.split_at_checked(own as usize).ok_or_else(cut)?;
        let (start, shared) = (bytes.len(), usize::from(*shared));
        let grown = start as u64 + shared as u64 + own.len() as u64;
        if shared > start - last || grown > length {
            return Err(cut());
        }
        bytes.extend_from_within(last..last + shared);
        bytes.extend_from_slice(own);
        offsets.push(bytes.len() as u32);
        (rest, last) = (after, start);
    }
    match (rest.len(), bytes.len() as u64 == length) {
        (0, true) => Ok((offsets, bytes)),
        _ => Err(CorruptIndex::Prefix { index: cardinality }),
    }
}

/// Offsets are numbers of 31 bits.
fn fits(packed: usize, length: u64) -> bool {
    length <= i32::MAX as u64 && length <= packed as u64 * EXPANSION_MAX
}

/// Seven bits a byte, the least first; the last has no upper bit.
fn put_number(mut number: u32, into: &mut Vec<u8>) {
    while number >= 0x80 {
        into.push(number as u8 | 0x80);
        number >>= 7;
    }
    into.push(number as u8);
}

fn take_number(bytes: &[u8]) -> Option<(u32, &[u8])> {
    let mut number = 0_u32;
    for (at, byte) in bytes.iter().take(5).enumerate() {
        let own = u32::from(byte & 0x7f);
        number |= own.checked_mul(1 << (7 * at))?;
        if byte & 0x80 == 0 {
            return Some((number, &bytes[at + 1..]));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::DictionaryWriter;
    use super::*;

    fn flat<T: AsRef<[u8]>>(values: impl IntoIterator<Item = T>) -> (Vec<u32>, Vec<u8>) {
        let mut writer = DictionaryWriter::default();
        for value in values {
            writer.push(value.as_ref()).unwrap();
        }
        writer.finish()
    }

    proptest! {
        #[test]
        fn what_was_packed_comes_back(
            values in prop::collection::btree_set("[ab]{0,6}(xyzz?y{0,300})?é?", 1..80),
        ) {
            let (offsets, bytes) = flat(&values);
            if let Some(packed) = pack(&offsets, &bytes) {
                prop_assert!(packed.len() < bytes.len() + offsets.len() * 4);
                let found = unpack(&packed, values.len() as u32, bytes.len() as u64).unwrap();
                prop_assert_eq!(found, (offsets, bytes));
            }
        }

        #[test]
        fn any_bytes_are_values_or_a_fault(
            packed in prop::collection::vec(0_u8..12, 0..60),
            cardinality in 0_u32..40,
            length in 0_u64..400,
        ) {
            if let Ok((offsets, bytes)) = unpack(&packed, cardinality, length) {
                prop_assert_eq!(offsets.len(), cardinality as usize + 1);
                prop_assert_eq!(bytes.len() as u64, length);
                prop_assert!(offsets.is_sorted() && offsets.last() == Some(&(length as u32)));
            }
        }
    }

    #[test]
    fn only_what_is_smaller_is_packed() {
        let (offsets, bytes) = flat((0..1000).map(|n| format!("https://example.com/{n:04}")));
        let packed = pack(&offsets, &bytes).unwrap();
        assert!(packed.len() * 5 < bytes.len() + offsets.len() * 4);
        let unlike = (0..1000_u32).map(|n| n.wrapping_mul(2_654_435_761).to_be_bytes().repeat(4));
        let mut unlike: Vec<Vec<u8>> = unlike.collect();
        unlike.sort();
        let (offsets, bytes) = flat(&unlike);
        assert_eq!(pack(&offsets, &bytes), None);
        // Too much of too little.
        let (offsets, bytes) = flat((1..200).map(|n| vec![7_u8; n]));
        assert_eq!(pack(&offsets, &bytes), None);
        assert!(unpack(&[0, 1, 7], 1, u64::MAX).is_err());
        assert!(unpack(&[0, 0xff, 0xff, 0xff, 0xff, 0xff, 1], 1, 50).is_err());
    }
}
