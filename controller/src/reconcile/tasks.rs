//! Orders the tasks that are due by the schedules of tables, and forgets those that were over long
//! ago, or are too many.

use std::collections::HashMap;
use std::sync::Arc;

use schemas::Fault;
use schemas::cluster::TableState;
use schemas::task::{Schedule, Task, TaskSpec, Trigger};
use uuid::Uuid;

use crate::background::Job;
use crate::state::State;

/// Tasks that are over are told of for so long,
const KEPT_MS: i64 = 86_400_000;
/// and so many of each kind.
const KEPT_MAX: usize = 500;

pub(crate) async fn run(state: &Arc<State>) -> Result<String, Fault> {
    let tasks = state.catalog.tasks().await?;
    for id in over(&tasks, state.clock.now_ms()) {
        state.catalog.forget_task(id).await?;
    }
    let mut failed = None;
    let mut scheduled = 0;
    for table in state.tables() {
        for spec in &table.spec.tasks {
            scheduled += usize::from(spec.schedule.is_some());
            // A table that is wrong does not stop the others.
            if let Err(fault) = follow(state, &table, spec).await {
                failed = Some(fault);
            }
        }
    }
    match failed {
        Some(fault) => Err(fault),
        None => Ok(format!("{scheduled} schedules, {} tasks", tasks.len())),
    }
}

/// Those to be forgotten.
fn over(tasks: &[Task], now_ms: i64) -> Vec<Uuid> {
    let over = tasks
        .iter()
        .filter_map(|task| Some((task.finished_ms?, task)));
    let mut over: Vec<_> = over.collect();
    over.sort_by_key(|(at, _)| std::cmp::Reverse(*at));
    let mut kept: HashMap<&str, usize> = HashMap::new();
    let gone = over.into_iter().filter_map(|(at, task)| {
        let of_kind = kept.entry(task.kind.name()).or_default();
        *of_kind += 1;
        (at < now_ms - KEPT_MS || *of_kind > KEPT_MAX).then_some(task.id)
    });
    gone.collect()
}

async fn follow(state: &State, table: &Arc<TableState>, spec: &TaskSpec) -> Result<(), Fault> {
    let Some(text) = &spec.schedule else {
        return Ok(());
    };
    let schedule = Schedule::parse(text).map_err(Fault::invalid)?;
    let task_type = spec.work.task_type();
    let key = (table.spec.id, task_type, text.clone());
    let now_ms = state.clock.now_ms();
    let known = state.due.lock().get(&key).copied();
    let due = match known {
        Some(due) => due,
        None => {
            // What was due while nobody led is due now, once.
            let stored = match state.target(table, spec) {
                Some(target) => state.catalog.table(target.spec.id).await?,
                None => None,
            };
            let last = stored.and_then(|stored| stored.value.scheduled.get(&task_type).copied());
            schedule
                .next_after(last.unwrap_or(now_ms))
                .unwrap_or(i64::MAX)
        }
    };
    if due > now_ms {
        state.due.lock().insert(key, due);
        return Ok(());
    }
    let next = schedule.next_after(now_ms).unwrap_or(i64::MAX);
    state.due.lock().insert(key, next);
    let mut job = Job::new(task_type, Trigger::Cron, now_ms);
    let ordered = state.order_due(table, spec, &mut job).await?;
    let name = table.spec.physical_name();
    match ordered.tasks {
        0 => tracing::debug!(
            table = name,
            task = task_type.name(),
            waits = ordered.waits,
            "no task is due"
        ),
        tasks => tracing::info!(table = name, job = job.name, tasks, "tasks ordered"),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use schemas::task::TaskKind;

    #[test]
    fn tasks_that_are_over_are_kept_for_a_day_and_not_too_many() {
        let task = |finished_ms| Task {
            finished_ms,
            ..Task::new(TaskKind::RemoveObjects {
                keys: vec![],
                segments: vec![],
            })
        };
        let now_ms = 2 * KEPT_MS;
        let old = task(Some(KEPT_MS - 1));
        let open = task(None);
        let mut tasks = vec![old.clone(), open];
        let newer = (0..KEPT_MAX as i64 + 2).map(|at| task(Some(KEPT_MS + 1 + at)));
        tasks.extend(newer);
        let gone = over(&tasks, now_ms);
        // Two by their number, one by its age.
        assert_eq!(gone.len(), 3);
        assert!(gone.contains(&old.id));
    }
}
