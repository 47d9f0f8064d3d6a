//! Rebalances as Pinot has them: asked for, watched, broken off.

use std::collections::BTreeMap;
use std::sync::Arc;

use access::Action;
use axum::Json;
use axum::extract::{Path, State as Shared};
use metastore::catalog::{RebalanceJob, RebalanceOptions, RebalanceStatus};
use rest::api::{Operation, delete, get, post};
use rest::{Api, Params};
use schemas::{Fault, InstanceId};
use serde::Deserialize;
use serde_json::{Value, json};
use uuid::Uuid;

use super::tables::{OfType, of_type};
use super::{Answer, App};
use crate::rebalance::{Plan, Share};
use crate::reconcile::BATCH;
use crate::state::State;
use crate::view::Moving;

pub(super) fn routes() -> Api<Arc<State>> {
    Api::default()
        .route(
            "/tables/{table}/rebalance",
            [
                of_type(options(
                    post("Spreads its segments evenly", rebalance).table(Action::Admin),
                )),
                of_type(delete("Breaks its rebalance off", cancel).table(Action::Admin)),
            ],
        )
        .route(
            "/rebalanceStatus/{job}",
            [get("How far a rebalance is", status).cluster(Action::Read)],
        )
        .route(
            "/tables/{table}/rebalanceJobs",
            [of_type(
                get("Its newest rebalances", jobs).table(Action::Read),
            )],
        )
        .route(
            "/tables/{table}/instancePartitions",
            [of_type(
                get("Servers of its replica groups", groups).table(Action::Read),
            )],
        )
}

fn options(operation: Operation<Arc<State>>) -> Operation<Arc<State>> {
    operation
        .query("dryRun", "true: only says what it would do")
        .query(
            "includeConsuming",
            "false: what consumes stays; usually true",
        )
        .query(
            "reassignInstances",
            "false: replica groups stay; usually true",
        )
        .query("bootstrap", "true: as if nobody held anything yet")
        .query("downtime", "true: all at once")
        .query(
            "minAvailableReplicas",
            "so many remain to be asked; negative: so many may be missing",
        )
        .query("lowDiskMode", "true: who goes goes first")
        .query("batchSizePerServer", "segments that come to it at a time")
}

/// Pinot's.
#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Options {
    dry_run: bool,
    include_consuming: bool,
    reassign_instances: bool,
    bootstrap: bool,
    downtime: bool,
    min_available_replicas: i64,
    low_disk_mode: bool,
    batch_size_per_server: i64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            dry_run: false,
            include_consuming: true,
            reassign_instances: true,
            bootstrap: false,
            downtime: false,
            min_available_replicas: -1,
            low_disk_mode: false,
            batch_size_per_server: -1,
        }
    }
}

impl Options {
    fn read(self, replication: u32) -> Result<RebalanceOptions, Fault> {
        let replicas = i64::from(replication);
        let min = match self.min_available_replicas {
            min if min > replicas => {
                return Err(Fault::invalid(format!(
                    "minAvailableReplicas: the table has {replicas} replicas, {min} cannot remain"
                )));
            }
            min if min < 0 => (replicas + min).max(0),
            min => min,
        };
        // What leaves first may leave nothing behind only with `downtime`.
        let keeping = min.max(1) as u32;
        let batch = match self.batch_size_per_server {
            -1 => BATCH,
            count if count > 0 => count.min(i64::from(u32::MAX)) as u32,
            other => {
                let what = format!("batchSizePerServer: {other} is neither -1 nor a number");
                return Err(Fault::invalid(what));
            }
        };
        Ok(RebalanceOptions {
            consuming: self.include_consuming,
            bootstrap: self.bootstrap,
            downtime: self.downtime,
            leave_first_keeping: if self.low_disk_mode { keeping } else { 0 },
            batch,
        })
    }
}

async fn rebalance(
    Shared(state): App,
    Path(name): Path<String>,
    Params(wanted): Params<OfType>,
    Params(options): Params<Options>,
) -> Answer {
    let mut tables = wanted.resolve(&state, &name)?;
    if tables.len() > 1 {
        let what = format!("`{name}` has two parts: name one with type=OFFLINE or type=REALTIME");
        return Err(Fault::invalid(what).into());
    }
    let table = tables.remove(0);
    let asked = options.read(table.spec.replication)?;
    let plan = state.propose(table.spec.id, asked, options.reassign_instances)?;
    let (job, status, text) = match (options.dry_run, plan.moves.is_empty()) {
        (_, true) => (None, "NO_OP", "Table is already balanced".to_owned()),
        (true, false) => (None, "DONE", "Dry-run mode: nothing was moved".to_owned()),
        (false, false) => {
            let job = state.rebalance(&plan, asked).await?;
            let text = format!("In progress, check GET /rebalanceStatus/{}", job.id);
            (Some(job.id), "IN_PROGRESS", text)
        }
    };
    Ok(Json(answer(&plan, job, status, &text)))
}

fn answer(plan: &Plan, job: Option<Uuid>, status: &str, text: &str) -> Value {
    let segments: BTreeMap<&String, Value> = plan
        .moves
        .iter()
        .map(|(name, (_, after))| (name, online(after)))
        .collect();
    let groups: BTreeMap<&str, Value> = plan
        .groups
        .iter()
        .map(|(kind, groups)| (kind.name(), partitions(&groups.groups)))
        .collect();
    json!({
        "jobId": job.map(|id| id.to_string()),
        "status": status,
        "description": text,
        "instanceAssignment": groups,
        "segmentAssignment": segments,
        "rebalanceSummaryResult": summary(plan),
    })
}

fn online(servers: &[InstanceId]) -> Value {
    let servers = servers.iter().map(|id| (id.0.clone(), json!("ONLINE")));
    Value::Object(servers.collect())
}

/// Pinot's names: partition, then group.
fn partitions(groups: &[Vec<Vec<InstanceId>>]) -> Value {
    let mut all = serde_json::Map::new();
    for (group, of) in groups.iter().enumerate() {
        for (partition, servers) in of.iter().enumerate() {
            all.insert(format!("{partition}_{group}"), json!(servers));
        }
    }
    json!({ "partitionToInstancesMap": all })
}

fn summary(plan: &Plan) -> Value {
    let servers = &plan.servers;
    let names = |fits: fn(&Share) -> bool| -> Vec<&InstanceId> {
        let fitting = servers.iter().filter(|(_, share)| fits(share));
        fitting.map(|(id, _)| id).collect()
    };
    let had = servers.values().filter(|share| share.before > 0).count();
    let have = servers.values().filter(|share| share.after > 0).count();
    let changes: BTreeMap<&InstanceId, Value> = servers
        .iter()
        .map(|(id, share)| {
            let status = match (share.before, share.after) {
                (0, _) => "ADDED",
                (_, 0) => "REMOVED",
                _ => "UNCHANGED",
            };
            let body = json!({
                "serverStatus": status,
                "totalSegmentsBeforeRebalance": share.before,
                "totalSegmentsAfterRebalance": share.after,
                "segmentsAdded": share.comes,
                "segmentsDeleted": share.goes,
                "segmentsUnchanged": share.before - share.goes,
            });
            (id, body)
        })
        .collect();
    let most = servers.values().map(|share| share.comes).max();
    let gone: u64 = servers.values().map(|share| share.goes).sum();
    json!({
        "serverInfo": {
            "numServersGettingNewSegments": names(|share| share.comes > 0).len(),
            "numServers": {
                "valueBeforeRebalance": had,
                "expectedValueAfterRebalance": have,
            },
            "serversAdded": names(|share| share.before == 0 && share.after > 0),
            "serversRemoved": names(|share| share.before > 0 && share.after == 0),
            "serversUnchanged": names(|share| share.before > 0 && share.after > 0),
            "serversGettingNewSegments": names(|share| share.comes > 0),
            "serverSegmentChangeInfo": changes,
        },
        "segmentInfo": {
            "totalSegmentsToBeMoved": plan.replicas,
            "totalSegmentsToBeDeleted": gone,
            "maxSegmentsAddedToASingleServer": most.unwrap_or(0),
            "totalEstimatedDataToBeMovedInBytes": plan.bytes,
            "replicationFactor": plan.table.spec.replication,
        },
    })
}

async fn cancel(
    Shared(state): App,
    Path(name): Path<String>,
    Params(wanted): Params<OfType>,
) -> Answer {
    let mut cancelled = Vec::new();
    for table in wanted.resolve(&state, &name)? {
        cancelled.extend(state.cancel_rebalance(table.spec.id).await?);
    }
    if cancelled.is_empty() {
        let what = format!("table `{name}` is not being rebalanced");
        return Err(Fault::not_found(what).into());
    }
    Ok(Json(json!(cancelled)))
}

async fn status(Shared(state): App, Path(job): Path<String>) -> Answer {
    let unknown = || Fault::not_found(format!("there is no rebalance `{job}`"));
    let id: Uuid = job.parse().map_err(|_| unknown())?;
    let (moving, found) = state.find_rebalance(id).ok_or_else(unknown)?;
    Ok(Json(progress(&state, &moving, &found)))
}

fn progress(state: &State, moving: &Moving, job: &RebalanceJob) -> Value {
    let until = job.finished_ms.unwrap_or_else(|| state.clock.now_ms());
    let seconds = (until - job.submitted_ms).max(0) / 1000;
    let left = match job.status {
        RebalanceStatus::InProgress if job.planned => moving.targets.len() as u64,
        RebalanceStatus::InProgress => job.segments,
        RebalanceStatus::Done | RebalanceStatus::Cancelled => 0,
    };
    let done = job.segments.saturating_sub(left);
    let percent = match job.segments {
        0 => 100.0,
        all => done as f64 * 100.0 / all as f64,
    };
    let to_end = match (left, done) {
        (0, _) => Some(0),
        (_, 0) => None,
        (left, done) => Some(seconds * left as i64 / done as i64),
    };
    let told = format!(
        "{done} of {} segments are where they shall be",
        job.segments
    );
    json!({
        "tableRebalanceProgressStats": {
            "status": job.status.name(),
            "startTimeMs": job.submitted_ms,
            "timeToFinishInSeconds": job.finished_ms.map(|_| seconds),
            "completionStatusMsg": told,
            "rebalanceProgressStatsOverall": {
                "totalSegmentsToBeAdded": job.replicas,
                "totalRemainingSegmentsToConverge": left,
                "percentageRemainingSegmentsToBeAdded": 100.0 - percent,
                "estimatedTimeToCompleteAddsInSeconds": to_end,
                "averageSegmentSizeInBytes": job.bytes.checked_div(job.replicas).unwrap_or(0),
            },
        },
        "timeElapsedSinceStartInSeconds": seconds,
        "jobId": job.id.to_string(),
        "tableName": moving.table.spec.physical_name(),
    })
}

async fn jobs(
    Shared(state): App,
    Path(name): Path<String>,
    Params(wanted): Params<OfType>,
) -> Answer {
    let mut all = BTreeMap::new();
    for table in wanted.resolve(&state, &name)? {
        let moving = state.moving_of(table.spec.id);
        for moving in moving.iter() {
            for job in &moving.moves.jobs {
                all.insert(job.id.to_string(), progress(&state, moving, job));
            }
        }
    }
    Ok(Json(json!(all)))
}

async fn groups(
    Shared(state): App,
    Path(name): Path<String>,
    Params(wanted): Params<OfType>,
) -> Answer {
    let mut all = BTreeMap::new();
    for table in wanted.resolve(&state, &name)? {
        let Some(moving) = state.moving_of(table.spec.id) else {
            continue;
        };
        for (kind, groups) in &moving.moves.groups {
            all.insert(kind.name(), partitions(&groups.groups));
        }
    }
    Ok(Json(json!(all)))
}
