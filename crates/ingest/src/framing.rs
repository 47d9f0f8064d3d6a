//! Confluent's framing: a zero byte, the id of the schema in four bytes, then the record.

use schemas::decoding::{DecoderSpec, FormatSpec};

const HEADER_BYTES: usize = 5;
const INDEXES_MAX: u32 = 64;

/// What a payload tells of its record.
#[derive(Debug)]
pub(crate) struct Framed<'a> {
    pub(crate) id: Option<u32>,
    /// The place of a message in its file, and of those within it; none is the first.
    pub(crate) indexes: Vec<u32>,
    pub(crate) record: &'a [u8],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    None,
    Id,
    /// After the id the place of the message in its file, as Protobuf has it.
    IdAndIndexes,
}

/// The id that a payload names, if it is framed.
pub(crate) fn schema_id(payload: &[u8]) -> Option<u32> {
    match payload {
        [0, a, b, c, d, ..] => Some(u32::from_be_bytes([*a, *b, *c, *d])),
        _ => None,
    }
}

impl Framing {
    pub(crate) fn new(decoder: &DecoderSpec) -> Self {
        match (&decoder.format, decoder.framed) {
            (_, false) => Self::None,
            (FormatSpec::Protobuf { .. }, true) => Self::IdAndIndexes,
            (_, true) => Self::Id,
        }
    }

    pub(crate) fn is_on(self) -> bool {
        self != Self::None
    }

    pub(crate) fn split(self, payload: &[u8]) -> Result<Framed<'_>, String> {
        let mut framed = Framed {
            id: None,
            indexes: Vec::new(),
            record: payload,
        };
        if self == Self::None {
            return Ok(framed);
        }
        let Some(id) = schema_id(payload) else {
            let first = payload
                .first()
                .map_or("nothing".to_owned(), |byte| format!("{byte:#04x}"));
            return Err(format!(
                "the payload is not framed: a zero byte and four bytes of a schema's id were \
                 expected, {} bytes that begin with {first} found",
                payload.len()
            ));
        };
        framed.id = Some(id);
        let record = &mut framed.record;
        *record = &payload[HEADER_BYTES..];
        if self == Self::IdAndIndexes {
            let cut_off = "the indexes of the message are cut off";
            let count = varint(record).ok_or(cut_off)?;
            if count > INDEXES_MAX {
                return Err(format!(
                    "the message is nested deeper than {INDEXES_MAX} in its file"
                ));
            }
            for _ in 0..count {
                framed.indexes.push(varint(record).ok_or(cut_off)?);
            }
        }
        Ok(framed)
    }
}

/// A zigzag number of at most 32 bits.
fn varint(bytes: &mut &[u8]) -> Option<u32> {
    let mut value = 0u32;
    for shift in [0, 7, 14, 21, 28] {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u32::from(byte & 0x7F) << shift;
        if byte & 0x80 == 0 {
            return Some(value >> 1);
        }
    }
    None
}
