//! Tells metrics whether the metadata can be reached. `/ready` asks for itself.

use std::sync::Arc;
use std::time::Duration;

use runtime::TaskGroup;

use crate::state::State;

const EVERY: Duration = Duration::from_secs(1);

pub(crate) fn start(state: &Arc<State>, tasks: &TaskGroup) {
    let state = Arc::clone(state);
    tasks.spawn("reach of the metadata", |stop| async move {
        let again_and_again = async {
            loop {
                let is_up = state.catalog.failing().is_none();
                state.metrics.metastore_up.set(i64::from(is_up));
                state.clock.sleep(EVERY).await;
            }
        };
        stop.run_until_cancelled(again_and_again).await;
    });
}
