//! `/v1/tables/{table}/status`: what each partition consumed, and why nothing arrives when it does
//! not.

use axum::Json;
use axum::extract::{Path, State as Shared};
use schemas::cluster::TableState;
use schemas::proto::ConsumerState;
use serde_json::{Value, json};

use super::consumption::what_is_wrong;
use super::{Answer, App};
use crate::state::State;

pub(super) async fn read(Shared(state): App, Path(name): Path<String>) -> Answer {
    let tables = state.resolve(&name)?;
    let sealed: Vec<_> = tables
        .iter()
        .flat_map(|table| table.seen().map(|s| &s.record))
        .filter(|record| record.is_done())
        .collect();
    let mut body = json!({
        "table": name,
        "sealedSegments": sealed.len(),
        "sealedRows": sealed.iter().map(|record| record.ledger.rows).sum::<u64>(),
        "consumingRows": 0,
        "paused": tables.iter().any(|table| table.paused),
        "partitions": [],
        "state": "GOOD",
        "reasons": [],
    });
    let Some(realtime) = tables.iter().find(|table| !table.spec.streams.is_empty()) else {
        return Ok(Json(body));
    };
    let consumers = consumers(&state, realtime);
    body["consumingRows"] = json!(consumers.iter().map(|c| c.rows).sum::<u64>());
    let now_ms = state.clock.now_ms();
    body["partitions"] = consumers.iter().map(|c| partition(c, now_ms)).collect();
    let wrong = what_is_wrong(&state, realtime);
    body["state"] = json!(if wrong.is_empty() { "GOOD" } else { "BAD" });
    body["reasons"] = json!(wrong);
    if let Some(verdict) = verdict(&state, realtime, &consumers, sealed.len()).await {
        body["verdict"] = json!(verdict);
    }
    Ok(Json(body))
}

/// One consumer for each partition: the one that is farthest.
fn consumers(state: &State, table: &TableState) -> Vec<ConsumerState> {
    let all = state.consumers(table).into_iter();
    let mut all: Vec<ConsumerState> = all.map(|(_, consumer)| consumer).collect();
    all.dedup_by_key(|consumer| consumer.partition);
    all
}

fn partition(consumer: &ConsumerState, now_ms: i64) -> Value {
    let newest = consumer.newest_event_ms;
    json!({
        "partition": consumer.partition,
        "state": consumer.state,
        "detail": consumer.detail,
        "consumed": consumer.next_offset,
        "logEnd": consumer.log_end_offset,
        "lag": consumer.lag().unwrap_or(-1),
        "rowsPerSecond": consumer.rows_per_second,
        "rejected": consumer.rejected,
        "lastRejection": consumer.last_rejection,
        "newestEventAgeMs": (newest > 0).then(|| (now_ms - newest).max(0)),
    })
}

/// One sentence when no row has arrived: which of the possible reasons it is.
async fn verdict(
    state: &State,
    table: &TableState,
    consumers: &[ConsumerState],
    sealed: usize,
) -> Option<String> {
    let stream = table.spec.streams.first()?;
    if table.paused {
        let name = &table.spec.name;
        return Some(format!("paused; `tannin table resume {name}` goes on"));
    }
    if sealed > 0 || consumers.iter().any(|consumer| consumer.rows > 0) {
        return None;
    }
    let rejected: u64 = consumers.iter().map(|consumer| consumer.rejected).sum();
    if rejected > 0 {
        let last = consumers
            .iter()
            .map(|c| c.last_rejection.as_str())
            .find(|r| !r.is_empty());
        return Some(format!(
            "all {rejected} messages were rejected: {}",
            last.unwrap_or("")
        ));
    }
    if let Some(failing) = consumers
        .iter()
        .find(|consumer| !consumer.detail.is_empty())
    {
        return Some(failing.detail.clone());
    }
    let source = match state.source(&table.spec, 0) {
        Ok(source) => source,
        Err(fault) => return Some(fault.message),
    };
    match source.partitions(&stream.topic).await {
        Err(error) => Some(error.to_string()),
        Ok(_) if consumers.is_empty() => {
            Some("no server has told of it yet, which each does every second".to_owned())
        }
        Ok(_) => {
            let behind = consumers.iter().any(|c| c.log_end_offset > c.next_offset);
            let empty = format!("topic `{}` is empty", stream.topic);
            Some(if behind {
                "consuming has just begun".to_owned()
            } else {
                empty
            })
        }
    }
}
