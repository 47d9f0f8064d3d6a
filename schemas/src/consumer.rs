//! What is wrong with a partition, told from what its consumer says of itself.

use crate::proto::ConsumerState;

/// A partition whose newest row is older, with more behind it in the log, is late.
const LATE_MS: i64 = 10_000;

impl ConsumerState {
    pub fn is_stopped(&self) -> bool {
        matches!(self.state.as_str(), "PAUSED" | "ERROR")
    }

    /// Messages that are in the log and not read; `None`: its end is not known.
    pub fn lag(&self) -> Option<i64> {
        (self.log_end_offset >= 0).then(|| (self.log_end_offset - self.next_offset).max(0))
    }

    /// A sentence about a partition that is stopped or late; `None`: it is read as it should be.
    pub fn behind(&self, now_ms: i64) -> Option<String> {
        let age_ms = (self.newest_event_ms > 0).then(|| now_ms - self.newest_event_ms);
        let is_late = self.lag().unwrap_or(0) > 0 && age_ms.is_none_or(|age_ms| age_ms > LATE_MS);
        if !self.is_stopped() && !is_late {
            return None;
        }
        let age = match age_ms {
            Some(age_ms) => format!("the newest row is {} s old", age_ms.max(0) / 1000),
            None => "no row was read since the start".to_owned(),
        };
        let cause = match self.detail.as_str() {
            "" => String::new(),
            detail => format!(": {detail}"),
        };
        Some(format!(
            "partition {} is {}, read up to offset {} of {}, {age}{cause}",
            self.partition,
            self.state,
            self.next_offset,
            match self.log_end_offset {
                -1 => "an unknown end".to_owned(),
                end => end.to_string(),
            }
        ))
    }
}
