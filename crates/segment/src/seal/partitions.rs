//! The partitions of a column's values for the segment's record, by which brokers prune.
//!
//! Invariant: they are of every stored value, the defaults of nulls among them. A column of which
//! one value has no partition has no entry, and is never pruned by.

use std::collections::BTreeSet;

use schemas::TableSpec;
use schemas::partition::{ColumnPartitions, Partitioning};

use super::rows::Rows;
use crate::mutable::dictionary::DictionaryReader;
use crate::mutable::{Column, Values};

/// Records stay small: of a column with values in more of them nothing is told.
const HELD_MAX: usize = 1024;

pub(super) fn of_column(
    spec: &TableSpec,
    column: &Column,
    rows: &Rows,
) -> Option<ColumnPartitions> {
    let by = spec.column(&column.name)?.partitioning?;
    let held = match &column.values {
        Values::Dictionary { codes, dictionary } => of_texts(by, &rows.collect(codes), dictionary)?,
        Values::I32(values) => of_numbers(by, rows.collect(values).into_iter().map(i64::from))?,
        Values::I64(values) => of_numbers(by, rows.collect(values).into_iter())?,
        _ => return None,
    };
    Some(ColumnPartitions {
        column: column.name.clone(),
        by,
        held: held.into_iter().collect(),
    })
}

fn of_numbers(by: Partitioning, numbers: impl Iterator<Item = i64>) -> Option<BTreeSet<u32>> {
    let mut held = BTreeSet::new();
    let mut last = None;
    for number in numbers {
        if last == Some(number) {
            continue;
        }
        last = Some(number);
        held.insert(by.of_number(number)?);
        // All numbers have a partition, so the others tell nothing new.
        if held.len() == by.partitions as usize {
            break;
        }
        if held.len() > HELD_MAX {
            return None;
        }
    }
    Some(held)
}

fn of_texts(
    by: Partitioning,
    codes: &[u32],
    dictionary: &DictionaryReader,
) -> Option<BTreeSet<u32>> {
    let mut held = BTreeSet::new();
    let mut seen = vec![false; dictionary.cardinality() as usize];
    for code in codes {
        if !std::mem::replace(&mut seen[*code as usize], true) {
            held.insert(by.of_text(dictionary.text(*code))?);
        }
        if held.len() > HELD_MAX {
            return None;
        }
    }
    Some(held)
}
