//! MODE: the most frequent number.

use std::collections::HashMap;

use arrow::array::ArrayRef;
use arrow::datatypes::DataType;
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::Accumulator;

use super::own::Own;
use super::states::{doubles, doubles_of, lists, longs, longs_of, text};
use crate::arguments::wrong;
use crate::plain::{Takes, list_of};

/// Of several that are as frequent.
#[derive(Clone, Copy, Debug)]
enum Tie {
    Least,
    Greatest,
    Mean,
}

#[derive(Debug)]
struct Counts {
    tie: Tie,
    /// By the bits of the number.
    counts: HashMap<u64, i64>,
}

impl Counts {
    fn add(&mut self, value: f64, count: i64) {
        *self.counts.entry(value.to_bits()).or_default() += count;
    }
}

impl Accumulator for Counts {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        doubles_of(&values[0]).for_each(|value| self.add(value, 1));
        Ok(())
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        for (values, counts) in lists(&states[0]).zip(lists(&states[1])) {
            let counted = doubles_of(&values).zip(longs_of(&counts));
            counted.for_each(|(value, count)| self.add(value, count));
        }
        Ok(())
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let values = self.counts.keys().map(|bits| f64::from_bits(*bits));
        let counts = self.counts.values().copied();
        Ok(vec![doubles(values.collect()), longs(counts.collect())])
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let most = self.counts.values().max().copied();
        let values = self
            .counts
            .iter()
            .filter(|(_, count)| Some(**count) == most);
        let values = values.map(|(bits, _)| f64::from_bits(*bits));
        let mut values: Vec<f64> = values.collect();
        values.sort_unstable_by(f64::total_cmp);
        Ok(ScalarValue::Float64(match self.tie {
            Tie::Least => values.first().copied(),
            Tie::Greatest => values.last().copied(),
            Tie::Mean => {
                let mean = values.iter().sum::<f64>() / values.len() as f64;
                (!values.is_empty()).then_some(mean)
            }
        }))
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.counts.capacity() * 24
    }
}

pub(super) fn mode() -> Own {
    let lists = [
        ("values", list_of(DataType::Float64)),
        ("counts", list_of(DataType::Int64)),
    ];
    Own::new(
        "mode",
        &[Takes::Double, Takes::Text],
        DataType::Float64,
        &lists,
        |args| {
            let tie = text(args, 1)?.map(|tie| tie.to_uppercase());
            let tie = match tie.as_deref() {
                None | Some("MIN") => Tie::Least,
                Some("MAX") => Tie::Greatest,
                Some("AVG") => Tie::Mean,
                Some(other) => {
                    let message = format!("MODE: `{other}` is none of MIN, MAX and AVG");
                    return Err(wrong(message));
                }
            };
            let counts = HashMap::new();
            Ok(Box::new(Counts { tie, counts }))
        },
    )
    .optional(1)
    .says(
        "MODE(x [, 'MIN' | 'MAX' | 'AVG'])",
        "The most frequent number; of several the least, the greatest or their mean.",
        &[("MODE(x) FROM numbers", "2.0")],
    )
}
