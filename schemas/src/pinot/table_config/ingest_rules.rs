//! Keys of our own about messages that cannot be taken, below `metadata.customConfigs`.

use serde_json::{Map, Value as Json};

use super::super::reader::{Node, Report};
use crate::table::{IngestRules, LostOffsets};

pub(super) fn read(node: Node<'_>, report: &mut Report) -> IngestRules {
    let mut rules = IngestRules::default();
    let Some(custom) = custom_configs(node) else {
        return rules;
    };
    let custom = Node::new(custom, "metadata.customConfigs");
    let key = "tannin.ingest.onLostOffsets";
    rules.lost_offsets = match custom.text(key, report) {
        None | Some("stop") => LostOffsets::Stop,
        Some("earliest" | "smallest") => LostOffsets::Earliest,
        Some("latest" | "largest") => LostOffsets::Latest,
        Some(other) => {
            let what = format!("`{other}` is none of stop, earliest and latest");
            report.fault(&custom.path(key), what);
            LostOffsets::Stop
        }
    };
    let key = "tannin.ingest.rejectedRowsMax";
    rules.rejected_max = custom.number(key, report).and_then(|most| {
        let most = u64::try_from(most);
        if most.is_err() {
            report.fault(&custom.path(key), "a number of messages was expected");
        }
        most.ok()
    });
    let key = "tannin.ingest.rejectedShareMax";
    rules.rejected_share_max = custom.get(key).and_then(|value| {
        let text = value.as_str().and_then(|text| text.trim().parse().ok());
        let share = value.as_f64().or(text);
        let share = share.filter(|share| (0.0..=1.0).contains(share));
        if share.is_none() {
            report.fault(&custom.path(key), "a share from 0 to 1 was expected");
        }
        share
    });
    let key = "tannin.ingest.keepRejectedPayloads";
    rules.drop_rejected_payloads = custom.flag(key, report) == Some(false);
    rules
}

/// What is wrong with the sections themselves is told where they are read first.
fn custom_configs(node: Node<'_>) -> Option<&Map<String, Json>> {
    let metadata = node.get("metadata")?.as_object()?;
    metadata.get("customConfigs")?.as_object()
}
