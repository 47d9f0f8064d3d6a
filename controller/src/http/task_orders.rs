//! `/tasks/schedule` and `/tasks/execute`: what is due becomes tasks, now; and when it is due by
//! itself.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use access::Action;
use axum::Json;
use axum::extract::State as Shared;
use rest::api::{get, post};
use rest::{Api, Params};
use schemas::Fault;
use schemas::cluster::TableState;
use schemas::pinot::{UnknownKeys, parse_schema, parse_table};
use schemas::task::{TaskSpec, TaskType, Trigger};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::document::Document;
use super::tasks::{jobs, known, time};
use super::{Answer, App};
use crate::background::Job;
use crate::state::State;

pub(super) fn routes() -> Api<Arc<State>> {
    Api::default()
        .route(
            "/tasks/schedule",
            [post("Orders what is due now", schedule)
                .cluster(Action::Admin)
                .query("taskType", "MergeRollupTask; all unless given")
                .query("tableName", "trips_OFFLINE; all unless given")],
        )
        .route(
            "/tasks/execute",
            [post("Orders what is due by another config", execute)
                .cluster(Action::Admin)
                .body(json!({
                    "taskType": "PurgeTask", "tableName": "trips_OFFLINE",
                    "taskConfigs": { "purgeFilter": "rider = 'ann'" },
                }))],
        )
        .route(
            "/tasks/scheduler/information",
            [get("Schedules of tables", scheduler).cluster(Action::Read)],
        )
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Wanted {
    task_type: Option<String>,
    table_name: Option<String>,
}

async fn schedule(Shared(state): App, Params(wanted): Params<Wanted>) -> Answer {
    let name = |text: Option<String>| text.filter(|text| !text.is_empty());
    let only = name(wanted.task_type)
        .map(|text| known(&text))
        .transpose()?;
    let tables = match name(wanted.table_name) {
        Some(table) => state.resolve(&table)?,
        None => state.tables(),
    };
    let mut configured: Vec<(&Arc<TableState>, &TaskSpec)> = Vec::new();
    for table in &tables {
        configured.extend(table.spec.tasks.iter().map(|spec| (table, spec)));
    }
    let mut jobs: BTreeMap<TaskType, Job> = BTreeMap::new();
    let mut waits: BTreeMap<String, String> = BTreeMap::new();
    for (table, spec) in configured {
        let task_type = spec.work.task_type();
        if only.is_some_and(|only| only != task_type) {
            continue;
        }
        let now_ms = state.clock.now_ms();
        let job = jobs
            .entry(task_type)
            .or_insert_with(|| Job::new(task_type, Trigger::Manual, now_ms));
        let ordered = state.order_due(table, spec, job).await?;
        if let Some(why) = ordered.waits {
            let key = format!("{} {}", task_type.name(), table.spec.physical_name());
            waits.insert(key, why);
        }
    }
    if jobs.is_empty() {
        let what = only.map_or("any task", TaskType::name);
        return Err(Fault::invalid(format!(
            "no such table has {what} in its task.taskTypeConfigsMap"
        ))
        .into());
    }
    let names = jobs.iter().map(|(task_type, job)| {
        let name = (job.parts() > 0).then_some(&job.name);
        (task_type.name().to_owned(), json!(name))
    });
    let mut body: Map<String, Value> = names.collect();
    if !waits.is_empty() {
        body.insert("waits".to_owned(), json!(waits));
    }
    Ok(Json(Value::Object(body)))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Adhoc {
    task_type: String,
    table_name: String,
    task_name: Option<String>,
    #[serde(default)]
    task_configs: HashMap<String, Value>,
}

impl Adhoc {
    /// As the table would have it with these configs.
    async fn spec(&self, state: &State, table: &TableState) -> Result<TaskSpec, Fault> {
        let id = table.spec.id;
        let gone = || Fault::not_found(format!("table `{}` does not exist", self.table_name));
        let stored = state.catalog.table(id).await?.ok_or_else(gone)?.value;
        let config: Result<Value, _> = serde_json::from_str(&stored.config_json);
        let damaged = |error| Fault::internal(format!("the table's config is damaged: {error}"));
        let mut config = config.map_err(damaged)?;
        config["task"] = json!({ "taskTypeConfigsMap": { &self.task_type: &self.task_configs } });
        let schema = parse_schema(&stored.schema_json)?.value;
        let text = config.to_string();
        let parsed = parse_table(&text, Some(&schema), id, UnknownKeys::Collect)?;
        let mut unknown = parsed.unrecognized.keys();
        if let Some(unknown) = unknown.find(|pointer| pointer.starts_with("/task/")) {
            return Err(Fault::invalid(format!("{unknown}: unknown key")));
        }
        let parsed = parsed.value;
        state.check(&parsed.spec)?;
        let none = || {
            let (kind, table) = (&self.task_type, table.spec.physical_name());
            Fault::invalid(format!("{kind} does nothing with table `{table}`"))
        };
        parsed.spec.tasks.into_iter().next().ok_or_else(none)
    }
}

async fn execute(Shared(state): App, document: Document) -> Answer {
    let adhoc: Adhoc = document.parse()?;
    let task_type = known(&adhoc.task_type)?;
    let mut job = Job::new(task_type, Trigger::Adhoc, state.clock.now_ms());
    if let Some(name) = adhoc.task_name.as_ref().filter(|name| !name.is_empty()) {
        job.name = format!("Task_{}_{name}", task_type.name());
        if !jobs(&state, |task| task.job_name() == job.name)
            .await?
            .is_empty()
        {
            return Err(Fault::conflict(format!("there is a task `{}` already", job.name)).into());
        }
    }
    let mut answer = Map::new();
    for table in state.resolve(&adhoc.table_name)? {
        let spec = adhoc.spec(&state, &table).await?;
        let ordered = state.order_due(&table, &spec, &mut job).await?;
        let name = (ordered.tasks > 0).then_some(&job.name);
        answer.insert(table.spec.physical_name(), json!(name));
    }
    Ok(Json(Value::Object(answer)))
}

async fn scheduler(Shared(state): App) -> Answer {
    let due = state.due.lock().clone();
    let mut jobs = Vec::new();
    for table in state.tables() {
        for spec in &table.spec.tasks {
            let task_type = spec.work.task_type();
            let Some(schedule) = &spec.schedule else {
                continue;
            };
            let key = (table.spec.id, task_type, schedule.clone());
            let next = due.get(&key).copied().filter(|at| *at < i64::MAX);
            jobs.push(json!({
                "tableName": table.spec.physical_name(),
                "taskType": task_type.name(),
                "schedule": schedule,
                "nextFireTime": time(next),
            }));
        }
    }
    Ok(Json(json!({ "JobDetails": jobs })))
}
