//! `/segments`: what segments a table has, and their removal.

use std::sync::Arc;

use access::Action;
use axum::Json;
use axum::extract::{Path, State as Shared};
use rest::api::{delete, get};
use rest::{Api, Params};
use schemas::Fault;
use schemas::partition::{ColumnPartitions, PartitionFunction};
use schemas::segment::SegmentRecord;
use serde::Deserialize;
use serde_json::{Value, json};

use super::tables::{OfType, of_type};
use super::{Answer, App};
use crate::state::State;
use crate::tables::DROP_PATIENCE;

pub(super) fn routes() -> Api<Arc<State>> {
    Api::default()
        .route(
            "/segments/{table}",
            [
                of_type(get("Names of segments", list))
                    .query(
                        "excludeReplacedSegments",
                        "true: only those that queries see",
                    )
                    .table(Action::Read),
                of_type(delete("Removes all sealed segments", remove_all)).table(Action::Admin),
            ],
        )
        .route(
            "/segments/{table}/{segment}",
            [delete("Removes a sealed segment", remove_one).table(Action::Admin)],
        )
        .route(
            "/segments/{table}/{segment}/metadata",
            [get("Rows, times, offsets and indexes of a segment", metadata).table(Action::Read)],
        )
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct Seen {
    exclude_replaced_segments: bool,
}

async fn list(
    Shared(state): App,
    Path(name): Path<String>,
    Params(wanted): Params<OfType>,
    Params(seen): Params<Seen>,
) -> Answer {
    let parts = wanted.resolve(&state, &name)?.into_iter().map(|table| {
        let segments = table.segments.iter();
        let segments = segments.filter(|s| !(seen.exclude_replaced_segments && s.hidden));
        let names: Vec<&str> = segments.map(|s| s.record.name.as_str()).collect();
        json!({ table.spec.table_type.to_string(): names })
    });
    Ok(Json(Value::Array(parts.collect())))
}

/// Those that consume stay: the table goes on.
async fn remove_all(
    Shared(state): App,
    Path(name): Path<String>,
    Params(wanted): Params<OfType>,
) -> Answer {
    let mut removed = 0;
    for table in wanted.resolve(&state, &name)? {
        let records = table.segments.iter().map(|s| &s.record);
        let done = records.filter(|record| record.is_done()).cloned();
        let done: Vec<SegmentRecord> = done.collect();
        removed += done.len();
        state.remove_segments(&done).await?;
    }
    Ok(Json(
        json!({ "status": format!("{removed} segments of {name} deleted") }),
    ))
}

pub(super) fn find(state: &State, name: &str, segment: &str) -> Result<SegmentRecord, Fault> {
    let tables = state.resolve(name)?;
    let mut records = tables
        .iter()
        .flat_map(|table| table.segments.iter().map(|s| &s.record));
    records
        .find(|record| record.name == segment)
        .cloned()
        .ok_or_else(|| Fault::not_found(format!("table `{name}` has no segment `{segment}`")))
}

async fn remove_one(Shared(state): App, Path((name, segment)): Path<(String, String)>) -> Answer {
    let record = find(&state, &name, &segment)?;
    if !record.is_done() {
        let message = format!("segment `{segment}` is consuming; pause or drop the table instead");
        return Err(Fault::conflict(message).into());
    }
    refuse_needed(&state, &record)?;
    state.remove_segments(&[record]).await?;
    Ok(Json(
        json!({ "status": format!("Segment {segment} deleted") }),
    ))
}

/// Where keys have rules the newest segment tells which rows of the older ones count.
fn refuse_needed(state: &State, record: &SegmentRecord) -> Result<(), Fault> {
    let tables = state.tables();
    let table = tables.iter().find(|table| table.spec.id == record.id.table);
    let Some(table) = table.filter(|table| table.spec.keyed.is_some()) else {
        return Ok(());
    };
    let (id, segments) = (record.id, table.segments.iter().map(|s| &s.record));
    let others = segments
        .filter(|other| other.is_done() && other.id != id && other.id.partition == id.partition);
    let newest = others.map(|other| other.id.sequence).max();
    if newest.is_some_and(|newest| newest < id.sequence) {
        let name = &record.name;
        return Err(Fault::conflict(format!(
            "segment `{name}` is the newest of its partition and tells which rows of the older \
             ones count; delete those first, or all segments of the table"
        )));
    }
    Ok(())
}

async fn metadata(Shared(state): App, Path((name, segment)): Path<(String, String)>) -> Answer {
    let record = find(&state, &name, &segment)?;
    let status = if record.is_done() {
        "DONE"
    } else {
        "IN_PROGRESS"
    };
    let indexes = state.indexes_of(record.id);
    Ok(Json(json!({
        "indexes": super::reload::by_column(&indexes),
        "star-tree-index": super::reload::star_trees(&indexes),
        "segment.name": record.name,
        "segment.realtime.status": status,
        "segment.realtime.startOffset": record.start.to_string(),
        "segment.realtime.endOffset": record.end.map(|end| end.to_string()),
        "segment.total.docs": record.ledger.rows.to_string(),
        "segment.crc": record.crc.to_string(),
        "segment.creation.time": record.created_ms.to_string(),
        "segment.start.time": record.time_range.map(|range| range.0.to_string()),
        "segment.end.time": record.time_range.map(|range| range.1.to_string()),
        "segment.time.unit": "MILLISECONDS",
        "segment.download.url": record.uri,
        "segment.partition.metadata": partition_metadata(&record),
    })))
}

/// As Pinot writes it: JSON in a string.
fn partition_metadata(record: &SegmentRecord) -> Option<String> {
    let of_column = |held: &ColumnPartitions| {
        let function_config = match held.by.function {
            PartitionFunction::Murmur3 { seed, variant } => {
                json!({ "seed": seed.to_string(), "variant": variant.name() })
            }
            _ => Value::Null,
        };
        let metadata = json!({
            "functionName": held.by.function.name(),
            "numPartitions": held.by.partitions,
            "partitions": held.held,
            "functionConfig": function_config,
        });
        (held.column.clone(), metadata)
    };
    let columns: serde_json::Map<String, Value> = record.partitions.iter().map(of_column).collect();
    (!columns.is_empty()).then(|| json!({ "columnPartitionMap": columns }).to_string())
}

impl State {
    /// Returns when no broker asks for them any more.
    async fn remove_segments(&self, records: &[SegmentRecord]) -> Result<(), Fault> {
        self.catalog.remove_segments(records).await?;
        if let Some(record) = records.first() {
            self.publish(record.id.table).await?;
        }
        self.wait_until_seen(DROP_PATIENCE).await
    }
}
