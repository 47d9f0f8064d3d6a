//! `/schemas`: Pinot's schemas, kept and given back as they were posted.

use std::sync::Arc;

use access::Action;
use axum::Json;
use axum::extract::{Path, State as Shared};
use rest::api::{delete, get, post, put};
use rest::{Api, ApiError, By, Params};
use schemas::Fault;
use schemas::pinot::{Parsed, Schema, parse_schema};
use serde::Deserialize;
use serde_json::{Value, json};

use super::document::Document;
use super::{Answer, App};
use crate::state::State;
use crate::tables::unchangeable_columns;

pub(super) fn routes() -> Api<Arc<State>> {
    let create = post("Adds a schema", create).query("override", "false: one that exists stays");
    Api::default()
        .route(
            "/schemas",
            [
                get("Names of schemas", list).known(),
                create.body(json!({})).inside(),
            ],
        )
        .route(
            "/schemas/{schema}",
            [
                get("A schema as it was posted", read).named(Action::Read, "schema"),
                put("Replaces a schema", replace)
                    .body(json!({}))
                    .named(Action::Admin, "schema"),
                delete("Removes a schema", remove).named(Action::Admin, "schema"),
            ],
        )
}

#[derive(Deserialize)]
struct CreateOptions {
    #[serde(rename = "override", default = "yes")]
    replace: bool,
}

fn yes() -> bool {
    true
}

async fn list(Shared(state): App, By(caller): By) -> Answer {
    let mut names = state.catalog.schema_names().await.map_err(Fault::from)?;
    names.retain(|name| caller.may_any(name));
    Ok(Json(json!(names)))
}

async fn create(
    Shared(state): App,
    By(caller): By,
    Params(options): Params<CreateOptions>,
    Document(schema): Document,
) -> Answer {
    let parsed = parse_schema(&schema).map_err(Fault::from)?;
    let name = parsed.value.name.as_str();
    caller.check(Action::Admin, name)?;
    let known = state.catalog.schema(name).await.map_err(Fault::from)?;
    if known.is_some() && !options.replace {
        return Err(Fault::conflict(format!("schema `{name}` already exists")).into());
    }
    store(&state, schema, &parsed).await
}

async fn replace(
    Shared(state): App,
    Path(name): Path<String>,
    Document(schema): Document,
) -> Answer {
    let parsed = parse_schema(&schema).map_err(Fault::from)?;
    if parsed.value.name.as_str() != name {
        let message = format!(
            "the schema is named `{}`, the path says `{name}`",
            parsed.value.name
        );
        return Err(Fault::invalid(message).into());
    }
    existing(&state, &name).await?;
    store(&state, schema, &parsed).await
}

async fn store(state: &State, json: String, parsed: &Parsed<Schema>) -> Answer {
    let name = parsed.value.name.as_str();
    let tables = state.tables().into_iter();
    let tables: Vec<_> = tables
        .filter(|table| table.spec.name == parsed.value.name)
        .collect();
    for table in &tables {
        let refused = unchangeable_columns(&parsed.value, &table.spec);
        if !refused.is_empty() {
            let (table, refused) = (table.spec.physical_name(), refused.join("; "));
            let message = format!("the schema of table `{table}` cannot become this: {refused}");
            return Err(Fault::invalid(message).into());
        }
    }
    for table in &tables {
        state.change_schema(table, &json, &parsed.value).await?;
    }
    let putting = state.catalog.put_schema(name, json);
    putting.await.map_err(Fault::from)?;
    let mut body = json!({
        "unrecognizedProperties": parsed.unrecognized,
        "status": format!("{name} successfully added"),
    });
    if !parsed.warnings.is_empty() {
        body["warnings"] = json!(parsed.warnings);
    }
    Ok(Json(body))
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

pub(super) async fn existing(state: &State, name: &str) -> Result<Value, ApiError> {
    let found = state.catalog.schema(name).await.map_err(Fault::from)?;
    let json = found.ok_or_else(|| Fault::not_found(format!("schema `{name}` does not exist")))?;
    serde_json::from_str(&json)
        .map_err(|error| Fault::internal(format!("schema `{name}` is damaged: {error}")).into())
}
