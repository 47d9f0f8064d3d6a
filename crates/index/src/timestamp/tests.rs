//! Round trips of the timestamp index, its golden bytes and damaged ones.

use bytes::Bytes;
use proptest::prelude::*;

use super::{BucketReader, BucketWriter, serialize};
use crate::CorruptIndex;
use crate::forward::Width;

/// Buckets of ten, but for times above 1,000,000, which have none.
fn tens(time: i64) -> Option<(i64, i64)> {
    let start = time.div_euclid(10) * 10;
    (time <= 1_000_000).then_some((start, start + 10))
}

fn opened(times: &[i64]) -> Option<BucketReader> {
    let buffers = serialize(&BucketWriter::new(times, tens)?);
    let buffers = buffers.into_iter().map(Bytes::from).collect();
    Some(BucketReader::open(buffers).unwrap())
}

fn codes(reader: &BucketReader) -> Vec<usize> {
    let bytes = reader.codes.chunks(reader.width().bytes());
    let code = |bytes: &[u8]| {
        bytes
            .iter()
            .rev()
            .fold(0, |code, byte| code << 8 | usize::from(*byte))
    };
    bytes.map(code).collect()
}

proptest! {
    #[test]
    fn each_document_is_in_the_bucket_of_its_time(
        times in prop_oneof![
            proptest::collection::vec(-500_i64..500, 0..300),
            proptest::collection::vec(-20_000_i64..20_000, 2_000..6_000),
        ],
    ) {
        let Some(reader) = opened(&times) else {
            let buckets: std::collections::BTreeSet<i64> = times.iter().map(|t| t.div_euclid(10)).collect();
            prop_assert!(buckets.len() > 256 && buckets.len() > times.len() / 4);
            return Ok(());
        };
        prop_assert_eq!(reader.doc_count() as usize, times.len());
        let (starts, _) = reader.starts.as_chunks::<8>();
        let (counts, _) = reader.counts.as_chunks::<4>();
        let codes = codes(&reader);
        for (code, time) in codes.iter().zip(&times) {
            prop_assert_eq!(i64::from_le_bytes(starts[*code]), tens(*time).unwrap().0);
        }
        for (code, count) in counts.iter().enumerate() {
            let found = codes.iter().filter(|other| **other == code).count();
            prop_assert_eq!(u32::from_le_bytes(*count) as usize, found);
        }
    }
}

#[test]
fn what_has_no_bucket_has_no_index() {
    assert!(BucketWriter::new(&[1, 1_000_001], tens).is_none());
    let far: Vec<i64> = (0..2_000).map(|at| at * 10).collect();
    assert!(BucketWriter::new(&far, tens).is_none());
    assert_eq!(opened(&[]).unwrap().cardinality(), 0);
    let many: Vec<i64> = (0..4_000).map(|at| at % 300 * 10).collect();
    assert_eq!(opened(&many).unwrap().width(), Width::Two);
}

#[test]
fn golden_bytes() {
    let buffers = serialize(&BucketWriter::new(&[25, 3, 21, -1], tens).unwrap());
    let [starts, codes, counts] = <[Vec<u8>; 3]>::try_from(buffers).unwrap();
    assert_eq!(
        starts[..8],
        [0xf6, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]
    );
    assert_eq!(
        starts[8..],
        [0, 0, 0, 0, 0, 0, 0, 0, 20, 0, 0, 0, 0, 0, 0, 0]
    );
    assert_eq!(codes, [2, 1, 2, 0]);
    assert_eq!(counts, [1, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0]);
}

#[test]
fn damage_is_told() {
    let good = || serialize(&BucketWriter::new(&[25, 3, 21, -1], tens).unwrap());
    let open = |buffers: Vec<Vec<u8>>| {
        BucketReader::open(buffers.into_iter().map(Bytes::from).collect()).map(drop)
    };
    assert!(open(good()).is_ok());
    let damaged = |change: fn(&mut Vec<Vec<u8>>)| {
        let mut buffers = good();
        change(&mut buffers);
        open(buffers).unwrap_err()
    };
    let error = damaged(|buffers| buffers.truncate(2));
    assert!(matches!(error, CorruptIndex::Buffers { wanted: 3, got: 2 }));
    let error = damaged(|buffers| buffers[1][0] = 3);
    assert!(matches!(
        error,
        CorruptIndex::CodeOutOfRange {
            code: 3,
            cardinality: 3
        }
    ));
    let error = damaged(|buffers| buffers[0].rotate_left(8));
    assert!(matches!(error, CorruptIndex::OffsetsDecrease { .. }));
    for change in [
        (|buffers| buffers[0].truncate(23)) as fn(&mut Vec<Vec<u8>>),
        |buffers| buffers[1].push(0),
        |buffers| buffers[2][0] = 2,
        |buffers| buffers[2].truncate(8),
        |buffers| buffers[2].fill(0xff),
    ] {
        assert!(matches!(damaged(change), CorruptIndex::Length { .. }));
    }
}
