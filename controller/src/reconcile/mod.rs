//! Reconcilers: idempotent, without input, again and again. One file each. How each fares is in
//! `sys.tasks`.

mod assignment;
mod figures;
mod lineage;
mod moves;
mod partitions;
mod retention;
mod statuses;
mod tasks;

#[cfg(test)]
pub(crate) use assignment::run as assignment;
pub(crate) use assignment::{Groups, regrouped, send};
#[cfg(test)]
pub(crate) use figures::run as figures;
pub(crate) use lineage::move_boundary;
#[cfg(test)]
pub(crate) use moves::run as moves;
pub(crate) use moves::{BATCH, carry, end};
pub(crate) use partitions::open_partitions;
#[cfg(test)]
pub(crate) use retention::run as retention;
pub(crate) use statuses::Statuses;

use std::sync::Arc;

use runtime::TaskGroup;
use schemas::Fault;

use crate::state::State;

pub(crate) fn start(state: &Arc<State>, tasks: &TaskGroup) {
    let loops: [(&str, Run); 7] = [
        ("partitions", |state| {
            Box::pin(async move { partitions::run(&state).await })
        }),
        ("assignment", |state| {
            Box::pin(async move { assignment::run(&state).await })
        }),
        ("moves", |state| {
            Box::pin(async move { moves::run(&state).await })
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
                        state.statuses.forget();
                    } else {
                        let began_ms = state.clock.now_ms();
                        let outcome = run(Arc::clone(&state)).await;
                        if let Err(fault) = &outcome {
                            failures.inc();
                            tracing::warn!(reconciler = name, cause = %fault, "will try again");
                        }
                        let span = (began_ms, state.clock.now_ms());
                        let controller = &state.config.instance;
                        state.statuses.passed(name, controller, span, outcome);
                    }
                    state.clock.sleep(state.config.reconcile_every).await;
                }
            };
            stop.run_until_cancelled(again_and_again).await;
        });
    }
}

type Run = fn(Arc<State>) -> Reconciled;
/// A sentence about what there was to be done.
type Reconciled = std::pin::Pin<Box<dyn Future<Output = Result<String, Fault>> + Send>>;
