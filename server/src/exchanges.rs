//! What this server does for exchanges: it runs the stages that brokers send, and gives them the
//! rows of its own fragments.
//!
//! Invariants:
//! - stages run on threads of their own: a large join holds up neither small queries nor
//!   heartbeats. Scans below them take turns in the compute pool like all others;
//! - a stage has the memory of a fragment, and all of them together that of queries;
//! - a fragment gives out rows before it has ended: whoever merges them merges all or nothing, so
//!   one that lacks anything fails before its first row.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use access::NodeTrust;
use datafusion::execution::runtime_env::RuntimeEnv;
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use query::exchange::{EXCHANGE_FORMAT, Host, Piece, door};
use query::timed_out;
use rpc::{Door, Network};
use runtime::{CancellationToken, Clock};
use scan::FragmentStream;
use schemas::proto::FragmentRequest;
use schemas::{Fault, InstanceId};
use tokio::runtime::{Builder, Runtime};

use crate::Core;
use crate::fragments::Fragments;
use crate::select::Selection;

/// The threads on which stages run.
pub(crate) struct Exchanges {
    threads: Option<Runtime>,
}

impl fmt::Debug for Exchanges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exchanges").finish_non_exhaustive()
    }
}

impl Drop for Exchanges {
    fn drop(&mut self) {
        // Whoever waits for a stage is told that its connection is closed.
        if let Some(threads) = self.threads.take() {
            threads.shutdown_background();
        }
    }
}

/// What is announced: nobody reaches a server of this process by a channel.
pub(crate) fn format_of(network: &dyn Network) -> u32 {
    match network.has_channels() {
        true => EXCHANGE_FORMAT,
        false => 0,
    }
}

impl Exchanges {
    pub(crate) fn open(
        core: &Arc<Core>,
        fragments: &Arc<Fragments>,
    ) -> Result<(Self, Door), Fault> {
        let threads = Builder::new_multi_thread()
            .worker_threads(core.compute.threads())
            .thread_name("exchange")
            .enable_all()
            .build()
            .map_err(|error| Fault::internal(format!("no threads for exchanges: {error}")))?;
        let host = Arc::new(Hosted {
            core: Arc::clone(core),
            fragments: Arc::clone(fragments),
        });
        let door = door(host, threads.handle().clone());
        let threads = Some(threads);
        Ok((Self { threads }, door))
    }
}

#[derive(Debug)]
struct Hosted {
    core: Arc<Core>,
    fragments: Arc<Fragments>,
}

impl Host for Hosted {
    fn id(&self) -> &InstanceId {
        &self.core.config.instance
    }

    fn network(&self) -> &Arc<dyn Network> {
        &self.core.network
    }

    fn clock(&self) -> &Arc<dyn Clock> {
        &self.core.clock
    }

    fn trust(&self) -> &NodeTrust {
        &self.core.config.entrance.access.nodes
    }

    fn runtime(&self) -> Result<Arc<RuntimeEnv>, Fault> {
        self.fragments.engine().stage_runtime()
    }

    fn pieces(&self, request: FragmentRequest) -> BoxStream<'static, Result<Piece, Fault>> {
        let (core, fragments) = (Arc::clone(&self.core), Arc::clone(&self.fragments));
        let cancel = CancellationToken::new();
        // Dropping the stream cancels the fragment.
        let dropped = cancel.clone().drop_guard();
        let pieces = async move {
            let rows = match Rows::begin(core, &fragments, request, cancel).await {
                Ok(rows) => rows,
                Err(fault) => return stream::iter([Err(fault)]).boxed(),
            };
            let pieces = stream::unfold(Some((rows, dropped)), |state| async {
                let (mut rows, dropped) = state?;
                match rows.next().await {
                    Ok(piece @ Piece::Rows(_)) => Some((Ok(piece), Some((rows, dropped)))),
                    end => Some((end, None)),
                }
            });
            pieces.boxed()
        };
        stream::once(pieces).flatten().boxed()
    }
}

/// The rows of one fragment.
struct Rows {
    core: Arc<Core>,
    rows: FragmentStream,
    selection: Selection,
    deadline_ms: i64,
    timeout_ms: u64,
}

impl Rows {
    async fn begin(
        core: Arc<Core>,
        fragments: &Fragments,
        request: FragmentRequest,
        cancel: CancellationToken,
    ) -> Result<Self, Fault> {
        fragments.check_format(&request)?;
        let (deadline_ms, timeout_ms) = (request.deadline_ms, request.timeout_ms);
        let begun =
            tokio::time::timeout(left(&core, deadline_ms), fragments.begin(&request, &cancel));
        let (rows, selection) = begun
            .await
            .unwrap_or_else(|_| Err(timed_out("the server did not begin", timeout_ms)))?;
        core.metrics.fragments.inc();
        Ok(Self {
            core,
            rows,
            selection,
            deadline_ms,
            timeout_ms,
        })
    }

    async fn next(&mut self) -> Result<Piece, Fault> {
        let next = tokio::time::timeout(left(&self.core, self.deadline_ms), self.rows.next());
        let Ok(next) = next.await else {
            return Err(timed_out("the server did not finish", self.timeout_ms));
        };
        match next {
            Some(batch) => Ok(Piece::Rows(batch?)),
            None => {
                let progress = self.selection.progress.iter();
                let newest = progress.map(|table| table.newest_event_ms).max();
                Ok(Piece::End {
                    stats: self.rows.stats(),
                    newest_ingest_ms: newest.unwrap_or(0),
                })
            }
        }
    }
}

fn left(core: &Core, deadline_ms: i64) -> Duration {
    let left_ms = deadline_ms - core.clock.now_ms();
    Duration::from_millis(left_ms.max(0) as u64)
}
