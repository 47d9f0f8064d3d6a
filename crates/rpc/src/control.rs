//! What the controller does for the other roles.

use async_trait::async_trait;
use futures::stream::BoxStream;
use schemas::Fault;
use schemas::proto::{
    AddSegmentRequest, ClusterUpdate, CommitEndRequest, CommitReply, CommitStartRequest,
    FinishTaskReply, FinishTaskRequest, HeartbeatReply, HeartbeatRequest, ImportReply,
    ImportRequest, LeaseTaskReply, LeaseTaskRequest, RenewTaskReply, RenewTaskRequest, SeenReply,
    SeenRequest, SegmentConsumedReply, SegmentConsumedRequest, SubmitImportReply,
    SubmitImportRequest, TasksReply, TasksRequest, WatchRequest,
};

/// Ends when the controller goes away; the watcher then connects again.
pub type UpdateStream = BoxStream<'static, Result<ClusterUpdate, Fault>>;

#[async_trait]
pub trait ControlApi: Send + Sync + 'static {
    async fn watch(&self, request: WatchRequest) -> Result<UpdateStream, Fault>;
    /// The watcher acts on this version of the state from now on.
    async fn seen(&self, _: SeenRequest) -> Result<SeenReply, Fault> {
        Ok(SeenReply {})
    }
    async fn heartbeat(&self, request: HeartbeatRequest) -> Result<HeartbeatReply, Fault>;
    async fn segment_consumed(
        &self,
        request: SegmentConsumedRequest,
    ) -> Result<SegmentConsumedReply, Fault>;
    async fn commit_start(&self, request: CommitStartRequest) -> Result<CommitReply, Fault>;
    async fn commit_end(&self, request: CommitEndRequest) -> Result<CommitReply, Fault>;
    async fn add_segment(&self, request: AddSegmentRequest) -> Result<CommitReply, Fault>;
    async fn lease_task(&self, request: LeaseTaskRequest) -> Result<LeaseTaskReply, Fault>;
    async fn finish_task(&self, request: FinishTaskRequest) -> Result<FinishTaskReply, Fault>;
    /// Whether the caller may go on with its task.
    async fn renew_task(&self, _: RenewTaskRequest) -> Result<RenewTaskReply, Fault> {
        Ok(RenewTaskReply { yours: true })
    }
    async fn import(&self, _: ImportRequest) -> Result<ImportReply, Fault> {
        Err(Fault::internal("nothing is imported here"))
    }
    async fn submit_import(&self, _: SubmitImportRequest) -> Result<SubmitImportReply, Fault> {
        Err(Fault::internal("nothing is imported here"))
    }
    /// All that are not done.
    async fn tasks(&self, _: TasksRequest) -> Result<TasksReply, Fault> {
        Ok(TasksReply::default())
    }
}
