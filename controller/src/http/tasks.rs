//! `/tasks…`, in Pinot's shapes: what is ordered together is a task there, each of ours a subtask.
//! Ordering them is in [`super::task_orders`].

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use access::Action;
use axum::Json;
use axum::extract::{Path, State as Shared};
use rest::Api;
use rest::api::{delete, get, post, put};
use schemas::Fault;
use schemas::cluster::TableState;
use schemas::task::{Task, TaskKind, TaskState, TaskType};
use serde_json::{Map, Value, json};

use super::{Answer, App};
use crate::state::State;

pub(super) fn routes() -> Api<Arc<State>> {
    type_routes().merge(table_routes()).merge(task_routes())
}

fn type_routes() -> Api<Arc<State>> {
    Api::default()
        .route(
            "/tasks/tasktypes",
            [get("Types of tasks", types).cluster(Action::Read)],
        )
        .route(
            "/tasks/{type}/state",
            [get("IN_PROGRESS or STOPPED", queue).cluster(Action::Read)],
        )
        .route(
            "/tasks/{type}/tasks",
            [get("Names of tasks", names).cluster(Action::Read)],
        )
        .route(
            "/tasks/{type}/tasks/count",
            [get("Subtasks of each", counts).cluster(Action::Read)],
        )
        .route(
            "/tasks/{type}/taskstates",
            [get("State of each", states).cluster(Action::Read)],
        )
        .route(
            "/tasks/{type}/debug",
            [get("All about each", debug_type).cluster(Action::Read)],
        )
        .route(
            "/tasks/{type}/stop",
            [put("None is begun from now on", stop).cluster(Action::Admin)],
        )
        .route(
            "/tasks/{type}/resume",
            [put("They are begun again", resume).cluster(Action::Admin)],
        )
        .route(
            "/tasks/{type}/cleanup",
            [put("Forgets those that are over", cleanup).cluster(Action::Admin)],
        )
        .route(
            "/tasks/{type}",
            [delete("Cancels all and forgets them", delete_type).cluster(Action::Admin)],
        )
}

fn table_routes() -> Api<Arc<State>> {
    Api::default()
        .route(
            "/tasks/{type}/{table}/state",
            [get("Tasks of a table", states_of_table).table(Action::Read)],
        )
        .route(
            "/tasks/{type}/{table}/debug",
            [get("All about each", debug_table).table(Action::Read)],
        )
        .route(
            "/tasks/{type}/{table}/metadata",
            [
                get("Watermarks", metadata).table(Action::Read),
                delete("Forgets them: all begins anew", delete_metadata).table(Action::Admin),
            ],
        )
}

fn task_routes() -> Api<Arc<State>> {
    Api::default()
        .route(
            "/tasks/task/{name}/state",
            [get("State of a task", state_of).cluster(Action::Read)],
        )
        .route(
            "/tasks/task/{name}/config",
            [get("What is done", config).cluster(Action::Read)],
        )
        .route(
            "/tasks/task/{name}/debug",
            [get("All about it", debug).cluster(Action::Read)],
        )
        .route(
            "/tasks/task/{name}",
            [delete("Cancels it and forgets it", delete_task)
                .cluster(Action::Admin)
                .query(
                    "forceDelete",
                    "nothing: a task that works is cancelled in any case",
                )],
        )
        .route(
            "/v1/tasks/{name}/cancel",
            [post("Cancels what is not over", cancel).cluster(Action::Admin)],
        )
        .route(
            "/tasks/subtask/{name}/state",
            [get("Of each subtask", parts).cluster(Action::Read)],
        )
        .route(
            "/tasks/subtask/{name}/config",
            [get("Of each subtask", part_configs).cluster(Action::Read)],
        )
        .route(
            "/tasks/subtask/{name}/progress",
            [get("Of each subtask", progress).cluster(Action::Read)],
        )
}

/// Of imports from files.
const IMPORT: &str = "SegmentGenerationAndPushTask";

fn type_of(task: &Task) -> &'static str {
    match &task.kind {
        TaskKind::ImportFiles(_) => IMPORT,
        kind => kind.name(),
    }
}

/// The tasks that were ordered together, in their order.
pub(super) type Jobs = BTreeMap<String, Vec<Task>>;

pub(super) async fn jobs(state: &State, wanted: impl Fn(&Task) -> bool) -> Result<Jobs, Fault> {
    let mut jobs = Jobs::new();
    let orders = state.catalog.tasks().await?.into_iter();
    for task in orders.filter(|task| task.kind.is_order() && wanted(task)) {
        jobs.entry(task.job_name()).or_default().push(task);
    }
    for parts in jobs.values_mut() {
        parts.sort_by_key(|task| task.part);
    }
    Ok(jobs)
}

async fn job(state: &State, name: &str) -> Result<Vec<Task>, Fault> {
    let mut found = jobs(state, |task| task.job_name() == name).await?;
    let missing = || Fault::not_found(format!("there is no task `{name}`; see /tasks/tasktypes"));
    found.remove(name).ok_or_else(missing)
}

async fn jobs_of_type(state: &State, name: &str) -> Result<Jobs, Fault> {
    if name != IMPORT {
        name.parse::<TaskType>().map_err(Fault::not_found)?;
    }
    jobs(state, |task| type_of(task).eq_ignore_ascii_case(name)).await
}

fn state_name(parts: &[Task], now_ms: i64) -> &'static str {
    let states = parts.iter().map(|task| task.state(now_ms));
    let states: BTreeSet<TaskState> = states.collect();
    let any = |state| states.contains(&state);
    match () {
        () if any(TaskState::Running) => "IN_PROGRESS",
        () if any(TaskState::Waiting) && states.len() == 1 => {
            match parts.iter().any(|task| task.attempts > 0) {
                true => "IN_PROGRESS",
                false => "NOT_STARTED",
            }
        }
        () if any(TaskState::Waiting) => "IN_PROGRESS",
        () if any(TaskState::Failed) => "FAILED",
        () if any(TaskState::Cancelled) => "ABORTED",
        () => "COMPLETED",
    }
}

fn part_state(task: &Task, now_ms: i64) -> &'static str {
    match task.state(now_ms) {
        TaskState::Waiting => "INIT",
        TaskState::Running => "RUNNING",
        TaskState::Done => "COMPLETED",
        TaskState::Failed => "TASK_ERROR",
        TaskState::Cancelled => "TASK_ABORTED",
    }
}

fn count(parts: &[Task], now_ms: i64) -> Value {
    let of = |state| {
        parts
            .iter()
            .filter(|task| task.state(now_ms) == state)
            .count()
    };
    json!({
        "total": parts.len(),
        "completed": of(TaskState::Done),
        "running": of(TaskState::Running),
        "waiting": of(TaskState::Waiting),
        "error": of(TaskState::Failed),
        "unknown": 0,
        "dropped": 0,
        "timedOut": 0,
        "aborted": of(TaskState::Cancelled),
    })
}

/// `None`, and `null`, where it has not come yet.
pub(super) fn time(ms: Option<i64>) -> Value {
    let at = ms.and_then(schemas::task::utc);
    at.map_or(Value::Null, Value::String)
}

fn part_config(task: &Task) -> Value {
    let configs = match &task.kind {
        TaskKind::Rewrite(order) => order.configs(),
        TaskKind::Export(order) => order.configs(),
        TaskKind::Compact(order) => order.configs(),
        TaskKind::ImportFiles(order) => {
            let files = order.staged.iter().map(|file| file.name.clone());
            let files: Vec<String> = order.uris.iter().cloned().chain(files).collect();
            let mut configs = BTreeMap::from([
                ("tableName".to_owned(), order.table_name.clone()),
                ("input.uris".to_owned(), files.join(",")),
            ]);
            configs.extend(order.format.clone().map(|f| ("inputFormat".to_owned(), f)));
            configs
        }
        _ => BTreeMap::new(),
    };
    json!({ "taskType": type_of(task), "configs": configs })
}

fn part_debug(task: &Task, now_ms: i64) -> Value {
    let info = match task.last_error.is_empty() {
        true => &task.summary,
        false => &task.last_error,
    };
    let participant = task.history.last().map_or("", |last| last.minion.as_str());
    json!({
        "taskId": task.part_name(),
        "state": part_state(task, now_ms),
        "startTime": time(task.history.last().map(|last| last.started_ms)),
        "finishTime": time(task.finished_ms),
        "participant": participant,
        "info": info,
        "triggeredBy": task.trigger.name(),
        "taskConfig": part_config(task),
        "attempts": task.attempts,
        "history": task.history.iter().map(|one| json!({
            "participant": one.minion,
            "startTime": time(Some(one.started_ms)),
            "finishTime": time(one.ended_ms),
            "error": one.error,
        })).collect::<Vec<_>>(),
    })
}

fn debug_of(parts: &[Task], now_ms: i64) -> Value {
    let first = |of: fn(&Task) -> Option<i64>| parts.iter().filter_map(of).min();
    let is_over = parts.iter().all(Task::is_over);
    let finished = parts.iter().filter_map(|task| task.finished_ms).max();
    json!({
        "taskState": state_name(parts, now_ms),
        "subtaskCount": count(parts, now_ms),
        "startTime": time(first(|task| Some(task.submitted_ms))),
        "executionStartTime": time(first(|task| task.history.first().map(|one| one.started_ms))),
        "finishTime": time(finished.filter(|_| is_over)),
        "triggeredBy": parts.first().map(|task| task.trigger.name()),
        "subtaskInfos": parts.iter().map(|task| part_debug(task, now_ms)).collect::<Vec<_>>(),
    })
}

fn each(jobs: &Jobs, of: impl Fn(&[Task]) -> Value) -> Json<Value> {
    let each = jobs.iter().map(|(name, parts)| (name.clone(), of(parts)));
    Json(Value::Object(each.collect()))
}

/// Types that a table is configured for, or of which there are tasks.
async fn types(Shared(state): App) -> Answer {
    let all = jobs(&state, |_| true).await?;
    let mut names: BTreeSet<&str> = all.values().flatten().map(type_of).collect();
    for table in state.tables() {
        let types = table.spec.tasks.iter().map(|task| task.work.task_type());
        names.extend(types.map(TaskType::name));
    }
    Ok(Json(json!(names)))
}

async fn queue(Shared(state): App, Path(name): Path<String>) -> Answer {
    jobs_of_type(&state, &name).await?;
    let stopped = state.catalog.stopped_tasks().await.map_err(Fault::from)?;
    let is_stopped = name.parse().is_ok_and(|known| stopped.contains(&known));
    Ok(Json(json!(match is_stopped {
        true => "STOPPED",
        false => "IN_PROGRESS",
    })))
}

async fn names(Shared(state): App, Path(name): Path<String>) -> Answer {
    let jobs = jobs_of_type(&state, &name).await?;
    Ok(Json(json!(jobs.keys().collect::<Vec<_>>())))
}

async fn counts(Shared(state): App, Path(name): Path<String>) -> Answer {
    let now_ms = state.clock.now_ms();
    let jobs = jobs_of_type(&state, &name).await?;
    Ok(each(&jobs, |parts| count(parts, now_ms)))
}

async fn states(Shared(state): App, Path(name): Path<String>) -> Answer {
    let now_ms = state.clock.now_ms();
    let jobs = jobs_of_type(&state, &name).await?;
    Ok(each(&jobs, |parts| json!(state_name(parts, now_ms))))
}

async fn debug_type(Shared(state): App, Path(name): Path<String>) -> Answer {
    let now_ms = state.clock.now_ms();
    let jobs = jobs_of_type(&state, &name).await?;
    Ok(each(&jobs, |parts| debug_of(parts, now_ms)))
}

pub(super) fn known(name: &str) -> Result<TaskType, Fault> {
    name.parse().map_err(Fault::not_found)
}

async fn stop(Shared(state): App, Path(name): Path<String>) -> Answer {
    let stopping = state.catalog.stop_tasks(known(&name)?, true);
    stopping.await.map_err(Fault::from)?;
    said(format!("Successfully stopped tasks for task type: {name}"))
}

async fn resume(Shared(state): App, Path(name): Path<String>) -> Answer {
    let resuming = state.catalog.stop_tasks(known(&name)?, false);
    resuming.await.map_err(Fault::from)?;
    said(format!("Successfully resumed tasks for task type: {name}"))
}

fn said(what: String) -> Answer {
    Ok(Json(json!({ "status": what })))
}

async fn forget(state: &State, jobs: Jobs) -> Result<(), Fault> {
    for task in jobs.into_values().flatten().filter(Task::is_over) {
        state.catalog.forget_task(task.id).await?;
    }
    Ok(())
}

async fn cleanup(Shared(state): App, Path(name): Path<String>) -> Answer {
    forget(&state, jobs_of_type(&state, &name).await?).await?;
    said(format!(
        "Successfully cleaned up tasks for task type: {name}"
    ))
}

const CANCELLED: &str = "cancelled by order";

/// How many were under way.
async fn cancel_all(state: &State, tasks: &[Task]) -> Result<usize, Fault> {
    let mut cancelled = 0;
    for task in tasks.iter().filter(|task| !task.is_over()) {
        cancelled += usize::from(state.cancel_task(task, CANCELLED).await?);
    }
    Ok(cancelled)
}

async fn delete_type(Shared(state): App, Path(name): Path<String>) -> Answer {
    for tasks in jobs_of_type(&state, &name).await?.values() {
        cancel_all(&state, tasks).await?;
    }
    forget(&state, jobs_of_type(&state, &name).await?).await?;
    said(format!("Successfully deleted tasks for task type: {name}"))
}

async fn delete_task(Shared(state): App, Path(name): Path<String>) -> Answer {
    cancel_all(&state, &job(&state, &name).await?).await?;
    forget(
        &state,
        Jobs::from([(name.clone(), job(&state, &name).await?)]),
    )
    .await?;
    said(format!("Successfully deleted task: {name}"))
}

async fn cancel(Shared(state): App, Path(name): Path<String>) -> Answer {
    let cancelled = cancel_all(&state, &job(&state, &name).await?).await?;
    Ok(Json(json!({ "cancelled": cancelled })))
}

type OfTable = Path<(String, String)>;

async fn of_table(state: &State, (name, table): &(String, String)) -> Result<Jobs, Fault> {
    let tables = state.resolve(table)?;
    let tables: Vec<String> = tables.iter().map(|one| one.spec.physical_name()).collect();
    let mut jobs = jobs_of_type(state, name).await?;
    jobs.retain(|_, parts| {
        parts
            .iter()
            .any(|task| tables.iter().any(|t| t == task.kind.table()))
    });
    Ok(jobs)
}

async fn states_of_table(Shared(state): App, Path(of): OfTable) -> Answer {
    let now_ms = state.clock.now_ms();
    let jobs = of_table(&state, &of).await?;
    Ok(each(&jobs, |parts| json!(state_name(parts, now_ms))))
}

async fn debug_table(Shared(state): App, Path(of): OfTable) -> Answer {
    let now_ms = state.clock.now_ms();
    let jobs = of_table(&state, &of).await?;
    Ok(each(&jobs, |parts| debug_of(parts, now_ms)))
}

/// The watermarks of a type are kept with the table whose segments come.
fn anchor(state: &State, (name, table): &(String, String)) -> Result<Anchor, Fault> {
    let task_type = known(name)?;
    let mut parts = state.resolve(table)?;
    if task_type == TaskType::RealtimeToOfflineSegmentsTask {
        let raw = parts[0].spec.name.to_string();
        parts = vec![state.offline_part(&raw)?];
    }
    Ok((task_type, Arc::clone(&parts[0])))
}

type Anchor = (TaskType, Arc<TableState>);

fn is_of(task_type: TaskType, watermark: &str) -> bool {
    let rest = watermark.strip_prefix(task_type.name());
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

async fn metadata(Shared(state): App, Path(of): OfTable) -> Answer {
    let (task_type, table) = anchor(&state, &of)?;
    let stored = state.catalog.table(table.spec.id).await;
    let stored = stored.map_err(Fault::from)?;
    let watermarks = stored.map(|stored| stored.value.watermarks);
    let marks = watermarks.into_iter().flatten();
    let mut marks = marks.filter(|(name, _)| is_of(task_type, name));
    let name = &of.1;
    if task_type == TaskType::RealtimeToOfflineSegmentsTask {
        let mark = marks.next().map(|(_, ms)| ms);
        return Ok(Json(
            json!({ "tableNameWithType": name, "watermarkMs": mark }),
        ));
    }
    let levels = marks.map(|(mark, ms)| {
        let level = mark.split_once('.').map_or("", |(_, level)| level);
        (level.to_owned(), json!(ms))
    });
    let levels: Map<String, Value> = levels.collect();
    Ok(Json(
        json!({ "tableNameWithType": name, "watermarkMap": levels }),
    ))
}

async fn delete_metadata(Shared(state): App, Path(of): OfTable) -> Answer {
    let (task_type, table) = anchor(&state, &of)?;
    let forget = |stored: &mut metastore::catalog::StoredTable| {
        stored.watermarks.retain(|name, _| !is_of(task_type, name));
    };
    let forgetting = state.catalog.change_table(table.spec.id, forget);
    forgetting.await.map_err(Fault::from)?;
    let (name, table) = &of;
    said(format!(
        "Successfully deleted metadata for task type: {name} from table: {table}"
    ))
}

async fn state_of(Shared(state): App, Path(name): Path<String>) -> Answer {
    let parts = job(&state, &name).await?;
    Ok(Json(json!(state_name(&parts, state.clock.now_ms()))))
}

async fn config(Shared(state): App, Path(name): Path<String>) -> Answer {
    let parts = job(&state, &name).await?;
    Ok(Json(parts.iter().map(part_config).collect()))
}

async fn debug(Shared(state): App, Path(name): Path<String>) -> Answer {
    let parts = job(&state, &name).await?;
    Ok(Json(debug_of(&parts, state.clock.now_ms())))
}

async fn of_parts(state: &State, name: &str, of: impl Fn(&Task) -> Value) -> Answer {
    let parts = job(state, name).await?;
    let each = parts.iter().map(|task| (task.part_name(), of(task)));
    Ok(Json(Value::Object(each.collect())))
}

async fn parts(Shared(state): App, Path(name): Path<String>) -> Answer {
    let now_ms = state.clock.now_ms();
    of_parts(&state, &name, |task| json!(part_state(task, now_ms))).await
}

async fn part_configs(Shared(state): App, Path(name): Path<String>) -> Answer {
    of_parts(&state, &name, part_config).await
}

async fn progress(Shared(state): App, Path(name): Path<String>) -> Answer {
    of_parts(&state, &name, |task| {
        json!(match task.summary.as_str() {
            "" => "No status reported",
            told => told,
        })
    })
    .await
}
