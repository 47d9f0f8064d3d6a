//! Texts without a dictionary, in compressed blocks: where they are long and hardly repeat.

use index::IndexTooLarge;
use index::blocks::{BlocksWriter, compressed_bytes};

use crate::BLOCK_ROWS;
use crate::mutable::dictionary::DictionaryReader;

/// A dictionary serves filters, groups and look-ups: it must serve more than so many rows for each
/// value, or its values must be short.
const ROWS_PER_VALUE: usize = 2;
const BYTES_MIN: usize = 64;
/// Blocks that are compressed to see what they would take.
const SAMPLES: usize = 4;

/// By a sample: the blocks take less than two thirds of codes and dictionary.
pub(super) fn are_better_raw(codes: &[u32], dictionary: &DictionaryReader) -> bool {
    let cardinality = dictionary.cardinality() as usize;
    if codes.len() < BLOCK_ROWS as usize || cardinality * ROWS_PER_VALUE < codes.len() {
        return false;
    }
    let blocks: Vec<&[u32]> = codes.chunks(BLOCK_ROWS as usize).collect();
    let samples = blocks.iter().step_by(blocks.len().div_ceil(SAMPLES));
    let (mut raw, mut coded, mut rows) = (0, 0, 0);
    for block in samples {
        let values = block.iter().map(|code| dictionary.value(*code));
        let bytes: usize = values.clone().map(<[u8]>::len).sum();
        raw += compressed_bytes(values);
        // A value and its offset for the share of rows that bring a new one, and a code each.
        coded += (bytes + 4 * block.len()) * cardinality / codes.len() + 4 * block.len();
        rows += block.len();
    }
    coded >= BYTES_MIN * rows && raw * 3 < coded * 2
}

/// Starts and data.
pub(super) fn blocks(
    codes: &[u32],
    dictionary: &DictionaryReader,
) -> Result<(Vec<u64>, Vec<u8>), IndexTooLarge> {
    let mut writer = BlocksWriter::default();
    for block in codes.chunks(BLOCK_ROWS as usize) {
        writer.push(block.iter().map(|code| dictionary.value(*code)))?;
    }
    Ok(writer.finish())
}

/// Least and greatest value.
pub(super) fn bounds<'a>(
    codes: &[u32],
    dictionary: &'a DictionaryReader,
) -> Option<(&'a [u8], &'a [u8])> {
    let mut values = codes.iter().map(|code| dictionary.value(*code));
    let first = values.next()?;
    Some(values.fold((first, first), |(least, greatest), value| {
        (least.min(value), greatest.max(value))
    }))
}
