//! Several controllers as one: the one that answered last is asked, and when it is away the next.
//!
//! Invariant: what could be done twice is asked again of another controller only by the caller. The
//! rest may be: each message of the completion protocol, a heartbeat, and whatever only reads.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use access::NodeTrust;
use async_trait::async_trait;
use schemas::proto;
use schemas::{Fault, FaultKind};

use crate::client::{Caller, GrpcControl};
use crate::{ControlApi, UpdateStream};

/// The controller at `host:port`, as other controllers reach it.
pub fn controller_for_controllers(
    address: &str,
    trust: &NodeTrust,
) -> Result<Arc<dyn ControlApi>, Fault> {
    let control = GrpcControl::lazy(address, Caller::Controller, trust)?;
    Ok(Arc::new(control))
}

#[derive(Debug)]
pub(crate) struct FailoverControl {
    /// At least one.
    controllers: Vec<GrpcControl>,
    now: AtomicUsize,
}

impl FailoverControl {
    /// `list` has one address, or several with commas between.
    pub(crate) fn of(list: &str, trust: &NodeTrust) -> Result<Self, Fault> {
        let addresses = list.split(',').map(str::trim).filter(|one| !one.is_empty());
        let controllers = addresses.map(|one| GrpcControl::lazy(one, Caller::Role, trust));
        let controllers: Vec<_> = controllers.collect::<Result<_, _>>()?;
        if controllers.is_empty() {
            return Err(Fault::invalid(format!("`{list}` names no controller")));
        }
        Ok(Self {
            controllers,
            now: AtomicUsize::new(0),
        })
    }

    fn now(&self) -> (usize, &GrpcControl) {
        let at = self.now.load(Ordering::Relaxed) % self.controllers.len();
        (at, &self.controllers[at])
    }

    /// Somebody else may have moved on meanwhile.
    fn move_on(&self, from: usize, fault: &Fault) {
        let next = (from + 1) % self.controllers.len();
        let moved = self
            .now
            .compare_exchange(from, next, Ordering::Relaxed, Ordering::Relaxed);
        if moved.is_ok() && next != from {
            tracing::debug!(cause = %fault, "another controller is asked from now on");
        }
    }
}

/// Asks each controller at most once.
macro_rules! ask_any {
    ($self:ident.$method:ident($request:expr)) => {{
        let request = $request;
        let mut asked = 1;
        loop {
            let (at, controller) = $self.now();
            match controller.$method(request.clone()).await {
                Err(fault) if fault.kind == FaultKind::Unavailable => {
                    $self.move_on(at, &fault);
                    if asked == $self.controllers.len() {
                        break Err(fault);
                    }
                    asked += 1;
                }
                answer => break answer,
            }
        }
    }};
}

macro_rules! ask_once {
    ($self:ident.$method:ident($request:expr)) => {{
        let (at, controller) = $self.now();
        let answer = controller.$method($request).await;
        if let Err(fault) = &answer
            && fault.kind == FaultKind::Unavailable
        {
            $self.move_on(at, fault);
        }
        answer
    }};
}

#[async_trait]
impl ControlApi for FailoverControl {
    async fn watch(&self, request: proto::WatchRequest) -> Result<UpdateStream, Fault> {
        ask_any!(self.watch(request))
    }

    async fn seen(&self, request: proto::SeenRequest) -> Result<proto::SeenReply, Fault> {
        ask_any!(self.seen(request))
    }

    async fn heartbeat(
        &self,
        request: proto::HeartbeatRequest,
    ) -> Result<proto::HeartbeatReply, Fault> {
        ask_any!(self.heartbeat(request))
    }

    async fn segment_consumed(
        &self,
        request: proto::SegmentConsumedRequest,
    ) -> Result<proto::SegmentConsumedReply, Fault> {
        ask_any!(self.segment_consumed(request))
    }

    async fn commit_start(
        &self,
        request: proto::CommitStartRequest,
    ) -> Result<proto::CommitReply, Fault> {
        ask_any!(self.commit_start(request))
    }

    async fn commit_end(
        &self,
        request: proto::CommitEndRequest,
    ) -> Result<proto::CommitReply, Fault> {
        ask_any!(self.commit_end(request))
    }

    async fn add_segment(
        &self,
        request: proto::AddSegmentRequest,
    ) -> Result<proto::CommitReply, Fault> {
        ask_once!(self.add_segment(request))
    }

    async fn lease_task(
        &self,
        request: proto::LeaseTaskRequest,
    ) -> Result<proto::LeaseTaskReply, Fault> {
        ask_once!(self.lease_task(request))
    }

    async fn finish_task(
        &self,
        request: proto::FinishTaskRequest,
    ) -> Result<proto::FinishTaskReply, Fault> {
        ask_any!(self.finish_task(request))
    }

    async fn renew_task(
        &self,
        request: proto::RenewTaskRequest,
    ) -> Result<proto::RenewTaskReply, Fault> {
        ask_any!(self.renew_task(request))
    }

    async fn import(&self, request: proto::ImportRequest) -> Result<proto::ImportReply, Fault> {
        ask_once!(self.import(request))
    }

    async fn submit_import(
        &self,
        request: proto::SubmitImportRequest,
    ) -> Result<proto::SubmitImportReply, Fault> {
        ask_once!(self.submit_import(request))
    }

    async fn tasks(&self, request: proto::TasksRequest) -> Result<proto::TasksReply, Fault> {
        ask_any!(self.tasks(request))
    }
}
