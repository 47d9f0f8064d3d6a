//! Read half of the dictionary: code → value by position, value → code by binary search.

use std::cmp::Ordering;

use crate::CorruptIndex;

/// Borrows bytes whose frame was [checked](BytesDictionary::check_frame) once.
#[derive(Clone, Copy, Debug)]
pub struct BytesDictionary<'a> {
    offsets: &'a [u32],
    bytes: &'a [u8],
}

impl<'a> BytesDictionary<'a> {
    pub fn new(offsets: &'a [u32], bytes: &'a [u8]) -> Self {
        Self { offsets, bytes }
    }

    pub fn cardinality(self) -> u32 {
        self.offsets.len() as u32 - 1
    }

    pub fn get(self, code: u32) -> &'a [u8] {
        let code = code as usize;
        &self.bytes[self.offsets[code] as usize..self.offsets[code + 1] as usize]
    }

    /// All values, one after the other, and where each begins; the last offset is their end.
    pub fn whole(self) -> (&'a [u32], &'a [u8]) {
        (self.offsets, self.bytes)
    }

    /// The code of `value`, or else the code of the first greater value.
    pub fn find(self, value: &[u8]) -> Result<u32, u32> {
        let (mut low, mut high) = (0, self.cardinality());
        while low < high {
            let middle = low + (high - low) / 2;
            match self.get(middle).cmp(value) {
                Ordering::Less => low = middle + 1,
                Ordering::Greater => high = middle,
                Ordering::Equal => return Ok(middle),
            }
        }
        Err(low)
    }

    /// Offsets fit the cardinality, never decrease and end where the bytes end.
    pub fn check_frame(self, cardinality: u32) -> Result<(), CorruptIndex> {
        let wanted = u64::from(cardinality) + 1;
        if self.offsets.len() as u64 != wanted {
            return Err(CorruptIndex::Length {
                wanted: wanted * 4,
                got: self.offsets.len() as u64 * 4,
            });
        }
        let mut previous = 0;
        for (index, offset) in self.offsets.iter().enumerate() {
            if *offset < previous || (index == 0 && *offset != 0) {
                let index = index as u32;
                return Err(CorruptIndex::OffsetsDecrease { index });
            }
            previous = *offset;
        }
        if previous as usize != self.bytes.len() {
            return Err(CorruptIndex::Length {
                wanted: u64::from(previous),
                got: self.bytes.len() as u64,
            });
        }
        Ok(())
    }

    /// Every value is UTF-8. The frame must have been checked.
    pub fn check_utf8(self) -> Result<(), CorruptIndex> {
        if self.bytes.is_ascii() {
            return Ok(());
        }
        for index in 0..self.cardinality() {
            if std::str::from_utf8(self.get(index)).is_err() {
                return Err(CorruptIndex::NotUtf8 { index });
            }
        }
        Ok(())
    }
}
