//! Reconcilers: idempotent, without input, again and again. One file each.

mod assignment;
mod figures;
mod lineage;
mod partitions;
mod retention;
mod tasks;

#[cfg(test)]
pub(crate) use assignment::run as assignment;
#[cfg(test)]
pub(crate) use figures::run as figures;
pub(crate) use lineage::move_boundary;
pub(crate) use partitions::open_partitions;
#[cfg(test)]
pub(crate) use retention::run as retention;

use std::sync::Arc;

use runtime::TaskGroup;
use schemas::Fault;

use crate::state::State;

pub(crate) fn start(state: &Arc<State>, tasks: &TaskGroup) {
    let loops: [(&str, Run); 6] = [
        ("partitions", |state| {
            Box::pin(async move { partitions::run(&state).await })
        }),
        ("assignment", |state| {
            Box::pin(async move { assignment::run(&state).await })
        }),
        ("lineage", |state| {
            Box::pin(async move { lineage::run(&state).await })
        }),
        ("retention", |state| {
            Box::pin(async move { retention::run(&state).await })
        }),
        ("tasks", |state| {
            Box::pin(async move { tasks::run(&state).await })
        }),
        ("figures", |state| {
            Box::pin(async move { figures::run(&state).await })
        }),
    ];
    for (name, run) in loops {
        let state = Arc::clone(state);
        let failures = state.metrics.failures.with_label_values(&[name]);
        tasks.spawn(format!("reconcile {name}"), |stop| async move {
            let again_and_again = async {
                loop {
                    if !state.leadership.is_here() {
                        figures::forget(&state);
                    } else if let Err(fault) = run(Arc::clone(&state)).await {
                        failures.inc();
                        tracing::warn!(reconciler = name, cause = %fault, "will try again");
                    }
                    state.clock.sleep(state.config.reconcile_every).await;
                }
            };
            stop.run_until_cancelled(again_and_again).await;
        });
    }
}

type Run = fn(Arc<State>) -> Reconciled;
type Reconciled = std::pin::Pin<Box<dyn Future<Output = Result<(), Fault>> + Send>>;
