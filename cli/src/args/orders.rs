//! Arguments of what operators order: tasks, and where segments lie.

use clap::{Args, Subcommand};

use super::NodeArgs;

#[derive(Debug, Args)]
pub struct TaskArgs {
    #[command(subcommand)]
    pub action: TaskAction,
    #[command(flatten)]
    pub node: NodeArgs,
}

#[derive(Debug, Subcommand)]
pub enum TaskAction {
    /// Tasks that wait, are worked on, or were over within a day
    List {
        /// Only those of this table
        #[arg(long, value_name = "NAME")]
        table: Option<String>,
    },
    /// Order what is due by the tables' configs now, without waiting for its schedule
    Schedule {
        /// MergeRollupTask, RealtimeToOfflineSegmentsTask, PurgeTask, RefreshSegmentTask, …; all
        /// unless given
        #[arg(long = "type", value_name = "TYPE")]
        task_type: Option<String>,
        /// Only of this table
        #[arg(long, value_name = "NAME")]
        table: Option<String>,
    },
    /// Cancel a task, as `tannin task list` names it; nothing of it counts
    Cancel { name: String },
}

#[derive(Debug, Args)]
pub struct RebalanceArgs {
    pub name: String,
    /// OFFLINE or REALTIME, of a table that has both
    #[arg(long = "type", value_name = "TYPE")]
    pub table_type: Option<String>,
    /// Only say what would move
    #[arg(long)]
    pub dry_run: bool,
    /// Break it off: what is on its way goes back
    #[arg(long, conflicts_with = "dry_run")]
    pub cancel: bool,
    /// Do not wait until it is done
    #[arg(long)]
    pub no_wait: bool,
}

#[derive(Debug, Args)]
pub struct NodeCommand {
    #[command(subcommand)]
    pub action: NodeAction,
    #[command(flatten)]
    pub node: NodeArgs,
}

#[derive(Debug, Subcommand)]
pub enum NodeAction {
    /// List nodes with their tags and how many segments they have
    List,
    /// Send what a server has to others, and wait until nothing is left
    Drain {
        name: String,
        /// Do not wait
        #[arg(long)]
        no_wait: bool,
    },
    /// Let a server get segments again
    Enable { name: String },
    /// Let nothing new come to a server, and ask it only for what no other has
    Disable { name: String },
    /// Give a node other tags: TENANT_OFFLINE, TENANT_REALTIME
    Tag {
        name: String,
        #[arg(required = true)]
        tags: Vec<String>,
    },
    /// Forget a node that is stopped and holds nothing
    Remove { name: String },
}
