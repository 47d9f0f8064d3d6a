//! The tables that statements are over: keys that partly match, few values, many nulls.
//!
//! Their columns have the same names. Defaults of missing values are small, so that sums and
//! products fit.

use super::super::table::{Column, Type};
use super::super::values::Values;

#[derive(Debug)]
pub(super) struct Drawn {
    pub(super) name: &'static str,
    /// At most so many.
    pub(super) rows: usize,
    /// The least and the greatest of the keys `k`.
    keys: (i64, i64),
}

pub(super) const TABLES: [Drawn; 4] = [
    Drawn {
        name: "a",
        rows: 160,
        keys: (0, 24),
    },
    Drawn {
        name: "b",
        rows: 60,
        keys: (8, 30),
    },
    Drawn {
        name: "c",
        rows: 24,
        keys: (-3, 12),
    },
    Drawn {
        name: "d",
        rows: 9,
        keys: (0, 40),
    },
];

pub(super) const WORDS: &[&str] = &[
    "", "a", "A", "äb", "日本", "it's", "b%_", "null", "ba", "aa",
];
const TAGS: u64 = 5;

impl Drawn {
    pub(super) fn columns(&self) -> Vec<Column> {
        let column = |name, data_type, values, null_share| {
            let is_metric = matches!(name, "x" | "v");
            Column::of(name, data_type, values, null_share, is_metric)
        };
        let (low, high) = self.keys;
        vec![
            column("id", Type::Long, Values::RowNumber, 0.0),
            column("ts", Type::Timestamp, Values::Hours(190), 0.0),
            column("k", Type::Long, Values::Between(low, high), 0.15),
            column("j", Type::Long, Values::Between(0, 5), 0.0),
            column("s", Type::String, Values::Words(WORDS), 0.1),
            column("x", Type::Int, Values::Between(-9, 9), 0.2),
            column("v", Type::Double, Values::Eighths(100), 0.1),
            column("f", Type::Boolean, Values::Flag, 0.2),
            column("seen", Type::Timestamp, Values::Hours(40), 0.3),
            column("tags", Type::Strings, Values::Tags(TAGS), 0.1),
        ]
    }
}

pub(super) fn tag(number: i64) -> String {
    format!("'tag{}'", number.rem_euclid(TAGS as i64 + 1))
}
