//! The records inside a batch, read only to find one by its time.
//!
//! ```text
//! RECORD := length varint | attributes i8 | timestampDelta varlong | offsetDelta varint | …
//! ```
//! Varints are zigzag. Records are compressed as a whole: gzip, snappy (plain or in xerial's
//! frames), lz4 frames or zstd.
//!
//! Invariant: what cannot be read is no error: the batch's first offset stands for it, which is
//! never later than the record that was asked for.

use std::borrow::Cow;
use std::io::{self, Read};

use super::batch::{BatchHeader, HEADER_BYTES};

const UNPACKED_BYTES_MAX: u64 = 64 << 20;
const XERIAL_MAGIC: &[u8] = b"\x82SNAPPY\0";
const XERIAL_HEADER_BYTES: usize = 16;

/// Offset and timestamp of the first record at or after `timestamp` and `start`.
pub(super) fn first_record_at(
    header: &BatchHeader,
    batch: &[u8],
    timestamp: i64,
    start: i64,
) -> Option<(i64, i64)> {
    let whole = Some((header.base.max(start), header.max_timestamp));
    let Ok(records) = unpack(header.codec(), &batch[HEADER_BYTES..]) else {
        return whole;
    };
    let mut at = Reader(&records);
    for _ in 0..header.count {
        let Some(record) = at.record() else {
            return whole;
        };
        let offset = header.base + record.offset_delta;
        let time = header.base_timestamp.wrapping_add(record.timestamp_delta);
        if time >= timestamp && offset >= start {
            return Some((offset, time));
        }
    }
    None
}

fn unpack(codec: i16, packed: &[u8]) -> io::Result<Cow<'_, [u8]>> {
    let mut unpacked = Vec::new();
    match codec {
        0 => return Ok(Cow::Borrowed(packed)),
        1 => read_limited(flate2::read::GzDecoder::new(packed), &mut unpacked)?,
        2 => unsnap(packed, &mut unpacked)?,
        3 => read_limited(lz4_flex::frame::FrameDecoder::new(packed), &mut unpacked)?,
        4 => read_limited(zstd::stream::read::Decoder::new(packed)?, &mut unpacked)?,
        _ => return Err(io::ErrorKind::Unsupported.into()),
    }
    Ok(Cow::Owned(unpacked))
}

fn read_limited(reader: impl Read, into: &mut Vec<u8>) -> io::Result<()> {
    reader
        .take(UNPACKED_BYTES_MAX)
        .read_to_end(into)
        .map(|_| ())
}

fn unsnap(packed: &[u8], into: &mut Vec<u8>) -> io::Result<()> {
    if !packed.starts_with(XERIAL_MAGIC) {
        return unsnap_block(packed, into);
    }
    let mut rest = packed.get(XERIAL_HEADER_BYTES..).unwrap_or_default();
    while let Some((length, after)) = rest.split_first_chunk::<4>() {
        let length = u32::from_be_bytes(*length) as usize;
        let block = after.get(..length).ok_or(io::ErrorKind::UnexpectedEof)?;
        unsnap_block(block, into)?;
        rest = &after[length..];
    }
    Ok(())
}

fn unsnap_block(block: &[u8], into: &mut Vec<u8>) -> io::Result<()> {
    let length = snap::raw::decompress_len(block)?;
    if (into.len() + length) as u64 > UNPACKED_BYTES_MAX {
        return Err(io::ErrorKind::OutOfMemory.into());
    }
    into.extend(snap::raw::Decoder::new().decompress_vec(block)?);
    Ok(())
}

struct Record {
    timestamp_delta: i64,
    offset_delta: i64,
}

struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn record(&mut self) -> Option<Record> {
        let length = usize::try_from(self.varint()?).ok()?;
        let (record, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        // After the attributes.
        let mut record = Reader(record.get(1..)?);
        let timestamp_delta = record.varint()?;
        let offset_delta = record.varint()?;
        Some(Record {
            timestamp_delta,
            offset_delta,
        })
    }

    fn varint(&mut self) -> Option<i64> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let (byte, rest) = self.0.split_first()?;
            self.0 = rest;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some((value >> 1) as i64 ^ -((value & 1) as i64));
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn varints_are_zigzag_and_bounded() {
        assert_eq!(Reader(&[0]).varint(), Some(0));
        assert_eq!(Reader(&[1]).varint(), Some(-1));
        assert_eq!(Reader(&[0xac, 0x02]).varint(), Some(150));
        assert_eq!(Reader(&[0x80]).varint(), None);
        assert_eq!(Reader(&[0xff; 11]).varint(), None);
    }

    #[test]
    fn xerial_frames_are_unpacked() {
        let block = snap::raw::Encoder::new().compress_vec(b"hello").unwrap();
        let mut framed = XERIAL_MAGIC.to_vec();
        framed.extend([0, 0, 0, 1, 0, 0, 0, 1]);
        for _ in 0..2 {
            framed.extend((block.len() as u32).to_be_bytes());
            framed.extend(&block);
        }
        assert_eq!(&*unpack(2, &framed).unwrap(), b"hellohello");
        framed.pop();
        assert!(unpack(2, &framed).is_err());
    }
}
