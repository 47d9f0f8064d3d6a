//! The dictionary of byte strings: sorted values, one after the other, and where each begins.
//!
//! ```text
//! DICTIONARY := OFFSETS VALUES
//! OFFSETS    := (cardinality + 1) × u32, from 0, never decreasing, the last = length of VALUES
//! VALUES     := the values in ascending order of their bytes, each once
//! ```
//!
//! A code is the position of its value, so codes ascend with values. Where it is asked for and
//! smaller, the file has both in another form ([`prefixed`]), which is unpacked when the column is
//! opened:
//!
//! ```text
//! PREFIXED := VALUE*
//! VALUE    := shared: u8 | length: 1 to 5 bytes, seven bits each, the least first | REST
//! REST     := the value behind the first `shared` bytes, which are those of the value before it
//! ```

pub mod prefixed;
mod reader;
mod writer;

pub use reader::BytesDictionary;
pub use writer::DictionaryWriter;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{BytesDictionary, DictionaryWriter};
    use crate::CorruptIndex;

    proptest! {
        #[test]
        fn finds_every_value(values in prop::collection::btree_set(".{0,20}", 0..100)) {
            let mut writer = DictionaryWriter::default();
            for value in &values {
                writer.push(value.as_bytes()).unwrap();
            }
            let (offsets, bytes) = writer.finish();
            let reader = BytesDictionary::new(&offsets, &bytes);
            reader.check_frame(values.len() as u32).unwrap();
            reader.check_utf8().unwrap();
            for (code, value) in values.iter().enumerate() {
                prop_assert_eq!(reader.get(code as u32), value.as_bytes());
                prop_assert_eq!(reader.find(value.as_bytes()), Ok(code as u32));
            }
        }
    }

    #[test]
    fn absent_values_have_a_place() {
        let dictionary = BytesDictionary::new(&[0, 1, 2], b"bd");
        assert_eq!(dictionary.find(b"a"), Err(0));
        assert_eq!(dictionary.find(b"c"), Err(1));
        assert_eq!(dictionary.find(b"e"), Err(2));
    }

    #[test]
    fn wrong_frames_are_found() {
        assert!(
            BytesDictionary::new(&[0, 2], b"abc")
                .check_frame(1)
                .is_err()
        );
        assert!(
            BytesDictionary::new(&[0, 2, 1, 3], b"abc")
                .check_frame(3)
                .is_err()
        );
        assert!(BytesDictionary::new(&[], b"").check_frame(0).is_err());
        let cut = "é".as_bytes();
        let halves = BytesDictionary::new(&[0, 1, 2], cut);
        assert!(matches!(
            halves.check_utf8(),
            Err(CorruptIndex::NotUtf8 { index: 0 })
        ));
    }
}
