//! Keys of Pinot that we do not support: a fault where they would change data or answers, a warning
//! where they are about speed or placement.

use serde_json::Value as Json;

use super::super::reader::{Node, Report};

/// Section and key of what would change data or answers, and why.
const REFUSED: [(&str, &str, &str); 6] = [
    (
        "",
        "isMaterializedView",
        "materialized views are not supported yet",
    ),
    (
        "tableIndexConfig",
        "aggregateMetrics",
        "not supported yet, and it would change the data",
    ),
    (
        "segmentsConfig",
        "crypterClassName",
        "not supported yet: segments are not encrypted",
    ),
    (
        "dimensionTableConfig",
        "errorOnDuplicatePrimaryKey",
        "not supported yet",
    ),
    ("ingestionConfig", "enrichmentConfigs", CHANGES_DATA),
    (
        "ingestionConfig",
        "schemaConformingTransformerConfig",
        CHANGES_DATA,
    ),
];
const CHANGES_DATA: &str = "not supported yet, and it would change the data";

/// About speed or placement: accepted, not acted on.
const WITHOUT_EFFECT: [(&str, &str); 16] = [
    ("", "quota"),
    ("", "query"),
    ("", "routing"),
    ("", "instancePartitionsMap"),
    ("", "segmentAssignmentConfigMap"),
    ("", "tunerConfigs"),
    ("segmentsConfig", "completionConfig"),
    ("segmentsConfig", "deletedSegmentsRetentionPeriod"),
    ("dimensionTableConfig", "disablePreload"),
    ("tableIndexConfig", "noDictionaryConfig"),
    ("tableIndexConfig", "onHeapDictionaryColumns"),
    ("tableIndexConfig", "varLengthDictionaryColumns"),
    ("tableIndexConfig", "optimizeDictionary"),
    ("tableIndexConfig", "optimizeDictionaryForMetrics"),
    ("tableIndexConfig", "segmentNameGeneratorType"),
    ("ingestionConfig", "retryOnSegmentBuildPrecheckFailure"),
];

/// `table` is the whole config.
pub(super) fn check(table: Node<'_>, report: &mut Report) {
    for (section, key, reason) in REFUSED {
        if let Some(node) = part(table, section)
            && node.says_something(key)
        {
            report.fault(&node.path(key), reason);
        }
    }
    for (section, key) in WITHOUT_EFFECT {
        if let Some(node) = part(table, section)
            && node.says_something(key)
        {
            report.warn_without_effect(&node.path(key));
        }
    }
    tasks(table, report);
}

fn part<'a>(table: Node<'a>, section: &'static str) -> Option<Node<'a>> {
    if section.is_empty() {
        return Some(table);
    }
    let object = table.get(section)?.as_object()?;
    Some(Node::new(object, section))
}

/// Tasks that rewrite segments for speed only warn; those that change rows are refused.
fn tasks(table: Node<'_>, report: &mut Report) {
    let path = "task.taskTypeConfigsMap";
    let kinds = table
        .get("task")
        .and_then(|task| task.get("taskTypeConfigsMap"));
    let Some(kinds) = kinds.and_then(Json::as_object) else {
        return;
    };
    for (kind, config) in kinds {
        let rolls_up = || {
            let mut settings = config.as_object().into_iter().flatten();
            let merge = |(key, value): (&String, &Json)| {
                key.to_lowercase().ends_with("mergetype")
                    && value
                        .as_str()
                        .is_some_and(|v| !v.eq_ignore_ascii_case("concat"))
            };
            settings.any(merge)
        };
        let changes_rows = match kind.as_str() {
            "PurgeTask" => true,
            "MergeRollupTask" | "RealtimeToOfflineSegmentsTask" => rolls_up(),
            _ => false,
        };
        if changes_rows {
            report.fault(&format!("{path}.{kind}"), CHANGES_DATA);
        } else {
            report.warn_without_effect(&format!("{path}.{kind}"));
        }
    }
}
