//! HISTOGRAM: how many values lie between each two edges.

use arrow::array::{ArrayRef, AsArray};
use arrow::datatypes::{DataType, Float64Type};
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::Accumulator;
use datafusion::logical_expr::function::AccumulatorArgs;

use super::own::Own;
use super::states::{doubles, doubles_of, lists, literal, long, number};
use crate::arguments::wrong;
use crate::plain::{Takes, list_of};

const BINS_MAX: i64 = 100_000;

/// The last bin holds its upper edge too.
#[derive(Debug)]
struct Bins {
    edges: Vec<f64>,
    counts: Vec<f64>,
}

impl Bins {
    fn of(args: &AccumulatorArgs<'_>) -> Result<Self> {
        let edges = match args.exprs.len() {
            2 => edges(args)?,
            4 => {
                let (low, high, count) = (number(args, 1)?, number(args, 2)?, long(args, 3)?);
                if !(1..=BINS_MAX).contains(&count) {
                    let message = format!("HISTOGRAM: there are 1 to {BINS_MAX} bins, not {count}");
                    return Err(wrong(message));
                }
                let width = (high - low) / count as f64;
                let inner = (0..count).map(|at| low + width * at as f64);
                inner.chain([high]).collect()
            }
            _ => return Err(called()),
        };
        if edges.len() < 2 || !edges.is_sorted_by(|a, b| a < b) {
            return Err(wrong("HISTOGRAM: edges ascend, and there are at least two"));
        }
        Ok(Self {
            counts: vec![0.0; edges.len() - 1],
            edges,
        })
    }
}

fn called() -> datafusion::common::DataFusionError {
    wrong("HISTOGRAM is called as HISTOGRAM(x, low, high, bins) or HISTOGRAM(x, ARRAY[edge, …])")
}

fn edges(args: &AccumulatorArgs<'_>) -> Result<Vec<f64>> {
    let list = literal(args, 1)?.map(|value| value.cast_to(&list_of(DataType::Float64)));
    match list.transpose()? {
        Some(ScalarValue::List(list)) => Ok(doubles_of(list.values()).collect()),
        _ => Err(called()),
    }
}

impl Accumulator for Bins {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let last = self.edges[self.edges.len() - 1];
        for value in doubles_of(&values[0]) {
            let after = self.edges.partition_point(|edge| *edge <= value);
            let bin = match value == last {
                true => Some(self.counts.len() - 1),
                false => after.checked_sub(1),
            };
            if let Some(count) = bin.and_then(|bin| self.counts.get_mut(bin)) {
                *count += 1.0;
            }
        }
        Ok(())
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        for counts in lists(&states[0]) {
            let counts = counts.as_primitive::<Float64Type>().values();
            for (own, more) in self.counts.iter_mut().zip(counts.iter()) {
                *own += more;
            }
        }
        Ok(())
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        Ok(vec![doubles(self.counts.clone())])
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        Ok(doubles(self.counts.clone()))
    }

    fn size(&self) -> usize {
        size_of_val(self) + (self.edges.capacity() + self.counts.capacity()) * 8
    }
}

pub(super) fn histogram() -> Own {
    let counts = list_of(DataType::Float64);
    let takes = [Takes::Double, Takes::Any, Takes::Any, Takes::Any];
    Own::new(
        "histogram",
        &takes,
        counts.clone(),
        &[("counts", counts)],
        |args| Ok(Box::new(Bins::of(args)?)),
    )
    .optional(2)
    .says(
        "HISTOGRAM(x, low, high, bins) or HISTOGRAM(x, ARRAY[edge, …])",
        "How many values lie in each bin, lower edge included, upper edge only of the last. Values \
         beyond the edges are not counted.",
        &[
            (
                "HISTOGRAM(x, 0, 10, 5) FROM numbers",
                "[1.0, 3.0, 0.0, 0.0, 1.0]",
            ),
            ("HISTOGRAM(x, ARRAY[0, 2, 10]) FROM numbers", "[1.0, 4.0]"),
        ],
    )
}
