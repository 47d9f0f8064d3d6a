//! Numbers that go up by little, now and then down: the way from each to the next, for what is
//! hardly ever read.
//!
//! ```text
//! STEPS := blocks of 4096 numbers: the first as it is, then the steps to each from the one before
//! ```
//!
//! All are signed, and written as zigzag LEB128: seven bits a byte, the lowest first. Steps wrap
//! around 64 bits. Where each block begins, and the end of the last, is kept beside them.

use crate::CorruptIndex;

pub const BLOCK: usize = 4096;

/// Where each block begins, and the blocks.
pub fn pack_steps(values: &[i64]) -> (Vec<u64>, Vec<u8>) {
    let (mut starts, mut out) = (vec![0], Vec::new());
    for block in values.chunks(BLOCK) {
        let mut before = 0_i64;
        for value in block {
            push(&mut out, value.wrapping_sub(before));
            before = *value;
        }
        starts.push(out.len() as u64);
    }
    (starts, out)
}

fn push(out: &mut Vec<u8>, step: i64) {
    let mut left = ((step << 1) ^ (step >> 63)) as u64;
    while left >= 0x80 {
        out.push(left as u8 | 0x80);
        left >>= 7;
    }
    out.push(left as u8);
}

/// The numbers of one block. `None`: the bytes are not those of `count` numbers.
pub fn unpack_steps(mut bytes: &[u8], count: usize) -> Option<Vec<i64>> {
    // Each takes a byte at least.
    if count > bytes.len() {
        return None;
    }
    let mut values = Vec::with_capacity(count);
    let mut value = 0_i64;
    for _ in 0..count {
        let (step, rest) = pull(bytes)?;
        value = value.wrapping_add(step);
        values.push(value);
        bytes = rest;
    }
    bytes.is_empty().then_some(values)
}

fn pull(bytes: &[u8]) -> Option<(i64, &[u8])> {
    let mut word = 0_u64;
    for (at, byte) in bytes.iter().enumerate().take(10) {
        word |= u64::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            let step = (word >> 1) as i64 ^ -((word & 1) as i64);
            return Some((step, &bytes[at + 1..]));
        }
    }
    None
}

/// Every block holds its numbers, and nothing else is there.
pub fn check_steps(starts: &[u64], bytes: &[u8], count: usize) -> Result<(), CorruptIndex> {
    let blocks = count.div_ceil(BLOCK);
    if starts.len() != blocks + 1 || starts[0] != 0 || starts[blocks] != bytes.len() as u64 {
        return Err(CorruptIndex::Length {
            wanted: starts.last().copied().unwrap_or(0),
            got: bytes.len() as u64,
        });
    }
    for index in 0..blocks {
        let rows = BLOCK.min(count - index * BLOCK);
        let block = block_of(starts, bytes, index);
        if block.and_then(|block| unpack_steps(block, rows)).is_none() {
            let index = index as u32;
            return Err(CorruptIndex::Block { index });
        }
    }
    Ok(())
}

/// The bytes of a block.
pub fn block_of<'a>(starts: &[u64], bytes: &'a [u8], index: usize) -> Option<&'a [u8]> {
    let (start, end) = (*starts.get(index)?, *starts.get(index + 1)?);
    bytes.get(usize::try_from(start).ok()?..usize::try_from(end).ok()?)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn numbers_come_back(near in prop::collection::vec(-70_i64..9000, 1..200), far: i64) {
            let mut values: Vec<i64> = (0..BLOCK as i64).map(|at| at * 5).collect();
            values.extend(near.iter().scan(far, |at, step| {
                *at = at.wrapping_add(*step);
                Some(*at)
            }));
            values.extend([i64::MIN, i64::MAX, 0]);
            let (starts, bytes) = pack_steps(&values);
            check_steps(&starts, &bytes, values.len()).unwrap();
            let mut found = Vec::new();
            for (index, block) in values.chunks(BLOCK).enumerate() {
                let own = block_of(&starts, &bytes, index).unwrap();
                found.extend(unpack_steps(own, block.len()).unwrap());
            }
            prop_assert_eq!(found, values);
        }

        #[test]
        fn damage_is_found_or_gives_numbers(at in 0_usize..90, byte: u8, count in 0_usize..99) {
            let (starts, mut bytes) = pack_steps(&(0..50).map(|at| at * 90).collect::<Vec<i64>>());
            let at = at % bytes.len();
            bytes[at] = byte;
            if check_steps(&starts, &bytes, count).is_ok() {
                prop_assert_eq!(unpack_steps(&bytes, count).unwrap().len(), count);
            }
        }
    }

    #[test]
    fn a_step_within_64_takes_a_byte() {
        let (starts, bytes) = pack_steps(&[1000, 1063, 1000, 999]);
        assert_eq!((starts, bytes.len()), (vec![0, 5], 5));
        assert_eq!(pack_steps(&[]), (vec![0], vec![]));
    }
}
