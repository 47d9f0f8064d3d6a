//! Who takes queries: the endpoints by which Pinot's clients find a broker.
//!
//! Every broker answers for every table. Pinot's older paths give names, those under `/v2` give
//! hosts and ports.

use std::collections::BTreeMap;
use std::sync::Arc;

use access::{Action, Caller};
use axum::Json;
use axum::extract::{Path, State as Shared};
use rest::api::{Operation, get};
use rest::{Api, By, Params};
use schemas::cluster::Role;
use schemas::{Fault, InstanceId};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Answer, App};
use crate::state::State;
use crate::view::Instance;

const TENANT: &str = "DefaultTenant";

pub(super) fn routes() -> Api<Arc<State>> {
    let alive = |operation: Operation<Arc<State>>| {
        operation
            .query("state", "ONLINE: those that live; OFFLINE: the others")
            .known()
    };
    let live = get("Brokers of some tables, with host and port", live)
        .query("tables", "names, separated by commas; all unless it is set")
        .known();
    Api::default()
        .route("/brokers", [alive(get("Brokers by tenant and table", all))])
        .route(
            "/brokers/tenants",
            [alive(get("Brokers by tenant", by_tenant))],
        )
        .route(
            "/brokers/tenants/{tenant}",
            [alive(get("Brokers of a tenant", of_tenant))],
        )
        .route(
            "/brokers/tables",
            [alive(get("Brokers by table", by_table))],
        )
        .route(
            "/brokers/tables/{table}",
            [alive(get("Brokers of a table", of_table)).table(Action::Read)],
        )
        .route(
            "/v2/brokers",
            [alive(get("Brokers by tenant and table", all_v2))],
        )
        .route(
            "/v2/brokers/tenants",
            [alive(get("Brokers by tenant", by_tenant_v2))],
        )
        .route(
            "/v2/brokers/tenants/{tenant}",
            [alive(get("Brokers of a tenant", of_tenant_v2))],
        )
        .route(
            "/v2/brokers/tables",
            [alive(get("Brokers by table", by_table_v2))],
        )
        .route(
            "/v2/brokers/tables/{table}",
            [alive(get("Brokers of a table", of_table_v2)).table(Action::Read)],
        )
        .route("/tables/livebrokers", [live])
        .route(
            "/tables/{table}/livebrokers",
            [get("Names of its brokers", of_table).table(Action::Read)],
        )
}

/// A broker that lives, as it is reached.
#[derive(Clone, Debug)]
pub(super) struct Broker {
    pub(super) name: String,
    pub(super) host: String,
    pub(super) port: u16,
}

impl Broker {
    fn of((id, instance): (InstanceId, Instance)) -> Option<Self> {
        let (host, port) = instance.address.rsplit_once(':')?;
        Some(Self {
            name: id.0,
            host: host.to_owned(),
            port: port.parse().ok()?,
        })
    }

    fn json(&self) -> Value {
        let Self { name, host, port } = self;
        json!({ "instanceName": name, "host": host, "port": port })
    }
}

#[derive(Deserialize, Default)]
struct Asked {
    state: Option<String>,
}

impl Asked {
    fn brokers(&self, state: &State) -> Result<Vec<Broker>, Fault> {
        match self.state.as_deref() {
            None => Ok(brokers(state, |_| true)),
            Some(text) if text.eq_ignore_ascii_case("ONLINE") => Ok(living(state)),
            Some(text) if text.eq_ignore_ascii_case("OFFLINE") => Ok(brokers(state, |i| !i.alive)),
            Some(text) => {
                let message = format!("`{text}` is no state: ONLINE or OFFLINE");
                Err(Fault::invalid(message))
            }
        }
    }
}

fn brokers(state: &State, fits: impl Fn(&Instance) -> bool) -> Vec<Broker> {
    let all = state.instances().into_iter();
    let brokers = all.filter(|(_, one)| one.role == Role::Broker && fits(one));
    brokers.filter_map(Broker::of).collect()
}

pub(super) fn living(state: &State) -> Vec<Broker> {
    brokers(state, |instance| instance.alive)
}

fn names(brokers: &[Broker]) -> Value {
    brokers.iter().map(|broker| json!(broker.name)).collect()
}

fn addresses(brokers: &[Broker]) -> Value {
    brokers.iter().map(Broker::json).collect()
}

/// How a list of brokers is shown.
type Shown = fn(&[Broker]) -> Value;

fn tables(state: &State, caller: &Caller, brokers: &[Broker], shown: Shown) -> Value {
    let tables = state.tables();
    let seen = tables
        .iter()
        .filter(|table| caller.may_any(table.spec.name.as_str()));
    let names = seen.map(|table| table.spec.physical_name());
    let by_name: BTreeMap<String, Value> = names.map(|name| (name, shown(brokers))).collect();
    json!(by_name)
}

fn everything(state: &State, caller: &Caller, asked: &Asked, shown: Shown) -> Answer {
    let brokers = asked.brokers(state)?;
    Ok(Json(json!({
        "tenants": { TENANT: shown(&brokers) },
        "tables": tables(state, caller, &brokers, shown),
    })))
}

async fn all(Shared(state): App, By(caller): By, Params(asked): Params<Asked>) -> Answer {
    everything(&state, &caller, &asked, names)
}

async fn all_v2(Shared(state): App, By(caller): By, Params(asked): Params<Asked>) -> Answer {
    everything(&state, &caller, &asked, addresses)
}

async fn by_tenant(Shared(state): App, Params(asked): Params<Asked>) -> Answer {
    Ok(Json(json!({ TENANT: names(&asked.brokers(&state)?) })))
}

async fn by_tenant_v2(Shared(state): App, Params(asked): Params<Asked>) -> Answer {
    Ok(Json(json!({ TENANT: addresses(&asked.brokers(&state)?) })))
}

fn known_tenant(name: &str) -> Result<(), Fault> {
    match name {
        TENANT => Ok(()),
        _ => Err(Fault::not_found(format!(
            "there is no tenant `{name}`; all brokers are of `{TENANT}`"
        ))),
    }
}

async fn of_tenant(
    Shared(state): App,
    Path(name): Path<String>,
    Params(asked): Params<Asked>,
) -> Answer {
    known_tenant(&name)?;
    Ok(Json(names(&asked.brokers(&state)?)))
}

async fn of_tenant_v2(
    Shared(state): App,
    Path(name): Path<String>,
    Params(asked): Params<Asked>,
) -> Answer {
    known_tenant(&name)?;
    Ok(Json(addresses(&asked.brokers(&state)?)))
}

async fn by_table(Shared(state): App, By(caller): By, Params(asked): Params<Asked>) -> Answer {
    let brokers = asked.brokers(&state)?;
    Ok(Json(tables(&state, &caller, &brokers, names)))
}

async fn by_table_v2(Shared(state): App, By(caller): By, Params(asked): Params<Asked>) -> Answer {
    let brokers = asked.brokers(&state)?;
    Ok(Json(tables(&state, &caller, &brokers, addresses)))
}

async fn of_table(
    Shared(state): App,
    Path(name): Path<String>,
    Params(asked): Params<Asked>,
) -> Answer {
    state.resolve(&name)?;
    Ok(Json(names(&asked.brokers(&state)?)))
}

async fn of_table_v2(
    Shared(state): App,
    Path(name): Path<String>,
    Params(asked): Params<Asked>,
) -> Answer {
    state.resolve(&name)?;
    Ok(Json(addresses(&asked.brokers(&state)?)))
}

#[derive(Deserialize)]
struct OfTables {
    tables: Option<String>,
}

async fn live(Shared(state): App, By(caller): By, Params(wanted): Params<OfTables>) -> Answer {
    let brokers = living(&state);
    let Some(wanted) = wanted.tables else {
        return Ok(Json(tables(&state, &caller, &brokers, addresses)));
    };
    let mut found = BTreeMap::new();
    for name in wanted.split(',').map(str::trim) {
        caller.check(Action::Read, name)?;
        state.resolve(name)?;
        found.insert(name, addresses(&brokers));
    }
    Ok(Json(json!(found)))
}
