//! Codes of whole numbers that hardly differ, kept beside the numbers as long as they are so few.
//!
//! Invariant: the first rows have codes, and no row after the first that has none. Values are
//! published before the codes of the rows that hold them, codes before the row count.

use schemas::DataType;

use super::dictionary::{DictionaryReader, DictionaryWriter, dictionary};
use crate::prefix::{Prefix, PrefixWriter, prefix};

/// Codes are bytes.
const VALUES_MAX: u32 = 256;
/// Values whose codes are found without the dictionary.
const NEAR: usize = 256;

#[derive(Debug)]
pub(crate) struct FewValues {
    pub(crate) codes: Prefix<u8>,
    pub(crate) dictionary: DictionaryReader,
}

#[derive(Debug)]
pub(crate) struct FewWriter {
    codes: PrefixWriter<u8>,
    dictionary: DictionaryWriter,
    /// Values seen last, each with its code.
    near: Box<[Option<(i64, u8)>; NEAR]>,
    scratch: Vec<u8>,
}

pub(crate) fn few(data_type: DataType) -> (FewWriter, FewValues) {
    let (code_writer, codes) = prefix();
    let (dictionary_writer, dictionary) = dictionary(data_type);
    let writer = FewWriter {
        codes: code_writer,
        dictionary: dictionary_writer,
        near: Box::new([None; NEAR]),
        scratch: Vec::new(),
    };
    (writer, FewValues { codes, dictionary })
}

impl FewWriter {
    /// `false`: there are too many values; nothing may be appended any more.
    pub(crate) fn append(&mut self, values: impl Iterator<Item = i64>) -> bool {
        self.scratch.clear();
        for value in values {
            let Some(code) = self.code(value) else {
                return false;
            };
            self.scratch.push(code);
        }
        self.codes.extend(&self.scratch);
        true
    }

    #[inline(always)]
    fn code(&mut self, value: i64) -> Option<u8> {
        let at = (value.wrapping_mul(0x9e37_79b9_7f4a_7c15_u64 as i64) as u64 >> 56) as usize;
        match self.near[at] {
            Some((known, code)) if known == value => Some(code),
            _ => {
                let code = self.dictionary.intern(&value.to_le_bytes());
                let code = (code < VALUES_MAX).then_some(code as u8)?;
                self.near[at] = Some((value, code));
                Some(code)
            }
        }
    }
}

impl FewValues {
    /// Of values with codes: the one that was too many has none.
    pub(crate) fn cardinality(&self) -> u32 {
        self.dictionary.cardinality().min(VALUES_MAX)
    }

    /// Whether the first `rows` rows have codes.
    pub(crate) fn cover(&self, rows: u32) -> bool {
        self.codes.len() >= rows as usize
    }

    pub(crate) fn bytes(&self) -> usize {
        self.codes.len() + self.dictionary.bytes()
    }
}
