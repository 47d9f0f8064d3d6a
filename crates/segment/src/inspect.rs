//! What a segment file holds, for people and tools: every column with its encoding, its bytes part
//! by part and its range, and every index.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, TimestampMillisecondArray};
use arrow::util::display::array_value_to_string;
use schemas::DataType;
use schemas::table::star_tree;

use crate::column::{ColumnView, Values};
use crate::container::{BufferRef, ColumnFooter, Encoding, IndexKey, IndexKind, VERSION};
use crate::raw::Zone;
use crate::sealed::buckets;
use crate::{BLOCK_ROWS, SealedSegment, SegmentError};

#[derive(Clone, Debug)]
pub struct Inspected {
    /// The newest version that this program writes.
    pub known_version: u32,
    pub columns: Vec<InspectedColumn>,
    pub indexes: Vec<InspectedIndex>,
    /// Of rejected rows.
    pub rejected_bytes: u64,
    /// Of what is known of the partition's keys at the end.
    pub keys_bytes: u64,
}

#[derive(Clone, Debug)]
pub struct InspectedColumn {
    pub name: String,
    pub data_type: DataType,
    pub is_multi_value: bool,
    /// Such as `dictionary u8`.
    pub encoding: String,
    pub cardinality: Option<u32>,
    /// Rows are in the order of its values.
    pub is_sorted: bool,
    pub nulls: u32,
    /// Least and greatest stored value, where they are known without reading every row.
    pub range: Option<(String, String)>,
    /// Bytes of each part of the column.
    pub parts: Vec<(&'static str, u64)>,
}

impl InspectedColumn {
    pub fn bytes(&self) -> u64 {
        self.parts.iter().map(|(_, bytes)| bytes).sum()
    }
}

#[derive(Clone, Debug)]
pub struct InspectedIndex {
    pub kind: &'static str,
    pub columns: Vec<String>,
    pub bytes: u64,
}

/// Reads what it tells of, and so verifies it.
pub fn inspect(segment: &SealedSegment) -> Result<Inspected, SegmentError> {
    let columns = segment.columns().iter().map(|column| {
        let view = ColumnView::sealed(segment, column, segment.row_count())?;
        Ok(of_column(column.footer(), &view))
    });
    let indexes = segment.indexes().iter().map(|index| InspectedIndex {
        kind: index.key().kind.name(),
        columns: columns_of(index.key()),
        bytes: index.bytes(),
    });
    let bytes = |buffer: Option<BufferRef>| buffer.map_or(0, |buffer| buffer.bytes);
    Ok(Inspected {
        known_version: VERSION,
        columns: columns.collect::<Result<_, SegmentError>>()?,
        indexes: indexes.collect(),
        rejected_bytes: bytes(segment.footer().rejected),
        keys_bytes: bytes(segment.footer().keys) + bytes(segment.footer().earlier),
    })
}

/// Of times that were cut, `$ts$DAY`.
fn columns_of(key: &IndexKey) -> Vec<String> {
    let granularity = match key.kind {
        IndexKind::Timestamp => buckets::granularity(&key.parameters),
        _ => None,
    };
    let columns = key.columns.iter();
    match granularity {
        Some(granularity) => columns
            .map(|column| star_tree::bucket_name(column, granularity))
            .collect(),
        None => columns.cloned().collect(),
    }
}

fn of_column(footer: &ColumnFooter, view: &ColumnView<'_>) -> InspectedColumn {
    let cardinality = match &footer.encoding {
        Encoding::Dictionary(dictionary) | Encoding::Multi { dictionary, .. } => {
            Some(dictionary.cardinality)
        }
        _ => None,
    };
    InspectedColumn {
        name: footer.name.clone(),
        data_type: footer.data_type,
        is_multi_value: matches!(footer.encoding, Encoding::Multi { .. }),
        encoding: encoding_name(&footer.encoding),
        cardinality,
        is_sorted: footer.sorted.is_some(),
        nulls: view.nulls().map_or(0, |nulls| nulls.count()),
        range: range(view),
        parts: parts(footer),
    }
}

fn encoding_name(encoding: &Encoding) -> String {
    let bits = |width: u8| u32::from(width) * 8;
    match encoding {
        Encoding::Dictionary(dictionary) if dictionary.codes.is_none() => {
            "dictionary in order".to_owned()
        }
        Encoding::Dictionary(dictionary) => format!("dictionary u{}", bits(dictionary.width)),
        Encoding::Multi { dictionary, .. } => format!("entries u{}", bits(dictionary.width)),
        Encoding::Frame { width, .. } => format!("frame u{}", bits(*width)),
        Encoding::Bits { .. } => "bits".to_owned(),
        Encoding::Steps { .. } => "steps".to_owned(),
        Encoding::Scaled {
            decimals, width, ..
        } => format!("{decimals} decimals u{}", width * 8),
        Encoding::Plain { .. } => "plain".to_owned(),
        Encoding::Sparse { count: 0, .. } => "constant".to_owned(),
        Encoding::Sparse { values, .. } => format!("sparse {}", encoding_name(values)),
        Encoding::Blocks { .. } => "lz4 blocks".to_owned(),
        Encoding::Sequence { .. } => "sequence".to_owned(),
    }
}

fn parts(footer: &ColumnFooter) -> Vec<(&'static str, u64)> {
    let mut parts = Vec::new();
    of_encoding(&footer.encoding, &mut parts);
    let others = [
        ("nulls", footer.nulls),
        ("zones", footer.zones),
        ("zones", footer.code_zones),
        ("ranges", footer.sorted),
    ];
    let others = others.into_iter();
    parts.extend(others.filter_map(|(part, buffer)| Some((part, buffer?.bytes))));
    parts
}

fn of_encoding(encoding: &Encoding, parts: &mut Vec<(&'static str, u64)>) {
    let mut add = |part: &'static str, buffer: &BufferRef| parts.push((part, buffer.bytes));
    match encoding {
        Encoding::Dictionary(dictionary) | Encoding::Multi { dictionary, .. } => {
            if let Encoding::Multi {
                offsets, counts, ..
            } = encoding
            {
                let counted = counts.iter().flat_map(|own| [&own.before, &own.counts]);
                offsets
                    .iter()
                    .chain(counted)
                    .for_each(|own| add("entries", own));
            }
            dictionary
                .codes
                .iter()
                .for_each(|codes| add("codes", codes));
            match dictionary.prefixed {
                None => add("values", &dictionary.values),
                Some(_) => add("prefixed values", &dictionary.values),
            }
            if let Some(offsets) = &dictionary.offsets {
                add("offsets", offsets);
            }
            add("counts", &dictionary.doc_counts);
            dictionary
                .more_counts
                .iter()
                .for_each(|more| add("counts", more));
        }
        Encoding::Frame { values, .. }
        | Encoding::Bits { values, .. }
        | Encoding::Scaled { values, .. }
        | Encoding::Plain { values } => add("values", values),
        Encoding::Sparse {
            positions, values, ..
        } => {
            add("positions", positions);
            of_encoding(values, parts);
        }
        Encoding::Blocks { starts, values } | Encoding::Steps { starts, values } => {
            add("starts", starts);
            add("values", values);
        }
        Encoding::Sequence { .. } => {}
    }
}

fn range(view: &ColumnView<'_>) -> Option<(String, String)> {
    match view.values() {
        Values::Dictionary(dictionary) => ends(&dictionary.array()),
        Values::Multi(entries) => ends(&entries.array()),
        Values::Raw(_) => of_zones(view),
        Values::Bytes(_) => None,
    }
}

fn ends(values: &ArrayRef) -> Option<(String, String)> {
    let last = values.len().checked_sub(1)?;
    let shown = |at: usize| array_value_to_string(values, at).ok();
    Some((shown(0)?, shown(last)?))
}

fn of_zones(view: &ColumnView<'_>) -> Option<(String, String)> {
    let mut whole: Option<Zone> = None;
    for block in 0..view.row_count().div_ceil(BLOCK_ROWS) {
        let zone = view.zone(block)?;
        whole = Some(match whole {
            Some(before) => before.and(zone)?,
            None => zone,
        });
    }
    match (whole?, view.data_type()) {
        (Zone::I64 { min, max }, DataType::Timestamp) => {
            let ends = TimestampMillisecondArray::from(vec![min, max]);
            let ends: ArrayRef = Arc::new(ends);
            self::ends(&ends)
        }
        (Zone::I64 { min, max }, _) => Some((min.to_string(), max.to_string())),
        (Zone::F64 { min, max }, _) => Some((min.to_string(), max.to_string())),
    }
}
