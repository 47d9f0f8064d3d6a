//! The command line: the only place that reads arguments.

mod orders;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use schemas::cluster::Role;

pub use orders::{NodeAction, NodeCommand, RebalanceArgs, TaskAction, TaskArgs};

#[derive(Debug, Parser)]
#[command(
    name = "tannin",
    about = "Real-time OLAP: Kafka in, SQL out, milliseconds between",
    after_help = "Begin with:\n  tannin quickstart",
    disable_version_flag = true
)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Start everything in one process, with sample data that keeps arriving
    #[command(
        after_help = "Example:\n  tannin quickstart --data-dir /tmp/tannin --port-offset 1000"
    )]
    Quickstart(QuickstartArgs),
    /// Start one role or all roles of a cluster
    #[command(after_help = "Example:\n  tannin start --config node.toml --role broker,server")]
    Start(StartArgs),
    /// Ask a question, or open a prompt
    #[command(after_help = "Examples:\n  \
                      tannin sql \"SELECT carrier, COUNT(*) FROM flights GROUP BY 1\"\n  \
                      tannin sql \"FROM 'trips.parquet' LIMIT 5\"     (needs no server)")]
    Sql(SqlArgs),
    /// Ask about a topic's messages as a table would have them, before there is one
    #[command(after_help = "Examples:\n  \
                      tannin preview --kafka localhost:9092 --topic clicks\n  \
                      tannin preview --kafka localhost:9092 --topic clicks --config t.json \
                      \"SELECT page, COUNT(*) FROM clicks GROUP BY 1\"")]
    Preview(PreviewArgs),
    /// Create, list, watch and drop tables
    #[command(
        after_help = "Example:\n  tannin table create clicks --kafka localhost:9092 --topic clicks"
    )]
    Table(TableArgs),
    /// List, order and cancel tasks in the background
    #[command(after_help = "Examples:\n  \
                      tannin task list --table trips\n  \
                      tannin task schedule --type MergeRollupTask --table trips_OFFLINE")]
    Task(TaskArgs),
    /// List nodes, drain servers, give them tags
    #[command(after_help = "Examples:\n  \
                      tannin node list\n  \
                      tannin node drain Server_10.0.0.7_8098")]
    Node(NodeCommand),
    /// Load Parquet, Arrow, Avro, CSV or JSON files into a table
    #[command(after_help = "Examples:\n  \
                      tannin import trips.parquet\n  \
                      tannin import 2026-11/ --table trips --replace")]
    Import(ImportArgs),
    /// Write a table, or what a statement answers, as Parquet
    #[command(after_help = "Examples:\n  \
                      tannin export trips --to backup/trips\n  \
                      tannin export \"SELECT * FROM trips WHERE fare > 10\" --to dear.parquet")]
    Export(ExportArgs),
    /// Show the ledger that proves that every offset was taken exactly once
    #[command(after_help = "Example:\n  tannin prove flights")]
    Prove(ProveArgs),
    /// Write all metadata as text, put it into an empty store, or look whether it fits together
    #[command(after_help = "Examples:\n  \
                      tannin metastore export --config node.toml --to metadata.jsonl\n  \
                      tannin metastore import metadata.jsonl \
                      --set metastore=postgres://me@db/tannin\n  \
                      tannin metastore check --data-dir tannin-data --files")]
    Metastore {
        #[command(subcommand)]
        action: MetastoreAction,
    },
    /// Look into a segment file, or verify every byte of it
    #[command(after_help = "Example:\n  \
                      tannin segment inspect tannin-data/segments/*/0/0-1a2b3c4d.seg")]
    Segment {
        #[command(subcommand)]
        action: SegmentAction,
    },
    /// Make what the file of principals holds, or check that file
    #[command(after_help = "Examples:\n  \
                      tannin access password                (asks for it, prints its hash)\n  \
                      tannin access token                   (prints a new one, and its hash)\n  \
                      tannin access check principals.toml")]
    Access {
        #[command(subcommand)]
        action: AccessAction,
    },
    /// Print the documented default settings, or check a settings file
    #[command(after_help = "Example:\n  tannin config print > node.toml")]
    Config {
        #[command(subcommand)]
        action: ConfigAction,
    },
    /// Print the version
    #[command(after_help = "Example:\n  tannin version")]
    Version,
}

#[derive(Debug, Subcommand)]
pub enum MetastoreAction {
    /// Write all of it as of one moment, one JSON object a line
    Export {
        /// Instead of stdout
        #[arg(long, short, value_name = "FILE")]
        to: Option<PathBuf>,
        #[command(flatten)]
        store: StoreArgs,
    },
    /// Put an exported file into an empty store, before a controller uses it
    Import {
        file: PathBuf,
        #[command(flatten)]
        store: StoreArgs,
    },
    /// Look whether tables, segments, offsets and tasks fit together
    Check {
        /// And whether every segment's object is in the deep store
        #[arg(long)]
        files: bool,
        #[command(flatten)]
        store: StoreArgs,
    },
}

/// The store as the settings of its controller name it.
#[derive(Debug, Args)]
pub struct StoreArgs {
    /// Settings file of the controller
    #[arg(long, value_name = "FILE.toml")]
    pub config: Option<PathBuf>,
    /// Data dir of the controller, which must be stopped if its metadata is in there
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Override a setting
    #[arg(long, value_name = "SECTION.KEY=VALUE")]
    pub set: Vec<String>,
}

#[derive(Debug, Subcommand)]
pub enum SegmentAction {
    /// Show columns, encodings, bytes, ranges and indexes
    Inspect(SegmentArgs),
    /// Read every byte, and tell whether the file is whole
    Verify(SegmentArgs),
}

#[derive(Debug, Args)]
pub struct SegmentArgs {
    /// A `.seg` file
    pub file: PathBuf,
    /// For programs
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct QuickstartArgs {
    /// Where everything is kept; started again on the same folder it goes on where it was
    /// [default: ./tannin-data]
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Live events after the history; 0 = none
    #[arg(long, value_name = "N", default_value_t = 1000)]
    pub events_per_second: u32,
    /// No sample tables
    #[arg(long)]
    pub empty: bool,
    /// Added to every port
    #[arg(long, value_name = "N")]
    pub port_offset: Option<u16>,
    /// Override a setting
    #[arg(long, value_name = "SECTION.KEY=VALUE")]
    pub set: Vec<String>,
}

#[derive(Debug, Args)]
pub struct StartArgs {
    /// Settings file; see `tannin config print`
    #[arg(long, value_name = "FILE.toml")]
    pub config: Option<PathBuf>,
    /// controller, broker, server, minion; comma separated
    #[arg(
        long,
        value_name = "ROLES",
        value_delimiter = ',',
        default_value = "controller,broker,server,minion"
    )]
    pub role: Vec<Role>,
    /// Override a setting
    #[arg(long, value_name = "SECTION.KEY=VALUE")]
    pub set: Vec<String>,
}

const DEFAULT_BROKER: &str = "127.0.0.1:8099";
const DEFAULT_CONTROLLER: &str = "127.0.0.1:9000";

/// Where the running node is.
#[derive(Clone, Debug, Args)]
pub struct NodeArgs {
    /// Address of the broker
    #[arg(
        long,
        global = true,
        value_name = "HOST:PORT",
        default_value = DEFAULT_BROKER
    )]
    pub broker: String,
    /// Address of the controller
    #[arg(
        long,
        global = true,
        value_name = "HOST:PORT",
        default_value = DEFAULT_CONTROLLER
    )]
    pub controller: String,
    /// Added to the ports of both addresses
    #[arg(long, global = true, value_name = "N", default_value_t = 0)]
    pub port_offset: u16,
    #[command(flatten)]
    pub login: LoginArgs,
}

/// Who asks, and over what.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Login")]
pub struct LoginArgs {
    /// Name of a principal [default: TANNIN_USER]; its password is in TANNIN_PASSWORD, or in a file
    #[arg(
        long,
        global = true,
        value_name = "NAME",
        conflicts_with = "token_file"
    )]
    pub user: Option<String>,
    /// File with the password, and nothing else
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        conflicts_with = "token_file"
    )]
    pub password_file: Option<PathBuf>,
    /// File with a token, and nothing else, in the place of name and password [default:
    /// TANNIN_TOKEN]
    #[arg(long, global = true, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// Speak HTTPS, with nodes whose certificates are of an authority that the system trusts
    #[arg(long, global = true)]
    pub tls: bool,
    /// Speak HTTPS, and trust the authority of this file (PEM) [default: TANNIN_CA_FILE]
    #[arg(long, global = true, value_name = "FILE")]
    pub ca_file: Option<PathBuf>,
}

impl NodeArgs {
    /// As they would be typed, with a space before each; empty for a node at the default place.
    pub(crate) fn flags(&self) -> String {
        let mut flags = String::new();
        if self.broker != DEFAULT_BROKER {
            flags.push_str(&format!(" --broker {}", self.broker));
        }
        if self.controller != DEFAULT_CONTROLLER {
            flags.push_str(&format!(" --controller {}", self.controller));
        }
        if self.port_offset != 0 {
            flags.push_str(&format!(" --port-offset {}", self.port_offset));
        }
        let LoginArgs {
            user,
            password_file,
            token_file,
            tls,
            ca_file,
        } = &self.login;
        if let Some(user) = user {
            flags.push_str(&format!(" --user {user}"));
        }
        for (flag, file) in [
            ("password-file", password_file),
            ("token-file", token_file),
            ("ca-file", ca_file),
        ] {
            if let Some(file) = file {
                flags.push_str(&format!(" --{flag} {}", file.display()));
            }
        }
        if *tls {
            flags.push_str(" --tls");
        }
        flags
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum OutputFormat {
    #[default]
    Table,
    Csv,
    /// An object a line
    Json,
    /// An Arrow IPC stream
    Arrow,
    Parquet,
}

impl OutputFormat {
    /// What a file of this ending holds.
    pub(crate) fn of(path: &std::path::Path) -> Option<Self> {
        let ending = path.extension()?.to_str()?.to_ascii_lowercase();
        Some(match ending.as_str() {
            "csv" => Self::Csv,
            "json" | "ndjson" | "jsonl" => Self::Json,
            "arrow" | "arrows" | "ipc" => Self::Arrow,
            "parquet" => Self::Parquet,
            _ => return None,
        })
    }

    /// As the broker gives it; `None`: a table is for people.
    pub(crate) const fn form(self) -> Option<broker::forms::Form> {
        use broker::forms::Form;
        match self {
            Self::Table => None,
            Self::Csv => Some(Form::Csv),
            Self::Json => Some(Form::Ndjson),
            Self::Arrow => Some(Form::Arrow),
            Self::Parquet => Some(Form::Parquet),
        }
    }

    /// Not for a terminal.
    pub(crate) const fn is_binary(self) -> bool {
        matches!(self, Self::Arrow | Self::Parquet)
    }
}

#[derive(Debug, Args)]
pub struct SqlArgs {
    /// The statement; without one a prompt opens
    pub statement: Option<String>,
    /// table, or what the ending of --output says
    #[arg(long, value_enum)]
    pub format: Option<OutputFormat>,
    /// Write the answer to this file, for example trips.parquet, .csv, .json or .arrow
    #[arg(
        long,
        short,
        value_name = "FILE",
        requires = "statement",
        conflicts_with = "watch"
    )]
    pub output: Option<PathBuf>,
    /// Ask again at this interval and redraw in place, for example 1s or 500ms
    #[arg(long, value_name = "INTERVAL", value_parser = crate::units::parse_duration)]
    pub watch: Option<std::time::Duration>,
    #[command(flatten)]
    pub node: NodeArgs,
}

#[derive(Debug, Args)]
pub struct PreviewArgs {
    /// The statement, over a table with the name of the topic; without one the first rows
    pub statement: Option<String>,
    /// Kafka's bootstrap servers
    #[arg(long, value_name = "HOST:PORT")]
    pub kafka: String,
    #[arg(long)]
    pub topic: String,
    /// Schema and table config, as `POST /v1/tables` takes them; without it they are inferred
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// How many of the newest messages are read
    #[arg(long, value_name = "COUNT", default_value_t = 1000)]
    pub messages: usize,
    #[arg(long, value_enum, default_value_t)]
    pub format: OutputFormat,
}

#[derive(Debug, Args)]
pub struct TableArgs {
    #[command(subcommand)]
    pub action: TableAction,
    #[command(flatten)]
    pub node: NodeArgs,
}

#[derive(Debug, Subcommand)]
pub enum TableAction {
    /// Create a table from a Kafka topic: samples it, shows what it found, asks
    Create {
        name: String,
        /// Kafka's bootstrap servers
        #[arg(long, value_name = "HOST:PORT")]
        kafka: String,
        #[arg(long)]
        topic: String,
        /// Do not ask
        #[arg(long)]
        yes: bool,
        /// Column with the time of the event, when the guess is not wanted
        #[arg(long)]
        time_column: Option<String>,
        /// Copies of each segment
        #[arg(long, default_value_t = 1)]
        replication: u32,
    },
    /// List tables
    List,
    /// What each partition consumed, and what is wrong when nothing arrives
    Status { name: String },
    /// Seal what was consumed and stop consuming
    Pause {
        name: String,
        /// Why; others see it
        #[arg(long, default_value = "")]
        comment: String,
        /// Only these topics of the table, by position: 0,2
        #[arg(long, default_value = "")]
        topics: String,
    },
    /// Go on consuming
    Resume {
        name: String,
        /// After what was consumed last, at the oldest message that is left, or with new ones
        #[arg(long, value_enum, default_value_t = ResumeFrom::Last)]
        from: ResumeFrom,
        /// Only these topics of the table, by position: 0,2
        #[arg(long, default_value = "")]
        topics: String,
    },
    /// Seal what consumes now, and wait until it is committed
    Commit {
        name: String,
        /// Only these partitions: 0,2,10001
        #[arg(long, default_value = "")]
        partitions: String,
    },
    /// Send rejected messages to their topics again, once, after what was wrong is mended
    RetryRejected {
        name: String,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
    /// Spread its segments evenly over the servers, while queries and consumption go on
    Rebalance(RebalanceArgs),
    /// Drop a table and its data
    Drop {
        name: String,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub enum ResumeFrom {
    Last,
    Smallest,
    Largest,
}

#[derive(Debug, Args)]
pub struct ImportArgs {
    /// .parquet, .arrow, .avro, .csv and .json files (these two also as .gz and .zst), folders with
    /// such files, and patterns such as '2026-*/part-?.parquet'
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<String>,
    /// Name of the table; that of the first file unless given
    #[arg(long)]
    pub table: Option<String>,
    /// In the place of the rows that are there, all at once when the last file is in
    #[arg(long, conflicts_with = "append")]
    pub replace: bool,
    /// Beside the rows that are there, also when the table's config says REFRESH
    #[arg(long)]
    pub append: bool,
    /// parquet, arrow, avro, csv or json; the endings of the files tell unless given
    #[arg(long)]
    pub format: Option<ingest::files::FileFormat>,
    /// How CSV files are read, by the names of Pinot's reader: delimiter=|, header=id|name,
    /// quoteCharacter=', escapeCharacter, commentMarker, nullStringValue, …
    #[arg(long, value_name = "KEY=VALUE")]
    pub reader: Vec<String>,
    /// Files, or parts of them, that are read at once [default: the number of cores]
    #[arg(long, value_name = "N")]
    pub threads: Option<usize>,
    /// Where the buckets of s3://bucket/key are [default: AWS_ENDPOINT_URL, else AWS]; keys come
    /// from AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY
    #[arg(long, value_name = "URL")]
    pub s3_endpoint: Option<String>,
    /// Of the buckets [default: AWS_REGION, else us-east-1]
    #[arg(long, value_name = "REGION")]
    pub s3_region: Option<String>,
    /// Make anew what the same import had done before it broke off
    #[arg(long)]
    pub start_over: bool,
    /// Keep the table on every server, for joins; names its primary key
    #[arg(long, value_name = "KEY,…", value_delimiter = ',')]
    pub dimension: Vec<String>,
    #[command(flatten)]
    pub node: NodeArgs,
}

#[derive(Debug, Args)]
pub struct ExportArgs {
    /// A table, or a statement
    #[arg(value_name = "TABLE|STATEMENT")]
    pub what: String,
    /// For a table a folder, with a file for each segment; for a statement a file
    #[arg(long, short, value_name = "PATH")]
    pub to: PathBuf,
    #[command(flatten)]
    pub node: NodeArgs,
}

#[derive(Debug, Args)]
pub struct ProveArgs {
    pub table: String,
    #[command(flatten)]
    pub node: NodeArgs,
}

#[derive(Debug, Subcommand)]
pub enum AccessAction {
    /// Read a password from stdin and print its hash, for `password = "…"`
    Password,
    /// Print a new token and its hash, for `token = "…"`
    Token,
    /// Check a file of principals
    Check { file: PathBuf },
}

#[derive(Debug, Subcommand)]
pub enum ConfigAction {
    /// Write the documented defaults to stdout
    Print,
    /// Check a settings file
    Check { file: PathBuf },
}
