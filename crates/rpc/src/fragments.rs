//! What a server does for brokers.

use async_trait::async_trait;
use futures::stream::BoxStream;
use schemas::Fault;
use schemas::proto::{FragmentAnswer, FragmentRequest, SystemRowsReply, SystemRowsRequest};

/// Ends after the answer with `last` set. Dropping it cancels the fragment.
/// An `Err` is a fault of the way, not of the query: the fragment may be sent to another replica.
pub type AnswerStream = BoxStream<'static, Result<FragmentAnswer, Fault>>;

#[async_trait]
pub trait FragmentApi: Send + Sync + 'static {
    /// Runs one fragment. Faults of the query come as an answer with `fault` set.
    async fn run(&self, request: FragmentRequest) -> Result<AnswerStream, Fault>;
    async fn system_rows(&self, request: SystemRowsRequest) -> Result<SystemRowsReply, Fault>;
}
