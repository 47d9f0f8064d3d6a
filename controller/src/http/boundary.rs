//! The time boundary of hybrid tables, as somebody sets it: Pinot's endpoints.

use std::collections::HashSet;
use std::sync::Arc;

use access::Action;
use axum::Json;
use axum::extract::{Path, State as Shared};
use rest::Api;
use rest::api::{delete, post};
use schemas::cluster::TableState;
use schemas::{Fault, SegmentId, TableType};
use serde_json::json;

use super::{Answer, App};
use crate::state::State;

pub(super) fn routes() -> Api<Arc<State>> {
    Api::default().route(
        "/tables/{table}/timeBoundary",
        [
            post(
                "The OFFLINE part of a hybrid table is whole up to its newest row",
                set,
            )
            .table(Action::Admin),
            delete("The time boundary follows from the segments again", leave).table(Action::Admin),
        ],
    )
}

async fn set(Shared(state): App, Path(name): Path<String>) -> Answer {
    let parts = state.resolve(&name)?;
    let is = |of: TableType| parts.iter().any(|part| part.spec.table_type == of);
    if !is(TableType::Offline) || !is(TableType::Realtime) {
        let message = format!("table `{name}` is no hybrid table: it has one part");
        return Err(Fault::not_found(message).into());
    }
    let offline = state.offline_part(&name)?;
    let set = change(&state, &offline, true).await?;
    let set = set.unwrap_or_default();
    Ok(Json(
        json!({ "status": format!("Time boundary successfully updated to: {set}") }),
    ))
}

async fn leave(Shared(state): App, Path(name): Path<String>) -> Answer {
    let offline = state.offline_part(&name)?;
    change(&state, &offline, false).await?;
    Ok(Json(
        json!({ "status": "Time boundary successfully removed" }),
    ))
}

async fn change(state: &State, table: &TableState, is_set: bool) -> Result<Option<i64>, Fault> {
    let held = table.seen().filter(|segment| !segment.online.is_empty());
    let held: HashSet<SegmentId> = held.map(|segment| segment.record.id).collect();
    let id = table.spec.id;
    let changing = state
        .catalog
        .set_boundary(id, is_set, |one| held.contains(&one));
    let boundary = changing.await?;
    state.publish(id).await?;
    Ok(boundary)
}
