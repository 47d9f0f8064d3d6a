//! Publishes what changed in the catalog and was not published by whoever changed it.
//!
//! A request whose caller goes away may end between its transaction and its publication. Following
//! the catalog makes the published state a function of what is stored, whatever happened between.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::BoxStream;
use metastore::MetaError;
use metastore::catalog::CatalogChange;
use runtime::{Backoff, TaskGroup};

use crate::state::State;

const RETRY_MAX: Duration = Duration::from_secs(5);

pub(crate) type Changes = BoxStream<'static, CatalogChange>;

/// `changes` began before the state was loaded.
pub(crate) fn start(state: &Arc<State>, changes: Changes, tasks: &TaskGroup) {
    let state = Arc::clone(state);
    tasks.spawn("follow the catalog", |stop| async move {
        let follow = async {
            let mut backoff = Backoff::up_to(RETRY_MAX);
            let mut changes = changes;
            loop {
                if let Err(error) = publish_all(&state, &mut changes, &mut backoff).await {
                    tracing::warn!(%error, "a change was not published, will try again");
                }
                state.clock.sleep(backoff.next_delay()).await;
                match begin_again(&state).await {
                    Ok(fresh) => changes = fresh,
                    Err(error) => tracing::warn!(%error, "the catalog cannot be followed"),
                }
            }
        };
        stop.run_until_cancelled(follow).await;
    });
}

async fn publish_all(
    state: &State,
    changes: &mut Changes,
    backoff: &mut Backoff,
) -> Result<(), MetaError> {
    while let Some(change) = changes.next().await {
        match change {
            CatalogChange::Table { id, revision } => {
                if state.is_behind(id, revision) {
                    state.publish(id).await?;
                }
            }
            CatalogChange::Everything => publish_everything(state).await?,
        }
        backoff.reset();
    }
    Ok(())
}

async fn begin_again(state: &State) -> Result<Changes, MetaError> {
    let changes = state.catalog.watch().await?;
    publish_everything(state).await?;
    Ok(changes)
}

pub(crate) async fn publish_everything(state: &State) -> Result<(), MetaError> {
    let published = state.tables().into_iter().map(|table| table.spec.id);
    let stored = state.catalog.tables().await?;
    let stored = stored.into_iter().map(|table| table.spec.id);
    let all: std::collections::BTreeSet<_> = published.chain(stored).collect();
    for id in all {
        state.publish(id).await?;
    }
    Ok(())
}
