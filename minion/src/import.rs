//! Files that somebody ordered to be imported, as a task.
//!
//! Invariants: nothing is read but what the settings allow, or what was put into the deep store for
//! this very task. The task is the import's key: whoever gets it after this minion died goes on
//! with the segments that are there, and no row of it is seen before the last one is.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use async_trait::async_trait;
use batch::{
    Begun, ImportError, Job, Mode, Progress, Source, Target, Workshop, file_source, local_sources,
    names_objects, object_sources, remote_source,
};
use bytes::Bytes;
use rpc::ControlApi;
use schemas::proto::import_request::Step;
use schemas::proto::{
    BeginImport, EndImport, ImportReply, ImportRequest, RenewTaskRequest, ReserveSequence,
    RevertImport,
};
use schemas::segment::SegmentRecord;
use schemas::task::{ImportOrder, Task};
use schemas::{Fault, Sequence, TableId};
use uuid::Uuid;

use crate::Core;

/// A third of a lease.
const RENEW_EVERY: Duration = Duration::from_secs(20);

/// What was done, in words.
pub(crate) async fn run(core: &Core, task: &Task, order: &ImportOrder) -> Result<String, Fault> {
    let failed = |what: &str, error: std::io::Error| {
        Fault::unavailable(format!(
            "the folder for files on their way: {what}: {error}"
        ))
    };
    std::fs::create_dir_all(&core.scratch).map_err(|error| failed("it cannot be made", error))?;
    let folder = tempfile::tempdir_in(&core.scratch);
    let folder = folder.map_err(|error| failed("none can be made in it", error))?;
    let workshop = Workshop {
        folder: folder.path().to_owned(),
        ..core.workshop.clone()
    };
    let progress: Arc<Progress> = Arc::default();
    let import = import(core, task, order, &workshop, &progress);
    tokio::select! {
        done = import => done,
        fault = keep(core, task, &progress) => Err(fault),
    }
}

async fn import(
    core: &Core,
    task: &Task,
    order: &ImportOrder,
    workshop: &Workshop,
    progress: &Arc<Progress>,
) -> Result<String, Fault> {
    let format = order.format.as_deref().map(str::parse).transpose();
    let format =
        format.map_err(|error: ingest::files::UnknownFormat| Fault::invalid(error.to_string()))?;
    let mut sources = Vec::new();
    for uri in &order.uris {
        sources.extend(sources_of(uri, format, workshop).await?);
    }
    for file in &order.staged {
        let name = Path::new(&file.name).file_name().unwrap_or_default();
        let path = workshop.folder.join(name);
        core.deep.download_to(&file.key, &path).await?;
        // The object never changes.
        let key = file.key.clone();
        sources.push(file_source(key.clone(), key, path)?);
    }
    let job = Job {
        key: format!("task {}", task.id),
        mode: order.refresh.map(|refresh| match refresh {
            true => Mode::Refresh,
            false => Mode::Append,
        }),
        sources,
        format,
        start_over: false,
    };
    let target: Arc<dyn Target> = Arc::new(OverRpc {
        controller: core.network.controller()?,
        deep: core.deep.clone(),
        table: order.table,
    });
    let done = batch::run(&job, &target, workshop, progress).await?;
    let (rows, segments) = (done.rows, done.segments);
    let mut summary = format!("{rows} rows in {segments} segments");
    if done.filtered > 0 {
        summary.push_str(&format!(", {} records filtered out", done.filtered));
    }
    Ok(summary)
}

async fn sources_of(
    uri: &str,
    format: Option<ingest::files::FileFormat>,
    workshop: &Workshop,
) -> Result<Vec<Source>, Fault> {
    if uri.starts_with("http://") {
        return Ok(vec![remote_source(uri, &workshop.reach).await?]);
    }
    if names_objects(uri) {
        let denied = |denied: runtime::Denied| Fault::denied(denied.to_string());
        workshop.reach.check_object(uri).map_err(denied)?;
        return Ok(object_sources(uri, format, workshop).await?);
    }
    let path = match uri.strip_prefix("file:") {
        // `file:///path` and `file:/path`.
        Some(rest) => rest.strip_prefix("//").unwrap_or(rest),
        None => uri,
    };
    let (path, reach) = (path.to_owned(), workshop.reach.clone());
    let list = move || {
        let denied = |denied: runtime::Denied| Fault::denied(denied.to_string());
        reach.check_pattern(&path).map_err(denied)?;
        let sources = local_sources(&[path], format)?;
        for source in &sources {
            reach.check_file(Path::new(&source.uri)).map_err(denied)?;
        }
        Ok(sources)
    };
    let listed = workshop.compute.run(list).await;
    listed.map_err(ImportError::from)?
}

/// Tells the controller that the task is worked on; returns when it is somebody else's.
async fn keep(core: &Core, task: &Task, progress: &Progress) -> Fault {
    loop {
        core.clock.sleep(RENEW_EVERY).await;
        let count = |of: &std::sync::atomic::AtomicU64| of.load(Ordering::Relaxed);
        let (done, all) = (count(&progress.bytes_done), count(&progress.bytes_total));
        let request = RenewTaskRequest {
            instance: core.config.instance.0.clone(),
            task_id: task.id.as_bytes().to_vec().into(),
            summary: format!("{} rows, {done} of {all} bytes", count(&progress.rows)),
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
        Ok(Begun {
            id: Uuid::from_slice(&reply.import_id).map_err(misunderstood)?,
            spec: serde_json::from_slice(&reply.spec).map_err(misunderstood)?,
            segments: segments.collect::<Result<_, _>>().map_err(misunderstood)?,
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
