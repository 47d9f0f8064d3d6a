//! Write half: the values of one block after the other.

use super::LENGTH_BYTES;
use crate::IndexTooLarge;

#[derive(Debug)]
pub struct BlocksWriter {
    starts: Vec<u64>,
    data: Vec<u8>,
    rows: Vec<u8>,
}

impl Default for BlocksWriter {
    fn default() -> Self {
        Self {
            starts: vec![0],
            data: Vec::new(),
            rows: Vec::new(),
        }
    }
}

impl BlocksWriter {
    pub fn push<'a>(
        &mut self,
        values: impl Iterator<Item = &'a [u8]> + Clone,
    ) -> Result<(), IndexTooLarge> {
        lay_out(values, &mut self.rows);
        let length = u32::try_from(self.rows.len())
            .ok()
            .filter(|length| *length <= i32::MAX as u32)
            .ok_or(IndexTooLarge {
                what: "a block of texts",
                limit: i32::MAX as u64,
            })?;
        self.data.extend_from_slice(&length.to_le_bytes());
        let packed = lz4_flex::block::compress(&self.rows);
        match packed.len() < self.rows.len() {
            true => self.data.extend_from_slice(&packed),
            false => self.data.extend_from_slice(&self.rows),
        }
        self.starts.push(self.data.len() as u64);
        Ok(())
    }

    /// Starts and data.
    pub fn finish(self) -> (Vec<u64>, Vec<u8>) {
        (self.starts, self.data)
    }
}

fn lay_out<'a>(values: impl Iterator<Item = &'a [u8]> + Clone, rows: &mut Vec<u8>) {
    rows.clear();
    for value in values.clone() {
        rows.extend_from_slice(&(value.len() as u32).to_le_bytes());
    }
    for value in values {
        rows.extend_from_slice(value);
    }
}

/// Bytes that these values take as one block.
pub fn compressed_bytes<'a>(values: impl Iterator<Item = &'a [u8]> + Clone) -> usize {
    let mut rows = Vec::new();
    lay_out(values, &mut rows);
    let packed = lz4_flex::block::compress(&rows);
    packed.len().min(rows.len()) + LENGTH_BYTES
}
