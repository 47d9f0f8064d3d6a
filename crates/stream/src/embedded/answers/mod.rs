//! What each request of Kafka's protocol gets, as far as it is served.
//!
//! Invariant: what may wait for the disk runs in the log's pool, never on a task's thread: all that
//! changes topics or transactions, look-ups by time, and produce where acks wait for a sync.

mod admin;
mod data;
mod producers;

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::{ApiKey, BrokerId, FindCoordinatorResponse};
use kafka_protocol::protocol::{Decodable, Encodable, StrBytes};

use super::connection::{Endpoint, Request};
use super::{EmbeddedLog, SyncPolicy};

/// `None`: nothing is answered.
type Answer = Result<Option<BytesMut>, Failure>;
/// The request cannot be decoded or the answer not be encoded.
type Failure = Box<dyn std::error::Error + Send + Sync>;

/// The only broker.
const NODE: BrokerId = BrokerId(0);

fn text(value: &str) -> StrBytes {
    StrBytes::from_string(value.to_owned())
}

fn encode(answer: &impl Encodable, version: i16) -> Answer {
    let mut body = BytesMut::with_capacity(256);
    answer
        .encode(&mut body, version)
        .map_err(|error| error.to_string())?;
    Ok(Some(body))
}

fn decode<T: Decodable>(mut body: Bytes, version: i16) -> Result<T, Failure> {
    T::decode(&mut body, version).map_err(|error| error.to_string().into())
}

impl EmbeddedLog {
    pub(super) async fn handle(self: &Arc<Self>, request: Request, endpoint: &Endpoint) -> Answer {
        let Request { api, version, body } = request;
        match api {
            ApiKey::Metadata => {
                let asked = decode(body, version)?;
                encode(&self.metadata(&asked, version, endpoint), version)
            }
            ApiKey::FindCoordinator => encode(
                &FindCoordinatorResponse::default()
                    .with_node_id(NODE)
                    .with_host(text(&endpoint.host))
                    .with_port(endpoint.port),
                version,
            ),
            ApiKey::Fetch => encode(&self.fetch(&decode(body, version)?).await, version),
            ApiKey::Produce if self.config.sync != SyncPolicy::OnAck => {
                self.produce(&decode(body, version)?, version)
            }
            _ => {
                let log = Arc::clone(self);
                let request = Request { api, version, body };
                self.pool.run(move || log.handle_on_disk(request)).await?
            }
        }
    }

    fn handle_on_disk(&self, request: Request) -> Answer {
        let Request { api, version, body } = request;
        match api {
            ApiKey::Produce => self.produce(&decode(body, version)?, version),
            ApiKey::ListOffsets => encode(&self.list_offsets(&decode(body, version)?), version),
            ApiKey::CreateTopics => encode(&self.create_topics(&decode(body, version)?), version),
            ApiKey::CreatePartitions => encode(&self.grow_topics(&decode(body, version)?), version),
            ApiKey::DeleteTopics => encode(&self.delete_topics(&decode(body, version)?), version),
            ApiKey::DeleteRecords => encode(&self.delete_records(&decode(body, version)?), version),
            ApiKey::DescribeConfigs => {
                encode(&self.describe_configs(&decode(body, version)?), version)
            }
            ApiKey::InitProducerId => encode(&self.init_producer(&decode(body, version)?), version),
            ApiKey::AddPartitionsToTxn => {
                encode(&self.add_to_transaction(&decode(body, version)?), version)
            }
            ApiKey::EndTxn => encode(&self.end_transaction(&decode(body, version)?), version),
            _ => Err("not served".into()),
        }
    }
}
