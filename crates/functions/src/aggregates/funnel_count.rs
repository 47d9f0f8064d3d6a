//! FUNNELCOUNT: how many of the correlated ids took each step and all before it, in any order.
//!
//! FUNNELCOUNT(STEPS(a, b), CORRELATEBY(id), SETTINGS('set')) is planned as
//! `funnel_count(id, a, b)`; counts are exact, whatever SETTINGS says.

use std::collections::HashMap;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::compute::cast;
use arrow::datatypes::DataType;
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::Accumulator;

use super::own::Own;
use super::states::{lists, longs, longs_of, texts};
use crate::arguments::wrong;
use crate::plain::{Takes, list_of};
use crate::rows::{TEXT, texts_of};

const STEPS_MAX: usize = 63;

#[derive(Debug)]
struct Taken {
    steps: usize,
    /// By id: a bit for each step.
    of: HashMap<String, i64>,
}

impl Taken {
    fn add(&mut self, id: &str, steps: i64) {
        match self.of.get_mut(id) {
            Some(own) => *own |= steps,
            None => {
                self.of.insert(id.to_owned(), steps);
            }
        }
    }
}

impl Accumulator for Taken {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        // A literal keeps its own type of text.
        let ids = cast(&values[0], &TEXT)?;
        let ids = ids.as_string_view();
        let steps: Vec<_> = values[1..].iter().map(|step| step.as_boolean()).collect();
        for (row, id) in ids.iter().enumerate() {
            let took = |step: &&arrow::array::BooleanArray| step.is_valid(row) && step.value(row);
            let bits = steps.iter().enumerate().filter(|(_, step)| took(step));
            let bits = bits.fold(0, |bits, (at, _)| bits | 1i64 << at);
            if let Some(id) = id
                && bits != 0
            {
                self.add(id, bits);
            }
        }
        Ok(())
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        for (ids, steps) in lists(&states[0]).zip(lists(&states[1])) {
            texts_of(&ids)
                .zip(longs_of(&steps))
                .for_each(|(id, steps)| self.add(id, steps));
        }
        Ok(())
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        Ok(vec![
            texts(self.of.keys()),
            longs(self.of.values().copied().collect()),
        ])
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let mut counts = vec![0i64; self.steps];
        for steps in self.of.values() {
            let first = (!steps).trailing_zeros() as usize;
            counts[..first.min(self.steps)]
                .iter_mut()
                .for_each(|count| *count += 1);
        }
        Ok(longs(counts))
    }

    fn size(&self) -> usize {
        let ids: usize = self.of.keys().map(String::capacity).sum();
        size_of_val(self) + ids + self.of.capacity() * 40
    }
}

pub(super) fn funnel_count() -> Own {
    let states = [("ids", list_of(TEXT)), ("steps", list_of(DataType::Int64))];
    Own::new(
        "funnel_count",
        &[Takes::Text, Takes::Flag],
        list_of(DataType::Int64),
        &states,
        |args| {
            let steps = args.exprs.len() - 1;
            if steps > STEPS_MAX {
                let message = format!("FUNNELCOUNT: {steps} steps, and {STEPS_MAX} are the most");
                return Err(wrong(message));
            }
            let of = HashMap::new();
            Ok(Box::new(Taken { steps, of }))
        },
    )
    .variadic()
    .says(
        "FUNNELCOUNT(STEPS(condition, …), CORRELATEBY(id) [, SETTINGS('…')])",
        "How many ids took the first step, how many of those the second too, and so on, in any \
         order of rows. Counts are exact whatever SETTINGS says. FUNNEL_COUNT(id, condition, …) is \
         the same.",
        &[("FUNNEL_COUNT(s, x < 4, x > 1) FROM numbers", "[3, 2]")],
    )
}
