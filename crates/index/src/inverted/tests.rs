//! Round trips of the inverted index, its golden bytes and damaged ones.

use bytes::Bytes;
use proptest::prelude::*;

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
    fn damaged_bytes_never_panic(at in 0_usize..200, bit in 0_u8..8, cut in 0_usize..200) {
        let codes: Vec<u32> = (0..300).map(|doc| doc % 5).collect();
        let mut bytes = serialize(&Postings::from_codes(&codes, 5)).unwrap();
        let at = at % bytes.len();
        bytes[at] ^= 1 << bit;
        bytes.truncate(bytes.len() - cut.min(bytes.len()));
        if let Ok(reader) = InvertedReader::open(Bytes::from(bytes)) {
            for code in 0..reader.cardinality() {
                let _ = reader.docs(code);
            }
        }
    }
}

/// Version 1 of the bytes. When this fails, files on disk can no longer be read: raise the magic
/// to `INV2` and keep reading `INV1`.
#[test]
fn golden_bytes() {
    let bytes = serialize(&Postings::from_codes(&[1, 0, 1], 2)).unwrap();
    let expected: Vec<u8> = [
        b"INV1".as_slice(),
        &[2, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0],
        &[0, 0, 0, 0, 18, 0, 0, 0, 38, 0, 0, 0],
        &[58, 48, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 16, 0, 0, 0, 1, 0],
        &[
            58, 48, 0, 0, 1, 0, 0, 0, 0, 0, 1, 0, 16, 0, 0, 0, 0, 0, 2, 0,
        ],
    ]
    .concat();
    assert_eq!(bytes, expected);
}
