//! FUNNELMAXSTEP, FUNNELCOMPLETECOUNT, FUNNELMATCHSTEP: how far events go through steps within a
//! time, in the order of their times.

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::DataType;
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::Accumulator;
use datafusion::logical_expr::function::AccumulatorArgs;

use super::own::Own;
use super::states::{as_longs, list, lists, long, longs, longs_of, text};
use crate::arguments::wrong;
use crate::docs::Example;
use crate::plain::{Takes, list_of};

/// What events must be beside in order.
#[derive(Clone, Copy, Debug, Default)]
struct Modes {
    /// A step that comes again ends the way.
    deduplication: bool,
    /// Any other step in between ends it.
    order: bool,
    /// Times differ.
    increase: bool,
}

#[derive(Debug)]
struct Events {
    window: i64,
    steps: usize,
    modes: Modes,
    /// Times and the steps that they are, from 0 on.
    events: Vec<(i64, i64)>,
    value: fn(&[usize], usize) -> ScalarValue,
}

impl Events {
    fn of(args: &AccumulatorArgs<'_>, value: fn(&[usize], usize) -> ScalarValue) -> Result<Self> {
        let (window, steps) = (long(args, 1)?, long(args, 2)?);
        let behind = args.exprs.len() - 3;
        let steps = usize::try_from(steps).unwrap_or(0);
        if window <= 0 || !(1..=behind).contains(&steps) {
            return Err(wrong(format!(
                "{}: the window is above 0, and there are as many conditions as steps",
                args.name
            )));
        }
        let mut modes = Modes::default();
        for at in 3 + steps..args.exprs.len() {
            let mode = text(args, at)?.unwrap_or_default().to_lowercase();
            match mode.as_str() {
                "strict_deduplication" => modes.deduplication = true,
                "strict_order" => modes.order = true,
                "strict_increase" => modes.increase = true,
                "keep_all" => {}
                _ => {
                    return Err(wrong(format!(
                        "{}: `{mode}` is no mode: STRICT_DEDUPLICATION, STRICT_ORDER, \
                         STRICT_INCREASE or KEEP_ALL",
                        args.name
                    )));
                }
            }
        }
        Ok(Self {
            window,
            steps,
            modes,
            events: Vec::new(),
            value,
        })
    }

    /// How many steps the events of one window go.
    fn way(&self, events: &[(i64, i64)]) -> usize {
        let mut reached = 0;
        let mut last = None;
        for (time, step) in events {
            let step = *step as usize;
            if self.modes.deduplication && reached > 0 && step == reached - 1 {
                break;
            }
            if self.modes.order && step != reached {
                break;
            }
            if self.modes.increase && last == Some(*time) {
                continue;
            }
            if step == reached {
                reached += 1;
                last = Some(*time);
            }
            if reached == self.steps {
                break;
            }
        }
        reached
    }

    /// Of each window that begins with the first step.
    fn ways(&mut self) -> Vec<usize> {
        self.events.sort_unstable();
        let begins = self
            .events
            .iter()
            .enumerate()
            .filter(|(_, (_, step))| *step == 0);
        begins
            .map(|(at, (time, _))| {
                let within = &self.events[at..];
                let end = time.saturating_add(self.window);
                let count = within.partition_point(|(time, _)| *time <= end);
                self.way(&within[..count])
            })
            .collect()
    }
}

impl Accumulator for Events {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let times = as_longs(&values[0])?;
        let steps = values[3..3 + self.steps].iter();
        let steps = steps.map(|step| arrow::compute::cast(step, &DataType::Boolean));
        let steps = steps.collect::<Result<Vec<_>, _>>()?;
        for (row, time) in times.iter().enumerate() {
            let took = |step: &ArrayRef| {
                let step = step.as_boolean();
                step.is_valid(row) && step.value(row)
            };
            if let Some(time) = time
                && let Some(step) = steps.iter().position(took)
            {
                self.events.push((time, step as i64));
            }
        }
        Ok(())
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        for (times, steps) in lists(&states[0]).zip(lists(&states[1])) {
            self.events.extend(longs_of(&times).zip(longs_of(&steps)));
        }
        Ok(())
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let (times, steps) = self.events.iter().copied().unzip();
        Ok(vec![longs(times), longs(steps)])
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let (ways, steps) = (self.ways(), self.steps);
        Ok((self.value)(&ways, steps))
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.events.capacity() * 16
    }
}

fn of(
    name: &str,
    gives: DataType,
    value: fn(&[usize], usize) -> ScalarValue,
    about: &str,
    example: Example,
) -> Own {
    let longs = list_of(DataType::Int64);
    let shown = name.to_uppercase().replace('_', "");
    let takes = [Takes::Time, Takes::Long, Takes::Long, Takes::Any];
    Own::new(
        name,
        &takes,
        gives,
        &[("times", longs.clone()), ("steps", longs)],
        move |args| Ok(Box::new(Events::of(args, value)?)),
    )
    .variadic()
    .says(
        &format!("{shown}(time, window, steps, condition, … [, 'mode' …])"),
        about,
        &[example],
    )
}

fn greatest(ways: &[usize], _: usize) -> ScalarValue {
    ScalarValue::from(ways.iter().copied().max().unwrap_or(0) as i32)
}

pub(super) fn all() -> Vec<Own> {
    vec![
        of(
            "funnel_max_step",
            DataType::Int32,
            greatest,
            "How many steps are taken, one after the other, within a time from the first on. Modes \
             are STRICT_DEDUPLICATION, STRICT_ORDER, STRICT_INCREASE and KEEP_ALL.",
            (
                "FUNNELMAXSTEP(x, 5, 3, s = 'a', s = 'b', s = 'd') FROM numbers",
                "2",
            ),
        ),
        of(
            "funnel_complete_count",
            DataType::Int64,
            |ways, steps| {
                let complete = ways.iter().filter(|way| **way == steps).count();
                ScalarValue::from(complete as i64)
            },
            "How often all steps are taken within a time.",
            (
                "FUNNELCOMPLETECOUNT(x, 5, 2, s = 'a', s = 'b') FROM numbers",
                "1",
            ),
        ),
        of(
            "funnel_match_step",
            list_of(DataType::Int32),
            |ways, steps| {
                let reached = ways.iter().copied().max().unwrap_or(0);
                let taken = (0..steps).map(|step| i32::from(step < reached));
                list(arrow::array::Int32Array::from_iter_values(taken))
            },
            "For each step 1 if it is reached within a time, else 0.",
            (
                "FUNNELMATCHSTEP(x, 5, 3, s = 'a', s = 'b', s = 'd') FROM numbers",
                "[1, 1, 0]",
            ),
        ),
    ]
}
