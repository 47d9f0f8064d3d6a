//! `/schemas`: Pinot's schemas, kept and given back as they were posted.

use axum::extract::{Path, Query, State as Shared};
use axum::routing::get;
use axum::{Json, Router};
use rest::ApiError;
use schemas::Fault;
use schemas::pinot::parse_schema;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Answer, App};

pub(super) fn routes() -> Router<std::sync::Arc<crate::state::State>> {
    Router::new()
        .route("/schemas", get(list).post(create))
        .route("/schemas/{schema}", get(read).put(replace).delete(remove))
}

#[derive(Deserialize)]
struct CreateOptions {
    #[serde(rename = "override", default = "yes")]
    replace: bool,
}

fn yes() -> bool {
    true
}

async fn list(Shared(state): App) -> Answer {
    Ok(Json(json!(
        state.catalog.schema_names().await.map_err(Fault::from)?
    )))
}

async fn create(Shared(state): App, Query(options): Query<CreateOptions>, body: String) -> Answer {
    let parsed = parse_schema(&body).map_err(Fault::from)?;
    let name = parsed.value.name.as_str();
    let exists = state
        .catalog
        .schema(name)
        .await
        .map_err(Fault::from)?
        .is_some();
    if exists && !options.replace {
        return Err(Fault::conflict(format!("schema `{name}` already exists")).into());
    }
    state
        .catalog
        .put_schema(name, body)
        .await
        .map_err(Fault::from)?;
    Ok(Json(json!({
        "unrecognizedProperties": parsed.unrecognized,
        "status": format!("{name} successfully added"),
    })))
}

async fn replace(Shared(state): App, Path(name): Path<String>, body: String) -> Answer {
    let parsed = parse_schema(&body).map_err(Fault::from)?;
    if parsed.value.name.as_str() != name {
        let message = format!(
            "the schema is named `{}`, the path says `{name}`",
            parsed.value.name
        );
        return Err(Fault::invalid(message).into());
    }
    existing(&state, &name).await?;
    state
        .catalog
        .put_schema(&name, body)
        .await
        .map_err(Fault::from)?;
    Ok(Json(json!({
        "unrecognizedProperties": parsed.unrecognized,
        "status": format!("{name} successfully added"),
    })))
}

async fn read(Shared(state): App, Path(name): Path<String>) -> Answer {
    Ok(Json(existing(&state, &name).await?))
}

async fn remove(Shared(state): App, Path(name): Path<String>) -> Answer {
    existing(&state, &name).await?;
    if let Some(table) = state
        .tables()
        .iter()
        .find(|table| table.spec.name.as_str() == name)
    {
        let table = table.spec.physical_name();
        let message = format!("schema `{name}` is used by table `{table}`; drop that first");
        return Err(Fault::conflict(message).into());
    }
    state
        .catalog
        .delete_schema(&name)
        .await
        .map_err(Fault::from)?;
    Ok(Json(json!({ "status": format!("Schema {name} deleted") })))
}

pub(super) async fn existing(state: &crate::state::State, name: &str) -> Result<Value, ApiError> {
    let found = state.catalog.schema(name).await.map_err(Fault::from)?;
    let json = found.ok_or_else(|| Fault::not_found(format!("schema `{name}` does not exist")))?;
    serde_json::from_str(&json)
        .map_err(|error| Fault::internal(format!("schema `{name}` is damaged: {error}")).into())
}
