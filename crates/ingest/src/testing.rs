//! What tests of decoders share.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::util::display::array_value_to_string;
use schemas::decoding::DecoderSpec;
use schemas::table::StreamSpec;
use schemas::{ColumnSpec, DataType, FieldRole, TableSpec, TableType};

use crate::{Decoded, Decoder, RawMessage};

/// A name that ends with `[]` is that of a column of several values.
pub(crate) fn spec(columns: &[(&str, DataType)], decoder: DecoderSpec) -> Arc<TableSpec> {
    let column = |(name, data_type): &(&str, DataType)| {
        let several = name.ends_with("[]");
        let name = name.trim_end_matches("[]");
        let mut column = ColumnSpec::new(name, *data_type, FieldRole::Dimension);
        column.multi_value = several;
        column
    };
    let columns = columns.iter().map(column).collect();
    Arc::new(TableSpec {
        streams: vec![StreamSpec {
            decoder,
            ..StreamSpec::kafka("", "")
        }],
        ..TableSpec::new("t".parse().unwrap(), TableType::Realtime, columns)
    })
}

/// With offsets from 0 on, and nothing but a payload.
pub(crate) fn messages<P: AsRef<[u8]>>(
    payloads: &[P],
) -> impl Iterator<Item = RawMessage<'_>> + Clone {
    let numbered = payloads.iter().zip(0..);
    numbered.map(|(payload, offset)| RawMessage {
        offset,
        payload: Some(payload.as_ref()),
        ..RawMessage::default()
    })
}

pub(crate) fn decode(decoder: &mut Decoder, payloads: &[Vec<u8>]) -> Decoded {
    decoder.decode(messages(payloads), 0)
}

/// Values of the table's columns, `-` for null.
pub(crate) fn shown(batches: &[RecordBatch], columns: usize) -> Vec<Vec<String>> {
    let mut rows = Vec::new();
    for batch in batches {
        for row in 0..batch.num_rows() {
            let of = |column: usize| {
                let array = batch.column(column);
                match array.is_null(row) {
                    true => "-".to_owned(),
                    false => array_value_to_string(array, row).unwrap(),
                }
            };
            rows.push((0..columns).map(of).collect());
        }
    }
    rows
}
