//! Nodes and their tags: who they are, of which tenant, and whether they get and keep segments.

use std::collections::BTreeSet;
use std::sync::Arc;

use access::Action;
use axum::Json;
use axum::extract::{Path, State as Shared};
use rest::api::{delete, get, post, put};
use rest::{Api, Params};
use schemas::cluster::Role;
use schemas::placement::{InstanceOrder, PlaceKind};
use schemas::{Fault, InstanceId};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Answer, App};
use crate::state::State;
use crate::view::Instance;

const SERVER_TAGS: [&str; 2] = ["_OFFLINE", "_REALTIME"];
const BROKER_TAG: &str = "_BROKER";

pub(super) fn routes() -> Api<Arc<State>> {
    let what = "ENABLE, DISABLE: nothing new comes to it; DRAIN: what it has goes to others";
    Api::default()
        .route(
            "/instances",
            [get("Names of all roles", instances).cluster(Action::Read)],
        )
        .route(
            "/instances/{instance}",
            [
                get("A role", instance).cluster(Action::Read),
                delete("Forgets a node that is gone and holds nothing", forget)
                    .cluster(Action::Admin),
            ],
        )
        .route(
            "/instances/{instance}/updateTags",
            [put("Gives it other tags", update_tags)
                .cluster(Action::Admin)
                .query("tags", "separated by commas")],
        )
        .route(
            "/instances/{instance}/state",
            [
                put("Whether it gets and keeps segments", set_state)
                    .cluster(Action::Admin)
                    .query("state", what),
                post("Whether it gets and keeps segments", set_state)
                    .cluster(Action::Admin)
                    .query("state", what),
            ],
        )
        .route("/tenants", [get("Names of tenants", tenants).known()])
        .route(
            "/tenants/{tenant}",
            [get("Nodes of a tenant", tenant).cluster(Action::Read)],
        )
        .route(
            "/tenants/{tenant}/tables",
            [get("Tables of a tenant", tables).cluster(Action::Read)],
        )
}

/// An instance as it is known, with what was ordered about it.
struct Known {
    role: Role,
    instance: Option<Instance>,
    tags: Vec<String>,
    order: InstanceOrder,
    /// Segments that it shall hold.
    segments: usize,
    /// Of those, such that shall be elsewhere in the end.
    leaving: usize,
}

fn find(state: &State, id: &InstanceId) -> Result<Known, Fault> {
    let (mut segments, mut leaving) = (0, 0);
    for moving in state.moving() {
        for segment in &moving.table.segments {
            if segment.assigned.contains(id) {
                segments += 1;
                leaving += usize::from(!moving.wanted(segment).contains(id));
            }
        }
    }
    let view = state.view.lock();
    let instance = view.instances.get(id).cloned();
    if instance.is_none() && segments == 0 && !view.ordered.contains_key(id) {
        return Err(Fault::not_found(format!("there is no instance `{id}`")));
    }
    let role = instance.as_ref().map_or(Role::Server, |one| one.role);
    Ok(Known {
        role,
        instance,
        tags: view.tags(id, role),
        order: view.order(id),
        segments,
        leaving,
    })
}

async fn instances(Shared(state): App) -> Json<Value> {
    let names: Vec<String> = state.instances().into_keys().map(|id| id.0).collect();
    Json(json!({ "instances": names }))
}

async fn instance(Shared(state): App, Path(name): Path<String>) -> Answer {
    let found = find(&state, &InstanceId(name.clone()))?;
    let alive = found.instance.as_ref().is_some_and(|one| one.alive);
    let turned_away = found.instance.as_ref();
    let turned_away = turned_away.and_then(|one| one.turned_away.clone());
    let address = found.instance.map(|one| one.address).unwrap_or_default();
    let (host, port) = address.rsplit_once(':').unwrap_or((&address, ""));
    Ok(Json(json!({
        "instanceName": name,
        "hostName": host,
        "port": port,
        "enabled": alive && found.order == InstanceOrder::Enabled,
        "tags": found.tags,
        "role": found.role,
        "alive": alive,
        "turnedAway": turned_away,
        "order": found.order.name(),
        "segments": found.segments,
        "segmentsLeaving": found.leaving,
    })))
}

#[derive(Deserialize)]
struct Tags {
    tags: Option<String>,
}

async fn update_tags(
    Shared(state): App,
    Path(name): Path<String>,
    Params(wanted): Params<Tags>,
) -> Answer {
    let id = InstanceId(name.clone());
    let found = find(&state, &id)?;
    let given = wanted.tags.unwrap_or_default();
    let tags: BTreeSet<&str> = given
        .split(',')
        .map(str::trim)
        .filter(|tag| !tag.is_empty())
        .collect();
    for tag in &tags {
        check_tag(found.role, tag)?;
    }
    let tags: Vec<String> = tags.into_iter().map(str::to_owned).collect();
    let kept = tags.clone();
    state
        .change_instance(&id, |stored| stored.tags = Some(kept))
        .await?;
    let text = format!("Updated tags: {tags:?} for instance: {name}");
    Ok(Json(json!({ "status": text })))
}

fn check_tag(role: Role, tag: &str) -> Result<(), Fault> {
    let fits = match role {
        Role::Server => SERVER_TAGS.iter().any(|ending| tag.ends_with(ending)),
        Role::Broker => tag.ends_with(BROKER_TAG),
        Role::Minion | Role::Controller => true,
    };
    if fits && !tag.starts_with('_') && !tag.contains(['/', ' ']) {
        return Ok(());
    }
    let wanted = match role {
        Role::Broker => "those of brokers end with _BROKER",
        _ => "those of servers end with _OFFLINE or _REALTIME",
    };
    Err(Fault::invalid(format!("`{tag}` is no tag: {wanted}")))
}

#[derive(Deserialize)]
struct Wanted {
    state: Option<String>,
}

async fn set_state(
    Shared(state): App,
    Path(name): Path<String>,
    Params(wanted): Params<Wanted>,
    body: String,
) -> Answer {
    let id = InstanceId(name.clone());
    let found = find(&state, &id)?;
    // Older clients of Pinot send it as the body.
    let text = wanted.state.unwrap_or(body);
    let order = match text.trim().trim_matches('"').to_uppercase().as_str() {
        "ENABLE" => InstanceOrder::Enabled,
        "DISABLE" => InstanceOrder::Disabled,
        "DRAIN" => InstanceOrder::Draining,
        other => {
            let what = format!("`{other}` is no state: ENABLE, DISABLE or DRAIN");
            return Err(Fault::invalid(what).into());
        }
    };
    if found.role != Role::Server {
        let what = format!(
            "`{name}` is a {}, only servers have segments",
            found.role.name()
        );
        return Err(Fault::invalid(what).into());
    }
    state
        .change_instance(&id, |stored| stored.order = order)
        .await?;
    let text = format!("Instance {name} is {}", order.name());
    Ok(Json(json!({ "status": text, "segments": found.segments })))
}

async fn forget(Shared(state): App, Path(name): Path<String>) -> Answer {
    let id = InstanceId(name.clone());
    let found = find(&state, &id)?;
    if found.instance.as_ref().is_some_and(|one| one.alive) {
        let what = format!("instance `{name}` lives: stop it first");
        return Err(Fault::conflict(what).into());
    }
    if found.segments > 0 {
        let what = format!(
            "instance `{name}` shall hold {} segments: PUT /instances/{name}/state?state=DRAIN \
             sends them to others",
            found.segments
        );
        return Err(Fault::conflict(what).into());
    }
    state.forget_instance(&id).await?;
    Ok(Json(
        json!({ "status": format!("Successfully dropped instance {name}") }),
    ))
}

/// Tenants of servers and of brokers, as tags and tables name them.
fn names(state: &State) -> (BTreeSet<String>, BTreeSet<String>) {
    let (mut servers, mut brokers) = (BTreeSet::new(), BTreeSet::new());
    let view = state.view.lock();
    for (id, instance) in &view.instances {
        for tag in view.tags(id, instance.role) {
            let of_server = SERVER_TAGS.iter().find_map(|end| tag.strip_suffix(end));
            match (instance.role, of_server, tag.strip_suffix(BROKER_TAG)) {
                (Role::Server, Some(tenant), _) => servers.insert(tenant.to_owned()),
                (Role::Broker, _, Some(tenant)) => brokers.insert(tenant.to_owned()),
                _ => false,
            };
        }
    }
    (servers, brokers)
}

async fn tenants(Shared(state): App) -> Json<Value> {
    let (servers, brokers) = names(&state);
    Json(json!({ "SERVER_TENANTS": servers, "BROKER_TENANTS": brokers }))
}

async fn tenant(Shared(state): App, Path(name): Path<String>) -> Answer {
    let (servers, brokers) = names(&state);
    if !servers.contains(&name) && !brokers.contains(&name) {
        let what = format!("there is no tenant `{name}`: no node has a tag of it");
        return Err(Fault::not_found(what).into());
    }
    let view = state.view.lock();
    let with = |role: Role, endings: &[&str]| -> Vec<String> {
        let all = view.instances.iter().filter(|(_, one)| one.role == role);
        let has = |id: &InstanceId| {
            let tags = view.tags(id, role);
            let mut wanted = endings.iter().map(|ending| format!("{name}{ending}"));
            wanted.any(|tag| tags.contains(&tag))
        };
        all.filter(|(id, _)| has(id))
            .map(|(id, _)| id.0.clone())
            .collect()
    };
    Ok(Json(json!({
        "tenantName": name,
        "ServerInstances": with(Role::Server, &SERVER_TAGS),
        "BrokerInstances": with(Role::Broker, &[BROKER_TAG]),
    })))
}

async fn tables(Shared(state): App, Path(name): Path<String>) -> Json<Value> {
    let tables = state.tables().into_iter();
    let of_tenant = tables.filter(|table| {
        let kinds = PlaceKind::of(table.spec.table_type).iter();
        let placement = &table.spec.placement;
        let mut tags = kinds.map(|kind| placement.tag(*kind));
        tags.any(|tag| {
            SERVER_TAGS
                .iter()
                .any(|end| tag.strip_suffix(end) == Some(&name))
        })
    });
    let names: Vec<String> = of_tenant.map(|table| table.spec.physical_name()).collect();
    Json(json!({ "tables": names }))
}
