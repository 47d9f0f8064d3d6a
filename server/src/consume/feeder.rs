//! From messages to rows of the consuming segment.
//!
//! Invariant: of the messages given, all are in the segment afterwards, as rows or as rejections,
//! or none is; the segment's next offset is past the last of them.

use std::sync::Arc;

use ingest::{JsonDecoder, RawMessage};
use schemas::TableSpec;
use segment::{MutableSegment, RejectedRow, SegmentError};
use stream::Message;

use crate::Core;
use crate::store::job_fault;
use schemas::Fault;

/// So few messages are decoded where they are; more go to the compute pool.
const INLINE_MESSAGES_MAX: usize = 64;

#[derive(Debug)]
pub(crate) struct Feeder {
    spec: Arc<TableSpec>,
    /// Away while it works on the pool.
    decoder: Option<JsonDecoder>,
}

#[derive(Debug, Default)]
pub(crate) struct Fed {
    pub(crate) rows: u64,
    pub(crate) rejected: u64,
    pub(crate) last_rejection: Option<String>,
}

#[derive(Debug)]
pub(crate) enum Feeding {
    Taken(Fed),
    /// The segment must be sealed first; nothing was taken.
    Full(Vec<Message>),
}

impl Feeder {
    pub(crate) fn new(spec: Arc<TableSpec>) -> Self {
        Self {
            spec,
            decoder: None,
        }
    }

    pub(crate) fn spec(&self) -> &Arc<TableSpec> {
        &self.spec
    }

    pub(crate) async fn feed(
        &mut self,
        core: &Core,
        segment: &Arc<MutableSegment>,
        messages: Vec<Message>,
    ) -> Result<Feeding, Fault> {
        let mut decoder = match self.decoder.take() {
            Some(decoder) => decoder,
            None => JsonDecoder::new(Arc::clone(&self.spec)),
        };
        let now_ms = core.clock.now_ms();
        if messages.len() <= INLINE_MESSAGES_MAX {
            let feeding = feed(&mut decoder, segment, messages, now_ms);
            self.decoder = Some(decoder);
            return feeding;
        }
        let segment = Arc::clone(segment);
        let fed = core.compute.run(move || {
            let feeding = feed(&mut decoder, &segment, messages, now_ms);
            (decoder, feeding)
        });
        let (decoder, feeding) = fed.await.map_err(job_fault)?;
        self.decoder = Some(decoder);
        feeding
    }
}

fn feed(
    decoder: &mut JsonDecoder,
    segment: &MutableSegment,
    messages: Vec<Message>,
    now_ms: i64,
) -> Result<Feeding, Fault> {
    let Some(last) = messages.last().map(|message| message.offset) else {
        return Ok(Feeding::Taken(Fed::default()));
    };
    let raw = messages.iter().map(|message| RawMessage {
        offset: message.offset,
        payload: message.payload.as_deref(),
    });
    let decoded = decoder.decode(raw, now_ms);
    let mut fed = Fed {
        rejected: decoded.rejected.len() as u64,
        last_rejection: decoded.rejected.last().map(|row| row.reason.clone()),
        ..Fed::default()
    };
    // At most one batch, because no more messages are given than a batch has rows.
    for batch in decoded.batches {
        match segment.append(&batch) {
            Ok(()) => fed.rows += batch.num_rows() as u64,
            Err(SegmentError::Full { .. }) if segment.next_offset() > segment.start_offset() => {
                return Ok(Feeding::Full(messages));
            }
            Err(error) => return Err(crate::store::segment_fault(&error)),
        }
    }
    let partition = segment.id().partition;
    for row in decoded.rejected {
        segment.reject(RejectedRow {
            partition,
            offset: row.offset,
            time_ms: now_ms,
            reason: row.reason,
            payload: row.payload,
        });
    }
    segment.advance_to(last + 1);
    Ok(Feeding::Taken(fed))
}
