//! Which partition of a table a value belongs to: Pinot's `segmentPartitionConfig`.
//!
//! Invariants: the same value is in the same partition for whoever asks, and in the one that
//! Pinot's function of the name gives. A segment's record tells the partitions of all values that
//! are stored there, so that a segment without the partition of a value does not hold the value.

mod hash;

pub use hash::{murmur2, murmur2_64, murmur3_128, murmur3_draft, murmur3_x64, murmur3_x86};

use serde::{Deserialize, Serialize};

use crate::types::DataType;

/// How the values of a column are spread over partitions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Partitioning {
    pub function: PartitionFunction,
    pub partitions: u32,
}

/// Over the text of a value, as UTF-8; numbers in decimal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PartitionFunction {
    /// The remainder of an integer.
    Modulo,
    /// Murmur2, as Kafka's producers partition by key.
    Murmur,
    Murmur3 {
        seed: i32,
        variant: Murmur3,
    },
    /// Java's hash of a string.
    HashCode,
    /// Java's hash of an array of bytes.
    ByteArray,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Murmur3 {
    #[serde(rename = "x86_32")]
    X86,
    #[serde(rename = "x64_32")]
    X64,
}

impl Murmur3 {
    pub const fn name(self) -> &'static str {
        match self {
            Self::X86 => "x86_32",
            Self::X64 => "x64_32",
        }
    }
}

/// The partitions of all stored values of a column, in one segment. Ascending.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ColumnPartitions {
    pub column: String,
    pub by: Partitioning,
    pub held: Vec<u32>,
}

impl PartitionFunction {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Modulo => "Modulo",
            Self::Murmur => "Murmur",
            Self::Murmur3 { .. } => "Murmur3",
            Self::HashCode => "HashCode",
            Self::ByteArray => "ByteArray",
        }
    }

    /// Whether values of the type have one text each.
    pub const fn goes_with(data_type: DataType) -> bool {
        matches!(
            data_type,
            DataType::Int | DataType::Long | DataType::Timestamp | DataType::String
        )
    }
}

impl Partitioning {
    /// Less than `partitions`. `None`: the text is none of the function's.
    pub fn of_text(&self, text: &str) -> Option<u32> {
        let bytes = text.as_bytes();
        let without_sign = |hash: i32| hash as u32 & 0x7fff_ffff;
        // As Java's abs, but for the one number that has no opposite.
        let absolute = |hash: i32| hash.checked_abs().unwrap_or(0) as u32;
        let hash = match self.function {
            PartitionFunction::Modulo => {
                return text.parse().ok().map(|number| self.modulo(number));
            }
            PartitionFunction::Murmur => without_sign(murmur2(bytes)),
            PartitionFunction::Murmur3 { seed, variant } => without_sign(match variant {
                Murmur3::X86 => murmur3_x86(bytes, seed),
                Murmur3::X64 => murmur3_x64(bytes, seed),
            }),
            PartitionFunction::HashCode => absolute(hash::java_string(text)),
            PartitionFunction::ByteArray => absolute(hash::java_bytes(bytes)),
        };
        Some(hash % self.partitions.max(1))
    }

    /// Of an INT or LONG, or of a TIMESTAMP's epoch milliseconds.
    pub fn of_number(&self, number: i64) -> Option<u32> {
        match self.function {
            PartitionFunction::Modulo => Some(self.modulo(number)),
            _ => self.of_text(&number.to_string()),
        }
    }

    fn modulo(&self, number: i64) -> u32 {
        number.rem_euclid(i64::from(self.partitions.max(1))) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(function: PartitionFunction) -> Partitioning {
        Partitioning {
            function,
            partitions: 5,
        }
    }

    #[test]
    fn modulo_is_never_negative() {
        let five = of(PartitionFunction::Modulo);
        for number in [i64::MIN, -6, -5, -1, 0, 4, 5, i64::MAX] {
            let wanted = (number % 5 + 5) % 5;
            assert_eq!(five.of_number(number), Some(wanted as u32), "{number}");
            assert_eq!(five.of_text(&number.to_string()), Some(wanted as u32));
        }
        assert_eq!(five.of_text("five"), None);
    }

    #[test]
    fn numbers_are_hashed_as_texts() {
        let java = of(PartitionFunction::HashCode);
        assert_eq!(java.of_number(-17), java.of_text("-17"));
        // `"polygenelubricants".hashCode()` is the least int, which Java's abs leaves as it is.
        assert_eq!(java.of_text("polygenelubricants"), Some(0));
        assert_eq!(java.of_text("Hello"), Some(69_609_650 % 5));
    }
}
