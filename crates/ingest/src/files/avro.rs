//! Avro's container files: blocks of records with the schema that they were written with.
//!
//! ```text
//! FILE  := "Obj" 1 | map of metadata: avro.schema, avro.codec | sync: 16 bytes | BLOCK*
//! BLOCK := records: long | bytes: long | records, packed by the codec | sync
//! ```
//!
//! Memory grows with what a block unpacks to, at most [`BLOCK_BYTES_MAX`], whatever it claims.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

use flate2::read::DeflateDecoder;

use super::{FileError, opened, read_failed};
use crate::avro::Splitter;
use crate::files::texts::Payloads;

const MAGIC: [u8; 4] = *b"Obj\x01";
const SYNC_BYTES: usize = 16;
const BLOCK_BYTES_MAX: u64 = 1 << 30;
const METADATA_BYTES_MAX: i64 = 64 << 20;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Codec {
    None,
    Deflate,
    Snappy,
    Zstd,
}

struct Container {
    file: BufReader<File>,
    path: String,
    codec: Codec,
    schema: String,
    sync: [u8; SYNC_BYTES],
}

/// The schema that the records were written with.
pub(super) fn schema(path: &Path) -> Result<String, FileError> {
    Ok(Container::open(path)?.schema)
}

/// The bytes of each record.
pub(super) fn records(path: &Path) -> Result<Payloads, FileError> {
    let mut container = Container::open(path)?;
    let splitter = Splitter::new(&container.schema).map_err(|reason| container.wrong(reason))?;
    let mut block = Vec::new().into_iter();
    let mut is_over = false;
    Ok(Box::new(std::iter::from_fn(move || {
        while !is_over {
            if let Some(record) = block.next() {
                return Some(Ok(record));
            }
            match container.block(&splitter) {
                Ok(Some(records)) => block = records.into_iter(),
                Ok(None) => is_over = true,
                Err(error) => {
                    is_over = true;
                    return Some(Err(error));
                }
            }
        }
        None
    })))
}

/// Records as JSON objects, to see what is in them.
pub(super) fn as_json(path: &Path, records: &[Vec<u8>]) -> Result<Vec<Vec<u8>>, FileError> {
    let container = Container::open(path)?;
    let wrong = |reason| container.wrong(reason);
    let splitter = Splitter::new(&container.schema).map_err(wrong)?;
    records
        .iter()
        .map(|record| splitter.json(record).map_err(wrong))
        .collect()
}

impl Container {
    fn open(path: &Path) -> Result<Self, FileError> {
        let mut container = Self {
            file: BufReader::new(opened(path)?),
            path: path.display().to_string(),
            codec: Codec::None,
            schema: String::new(),
            sync: [0; SYNC_BYTES],
        };
        if container.array::<4>()? != MAGIC {
            return Err(container.wrong("it does not begin as one"));
        }
        container.metadata()?;
        container.sync = container.array()?;
        Ok(container)
    }

    fn metadata(&mut self) -> Result<(), FileError> {
        loop {
            let mut entries = self.long()?;
            if entries == 0 {
                break;
            }
            if entries < 0 {
                entries = entries.saturating_neg();
                self.long()?;
            }
            for _ in 0..entries {
                let (key, value) = (self.bytes()?, self.bytes()?);
                let value = String::from_utf8_lossy(&value).into_owned();
                match key.as_slice() {
                    b"avro.schema" => self.schema = value,
                    b"avro.codec" => self.codec = self.codec_of(&value)?,
                    _ => {}
                }
            }
        }
        match self.schema.is_empty() {
            true => Err(self.wrong("it has no schema")),
            false => Ok(()),
        }
    }

    fn codec_of(&self, name: &str) -> Result<Codec, FileError> {
        Ok(match name {
            "null" | "" => Codec::None,
            "deflate" => Codec::Deflate,
            "snappy" => Codec::Snappy,
            "zstandard" => Codec::Zstd,
            other => {
                let known = "null, deflate, snappy and zstandard";
                return Err(self.wrong(format!("its codec is `{other}`; known are {known}")));
            }
        })
    }

    /// The records of the next block.
    fn block(&mut self, splitter: &Splitter) -> Result<Option<Vec<Vec<u8>>>, FileError> {
        let mut first = [0];
        let read = self.file.read(&mut first);
        if read.map_err(|source| read_failed(&self.path, source))? == 0 {
            return Ok(None);
        }
        let count = self.long_from(first[0])?;
        let bytes = self.long()?;
        let packed = self.exactly(bytes)?;
        if self.array::<SYNC_BYTES>()? != self.sync {
            return Err(self.wrong("a block does not end where it should"));
        }
        let records = self.unpack(packed)?;
        let count = usize::try_from(count).map_err(|_| self.wrong("a block has no count"))?;
        let records = splitter.split(&records, count);
        records.map(Some).map_err(|reason| self.wrong(reason))
    }

    fn unpack(&self, packed: Vec<u8>) -> Result<Vec<u8>, FileError> {
        let mut records = Vec::new();
        let most = BLOCK_BYTES_MAX + 1;
        let read = match self.codec {
            Codec::None => return Ok(packed),
            Codec::Deflate => {
                let block = DeflateDecoder::new(packed.as_slice());
                block.take(most).read_to_end(&mut records)
            }
            Codec::Zstd => zstd::Decoder::new(packed.as_slice())
                .and_then(|block| block.take(most).read_to_end(&mut records)),
            Codec::Snappy => return self.unpack_snappy(&packed),
        };
        read.map_err(|error| self.wrong(format!("a block cannot be unpacked: {error}")))?;
        match records.len() as u64 > BLOCK_BYTES_MAX {
            true => Err(self.wrong("a block has more than 1 GiB")),
            false => Ok(records),
        }
    }

    /// Behind the block stands the checksum of what comes out.
    fn unpack_snappy(&self, packed: &[u8]) -> Result<Vec<u8>, FileError> {
        let (block, checksum) = packed
            .split_last_chunk::<4>()
            .ok_or_else(|| self.wrong("a block is cut"))?;
        let told = |error: snap::Error| self.wrong(format!("a block cannot be unpacked: {error}"));
        let bytes = snap::raw::decompress_len(block).map_err(told)?;
        if bytes as u64 > BLOCK_BYTES_MAX {
            return Err(self.wrong("a block has more than 1 GiB"));
        }
        let records = snap::raw::Decoder::new()
            .decompress_vec(block)
            .map_err(told)?;
        match crc32fast::hash(&records) == u32::from_be_bytes(*checksum) {
            true => Ok(records),
            false => Err(self.wrong("the checksum of a block differs")),
        }
    }

    fn wrong(&self, reason: impl Into<String>) -> FileError {
        FileError::Avro {
            path: self.path.clone(),
            reason: reason.into(),
        }
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], FileError> {
        let mut bytes = [0; N];
        let read = self.file.read_exact(&mut bytes);
        read.map_err(|source| read_failed(&self.path, source))?;
        Ok(bytes)
    }

    fn exactly(&mut self, bytes: i64) -> Result<Vec<u8>, FileError> {
        let wanted = u64::try_from(bytes)
            .ok()
            .filter(|bytes| *bytes <= BLOCK_BYTES_MAX);
        let wanted = wanted.ok_or_else(|| self.wrong(format!("{bytes} is no length")))?;
        let mut read = Vec::new();
        let taken = self.file.by_ref().take(wanted).read_to_end(&mut read);
        taken.map_err(|source| read_failed(&self.path, source))?;
        match read.len() as u64 == wanted {
            true => Ok(read),
            false => Err(self.wrong("it is cut")),
        }
    }

    fn bytes(&mut self) -> Result<Vec<u8>, FileError> {
        let bytes = self.long()?;
        if bytes > METADATA_BYTES_MAX {
            return Err(self.wrong("its metadata is longer than 64 MiB"));
        }
        self.exactly(bytes)
    }

    fn long(&mut self) -> Result<i64, FileError> {
        let [first] = self.array()?;
        self.long_from(first)
    }

    /// Seven bits a byte, the lowest first, zigzag.
    fn long_from(&mut self, first: u8) -> Result<i64, FileError> {
        let mut value = u64::from(first & 0x7F);
        let (mut byte, mut shift) = (first, 7);
        while byte & 0x80 != 0 {
            if shift > 63 {
                return Err(self.wrong("a number has more than 64 bits"));
            }
            [byte] = self.array()?;
            value |= u64::from(byte & 0x7F) << shift;
            shift += 7;
        }
        Ok((value >> 1) as i64 ^ -((value & 1) as i64))
    }
}
