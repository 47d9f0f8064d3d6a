//! `sys.tasks`: what minions do or shall do, orders that are over, and what the controller does
//! again and again: only the controller knows.

use std::sync::Arc;

use access::Action;
use arrow::array::{ArrayRef, Int64Array, RecordBatch, TimestampMillisecondArray};
use datafusion::common::Result;
use schemas::Fault;
use schemas::proto::TasksRequest;
use schemas::task::{ReconcilerStatus, Task};

use super::described::{batch, ints, texts};
use super::{int, text, time};
use crate::context::QueryContext;
use crate::fault::from_fault;

/// One line of the table.
struct Row {
    id: String,
    kind: String,
    state: &'static str,
    objects: i64,
    attempts: usize,
    leased_by: String,
    leased_until: Option<i64>,
    last_error: String,
    table: String,
    summary: String,
    submitted: Option<i64>,
    finished: Option<i64>,
    job: String,
    trigger: &'static str,
}

pub(super) async fn tasks(context: &QueryContext) -> Result<RecordBatch> {
    let now_ms = context.clock.now_ms();
    let mut rows = asked(context, now_ms).await.map_err(from_fault)?;
    let caller = &context.caller;
    rows.retain(|row| match row.table.as_str() {
        "" => caller.may_cluster(Action::Read),
        table => caller.may(Action::Read, table),
    });
    let rows = || rows.iter();
    let times = |of: fn(&Row) -> Option<i64>| -> ArrayRef {
        Arc::new(rows().map(of).collect::<TimestampMillisecondArray>())
    };
    let objects = Int64Array::from_iter_values(rows().map(|row| row.objects));
    batch(vec![
        (text("id"), texts(rows().map(|row| row.id.as_str()))),
        (text("kind"), texts(rows().map(|row| row.kind.as_str()))),
        (text("state"), texts(rows().map(|row| row.state))),
        (super::long("objects"), Arc::new(objects)),
        (int("attempts"), ints(rows().map(|row| row.attempts))),
        (
            text("leased_by"),
            texts(rows().map(|row| row.leased_by.as_str())),
        ),
        (time("leased_until"), times(|row| row.leased_until)),
        (
            text("last_error"),
            texts(rows().map(|row| row.last_error.as_str())),
        ),
        (text("table"), texts(rows().map(|row| row.table.as_str()))),
        (
            text("summary"),
            texts(rows().map(|row| row.summary.as_str())),
        ),
        (time("submitted"), times(|row| row.submitted)),
        (time("finished"), times(|row| row.finished)),
        (text("job"), texts(rows().map(|row| row.job.as_str()))),
        (text("trigger"), texts(rows().map(|row| row.trigger))),
    ])
}

fn of_task(task: Task, now_ms: i64) -> Row {
    let is_leased = task.is_leased(now_ms);
    Row {
        id: task.id.to_string(),
        kind: task.kind.name().to_owned(),
        state: task.state(now_ms).name(),
        objects: task.kind.objects() as i64,
        attempts: task.attempts as usize,
        leased_until: is_leased.then_some(task.leased_until_ms),
        table: task.kind.table().to_owned(),
        leased_by: task.leased_by,
        last_error: task.last_error,
        summary: task.summary,
        submitted: Some(task.submitted_ms).filter(|at| *at > 0),
        finished: task.finished_ms,
        trigger: task.trigger.name(),
        job: task.job,
    }
}

/// It never is over: FAILED says that its last pass was.
fn of_reconciler(status: ReconcilerStatus) -> Row {
    let state = match status.last_error.is_empty() {
        true => "RUNNING",
        false => "FAILED",
    };
    Row {
        id: status.name.clone(),
        kind: format!("reconcile_{}", status.name),
        state,
        objects: 0,
        attempts: status.passes as usize,
        leased_by: status.controller,
        leased_until: None,
        last_error: status.last_error,
        table: String::new(),
        summary: status.summary,
        submitted: status.last_began_ms,
        finished: status.last_ended_ms,
        job: String::new(),
        trigger: "",
    }
}

async fn asked(context: &QueryContext, now_ms: i64) -> Result<Vec<Row>, Fault> {
    let controller = context.network.controller()?;
    let reply = controller.tasks(TasksRequest {}).await?;
    let mut rows = Vec::new();
    for json in &reply.tasks {
        let task: Task = serde_json::from_slice(json).map_err(damaged)?;
        rows.push(of_task(task, now_ms));
    }
    for json in &reply.reconcilers {
        let status = serde_json::from_slice(json).map_err(damaged)?;
        rows.push(of_reconciler(status));
    }
    Ok(rows)
}

fn damaged(error: serde_json::Error) -> Fault {
    Fault::internal(format!("a task of the controller is damaged: {error}"))
}
