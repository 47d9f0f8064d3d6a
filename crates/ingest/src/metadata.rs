//! Columns that are filled from the message around the record, named as in Pinot.

use schemas::TableSpec;

use crate::coerce::Cell;
use crate::field::Field;
use crate::message::RawMessage;

const HEADER: &str = "__header$";
const METADATA: &str = "__metadata$";

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Metadata {
    Key,
    Header(Vec<u8>),
    Offset,
    Partition,
    Timestamp,
    PayloadBytes,
}

impl Metadata {
    /// `None`: a field of the record has the name.
    fn named(name: &str) -> Option<Self> {
        if name == "__key" {
            return Some(Self::Key);
        }
        if let Some(header) = name.strip_prefix(HEADER) {
            return Some(Self::Header(header.as_bytes().to_vec()));
        }
        match name.strip_prefix(METADATA)? {
            "offset" => Some(Self::Offset),
            "partition" => Some(Self::Partition),
            "recordTimestamp" | "rowtime" => Some(Self::Timestamp),
            "recordSerializedValueSize" => Some(Self::PayloadBytes),
            _ => None,
        }
    }

    pub(crate) fn value(&self, message: &RawMessage<'_>, field: Field<'_>) -> Result<Cell, String> {
        match self {
            Self::Key => message.key.map_or(Ok(Cell::Null), |key| field.bytes(key)),
            Self::Header(name) => {
                // The last of several.
                let mut headers = message.headers.iter().rev();
                let found = headers.find(|(key, _)| key == name);
                let value = found.and_then(|(_, value)| value.as_deref());
                value.map_or(Ok(Cell::Null), |value| field.bytes(value))
            }
            Self::Offset => field.integer(message.offset),
            Self::Partition => field.integer(i64::from(message.partition)),
            Self::Timestamp if message.timestamp_ms < 0 => Ok(Cell::Null),
            Self::Timestamp => field.instant(Some(message.timestamp_ms), message.timestamp_ms),
            Self::PayloadBytes => field.unsigned(message.payload.map_or(0, <[u8]>::len) as u64),
        }
    }
}

/// Columns of the table that are filled so, and where they are.
pub(crate) fn metadata_columns(spec: &TableSpec) -> Vec<(usize, Metadata)> {
    let columns = spec.columns.iter().enumerate();
    let named = columns.filter(|(_, column)| !column.multi_value);
    let named = named.filter_map(|(at, column)| Some((at, Metadata::named(&column.name)?)));
    named.collect()
}

/// Whether the table reads headers, which the log's client hands out for a price.
pub fn wants_headers(spec: &TableSpec) -> bool {
    spec.columns
        .iter()
        .any(|column| column.name.starts_with(HEADER))
}
