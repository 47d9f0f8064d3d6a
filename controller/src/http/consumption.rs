//! Consumption as Pinot's clients ask for it: pause, resume, force commit, and how far it is.

use std::collections::BTreeMap;
use std::sync::Arc;

use access::Action;
use axum::Json;
use axum::extract::{Path, State as Shared};
use rest::api::{Operation, get, post};
use rest::{Api, ApiError, By, Params};
use schemas::cluster::TableState;
use schemas::proto::ConsumerState;
use schemas::{Fault, Offset, Partition};
use serde::Deserialize;
use serde_json::{Value, json};
use uuid::Uuid;

use super::document::Document;
use super::{Answer, App};
use crate::consumption::{From, Parts, consuming};
use crate::state::State;

pub(super) fn routes() -> Api<Arc<State>> {
    let ordered = |operation: Operation<Arc<State>>| {
        operation
            .query("comment", "why; it is told by pauseStatus")
            .query("topics", "only these topics, by position: 0,2")
            .table(Action::Admin)
    };
    let from = "lastConsumed (unless it is set), smallest or largest";
    Api::default()
        .route(
            "/tables/{table}/pauseConsumption",
            [ordered(post(
                "Seals what it has and stops consuming",
                pause,
            ))],
        )
        .route(
            "/tables/{table}/resumeConsumption",
            [ordered(post("Goes on consuming", resume)).query("consumeFrom", from)],
        )
        .route(
            "/tables/{table}/pauseStatus",
            [get("Whether it consumes", pause_status).table(Action::Read)],
        )
        .route(
            "/tables/{table}/forceCommit",
            [post("Seals what consumes now", force_commit)
                .query("partitions", "only these: 0,2,10001")
                .query("segments", "only these, by name")
                .table(Action::Admin)],
        )
        .route(
            "/tables/forceCommitStatus/{job}",
            [get("How far a force commit is", commit_status).inside()],
        )
        .route(
            "/tables/{table}/consumingSegmentsInfo",
            [get("How far each partition is consumed", consuming_info).table(Action::Read)],
        )
        .route(
            "/v1/tables/{table}/retryRejected",
            [
                post("Sends rejected messages to their topics again, once", retry)
                    .body(json!({ "offsets": { "0": [17] } }))
                    .table(Action::Admin),
            ],
        )
        .route(
            "/tables/{table}/status",
            [get("Whether it consumes as it should", ingestion_status).table(Action::Read)],
        )
}

/// Numbers or names with commas between them.
fn listed<T: std::str::FromStr>(name: &str, text: Option<&str>) -> Result<Option<Vec<T>>, Fault> {
    let Some(text) = text.filter(|text| !text.is_empty()) else {
        return Ok(None);
    };
    let parsed: Result<Vec<T>, _> = text.split(',').map(|one| one.trim().parse()).collect();
    let wrong = |_| Fault::invalid(format!("{name}: `{text}` is no list such as 0,2"));
    parsed.map(Some).map_err(wrong)
}

#[derive(Deserialize)]
struct Order {
    #[serde(default)]
    comment: String,
    topics: Option<String>,
    #[serde(rename = "consumeFrom")]
    from: Option<String>,
}

async fn pause(
    Shared(state): App,
    Path(name): Path<String>,
    Params(order): Params<Order>,
) -> Answer {
    let table = state.realtime(&name)?;
    let topics = listed("topics", order.topics.as_deref())?;
    state.pause(&table, topics, order.comment).await?;
    pause_body(&state, &name)
}

async fn resume(
    Shared(state): App,
    Path(name): Path<String>,
    Params(order): Params<Order>,
) -> Answer {
    let from = match order.from.as_deref() {
        None | Some("" | "lastConsumed") => From::LastConsumed,
        Some("smallest") => From::Smallest,
        Some("largest") => From::Largest,
        Some(other) => {
            let what =
                format!("consumeFrom: `{other}` is none of lastConsumed, smallest and largest");
            return Err(Fault::invalid(what).into());
        }
    };
    let table = state.realtime(&name)?;
    let topics = listed("topics", order.topics.as_deref())?;
    state.resume(&table, topics, from, order.comment).await?;
    pause_body(&state, &name)
}

async fn pause_status(Shared(state): App, Path(name): Path<String>) -> Answer {
    pause_body(&state, &name)
}

fn pause_body(state: &State, name: &str) -> Result<Json<Value>, ApiError> {
    let table = state.realtime(name)?;
    let consumers = state.consumers(&table);
    // A partition that is paused and has sealed what it had consumes no segment any more.
    let rests = |partition: Partition| {
        let mut own = consumers.iter().filter(|(_, c)| c.partition == partition);
        let known = own.clone().next().is_some();
        known && own.all(|(_, c)| c.state == "PAUSED" && c.rows == 0)
    };
    let segments = table.segments.iter().map(|segment| &segment.record);
    let consuming: Vec<&str> = segments
        .filter(|record| !record.is_done() && !rests(record.id.partition))
        .map(|record| record.name.as_str())
        .collect();
    let mut body = json!({
        "pauseFlag": table.paused,
        "consumingSegments": consuming,
        "reasonCode": "ADMINISTRATIVE",
    });
    let orders = &table.orders;
    if let Some(note) = &orders.last {
        body["comment"] = json!(note.comment);
        body["timestamp"] = json!(note.at_ms.to_string());
    }
    if !orders.paused_topics.is_empty() {
        body["pausedTopics"] = json!(orders.paused_topics);
    }
    Ok(Json(body))
}

#[derive(Deserialize)]
struct Chosen {
    partitions: Option<String>,
    segments: Option<String>,
}

async fn force_commit(
    Shared(state): App,
    Path(name): Path<String>,
    Params(chosen): Params<Chosen>,
) -> Answer {
    let table = state.realtime(&name)?;
    let parts = Parts {
        partitions: listed("partitions", chosen.partitions.as_deref())?,
        segments: listed("segments", chosen.segments.as_deref())?,
    };
    let job = state.force_commit(&table, &parts).await?;
    Ok(Json(json!({
        "forceCommitStatus": "SUCCESS",
        "jobMetaZKWriteStatus": "SUCCESS",
        "forceCommitJobId": job.id.to_string(),
    })))
}

async fn commit_status(Shared(state): App, By(caller): By, Path(job): Path<String>) -> Answer {
    let unknown = || Fault::not_found(format!("there is no force commit `{job}`"));
    let id: Uuid = job.parse().map_err(|_| unknown())?;
    let (table, found) = state.find_commit(id).ok_or_else(unknown)?;
    caller.check(Action::Read, table.spec.name.as_str())?;
    let name_of = |(partition, sequence): &(u32, u32)| {
        let id = (*partition, *sequence);
        table.segments.get(id).map_or_else(
            || format!("{}__{partition}__{sequence}", table.spec.name),
            |segment| segment.record.name.clone(),
        )
    };
    let all: Vec<String> = found.segments.iter().map(name_of).collect();
    let left = state.not_committed(&table, &found);
    let left: Vec<String> = left.iter().map(name_of).collect();
    Ok(Json(json!({
        "jobId": job,
        "jobType": "FORCE_COMMIT",
        "tableName": table.spec.physical_name(),
        "submissionTimeMs": found.submitted_ms.to_string(),
        "segmentsForceCommitted": json!(all).to_string(),
        "segmentsYetToBeCommitted": left,
        "numberOfSegmentsYetToBeCommitted": left.len(),
    })))
}

/// In Pinot's shape: of each consuming segment a line for each replica.
async fn consuming_info(Shared(state): App, Path(name): Path<String>) -> Answer {
    let table = state.realtime(&name)?;
    let consumers = state.consumers(&table);
    let now_ms = state.clock.now_ms();
    let mut segments: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for segment in table.segments.iter().filter(|s| !s.record.is_done()) {
        let partition = segment.record.id.partition;
        let own = consumers.iter().filter(|(_, c)| c.partition == partition);
        let lines = own.map(|(server, consumer)| replica(&server.0, consumer, now_ms));
        segments.insert(segment.record.name.clone(), lines.collect());
    }
    let silent = consuming(&table).filter(|(partition, ..)| {
        let mut own = consumers.iter();
        !own.any(|(_, consumer)| consumer.partition == *partition)
    });
    Ok(Json(json!({
        "serversFailingToRespond": silent.count(),
        "serversUnparsableRespond": 0,
        "_segmentToConsumingInfoMap": segments,
    })))
}

fn replica(server: &str, consumer: &ConsumerState, now_ms: i64) -> Value {
    let partition = consumer.partition.to_string();
    let one = |value: Value| json!({ partition.clone(): value });
    let unknown = || json!("UNKNOWN");
    let next = json!(consumer.next_offset.to_string());
    let end = match consumer.log_end_offset {
        end @ 0.. => json!(end.to_string()),
        _ => unknown(),
    };
    let lag = consumer
        .lag()
        .map_or_else(unknown, |lag| json!(lag.to_string()));
    // How old what is seen is; nothing is missing when all of the log is.
    let late_ms = match (consumer.lag(), consumer.newest_event_ms) {
        (Some(0), _) => json!("0"),
        (_, newest @ 1..) => json!((now_ms - newest).max(0).to_string()),
        _ => unknown(),
    };
    json!({
        "serverName": server,
        "consumerState": if consumer.is_stopped() { "NOT_CONSUMING" } else { "CONSUMING" },
        "lastConsumedTimestamp": consumer.newest_event_ms,
        "partitionToOffsetMap": one(next.clone()),
        "partitionOffsetInfo": {
            "currentOffsetsMap": one(next),
            "latestUpstreamOffsetMap": one(end),
            "recordsLagMap": one(lag),
            "availabilityLagMsMap": one(late_ms),
        },
    })
}

/// Sentences about partitions that are stopped, late, or consumed by nobody. Replicas count as the
/// one that is farthest.
pub(super) fn what_is_wrong(state: &State, table: &TableState) -> Vec<String> {
    let consumers = state.consumers(table);
    let now_ms = state.clock.now_ms();
    let mut wrong = Vec::new();
    for (partition, ..) in consuming(table) {
        let farthest = consumers.iter().find(|(_, c)| c.partition == partition);
        match farthest {
            Some((_, consumer)) => wrong.extend(consumer.behind(now_ms)),
            None => wrong.push(format!(
                "partition {partition} is consumed by no living server"
            )),
        }
    }
    wrong
}

#[derive(Deserialize)]
struct Wanted {
    /// By partition.
    offsets: BTreeMap<Partition, Vec<Offset>>,
}

async fn retry(Shared(state): App, Path(name): Path<String>, document: Document) -> Answer {
    let wanted: Wanted = document.parse()?;
    let table = state.realtime(&name)?;
    let retried = state.retry_rejected(&table, wanted.offsets).await?;
    Ok(Json(json!({
        "sent": retried.sent,
        "gone": retried.gone,
        "sentBefore": retried.before,
    })))
}

async fn ingestion_status(Shared(state): App, Path(name): Path<String>) -> Answer {
    let table = state.realtime(&name)?;
    let wrong = what_is_wrong(&state, &table);
    let health = if wrong.is_empty() {
        "HEALTHY"
    } else {
        "UNHEALTHY"
    };
    Ok(Json(json!({
        "ingestionStatus": { "ingestionState": health, "errorMessage": wrong.join("; ") },
    })))
}
