//! Hashes of values as sketches want them: those of DataFusion, whatever form a value is stored in.

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{DataType, Int32Type, Int64Type, TimeUnit, TimestampMillisecondType};
use index::sketch::{hash_bytes, hash_i32, hash_i64};

/// `None`: values of this type have none.
pub(crate) fn hashes(values: &ArrayRef) -> Option<Vec<u64>> {
    Some(match values.data_type() {
        DataType::Int32 => {
            let values = values.as_primitive::<Int32Type>().values();
            values.iter().map(|value| hash_i32(*value)).collect()
        }
        DataType::Int64 => {
            let values = values.as_primitive::<Int64Type>().values();
            values.iter().map(|value| hash_i64(*value)).collect()
        }
        DataType::Timestamp(TimeUnit::Millisecond, None) => {
            let values = values.as_primitive::<TimestampMillisecondType>().values();
            values.iter().map(|value| hash_i64(*value)).collect()
        }
        DataType::Utf8View => {
            let texts = values.as_string_view();
            let texts = (0..texts.len()).map(|at| texts.value(at).as_bytes());
            texts.map(hash_bytes).collect()
        }
        DataType::BinaryView => {
            let bytes = values.as_binary_view();
            (0..bytes.len())
                .map(|at| hash_bytes(bytes.value(at)))
                .collect()
        }
        _ => return None,
    })
}
