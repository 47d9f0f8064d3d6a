//! Raw forms of distinct counts: the sketch itself, which can be kept in a BYTES column and joined
//! with others later.
//!
//! A HyperLogLog is what `approx_distinct` exchanges between servers; a theta sketch is the compact
//! form of Apache DataSketches, which Pinot reads and writes too.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use datafusion::common::{DataFusionError, Result, ScalarValue};
use datafusion::functions_aggregate::approx_distinct::approx_distinct_udaf;
use datafusion::logical_expr::function::AccumulatorArgs;
use datafusion::logical_expr::{Accumulator, AggregateUDF};
use datasketches::error::Error;
use datasketches::hash::value::{canonical_float, raw_bytes};
use datasketches::theta::{
    CompactThetaSketch, ThetaSketch, ThetaSketchBuilder, ThetaUnion, ThetaUnionBuilder,
};

use super::own::Own;
use crate::arguments::wrong;
use crate::conversion::to_hex;
use crate::plain::{Takes, is_text};
use crate::rows::TEXT;

/// Sketches keep 4,096 values, as Pinot's do.
const LG_K: u8 = 12;

fn damaged(error: &Error) -> DataFusionError {
    wrong(format!("BYTES that are no theta sketch: {error}"))
}

/// `approx_distinct` over any values, or over its own states.
#[derive(Debug)]
struct Registers {
    of: Box<dyn Accumulator>,
    /// The arguments are states.
    joins: bool,
    gives_raw: bool,
}

impl Registers {
    fn of(
        args: &AccumulatorArgs<'_>,
        joins: bool,
        gives_raw: bool,
    ) -> Result<Box<dyn Accumulator>> {
        let count = approx_distinct_udaf();
        // States are the same for all types.
        let numbers = [Arc::new(Field::new("x", DataType::Int64, true))];
        let of = count.accumulator(AccumulatorArgs {
            return_field: Arc::new(Field::new("n", DataType::UInt64, false)),
            schema: args.schema,
            ignore_nulls: args.ignore_nulls,
            order_bys: &[],
            is_reversed: false,
            name: args.name,
            is_distinct: false,
            exprs: &args.exprs[..1],
            expr_fields: if joins {
                &numbers
            } else {
                &args.expr_fields[..1]
            },
        })?;
        Ok(Box::new(Self {
            of,
            joins,
            gives_raw,
        }))
    }
}

impl Accumulator for Registers {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        match self.joins {
            true => self.merge_batch(values),
            false => self.of.update_batch(&values[..1]),
        }
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let states = cast(&states[0], &DataType::Binary)?;
        let is_state = |state: Option<&[u8]>| state.is_some_and(|state| !state.is_empty());
        let kept = states
            .as_binary::<i32>()
            .iter()
            .map(|state| Some(is_state(state)));
        let kept = arrow::array::BooleanArray::from_iter(kept);
        self.of
            .merge_batch(&[arrow::compute::filter(&states, &kept)?])
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        self.of.state()
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        if !self.gives_raw {
            return self.of.evaluate();
        }
        Ok(match self.of.state()?.as_slice() {
            [ScalarValue::Binary(Some(state)), ..] => ScalarValue::Utf8View(Some(to_hex(state))),
            _ => ScalarValue::Utf8View(None),
        })
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.of.size()
    }
}

struct Theta {
    own: ThetaSketch,
    others: ThetaUnion,
    gives_raw: bool,
}

impl std::fmt::Debug for Theta {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Theta").finish_non_exhaustive()
    }
}

impl Theta {
    fn new(gives_raw: bool) -> Result<Self> {
        let own = ThetaSketchBuilder::default().lg_k(LG_K).build();
        let others = ThetaUnionBuilder::default().lg_k(LG_K).build();
        Ok(Self {
            own: own.map_err(|error| damaged(&error))?,
            others: others.map_err(|error| damaged(&error))?,
            gives_raw,
        })
    }

    fn join(&mut self, bytes: &[u8]) -> Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        let sketch = CompactThetaSketch::deserialize(bytes).map_err(|error| damaged(&error))?;
        self.others.update(&sketch).map_err(|error| damaged(&error))
    }

    fn whole(&mut self) -> Result<CompactThetaSketch> {
        let own = self.own.compact(true);
        self.others.update(&own).map_err(|error| damaged(&error))?;
        Ok(self.others.to_sketch(true))
    }
}

impl Accumulator for Theta {
    /// As DataSketches for Java hashes values, so that sketches can be joined with Pinot's.
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let column = &values[0];
        match column.data_type() {
            DataType::Binary | DataType::BinaryView | DataType::LargeBinary => {
                let column = cast(column, &DataType::BinaryView)?;
                let mut sketches = column.as_binary_view().iter().flatten();
                sketches.try_for_each(|bytes| self.join(bytes))?;
            }
            own if is_text(own) => {
                let texts = cast(column, &TEXT)?;
                for text in texts
                    .as_string_view()
                    .iter()
                    .flatten()
                    .filter(|t| !t.is_empty())
                {
                    self.own.update(raw_bytes::from_slice(text.as_bytes()));
                }
            }
            DataType::Float32 | DataType::Float64 => {
                let doubles = cast(column, &DataType::Float64)?;
                for value in super::states::doubles_of(&doubles) {
                    self.own.update(canonical_float::from_f64(value));
                }
            }
            _ => {
                let longs = super::states::as_longs(column)?;
                longs
                    .iter()
                    .flatten()
                    .for_each(|value| self.own.update(value));
            }
        }
        Ok(())
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let mut states = states[0].as_binary::<i32>().iter().flatten();
        states.try_for_each(|bytes| self.join(bytes))
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        Ok(vec![ScalarValue::Binary(Some(self.whole()?.serialize()))])
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let whole = self.whole()?;
        Ok(match self.gives_raw {
            true => ScalarValue::Utf8View(Some(STANDARD.encode(whole.serialize()))),
            false => ScalarValue::Int64(Some(whole.estimate().round() as i64)),
        })
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.own.estimated_size() + self.others.estimated_size()
    }
}

const BYTES_STATE: (&str, DataType) = ("sketch", DataType::Binary);

/// What DISTINCTCOUNTHLL of a BYTES column is planned as.
pub(super) fn joined_registers() -> AggregateUDF {
    AggregateUDF::from(join_hll())
}

fn join_hll() -> Own {
    Own::new(
        "join_hll",
        &[Takes::Bytes],
        DataType::UInt64,
        &[BYTES_STATE],
        |args| Registers::of(args, true, false),
    )
    .says(
        "JOIN_HLL(bytes)",
        "How many distinct values the joined sketches of DISTINCTCOUNTRAWHLL have; \
         DISTINCTCOUNTHLL of BYTES is the same.",
        &[(
            "JOIN_HLL(raw) FROM (SELECT HEXTOBYTES(DISTINCTCOUNTRAWHLL(x)) AS raw FROM numbers)",
            "4",
        )],
    )
}

fn raw_hll() -> Own {
    let takes = [Takes::Any, Takes::Any];
    Own::new(
        "distinct_count_raw_hll",
        &takes,
        TEXT,
        &[BYTES_STATE],
        |args| Registers::of(args, false, true),
    )
    .optional(1)
    .alias("distinct_count_raw_hll_plus")
    .says(
        "DISTINCTCOUNTRAWHLL(x)",
        "The HyperLogLog sketch of DISTINCTCOUNTHLL as hexadecimal digits; HEXTOBYTES makes BYTES \
         of it. It is no sketch of Pinot's.",
        &[("LENGTH(DISTINCTCOUNTRAWHLL(x)) FROM numbers", "32768")],
    )
}

fn theta() -> Own {
    let takes = [Takes::Any, Takes::Text];
    Own::new(
        "distinct_count_theta_sketch",
        &takes,
        DataType::Int64,
        &[BYTES_STATE],
        |_| Ok(Box::new(Theta::new(false)?)),
    )
    .optional(1)
    .alias("distinct_count_theta")
    .says(
        "DISTINCTCOUNTTHETASKETCH(x [, 'parameters'])",
        "How many distinct values there are, by a theta sketch of 4,096 values; of BYTES, of the \
         sketches joined. Parameters are not heeded.",
        &[("DISTINCTCOUNTTHETASKETCH(x) FROM numbers", "4")],
    )
}

fn raw_theta() -> Own {
    let takes = [Takes::Any, Takes::Text];
    Own::new(
        "distinct_count_raw_theta_sketch",
        &takes,
        TEXT,
        &[BYTES_STATE],
        |_| Ok(Box::new(Theta::new(true)?)),
    )
    .optional(1)
    .says(
        "DISTINCTCOUNTRAWTHETASKETCH(x [, 'parameters'])",
        "The compact theta sketch of Apache DataSketches, as Base64; Pinot's are the same.",
        &[(
            "DISTINCTCOUNTTHETASKETCH(raw) FROM (SELECT \
             BASE64DECODE(TOUTF8(DISTINCTCOUNTRAWTHETASKETCH(x))) AS raw FROM numbers)",
            "4",
        )],
    )
}

pub(super) fn all() -> Vec<Own> {
    vec![join_hll(), raw_hll(), theta(), raw_theta()]
}
