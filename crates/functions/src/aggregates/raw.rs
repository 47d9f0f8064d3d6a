//! Raw forms of distinct counts: the sketch itself, which can be kept in a BYTES column and joined
//! with others later.
//!
//! A HyperLogLog is what `approx_distinct` exchanges between servers; a theta sketch is the compact
//! form of Apache DataSketches, which Pinot reads and writes too.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use datafusion::common::{DataFusionError, Result, ScalarValue};
use datafusion::functions_aggregate::approx_distinct::approx_distinct_udaf;
use datafusion::logical_expr::function::AccumulatorArgs;
use datafusion::logical_expr::{Accumulator, AggregateUDF};
use index::CorruptIndex;
use index::sketch::{DIGEST_SIZE, HyperLogLog, TDigest, ThetaSketch};

use super::own::Own;
use crate::arguments::wrong;
use crate::conversion::to_hex;
use crate::plain::{Takes, is_text};
use crate::rows::TEXT;

fn damaged(error: &CorruptIndex) -> DataFusionError {
    wrong(error.to_string())
}

/// Each of the states, which are bytes; those of no value left out.
fn each_state(states: &ArrayRef, mut join: impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
    let states = cast(states, &DataType::BinaryView)?;
    let mut states = states.as_binary_view().iter().flatten();
    states.try_for_each(|state| match state.is_empty() {
        true => Ok(()),
        false => join(state),
    })
}

/// `approx_distinct` that tells its state.
#[derive(Debug)]
struct Registers(Box<dyn Accumulator>);

impl Registers {
    fn of(args: &AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        let of = approx_distinct_udaf().accumulator(AccumulatorArgs {
            return_field: Arc::new(Field::new("n", DataType::UInt64, false)),
            schema: args.schema,
            ignore_nulls: args.ignore_nulls,
            order_bys: &[],
            is_reversed: false,
            name: args.name,
            is_distinct: false,
            exprs: &args.exprs[..1],
            expr_fields: &args.expr_fields[..1],
        })?;
        Ok(Box::new(Self(of)))
    }
}

impl Accumulator for Registers {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.0.update_batch(&values[..1])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        self.0.merge_batch(states)
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        self.0.state()
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        Ok(match self.0.state()?.as_slice() {
            [ScalarValue::Binary(Some(state)), ..] => ScalarValue::Utf8View(Some(to_hex(state))),
            _ => ScalarValue::Utf8View(None),
        })
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.0.size()
    }
}

/// Sketches of distinct values, joined; of few values they are shorter than of many.
#[derive(Debug, Default)]
struct JoinedRegisters(HyperLogLog);

impl Accumulator for JoinedRegisters {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let joined = &mut self.0;
        each_state(&values[0], |state| {
            joined.merge_state(state).map_err(|error| damaged(&error))
        })
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        self.update_batch(states)
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let mut state = Vec::new();
        self.0.write_state(&mut state);
        Ok(vec![ScalarValue::Binary(Some(state))])
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        Ok(ScalarValue::UInt64(Some(self.0.count())))
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.0.memory_bytes()
    }
}

/// Digests, joined, and the share that is asked for.
#[derive(Debug)]
struct JoinedDigests {
    joined: TDigest,
    share: f64,
}

impl JoinedDigests {
    fn of(args: &AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        Ok(Box::new(Self {
            joined: TDigest::new(DIGEST_SIZE),
            share: super::states::number(args, 1)? / 100.0,
        }))
    }
}

impl Accumulator for JoinedDigests {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let joined = &mut self.joined;
        each_state(&values[0], |state| {
            let other = TDigest::of_bytes(state).map_err(|error| damaged(&error))?;
            joined.merge(&other);
            Ok(())
        })
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        self.update_batch(states)
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        Ok(vec![ScalarValue::Binary(Some(self.joined.to_bytes()))])
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        Ok(ScalarValue::Float64(self.joined.quantile(self.share)))
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.joined.memory_bytes()
    }
}

#[derive(Debug)]
struct Theta {
    sketch: ThetaSketch,
    gives_raw: bool,
}

impl Theta {
    fn new(gives_raw: bool) -> Result<Self> {
        let sketch = ThetaSketch::new().map_err(|error| damaged(&error))?;
        Ok(Self { sketch, gives_raw })
    }
}

impl Accumulator for Theta {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let column = &values[0];
        match column.data_type() {
            DataType::Binary | DataType::BinaryView | DataType::LargeBinary => {
                self.merge_batch(values)?;
            }
            own if is_text(own) => {
                let texts = cast(column, &TEXT)?;
                let texts = texts.as_string_view().iter().flatten();
                texts.for_each(|text| self.sketch.add_text(text));
            }
            DataType::Float32 | DataType::Float64 => {
                let doubles = cast(column, &DataType::Float64)?;
                let doubles = super::states::doubles_of(&doubles);
                doubles.for_each(|value| self.sketch.add_double(value));
            }
            _ => {
                let longs = super::states::as_longs(column)?;
                let longs = longs.iter().flatten();
                longs.for_each(|value| self.sketch.add_long(value));
            }
        }
        Ok(())
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let sketch = &mut self.sketch;
        each_state(&states[0], |state| {
            sketch.merge_state(state).map_err(|error| damaged(&error))
        })
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let state = self.sketch.state().map_err(|error| damaged(&error))?;
        Ok(vec![ScalarValue::Binary(Some(state))])
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        if self.gives_raw {
            let state = self.sketch.state().map_err(|error| damaged(&error))?;
            return Ok(ScalarValue::Utf8View(Some(STANDARD.encode(state))));
        }
        let count = self.sketch.estimate().map_err(|error| damaged(&error))?;
        Ok(ScalarValue::Int64(Some(count.round() as i64)))
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.sketch.memory_bytes()
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
        |_| Ok(Box::new(JoinedRegisters::default())),
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

/// What PERCENTILETDIGEST of a BYTES column is planned as.
pub(super) fn joined_digests() -> AggregateUDF {
    AggregateUDF::from(join_t_digest())
}

fn join_t_digest() -> Own {
    Own::new(
        "join_t_digest",
        &[Takes::Bytes, Takes::Double],
        DataType::Float64,
        &[BYTES_STATE],
        JoinedDigests::of,
    )
    .says(
        "JOIN_T_DIGEST(bytes, percent)",
        "The value that so many percent of the values are not above, by the joined digests that \
         roll-up at ingest keeps in a BYTES column; PERCENTILETDIGEST of BYTES is the same.",
        &[("JOIN_T_DIGEST(HEXTOBYTES(''), 50) FROM numbers", "null")],
    )
}

fn raw_hll() -> Own {
    let takes = [Takes::Any, Takes::Any];
    Own::new(
        "distinct_count_raw_hll",
        &takes,
        TEXT,
        &[BYTES_STATE],
        Registers::of,
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
    vec![join_hll(), join_t_digest(), raw_hll(), theta(), raw_theta()]
}
