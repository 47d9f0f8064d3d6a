//! Kafka's record batch, format v2: only the header is read, records stay as they came.
//!
//! ```text
//! baseOffset i64 | batchLength i32 | partitionLeaderEpoch i32 | magic i8 = 2 | crc u32
//! | attributes i16 | lastOffsetDelta i32 | baseTimestamp i64 | maxTimestamp i64
//! | producerId i64 | producerEpoch i16 | baseSequence i32 | recordCount i32 | records …
//! ```
//! Big endian. `batchLength` counts from `partitionLeaderEpoch`; `crc` is CRC-32C from
//! `attributes`.

use bytes::{Buf, BufMut, BytesMut};

use super::history::Outcome;

pub(super) const HEADER_BYTES: usize = 61;
/// Bytes before what `batchLength` counts.
const PREFIX_BYTES: usize = 12;
const CRC_AT: usize = 17;
const CRC_FROM: usize = 21;
const CODEC: i16 = 0x07;
const TRANSACTIONAL: i16 = 0x10;
const CONTROL: i16 = 0x20;

#[derive(Clone, Copy, Debug)]
pub(super) struct BatchHeader {
    pub(super) base: i64,
    /// Of the whole batch.
    pub(super) bytes: usize,
    pub(super) last_delta: i32,
    pub(super) base_timestamp: i64,
    pub(super) max_timestamp: i64,
    pub(super) producer: i64,
    pub(super) epoch: i16,
    pub(super) sequence: i32,
    pub(super) count: i32,
    attributes: i16,
}

impl BatchHeader {
    /// `None`: no whole batch of format v2 begins here.
    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        Self::read_head(bytes).filter(|header| header.bytes <= bytes.len())
    }

    /// As [`Self::read`], with only the header's bytes at hand.
    pub(super) fn read_head(bytes: &[u8]) -> Option<Self> {
        if bytes.len() < HEADER_BYTES || bytes[16] != 2 {
            return None;
        }
        let mut at = bytes;
        let base = at.get_i64();
        let length = usize::try_from(at.get_i32()).ok()?;
        let whole = length.checked_add(PREFIX_BYTES)?;
        if whole < HEADER_BYTES {
            return None;
        }
        at.advance(4 + 1 + 4);
        let attributes = at.get_i16();
        let last_delta = at.get_i32();
        let (base_timestamp, max_timestamp) = (at.get_i64(), at.get_i64());
        let (producer, epoch, sequence) = (at.get_i64(), at.get_i16(), at.get_i32());
        let count = at.get_i32();
        let sane = last_delta >= 0 && base.checked_add(i64::from(last_delta)).is_some();
        sane.then_some(Self {
            base,
            bytes: whole,
            last_delta,
            base_timestamp,
            max_timestamp,
            producer,
            epoch,
            sequence,
            count,
            attributes,
        })
    }

    pub(super) fn at(self, base: i64) -> Self {
        Self { base, ..self }
    }

    pub(super) fn last(&self) -> i64 {
        self.base + i64::from(self.last_delta)
    }

    pub(super) fn codec(&self) -> i16 {
        self.attributes & CODEC
    }

    pub(super) fn is_control(&self) -> bool {
        self.attributes & CONTROL != 0
    }

    pub(super) fn is_transactional(&self) -> bool {
        self.attributes & TRANSACTIONAL != 0
    }

    pub(super) fn is_idempotent(&self) -> bool {
        self.producer >= 0 && self.sequence >= 0
    }

    pub(super) fn last_sequence(&self) -> i32 {
        self.sequence.wrapping_add(self.last_delta) & i32::MAX
    }
}

/// `bytes` begin with the batch of `header`.
pub(super) fn crc_is_right(header: &BatchHeader, bytes: &[u8]) -> bool {
    let stored = (&bytes[CRC_AT..]).get_u32();
    crc32c::crc32c(&bytes[CRC_FROM..header.bytes]) == stored
}

/// Gives the batch at the start of `bytes` its place in the log. The CRC does not cover it.
pub(super) fn place(bytes: &mut [u8], base: i64) {
    bytes[..8].copy_from_slice(&base.to_be_bytes());
    bytes[12..16].copy_from_slice(&0i32.to_be_bytes());
}

/// What a control batch says; anything but a commit is an abort. Of no meaning for others.
pub(super) fn outcome(bytes: &[u8]) -> Outcome {
    // length, attributes, timestamp and offset deltas, key length (one byte each), version i16,
    // type i16
    match bytes.get(HEADER_BYTES + 5 + 2 + 1) {
        Some(1) => Outcome::Commit,
        _ => Outcome::Abort,
    }
}

/// The control batch that ends a transaction.
pub(super) fn end_marker(producer: i64, epoch: i16, outcome: Outcome, now_ms: i64) -> BytesMut {
    let mut batch = BytesMut::with_capacity(80);
    batch.put_i64(0);
    batch.put_i32(0);
    batch.put_i32(0);
    batch.put_u8(2);
    batch.put_u32(0);
    batch.put_i16(TRANSACTIONAL | CONTROL);
    batch.put_i32(0);
    batch.put_i64(now_ms);
    batch.put_i64(now_ms);
    batch.put_i64(producer);
    batch.put_i16(epoch);
    batch.put_i32(-1);
    batch.put_i32(1);
    batch.put_u8(16 << 1);
    batch.put_slice(&[0, 0, 0, 4 << 1]);
    batch.put_i16(0);
    batch.put_i16(i16::from(outcome == Outcome::Commit));
    batch.put_u8(6 << 1);
    batch.put_i16(0);
    batch.put_i32(0);
    batch.put_u8(0);
    let length = (batch.len() - PREFIX_BYTES) as i32;
    batch[8..12].copy_from_slice(&length.to_be_bytes());
    let crc = crc32c::crc32c(&batch[CRC_FROM..]);
    batch[CRC_AT..CRC_FROM].copy_from_slice(&crc.to_be_bytes());
    batch
}
