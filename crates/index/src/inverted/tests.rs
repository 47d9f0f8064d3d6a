//! Round trips of the inverted index, its golden bytes and damaged ones.

use bytes::Bytes;
use proptest::prelude::*;
use roaring::RoaringBitmap;

use super::serializer::least_bytes;
use super::{InvertedReader, Postings, serialize};

fn open(codes: &[u32], cardinality: u32) -> InvertedReader {
    let bytes = serialize(&Postings::from_codes(codes, cardinality)).unwrap();
    InvertedReader::open(Bytes::from(bytes)).unwrap()
}

proptest! {
    #[test]
    fn reads_what_was_written(codes in prop::collection::vec(0_u32..40, 0..5000)) {
        let reader = open(&codes, 40);
        prop_assert_eq!(reader.doc_count() as usize, codes.len());
        for code in 0..40 {
            let expected: Vec<u32> = (0..codes.len() as u32)
                .filter(|doc| codes[*doc as usize] == code)
                .collect();
            prop_assert_eq!(reader.docs(code).unwrap().iter().collect::<Vec<_>>(), expected);
        }
        let some = reader.docs_of_any([1, 7]).unwrap();
        prop_assert_eq!(some, reader.docs(1).unwrap() | reader.docs(7).unwrap());
    }

    #[test]
    fn no_bitmap_is_smaller_than_what_is_told(steps in prop::collection::vec(1_u32..60_000, 1..300),
                                              runs in prop::collection::vec(1_u32..900, 1..40)) {
        let mut at = 0;
        let mut docs: Vec<u32> = steps.iter().map(|step| { at += step; at }).collect();
        let mut bitmap = RoaringBitmap::from_sorted_iter(docs.iter().copied()).unwrap();
        bitmap.optimize();
        prop_assert!(least_bytes(&docs) <= bitmap.serialized_size());
        for run in runs {
            at += 1 + run * 7;
            docs.extend(at..at + run);
            at += run;
        }
        let mut bitmap = RoaringBitmap::from_sorted_iter(docs.iter().copied()).unwrap();
        bitmap.optimize();
        prop_assert!(least_bytes(&docs) <= bitmap.serialized_size());
    }

    #[test]
    fn damaged_bytes_never_panic(at in 0_usize..800, bit in 0_u8..8, cut in 0_usize..200) {
        let codes: Vec<u32> = (0..700).map(|doc| if doc % 3 == 0 { 5 } else { doc % 90 }).collect();
        let mut bytes = serialize(&Postings::from_codes(&codes, 90)).unwrap();
        let at = at % bytes.len();
        bytes[at] ^= 1 << bit;
        bytes.truncate(bytes.len() - cut.min(bytes.len()));
        if let Ok(reader) = InvertedReader::open(Bytes::from(bytes)) {
            for code in 0..reader.cardinality() {
                let _ = reader.docs(code);
            }
            let _ = reader.docs_of_any(0..reader.cardinality());
        }
    }
}

/// Few documents are listed; many, or runs of them, are in a bitmap.
#[test]
fn each_value_has_the_smaller_form() {
    let codes: Vec<u32> = (0..200_000)
        .map(|doc| match doc {
            _ if doc % 10_000 == 7 => 1,
            1000..1200 => 2,
            _ if doc % 10_000 == 3 => 3 + doc / 10_000,
            _ => 0,
        })
        .collect();
    let postings = Postings::from_codes(&codes, 30);
    let bytes = serialize(&postings).unwrap();
    let sizes = &bytes[16 + 2 * 4..][..30];
    assert_eq!(sizes[..5], [255, 20, 255, 1, 1]);
    let reader = InvertedReader::open(Bytes::from(bytes)).unwrap();
    for code in 0..30 {
        let found: Vec<u32> = reader.docs(code).unwrap().iter().collect();
        assert_eq!(found, postings.docs(code));
    }
    let all = reader.docs_of_any(0..30).unwrap();
    assert_eq!(all.len(), 200_000);
}

/// The bytes of what is written today. When this fails, files on disk can no longer be read: raise
/// the magic and keep reading those before.
#[test]
fn golden_bytes() {
    let codes: Vec<u32> = (0..26).map(|doc| u32::from(doc != 1)).collect();
    let bytes = serialize(&Postings::from_codes(&codes, 2)).unwrap();
    let expected: Vec<u8> = [
        b"INV2".as_slice(),
        &[2, 0, 0, 0, 26, 0, 0, 0, 1, 0, 0, 0],
        &[0, 0, 0, 0, 1, 0, 0, 0],
        &[1, 255],
        &[1, 0, 0, 0, 0, 0, 0, 0],
        &[1],
        &[59, 48, 0, 0, 1, 0, 0, 24, 0, 2, 0, 0, 0, 0, 0, 2, 0, 23, 0],
    ]
    .concat();
    assert_eq!(bytes, expected);
}

/// What was written before version 4 of segments is read for ever.
#[test]
fn bitmaps_of_every_code_are_read() {
    let bytes: Vec<u8> = [
        b"INV1".as_slice(),
        &[2, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0],
        &[0, 0, 0, 0, 18, 0, 0, 0, 38, 0, 0, 0],
        &[58, 48, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 16, 0, 0, 0, 1, 0],
        &[
            58, 48, 0, 0, 1, 0, 0, 0, 0, 0, 1, 0, 16, 0, 0, 0, 0, 0, 2, 0,
        ],
    ]
    .concat();
    let reader = InvertedReader::open(Bytes::from(bytes.clone())).unwrap();
    assert_eq!(reader.docs(1).unwrap().iter().collect::<Vec<_>>(), [0, 2]);
    assert_eq!(reader.docs_of_any([0, 1]).unwrap().len(), 3);
    for at in 4..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[at] ^= 0x41;
        if let Ok(reader) = InvertedReader::open(Bytes::from(damaged)) {
            for code in 0..reader.cardinality().min(9) {
                let _ = reader.docs(code);
            }
        }
    }
}
