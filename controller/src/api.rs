//! The internal service: watching the state, heartbeats, commits and tasks.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::{StreamExt, stream};
use metastore::catalog::{Asking, CommitOutcome};
use rpc::{ControlApi, UpdateStream};
use schemas::cluster::{ClusterState, UPDATE_FORMAT, Updates, changed, whole_tables};
use schemas::proto::segment_consumed_reply::Action;
use schemas::proto::{
    AddSegmentRequest, ClusterUpdate, CommitEndRequest, CommitReply, CommitStartRequest,
    FinishTaskReply, FinishTaskRequest, HeartbeatReply, HeartbeatRequest, ImportReply,
    ImportRequest, LeaseTaskReply, LeaseTaskRequest, RenewTaskReply, RenewTaskRequest, SeenReply,
    SeenRequest, SegmentConsumedReply, SegmentConsumedRequest, SubmitImportReply,
    SubmitImportRequest, TasksReply, TasksRequest, WatchRequest,
};
use schemas::segment::SegmentRecord;
use schemas::task::{Task, TaskKind};
use schemas::{Fault, InstanceId, Offset, SegmentId, TableId, TableSpec};
use tokio::sync::watch;

use crate::completion::Verdict;
use crate::seen::Watching;
use crate::state::State;

/// Waiting replicas ask again after so long.
const HOLD_MS: u64 = 200;
const TASK_LEASE: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub(crate) struct Api(pub(crate) Arc<State>);

#[async_trait]
impl ControlApi for Api {
    async fn watch(&self, request: WatchRequest) -> Result<UpdateStream, Fault> {
        let watch = Watch {
            versions: self.0.watch_version(),
            _watching: self.0.seen.watch(InstanceId(request.instance)),
            state: Arc::clone(&self.0),
            format: request.format,
            told: None,
            coming: None,
        };
        let updates = stream::unfold(watch, |mut watch| async move {
            let update = watch.next().await?;
            Some((Ok(update), watch))
        });
        Ok(updates.boxed())
    }

    async fn seen(&self, request: SeenRequest) -> Result<SeenReply, Fault> {
        let instance = InstanceId(request.instance);
        self.0.seen.acknowledge(&instance, request.version);
        Ok(SeenReply {})
    }

    async fn heartbeat(&self, request: HeartbeatRequest) -> Result<HeartbeatReply, Fault> {
        self.0.heartbeat(request)
    }

    async fn segment_consumed(
        &self,
        request: SegmentConsumedRequest,
    ) -> Result<SegmentConsumedReply, Fault> {
        let id = segment_id(&request.table_id, request.partition, request.sequence)?;
        let answer = |action: Action, offset, epoch| SegmentConsumedReply {
            action: action.into(),
            offset,
            epoch,
            wait_ms: HOLD_MS,
        };
        let Some(stored) = self.0.catalog.segment(id).await? else {
            return Ok(answer(Action::Fenced, 0, 0));
        };
        if let Some(end) = stored.record.end {
            let same = end == request.offset;
            return Ok(answer(
                if same { Action::Keep } else { Action::Discard },
                end,
                0,
            ));
        }
        let reporter = InstanceId(request.instance);
        let offset = request.offset;
        // It went to others. Who was told to commit it may do so.
        let is_its_turn = self.0.completion.lock().committer(id) == Some(&reporter);
        if !stored.assigned.contains(&reporter) && !is_its_turn {
            return Ok(answer(Action::Fenced, 0, 0));
        }
        // What it seals now would carry wrong times.
        if self.0.is_turned_away(&reporter) {
            return Ok(answer(Action::Hold, 0, 0));
        }
        let verdict = match self.judge(id, &reporter, offset) {
            Verdict::Elect => match self.0.catalog.elect(id).await? {
                None => return Ok(answer(Action::Hold, 0, 0)),
                Some(epoch) => {
                    let now = self.0.clock.monotonic();
                    let mut completion = self.0.completion.lock();
                    completion.elected(id, reporter, offset, epoch, now)
                }
            },
            verdict => verdict,
        };
        Ok(match verdict {
            Verdict::Commit { offset, epoch } => answer(Action::Commit, offset, epoch),
            Verdict::CatchUp { offset } => answer(Action::CatchUp, offset, 0),
            Verdict::Hold | Verdict::Elect => answer(Action::Hold, 0, 0),
        })
    }

    async fn commit_start(&self, request: CommitStartRequest) -> Result<CommitReply, Fault> {
        let id = segment_id(&request.table_id, request.partition, request.sequence)?;
        let committer = InstanceId(request.instance);
        let now = self.0.clock.monotonic();
        let accepted = self
            .0
            .completion
            .lock()
            .start(id, &committer, request.epoch, now);
        let reason = if accepted {
            String::new()
        } else {
            "another replica commits now".to_owned()
        };
        Ok(CommitReply {
            accepted,
            reason,
            sequence: id.sequence,
        })
    }

    async fn commit_end(&self, request: CommitEndRequest) -> Result<CommitReply, Fault> {
        let record: SegmentRecord = parse(&request.segment)?;
        let (id, epoch) = (record.id, request.epoch);
        let spec = self.spec(id.table)?;
        let now_ms = self.0.clock.now_ms();
        // A table may say that its servers have the segment until the deep store is back.
        let is_held_by_servers = record.unstored && spec.peer_download;
        let missing = match is_held_by_servers {
            true => None,
            false => self.missing_object(&record).await?,
        };
        let outcome = match missing {
            Some(reason) => CommitOutcome::Fenced(reason),
            None => {
                let committing = self.0.catalog.commit_segment(&spec, record, epoch, now_ms);
                committing.await?
            }
        };
        let (accepted, reason) = match outcome {
            CommitOutcome::Committed => {
                self.0.metrics.commits.inc();
                let now_ms = self.0.clock.now_ms();
                self.0.metrics.last_commit.set(now_ms / 1000);
                (true, String::new())
            }
            CommitOutcome::AlreadyCommitted => (true, String::new()),
            CommitOutcome::Fenced(reason) => {
                self.0.metrics.fenced.inc();
                tracing::warn!(segment = %id, instance = request.instance, reason, "commit fenced");
                (false, reason)
            }
        };
        self.0.completion.lock().ended(id, epoch, accepted);
        self.0.publish(id.table).await?;
        Ok(CommitReply {
            accepted,
            reason,
            sequence: id.sequence,
        })
    }

    async fn add_segment(&self, request: AddSegmentRequest) -> Result<CommitReply, Fault> {
        let record = self.0.add_offline_segment(parse(&request.segment)?).await?;
        let sequence = record.id.sequence;
        Ok(CommitReply {
            accepted: true,
            reason: String::new(),
            sequence,
        })
    }

    async fn lease_task(&self, request: LeaseTaskRequest) -> Result<LeaseTaskReply, Fault> {
        let now_ms = self.0.clock.now_ms();
        let LeaseTaskRequest { kinds, instance } = request;
        let stopped = self.0.catalog.stopped_tasks().await?;
        let is_stopped = |kind: &str| stopped.iter().any(|stopped| stopped.name() == kind);
        let (all, mut kinds) = (kinds.is_empty(), kinds);
        if all && !stopped.is_empty() {
            kinds = TaskKind::NAMES.iter().map(ToString::to_string).collect();
        }
        kinds.retain(|kind| !is_stopped(kind));
        if kinds.is_empty() && !all {
            return Ok(LeaseTaskReply::default());
        }
        let asking = Asking {
            minion: &instance,
            kinds: &kinds,
            now_ms,
            until_ms: now_ms + TASK_LEASE.as_millis() as i64,
        };
        // Who is dead will not go on with it; if it lives after all, it hears so when it renews.
        let is_free = |task: &Task| {
            let holder = InstanceId(task.leased_by.clone());
            !task.leased_by.is_empty() && !self.0.may_live(&holder)
        };
        let task = self.0.catalog.lease_task(asking, is_free).await?;
        let json = task.map(|task| serde_json::to_vec(&task).unwrap_or_default());
        Ok(LeaseTaskReply {
            task: json.unwrap_or_default().into(),
        })
    }

    async fn finish_task(&self, request: FinishTaskRequest) -> Result<FinishTaskReply, Fault> {
        let id = task_id(&request.task_id)?;
        let fault = request.fault.map(Fault::from);
        let outcome = match &fault {
            Some(fault) => Err(fault),
            None => {
                let made = request.compacted.iter();
                let made = made.map(|json| serde_json::from_slice::<SegmentRecord>(json));
                let made = made.collect::<Result<Vec<_>, _>>();
                let made = made.map_err(|error| Fault::invalid(format!("no record: {error}")))?;
                Ok((request.summary.as_str(), made))
            }
        };
        self.0.task_ended(id, &request.instance, outcome).await?;
        Ok(FinishTaskReply {})
    }

    async fn renew_task(&self, request: RenewTaskRequest) -> Result<RenewTaskReply, Fault> {
        let id = task_id(&request.task_id)?;
        let until_ms = self.0.clock.now_ms() + TASK_LEASE.as_millis() as i64;
        let RenewTaskRequest {
            instance, summary, ..
        } = request;
        let renewing = self.0.catalog.renew_task(id, &instance, until_ms, &summary);
        Ok(RenewTaskReply {
            yours: renewing.await?,
        })
    }

    async fn import(&self, request: ImportRequest) -> Result<ImportReply, Fault> {
        self.0.import_step(request).await
    }

    async fn submit_import(
        &self,
        request: SubmitImportRequest,
    ) -> Result<SubmitImportReply, Fault> {
        let SubmitImportRequest {
            table,
            uris,
            options,
        } = request;
        let submitted = self
            .0
            .submit_import(&table, uris, Vec::new(), &options)
            .await?;
        Ok(SubmitImportReply {
            task_id: submitted.task.as_bytes().to_vec().into(),
            table: submitted.table,
            unknown: submitted.unknown,
        })
    }

    async fn tasks(&self, _: TasksRequest) -> Result<TasksReply, Fault> {
        let tasks = self.0.catalog.tasks().await?.into_iter();
        let json = tasks.map(|task| serde_json::to_vec(&task).unwrap_or_default().into());
        Ok(TasksReply {
            tasks: json.collect(),
            reconcilers: self.0.statuses.json(),
        })
    }
}

impl Api {
    fn judge(&self, id: SegmentId, reporter: &InstanceId, offset: Offset) -> Verdict {
        let may_live = |committer: &InstanceId| self.0.may_live(committer);
        let now = self.0.clock.monotonic();
        let mut completion = self.0.completion.lock();
        completion.consumed(id, reporter, offset, now, may_live)
    }

    /// Why the object of a commit is not as the record says: nothing is done that is not durable.
    async fn missing_object(&self, record: &SegmentRecord) -> Result<Option<String>, Fault> {
        let key = SegmentRecord::object_key(record.id, record.crc);
        if record.uri.as_ref() != Some(&key) {
            return Ok(Some(format!("the segment's object must be `{key}`")));
        }
        let stored = self.0.deep.head(&key).await?.map(|object| object.bytes);
        Ok((stored != Some(record.stored_bytes)).then(|| {
            format!(
                "`{key}` has {stored:?} bytes in the deep store, not {}",
                record.stored_bytes
            )
        }))
    }

    fn spec(&self, table: TableId) -> Result<TableSpec, Fault> {
        self.0
            .table(table)
            .map(|state| state.spec.clone())
            .ok_or_else(|| Fault::not_found(format!("table {table} does not exist any more")))
    }
}

impl State {
    /// Registers a sealed segment that is in the deep store already.
    pub(crate) async fn add_offline_segment(
        &self,
        record: SegmentRecord,
    ) -> Result<SegmentRecord, Fault> {
        let id = record.id;
        let assigned = self.servers_for(&record)?;
        let gone = || Fault::not_found(format!("table {} does not exist", id.table));
        let table = self.table(id.table).ok_or_else(gone)?;
        let record = self
            .catalog
            .add_segment(&table.spec, record, assigned)
            .await?;
        self.publish(id.table).await?;
        Ok(record)
    }
}

/// A role that is told what is published, and what changes.
struct Watch {
    state: Arc<State>,
    versions: watch::Receiver<u64>,
    _watching: Watching,
    format: u32,
    /// It knows all of it, once nothing of it is coming.
    told: Option<Arc<ClusterState>>,
    coming: Option<Updates>,
}

impl Watch {
    /// However much has changed meanwhile, it is told what differs from what it knows.
    async fn next(&mut self) -> Option<ClusterUpdate> {
        if let Some(update) = self.coming.as_mut().and_then(Iterator::next) {
            return Some(update);
        }
        if self.told.is_some() {
            self.versions.changed().await.ok()?;
        }
        self.versions.borrow_and_update();
        let now = self.state.snapshot();
        let before = self.told.replace(Arc::clone(&now));
        if self.format < UPDATE_FORMAT {
            return Some(whole_tables(before.as_deref(), &now));
        }
        self.coming.insert(changed(before.as_deref(), &now)).next()
    }
}

fn task_id(bytes: &[u8]) -> Result<uuid::Uuid, Fault> {
    uuid::Uuid::from_slice(bytes)
        .map_err(|error| Fault::invalid(format!("a task id has 16 bytes: {error}")))
}

fn segment_id(table: &[u8], partition: u32, sequence: u32) -> Result<SegmentId, Fault> {
    let table = TableId::from_bytes(table).ok_or_else(|| Fault::invalid("no table id"))?;
    Ok(SegmentId {
        table,
        partition,
        sequence,
    })
}

fn parse<T: serde::de::DeserializeOwned>(json: &[u8]) -> Result<T, Fault> {
    serde_json::from_slice(json)
        .map_err(|error| Fault::invalid(format!("the message is not understood: {error}")))
}
