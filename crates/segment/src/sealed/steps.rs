//! Numbers that are stored as the way from each to the next.
//!
//! Whoever wants some gets their block, which is unpacked once and kept: this is for columns that
//! are hardly read. All blocks were unpacked once when the column was loaded, to verify them.

use std::ops::Range;
use std::sync::OnceLock;

use arrow::buffer::{Buffer, ScalarBuffer};
use index::CorruptIndex;
use index::forward::steps::{BLOCK, block_of, check_steps, unpack_steps};

#[derive(Debug)]
pub(crate) struct StepsColumn {
    starts: ScalarBuffer<u64>,
    bytes: Buffer,
    rows: usize,
    blocks: Box<[OnceLock<Vec<i64>>]>,
}

impl StepsColumn {
    pub(super) fn new(
        starts: ScalarBuffer<u64>,
        bytes: Buffer,
        rows: usize,
    ) -> Result<Self, CorruptIndex> {
        check_steps(&starts, &bytes, rows)?;
        let blocks = (0..rows.div_ceil(BLOCK)).map(|_| OnceLock::new());
        Ok(Self {
            blocks: blocks.collect(),
            starts,
            bytes,
            rows,
        })
    }

    /// `rows` lie within one block.
    pub(super) fn slice(&self, rows: Range<usize>) -> &[i64] {
        let index = rows.start / BLOCK;
        let Some(block) = self.blocks.get(index) else {
            return &[];
        };
        let start = index * BLOCK;
        let block = block.get_or_init(|| {
            let count = BLOCK.min(self.rows - start);
            let own = block_of(&self.starts, &self.bytes, index);
            own.and_then(|own| unpack_steps(own, count))
                .expect("it was unpacked when the column was loaded")
        });
        &block[rows.start - start..rows.end - start]
    }
}
