//! Read half of the star-tree.
//!
//! ```text
//! STAR_TREE := HEADER DIMENSION^d METRIC^m NODE^n SECTIONS
//! HEADER    := magic "STR1" | d: u32 | m: u32 | n: u32 | records: u32 | base_records: u32
//!            | leaf_records_max: u32 | zero: u32                               (32 bytes)
//! DIMENSION := cardinality: u32 | has_star: u32
//! METRIC    := kind: u64
//! NODE      := code: u32 | start: u32 | end: u32 | total: u32 | first_child: u32
//!            | children: u32                                                    (24 bytes)
//! SECTIONS  := CODES^d LONGS VALUES^m, each section at a multiple of 8
//! CODES     := records × u8 | u16 | u32, by cardinality + 1; the cardinality itself is the star
//! LONGS     := base: i64 | width: u64, then records × width bytes, value = base + stored;
//!            the first are the rows of each record
//! VALUES    := LONGS | records × f64 | records × u32 ends, then SKETCH^records or DIGEST^records
//! SKETCH    := 2^14 × u8 ranks | (index: 14 bits, rank: 6 bits)* as u32, ascending
//! DIGEST    := sum, count, max, min, then mean and weight of each centroid, as f64
//! ```
//!
//! [`StarTreeReader::open`] checks all of it but sketches and digests, which are checked when
//! they are read. Afterwards every code is at most its cardinality, every node names records and
//! children that exist, and children come after their parents, so that going down ends.

use bytes::Bytes;

use super::search::Codes;
use super::tree::Node;
use super::{Dimension, MetricKind, Shape, key, register};
use crate::CorruptIndex;
use crate::forward::Width;
use crate::sketch::{DIGEST_SIZE, HyperLogLog, REGISTERS, TDigest};

pub(super) const MAGIC: [u8; 4] = *b"STR1";
pub(super) const HEADER_BYTES: usize = 32;
pub(super) const NODE_BYTES: usize = 24;
pub(super) const SECTION_ALIGNMENT: usize = 8;
const ENTRY_BYTES: usize = 8;
/// More columns than these are of no tree that was written.
const COLUMNS_MAX: u32 = 1024;

/// Of a code, the star included.
pub(super) fn code_width(cardinality: u32) -> Width {
    Width::of_codes(cardinality.saturating_add(1))
}

#[derive(Clone, Debug)]
pub struct StarTreeReader {
    pub(super) shape: Shape,
    pub(super) nodes: Nodes,
    pub(super) codes: Vec<Codes>,
    rows: Longs,
    metrics: Vec<Metric>,
    records: u32,
    base_records: u32,
}

/// One metric of all records.
#[derive(Clone, Debug)]
pub enum Metric {
    Longs(Longs),
    Doubles(Doubles),
    Sketches(Sketches),
    Digests(Digests),
}

#[derive(Clone, Debug)]
pub struct Longs {
    base: i64,
    width: usize,
    bytes: Bytes,
}

#[derive(Clone, Debug)]
pub struct Doubles(Bytes);

#[derive(Clone, Debug)]
pub struct Sketches(EachOfItsLength);

#[derive(Clone, Debug)]
pub struct Digests(EachOfItsLength);

#[derive(Clone, Debug)]
struct EachOfItsLength {
    ends: Bytes,
    bytes: Bytes,
}

#[derive(Clone, Debug)]
pub(super) struct Nodes(Bytes);

impl Nodes {
    pub(super) fn len(&self) -> usize {
        self.0.len() / NODE_BYTES
    }

    pub(super) fn get(&self, at: u32) -> Node {
        let start = at as usize * NODE_BYTES;
        let bytes = &self.0[start..start + NODE_BYTES];
        Node {
            code: read_u32(bytes, 0),
            start: read_u32(bytes, 4),
            end: read_u32(bytes, 8),
            total: read_u32(bytes, 12),
            first_child: read_u32(bytes, 16),
            children: read_u32(bytes, 20),
        }
    }

    pub(super) fn code(&self, at: u32) -> u32 {
        read_u32(&self.0, at as usize * NODE_BYTES)
    }
}

impl Longs {
    pub fn get(&self, record: u32) -> i64 {
        let at = record as usize * self.width;
        let stored = match self.width {
            1 => u64::from(self.bytes[at]),
            2 => u64::from(u16::from_le_bytes(array(&self.bytes, at))),
            4 => u64::from(u32::from_le_bytes(array(&self.bytes, at))),
            _ => return i64::from_le_bytes(array(&self.bytes, at)),
        };
        self.base.wrapping_add(stored as i64)
    }
}

impl Doubles {
    pub fn get(&self, record: u32) -> f64 {
        f64::from_le_bytes(array(&self.0, record as usize * 8))
    }
}

impl Sketches {
    /// Joins the values that the record has seen.
    pub fn join_into(&self, record: u32, sketch: &mut HyperLogLog) -> Result<(), CorruptIndex> {
        let own = self.0.get(record);
        if let Ok(ranks) = <&[u8; REGISTERS]>::try_from(own) {
            return sketch.merge_state(ranks);
        }
        for item in own.as_chunks::<4>().0 {
            let item = u32::from_le_bytes(*item);
            let hash = register::hash(item);
            sketch.add(hash.ok_or(out_of("register", item, REGISTERS as u32))?);
        }
        Ok(())
    }
}

impl Digests {
    /// Joins the values that the record has seen.
    pub fn join_into(&self, record: u32, digest: &mut TDigest) -> Result<(), CorruptIndex> {
        let (numbers, _) = self.0.get(record).as_chunks::<8>();
        let numbers: Vec<f64> = numbers.iter().map(|n| f64::from_le_bytes(*n)).collect();
        let Some(([sum, count, max, min], centroids)) = numbers.split_first_chunk::<4>() else {
            let got = numbers.len() as u64 * 8;
            return Err(CorruptIndex::Length { wanted: 32, got });
        };
        let size = DIGEST_SIZE as u64;
        let own = TDigest::of_parts(size, (*sum, *count), (*max, *min), centroids)?;
        digest.merge(&own);
        Ok(())
    }
}

impl EachOfItsLength {
    fn get(&self, record: u32) -> &[u8] {
        let at = record as usize * 4;
        let start = at
            .checked_sub(4)
            .map_or(0, |before| read_u32(&self.ends, before));
        &self.bytes[start as usize..read_u32(&self.ends, at) as usize]
    }

    fn check(&self) -> Result<(), CorruptIndex> {
        let mut previous = 0;
        for (index, end) in (0..).zip(self.ends.as_chunks::<4>().0) {
            let end = u32::from_le_bytes(*end);
            if end < previous {
                return Err(CorruptIndex::OffsetsDecrease { index });
            }
            previous = end;
        }
        wanted(previous as usize, self.bytes.len())
    }
}

impl StarTreeReader {
    pub fn open(data: Bytes) -> Result<Self, CorruptIndex> {
        let mut sections = Sections { data, at: 0 };
        let head = sections.take(HEADER_BYTES as u64)?;
        if head[..4] != MAGIC {
            return Err(CorruptIndex::WrongMagic { expected: "STR1" });
        }
        let number = |at: usize| read_u32(&head, at * 4);
        let (dimensions, metrics) = (number(1), number(2));
        if dimensions > COLUMNS_MAX || metrics > COLUMNS_MAX {
            let found = dimensions.max(metrics);
            return Err(out_of("column", found, COLUMNS_MAX));
        }
        let dimensions = sections.take(u64::from(dimensions) * ENTRY_BYTES as u64)?;
        let kinds = sections.take(u64::from(metrics) * ENTRY_BYTES as u64)?;
        let shape = Shape {
            dimensions: dimensions
                .as_chunks::<ENTRY_BYTES>()
                .0
                .iter()
                .map(|entry| Dimension {
                    cardinality: read_u32(entry, 0),
                    has_star: read_u32(entry, 4) != 0,
                })
                .collect(),
            metrics: kinds
                .as_chunks::<ENTRY_BYTES>()
                .0
                .iter()
                .map(|entry| {
                    MetricKind::from_tag(entry[0]).ok_or(out_of("metric", entry[0].into(), 8))
                })
                .collect::<Result<_, _>>()?,
            leaf_records_max: number(6),
        };
        let records = number(4);
        let nodes = Nodes(sections.take(u64::from(number(3)) * NODE_BYTES as u64)?);
        let widths = shape.dimensions.iter().map(|d| code_width(d.cardinality));
        let codes = widths.map(|width| sections.codes(width, records));
        let codes = codes.collect::<Result<Vec<_>, _>>()?;
        let rows = sections.longs(records)?;
        let metrics = shape
            .metrics
            .iter()
            .map(|kind| sections.metric(*kind, records));
        let metrics = metrics.collect::<Result<Vec<_>, _>>()?;
        wanted(sections.at, sections.data.len())?;
        let reader = Self {
            shape,
            nodes,
            codes,
            rows,
            metrics,
            records,
            base_records: number(5),
        };
        reader.check()?;
        Ok(reader)
    }

    pub fn shape(&self) -> &Shape {
        &self.shape
    }

    pub fn records(&self) -> u32 {
        self.records
    }

    /// Different combinations among the rows.
    pub fn base_records(&self) -> u32 {
        self.base_records
    }

    pub fn total_rows(&self) -> i64 {
        self.rows(self.nodes.get(0).total)
    }

    /// Rows of a record.
    pub fn rows(&self, record: u32) -> i64 {
        self.rows.get(record)
    }

    pub fn codes(&self, dimension: usize) -> &Codes {
        &self.codes[dimension]
    }

    pub fn metric(&self, metric: usize) -> &Metric {
        &self.metrics[metric]
    }

    fn check(&self) -> Result<(), CorruptIndex> {
        for (codes, dimension) in self.codes.iter().zip(&self.shape.dimensions) {
            let greatest = codes.greatest();
            if greatest > dimension.cardinality {
                return Err(CorruptIndex::CodeOutOfRange {
                    code: greatest,
                    cardinality: dimension.cardinality,
                });
            }
        }
        let bits: u32 = self.shape.dimensions.iter().map(|d| key::bits(*d)).sum();
        if bits > u128::BITS {
            return Err(out_of("bit", bits, u128::BITS));
        }
        let count = self.nodes.len() as u32;
        if count == 0 {
            return Err(out_of("node", 0, 0));
        }
        // Breadth first, children follow each other, so that the depth of each is known.
        let (mut next, mut depth, mut last_of_depth) = (1, 0, 0);
        for at in 0..count {
            if at > last_of_depth {
                depth += 1;
                last_of_depth = next - 1;
            }
            let node = self.nodes.get(at);
            let fits = node.start <= node.end && node.end <= self.records;
            if !fits || node.total >= self.records {
                return Err(out_of("record", node.end.max(node.total), self.records));
            }
            if node.children == 0 {
                continue;
            }
            let end = node.first_child.checked_add(node.children);
            let is_next = node.first_child == next && depth < self.shape.dimensions.len();
            match end {
                Some(end) if is_next && end <= count => next = end,
                _ => return Err(out_of("node", node.first_child, count)),
            }
        }
        match next == count {
            true => Ok(()),
            false => Err(out_of("node", next, count)),
        }
    }
}

/// Takes one section after the other.
struct Sections {
    data: Bytes,
    at: usize,
}

impl Sections {
    fn take(&mut self, bytes: u64) -> Result<Bytes, CorruptIndex> {
        let start = self.at.next_multiple_of(SECTION_ALIGNMENT);
        let end = (start as u64).saturating_add(bytes);
        if end > self.data.len() as u64 {
            let got = self.data.len() as u64;
            return Err(CorruptIndex::Length { wanted: end, got });
        }
        self.at = end as usize;
        Ok(self.data.slice(start..end as usize))
    }

    fn codes(&mut self, width: Width, records: u32) -> Result<Codes, CorruptIndex> {
        let bytes = self.take(u64::from(records) * width.bytes() as u64)?;
        Ok(Codes { width, bytes })
    }

    fn longs(&mut self, records: u32) -> Result<Longs, CorruptIndex> {
        let head = self.take(16)?;
        let base = i64::from_le_bytes(array(&head, 0));
        let width = u64::from_le_bytes(array(&head, 8));
        if !matches!(width, 1 | 2 | 4 | 8) {
            return Err(out_of("width", width as u32, 8));
        }
        Ok(Longs {
            base: if width == 8 { 0 } else { base },
            width: width as usize,
            bytes: self.take(u64::from(records) * width)?,
        })
    }

    fn metric(&mut self, kind: MetricKind, records: u32) -> Result<Metric, CorruptIndex> {
        Ok(match kind {
            MetricKind::SumLong | MetricKind::MinLong | MetricKind::MaxLong => {
                Metric::Longs(self.longs(records)?)
            }
            MetricKind::SumDouble | MetricKind::MinDouble | MetricKind::MaxDouble => {
                Metric::Doubles(Doubles(self.take(u64::from(records) * 8)?))
            }
            MetricKind::Distinct => Metric::Sketches(Sketches(self.each_of_its_length(records)?)),
            MetricKind::Digest => Metric::Digests(Digests(self.each_of_its_length(records)?)),
        })
    }

    fn each_of_its_length(&mut self, records: u32) -> Result<EachOfItsLength, CorruptIndex> {
        let ends = self.take(u64::from(records) * 4)?;
        let last = ends
            .len()
            .checked_sub(4)
            .map_or(0, |at| read_u32(&ends, at));
        let bytes = self.take(u64::from(last))?;
        let all = EachOfItsLength { ends, bytes };
        all.check()?;
        Ok(all)
    }
}

fn wanted(wanted: usize, got: usize) -> Result<(), CorruptIndex> {
    match wanted == got {
        true => Ok(()),
        false => Err(CorruptIndex::Length {
            wanted: wanted as u64,
            got: got as u64,
        }),
    }
}

fn out_of(what: &'static str, number: u32, limit: u32) -> CorruptIndex {
    CorruptIndex::NumberOutOfRange {
        what,
        number,
        limit,
    }
}

pub(super) fn read_u32(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(array(bytes, at))
}

pub(super) fn array<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    bytes[at..at + N]
        .try_into()
        .expect("a slice of that length")
}
