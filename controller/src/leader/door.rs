//! What other roles ask of any controller: answered by the one that leads.
//!
//! Invariant: a request is sent on at most once. What another controller has sent on is answered
//! here or refused.

use std::sync::Arc;

use async_trait::async_trait;
use futures::StreamExt;
use rpc::{ControlApi, UpdateStream};
use schemas::Fault;
use schemas::proto::{
    AddSegmentRequest, CommitEndRequest, CommitReply, CommitStartRequest, FinishTaskReply,
    FinishTaskRequest, HeartbeatReply, HeartbeatRequest, ImportReply, ImportRequest,
    LeaseTaskReply, LeaseTaskRequest, RenewTaskReply, RenewTaskRequest, SeenReply, SeenRequest,
    SegmentConsumedReply, SegmentConsumedRequest, SubmitImportReply, SubmitImportRequest,
    TasksReply, TasksRequest, WatchRequest,
};

use super::Leader;
use crate::api::Api;
use crate::state::State;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asker {
    Role,
    Controller,
}

#[derive(Debug)]
pub(crate) struct Door {
    own: Api,
    state: Arc<State>,
    from: Asker,
}

impl Door {
    pub(crate) fn open(state: &Arc<State>, from: Asker) -> Arc<dyn ControlApi> {
        Arc::new(Self {
            own: Api(Arc::clone(state)),
            state: Arc::clone(state),
            from,
        })
    }

    /// Of the leader elsewhere; `None`: it is here.
    fn elsewhere(&self) -> Result<Option<Arc<dyn ControlApi>>, Fault> {
        match self.state.leadership.now() {
            Leader::Here => Ok(None),
            Leader::There(other) if self.from == Asker::Role => {
                Ok(Some(Arc::clone(&other.control)))
            }
            Leader::There(_) | Leader::Nobody => Err(self.state.no_leader()),
        }
    }
}

macro_rules! answered {
    ($self:ident.$method:ident($request:expr)) => {
        match $self.elsewhere()? {
            None => $self.own.$method($request).await,
            Some(leader) => leader.$method($request).await,
        }
    };
}

#[async_trait]
impl ControlApi for Door {
    /// Ends when the lead moves: the watcher asks again and gets everything from the new leader.
    async fn watch(&self, request: WatchRequest) -> Result<UpdateStream, Fault> {
        let moved = self.state.leadership.moved();
        let leader = self.elsewhere()?;
        if leader.is_none() {
            self.state.wait_until_heard().await;
        }
        let updates = match leader {
            None => self.own.watch(request).await?,
            Some(leader) => leader.watch(request).await?,
        };
        Ok(updates.take_until(moved).boxed())
    }

    async fn seen(&self, request: SeenRequest) -> Result<SeenReply, Fault> {
        answered!(self.seen(request))
    }

    async fn heartbeat(&self, request: HeartbeatRequest) -> Result<HeartbeatReply, Fault> {
        answered!(self.heartbeat(request))
    }

    async fn segment_consumed(
        &self,
        request: SegmentConsumedRequest,
    ) -> Result<SegmentConsumedReply, Fault> {
        answered!(self.segment_consumed(request))
    }

    async fn commit_start(&self, request: CommitStartRequest) -> Result<CommitReply, Fault> {
        answered!(self.commit_start(request))
    }

    async fn commit_end(&self, request: CommitEndRequest) -> Result<CommitReply, Fault> {
        answered!(self.commit_end(request))
    }

    async fn add_segment(&self, request: AddSegmentRequest) -> Result<CommitReply, Fault> {
        answered!(self.add_segment(request))
    }

    async fn lease_task(&self, request: LeaseTaskRequest) -> Result<LeaseTaskReply, Fault> {
        answered!(self.lease_task(request))
    }

    async fn finish_task(&self, request: FinishTaskRequest) -> Result<FinishTaskReply, Fault> {
        answered!(self.finish_task(request))
    }

    async fn renew_task(&self, request: RenewTaskRequest) -> Result<RenewTaskReply, Fault> {
        answered!(self.renew_task(request))
    }

    async fn import(&self, request: ImportRequest) -> Result<ImportReply, Fault> {
        answered!(self.import(request))
    }

    async fn submit_import(
        &self,
        request: SubmitImportRequest,
    ) -> Result<SubmitImportReply, Fault> {
        answered!(self.submit_import(request))
    }

    async fn tasks(&self, request: TasksRequest) -> Result<TasksReply, Fault> {
        answered!(self.tasks(request))
    }
}
