//! Segment lineage over HTTP: Pinot's endpoints of a consistent push, and those of an import.

use std::collections::BTreeSet;
use std::sync::Arc;

use access::Action;
use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State as Shared};
use rest::api::{get, post};
use rest::{Api, Params};
use schemas::Fault;
use schemas::cluster::TableState;
use schemas::segment::SegmentRecord;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::document::Document;
use super::{Answer, App};
use crate::replacements::Wanted;
use crate::state::State;

/// Sequences that one request may reserve.
const SEQUENCES_MAX: u32 = 1000;

pub(super) fn routes() -> Api<Arc<State>> {
    let start = post("Begins to replace segments by others", start)
        .query("type", "OFFLINE")
        .query("forceCleanup", "true: what stands against it is taken back")
        .body(json!({ "segmentsFrom": [], "segmentsTo": [] }))
        .table(Action::Write);
    let end = post("The new segments count, the old ones do not", end)
        .query(
            "segmentLineageEntryId",
            "what startReplaceSegments answered",
        )
        .body(json!({ "segmentsTo": [] }))
        .table(Action::Write);
    let revert = post("The old segments count again", revert)
        .query(
            "segmentLineageEntryId",
            "what startReplaceSegments answered",
        )
        .query("forceRevert", "true: also while it is under way")
        .table(Action::Write);
    Api::default()
        .route("/segments/{table}/startReplaceSegments", [start])
        .route("/segments/{table}/endReplaceSegments", [end])
        .route("/segments/{table}/revertReplaceSegments", [revert])
        .route(
            "/segments/{table}/lineage",
            [get("Replacements of segments", lineage).table(Action::Read)],
        )
        .merge(of_imports())
}

fn of_imports() -> Api<Arc<State>> {
    let begin = post("Begins an import, or goes on with one that was left", begin)
        .body(json!({ "key": "nightly", "mode": "APPEND" }))
        .table(Action::Write);
    let reserve = post("Numbers for segments that will be uploaded", reserve)
        .query("count", "how many; 1 unless it is set")
        .table(Action::Write);
    let finish = post("Its segments count from now on, all at once", finish)
        .body(json!({ "segments": [] }))
        .table(Action::Write);
    Api::default()
        .route("/v1/tables/{table}/imports", [begin])
        .route("/v1/tables/{table}/imports/{id}/sequences", [reserve])
        .route("/v1/tables/{table}/imports/{id}/end", [finish])
        .route(
            "/v1/tables/{table}/imports/{id}/revert",
            [post("Takes it back", give_up).table(Action::Write)],
        )
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct OfReplacement {
    force_cleanup: bool,
    segment_lineage_entry_id: Option<Uuid>,
    force_revert: bool,
}

impl OfReplacement {
    fn id(&self) -> Result<Uuid, Fault> {
        let missing = || Fault::invalid("segmentLineageEntryId is missing");
        self.segment_lineage_entry_id.ok_or_else(missing)
    }
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Names {
    segments_from: BTreeSet<String>,
    segments_to: Option<BTreeSet<String>>,
}

/// A body may be left out.
fn parsed<T: Default + DeserializeOwned>(body: &Bytes) -> Result<T, Fault> {
    if body.trim_ascii().is_empty() {
        return Ok(T::default());
    }
    serde_json::from_slice(body)
        .map_err(|error| Fault::invalid(format!("the body is not understood: {error}")))
}

async fn start(
    Shared(state): App,
    Path(name): Path<String>,
    Params(of): Params<OfReplacement>,
    document: Document,
) -> Answer {
    let table = state.offline_part(&name)?;
    let names: Names = document.parse()?;
    let wanted = Wanted::Named {
        from: names.segments_from,
        to: names.segments_to.unwrap_or_default(),
        force: of.force_cleanup,
    };
    let begun = state.start_replacement(&table, wanted).await?;
    Ok(Json(json!({ "segmentLineageEntryId": begun.id })))
}

async fn end(
    Shared(state): App,
    Path(name): Path<String>,
    Params(of): Params<OfReplacement>,
    body: Bytes,
) -> Answer {
    let table = state.offline_part(&name)?;
    let id = of.id()?;
    let names: Names = parsed(&body)?;
    // As in Pinot an empty list is none.
    let to = names.segments_to.filter(|names| !names.is_empty());
    state.end_replacement(&table, id, to).await?;
    Ok(Json(json!({
        "status": format!("replacement {id} of segments of {name} is done"),
    })))
}

async fn revert(
    Shared(state): App,
    Path(name): Path<String>,
    Params(of): Params<OfReplacement>,
) -> Answer {
    let table = state.offline_part(&name)?;
    let id = of.id()?;
    state
        .revert_replacement(&table, id, of.force_revert)
        .await?;
    Ok(Json(json!({
        "status": format!("replacement {id} of segments of {name} was taken back"),
    })))
}

async fn lineage(Shared(state): App, Path(name): Path<String>) -> Answer {
    let table = state.offline_part(&name)?;
    let lineage = state.lineage(table.spec.id).await?;
    let entries = lineage.replacements().iter().map(|one| {
        let entry = json!({
            "segmentsFrom": one.from,
            "segmentsTo": one.to,
            "state": one.state,
            "timestamp": one.changed_ms,
        });
        (one.id.to_string(), entry)
    });
    let entries: Map<String, Value> = entries.collect();
    Ok(Json(json!({
        "tableNameWithType": table.spec.physical_name(),
        "lineageEntries": entries,
    })))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Begin {
    key: String,
    /// What the table's config says unless it is set.
    mode: Option<Mode>,
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
enum Mode {
    Append,
    Refresh,
}

async fn begin(Shared(state): App, Path(name): Path<String>, document: Document) -> Answer {
    let table = state.offline_part(&name)?;
    let Begin { key, mode } = document.parse()?;
    let refresh = mode.map_or(table.spec.batch.refresh, |mode| mode == Mode::Refresh);
    let wanted = Wanted::Import { key, refresh };
    let begun = state.start_replacement(&table, wanted).await?;
    let segments = state.catalog.segments(table.spec.id).await;
    let segments = segments.map_err(Fault::from)?.into_iter();
    let segments = segments.map(|one| one.record);
    let come: Vec<SegmentRecord> = segments
        .filter(|one| begun.to.contains(&one.name))
        .collect();
    Ok(Json(json!({
        "id": begun.id,
        "spec": table.spec,
        "replaces": begun.from.len(),
        "segments": come,
    })))
}

#[derive(Deserialize)]
struct Count {
    #[serde(default = "one")]
    count: u32,
}

fn one() -> u32 {
    1
}

async fn reserve(
    Shared(state): App,
    Path((name, id)): Path<(String, Uuid)>,
    Params(Count { count }): Params<Count>,
) -> Answer {
    let table = state.offline_part(&name)?;
    if !(1..=SEQUENCES_MAX).contains(&count) {
        let message = format!("count: {count} is not between 1 and {SEQUENCES_MAX}");
        return Err(Fault::invalid(message).into());
    }
    state.lineage(table.spec.id).await?.find(id)?;
    let first = state
        .catalog
        .reserve_sequences(table.spec.id, count)
        .await?;
    Ok(Json(json!({ "first": first })))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Finish {
    segments: BTreeSet<String>,
}

async fn finish(
    Shared(state): App,
    Path((name, id)): Path<(String, Uuid)>,
    document: Document,
) -> Answer {
    let table = state.offline_part(&name)?;
    let Finish { segments } = document.parse()?;
    let count = segments.len();
    state.end_replacement(&table, id, Some(segments)).await?;
    Ok(Json(json!({ "segments": count })))
}

async fn give_up(Shared(state): App, Path((name, id)): Path<(String, Uuid)>) -> Answer {
    let table: Arc<TableState> = state.offline_part(&name)?;
    state.revert_replacement(&table, id, true).await?;
    Ok(Json(json!({ "status": "taken back" })))
}
