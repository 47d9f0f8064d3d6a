//! Small messages that would become large.

use std::sync::Arc;

use arrow::array::{DictionaryArray, Int32Array, Int64Array, LargeStringArray, RunArray};
use arrow::datatypes::Int32Type;
use arrow::ipc::CompressionType;
use arrow::ipc::writer::{IpcWriteOptions, StreamWriter};
use schemas::DataType;
use schemas::decoding::{DecoderSpec, FormatSpec, TooLong};

use super::*;
use crate::testing::{decode, shown, spec};
use crate::{Decoder, NoExpressions};

fn written(name: &str, array: ArrayRef, packed: Option<CompressionType>) -> Vec<u8> {
    let batch = RecordBatch::try_from_iter([(name, array)]).unwrap();
    let options = IpcWriteOptions::default()
        .try_with_compression(packed)
        .unwrap();
    let schema = batch.schema();
    let mut writer = StreamWriter::try_new_with_options(Vec::new(), &schema, options).unwrap();
    writer.write(&batch).unwrap();
    writer.into_inner().unwrap()
}

#[test]
fn what_packed_buffers_promise_is_looked_at_first() {
    const BYTES: u64 = 4 * 1003;
    for packing in [CompressionType::LZ4_FRAME, CompressionType::ZSTD] {
        let zeros = Arc::new(Int32Array::from(vec![0; 1003]));
        let mut payload = written("a", zeros, Some(packing));
        assert_eq!(batches(&payload).unwrap()[0].num_rows(), 1003);
        assert_eq!(promised(&payload), BYTES);
        let length = BYTES.to_le_bytes();
        let at = payload.windows(8).rposition(|bytes| bytes == length);
        payload[at.unwrap()..][..8].copy_from_slice(&(1_u64 << 45).to_le_bytes());
        let refused = batches(&payload).unwrap_err();
        assert!(refused.contains("more than 64 MiB"), "{refused}");
    }
}

/// As a dictionary and as runs: 2,000 rows of 100,000 bytes from a message of 110,000.
#[test]
fn a_text_that_many_rows_share_does_not_fill_the_memory() {
    let text = "x".repeat(100_000);
    let values = Arc::new(LargeStringArray::from(vec![text.as_str()]));
    let keys = Int32Array::from(vec![0; 2_000]);
    let dictionary =
        DictionaryArray::<Int32Type>::try_new(keys, Arc::clone(&values) as ArrayRef).unwrap();
    let runs = RunArray::<Int32Type>::try_new(&Int32Array::from(vec![2_000]), &*values).unwrap();
    let mut kept = Arc::unwrap_or_clone(spec(
        &[("s", DataType::String)],
        DecoderSpec {
            format: FormatSpec::Arrow,
            ..DecoderSpec::default()
        },
    ));
    let cut = Arc::new(kept.clone());
    kept.columns[0].too_long = TooLong::Keep;
    let arrays: [ArrayRef; 2] = [Arc::new(dictionary), Arc::new(runs)];
    for array in arrays {
        let payload = written("s", array, None);
        let mut decoder = Decoder::new(&cut, &NoExpressions).unwrap();
        let decoded = decode(&mut decoder, std::slice::from_ref(&payload));
        assert_eq!(
            shown(&decoded.batches, 1).len(),
            2_000,
            "cut to 512 bytes each"
        );
        let mut decoder = Decoder::new(&Arc::new(kept.clone()), &NoExpressions).unwrap();
        let decoded = decode(&mut decoder, &[payload]);
        let rows = decoded.batches[0].num_rows();
        assert!((600..700).contains(&rows), "{rows}");
        let [rejected] = &decoded.rejected[..] else {
            panic!("{:?}", decoded.rejected)
        };
        assert!(
            rejected.reason.contains("exceed 64 MiB"),
            "{}",
            rejected.reason
        );
        assert_eq!(decoded.unnested, rows as u64);
    }
}

#[test]
fn of_many_rejected_rows_of_a_message_one_has_its_payload() {
    let longs = Arc::new(Int64Array::from(vec![i64::MAX; 10_000]));
    let payload = written("n", longs, None);
    let decoder = DecoderSpec {
        format: FormatSpec::Arrow,
        ..DecoderSpec::default()
    };
    let spec = spec(&[("n", DataType::Int)], decoder);
    let mut decoder = Decoder::new(&spec, &NoExpressions).unwrap();
    let decoded = decode(&mut decoder, &[payload]);
    assert_eq!(decoded.rejected.len(), 10_000);
    let with_payload = decoded
        .rejected
        .iter()
        .filter(|row| !row.payload.is_empty());
    assert_eq!(with_payload.count(), 1);
}
