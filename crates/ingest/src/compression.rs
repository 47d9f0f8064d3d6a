//! Payloads that producers packed themselves, beside what the log does.
//!
//! Never more than [`UNPACKED_BYTES_MAX`] come out of a payload, however small it is.

use std::io::Read;

use schemas::decoding::Compression;

const UNPACKED_BYTES_MAX: u64 = 64 << 20;
const GZIP: [u8; 2] = [0x1F, 0x8B];
const ZSTD: [u8; 4] = [0x28, 0xB5, 0x2F, 0xFD];
const LZ4: [u8; 4] = [0x04, 0x22, 0x4D, 0x18];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Packing {
    Gzip,
    Zstd,
    Lz4,
}

#[derive(Debug)]
pub(crate) struct Unpacker {
    /// All payloads.
    fixed: Option<Packing>,
    /// A payload tells: no text begins as these do.
    by_magic: bool,
    unpacked: Vec<u8>,
    bytes_max: u64,
}

impl Unpacker {
    pub(crate) fn new(compression: Compression, is_text: bool) -> Self {
        let fixed = match compression {
            Compression::Usual | Compression::None => None,
            Compression::Gzip => Some(Packing::Gzip),
            Compression::Zstd => Some(Packing::Zstd),
            Compression::Lz4 => Some(Packing::Lz4),
        };
        Self {
            fixed,
            by_magic: compression == Compression::Usual && is_text,
            unpacked: Vec::new(),
            bytes_max: UNPACKED_BYTES_MAX,
        }
    }

    pub(crate) fn unpack<'a>(&'a mut self, payload: &'a [u8]) -> Result<&'a [u8], String> {
        let packing = match self.fixed {
            Some(packing) => packing,
            None => match self.by_magic.then(|| told(payload)).flatten() {
                Some(packing) => packing,
                None => return Ok(payload),
            },
        };
        self.unpacked.clear();
        self.unpacked.shrink_to(1 << 20);
        let (to, most) = (&mut self.unpacked, self.bytes_max);
        let (name, read) = match packing {
            Packing::Gzip => (
                "gzip",
                read(flate2::read::MultiGzDecoder::new(payload), to, most),
            ),
            Packing::Lz4 => (
                "lz4",
                read(lz4_flex::frame::FrameDecoder::new(payload), to, most),
            ),
            Packing::Zstd => {
                let decoder = zstd::stream::read::Decoder::with_buffer(payload);
                ("zstd", decoder.and_then(|decoder| read(decoder, to, most)))
            }
        };
        match read {
            Ok(()) => Ok(&self.unpacked),
            Err(error) => Err(format!("the payload cannot be unpacked as {name}: {error}")),
        }
    }
}

fn told(payload: &[u8]) -> Option<Packing> {
    // JSON begins with a brace, mostly: one comparison.
    match payload.first()? {
        0x1F if payload.starts_with(&GZIP) => Some(Packing::Gzip),
        0x28 if payload.starts_with(&ZSTD) => Some(Packing::Zstd),
        0x04 if payload.starts_with(&LZ4) => Some(Packing::Lz4),
        _ => None,
    }
}

fn read(from: impl Read, to: &mut Vec<u8>, most: u64) -> std::io::Result<()> {
    let read = from.take(most + 1).read_to_end(to)?;
    if read as u64 > most {
        let what = format!("more than {} MiB come out", most >> 20);
        return Err(std::io::Error::other(what));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn packed(bytes: &[u8]) -> [Vec<u8>; 3] {
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(bytes).unwrap();
        let mut lz4 = lz4_flex::frame::FrameEncoder::new(Vec::new());
        lz4.write_all(bytes).unwrap();
        [
            gzip.finish().unwrap(),
            zstd::encode_all(bytes, 1).unwrap(),
            lz4.finish().unwrap(),
        ]
    }

    #[test]
    fn texts_are_unpacked_by_their_first_bytes() {
        let text = br#"{"a": 1}"#;
        let mut unpacker = Unpacker::new(Compression::Usual, true);
        for payload in packed(text) {
            assert_eq!(unpacker.unpack(&payload).unwrap(), text);
            let cut = &payload[..payload.len() / 2];
            assert!(unpacker.unpack(cut).unwrap_err().contains("unpacked as"));
        }
        assert_eq!(unpacker.unpack(text).unwrap(), text);
        let mut binary = Unpacker::new(Compression::Usual, false);
        for payload in packed(text) {
            assert_eq!(binary.unpack(&payload).unwrap(), payload);
        }
    }

    #[test]
    fn a_bomb_is_refused() {
        let zeros = vec![0; (1 << 20) + 1];
        let settings = [Compression::Gzip, Compression::Zstd, Compression::Lz4];
        for (payload, setting) in packed(&zeros).into_iter().zip(settings) {
            let mut unpacker = Unpacker::new(setting, false);
            unpacker.bytes_max = 1 << 20;
            let refused = unpacker.unpack(&payload).unwrap_err();
            assert!(refused.contains("more than 1 MiB"), "{refused}");
        }
    }
}
