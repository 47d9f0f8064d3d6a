//! The gRPC side of the roles that are called: thin adapters around [`ControlApi`] and
//! [`FragmentApi`], and the listener.

use std::collections::HashMap;
use std::sync::Arc;

use access::NodeTrust;
use access::tls::{Incoming, Protocol};
use async_trait::async_trait;
use futures::stream::{self, BoxStream};
use futures::{Stream, StreamExt};
use runtime::{CancellationToken, TaskGroup};
use schemas::proto::fragment_frame::Body;
use schemas::proto::{self, FragmentAnswer, FragmentFrame, FragmentRequest};
use schemas::{Fault, FaultKind};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Server;
use tonic::{Request, Response, Status, Streaming};

use crate::channel::Door;
use crate::client::{MESSAGE_BYTES_MAX, SENT_ON, to_fault, to_status};
use crate::generated::control_server::{Control, ControlServer};
use crate::generated::fragments_server::{Fragments, FragmentsServer};

use crate::line::{Accepted, Believed};
use crate::{ControlApi, FragmentApi};

const ANSWERS_QUEUED_MAX: usize = 256;

/// What a controller answers, and to whom.
pub struct ControlDoors {
    pub to_roles: Arc<dyn ControlApi>,
    /// To controllers that send on what roles have asked them.
    pub to_controllers: Arc<dyn ControlApi>,
}

impl std::fmt::Debug for ControlDoors {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ControlDoors").finish_non_exhaustive()
    }
}

impl ControlDoors {
    /// Of a controller that is the only one.
    pub fn alone(api: Arc<dyn ControlApi>) -> Self {
        Self {
            to_controllers: Arc::clone(&api),
            to_roles: api,
        }
    }
}

/// Serves the controller's side until `tasks` is cancelled.
pub fn serve_control(
    listener: TcpListener,
    doors: ControlDoors,
    trust: &NodeTrust,
    tasks: &TaskGroup,
) {
    let service = ControlServer::new(ControlService {
        doors,
        stop: tasks.token(),
    })
    .max_decoding_message_size(MESSAGE_BYTES_MAX)
    .max_encoding_message_size(MESSAGE_BYTES_MAX);
    let service = InterceptedService::new(service, Believed(trust.clone()));
    let router = builder().add_service(service);
    let incoming = Incoming::new(listener, trust.tls.as_ref(), Protocol::Grpc);
    tasks.spawn("control gRPC", |stop| serve(router, incoming, stop));
}

/// Serves a server's side until `tasks` is cancelled, and what else it offers.
pub fn serve_fragments(
    listener: TcpListener,
    api: Arc<dyn FragmentApi>,
    beside: Option<Door>,
    trust: &NodeTrust,
    tasks: &TaskGroup,
) {
    let service = FragmentsServer::new(FragmentService {
        api,
        tasks: tasks.child("fragments"),
    })
    .max_decoding_message_size(MESSAGE_BYTES_MAX)
    .max_encoding_message_size(MESSAGE_BYTES_MAX);
    let service = InterceptedService::new(service, Believed(trust.clone()));
    let router = match beside {
        Some(door) => builder()
            .add_routes(door.into_routes())
            .add_service(service),
        None => builder().add_service(service),
    };
    let incoming = Incoming::new(listener, trust.tls.as_ref(), Protocol::Grpc);
    tasks.spawn("fragments gRPC", |stop| serve(router, incoming, stop));
}

fn builder() -> Server {
    Server::builder()
        .tcp_nodelay(true)
        // Queries that end early reset their streams, and many share a connection: HTTP/2's own
        // limits would close it under all of them.
        .http2_max_pending_accept_reset_streams(Some(100_000))
        .http2_max_local_error_reset_streams(Some(1_000_000_000))
        .http2_keepalive_interval(Some(std::time::Duration::from_secs(10)))
}

async fn serve(
    router: tonic::transport::server::Router,
    incoming: Incoming,
    stop: CancellationToken,
) {
    let connections = stream::unfold(incoming, |mut incoming| async move {
        let connection = incoming.next().await;
        Some((Ok::<_, std::io::Error>(Accepted(connection)), incoming))
    });
    if let Err(error) = router
        .serve_with_incoming_shutdown(connections, stop.cancelled())
        .await
    {
        tracing::error!(%error, "gRPC listener ended");
    }
}

struct ControlService {
    doors: ControlDoors,
    stop: CancellationToken,
}

impl ControlService {
    fn door<T>(&self, request: &Request<T>) -> &dyn ControlApi {
        match request.metadata().contains_key(SENT_ON) {
            true => &*self.doors.to_controllers,
            false => &*self.doors.to_roles,
        }
    }
}

fn reply<T>(result: Result<T, Fault>) -> Result<Response<T>, Status> {
    result.map(Response::new).map_err(to_status)
}

#[async_trait]
impl Control for ControlService {
    type WatchStream = BoxStream<'static, Result<proto::ClusterUpdate, Status>>;

    async fn watch(
        &self,
        request: Request<proto::WatchRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let updates = self
            .door(&request)
            .watch(request.into_inner())
            .await
            .map_err(to_status)?;
        let stop = self.stop.clone();
        let until_stopped = updates
            .map(|update| update.map_err(to_status))
            .take_until(async move { stop.cancelled().await });
        Ok(Response::new(until_stopped.boxed()))
    }

    async fn seen(
        &self,
        request: Request<proto::SeenRequest>,
    ) -> Result<Response<proto::SeenReply>, Status> {
        reply(self.door(&request).seen(request.into_inner()).await)
    }

    async fn heartbeat(
        &self,
        request: Request<proto::HeartbeatRequest>,
    ) -> Result<Response<proto::HeartbeatReply>, Status> {
        reply(self.door(&request).heartbeat(request.into_inner()).await)
    }

    async fn segment_consumed(
        &self,
        request: Request<proto::SegmentConsumedRequest>,
    ) -> Result<Response<proto::SegmentConsumedReply>, Status> {
        reply(
            self.door(&request)
                .segment_consumed(request.into_inner())
                .await,
        )
    }

    async fn commit_start(
        &self,
        request: Request<proto::CommitStartRequest>,
    ) -> Result<Response<proto::CommitReply>, Status> {
        reply(self.door(&request).commit_start(request.into_inner()).await)
    }

    async fn commit_end(
        &self,
        request: Request<proto::CommitEndRequest>,
    ) -> Result<Response<proto::CommitReply>, Status> {
        reply(self.door(&request).commit_end(request.into_inner()).await)
    }

    async fn add_segment(
        &self,
        request: Request<proto::AddSegmentRequest>,
    ) -> Result<Response<proto::CommitReply>, Status> {
        reply(self.door(&request).add_segment(request.into_inner()).await)
    }

    async fn lease_task(
        &self,
        request: Request<proto::LeaseTaskRequest>,
    ) -> Result<Response<proto::LeaseTaskReply>, Status> {
        reply(self.door(&request).lease_task(request.into_inner()).await)
    }

    async fn finish_task(
        &self,
        request: Request<proto::FinishTaskRequest>,
    ) -> Result<Response<proto::FinishTaskReply>, Status> {
        reply(self.door(&request).finish_task(request.into_inner()).await)
    }

    async fn renew_task(
        &self,
        request: Request<proto::RenewTaskRequest>,
    ) -> Result<Response<proto::RenewTaskReply>, Status> {
        reply(self.door(&request).renew_task(request.into_inner()).await)
    }

    async fn import(
        &self,
        request: Request<proto::ImportRequest>,
    ) -> Result<Response<proto::ImportReply>, Status> {
        reply(self.door(&request).import(request.into_inner()).await)
    }

    async fn submit_import(
        &self,
        request: Request<proto::SubmitImportRequest>,
    ) -> Result<Response<proto::SubmitImportReply>, Status> {
        reply(
            self.door(&request)
                .submit_import(request.into_inner())
                .await,
        )
    }

    async fn tasks(
        &self,
        request: Request<proto::TasksRequest>,
    ) -> Result<Response<proto::TasksReply>, Status> {
        reply(self.door(&request).tasks(request.into_inner()).await)
    }
}

struct FragmentService {
    api: Arc<dyn FragmentApi>,
    tasks: TaskGroup,
}

#[async_trait]
impl Fragments for FragmentService {
    type ExchangeStream = BoxStream<'static, Result<FragmentAnswer, Status>>;

    async fn exchange(
        &self,
        request: Request<Streaming<FragmentFrame>>,
    ) -> Result<Response<Self::ExchangeStream>, Status> {
        let (answers, outgoing) = mpsc::channel(ANSWERS_QUEUED_MAX);
        let connection = Connection {
            api: Arc::clone(&self.api),
            answers,
            tasks: self.tasks.child("connection"),
            running: HashMap::new(),
        };
        let frames = request.into_inner();
        self.tasks.spawn("fragment frames", |stop| async move {
            stop.run_until_cancelled(connection.read(frames)).await;
        });
        Ok(Response::new(ReceiverStream::new(outgoing).map(Ok).boxed()))
    }

    async fn system_rows(
        &self,
        request: Request<proto::SystemRowsRequest>,
    ) -> Result<Response<proto::SystemRowsReply>, Status> {
        reply(self.api.system_rows(request.into_inner()).await)
    }

    type FetchSegmentStream = BoxStream<'static, Result<proto::SegmentPart, Status>>;

    async fn fetch_segment(
        &self,
        request: Request<proto::FetchSegmentRequest>,
    ) -> Result<Response<Self::FetchSegmentStream>, Status> {
        let parts = self.api.fetch_segment(request.into_inner()).await;
        let parts = parts.map_err(to_status)?;
        Ok(Response::new(
            parts.map(|part| part.map_err(to_status)).boxed(),
        ))
    }
}

/// The server's end of one broker's stream.
struct Connection {
    api: Arc<dyn FragmentApi>,
    answers: mpsc::Sender<FragmentAnswer>,
    tasks: TaskGroup,
    /// Queries that may still be cancelled; ended ones are dropped when the next begins.
    running: HashMap<u64, CancellationToken>,
}

impl Connection {
    /// Until the broker closes its half; then nobody reads the answers and all queries stop.
    async fn read(mut self, mut frames: Streaming<FragmentFrame>) {
        loop {
            match frames.message().await {
                Ok(Some(frame)) => self.accept(frame),
                Ok(None) => break,
                Err(status) => {
                    tracing::debug!(cause = %to_fault(&status), "a broker's stream broke");
                    break;
                }
            }
        }
        self.tasks.cancel();
    }

    fn accept(&mut self, frame: FragmentFrame) {
        let query_id = frame.query_id;
        match frame.body {
            Some(Body::Run(request)) => self.start(query_id, request),
            Some(Body::Cancel(_)) => {
                if let Some(query) = self.running.remove(&query_id) {
                    query.cancel();
                }
            }
            None => {}
        }
    }

    fn start(&mut self, query_id: u64, request: FragmentRequest) {
        self.running.retain(|_, query| !query.is_cancelled());
        let query = CancellationToken::new();
        self.running.insert(query_id, query.clone());
        let (api, answers) = (Arc::clone(&self.api), self.answers.clone());
        self.tasks
            .spawn(format!("query {query_id}"), |stop| async move {
                let work = run_fragment(api, query_id, request, answers);
                tokio::select! {
                    () = work => {}
                    () = query.cancelled() => {}
                    () = stop.cancelled() => {}
                }
                query.cancel();
            });
    }
}

async fn run_fragment(
    api: Arc<dyn FragmentApi>,
    query_id: u64,
    request: FragmentRequest,
    to_broker: mpsc::Sender<FragmentAnswer>,
) {
    let mut last_seen = false;
    match api.run(request).await {
        Ok(mut answers) => {
            while let Some(answer) = next(&mut answers).await {
                let answer = answer.unwrap_or_else(failed);
                last_seen = answer.last;
                if to_broker
                    .send(FragmentAnswer { query_id, ..answer })
                    .await
                    .is_err()
                {
                    return;
                }
            }
        }
        Err(fault) => {
            last_seen = true;
            let _ = to_broker
                .send(FragmentAnswer {
                    query_id,
                    ..failed(fault)
                })
                .await;
        }
    }
    if !last_seen {
        let fault = Fault::new(
            FaultKind::Internal,
            schemas::fault::pinot_code::INTERNAL,
            "the server's answer ended early",
        );
        let _ = to_broker
            .send(FragmentAnswer {
                query_id,
                ..failed(fault)
            })
            .await;
    }
}

async fn next<S: Stream + Unpin>(stream: &mut S) -> Option<S::Item> {
    stream.next().await
}

fn failed(fault: Fault) -> FragmentAnswer {
    FragmentAnswer {
        last: true,
        fault: Some(fault.into()),
        ..FragmentAnswer::default()
    }
}
