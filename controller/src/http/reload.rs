//! Reloads of segments as Pinot has them, how far they are, and which indexes there are.

use std::collections::BTreeMap;
use std::sync::Arc;

use access::Action;
use axum::Json;
use axum::extract::{Path, State as Shared};
use rest::api::{Operation, get, post};
use rest::{Api, By, Params};
use schemas::cluster::TableState;
use schemas::proto::SegmentIndex;
use schemas::table::StarTreeSpec;
use schemas::{Fault, InstanceId};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::tables::{OfType, of_type};
use super::{Answer, App, segments};
use crate::reloads::{Progress, Wanted, servers_of};
use crate::state::State;

const STAR_TREE: &str = "star_tree";
/// Of an index, in our words and in Pinot's.
const NAMES: [(&str, &str); 6] = [
    ("inverted", "inverted-index"),
    ("range", "range-index"),
    ("bloom", "bloom-filter"),
    ("text", "text-index"),
    ("json", "json-index"),
    ("timestamp", "timestamp-index"),
];
const MS_PER_MINUTE: f64 = 60_000.0;

pub(super) fn routes() -> Api<Arc<State>> {
    let reload = |operation: Operation<Arc<State>>| {
        operation
            .query(
                "forceDownload",
                "true: the files are loaded from the deep store",
            )
            .query("targetInstance", "only on this server")
            .table(Action::Admin)
    };
    Api::default()
        .route(
            "/segments/{table}/reload",
            [of_type(reload(post("Builds missing indexes", reload_all)))],
        )
        .route(
            "/segments/{table}/{segment}/reload",
            [reload(post(
                "Builds missing indexes of a segment",
                reload_one,
            ))],
        )
        .route(
            "/segments/segmentReloadStatus/{job}",
            [get("How far a reload is", status).inside()],
        )
        .route(
            "/segments/{table}/needReload",
            [get("Which servers lack indexes", need_reload).table(Action::Read)],
        )
        .route(
            "/tables/{table}/indexes",
            [get("Indexes by column", indexes).table(Action::Read)],
        )
}

#[derive(Deserialize)]
struct Options {
    #[serde(rename = "forceDownload", default)]
    force_download: bool,
    #[serde(rename = "targetInstance")]
    instance: Option<String>,
}

impl Options {
    fn wanted(self) -> Wanted {
        Wanted {
            segment: None,
            force_download: self.force_download,
            instance: self.instance.map(InstanceId),
        }
    }
}

async fn reload_all(
    Shared(state): App,
    Path(name): Path<String>,
    Params(wanted): Params<OfType>,
    Params(options): Params<Options>,
) -> Answer {
    let options = options.wanted();
    let mut jobs = Map::new();
    for table in wanted.resolve(&state, &name)? {
        let job = state.reload(&table, options.clone()).await?;
        let body = json!({
            "reloadJobId": job.id.to_string(),
            "reloadJobMetaZKStorageStatus": "SUCCESS",
            "numMessagesSent": servers_of(&table, &job).len().to_string(),
        });
        jobs.insert(table.spec.physical_name(), body);
    }
    Ok(Json(json!({ "status": Value::Object(jobs).to_string() })))
}

async fn reload_one(
    Shared(state): App,
    Path((name, segment)): Path<(String, String)>,
    Params(options): Params<Options>,
) -> Answer {
    let record = segments::find(&state, &name, &segment)?;
    if !record.is_done() {
        let what =
            format!("segment `{segment}` is consuming: it gets its indexes when it is sealed");
        return Err(Fault::conflict(what).into());
    }
    let gone = || Fault::not_found(format!("table `{name}` does not exist"));
    let table = state.table(record.id.table).ok_or_else(gone)?;
    let wanted = Wanted {
        segment: Some(record.id),
        ..options.wanted()
    };
    let job = state.reload(&table, wanted).await?;
    let (id, servers) = (job.id, servers_of(&table, &job).len());
    let text = format!(
        "Submitted reload job id: {id}, sent {servers} reload messages. Job meta ZK storage \
         status: SUCCESS"
    );
    Ok(Json(
        json!({ "status": text, "reloadJobId": id.to_string() }),
    ))
}

async fn status(Shared(state): App, By(caller): By, Path(job): Path<String>) -> Answer {
    let unknown = || Fault::not_found(format!("there is no reload `{job}`"));
    let id: Uuid = job.parse().map_err(|_| unknown())?;
    let (table, found) = state.find_reload(id).ok_or_else(unknown)?;
    caller.check(Action::Read, table.spec.name.as_str())?;
    let Progress {
        total,
        done,
        failed,
        failures,
        servers,
        silent,
    } = state.progress(&table, &found);
    let elapsed = (state.clock.now_ms() - found.submitted_ms).max(0) as f64 / MS_PER_MINUTE;
    let left = match (total - (done + failed).min(total), done + failed) {
        (0, _) => 0.0,
        (_, 0) => -1.0,
        (left, ended) => elapsed * left as f64 / ended as f64,
    };
    let segment = found.segment.and_then(|id| table.segments.find(id));
    Ok(Json(json!({
        "timeElapsedInMinutes": elapsed,
        "estimatedTimeRemainingInMinutes": left,
        "totalSegmentCount": total,
        "successCount": done,
        "failureCount": failed,
        "segmentReloadFailures": failures,
        "totalServersQueried": servers,
        "totalServerCallsFailed": silent,
        "metadata": {
            "jobId": id.to_string(),
            "jobType": "RELOAD_SEGMENT",
            "tableName": table.spec.physical_name(),
            "segmentName": segment.map(|segment| segment.record.name.clone()),
            "submissionTimeMs": found.submitted_ms.to_string(),
            "messageCount": servers.to_string(),
        },
    })))
}

#[derive(Deserialize)]
struct Verbose {
    #[serde(default)]
    verbose: bool,
}

async fn need_reload(
    Shared(state): App,
    Path(name): Path<String>,
    Params(wanted): Params<OfType>,
    Params(options): Params<Verbose>,
) -> Answer {
    let mut servers: BTreeMap<InstanceId, Vec<String>> = BTreeMap::new();
    for table in wanted.resolve(&state, &name)? {
        for segment in &table.segments {
            for (server, list) in state.index_lists(segment.record.id) {
                let segments = servers.entry(server).or_default();
                if !list.missing.is_empty() {
                    segments.push(segment.record.name.clone());
                }
            }
        }
    }
    let needed = servers.values().any(|segments| !segments.is_empty());
    let list: BTreeMap<String, Value> = servers
        .into_iter()
        .filter(|_| options.verbose)
        .map(|(server, segments)| {
            let body = json!({
                "needReload": !segments.is_empty(),
                "instanceId": server.0,
                "segments": segments,
            });
            (server.0, body)
        })
        .collect();
    Ok(Json(json!({
        "needReload": needed,
        "serverToSegmentsCheckReloadList": list,
    })))
}

/// How many segments have which index of each column.
async fn indexes(
    Shared(state): App,
    Path(name): Path<String>,
    Params(wanted): Params<OfType>,
) -> Answer {
    let (mut online, mut counts) = (0, BTreeMap::<String, BTreeMap<String, u64>>::new());
    let mut star_trees = BTreeMap::<String, u64>::new();
    for table in wanted.resolve(&state, &name)? {
        for segment in sealed_online(&table) {
            online += 1;
            for index in state.indexes_of(segment) {
                if index.kind == STAR_TREE {
                    *star_trees.entry(index.columns.join(",")).or_default() += 1;
                    continue;
                }
                for column in index.columns {
                    let own = counts.entry(column).or_default();
                    *own.entry(index.kind.clone()).or_default() += 1;
                }
            }
        }
    }
    Ok(Json(json!({
        "totalOnlineSegments": online,
        "columnToIndexesCount": counts,
        "starTreesCount": star_trees,
    })))
}

fn sealed_online(table: &TableState) -> impl Iterator<Item = schemas::SegmentId> {
    let segments = table.segments.iter();
    let online = segments.filter(|s| s.record.is_done() && !s.online.is_empty());
    online.map(|segment| segment.record.id)
}

/// Column → index → YES, as Pinot's metadata of a segment has them.
pub(super) fn by_column(indexes: &[SegmentIndex]) -> Value {
    let mut columns: BTreeMap<&str, BTreeMap<&str, &str>> = BTreeMap::new();
    for index in indexes.iter().filter(|index| index.kind != STAR_TREE) {
        let named = NAMES.iter().find(|(own, _)| *own == index.kind);
        let name = named.map_or(index.kind.as_str(), |(_, pinot)| *pinot);
        for column in &index.columns {
            columns.entry(column).or_default().insert(name, "YES");
        }
    }
    json!(columns)
}

/// `null` without one, as Pinot has it.
pub(super) fn star_trees(indexes: &[SegmentIndex]) -> Value {
    let trees = indexes.iter().filter(|index| index.kind == STAR_TREE);
    let specs = trees.filter_map(|index| serde_json::from_slice(&index.parameters).ok());
    let bodies: Vec<Value> = specs
        .map(|spec: StarTreeSpec| {
            let pairs = spec.aggregates.iter().map(ToString::to_string);
            json!({
                "dimension-columns": spec.dimensions,
                "metric-aggregations": pairs.collect::<Vec<_>>(),
                "max-leaf-records": spec.leaf_rows_max,
                "dimension-columns-skipped": spec.no_star,
            })
        })
        .collect();
    match bodies.is_empty() {
        true => Value::Null,
        false => json!(bodies),
    }
}
