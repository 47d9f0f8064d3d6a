//! What happened to the consumption of a partition that somebody may want to know of. Servers keep
//! the newest in a file; `sys.ingest_events` shows them.

use serde::{Deserialize, Serialize};

use crate::ids::{Offset, Partition};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum EventKind {
    /// A partition is consumed here, from an offset on.
    Started,
    /// Nothing is consumed until what is wrong is mended.
    Stopped,
    Recovered,
    Paused,
    Resumed,
    /// Offsets were passed over because an operator ordered it.
    Skipped,
    /// Offsets that the log does not have any more were passed over, as the table's config says.
    Lost,
    /// The log did not hand out some offsets of a segment.
    Absent,
    /// A segment was sealed before its time because there was no memory left.
    SealedEarly,
}

impl EventKind {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Started => "STARTED",
            Self::Stopped => "STOPPED",
            Self::Recovered => "RECOVERED",
            Self::Paused => "PAUSED",
            Self::Resumed => "RESUMED",
            Self::Skipped => "SKIPPED",
            Self::Lost => "LOST",
            Self::Absent => "ABSENT",
            Self::SealedEarly => "SEALED_EARLY",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Event {
    pub time_ms: i64,
    pub table: String,
    pub partition: Partition,
    pub kind: EventKind,
    pub from: Offset,
    /// First offset after those that it is about.
    pub to: Offset,
    pub text: String,
}
