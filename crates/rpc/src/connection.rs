//! One long-lived stream from a broker to a server, shared by all queries between the two.
//!
//! Invariants:
//! - every open query has one entry in `open`; answers to an id that is not there are dropped;
//! - when the stream breaks, every open query gets a fault and the connection is closed for good:
//!   the network opens a new one;
//! - a query that is dropped sends a cancel message. The stream is never reset for it, because
//!   resets of many queries make HTTP/2 peers close the connection under load.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use access::NodeTrust;
use async_trait::async_trait;
use futures::StreamExt;
use parking_lot::Mutex;
use runtime::{CancellationToken, TaskGroup};
use schemas::Fault;
use schemas::proto::fragment_frame::Body;
use schemas::proto::{
    CancelFragment, FetchSegmentRequest, FragmentAnswer, FragmentFrame, FragmentRequest,
    SystemRowsReply, SystemRowsRequest,
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use crate::client::{MESSAGE_BYTES_MAX, to_fault};
use crate::generated::fragments_client::FragmentsClient;
use crate::line::{Line, endpoint, line};
use crate::{AnswerStream, FragmentApi, PartStream};

const FRAMES_QUEUED_MAX: usize = 256;
/// Answers of one query that may wait for its reader.
const ANSWERS_QUEUED_MAX: usize = 64;

type Answer = Result<FragmentAnswer, Fault>;

#[derive(Debug)]
pub(crate) struct FragmentConnection {
    client: FragmentsClient<Line>,
    frames: mpsc::Sender<FragmentFrame>,
    shared: Arc<Shared>,
    next_id: AtomicU64,
}

#[derive(Debug, Default)]
struct Shared {
    open: Mutex<HashMap<u64, mpsc::Sender<Answer>>>,
    closed: AtomicBool,
}

impl FragmentConnection {
    pub(crate) fn open(address: &str, trust: &NodeTrust, tasks: &TaskGroup) -> Result<Self, Fault> {
        let line = line(&endpoint(address)?, address, trust);
        let client = FragmentsClient::new(line)
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX);
        let (frames, queued) = mpsc::channel(FRAMES_QUEUED_MAX);
        let shared = Arc::new(Shared::default());
        let reader = read_answers(client.clone(), queued, Arc::clone(&shared));
        tasks.spawn(format!("answers of {address}"), |stop| {
            run_until(stop, reader)
        });
        Ok(Self {
            client,
            frames,
            shared,
            next_id: AtomicU64::new(1),
        })
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.shared.closed.load(Ordering::Acquire)
    }
}

async fn run_until(stop: CancellationToken, work: impl Future<Output = ()>) {
    stop.run_until_cancelled(work).await;
}

async fn read_answers(
    mut client: FragmentsClient<Line>,
    frames: mpsc::Receiver<FragmentFrame>,
    shared: Arc<Shared>,
) {
    let broken = match client.exchange(ReceiverStream::new(frames)).await {
        Err(status) => to_fault(&status),
        Ok(response) => {
            let mut answers = response.into_inner();
            loop {
                match answers.message().await {
                    Ok(Some(answer)) => shared.deliver(answer).await,
                    Ok(None) => break Fault::unavailable("the server closed the connection"),
                    Err(status) => break to_fault(&status),
                }
            }
        }
    };
    shared.close(broken).await;
}

impl Shared {
    async fn deliver(&self, answer: FragmentAnswer) {
        let id = answer.query_id;
        let reader = if answer.last {
            self.open.lock().remove(&id)
        } else {
            self.open.lock().get(&id).cloned()
        };
        if let Some(reader) = reader {
            // A reader that is gone has sent its cancel message already.
            let _ = reader.send(Ok(answer)).await;
        }
    }

    async fn close(&self, fault: Fault) {
        self.closed.store(true, Ordering::Release);
        let open = std::mem::take(&mut *self.open.lock());
        for reader in open.into_values() {
            let _ = reader.send(Err(fault.clone())).await;
        }
    }
}

#[async_trait]
impl FragmentApi for FragmentConnection {
    async fn run(&self, request: FragmentRequest) -> Result<AnswerStream, Fault> {
        let query_id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let (sender, answers) = mpsc::channel(ANSWERS_QUEUED_MAX);
        self.shared.open.lock().insert(query_id, sender);
        let open = OpenQuery {
            query_id,
            frames: self.frames.clone(),
            shared: Arc::clone(&self.shared),
        };
        let frame = FragmentFrame {
            query_id,
            body: Some(Body::Run(request)),
        };
        if self.frames.send(frame).await.is_err() || self.is_closed() {
            return Err(Fault::unavailable("the connection to the server is closed"));
        }
        let answers = ReceiverStream::new(answers).map(move |answer| {
            let _held_until_the_end = &open;
            answer
        });
        Ok(answers.boxed())
    }

    async fn system_rows(&self, request: SystemRowsRequest) -> Result<SystemRowsReply, Fault> {
        match self.client.clone().system_rows(request).await {
            Ok(response) => Ok(response.into_inner()),
            Err(status) => Err(to_fault(&status)),
        }
    }

    async fn fetch_segment(&self, request: FetchSegmentRequest) -> Result<PartStream, Fault> {
        match self.client.clone().fetch_segment(request).await {
            Ok(response) => {
                let parts = response.into_inner();
                let parts = parts.map(|part| part.map_err(|status| to_fault(&status)));
                Ok(parts.boxed())
            }
            Err(status) => Err(to_fault(&status)),
        }
    }
}

/// Cancels the query when it is dropped before its last answer.
struct OpenQuery {
    query_id: u64,
    frames: mpsc::Sender<FragmentFrame>,
    shared: Arc<Shared>,
}

impl Drop for OpenQuery {
    fn drop(&mut self) {
        if self.shared.open.lock().remove(&self.query_id).is_some() {
            let body = Some(Body::Cancel(CancelFragment {}));
            // A full queue means a stalled connection; the deadline ends the fragment then.
            let _ = self.frames.try_send(FragmentFrame {
                query_id: self.query_id,
                body,
            });
        }
    }
}
