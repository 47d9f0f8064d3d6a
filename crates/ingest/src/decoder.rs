//! From messages to batches of a table, whatever the format.
//!
//! Every message is accounted for in [`Decoded`]. Formats fill one scratch row; a table that does
//! nothing but decode gets its columns from it at once, others get those of their source first,
//! which the [`Pipeline`] makes into the table's.

use std::sync::Arc;

use hashbrown::HashMap;
use schemas::TableSpec;
use schemas::decoding::{
    Compression, DecoderSpec, Descriptor, Envelope, FormatSpec, NestedSpec, Tombstones,
};

use crate::arrow_ipc;
use crate::avro::Avro;
use crate::coerce::Cell;
use crate::columns::BatchBuilder;
use crate::compression::Unpacker;
use crate::framing::{self, Framing};
use crate::message::{Decoded, RawMessage, Rejection};
use crate::metadata::{Metadata, metadata_columns};
use crate::pipeline::{Expressions, Pipeline};
use crate::protobuf::Protobufs;
use crate::registry::Schemas;
use crate::row::{Row, TEXT_BYTES_MAX, Target};
use crate::separated::Csv;
use crate::{BATCH_ROWS_MAX, debezium, json, nested};

/// A format with what it needs to know beside the table.
#[derive(Debug)]
pub(crate) enum Reader {
    Json,
    /// With the columns that are filled from `source`.
    DebeziumJson(HashMap<String, usize>),
    Avro(Box<Avro>),
    Protobuf(Box<Protobufs>),
    Csv(Box<Csv>),
    Arrow,
}

/// What a message was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Taken {
    /// It is in the scratch row.
    Row,
    /// There is nothing in it to keep.
    Nothing,
}

#[derive(Debug)]
pub struct Decoder {
    target: Target,
    reader: Reader,
    framing: Framing,
    unpacker: Unpacker,
    metadata: Vec<(usize, Metadata)>,
    tombstones: Tombstones,
    pipeline: Option<Pipeline>,
    builder: BatchBuilder,
    row: Row,
    /// What the rows of this call took so far.
    bytes: usize,
}

impl Decoder {
    /// JSON objects without a pipeline: what files of text become.
    pub fn json(spec: Arc<TableSpec>) -> Self {
        Self::with_reader(
            Target::new(spec),
            Reader::Json,
            &DecoderSpec::default(),
            None,
        )
    }

    /// As the table's first stream and its pipeline want it. The error tells what is wrong.
    pub fn new(spec: &Arc<TableSpec>, expressions: &dyn Expressions) -> Result<Self, String> {
        Self::of_topic(spec, 0, expressions)
    }

    /// As one of the table's streams and the pipeline want it.
    pub fn of_topic(
        spec: &Arc<TableSpec>,
        topic: usize,
        expressions: &dyn Expressions,
    ) -> Result<Self, String> {
        let decoder = spec.streams.get(topic).map(|stream| stream.decoder.clone());
        Self::with_decoder(spec, decoder.unwrap_or_default(), expressions)
    }

    /// For the records of a file, in the table's pipeline.
    pub(crate) fn of_file(
        spec: &Arc<TableSpec>,
        format: FormatSpec,
        expressions: &dyn Expressions,
    ) -> Result<Self, String> {
        let decoder = DecoderSpec {
            format,
            compression: Compression::None,
            ..DecoderSpec::default()
        };
        Self::with_decoder(spec, decoder, expressions)
    }

    fn with_decoder(
        spec: &Arc<TableSpec>,
        decoder: DecoderSpec,
        expressions: &dyn Expressions,
    ) -> Result<Self, String> {
        let pipeline = Pipeline::new(spec, expressions)?;
        let target = match &pipeline {
            None => Target::new(Arc::clone(spec)),
            Some(pipeline) => Target::unchecked(Arc::clone(pipeline.source())),
        };
        fits(&decoder, &target)?;
        let reader = reader(&decoder, &target)?;
        Ok(Self::with_reader(target, reader, &decoder, pipeline))
    }

    /// What is wrong with the stream and the pipeline of a table, as far as it can be told on
    /// another machine than the one that reads.
    pub fn check(spec: &TableSpec, expressions: &dyn Expressions) -> Result<(), String> {
        let mut spec = spec.clone();
        for stream in &mut spec.streams {
            if let FormatSpec::Protobuf {
                descriptor: Descriptor::File(_),
                ..
            } = stream.decoder.format
            {
                stream.decoder.format = FormatSpec::Json;
            }
        }
        let spec = Arc::new(spec);
        let mut topics = 0..spec.streams.len().max(1);
        topics.try_for_each(|topic| Self::of_topic(&spec, topic, expressions).map(drop))
    }

    fn with_reader(
        target: Target,
        reader: Reader,
        decoder: &DecoderSpec,
        pipeline: Option<Pipeline>,
    ) -> Self {
        let is_text = matches!(decoder.format, FormatSpec::Json | FormatSpec::Csv(_));
        let metadata = match decoder.metadata {
            true => metadata_columns(&target.spec),
            false => Vec::new(),
        };
        let mut row = Row::default();
        row.texts.lenient = target.spec.pipeline.continue_on_error;
        Self {
            builder: BatchBuilder::new(&target.spec),
            framing: Framing::new(decoder),
            unpacker: Unpacker::new(decoder.compression, is_text && !decoder.framed),
            metadata,
            tombstones: decoder.tombstones.clone(),
            pipeline,
            reader,
            target,
            row,
            bytes: 0,
        }
    }

    /// Ids of schemas that the messages name and nobody has told yet.
    pub fn unknown_schemas<'a>(&self, messages: impl Iterator<Item = RawMessage<'a>>) -> Vec<u32> {
        if !self.framing.is_on() {
            return Vec::new();
        }
        let is_known: &dyn Fn(u32) -> bool = match &self.reader {
            Reader::Avro(avro) => &|id| avro.knows(id),
            Reader::Protobuf(protobuf) => &|id| protobuf.knows(id),
            _ => return Vec::new(),
        };
        let payloads = messages.filter_map(|message| message.payload);
        let ids = payloads.filter_map(framing::schema_id);
        let mut unknown: Vec<u32> = ids.filter(|id| !is_known(*id)).collect();
        unknown.sort_unstable();
        unknown.dedup();
        unknown
    }

    /// Tells the schema of an id, or why there is none: its messages are then rejected with it.
    pub fn learn_schema(&mut self, id: u32, schema: Result<Schemas, String>) {
        match &mut self.reader {
            Reader::Avro(avro) => avro.learn(id, schema, &self.target),
            Reader::Protobuf(protobuf) => protobuf.learn(id, schema),
            _ => {}
        }
    }

    /// All messages.
    pub fn decode<'a>(
        &mut self,
        messages: impl Iterator<Item = RawMessage<'a>> + Clone,
        ingest_ms: i64,
    ) -> Decoded {
        self.decode_within(messages, ingest_ms, usize::MAX)
    }

    /// Messages until their rows take more than `bytes_max`: [`Decoded::taken`] of them. Small
    /// payloads may unpack to large ones.
    pub fn decode_within<'a>(
        &mut self,
        messages: impl Iterator<Item = RawMessage<'a>> + Clone,
        ingest_ms: i64,
        bytes_max: usize,
    ) -> Decoded {
        let mut decoded = Decoded::default();
        self.bytes = 0;
        let wanted = match self.pipeline {
            Some(_) => usize::MAX,
            None => BATCH_ROWS_MAX,
        };
        let nested = self.target.spec.pipeline.nested.clone();
        let gives_several = nested.is_some() || matches!(self.reader, Reader::Arrow);
        for message in messages.clone() {
            if self.bytes > bytes_max {
                break;
            }
            decoded.taken += 1;
            if gives_several {
                self.take_several(&message, nested.as_ref(), ingest_ms, &mut decoded);
                continue;
            }
            match self.read(&message) {
                Ok(Taken::Row) => {
                    self.push(&message, ingest_ms, &mut decoded);
                    if self.builder.rows() == wanted {
                        decoded.batches.push(self.builder.finish());
                    }
                }
                Ok(Taken::Nothing) => decoded.filtered += 1,
                Err(reason) => decoded.rejected.push(Rejection::of(&message, reason)),
            }
        }
        if self.builder.rows() > 0 {
            decoded.batches.push(self.builder.finish());
        }
        match &mut self.pipeline {
            Some(pipeline) => {
                let taken = decoded.taken;
                pipeline.run(decoded, messages.take(taken))
            }
            None => decoded,
        }
    }

    fn push(&mut self, message: &RawMessage<'_>, ingest_ms: i64, decoded: &mut Decoded) {
        decoded.incomplete += u64::from(self.row.texts.wrong > 0);
        self.bytes += self.row.bytes();
        let data = self.row.data();
        self.builder
            .push(&self.row.cells, data, message.offset, ingest_ms);
    }

    /// Reads one message into `self.row`; the error is the reason of the rejection.
    fn read(&mut self, message: &RawMessage<'_>) -> Result<Taken, String> {
        let Self {
            target,
            row,
            unpacker,
            ..
        } = self;
        row.clear(target.spec.columns.len());
        let Some(payload) = message.payload else {
            return self.tombstone(message);
        };
        let payload = unpacker.unpack(payload)?;
        let framed = self.framing.split(payload)?;
        let payload = framed.record;
        let taken = match &mut self.reader {
            Reader::Json => json::read(target, row, payload).map(|()| Taken::Row),
            Reader::DebeziumJson(sources) => debezium::read_json(target, sources, row, payload),
            Reader::Avro(avro) => avro.read(framed.id, target, row, payload),
            Reader::Protobuf(reader) => reader.read(&framed, target, row).map(|()| Taken::Row),
            Reader::Csv(reader) => reader.read(target, row, payload).map(|()| Taken::Row),
            Reader::Arrow => Ok(Taken::Nothing),
        }?;
        if taken == Taken::Row {
            finish(&self.metadata, target, row, message)?;
        }
        Ok(taken)
    }

    fn tombstone(&mut self, message: &RawMessage<'_>) -> Result<Taken, String> {
        let is_envelope = match &self.reader {
            Reader::DebeziumJson(_) => true,
            Reader::Avro(avro) => avro.is_envelope(),
            _ => false,
        };
        let Self { target, row, .. } = self;
        match &self.tombstones {
            Tombstones::Skip => Ok(Taken::Nothing),
            Tombstones::Delete(column) => {
                deletion(target, row, message, column)?;
                finish(&self.metadata, target, row, message)?;
                Ok(Taken::Row)
            }
            // The change that it follows has told of the delete.
            Tombstones::Usual if is_envelope => Ok(Taken::Nothing),
            Tombstones::Usual => Err("the message has no payload (a tombstone)".to_owned()),
        }
    }

    /// Whether a message without a payload gave a row, for readers that give several.
    fn take_tombstone(
        &mut self,
        message: &RawMessage<'_>,
        ingest_ms: i64,
        decoded: &mut Decoded,
    ) -> Result<(), String> {
        self.row.clear(self.target.spec.columns.len());
        if self.tombstone(message)? == Taken::Row {
            self.push(message, ingest_ms, decoded);
        }
        Ok(())
    }

    /// Takes whatever rows are in a message; each is a row or a rejection of its own.
    fn take_several(
        &mut self,
        message: &RawMessage<'_>,
        nested: Option<&NestedSpec>,
        ingest_ms: i64,
        decoded: &mut Decoded,
    ) {
        let outcomes = |decoded: &Decoded, rows: usize| rows + decoded.rejected.len();
        let before = outcomes(decoded, self.builder.rows());
        let taken = match nested {
            Some(nested) => self.unnest(message, nested, ingest_ms, decoded),
            None => self.take_arrow(message, ingest_ms, decoded),
        };
        if let Err(reason) = taken {
            decoded.rejected.push(Rejection::of(message, reason));
        }
        match outcomes(decoded, self.builder.rows()) - before {
            0 => decoded.filtered += 1,
            several => decoded.unnested += several as u64 - 1,
        }
    }

    fn unnest(
        &mut self,
        message: &RawMessage<'_>,
        nested: &NestedSpec,
        ingest_ms: i64,
        decoded: &mut Decoded,
    ) -> Result<(), String> {
        let Some(payload) = message.payload else {
            return self.take_tombstone(message, ingest_ms, decoded);
        };
        let payload = self.unpacker.unpack(payload)?;
        let framed = self.framing.split(payload)?;
        let mut document = Vec::new();
        let mut text = String::new();
        let payload = match &mut self.reader {
            Reader::Json => framed.record,
            Reader::Avro(avro) => {
                avro.json(framed.id, framed.record, &mut text)?;
                text.as_bytes()
            }
            Reader::Protobuf(reader) => {
                reader.json(&framed, &self.target, &mut document)?;
                &document
            }
            Reader::DebeziumJson(_) | Reader::Csv(_) | Reader::Arrow => {
                return Err("records of this format are not unnested".to_owned());
            }
        };
        let before = decoded.rejected.len();
        for record in nested::records(nested, payload)? {
            let text = serde_json::Value::Object(record).to_string();
            let Self { target, row, .. } = self;
            row.clear(target.spec.columns.len());
            let read = json::read(target, row, text.as_bytes())
                .and_then(|()| finish(&self.metadata, target, row, message));
            match read {
                Ok(()) => self.push(message, ingest_ms, decoded),
                Err(reason) => decoded.reject_row(message, reason, before),
            }
        }
        Ok(())
    }

    fn take_arrow(
        &mut self,
        message: &RawMessage<'_>,
        ingest_ms: i64,
        decoded: &mut Decoded,
    ) -> Result<(), String> {
        let Some(payload) = message.payload else {
            return self.take_tombstone(message, ingest_ms, decoded);
        };
        let payload = self.unpacker.unpack(payload)?;
        let payload = self.framing.split(payload)?.record;
        let (before, mut texts) = (decoded.rejected.len(), 0);
        for batch in arrow_ipc::batches(payload)? {
            let columns = arrow_ipc::columns(&batch, &self.target);
            for index in 0..batch.num_rows() {
                if texts > TEXT_BYTES_MAX {
                    return Err(format!(
                        "the texts of the message's rows exceed {} MiB: what follows is left out",
                        TEXT_BYTES_MAX >> 20
                    ));
                }
                let Self { target, row, .. } = self;
                row.clear(target.spec.columns.len());
                let read = arrow_ipc::read(&columns, index, target, row)
                    .and_then(|()| finish(&self.metadata, target, row, message));
                texts += row.texts.len();
                match read {
                    Ok(()) => self.push(message, ingest_ms, decoded),
                    Err(reason) => decoded.reject_row(message, reason, before),
                }
            }
        }
        Ok(())
    }
}

/// The row that deletes the key of a message: the primary key, the time of the message, and a
/// column that says so.
fn deletion(
    target: &Target,
    row: &mut Row,
    message: &RawMessage<'_>,
    column: &str,
) -> Result<(), String> {
    let key = message
        .key
        .ok_or("a tombstone without a key deletes nothing")?;
    let columns = target.spec.primary_key.iter();
    let columns: Vec<usize> = columns.filter_map(|name| target.position(name)).collect();
    match columns[..] {
        [one] if !key.starts_with(b"{") => {
            row.cells[one] = target.field(one, &mut row.texts).bytes(key)?;
        }
        _ => json::read(target, row, key)
            .map_err(|reason| format!("the key of the tombstone: {reason}"))?,
    }
    if let Some(at) = columns
        .iter()
        .find(|at| matches!(row.cells[**at], Cell::Null))
    {
        let name = &target.spec.columns[*at].name;
        return Err(format!("the key of the tombstone lacks `{name}`"));
    }
    let time = target.spec.time_column.as_deref();
    if let Some(at) = time.and_then(|name| target.position(name))
        && matches!(row.cells[at], Cell::Null)
        && message.timestamp_ms >= 0
    {
        let ms = message.timestamp_ms;
        row.cells[at] = target.field(at, &mut row.texts).instant(Some(ms), ms)?;
    }
    let at = target
        .position(column)
        .ok_or_else(|| format!("tombstones are told in `{column}`, which is no column"))?;
    row.cells[at] = target.field(at, &mut row.texts).boolean(true)?;
    Ok(())
}

/// Fills what the message around the record tells, and looks at the whole.
fn finish(
    metadata: &[(usize, Metadata)],
    target: &Target,
    row: &mut Row,
    message: &RawMessage<'_>,
) -> Result<(), String> {
    for (at, metadata) in metadata {
        row.cells[*at] = metadata.value(message, target.field(*at, &mut row.texts))?;
    }
    target.check(row)
}

/// Whether what the stream's config says goes together, and with the schema.
fn fits(decoder: &DecoderSpec, target: &Target) -> Result<(), String> {
    let spec = &target.spec;
    if let Tombstones::Delete(column) = &decoder.tombstones
        && (target.position(column).is_none() || spec.primary_key.is_empty())
    {
        return Err(format!(
            "tombstones delete by the primary key and are told in `{column}`: the schema lacks the \
             one or the other"
        ));
    }
    let is_packed = !matches!(decoder.compression, Compression::Usual | Compression::None);
    if decoder.framed && is_packed {
        return Err("framed messages are not unpacked: their first byte is the frame's".to_owned());
    }
    let can_unnest = match decoder.format {
        FormatSpec::Csv(_) | FormatSpec::Arrow => false,
        _ => decoder.envelope == Envelope::None,
    };
    if spec.pipeline.nested.is_some() && !can_unnest {
        return Err(
            "complexTypeConfig is for JSON, Avro and Protobuf without an envelope".to_owned(),
        );
    }
    Ok(())
}

fn reader(decoder: &DecoderSpec, target: &Target) -> Result<Reader, String> {
    let is_envelope = decoder.envelope == Envelope::Debezium;
    Ok(match &decoder.format {
        FormatSpec::Json if is_envelope => Reader::DebeziumJson(debezium::source_columns(target)),
        FormatSpec::Json => Reader::Json,
        FormatSpec::Avro { schema } => {
            let avro = Avro::new(schema.as_deref(), is_envelope, target)?;
            Reader::Avro(Box::new(avro))
        }
        FormatSpec::Protobuf {
            descriptor,
            message,
        } => Reader::Protobuf(Box::new(Protobufs::new(descriptor, message, target)?)),
        FormatSpec::Csv(spec) => Reader::Csv(Box::new(Csv::new(spec, target))),
        FormatSpec::Arrow => Reader::Arrow,
    })
}

#[cfg(test)]
mod hostile;
#[cfg(test)]
mod tests;
