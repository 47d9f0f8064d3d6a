//! `sys.tasks`: what minions do or shall do, and orders that are over: only the controller knows.

use std::sync::Arc;

use access::Action;
use arrow::array::{Int64Array, RecordBatch, TimestampMillisecondArray};
use datafusion::common::Result;
use schemas::Fault;
use schemas::proto::TasksRequest;
use schemas::task::Task;

use super::described::{batch, ints, texts};
use super::{int, text, time};
use crate::context::QueryContext;
use crate::fault::from_fault;

pub(super) async fn tasks(context: &QueryContext) -> Result<RecordBatch> {
    let mut tasks = asked(context).await.map_err(from_fault)?;
    let caller = &context.caller;
    tasks.retain(|task| match task.kind.table() {
        "" => caller.may_cluster(Action::Read),
        table => caller.may(Action::Read, table),
    });
    let now_ms = context.clock.now_ms();
    let is_leased = |task: &Task| task.is_leased(now_ms);
    let state = tasks.iter().map(|task| task.state(now_ms).name());
    let kinds = tasks.iter().map(|task| task.kind.name());
    let minions = tasks.iter().map(|task| task.leased_by.as_str());
    let until = tasks.iter();
    let until = until.map(|task| is_leased(task).then_some(task.leased_until_ms));
    let objects = tasks.iter().map(|task| task.kind.objects() as i64);
    let submitted = tasks
        .iter()
        .map(|task| Some(task.submitted_ms).filter(|at| *at > 0));
    let submitted = submitted.collect::<TimestampMillisecondArray>();
    let finished = tasks.iter().map(|task| task.finished_ms);
    let finished = finished.collect::<TimestampMillisecondArray>();
    batch(vec![
        (
            text("id"),
            texts(tasks.iter().map(|task| task.id.to_string())),
        ),
        (text("kind"), texts(kinds)),
        (text("state"), texts(state)),
        (
            super::long("objects"),
            Arc::new(Int64Array::from_iter_values(objects)),
        ),
        (
            int("attempts"),
            ints(tasks.iter().map(|task| task.attempts as usize)),
        ),
        (text("leased_by"), texts(minions)),
        (
            time("leased_until"),
            Arc::new(until.collect::<TimestampMillisecondArray>()),
        ),
        (
            text("last_error"),
            texts(tasks.iter().map(|task| task.last_error.as_str())),
        ),
        (
            text("table"),
            texts(tasks.iter().map(|task| task.kind.table())),
        ),
        (
            text("summary"),
            texts(tasks.iter().map(|task| task.summary.as_str())),
        ),
        (time("submitted"), Arc::new(submitted)),
        (time("finished"), Arc::new(finished)),
        (
            text("job"),
            texts(tasks.iter().map(|task| task.job.as_str())),
        ),
        (
            text("trigger"),
            texts(tasks.iter().map(|task| task.trigger.name())),
        ),
    ])
}

async fn asked(context: &QueryContext) -> Result<Vec<Task>, Fault> {
    let controller = context.network.controller()?;
    let reply = controller.tasks(TasksRequest {}).await?;
    let tasks = reply.tasks.iter().map(|task| serde_json::from_slice(task));
    let tasks = tasks.collect::<Result<Vec<Task>, _>>();
    tasks.map_err(|error| Fault::internal(format!("a task of the controller is damaged: {error}")))
}
