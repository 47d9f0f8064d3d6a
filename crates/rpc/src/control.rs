//! What the controller does for the other roles.

use async_trait::async_trait;
use futures::stream::BoxStream;
use schemas::Fault;
use schemas::proto::{
    AddSegmentRequest, ClusterUpdate, CommitEndRequest, CommitReply, CommitStartRequest,
    FinishTaskReply, FinishTaskRequest, HeartbeatReply, HeartbeatRequest, LeaseTaskReply,
    LeaseTaskRequest, SeenReply, SeenRequest, SegmentConsumedReply, SegmentConsumedRequest,
    TasksReply, TasksRequest, WatchRequest,
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
    /// All that are not done.
    async fn tasks(&self, _: TasksRequest) -> Result<TasksReply, Fault> {
        Ok(TasksReply::default())
    }
}
