//! One task after another: leased, run, reported.
//!
//! Invariant: a task is reported as done only when all of it is done. What failed is reported with
//! its fault and stays with the controller, which hands it out again when the lease has ended.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use runtime::{Backoff, TaskGroup};
use schemas::Fault;
use schemas::proto::{FinishTaskRequest, LeaseTaskRequest};
use schemas::task::{Task, TaskKind, TaskType};

use crate::{Core, compact, export, import, removal, rewrite};

/// Between two questions when there is nothing to do.
const IDLE: Duration = Duration::from_secs(1);
const RETRY_MAX: Duration = Duration::from_secs(5);

/// Removals wait for nothing, imports do not wait for what is done in the background.
pub(crate) fn start(core: &Arc<Core>, tasks: &TaskGroup) {
    let names = TaskKind::NAMES.into_iter();
    let (imports, others): (Vec<_>, Vec<_>) = names.partition(|name| *name == TaskKind::IMPORT);
    let others = others.into_iter();
    let (rewrites, others) = others.partition(|name| name.parse::<TaskType>().is_ok());
    work(core, "minion imports", imports, tasks);
    for _ in 0..core.config.rewrites_max.max(1) {
        work(core, "minion rewrites", Vec::clone(&rewrites), tasks);
    }
    work(core, "minion work", others, tasks);
}

fn work(core: &Arc<Core>, name: &str, kinds: Vec<&'static str>, tasks: &TaskGroup) {
    let core = Arc::clone(core);
    tasks.spawn(name, |stop| async move {
        let work = async {
            let mut backoff = Backoff::up_to(RETRY_MAX);
            loop {
                let pause = match one_task(&core, &kinds).await {
                    Ok(Found::Task) => {
                        backoff.reset();
                        continue;
                    }
                    Ok(Found::Nothing) => {
                        backoff.reset();
                        IDLE
                    }
                    Err(fault) => {
                        tracing::debug!(cause = %fault, "no task can be leased or finished");
                        backoff.next_delay()
                    }
                };
                core.clock.sleep(pause).await;
            }
        };
        stop.run_until_cancelled(work).await;
    });
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Found {
    Task,
    Nothing,
}

/// An `Err` is one of the way to the controller, not of the task.
async fn one_task(core: &Core, kinds: &[&str]) -> Result<Found, Fault> {
    let instance = &core.config.instance;
    let controller = core.network.controller()?;
    let request = LeaseTaskRequest {
        instance: instance.0.clone(),
        kinds: kinds.iter().map(ToString::to_string).collect(),
    };
    let leased = controller.lease_task(request).await?.task;
    if leased.is_empty() {
        return Ok(Found::Nothing);
    }
    let task: Task = serde_json::from_slice(&leased)
        .map_err(|error| Fault::internal(format!("the task is not understood: {error}")))?;
    let kind = task.kind.name();
    // What brings segments is large.
    let outcome = Box::pin(run(core, &task)).await;
    let (fault, (summary, compacted)) = match outcome {
        Ok((summary, compacted)) => {
            tracing::info!(task = %task.id, kind, summary, "task done");
            core.metrics.finished.with_label_values(&[kind]).inc();
            (None, (summary, compacted))
        }
        Err(fault) => {
            tracing::warn!(task = %task.id, kind, cause = %fault, "task failed");
            core.metrics.failed.with_label_values(&[kind]).inc();
            (Some(fault.into()), Default::default())
        }
    };
    let report = FinishTaskRequest {
        instance: instance.0.clone(),
        task_id: task.id.as_bytes().to_vec().into(),
        fault,
        summary,
        compacted,
    };
    controller.finish_task(report).await?;
    Ok(Found::Task)
}

/// What was done, in words, and records of files that take the place of others.
async fn run(core: &Core, task: &Task) -> Result<(String, Vec<Bytes>), Fault> {
    let summary = match &task.kind {
        TaskKind::RemoveObjects { keys, .. } => removal::objects(core, keys).await,
        TaskKind::RemoveOrphans {
            known,
            older_than_ms,
        } => removal::orphans(core, known, *older_than_ms).await,
        TaskKind::ImportFiles(order) => import::run(core, task, order).await,
        TaskKind::Rewrite(order) => rewrite::run(core, task, order).await,
        TaskKind::Export(order) => export::run(core, task, order).await,
        TaskKind::Compact(order) => return compact::run(core, task, order).await,
    };
    Ok((summary?, Vec::new()))
}
