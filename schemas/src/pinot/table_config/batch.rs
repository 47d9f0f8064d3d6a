//! How segments of an OFFLINE table come: `batchIngestionConfig`, and the two keys of
//! `segmentsConfig` that said the same before.

use super::super::reader::{Node, Report};
use super::keys;
use crate::table::BatchSpec;

pub(super) fn read(segments: Node<'_>, ingestion: Node<'_>, report: &mut Report) -> BatchSpec {
    let batch = ingestion.object("batchIngestionConfig", report);
    let batch = batch.map(|batch| Node::new(batch, "ingestionConfig.batchIngestionConfig"));
    if let Some(batch) = batch {
        batch.only(&keys::BATCH_INGESTION, report);
    }
    let mut said = |now: &str, before: &str, known: [&str; 2], is_closed: bool| {
        let now = batch
            .map(|batch| (batch, now))
            .filter(|(batch, key)| batch.says_something(key));
        let (node, key) = now.unwrap_or((segments, before));
        let text = node.text(key, report).filter(|text| !text.is_empty())?;
        let at = known
            .iter()
            .position(|known| known.eq_ignore_ascii_case(text));
        if at.is_none() && is_closed {
            let what = format!("`{text}` is neither {} nor {}", known[0], known[1]);
            report.fault(&node.path(key), what);
        }
        at
    };
    let refresh = said(
        "segmentIngestionType",
        "segmentPushType",
        ["APPEND", "REFRESH"],
        true,
    );
    let (frequency, before) = ("segmentIngestionFrequency", "segmentPushFrequency");
    // Whatever is not hourly has a boundary of days, as in Pinot.
    let hourly = said(frequency, before, ["DAILY", "HOURLY"], false);
    BatchSpec {
        refresh: refresh == Some(1),
        hourly: hourly == Some(1),
    }
}
