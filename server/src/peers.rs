//! Segment files from server to server, for when the deep store does not give them.
//!
//! Invariants: a file that comes is used only when it is the content that the metadata names,
//! whoever sent it; memory holds one part of it, whatever its size.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt, stream};
use rpc::{Network, PartStream};
use schemas::cluster::{ClusterState, InstanceState};
use schemas::proto::{FetchSegmentRequest, SegmentPart, SegmentRef};
use schemas::segment::SegmentRecord;
use schemas::{Fault, InstanceId, SegmentId, TableId};
use tokio::fs::File;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::watch;

use crate::store::{Store, io_fault};

const PART_BYTES: usize = 1 << 20;
/// Between two parts.
const PART_WITHIN: Duration = Duration::from_secs(20);

/// The other servers, as the cluster's state knows them.
#[derive(Clone, Debug)]
pub(crate) struct Peers {
    network: Arc<dyn Network>,
    cluster: watch::Receiver<Arc<ClusterState>>,
    me: InstanceId,
}

impl Peers {
    pub(crate) fn new(
        network: &Arc<dyn Network>,
        cluster: &watch::Receiver<Arc<ClusterState>>,
        me: &InstanceId,
    ) -> Self {
        Self {
            network: Arc::clone(network),
            cluster: cluster.clone(),
            me: me.clone(),
        }
    }

    /// Writes the file to `to`, from the first server that holds it and sends all of it.
    pub(crate) async fn fetch(&self, record: &SegmentRecord, to: &Path) -> Result<(), Fault> {
        let mut last = Fault::not_found("no other server holds it");
        for peer in self.holders(record.id) {
            match self.fetch_from(&peer, record, to).await {
                Ok(()) => return Ok(()),
                Err(fault) => {
                    tracing::debug!(peer = %peer.id, segment = %record.id, cause = %fault,
                        "a segment does not come from another server");
                    last = fault;
                }
            }
        }
        Err(last)
    }

    fn holders(&self, id: SegmentId) -> Vec<InstanceState> {
        let state = self.cluster.borrow();
        let table = state.tables.get(&id.table);
        let segment = table.and_then(|table| table.segments.find(id));
        let online = segment.into_iter().flat_map(|segment| &segment.online);
        let others = online.filter(|instance| **instance != self.me);
        let known = others.filter_map(|instance| state.instances.get(instance));
        known.filter(|peer| peer.alive).cloned().collect()
    }

    async fn fetch_from(
        &self,
        peer: &InstanceState,
        record: &SegmentRecord,
        to: &Path,
    ) -> Result<(), Fault> {
        let request = FetchSegmentRequest {
            table_id: record.id.table.to_bytes(),
            segment: Some(SegmentRef {
                partition: record.id.partition,
                sequence: record.id.sequence,
                crc: record.crc,
            }),
        };
        let failed = |error: io::Error| io_fault("write", to, &error);
        let late = |_| Fault::unavailable(format!("`{}` sends nothing", peer.id));
        let asked = self.network.server(peer)?;
        let asked = tokio::time::timeout(PART_WITHIN, asked.fetch_segment(request)).await;
        let mut parts = asked.map_err(late)??;
        let mut file = File::create(to).await.map_err(failed)?;
        loop {
            let part = tokio::time::timeout(PART_WITHIN, parts.next()).await;
            match part.map_err(late)?.transpose()? {
                Some(part) => file.write_all(&part.content).await.map_err(failed)?,
                None => return file.flush().await.map_err(failed),
            }
        }
    }
}

/// The other half: the file as it is here. Who gets it looks whether it is whole.
pub(crate) async fn send(
    store: &Store,
    request: &FetchSegmentRequest,
) -> Result<PartStream, Fault> {
    let wanted = request.segment.as_ref();
    let (Some(segment), Some(table)) = (wanted, TableId::from_bytes(&request.table_id)) else {
        return Err(Fault::invalid("no segment is named"));
    };
    let id = SegmentId {
        table,
        partition: segment.partition,
        sequence: segment.sequence,
    };
    let path = store.path(id, segment.crc);
    let file = File::open(&path)
        .await
        .map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => Fault::not_found(format!("segment {id} is not here")),
            _ => io_fault("read", &path, &error),
        })?;
    let parts = stream::try_unfold((file, path), |(mut file, path)| async move {
        let mut content = Vec::with_capacity(PART_BYTES);
        let mut part = (&mut file).take(PART_BYTES as u64);
        let read = part.read_to_end(&mut content).await;
        match read.map_err(|error| io_fault("read", &path, &error))? {
            0 => Ok(None),
            _ => {
                let content = content.into();
                Ok(Some((SegmentPart { content }, (file, path))))
            }
        }
    });
    Ok(parts.boxed())
}
