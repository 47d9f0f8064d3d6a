//! Pinot's decoder classes and their properties: which format a topic's messages have.

use serde_json::Value as Json;

use super::super::reader::{Node, Report};
use crate::decoding::{
    Compression, CsvSpec, DecoderSpec, Descriptor, Envelope, FormatSpec, RegistrySpec, RegistryTls,
    Tombstones,
};

const CLASS: &str = "stream.kafka.decoder.class.name";
const PREFIX: &str = "stream.kafka.decoder.prop.";

/// Decoders by the end of their class name, in lower case, or by our own short name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Json,
    Avro,
    Protobuf,
    Csv,
    Arrow,
}

struct Class {
    kind: Kind,
    framed: bool,
    envelope: Envelope,
}

fn class(name: &str) -> Option<Class> {
    let lower = name.to_lowercase();
    let last = lower.rsplit('.').next().unwrap_or(&lower);
    let (kind, framed, envelope) = match last {
        "json" | "jsonmessagedecoder" | "kafkajsonmessagedecoder" => {
            (Kind::Json, false, Envelope::None)
        }
        "kafkaconfluentschemaregistryjsonmessagedecoder" => (Kind::Json, true, Envelope::None),
        "debezium-json" | "debeziumjsonmessagedecoder" => (Kind::Json, false, Envelope::Debezium),
        "avro" | "simpleavromessagedecoder" => (Kind::Avro, false, Envelope::None),
        "confluent-avro" | "kafkaconfluentschemaregistryavromessagedecoder" => {
            (Kind::Avro, true, Envelope::None)
        }
        "debezium-avro" | "debeziumavromessagedecoder" => (Kind::Avro, true, Envelope::Debezium),
        "protobuf" | "protobufmessagedecoder" => (Kind::Protobuf, false, Envelope::None),
        "kafkaconfluentschemaregistryprotobufmessagedecoder" => {
            (Kind::Protobuf, true, Envelope::None)
        }
        "csv" | "csvmessagedecoder" => (Kind::Csv, false, Envelope::None),
        "arrow" | "arrowmessagedecoder" => (Kind::Arrow, false, Envelope::None),
        _ => return None,
    };
    Some(Class {
        kind,
        framed,
        envelope,
    })
}

/// What the stream's config says of its messages; JSON where it says nothing.
pub(super) fn read(stream: Node<'_>, report: &mut Report) -> DecoderSpec {
    let metadata = stream.flag("stream.kafka.metadata.populate", report) == Some(true);
    let properties = Properties { stream };
    let Class {
        kind,
        framed,
        mut envelope,
    } = match stream.text(CLASS, report).map(|name| (name, class(name))) {
        None => Class {
            kind: Kind::Json,
            framed: false,
            envelope: Envelope::None,
        },
        Some((_, Some(class))) => class,
        Some((name, None)) => {
            let what = format!(
                "`{name}` is not supported; there are decoders of JSON, Avro, Protobuf, CSV and \
                 Arrow: JSONMessageDecoder, SimpleAvroMessageDecoder, \
                 KafkaConfluentSchemaRegistryAvroMessageDecoder, ProtoBufMessageDecoder, \
                 CSVMessageDecoder, ArrowMessageDecoder"
            );
            report.fault(&stream.path(CLASS), what);
            return DecoderSpec::default();
        }
    };
    match properties.text("envelope", report).as_deref() {
        None => {}
        Some("none") => envelope = Envelope::None,
        Some("debezium") if matches!(kind, Kind::Json | Kind::Avro) => {
            envelope = Envelope::Debezium;
        }
        Some(other) => {
            let what = format!("`{other}` is neither none nor, of JSON and Avro, debezium");
            report.fault(&properties.path("envelope"), what);
        }
    }
    let registry = registry(&properties, report);
    let format = match kind {
        Kind::Json => FormatSpec::Json,
        Kind::Arrow => FormatSpec::Arrow,
        Kind::Avro => avro(&properties, framed, registry.as_ref(), report),
        Kind::Protobuf => protobuf(&properties, framed && registry.is_some(), report),
        Kind::Csv => FormatSpec::Csv(csv(&properties, report)),
    };
    DecoderSpec {
        format,
        envelope,
        framed: framed || (kind == Kind::Avro && registry.is_some()),
        registry,
        compression: compression(&properties, report),
        tombstones: tombstones(&properties, report),
        metadata,
    }
}

/// `stream.kafka.decoder.prop.*`
struct Properties<'a> {
    stream: Node<'a>,
}

impl Properties<'_> {
    fn path(&self, key: &str) -> String {
        self.stream.path(&format!("{PREFIX}{key}"))
    }

    fn text(&self, key: &str, report: &mut Report) -> Option<String> {
        let value = self.stream.get(&format!("{PREFIX}{key}"))?;
        match value {
            Json::String(text) => Some(text.clone()),
            Json::Bool(_) | Json::Number(_) => Some(value.to_string()),
            // A schema that was not put into a string.
            Json::Object(_) | Json::Array(_) if key == "schema" => Some(value.to_string()),
            _ => {
                report.fault(&self.path(key), "a string was expected");
                None
            }
        }
    }

    fn letter(&self, key: &str, usual: Option<char>, report: &mut Report) -> Option<char> {
        let Some(text) = self.text(key, report) else {
            return usual;
        };
        let text = if text == "\\t" { "\t" } else { &text };
        let mut letters = text.chars();
        match (letters.next(), letters.next()) {
            (None, _) => None,
            (Some(letter), None) if letter.is_ascii() => Some(letter),
            _ => {
                let what = format!("`{text}` is not one ASCII character");
                report.fault(&self.path(key), what);
                usual
            }
        }
    }

    fn flag(&self, key: &str, usual: bool, report: &mut Report) -> bool {
        match self.text(key, report).as_deref() {
            None => usual,
            Some("true") => true,
            Some("false") => false,
            Some(other) => {
                report.fault(&self.path(key), format!("`{other}` is not true or false"));
                usual
            }
        }
    }
}

fn avro(
    properties: &Properties<'_>,
    framed: bool,
    registry: Option<&RegistrySpec>,
    report: &mut Report,
) -> FormatSpec {
    let schema = properties.text("schema", report);
    if schema.is_none() && registry.is_none() {
        let key = if framed {
            "schema.registry.rest.url"
        } else {
            "schema"
        };
        let what = "missing: Avro is read with the schema it was written with";
        report.fault(&properties.path(key), what);
    }
    FormatSpec::Avro { schema }
}

fn protobuf(properties: &Properties<'_>, by_registry: bool, report: &mut Report) -> FormatSpec {
    let message = properties.text("protoClassName", report);
    let file = properties.text("descriptorFile", report);
    let inline = properties.text("descriptor", report);
    let descriptor = match (file, inline) {
        (_, Some(inline)) => Descriptor::Inline(inline),
        (Some(file), None) => Descriptor::File(file),
        (None, None) if by_registry => Descriptor::Registry,
        (None, None) => {
            let what = "missing: what `protoc --include_imports --descriptor_set_out` writes";
            report.fault(&properties.path("descriptorFile"), what);
            Descriptor::Inline(String::new())
        }
    };
    if message.is_none() && descriptor != Descriptor::Registry {
        let what = "missing: the full name of the message, such as `shop.Order`";
        report.fault(&properties.path("protoClassName"), what);
    }
    FormatSpec::Protobuf {
        descriptor,
        message: message.unwrap_or_default(),
    }
}

fn csv(properties: &Properties<'_>, report: &mut Report) -> CsvSpec {
    let usual = CsvSpec::default();
    let mut letter = |key: &str, usual| properties.letter(key, usual, report);
    let delimiter = letter("delimiter", Some(usual.delimiter)).unwrap_or(usual.delimiter);
    let values_delimiter = letter("multiValueDelimiter", Some(usual.values_delimiter));
    let quote = letter("quoteCharacter", usual.quote);
    let escape = letter("escapeCharacter", None);
    let comment = letter("commentMarker", None);
    let header = properties.text("header", report);
    let names: Vec<String> = header
        .iter()
        .flat_map(|header| header.split(delimiter))
        .collect::<Vec<_>>()
        .into_iter()
        .map(|name| name.trim().to_owned())
        .collect();
    if names.is_empty() {
        let what = "missing: the names of the fields, with the delimiter between them";
        report.fault(&properties.path("header"), what);
    }
    CsvSpec {
        names,
        delimiter,
        quote,
        escape,
        comment,
        values_delimiter: values_delimiter.unwrap_or('\0'),
        null_text: properties.text("nullStringValue", report),
        skip_header: properties.flag("skipHeader", usual.skip_header, report),
        trim: properties.flag("ignoreSurroundingSpaces", usual.trim, report),
    }
}

fn registry(properties: &Properties<'_>, report: &mut Report) -> Option<RegistrySpec> {
    let url = properties.text("schema.registry.rest.url", report)?;
    let path = properties.path("schema.registry.rest.url");
    let is_https = url.starts_with("https://");
    if !is_https && !url.starts_with("http://") {
        let what = format!("`{url}` is no URL that is supported: https://host:port, or http://");
        report.fault(&path, what);
    } else if url.contains('@') {
        let what = "who asks is said by `schema.registry.basic.auth.user.info`, not in the URL";
        report.fault(&path, what);
    }
    let mut either = |key: &str| {
        let long = properties.text(&format!("schema.registry.{key}"), report);
        long.or_else(|| properties.text(key, report))
    };
    let user_info = either("basic.auth.user.info");
    let token = either("bearer.auth.token");
    let tls = registry_tls(properties, is_https, report);
    Some(RegistrySpec {
        tls,
        url: url.trim_end_matches('/').to_owned(),
        user_info,
        token,
    })
}

/// Files by librdkafka's names, or by those of the Java client where they are PEM.
fn registry_tls(properties: &Properties<'_>, is_https: bool, report: &mut Report) -> RegistryTls {
    for key in ["ssl.truststore", "ssl.keystore"] {
        let key = format!("schema.registry.{key}.type");
        let kind = properties.text(&key, report);
        if kind.is_some_and(|kind| !kind.eq_ignore_ascii_case("PEM")) {
            report.fault(&properties.path(&key), "only PEM files are read");
        }
    }
    let mut file = |keys: [&str; 2]| {
        let mut found = keys
            .into_iter()
            .filter_map(|key| properties.text(&format!("schema.registry.{key}"), report));
        found.next()
    };
    let tls = RegistryTls {
        ca_file: file(["ssl.ca.location", "ssl.truststore.location"]),
        certificate_file: file(["ssl.certificate.location", "ssl.keystore.location"]),
        key_file: file(["ssl.key.location", "ssl.key.location"]),
    };
    let path = properties.path("schema.registry.ssl");
    if tls != RegistryTls::default() && !is_https {
        report.fault(&path, "the registry's URL is none of https://");
    }
    if tls.key_file.is_some() && tls.certificate_file.is_none() {
        report.fault(&path, "a key needs `ssl.certificate.location`");
    }
    tls
}

fn tombstones(properties: &Properties<'_>, report: &mut Report) -> Tombstones {
    match properties.text("tombstones", report).as_deref() {
        None => Tombstones::Usual,
        Some("skip") => Tombstones::Skip,
        Some(other) => match other.strip_prefix("delete:") {
            Some(column) => Tombstones::Delete(column.trim().to_owned()),
            None => {
                let what = format!("`{other}` is neither skip nor delete:COLUMN");
                report.fault(&properties.path("tombstones"), what);
                Tombstones::Usual
            }
        },
    }
}

fn compression(properties: &Properties<'_>, report: &mut Report) -> Compression {
    match properties.text("compression", report).as_deref() {
        None | Some("auto") => Compression::Usual,
        Some("none") => Compression::None,
        Some("gzip") => Compression::Gzip,
        Some("zstd") => Compression::Zstd,
        Some("lz4") => Compression::Lz4,
        Some(other) => {
            let what = format!("`{other}` is not one of auto, none, gzip, zstd, lz4");
            report.fault(&properties.path("compression"), what);
            Compression::Usual
        }
    }
}
