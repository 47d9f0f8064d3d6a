//! What tasks that bring segments have in common: a folder of their own, a lease that goes on while
//! they work, and the controller that takes the segments.
//!
//! Invariant: the task is the key of the replacement: whoever gets it after this minion died goes
//! on with it, and no row of it is seen before the last one is.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use batch::{Begun, Mode, Progress, Target};
use bytes::Bytes;
use rpc::ControlApi;
use schemas::proto::import_request::Step;
use schemas::proto::{
    BeginImport, EndImport, ImportReply, ImportRequest, RenewTaskRequest, ReserveSequence,
    RevertImport,
};
use schemas::segment::SegmentRecord;
use schemas::task::Task;
use schemas::{Fault, Sequence, TableId, TableSpec, TableType};
use tempfile::TempDir;
use uuid::Uuid;

use crate::Core;

/// So soon a minion hears that a task was cancelled. A lease is a minute.
const RENEW_EVERY: Duration = Duration::from_secs(5);
pub(crate) const WAS_DONE: &str = "it was done already by a minion that was not heard of again";

/// Removed when it is dropped.
pub(crate) fn scratch(core: &Core) -> Result<TempDir, Fault> {
    let failed = |what: &str, error: std::io::Error| {
        Fault::unavailable(format!(
            "the folder for files on their way: {what}: {error}"
        ))
    };
    std::fs::create_dir_all(&core.scratch).map_err(|error| failed("it cannot be made", error))?;
    let folder = tempfile::tempdir_in(&core.scratch);
    folder.map_err(|error| failed("none can be made in it", error))
}

pub(crate) fn target(core: &Core, table: TableId) -> Result<Arc<dyn Target>, Fault> {
    Ok(Arc::new(OverRpc {
        controller: core.network.controller()?,
        deep: core.deep.clone(),
        table,
    }))
}

/// Works as long as the task is this minion's.
pub(crate) async fn held<T>(
    core: &Core,
    task: &Task,
    progress: &Progress,
    work: impl Future<Output = Result<T, Fault>>,
) -> Result<T, Fault> {
    tokio::select! {
        done = work => done,
        fault = keep(core, task, progress) => Err(fault),
    }
}

/// Tells the controller that the task is worked on; returns when it is somebody else's.
async fn keep(core: &Core, task: &Task, progress: &Progress) -> Fault {
    loop {
        core.clock.sleep(RENEW_EVERY).await;
        let request = RenewTaskRequest {
            instance: core.config.instance.0.clone(),
            task_id: task.id.as_bytes().to_vec().into(),
            summary: progress.told(),
        };
        let renewed = match core.network.controller() {
            Ok(controller) => controller.renew_task(request).await,
            Err(fault) => Err(fault),
        };
        match renewed {
            Ok(reply) if !reply.yours => {
                return Fault::cancelled("another minion goes on with the task");
            }
            Ok(_) => {}
            // Its lease may end; then another goes on, and one of the two ends first.
            Err(fault) => tracing::debug!(cause = %fault, "the lease of a task is not renewed"),
        }
    }
}

/// The controller, and the deep store that it shares with this minion.
struct OverRpc {
    controller: Arc<dyn ControlApi>,
    deep: deepstore::DeepStore,
    table: TableId,
}

impl OverRpc {
    async fn step(&self, import: Option<Uuid>, step: Step) -> Result<ImportReply, Fault> {
        let import = import.map(|id| id.as_bytes().to_vec()).unwrap_or_default();
        let request = ImportRequest {
            table_id: self.table.to_bytes(),
            import_id: import.into(),
            step: Some(step),
        };
        self.controller.import(request).await
    }
}

fn misunderstood(error: impl ToString) -> Fault {
    let error = error.to_string();
    Fault::internal(format!(
        "the controller's answer is not understood: {error}"
    ))
}

#[async_trait]
impl Target for OverRpc {
    async fn begin(&self, key: &str, mode: Option<Mode>) -> Result<Begun, Fault> {
        let begin = BeginImport {
            key: key.to_owned(),
            refresh: mode.map(|mode| mode == Mode::Refresh),
        };
        let reply = self.step(None, Step::Begin(begin)).await?;
        let segments = reply
            .segments
            .iter()
            .map(|json| serde_json::from_slice(json));
        let id = Uuid::from_slice(&reply.import_id).map_err(misunderstood)?;
        let segments = segments.collect::<Result<_, _>>().map_err(misunderstood)?;
        let is_done = reply.spec.is_empty();
        let spec = match is_done {
            true => {
                let name = "none".parse().map_err(misunderstood)?;
                TableSpec::new(name, TableType::Offline, Vec::new())
            }
            false => serde_json::from_slice(&reply.spec).map_err(misunderstood)?,
        };
        Ok(Begun {
            id,
            spec,
            segments,
            is_done,
        })
    }

    async fn reserve(&self, import: Uuid) -> Result<Sequence, Fault> {
        let reply = self
            .step(Some(import), Step::Reserve(ReserveSequence {}))
            .await?;
        Ok(reply.sequence)
    }

    async fn add(
        &self,
        import: Uuid,
        mut record: SegmentRecord,
        packed: Bytes,
    ) -> Result<String, Fault> {
        let key = SegmentRecord::object_key(record.id, record.crc);
        record.stored_bytes = packed.len() as u64;
        self.deep.upload(&key, packed).await?;
        record.uri = Some(key);
        let json = serde_json::to_vec(&record).map_err(misunderstood)?;
        let reply = self.step(Some(import), Step::Add(json.into())).await?;
        Ok(reply.segment)
    }

    async fn end(&self, import: Uuid, segments: BTreeSet<String>) -> Result<(), Fault> {
        let end = EndImport {
            segments: segments.into_iter().collect(),
        };
        self.step(Some(import), Step::End(end)).await?;
        Ok(())
    }

    async fn revert(&self, import: Uuid) -> Result<(), Fault> {
        self.step(Some(import), Step::Revert(RevertImport {}))
            .await?;
        Ok(())
    }
}
