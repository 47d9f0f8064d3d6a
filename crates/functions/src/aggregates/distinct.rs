//! Distinct values, counted exactly or by a sketch.

use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::common::ScalarValue;
use datafusion::functions_aggregate::approx_distinct::approx_distinct_udaf;
use datafusion::functions_aggregate::average::avg_udaf;
use datafusion::functions_aggregate::count::count_udaf;
use datafusion::functions_aggregate::sum::sum_udaf;
use datafusion::logical_expr::{AggregateUDF, cast};

use super::renamed::{Call, Renamed};
use crate::docs::Example;
use crate::plain::Takes;

/// Over the rows of the examples: x is 1, 2, 2, 3, 10.
const FROM: &str = "FROM numbers";

fn example(name: &str, value: &'static str) -> [Example; 1] {
    let call: &'static str = format!("{name}(x) {FROM}").leak();
    [(call, value)]
}

fn exact(name: &str, shown: &str, about: &str) -> Renamed {
    Renamed::new(name, &[Takes::Any], DataType::Int64, |args| {
        let distinct = true;
        let call = Call::new(count_udaf(), args.to_vec());
        Ok(Call { distinct, ..call })
    })
    .never_null(ScalarValue::Int64(Some(0)))
    .says(&format!("{shown}(x)"), about, &example(shown, "4"))
}

fn sketched(name: &str, shown: &str) -> Renamed {
    Renamed::new(name, &[Takes::Any, Takes::Any], DataType::UInt64, |args| {
        Ok(Call::new(approx_distinct_udaf(), args[..1].to_vec()))
    })
    .optional(1)
    .of_bytes(|args| {
        let joined = Arc::new(super::raw::joined_registers());
        Ok(Call::new(joined, args[..1].to_vec()))
    })
    .never_null(ScalarValue::UInt64(Some(0)))
    .says(
        &format!("{shown}(x [, precision])"),
        "How many distinct values there are, within 1 %, by a HyperLogLog sketch of 16,384 \
         registers whatever precision is asked for; of BYTES, of the sketches joined.",
        &example(shown, "4"),
    )
}

fn of_distinct(
    name: &str,
    shown: &str,
    function: fn() -> Arc<AggregateUDF>,
    about: &str,
    value: &'static str,
) -> Renamed {
    Renamed::new(name, &[Takes::Double], DataType::Float64, move |args| {
        let args = vec![cast(args[0].clone(), DataType::Float64)];
        let distinct = true;
        let call = Call::new(function(), args);
        Ok(Call { distinct, ..call })
    })
    .says(&format!("{shown}(x)"), about, &example(shown, value))
}

pub(super) fn all() -> Vec<Renamed> {
    vec![
        exact(
            "distinct_count",
            "DISTINCTCOUNT",
            "How many distinct values there are, exactly.",
        ),
        exact(
            "distinct_count_bitmap",
            "DISTINCTCOUNTBITMAP",
            "How many distinct values there are, exactly.",
        ),
        exact(
            "segment_partitioned_distinct_count",
            "SEGMENTPARTITIONEDDISTINCTCOUNT",
            "How many distinct values there are, exactly, also where segments share values (Pinot \
             counts those several times).",
        )
        .alias("distinct_count_off_heap"),
        sketched("distinct_count_hll", "DISTINCTCOUNTHLL").alias("distinct_count_smart_hll"),
        sketched("distinct_count_hll_plus", "DISTINCTCOUNTHLLPLUS")
            .alias("distinct_count_smart_hll_plus"),
        sketched("distinct_count_ull", "DISTINCTCOUNTULL").alias("distinct_count_smart_ull"),
        sketched("distinct_count_cpc_sketch", "DISTINCTCOUNTCPCSKETCH"),
        of_distinct(
            "distinct_sum",
            "DISTINCTSUM",
            sum_udaf,
            "The sum of the distinct values.",
            "16.0",
        ),
        of_distinct(
            "distinct_avg",
            "DISTINCTAVG",
            avg_udaf,
            "The mean of the distinct values.",
            "4.0",
        ),
    ]
}
