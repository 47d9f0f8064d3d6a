//! Exchanges between servers: where gathering all rows at the broker would be too much.
//!
//! A statement is planned for the broker first. When that plan would gather many rows ([`choice`]),
//! it is planned again for as many partitions as servers can work on at once, cut as always, and
//! what is above the fragments is spread over the same servers: they send each other rows by the
//! hash of their keys, and the broker gathers what is left ([`distributed`]). Invariants:
//! - the answer is that of the gathered plan: fragments are the same, run by the same code;
//! - what cannot be spread, or has no form that travels, is gathered, without a word;
//! - a query ends with its deadline, with its caller, and with the first fault; a server that is to
//!   blame is not asked again, and the query is planned anew without it.

mod choice;
mod distributed;
mod exec;
mod fault;
mod leaf;

use std::fmt;
use std::sync::Arc;

use access::NodeTrust;
use arrow::array::RecordBatch;
use datafusion::execution::runtime_env::RuntimeEnv;
use futures::stream::BoxStream;
use rpc::Network;
use runtime::Clock;
use schemas::proto::{FragmentRequest, ScanStats};
use schemas::{Fault, InstanceId};

pub(crate) use choice::{is_worth_it, may_fit_spread, rows_of, spread_rows};
pub use distributed::door;
pub(crate) use exec::{ExchangeExec, exchanged};

/// Raised by hand whenever what servers say to each other changes its meaning, also with another
/// version of the library: servers of another format take no part.
pub const EXCHANGE_FORMAT: u32 = 1;

/// When a query is spread.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Exchanges {
    #[default]
    Never,
    /// Wherever it can be.
    Always,
    /// When about so many rows of each side would be gathered.
    From(u64),
}

impl Exchanges {
    /// As a query wants it by `useExchanges`, or else as the broker is set; 0 rows switch it off.
    pub fn wanted(by_query: Option<bool>, rows_min: u64) -> Self {
        match (by_query, rows_min) {
            (Some(true), _) => Self::Always,
            (Some(false), _) | (None, 0) => Self::Never,
            (None, rows_min) => Self::From(rows_min),
        }
    }
}

/// What a server brings to exchanges.
pub trait Host: fmt::Debug + Send + Sync + 'static {
    fn id(&self) -> &InstanceId;
    fn network(&self) -> &Arc<dyn Network>;
    fn clock(&self) -> &Arc<dyn Clock>;
    fn trust(&self) -> &NodeTrust;
    /// What the operators of one stage run with, with memory of its own.
    fn runtime(&self) -> Result<Arc<RuntimeEnv>, Fault>;
    /// The rows of a fragment, as they come.
    fn pieces(&self, request: FragmentRequest) -> BoxStream<'static, Result<Piece, Fault>>;
}

/// A piece of a fragment's answer. What follows no end is not whole.
#[derive(Debug)]
pub enum Piece {
    Rows(RecordBatch),
    End {
        stats: ScanStats,
        /// Ingest time of the newest row that was read; 0 = none was.
        newest_ingest_ms: i64,
    },
}
