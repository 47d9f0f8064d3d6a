//! `tannin preview`: the newest messages of a topic as the rows that a table would have of them,
//! with no table and no node. What would be rejected is told with its reason.

use std::sync::Arc;

use anyhow::{Context, Result, bail};
use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use ingest::infer::infer_schema;
use ingest::registry::{Credentials, Registry};
use ingest::{Decoded, Decoder, RawMessage};
use schemas::pinot::{UnknownKeys, parse_schema_with, parse_table};
use schemas::{TableId, TableSpec, TableType};
use serde_json::Value;
use server::EngineExpressions;
use stream::{KafkaSource, Message, SampleFrom, sample_partitions};

use crate::args::{OutputFormat, PreviewArgs};
use crate::exit::Exit;
use crate::{local, render};

const WITHIN: std::time::Duration = std::time::Duration::from_secs(10);
const REASONS_SHOWN: usize = 5;

pub(crate) async fn run(args: PreviewArgs) -> Result<()> {
    if args.format.is_binary() {
        return Err(Exit::usage("a preview is a table, csv or json"));
    }
    let configured = args.config.as_deref().map(configured).transpose()?;
    let stream = configured.as_ref().and_then(|spec| spec.streams.first());
    let options = stream.map_or(&[][..], |stream| &stream.client_options);
    let source = KafkaSource::new(&args.kafka, options, "tannin preview")?.with_headers(true);
    let sampled =
        sample_partitions(&source, &args.topic, args.messages, SampleFrom::End, WITHIN).await;
    let sampled =
        sampled.with_context(|| format!("cannot read topic `{}` at {}", args.topic, args.kafka))?;
    let spec = match configured {
        Some(spec) => spec,
        None => inferred(&sampled, &args.topic)?,
    };
    let decoded = decode(&Arc::new(spec.clone()), &sampled).await?;
    let schema = schemas::arrow::ingest_schema(&spec);
    let rows = concat_batches(&schema, &decoded.batches)?;
    // When a row became queryable means nothing here.
    let shown: Vec<usize> = (0..schema.fields().len() - 1).collect();
    let rows = rows.project(&shown)?;
    tell(&decoded, &sampled, &rows, &args.topic);
    let name = args.topic.replace('"', "\"\"");
    let statement = args
        .statement
        .unwrap_or_else(|| format!("SELECT * FROM \"{name}\" LIMIT 10"));
    let answer = local::query_rows(&statement, &args.topic, rows).await?;
    println!("{}", render::answer(&answer, args.format));
    if args.format == OutputFormat::Table {
        println!("{}", render::footer(&answer.stats));
    }
    Ok(())
}

/// The table of a file with `schema` and `tableConfig`.
fn configured(path: &std::path::Path) -> Result<TableSpec> {
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("cannot read `{}`", path.display()))?;
    let body: Value =
        serde_json::from_str(&text).with_context(|| format!("`{}` is no JSON", path.display()))?;
    let (schema, config) = (&body["schema"], &body["tableConfig"]);
    if schema.is_null() || config.is_null() {
        bail!("`{}` has no `schema` and `tableConfig`", path.display());
    }
    let schema = parse_schema_with(&schema.to_string(), UnknownKeys::Refuse)?.value;
    let id = TableId::random();
    let table = parse_table(&config.to_string(), Some(&schema), id, UnknownKeys::Refuse)?;
    Ok(table.value.spec)
}

fn inferred(sampled: &[(u32, Vec<Message>)], topic: &str) -> Result<TableSpec> {
    let messages = sampled.iter().flat_map(|(_, messages)| messages);
    let payloads = messages.filter_map(|message| message.payload.as_deref());
    let inferred = infer_schema(payloads);
    if inferred.columns.is_empty() {
        bail!(
            "no message of `{topic}` is a JSON object ({} were looked at); --config says how \
             others are read",
            inferred.unreadable
        );
    }
    let name = "preview".parse().context("a constant that is a name")?;
    Ok(TableSpec::new(name, TableType::Realtime, inferred.columns))
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

/// All messages through the decoder that a server would have.
async fn decode(spec: &Arc<TableSpec>, sampled: &[(u32, Vec<Message>)]) -> Result<Decoded> {
    let mut decoder = Decoder::new(spec, &EngineExpressions).map_err(anyhow::Error::msg)?;
    let stream = spec.streams.first();
    let registry = stream.and_then(|stream| stream.decoder.registry.as_ref());
    let nobody = Credentials::default();
    let registry = registry
        .map(|spec| Registry::new(spec, &nobody))
        .transpose()?;
    let mut all = Decoded::default();
    for (partition, messages) in sampled {
        if let Some(registry) = &registry {
            for id in decoder.unknown_schemas(raw(messages, *partition)) {
                let schema = registry.schema(id).await?;
                decoder.learn_schema(id, schema);
            }
        }
        let decoded = decoder.decode(raw(messages, *partition), 0);
        all.batches.extend(decoded.batches);
        all.rejected.extend(decoded.rejected);
        all.filtered += decoded.filtered;
        all.merged += decoded.merged;
        all.incomplete += decoded.incomplete;
    }
    Ok(all)
}

fn tell(decoded: &Decoded, sampled: &[(u32, Vec<Message>)], rows: &RecordBatch, topic: &str) {
    let messages: usize = sampled.iter().map(|(_, messages)| messages.len()).sum();
    eprintln!(
        "{messages} messages of `{topic}`: {} rows, {} rejected, {} left out, {} rolled up, {} \
         with values made null",
        rows.num_rows(),
        decoded.rejected.len(),
        decoded.filtered,
        decoded.merged,
        decoded.incomplete,
    );
    for rejection in decoded.rejected.iter().take(REASONS_SHOWN) {
        eprintln!(
            "rejected: offset {}: {}",
            rejection.offset, rejection.reason
        );
    }
}
