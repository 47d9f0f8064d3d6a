//! The gRPC client of the controller, and the translation of faults to and from gRPC's status.

use std::time::Duration;

use access::NodeTrust;
use async_trait::async_trait;
use futures::StreamExt;
use prost::Message;
use schemas::fault::pinot_code;
use schemas::proto;
use schemas::{Fault, FaultKind};
use tonic::{Code, Status};

use crate::generated::control_client::ControlClient;
use crate::line::{Line, endpoint, line};
use crate::{ControlApi, UpdateStream};

/// Plans and answers of one message; larger answers come in several.
pub(crate) const MESSAGE_BYTES_MAX: usize = 256 << 20;

/// A controller that stands still is noticed after so long, and another one is asked.
const CONTROL_SILENCE: Duration = Duration::from_secs(3);

/// A [`Fault`] travels whole in the details of the status.
pub(crate) fn to_status(fault: Fault) -> Status {
    let code = match fault.kind {
        FaultKind::Invalid => Code::InvalidArgument,
        FaultKind::Denied => Code::PermissionDenied,
        FaultKind::NotFound => Code::NotFound,
        FaultKind::Conflict => Code::FailedPrecondition,
        FaultKind::Overloaded => Code::ResourceExhausted,
        FaultKind::Internal => Code::Internal,
        FaultKind::Unavailable => Code::Unavailable,
        FaultKind::Timeout => Code::DeadlineExceeded,
        FaultKind::Cancelled => Code::Cancelled,
    };
    let message = fault.message.clone();
    Status::with_details(
        code,
        message,
        proto::Fault::from(fault).encode_to_vec().into(),
    )
}

/// What broke on the way to a peer, if that is what the error tells.
pub fn fault_of_the_way(error: &(dyn std::error::Error + 'static)) -> Option<Fault> {
    error.downcast_ref::<Status>().map(to_fault)
}

/// A status without our details comes from the transport: the peer is not there.
pub(crate) fn to_fault(status: &Status) -> Fault {
    if !status.details().is_empty()
        && let Ok(wire) = proto::Fault::decode(status.details())
    {
        return wire.into();
    }
    let message = status.message().to_owned();
    if status.code() == Code::Unauthenticated {
        return Fault::new(FaultKind::Denied, pinot_code::ACCESS_DENIED, message);
    }
    match root(status) {
        Some(cause) => Fault::unavailable(format!("{message}: {cause}")),
        None => Fault::unavailable(message),
    }
}

/// What is at the bottom of it, for example what was wrong with a certificate.
fn root(status: &Status) -> Option<String> {
    let mut at = std::error::Error::source(status)?;
    while let Some(deeper) = at.source() {
        at = deeper;
    }
    Some(at.to_string()).filter(|text| text != status.message())
}

#[derive(Debug)]
pub(crate) struct GrpcControl {
    client: ControlClient<Line>,
    caller: Caller,
}

/// Who asks a controller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Caller {
    Role,
    /// Another controller, for a role that asked it.
    Controller,
}

/// In the metadata of what a controller has sent on.
pub(crate) const SENT_ON: &str = "x-tannin-sent-on";

impl GrpcControl {
    pub(crate) fn lazy(address: &str, caller: Caller, trust: &NodeTrust) -> Result<Self, Fault> {
        let endpoint = endpoint(address)?
            .http2_keep_alive_interval(CONTROL_SILENCE)
            .keep_alive_timeout(CONTROL_SILENCE);
        let client = ControlClient::new(line(&endpoint, address, trust))
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX);
        Ok(Self { client, caller })
    }
}

impl Caller {
    fn marked<T>(self, request: T) -> tonic::Request<T> {
        let mut request = tonic::Request::new(request);
        if self == Self::Controller {
            let mark = tonic::metadata::MetadataValue::from_static("1");
            request.metadata_mut().insert(SENT_ON, mark);
        }
        request
    }
}

macro_rules! call {
    ($self:ident.$method:ident($request:expr)) => {{
        let request = $self.caller.marked($request);
        match $self.client.clone().$method(request).await {
            Ok(response) => Ok(response.into_inner()),
            Err(status) => Err(to_fault(&status)),
        }
    }};
}

#[async_trait]
impl ControlApi for GrpcControl {
    async fn watch(&self, request: proto::WatchRequest) -> Result<UpdateStream, Fault> {
        let updates = call!(self.watch(request))?;
        Ok(updates
            .map(|update| update.map_err(|status| to_fault(&status)))
            .boxed())
    }

    async fn seen(&self, request: proto::SeenRequest) -> Result<proto::SeenReply, Fault> {
        call!(self.seen(request))
    }

    async fn heartbeat(
        &self,
        request: proto::HeartbeatRequest,
    ) -> Result<proto::HeartbeatReply, Fault> {
        call!(self.heartbeat(request))
    }

    async fn segment_consumed(
        &self,
        request: proto::SegmentConsumedRequest,
    ) -> Result<proto::SegmentConsumedReply, Fault> {
        call!(self.segment_consumed(request))
    }

    async fn commit_start(
        &self,
        request: proto::CommitStartRequest,
    ) -> Result<proto::CommitReply, Fault> {
        call!(self.commit_start(request))
    }

    async fn commit_end(
        &self,
        request: proto::CommitEndRequest,
    ) -> Result<proto::CommitReply, Fault> {
        call!(self.commit_end(request))
    }

    async fn add_segment(
        &self,
        request: proto::AddSegmentRequest,
    ) -> Result<proto::CommitReply, Fault> {
        call!(self.add_segment(request))
    }

    async fn lease_task(
        &self,
        request: proto::LeaseTaskRequest,
    ) -> Result<proto::LeaseTaskReply, Fault> {
        call!(self.lease_task(request))
    }

    async fn finish_task(
        &self,
        request: proto::FinishTaskRequest,
    ) -> Result<proto::FinishTaskReply, Fault> {
        call!(self.finish_task(request))
    }

    async fn renew_task(
        &self,
        request: proto::RenewTaskRequest,
    ) -> Result<proto::RenewTaskReply, Fault> {
        call!(self.renew_task(request))
    }

    async fn import(&self, request: proto::ImportRequest) -> Result<proto::ImportReply, Fault> {
        call!(self.import(request))
    }

    async fn submit_import(
        &self,
        request: proto::SubmitImportRequest,
    ) -> Result<proto::SubmitImportReply, Fault> {
        call!(self.submit_import(request))
    }

    async fn tasks(&self, request: proto::TasksRequest) -> Result<proto::TasksReply, Fault> {
        call!(self.tasks(request))
    }
}
