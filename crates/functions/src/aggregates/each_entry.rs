//! Aggregates of columns of several values: every entry counts for itself. `entries_sum` is `sum`
//! of the entries; Pinot's names (SUMMV) are planned as these.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, UInt32Array};
use arrow::compute::take;
use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::{Result, ScalarValue};
use datafusion::functions_aggregate::approx_distinct::approx_distinct_udaf;
use datafusion::functions_aggregate::approx_percentile_cont::approx_percentile_cont_udaf;
use datafusion::functions_aggregate::average::avg_udaf;
use datafusion::functions_aggregate::count::count_udaf;
use datafusion::functions_aggregate::min_max::{max_udaf, min_udaf};
use datafusion::functions_aggregate::sum::sum_udaf;
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, Signature, Volatility, cast,
};

use super::renamed::{Call, Renamed};
use crate::docs::Example;
use crate::plain::{Takes, list_of};

#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct EachEntry {
    name: String,
    of: Arc<AggregateUDF>,
    signature: Signature,
}

impl EachEntry {
    pub(super) fn new(of: Arc<AggregateUDF>) -> Self {
        Self {
            name: format!("entries_{}", of.name()),
            of,
            signature: Signature::any(1, Volatility::Immutable),
        }
    }

    pub(super) fn with_arguments(mut self, count: usize) -> Self {
        self.signature = Signature::any(count, Volatility::Immutable);
        self
    }
}

fn entry_type(list: &DataType) -> DataType {
    match list {
        DataType::List(entry) => entry.data_type().clone(),
        other => other.clone(),
    }
}

fn entry_field(list: &FieldRef) -> FieldRef {
    let entry = entry_type(list.data_type());
    Arc::new(Field::new(list.name(), entry, true))
}

fn with_entries(fields: &[FieldRef]) -> Vec<FieldRef> {
    let mut fields = fields.to_vec();
    if let Some(first) = fields.first_mut() {
        *first = entry_field(first);
    }
    fields
}

impl AggregateUDFImpl for EachEntry {
    fn name(&self) -> &str {
        &self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        let mut types = types.to_vec();
        if let Some(first) = types.first_mut() {
            *first = entry_type(first);
        }
        self.of.return_type(&types)
    }

    fn is_nullable(&self) -> bool {
        self.of.is_nullable()
    }

    fn default_value(&self, data_type: &DataType) -> Result<ScalarValue> {
        self.of.default_value(data_type)
    }

    fn state_fields(&self, args: StateFieldsArgs<'_>) -> Result<Vec<FieldRef>> {
        let input_fields = with_entries(args.input_fields);
        self.of.state_fields(StateFieldsArgs {
            input_fields: &input_fields,
            ..args
        })
    }

    fn accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        let fields = with_entries(args.expr_fields);
        let of = self.of.accumulator(AccumulatorArgs {
            expr_fields: &fields,
            ..args
        })?;
        Ok(Box::new(Entries { of }))
    }
}

#[derive(Debug)]
struct Entries {
    of: Box<dyn Accumulator>,
}

impl Accumulator for Entries {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let lists = values[0].as_list::<i32>();
        let offsets = lists.value_offsets();
        let mut entries = Vec::with_capacity(lists.values().len());
        let mut rows = Vec::with_capacity(lists.values().len());
        for row in (0..lists.len()).filter(|row| lists.is_valid(*row)) {
            let own = offsets[row] as u32..offsets[row + 1] as u32;
            rows.extend(own.clone().map(|_| row as u32));
            entries.extend(own);
        }
        let mut flat = vec![take(lists.values(), &UInt32Array::from(entries), None)?];
        let rows = UInt32Array::from(rows);
        for other in &values[1..] {
            flat.push(take(other, &rows, None)?);
        }
        self.of.update_batch(&flat)
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        self.of.merge_batch(states)
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        self.of.state()
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        self.of.evaluate()
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.of.size()
    }
}

type Of = fn() -> Arc<AggregateUDF>;

fn range() -> Arc<AggregateUDF> {
    Arc::new(AggregateUDF::from(super::min_max_range::min_max_range()))
}

fn percentile() -> Arc<AggregateUDF> {
    Arc::new(AggregateUDF::from(super::percentile::Percentile::default()))
}

/// Those that are registered, for plans that come from elsewhere.
pub(super) fn own() -> Vec<EachEntry> {
    let of_one: [Of; 7] = [
        count_udaf,
        sum_udaf,
        min_udaf,
        max_udaf,
        avg_udaf,
        range,
        approx_distinct_udaf,
    ];
    let of_one = of_one.map(|of| EachEntry::new(of()));
    let of_two: [Of; 2] = [percentile, approx_percentile_cont_udaf];
    let of_two = of_two.map(|of| EachEntry::new(of()).with_arguments(2));
    of_one.into_iter().chain(of_two).collect()
}

/// Of numbers as doubles.
fn of_doubles(name: &str, shown: &str, of: Of, distinct: bool, says: (&str, Example)) -> Renamed {
    let (about, example) = says;
    Renamed::new(name, &[Takes::Doubles], DataType::Float64, move |args| {
        let entries = Arc::new(AggregateUDF::from(EachEntry::new(of())));
        let list = cast(args[0].clone(), list_of(DataType::Float64));
        let call = Call::new(entries, vec![list]);
        Ok(Call { distinct, ..call })
    })
    .says(&format!("{shown}(column)"), about, &[example])
}

fn counted(name: &str, shown: &str, of: Of, distinct: bool, says: (&str, Example)) -> Renamed {
    let (about, example) = says;
    let (gives, none) = match distinct || shown == "COUNTMV" {
        true => (DataType::Int64, ScalarValue::Int64(Some(0))),
        false => (DataType::UInt64, ScalarValue::UInt64(Some(0))),
    };
    Renamed::new(name, &[Takes::List, Takes::Any], gives, move |args| {
        let entries = Arc::new(AggregateUDF::from(EachEntry::new(of())));
        let call = Call::new(entries, vec![args[0].clone()]);
        Ok(Call { distinct, ..call })
    })
    .optional(1)
    .never_null(none)
    .says(&format!("{shown}(column)"), about, &[example])
}

fn count_mv() -> Renamed {
    counted(
        "count_mv",
        "COUNTMV",
        count_udaf,
        false,
        (
            "How many entries there are.",
            ("COUNTMV(xs) FROM numbers", "10"),
        ),
    )
}

fn sum_mv() -> Renamed {
    of_doubles(
        "sum_mv",
        "SUMMV",
        sum_udaf,
        false,
        (
            "The sum of all entries.",
            ("SUMMV(xs) FROM numbers", "54.0"),
        ),
    )
}

fn min_mv() -> Renamed {
    of_doubles(
        "min_mv",
        "MINMV",
        min_udaf,
        false,
        ("The least entry.", ("MINMV(xs) FROM numbers", "1.0")),
    )
}

fn max_mv() -> Renamed {
    of_doubles(
        "max_mv",
        "MAXMV",
        max_udaf,
        false,
        ("The greatest entry.", ("MAXMV(xs) FROM numbers", "20.0")),
    )
}

fn avg_mv() -> Renamed {
    of_doubles(
        "avg_mv",
        "AVGMV",
        avg_udaf,
        false,
        (
            "The mean of all entries.",
            ("AVGMV(xs) FROM numbers", "5.4"),
        ),
    )
}

fn min_max_range_mv() -> Renamed {
    of_doubles(
        "min_max_range_mv",
        "MINMAXRANGEMV",
        range,
        false,
        (
            "The greatest entry less the least.",
            ("MINMAXRANGEMV(xs) FROM numbers", "19.0"),
        ),
    )
}

fn distinct_sum_mv() -> Renamed {
    of_doubles(
        "distinct_sum_mv",
        "DISTINCTSUMMV",
        sum_udaf,
        true,
        (
            "The sum of the distinct entries.",
            ("DISTINCTSUMMV(xs) FROM numbers", "46.0"),
        ),
    )
}

fn distinct_avg_mv() -> Renamed {
    of_doubles(
        "distinct_avg_mv",
        "DISTINCTAVGMV",
        avg_udaf,
        true,
        (
            "The mean of the distinct entries.",
            ("ROUND(DISTINCTAVGMV(xs), 4) FROM numbers", "6.5714"),
        ),
    )
}

fn distinct_count_mv() -> Renamed {
    counted(
        "distinct_count_mv",
        "DISTINCTCOUNTMV",
        count_udaf,
        true,
        (
            "How many distinct entries there are, exactly.",
            ("DISTINCTCOUNTMV(xs) FROM numbers", "7"),
        ),
    )
    .alias("distinct_count_bitmap_mv")
}

fn distinct_count_hll_mv() -> Renamed {
    counted(
        "distinct_count_hll_mv",
        "DISTINCTCOUNTHLLMV",
        approx_distinct_udaf,
        false,
        (
            "How many distinct entries there are, within 1 %, by a HyperLogLog sketch.",
            ("DISTINCTCOUNTHLLMV(xs) FROM numbers", "7"),
        ),
    )
    .alias("distinct_count_hll_plus_mv")
}

pub(super) fn renamed() -> Vec<Renamed> {
    vec![
        count_mv(),
        sum_mv(),
        min_mv(),
        max_mv(),
        avg_mv(),
        min_max_range_mv(),
        distinct_sum_mv(),
        distinct_avg_mv(),
        distinct_count_mv(),
        distinct_count_hll_mv(),
    ]
}
