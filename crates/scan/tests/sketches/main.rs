//! The states of our sketches are those of DataFusion's aggregates: its partial aggregate writes the
//! same bytes, and its final aggregate joins ours.

#![expect(clippy::unwrap_used, reason = "all of it is a test")]

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, Decimal256Array, Float64Array, Int32Array, Int64Array,
    RecordBatch, StringViewArray, TimestampMillisecondArray,
};
use arrow::datatypes::{Field, Float64Type, Schema, UInt64Type, i256};
use datafusion::datasource::MemTable;
use datafusion::datasource::memory::MemorySourceConfig;
use datafusion::physical_plan::aggregates::{AggregateExec, AggregateMode};
use datafusion::physical_plan::{ExecutionPlan, collect};
use datafusion::prelude::{SessionConfig, SessionContext};
use index::sketch::{self, DIGEST_SIZE, HyperLogLog, TDigest};

const GROUPS: i64 = 3;

/// Group 0 has many distinct values, the others few.
fn value_of(row: i64) -> i64 {
    match row % GROUPS {
        0 => row * 7 - 20_000,
        group => row / GROUPS % 90 * (group * 50 - 75),
    }
}

fn columns() -> Vec<(&'static str, ArrayRef)> {
    let rows = || 0..6_000i64;
    let values = || rows().map(value_of);
    let decimals = values().map(|v| i256::from(v) * i256::from(3));
    vec![
        (
            "k",
            Arc::new(Int64Array::from_iter_values(rows().map(|row| row % GROUPS))),
        ),
        (
            "i",
            Arc::new(Int32Array::from_iter_values(values().map(|v| v as i32))),
        ),
        ("l", Arc::new(Int64Array::from_iter_values(values()))),
        (
            "t",
            Arc::new(TimestampMillisecondArray::from_iter_values(values())),
        ),
        (
            "d",
            Arc::new(Float64Array::from_iter_values(
                values().map(|v| v as f64 / -4.0),
            )),
        ),
        ("m", Arc::new(Decimal256Array::from_iter_values(decimals))),
        (
            "s",
            Arc::new(StringViewArray::from_iter_values(
                values().map(|v| format!("value {v:>6}")),
            )),
        ),
        (
            "w",
            Arc::new(StringViewArray::from_iter_values(
                values().map(|v| format!("{v}")),
            )),
        ),
    ]
}

fn hash_at(array: &ArrayRef, row: usize) -> u64 {
    use arrow::datatypes::{
        DataType as T, Decimal256Type, Int32Type, Int64Type, TimestampMillisecondType,
    };
    match array.data_type() {
        T::Int32 => sketch::hash_i32(array.as_primitive::<Int32Type>().value(row)),
        T::Int64 => sketch::hash_i64(array.as_primitive::<Int64Type>().value(row)),
        T::Timestamp(..) => {
            sketch::hash_i64(array.as_primitive::<TimestampMillisecondType>().value(row))
        }
        T::Decimal256(..) => {
            let (low, high) = array.as_primitive::<Decimal256Type>().value(row).to_parts();
            sketch::hash_decimal(low, high)
        }
        _ => sketch::hash_bytes(array.as_string_view().value(row).as_bytes()),
    }
}

/// The final aggregate of the statement, and the states that it is given.
async fn planned(sql: &str) -> (SessionContext, Arc<dyn ExecutionPlan>, Vec<RecordBatch>) {
    let columns = columns();
    let fields = columns.iter();
    let fields = fields.map(|(name, array)| Field::new(*name, array.data_type().clone(), false));
    let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
    let arrays = columns.into_iter().map(|(_, array)| array).collect();
    let batch = RecordBatch::try_new(Arc::clone(&schema), arrays).unwrap();
    // The group with few values comes with the second half only.
    let halves = vec![vec![batch.slice(0, 3_000)], vec![batch.slice(3_000, 3_000)]];
    let config = SessionConfig::new().with_target_partitions(2);
    let context = SessionContext::new_with_config(config);
    let table = MemTable::try_new(schema, halves).unwrap();
    context.register_table("t", Arc::new(table)).unwrap();
    let plan = context.sql(sql).await.unwrap();
    let plan = plan.create_physical_plan().await.unwrap();
    let of = |plan: &Arc<dyn ExecutionPlan>, partial: bool| {
        let mut found = Arc::clone(plan);
        loop {
            if let Some(aggregate) = found.downcast_ref::<AggregateExec>()
                && (*aggregate.mode() == AggregateMode::Partial) == partial
            {
                return found;
            }
            let below = Arc::clone(found.children()[0]);
            found = below;
        }
    };
    let states = collect(of(&plan, true), context.task_ctx()).await.unwrap();
    (context, of(&plan, false), states)
}

/// What the final aggregate makes of these states, by group.
async fn finished(
    context: &SessionContext,
    last: &Arc<dyn ExecutionPlan>,
    states: RecordBatch,
) -> Vec<ArrayRef> {
    let schema = states.schema();
    let source = MemorySourceConfig::try_new_exec(&[vec![states]], schema, None).unwrap();
    let aggregate = last.downcast_ref::<AggregateExec>().unwrap();
    let last = AggregateExec::try_new(
        AggregateMode::Final,
        Arc::new(aggregate.group_expr().clone()),
        aggregate.aggr_expr().to_vec(),
        aggregate.filter_expr().to_vec(),
        source,
        aggregate.input_schema(),
    );
    let batches = collect(Arc::new(last.unwrap()), context.task_ctx())
        .await
        .unwrap();
    let schema = batches[0].schema();
    let all = arrow::compute::concat_batches(&schema, &batches).unwrap();
    let order = arrow::compute::sort_to_indices(all.column(0), None, None).unwrap();
    let columns = all.columns().iter();
    columns
        .map(|column| arrow::compute::take(column, &order, None).unwrap())
        .collect()
}

#[tokio::test]
async fn distinct_counts() {
    for (name, array) in columns()
        .into_iter()
        .filter(|(name, _)| !["k", "d"].contains(name))
    {
        let sql = format!("SELECT k, approx_distinct({name}) FROM t GROUP BY k");
        let (context, last, states) = planned(&sql).await;
        let mut ours: Vec<HyperLogLog> = vec![HyperLogLog::default(); GROUPS as usize];
        for row in 0..array.len() {
            ours[row % GROUPS as usize].add(hash_at(&array, row));
        }
        let mut theirs = vec![HyperLogLog::default(); GROUPS as usize];
        let whole = arrow::compute::concat_batches(&states[0].schema(), &states).unwrap();
        let keys = whole
            .column(0)
            .as_primitive::<arrow::datatypes::Int64Type>();
        for (row, key) in keys.values().iter().enumerate() {
            let state = whole.column(1).as_binary::<i32>().value(row);
            theirs[*key as usize].merge_state(state).unwrap();
        }
        let bytes = |sketches: &mut [HyperLogLog]| {
            let states = sketches.iter_mut().map(|sketch| {
                let mut state = Vec::new();
                sketch.write_state(&mut state);
                state
            });
            states.collect::<Vec<_>>()
        };
        assert_eq!(bytes(&mut ours), bytes(&mut theirs), "states of {name}");
        let mut lengths = bytes(&mut ours).into_iter().map(|state| state.len());
        assert!(
            lengths.any(|length| length < sketch::REGISTERS),
            "few values are few bytes"
        );

        let own = bytes(&mut ours);
        let columns: Vec<ArrayRef> = vec![
            Arc::new(Int64Array::from_iter_values(0..GROUPS)),
            Arc::new(BinaryArray::from_iter_values(&own)),
        ];
        let own = RecordBatch::try_new(whole.schema(), columns).unwrap();
        let found = finished(&context, &last, own).await;
        let found = found[1].as_primitive::<UInt64Type>().values();
        let counts: Vec<u64> = ours.iter().map(HyperLogLog::count).collect();
        assert_eq!(*found, counts, "{name}");
    }
}

#[tokio::test]
async fn percentiles() {
    for (q, size) in [
        (0.0, 100),
        (0.02, 100),
        (0.5, 100),
        (0.9, 40),
        (0.999, 100),
        (1.0, 100),
    ] {
        let sql = format!("SELECT k, approx_percentile_cont(d, {q}, {size}) FROM t GROUP BY k");
        let (context, last, states) = planned(&sql).await;
        // Joined as DataFusion joins them, so that the clusters are the same.
        let expected = finished(&context, &last, states[0].clone()).await;
        let batch = &states[0];
        for row in 0..batch.num_rows() {
            let number = |column: usize| {
                batch
                    .column(column)
                    .as_primitive::<Float64Type>()
                    .value(row)
            };
            let list = batch.column(6).as_list::<i32>().value(row);
            let key = batch
                .column(0)
                .as_primitive::<arrow::datatypes::Int64Type>()
                .value(row);
            let read = TDigest::of_parts(
                batch.column(1).as_primitive::<UInt64Type>().value(row),
                (number(2), number(3)),
                (number(4), number(5)),
                list.as_primitive::<Float64Type>().values(),
            );
            let mut joined = TDigest::new(size);
            joined.merge(&read.unwrap());
            let found = joined.quantile(q).unwrap();
            let wanted = expected[1]
                .as_primitive::<Float64Type>()
                .value(key as usize);
            assert!(
                (found - wanted).abs() <= 1e-9 * wanted.abs(),
                "{found} {wanted} at {q}"
            );
        }
    }
    assert_eq!(DIGEST_SIZE, 100, "DataFusion's own size");
}
