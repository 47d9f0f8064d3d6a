//! Raw byte strings in compressed blocks: for columns of long texts that hardly repeat.
//!
//! ```text
//! BLOCKS := STARTS DATA
//! STARTS := (blocks + 1) × u64, where each block begins in DATA, the last = length of DATA
//! DATA   := BLOCK*, each over the same number of documents but the last
//! BLOCK  := length: u32 of ROWS | ROWS in LZ4's block format, or as they are where that is no
//!           shorter
//! ROWS   := docs × u32, the length of each value | the values, one after the other
//! ```
//!
//! A reader trusts nothing: a block that cannot be is a [`CorruptIndex`] when it is asked for. LZ4
//! cannot make more than 255 bytes of one, so a block's length is bounded by its bytes.

mod reader;
mod writer;

pub use reader::{BlockValues, BlocksReader};
pub use writer::{BlocksWriter, compressed_bytes};

const LENGTH_BYTES: usize = 4;
const EXPANSION_MAX: usize = 255;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{BlocksReader, BlocksWriter};

    proptest! {
        #[test]
        fn reads_what_was_written(
            values in prop::collection::vec("[ab]{0,300}", 0..60),
            rows in 1_usize..20,
        ) {
            let mut writer = BlocksWriter::default();
            for block in values.chunks(rows) {
                writer.push(block.iter().map(String::as_bytes)).unwrap();
            }
            let (starts, data) = writer.finish();
            let reader = BlocksReader::new(&starts, &data);
            reader.check_frame(values.len().div_ceil(rows)).unwrap();
            for (at, block) in values.chunks(rows).enumerate() {
                let found = reader.block(at, block.len()).unwrap();
                let found: Vec<&[u8]> = found.iter().collect();
                let wanted: Vec<&[u8]> = block.iter().map(String::as_bytes).collect();
                prop_assert_eq!(found, wanted);
            }
        }

        #[test]
        fn damage_is_an_error_or_another_value(
            values in prop::collection::vec("[ab]{0,300}", 1..40),
            at: prop::sample::Index,
            flip in 1_u8..,
        ) {
            let mut writer = BlocksWriter::default();
            writer.push(values.iter().map(String::as_bytes)).unwrap();
            let (starts, mut data) = writer.finish();
            let at = at.index(data.len());
            data[at] ^= flip;
            if let Ok(found) = BlocksReader::new(&starts, &data).block(0, values.len()) {
                prop_assert_eq!(found.iter().count(), values.len());
            }
        }
    }

    #[test]
    fn wrong_frames_are_found() {
        assert!(BlocksReader::new(&[0, 3], b"abc").check_frame(1).is_ok());
        assert!(BlocksReader::new(&[0, 3], b"abc").check_frame(2).is_err());
        assert!(BlocksReader::new(&[0, 4], b"abc").check_frame(1).is_err());
        assert!(
            BlocksReader::new(&[0, 3, 2, 3], b"abc")
                .check_frame(3)
                .is_err()
        );
        let reader = BlocksReader::new(&[0, 3], b"abc");
        assert!(reader.block(0, 1).is_err());
    }
}
