//! What a table is: the one internal form of schema and table config.
//!
//! Pinot's JSON is parsed at the edge ([`crate::pinot`]) into a [`TableSpec`]; nothing behind the
//! edge reads Pinot's JSON. The originals are kept by the controller and handed back as they came.
//!
//! Invariants: column names are unique and never start with `$`; the time column, the sorted
//! column and every key column exist in `columns`.

mod serving;
mod streams;

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::decoding::{PipelineSpec, TooLong};
use crate::ids::{TableId, TableName, TableType};
use crate::keyed::KeyedSpec;
use crate::partition::Partitioning;
use crate::placement::Placement;
use crate::task::TaskSpec;
use crate::types::{DataType, FieldRole, Value};

pub use serving::{InstanceSelector, QuotaSpec, RoutingSpec};
pub use streams::{
    FlushLimits, IngestRules, LostOffsets, RateLimits, StreamKind, StreamSpec, StreamStart,
    partition_id, topic_partition,
};

/// Virtual columns: stored or derived for every table, hidden from `*`.
pub mod virtual_column {
    /// Name of the segment (STRING), constant in a segment.
    pub const SEGMENT_NAME: &str = "$segmentName";
    /// Position of the row in its segment (INT).
    pub const DOC_ID: &str = "$docId";
    /// Host of the server that reads the row.
    pub const HOST_NAME: &str = "$hostName";
    /// Partition of the stream (INT), constant in a segment.
    pub const PARTITION: &str = "$partition";
    /// Another name of `$partition`, which Pinot's users know.
    pub const PARTITION_ID: &str = "$partitionId";
    /// Offset in the log (LONG), stored. Rows of OFFLINE tables count up from 0 in their segment.
    pub const OFFSET: &str = "$offset";
    /// When the row became queryable here (TIMESTAMP), stored.
    pub const INGEST_TIME: &str = "$ingestTime";
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TableSpec {
    pub id: TableId,
    pub name: TableName,
    pub table_type: TableType,
    /// In the order of the schema. Virtual columns are not among them.
    pub columns: Vec<ColumnSpec>,
    pub primary_key: Vec<String>,
    pub time_column: Option<String>,
    /// On every server, and joined in the leaf.
    pub is_dimension_table: bool,
    pub replication: u32,
    pub sorted_column: Option<String>,
    pub retention: Retention,
    /// A segment may be committed while the deep store is away: its replicas get it from each
    /// other.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub peer_download: bool,
    #[serde(default, skip_serializing_if = "BatchSpec::is_usual")]
    pub batch: BatchSpec,
    /// Topics whose messages are the rows, in the order of the config.
    #[serde(
        default,
        alias = "stream",
        deserialize_with = "streams::one_or_several"
    )]
    pub streams: Vec<StreamSpec>,
    pub flush: FlushLimits,
    #[serde(default)]
    pub ingest: IngestRules,
    #[serde(default)]
    pub star_trees: Vec<StarTreeSpec>,
    /// Between the decoder and the columns.
    #[serde(default, skip_serializing_if = "PipelineSpec::is_plain")]
    pub pipeline: PipelineSpec,
    /// What becomes of a row whose primary key is there already; `None`: it is one more row.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keyed: Option<KeyedSpec>,
    /// What rewrites its segments.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tasks: Vec<TaskSpec>,
    #[serde(default, skip_serializing_if = "RoutingSpec::is_usual")]
    pub routing: RoutingSpec,
    #[serde(default, skip_serializing_if = "QuotaSpec::is_usual")]
    pub quota: QuotaSpec,
    /// On which servers its segments may lie.
    #[serde(default, skip_serializing_if = "Placement::is_usual")]
    pub placement: Placement,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ColumnSpec {
    pub name: String,
    pub data_type: DataType,
    pub role: FieldRole,
    /// Stands for a null wherever null handling is off.
    pub default: Value,
    pub not_null: bool,
    /// Bytes of a text, from which on `too_long` says what happens.
    pub length_max: u32,
    #[serde(default, skip_serializing_if = "TooLong::is_usual")]
    pub too_long: TooLong,
    /// An expression over fields of the record: the value where the record has none of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transform: Option<String>,
    /// Format of a TIMESTAMP or date-time column in the events, when it is not epoch or ISO 8601.
    pub time_format: Option<String>,
    /// Several values a row: `List` in Arrow, any of them matches a predicate.
    #[serde(default)]
    pub multi_value: bool,
    pub inverted_index: bool,
    /// Kept raw even when a dictionary would be smaller.
    pub no_dictionary: bool,
    /// In a dictionary of texts only what a value has beyond the one before it is stored, where
    /// that is smaller.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub shared_prefixes: bool,
    #[serde(default)]
    pub range_index: bool,
    #[serde(default)]
    pub bloom_filter: Option<BloomFilterSpec>,
    #[serde(default)]
    pub text_index: Option<TextIndexSpec>,
    #[serde(default)]
    pub json_index: Option<JsonIndexSpec>,
    /// Buckets that are computed once, when the segment is sealed.
    #[serde(default)]
    pub timestamp_index: Vec<TimeGranularity>,
    /// Producers, or whoever made the segments, spread rows by this column.
    #[serde(default)]
    pub partitioning: Option<Partitioning>,
}

impl ColumnSpec {
    pub fn new(name: impl Into<String>, data_type: DataType, role: FieldRole) -> Self {
        Self {
            name: name.into(),
            data_type,
            role,
            default: data_type.default_value(role),
            not_null: false,
            length_max: 512,
            too_long: TooLong::default(),
            transform: None,
            time_format: None,
            multi_value: false,
            inverted_index: false,
            no_dictionary: false,
            shared_prefixes: false,
            range_index: false,
            bloom_filter: None,
            text_index: None,
            json_index: None,
            timestamp_index: Vec::new(),
            partitioning: None,
        }
    }
}

impl ColumnSpec {
    /// Numbers without a dictionary, whatever indexes the column has.
    pub fn stays_raw(&self) -> bool {
        let is_number = matches!(
            self.data_type,
            DataType::Int
                | DataType::Long
                | DataType::Float
                | DataType::Double
                | DataType::Boolean
                | DataType::Timestamp
        );
        self.no_dictionary && is_number && !self.multi_value
    }
}

/// A filter for each segment that tells which values are surely not in it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct BloomFilterSpec {
    /// Share of absent values that are not told, in (0, 1).
    pub false_positives: f64,
    pub bytes_max: u64,
}

impl Default for BloomFilterSpec {
    fn default() -> Self {
        Self {
            false_positives: 0.05,
            bytes_max: 1 << 20,
        }
    }
}

/// How a text is taken apart into terms.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TextIndexSpec {
    pub analyzer: TextAnalyzer,
    /// Terms that are not indexed.
    pub stop_words: Vec<String>,
    /// Of words that stand side by side in a query all must be there, and not just any.
    #[serde(default)]
    pub all_terms: bool,
}

/// Left out by the analyzers that know words, unless the table says otherwise: those of Pinot.
pub const STOP_WORDS: [&str; 35] = [
    "a", "an", "and", "are", "as", "at", "be", "but", "by", "for", "if", "in", "into", "is", "it",
    "no", "not", "of", "on", "or", "such", "than", "that", "the", "their", "then", "there",
    "these", "they", "this", "those", "to", "was", "will", "with",
];

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TextAnalyzer {
    /// Words, in lower case.
    #[default]
    Standard,
    /// Words between white space, in their case.
    Whitespace,
    /// The text as one term.
    Keyword,
    /// As `Standard`, words cut to their English stem.
    English,
}

/// Which paths of a JSON document are indexed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct JsonIndexSpec {
    /// Levels of nesting that are flattened; `None`: all.
    pub levels_max: Option<u32>,
    pub exclude_array: bool,
    pub include_paths: Vec<String>,
    pub exclude_paths: Vec<String>,
    pub exclude_fields: Vec<String>,
    /// Longer values are not indexed, in bytes; 0: no limit.
    pub value_bytes_max: u32,
    /// Elements of different arrays are not combined with each other.
    #[serde(default)]
    pub separate_arrays: bool,
    /// Patterns of paths: `a.b`, `a.*`, `a..b`, `a.**`; empty: all. Left out where there are none,
    /// so that indexes built before are still those that are asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub index_paths: Vec<String>,
    /// A text that is no JSON has the value `$SKIPPED$`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub marks_invalid: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum TimeGranularity {
    Millisecond,
    Second,
    Minute,
    Hour,
    Day,
    Week,
    Month,
    Quarter,
    Year,
}

impl TimeGranularity {
    pub const ALL: [Self; 9] = [
        Self::Millisecond,
        Self::Second,
        Self::Minute,
        Self::Hour,
        Self::Day,
        Self::Week,
        Self::Month,
        Self::Quarter,
        Self::Year,
    ];

    /// In any case of letters.
    pub fn named(name: &str) -> Option<Self> {
        let mut known = Self::ALL.into_iter();
        known.find(|granularity| granularity.name().eq_ignore_ascii_case(name))
    }

    /// As Pinot writes it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Millisecond => "MILLISECOND",
            Self::Second => "SECOND",
            Self::Minute => "MINUTE",
            Self::Hour => "HOUR",
            Self::Day => "DAY",
            Self::Week => "WEEK",
            Self::Month => "MONTH",
            Self::Quarter => "QUARTER",
            Self::Year => "YEAR",
        }
    }
}

/// Sums over every combination of some columns, computed when a segment is sealed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StarTreeSpec {
    /// Columns, and [buckets of time](star_tree::time_bucket).
    pub dimensions: Vec<String>,
    /// Each segment leaves out the dimensions with very many values, and splits by those with the
    /// most first.
    #[serde(default)]
    pub by_cardinality: bool,
    /// Dimensions without a star node.
    pub no_star: Vec<String>,
    pub aggregates: Vec<StarTreeAggregate>,
    /// A node with fewer rows is not split.
    pub leaf_rows_max: u32,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct StarTreeAggregate {
    pub function: StarTreeFunction,
    /// `None`: rows are counted.
    pub column: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StarTreeFunction {
    Count,
    Sum,
    Min,
    Max,
    Avg,
    DistinctCountHll,
    PercentileTDigest,
}

impl fmt::Display for StarTreeFunction {
    /// As Pinot names it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Count => "COUNT",
            Self::Sum => "SUM",
            Self::Min => "MIN",
            Self::Max => "MAX",
            Self::Avg => "AVG",
            Self::DistinctCountHll => "DISTINCTCOUNTHLL",
            Self::PercentileTDigest => "PERCENTILETDIGEST",
        })
    }
}

impl fmt::Display for StarTreeAggregate {
    /// `SUM__clicks`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}__{}",
            self.function,
            self.column.as_deref().unwrap_or("*")
        )
    }
}

/// Names of dimensions that are no columns.
pub mod star_tree {
    use super::TimeGranularity;

    pub const DIMENSIONS_MAX: usize = 64;

    /// `$ts$DAY` is the time of column `ts` cut to days.
    pub fn time_bucket(dimension: &str) -> Option<(&str, TimeGranularity)> {
        let (column, granularity) = dimension.strip_prefix('$')?.rsplit_once('$')?;
        Some((column, TimeGranularity::named(granularity)?))
    }

    pub fn bucket_name(column: &str, granularity: TimeGranularity) -> String {
        format!("${column}${}", granularity.name())
    }
}

/// What the minion removes. A segment goes when all its rows are too old, or when newer segments
/// of the table alone hold `rows_max`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retention {
    pub age_max_ms: Option<i64>,
    pub rows_max: Option<u64>,
}

/// How segments of an OFFLINE table come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BatchSpec {
    /// Each import replaces what is there; otherwise it adds to it.
    pub refresh: bool,
    /// They come every hour, and not every day.
    pub hourly: bool,
}

impl BatchSpec {
    fn is_usual(&self) -> bool {
        *self == Self::default()
    }
}

impl TableSpec {
    /// A table of its own with nothing but columns, held once.
    pub fn new(name: TableName, table_type: TableType, columns: Vec<ColumnSpec>) -> Self {
        Self {
            id: TableId::random(),
            name,
            table_type,
            columns,
            primary_key: Vec::new(),
            time_column: None,
            is_dimension_table: false,
            replication: 1,
            sorted_column: None,
            retention: Retention::default(),
            peer_download: false,
            batch: BatchSpec::default(),
            streams: Vec::new(),
            flush: FlushLimits::default(),
            ingest: IngestRules::default(),
            star_trees: Vec::new(),
            pipeline: PipelineSpec::default(),
            keyed: None,
            tasks: Vec::new(),
            routing: RoutingSpec::default(),
            quota: QuotaSpec::default(),
            placement: Placement::default(),
        }
    }

    pub fn column(&self, name: &str) -> Option<&ColumnSpec> {
        self.columns.iter().find(|column| column.name == name)
    }

    /// `flights_REALTIME`.
    pub fn physical_name(&self) -> String {
        self.name.with_type(self.table_type)
    }
}
