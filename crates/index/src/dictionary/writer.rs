//! Write half of the dictionary: values in ascending order → offsets and bytes.

use crate::IndexTooLarge;

/// Views into the bytes are addressed by 31 bits in Arrow.
const BYTES_MAX: usize = i32::MAX as usize;

#[derive(Debug)]
pub struct DictionaryWriter {
    offsets: Vec<u32>,
    bytes: Vec<u8>,
}

impl Default for DictionaryWriter {
    fn default() -> Self {
        Self {
            offsets: vec![0],
            bytes: Vec::new(),
        }
    }
}

impl DictionaryWriter {
    /// Values come in ascending order, each once.
    pub fn push(&mut self, value: &[u8]) -> Result<(), IndexTooLarge> {
        if self.bytes.len() + value.len() > BYTES_MAX {
            return Err(IndexTooLarge {
                what: "a dictionary",
                limit: BYTES_MAX as u64,
            });
        }
        self.bytes.extend_from_slice(value);
        self.offsets.push(self.bytes.len() as u32);
        Ok(())
    }

    /// Offsets and bytes.
    pub fn finish(self) -> (Vec<u32>, Vec<u8>) {
        (self.offsets, self.bytes)
    }
}
