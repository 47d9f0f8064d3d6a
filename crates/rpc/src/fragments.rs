//! What a server does for brokers, and for other servers.

use async_trait::async_trait;
use futures::stream::BoxStream;
use schemas::Fault;
use schemas::proto::{
    FetchSegmentRequest, FragmentAnswer, FragmentRequest, SegmentPart, SystemRowsReply,
    SystemRowsRequest,
};

/// Ends after the answer with `last` set. Dropping it cancels the fragment.
/// An `Err` is a fault of the way, not of the query: the fragment may be sent to another replica.
pub type AnswerStream = BoxStream<'static, Result<FragmentAnswer, Fault>>;

/// The parts of a file in order; it is whole when the stream ends without a fault.
pub type PartStream = BoxStream<'static, Result<SegmentPart, Fault>>;

#[async_trait]
pub trait FragmentApi: Send + Sync + 'static {
    /// Runs one fragment. Faults of the query come as an answer with `fault` set.
    async fn run(&self, request: FragmentRequest) -> Result<AnswerStream, Fault>;
    async fn system_rows(&self, request: SystemRowsRequest) -> Result<SystemRowsReply, Fault>;
    /// The file of a sealed segment.
    async fn fetch_segment(&self, request: FetchSegmentRequest) -> Result<PartStream, Fault> {
        let sequence = request.segment.map_or(0, |segment| segment.sequence);
        Err(Fault::not_found(format!("segment {sequence} is not here")))
    }
}
