//! How a table's messages become rows: their format, and what is done to a record before it is one.
//!
//! The order is Pinot's: decode, flatten and unnest, filter, transform, convert, check, roll up.
//! Expressions are texts of Pinot's dialect; the query engine gives them their meaning.

use serde::{Deserialize, Serialize};

use crate::types::DataType;

/// What a message holds and how it is packed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct DecoderSpec {
    pub format: FormatSpec,
    #[serde(default)]
    pub envelope: Envelope,
    /// Each payload begins with a zero byte and the id of its schema, as Confluent's clients do.
    #[serde(default)]
    pub framed: bool,
    /// Where the schemas of framed messages are.
    #[serde(default)]
    pub registry: Option<RegistrySpec>,
    #[serde(default)]
    pub compression: Compression,
    /// What a message without a payload means.
    #[serde(default)]
    pub tombstones: Tombstones,
    /// Columns named `__key`, `__header$x` and `__metadata$x` are filled from the message.
    #[serde(default)]
    pub metadata: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FormatSpec {
    #[default]
    Json,
    /// The writer's schema; `None`: that of the registry.
    Avro {
        schema: Option<String>,
    },
    /// A `FileDescriptorSet` and the full name of the message in it; without a name, the one that
    /// framed messages point to.
    Protobuf {
        descriptor: Descriptor,
        message: String,
    },
    Csv(CsvSpec),
    /// A stream of Arrow's IPC format in each message: any number of rows.
    Arrow,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Descriptor {
    /// A path on each server.
    File(String),
    /// Base64.
    Inline(String),
    /// What the registry has for the id of each message.
    Registry,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CsvSpec {
    /// Names of the fields in their order.
    pub names: Vec<String>,
    pub delimiter: char,
    pub quote: Option<char>,
    pub escape: Option<char>,
    pub comment: Option<char>,
    /// Between the values of a column with several of them.
    pub values_delimiter: char,
    /// What stands for null beside the empty field.
    pub null_text: Option<String>,
    /// The first line of each message repeats the names.
    pub skip_header: bool,
    pub trim: bool,
}

impl Default for CsvSpec {
    fn default() -> Self {
        Self {
            names: Vec::new(),
            delimiter: ',',
            quote: Some('"'),
            escape: None,
            comment: None,
            values_delimiter: ';',
            null_text: None,
            skip_header: false,
            trim: true,
        }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Envelope {
    /// The record alone.
    #[default]
    None,
    /// What Debezium writes: the row before and after a change, and what the change was.
    Debezium,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Tombstones {
    /// A rejection; with Debezium's envelope, where the delete came before it, nothing.
    #[default]
    Usual,
    Skip,
    /// A row of the primary key, which the message's key tells, in which this column is true.
    Delete(String),
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Compression {
    /// Told by the first bytes in formats of text, none in others.
    #[default]
    Usual,
    None,
    Gzip,
    Zstd,
    /// Frames.
    Lz4,
}

#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegistrySpec {
    pub url: String,
    /// `user:password`.
    #[serde(default)]
    pub user_info: Option<String>,
    #[serde(default)]
    pub token: Option<String>,
    #[serde(default, skip_serializing_if = "RegistryTls::is_usual")]
    pub tls: RegistryTls,
}

/// Without what nobody else shall know.
impl std::fmt::Debug for RegistrySpec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RegistrySpec")
            .field("url", &self.url)
            .field("user_info", &self.user_info.as_ref().map(|_| "…"))
            .field("token", &self.token.as_ref().map(|_| "…"))
            .field("tls", &self.tls)
            .finish()
    }
}

/// Of a registry over https: PEM files on the machines that ask.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RegistryTls {
    /// Who may prove the registry's name, in the place of those whom the system trusts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<String>,
    /// Who asks, and the proof; the key may be in the same file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate_file: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_file: Option<String>,
}

impl RegistryTls {
    fn is_usual(&self) -> bool {
        *self == Self::default()
    }
}

/// What is done to records between the decoder and the columns.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PipelineSpec {
    /// Types of fields of the source: of those that are no columns, or have another type there.
    #[serde(default)]
    pub sources: Vec<SourceField>,
    #[serde(default)]
    pub nested: Option<NestedSpec>,
    /// Records for which it is true are left out.
    #[serde(default)]
    pub filter: Option<String>,
    /// Rows that agree in all other columns become one.
    #[serde(default)]
    pub roll_up: Vec<RollUp>,
    /// A value that is wrong becomes null and its row stays.
    #[serde(default)]
    pub continue_on_error: bool,
    /// The time of a row is between 1971 and 2071.
    #[serde(default)]
    pub check_time: bool,
}

impl PipelineSpec {
    /// Nothing happens to records.
    pub fn is_plain(&self) -> bool {
        *self == Self::default()
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceField {
    pub name: String,
    pub data_type: DataType,
    #[serde(default)]
    pub multi_value: bool,
}

/// How nested records become flat ones, and one record several.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NestedSpec {
    /// Between the names of an outer and an inner field.
    pub delimiter: String,
    /// Paths of arrays: each element makes a record of its own.
    pub unnest: Vec<String>,
    pub collections: Collections,
    /// Beginnings of names and what stands in their place.
    pub rename: Vec<(String, String)>,
}

/// Which arrays that are not unnested become JSON texts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Collections {
    None,
    #[default]
    NonPrimitive,
    All,
}

/// What becomes of the values of one column when rows are put together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RollUp {
    pub column: String,
    pub function: RollUpFunction,
    /// The field that is put together; `None`: rows are counted.
    pub source: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RollUpFunction {
    Count,
    Sum,
    Min,
    Max,
    /// Sketches, in BYTES.
    DistinctCountHll,
    DistinctCountThetaSketch,
    PercentileTDigest,
}

impl RollUpFunction {
    /// It takes texts as well as numbers.
    pub const fn counts_distinct(self) -> bool {
        matches!(
            self,
            Self::DistinctCountHll | Self::DistinctCountThetaSketch
        )
    }

    pub const fn is_sketch(self) -> bool {
        match self {
            Self::Count | Self::Sum | Self::Min | Self::Max => false,
            Self::DistinctCountHll | Self::DistinctCountThetaSketch | Self::PercentileTDigest => {
                true
            }
        }
    }
}

/// What becomes of a text, a document or bytes beyond the length of their column.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TooLong {
    /// Texts are cut on a character boundary, others stay.
    #[default]
    Usual,
    /// The row is rejected.
    Error,
    /// The column's default takes their place.
    Default,
    Keep,
}

impl TooLong {
    pub fn is_usual(&self) -> bool {
        *self == Self::Usual
    }
}
