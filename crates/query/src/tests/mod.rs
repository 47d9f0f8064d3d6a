//! Queries over a cluster of servers that execute fragments over tables in memory.

mod double;
mod faults;
mod queries;
mod replicas;
mod system;
mod templates;

use std::sync::Arc;

use arrow::array::{
    ArrayRef, Float64Array, Int32Array, RecordBatch, StringViewArray, TimestampMillisecondArray,
};
use double::{Cluster, Laid};
use schemas::arrow::full_schema;
use schemas::cluster::{ClusterState, TableState};
use schemas::proto::NullMode;
use schemas::segment::SegmentStatus;
use schemas::table::ColumnSpec;
use schemas::{DataType, FieldRole, TableSpec, TableType};

const HOUR_MS: i64 = 3_600_000;
const CARRIERS: [&str; 4] = ["AA", "B6", "DL", "UA"];

fn spec(name: &str, table_type: TableType, columns: &[(&str, DataType)]) -> TableSpec {
    let columns = columns.iter().map(|(name, data_type)| {
        let role = match data_type {
            DataType::Timestamp => FieldRole::DateTime,
            DataType::Double => FieldRole::Metric,
            _ => FieldRole::Dimension,
        };
        ColumnSpec::new(*name, *data_type, role)
    });
    let columns: Vec<ColumnSpec> = columns.collect();
    let time_column = columns.iter().find(|c| c.data_type == DataType::Timestamp);
    TableSpec {
        time_column: time_column.map(|column| column.name.clone()),
        ..TableSpec::new(name.parse().unwrap(), table_type, columns)
    }
}

fn flights_spec(table_type: TableType) -> TableSpec {
    let columns = [
        ("ts", DataType::Timestamp),
        ("carrier", DataType::String),
        ("delay", DataType::Int),
        ("distance", DataType::Double),
    ];
    spec("flights", table_type, &columns)
}

/// Flight i leaves in hour i; every seventh has no delay.
fn flights(from: i32, to: i32) -> RecordBatch {
    let times = (from..to).map(|i| i64::from(i) * HOUR_MS);
    let carriers = (from..to).map(|i| CARRIERS[i as usize % 4]);
    let delays = (from..to).map(|i| (i % 7 != 0).then_some(i * 13 % 50 - 10));
    let distances = (from..to).map(|i| f64::from(i % 10) * 100.5);
    let columns: Vec<ArrayRef> = vec![
        Arc::new(TimestampMillisecondArray::from_iter_values(times)),
        Arc::new(StringViewArray::from_iter_values(carriers)),
        Arc::new(delays.collect::<Int32Array>()),
        Arc::new(Float64Array::from_iter_values(distances)),
    ];
    with_schema(&flights_spec(TableType::Realtime), columns)
}

/// The rows of `flights` with the default in the place of nulls.
fn without_nulls(rows: &RecordBatch) -> RecordBatch {
    let delays = rows.column(2);
    let delays: Int32Array =
        arrow::array::AsArray::as_primitive::<arrow::datatypes::Int32Type>(delays)
            .iter()
            .map(|delay| Some(delay.unwrap_or(i32::MIN)))
            .collect();
    let mut columns = rows.columns().to_vec();
    columns[2] = Arc::new(delays);
    RecordBatch::try_new(rows.schema(), columns).unwrap()
}

fn with_schema(spec: &TableSpec, columns: Vec<ArrayRef>) -> RecordBatch {
    let full = full_schema(spec, NullMode::ThreeValued);
    let own: Vec<usize> = (0..spec.columns.len()).collect();
    RecordBatch::try_new(Arc::new(full.project(&own).unwrap()), columns).unwrap()
}

fn airlines_spec() -> TableSpec {
    let columns = [("carrier", DataType::String), ("name", DataType::String)];
    TableSpec {
        is_dimension_table: true,
        ..spec("airlines", TableType::Offline, &columns)
    }
}

fn airlines() -> RecordBatch {
    let names = ["American", "JetBlue", "Delta"];
    let columns: Vec<ArrayRef> = vec![
        Arc::new(StringViewArray::from_iter_values(&CARRIERS[..3])),
        Arc::new(StringViewArray::from_iter_values(names)),
    ];
    with_schema(&airlines_spec(), columns)
}

const DONE: SegmentStatus = SegmentStatus::Done;
const IN_PROGRESS: SegmentStatus = SegmentStatus::InProgress;

/// Two partitions on two servers, each with two sealed segments and one that is consumed.
fn laid_flights() -> Laid {
    Laid::new(flights_spec(TableType::Realtime))
        .segment((0, 0), DONE, &["s1"], flights(0, 100))
        .segment((1, 0), DONE, &["s2"], flights(100, 150))
        .segment((0, 1), DONE, &["s1"], flights(150, 260))
        .segment((1, 1), DONE, &["s2"], flights(260, 300))
        .segment((0, 2), IN_PROGRESS, &["s1"], flights(300, 310))
        .segment((1, 2), IN_PROGRESS, &["s2"], flights(310, 333))
}

fn laid_airlines() -> Laid {
    Laid::new(airlines_spec()).segment((0, 0), DONE, &["s1", "s2"], airlines())
}

fn cluster() -> Cluster {
    Cluster::new(&["s1", "s2"], vec![laid_flights(), laid_airlines()])
}

/// Every segment on two of three servers.
fn replicated() -> Cluster {
    let laid = Laid::new(flights_spec(TableType::Realtime))
        .segment((0, 0), DONE, &["s1", "s2"], flights(0, 100))
        .segment((0, 1), DONE, &["s2", "s3"], flights(100, 150))
        .segment((0, 2), IN_PROGRESS, &["s1", "s3"], flights(150, 170));
    Cluster::new(&["s1", "s2", "s3"], vec![laid])
}

fn change(cluster: &Cluster, table: &str, change: impl Fn(&mut TableState)) {
    cluster.state.send_modify(|state| {
        let mut table = TableState::clone(&state.resolve(table)[0]);
        change(&mut table);
        let mut changed = ClusterState::clone(state);
        changed.tables.insert(table.spec.id, Arc::new(table));
        *state = Arc::new(changed);
    });
}
