//! Tree → bytes. The grammar stands in `reader.rs`; bytes are produced here and nowhere else.

use super::metrics::Column;
use super::reader::{HEADER_BYTES, MAGIC, NODE_BYTES, SECTION_ALIGNMENT, code_width};
use super::register;
use super::tree::Tree;
use crate::IndexTooLarge;
use crate::forward::{Width, pack, pack_codes, pack_framed};
use crate::sketch::{REGISTERS, TDigest};

pub fn serialize(tree: &Tree) -> Result<Vec<u8>, IndexTooLarge> {
    let mut out = header(tree);
    for node in &tree.nodes {
        let fields = [
            node.code,
            node.start,
            node.end,
            node.total,
            node.first_child,
            node.children,
        ];
        let before = out.len();
        out.extend(fields.iter().flat_map(|field| field.to_le_bytes()));
        debug_assert_eq!(out.len(), before + NODE_BYTES);
    }
    for (dimension, codes) in tree.codes.iter().enumerate() {
        let width = code_width(tree.shape.dimensions[dimension].cardinality);
        section(&mut out, &pack_codes(codes, width));
    }
    longs(&mut out, &tree.rows);
    for metric in &tree.metrics {
        match metric {
            Column::Long(_, values) => longs(&mut out, values),
            Column::Double(_, values) => {
                section(
                    &mut out,
                    &pack(values.iter().map(|value| value.to_le_bytes())),
                );
            }
            Column::Registers(registers) => {
                let sets = (0..registers.ends.len()).map(|record| sketch(registers.of(record)));
                each_of_its_length(&mut out, sets)?;
            }
            Column::Digests(digests) => each_of_its_length(&mut out, digests.iter().map(digest))?,
        }
    }
    Ok(out)
}

fn header(tree: &Tree) -> Vec<u8> {
    let shape = &tree.shape;
    let mut out = Vec::with_capacity(HEADER_BYTES);
    out.extend_from_slice(&MAGIC);
    for number in [
        shape.dimensions.len() as u32,
        shape.metrics.len() as u32,
        tree.nodes.len() as u32,
        tree.rows.len() as u32,
        tree.base_records,
        shape.leaf_records_max,
        0,
    ] {
        out.extend_from_slice(&number.to_le_bytes());
    }
    for dimension in &shape.dimensions {
        out.extend_from_slice(&dimension.cardinality.to_le_bytes());
        out.extend_from_slice(&u32::from(dimension.has_star).to_le_bytes());
    }
    for metric in &shape.metrics {
        out.extend_from_slice(&u64::from(metric.tag()).to_le_bytes());
    }
    out
}

fn section(out: &mut Vec<u8>, bytes: &[u8]) {
    out.resize(out.len().next_multiple_of(SECTION_ALIGNMENT), 0);
    out.extend_from_slice(bytes);
}

/// In the least width, after their base.
fn longs(out: &mut Vec<u8>, values: &[i64]) {
    let base = values.iter().copied().min().unwrap_or(0);
    let greatest = values.iter().copied().max().unwrap_or(0);
    let width = Width::of_spread(greatest.wrapping_sub(base) as u64);
    let mut head = base.to_le_bytes().to_vec();
    head.extend_from_slice(&(width.map_or(8, Width::bytes) as u64).to_le_bytes());
    section(out, &head);
    match width {
        Some(width) => section(out, &pack_framed(values, base, width)),
        None => section(out, &pack(values.iter().map(|value| value.to_le_bytes()))),
    }
}

/// Where each one ends, then one after the other.
fn each_of_its_length(
    out: &mut Vec<u8>,
    all: impl ExactSizeIterator<Item = Vec<u8>>,
) -> Result<(), IndexTooLarge> {
    let mut ends = Vec::with_capacity(all.len());
    let mut bytes = Vec::new();
    for one in all {
        bytes.extend(one);
        ends.push(u32::try_from(bytes.len()).map_err(|_| IndexTooLarge {
            what: "the sketches of a star-tree",
            limit: u64::from(u32::MAX),
        })?);
    }
    section(out, &pack(ends.iter().map(|end| end.to_le_bytes())));
    section(out, &bytes);
    Ok(())
}

/// One byte for each register where most are raised, else the registers that are.
fn sketch(set: &[u32]) -> Vec<u8> {
    if set.len() * 4 < REGISTERS {
        return pack(set.iter().map(|register| register.to_le_bytes()));
    }
    let mut ranks = vec![0; REGISTERS];
    for register in set {
        ranks[register::index(*register)] = register::rank(*register);
    }
    ranks
}

fn digest(digest: &TDigest) -> Vec<u8> {
    let head = [digest.sum(), digest.count(), digest.max(), digest.min()];
    let centroids = digest.centroids().iter();
    let pairs = centroids.flat_map(|centroid| [centroid.mean, centroid.weight]);
    let numbers = head.into_iter().chain(pairs);
    numbers.flat_map(f64::to_le_bytes).collect()
}
