//! From messages to rows of the consuming segment.
//!
//! Invariant: of the messages given, the first ones are in the segment afterwards, as rows or as
//! rejections; the others are given back. Its next offset is past the last that was taken.

use std::sync::Arc;

use arrow::array::RecordBatch;
use ingest::registry::Registry;
use ingest::{Decoder, RawMessage, Rejection};
use schemas::{Offset, TableSpec};
use segment::{MutableSegment, RejectedRow, SegmentError};
use stream::Message;
use upsert::{Appended, PartitionKeys};

use super::expressions::EngineExpressions;
use crate::Core;
use crate::store::job_fault;
use schemas::Fault;

/// More rows are not decoded at once: a payload may unpack to much more than it is.
const DECODED_BYTES_MAX: usize = 64 << 20;
/// So few messages are decoded where they are; more go to the compute pool.
const INLINE_MESSAGES_MAX: usize = 64;

#[derive(Debug)]
pub(crate) struct Feeder {
    spec: Arc<TableSpec>,
    /// Position of the partition's topic in the table.
    topic: usize,
    /// Away while it works on the pool.
    decoder: Option<Decoder>,
    /// Where the schemas of its messages are.
    registry: Option<Registry>,
}

#[derive(Debug, Default)]
pub(crate) struct Fed {
    /// Messages that come next.
    pub(crate) rest: Vec<Message>,
    pub(crate) rows: u64,
    pub(crate) rejected: u64,
    pub(crate) filtered: u64,
    pub(crate) incomplete: u64,
    pub(crate) last_rejection: Option<String>,
}

#[derive(Debug)]
pub(crate) enum Feeding {
    Taken(Fed),
    /// The segment must be sealed first; nothing was taken.
    Full(Vec<Message>),
    /// What is needed to read them cannot be reached; nothing was taken.
    Waiting(Vec<Message>, Fault),
}

impl Feeder {
    pub(crate) fn new(spec: Arc<TableSpec>, topic: usize) -> Self {
        Self {
            spec,
            topic,
            decoder: None,
            registry: None,
        }
    }

    pub(crate) fn spec(&self) -> &Arc<TableSpec> {
        &self.spec
    }

    /// Asks the registry for the schemas that the messages name. What it does not have is told
    /// to the decoder; an error means that it could not be asked.
    async fn learn_schemas(
        &mut self,
        core: &Core,
        decoder: &mut Decoder,
        messages: &[Message],
    ) -> Result<(), Fault> {
        let unknown = decoder.unknown_schemas(raw(messages, 0));
        if unknown.is_empty() {
            return Ok(());
        }
        let stream = self.spec.streams.get(self.topic);
        let Some(spec) = stream.and_then(|stream| stream.decoder.registry.as_ref()) else {
            return Ok(());
        };
        let registry = match &mut self.registry {
            Some(registry) => registry,
            None => {
                let known = &core.config.registries;
                self.registry.insert(Registry::new(spec, known)?)
            }
        };
        for id in unknown {
            match registry.schema(id).await {
                Ok(schema) => decoder.learn_schema(id, schema),
                Err(fault) => {
                    // Certificates may have changed: its files are read again.
                    self.registry = None;
                    return Err(fault);
                }
            }
        }
        Ok(())
    }

    pub(crate) async fn feed(
        &mut self,
        core: &Core,
        (segment, keys): (&Arc<MutableSegment>, Option<&Arc<PartitionKeys>>),
        messages: Vec<Message>,
    ) -> Result<Feeding, Fault> {
        let keys = keys.cloned();
        let mut decoder = match self.decoder.take() {
            Some(decoder) => decoder,
            None => decoder(&self.spec, self.topic)?,
        };
        if let Err(fault) = self.learn_schemas(core, &mut decoder, &messages).await {
            self.decoder = Some(decoder);
            return Ok(Feeding::Waiting(messages, fault));
        }
        let now_ms = core.clock.now_ms();
        if messages.len() <= INLINE_MESSAGES_MAX {
            let feeding = feed(&mut decoder, (segment, keys.as_deref()), messages, now_ms);
            self.decoder = Some(decoder);
            return feeding;
        }
        let segment = Arc::clone(segment);
        let fed = core.compute.run_soon(move || {
            let feeding = feed(&mut decoder, (&segment, keys.as_deref()), messages, now_ms);
            (decoder, feeding)
        });
        let (decoder, feeding) = fed.await.map_err(job_fault)?;
        self.decoder = Some(decoder);
        feeding
    }
}

fn decoder(spec: &Arc<TableSpec>, topic: usize) -> Result<Decoder, Fault> {
    Decoder::of_topic(spec, topic, &EngineExpressions).map_err(|reason| {
        let name = spec.physical_name();
        Fault::invalid(format!("messages of `{name}` cannot be read: {reason}"))
    })
}

fn raw(messages: &[Message], partition: u32) -> impl Iterator<Item = RawMessage<'_>> + Clone {
    messages.iter().map(move |message| RawMessage {
        partition,
        offset: message.offset,
        timestamp_ms: message.timestamp_ms,
        key: message.key.as_deref(),
        headers: &message.headers,
        payload: message.payload.as_deref(),
    })
}

fn feed(
    decoder: &mut Decoder,
    (segment, keys): (&MutableSegment, Option<&PartitionKeys>),
    mut messages: Vec<Message>,
    now_ms: i64,
) -> Result<Feeding, Fault> {
    let partition = segment.id().partition;
    let given = raw(&messages, partition);
    let decoded = decoder.decode_within(given, now_ms, DECODED_BYTES_MAX);
    let Some(last) = decoded.taken.checked_sub(1) else {
        return Ok(Feeding::Taken(Fed::default()));
    };
    let last = messages[last].offset;
    let mut fed = Fed {
        rejected: decoded.rejected.len() as u64,
        filtered: decoded.filtered,
        incomplete: decoded.incomplete,
        last_rejection: decoded.rejected.last().map(|row| row.reason.clone()),
        ..Fed::default()
    };
    // At most one batch: no more messages are given than a batch has rows, and messages of several
    // rows give one.
    let mut refused: Vec<Rejection> = Vec::new();
    for batch in decoded.batches {
        match append(segment, keys, &batch) {
            Ok(appended) => {
                fed.filtered += appended.filtered;
                fed.rows += appended.rows;
                fed.rejected += appended.rejected.len() as u64;
                refused.extend(rejected(&messages, &appended));
            }
            Err(SegmentError::Full { .. }) if segment.next_offset() > segment.start_offset() => {
                return Ok(Feeding::Full(messages));
            }
            Err(error) => return Err(crate::store::segment_fault(&error)),
        }
    }
    segment.count_filtered(fed.filtered);
    segment.count_reshaped(decoded.unnested, decoded.merged);
    if let Some(last) = refused.last() {
        fed.last_rejection = Some(last.reason.clone());
    }
    for row in decoded.rejected.into_iter().chain(refused) {
        segment.reject(RejectedRow {
            partition,
            offset: row.offset,
            time_ms: now_ms,
            reason: row.reason,
            payload: match segment.spec().ingest.drop_rejected_payloads {
                true => Vec::new(),
                false => row.payload,
            },
        });
    }
    segment.advance_to(last + 1);
    fed.rest = messages.split_off(decoded.taken);
    Ok(Feeding::Taken(fed))
}

/// The messages of rows that the rules of keys cannot compare.
fn rejected(messages: &[Message], appended: &Appended) -> Vec<Rejection> {
    let of = |offset: &Offset| {
        let at = messages.binary_search_by_key(offset, |message| message.offset);
        let payload = at.ok().and_then(|at| messages[at].payload.as_deref());
        Rejection {
            offset: *offset,
            reason: appended.reason.clone(),
            payload: payload.unwrap_or_default().to_vec(),
        }
    };
    appended.rejected.iter().map(of).collect()
}

/// All rows of the batch, or those that the rules of the table's keys want.
fn append(
    segment: &MutableSegment,
    keys: Option<&PartitionKeys>,
    batch: &RecordBatch,
) -> Result<Appended, SegmentError> {
    if let Some(keys) = keys {
        return keys.append(segment, batch);
    }
    segment.append(batch)?;
    Ok(Appended {
        rows: batch.num_rows() as u64,
        ..Appended::default()
    })
}
