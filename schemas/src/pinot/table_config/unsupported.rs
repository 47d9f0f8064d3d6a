//! Keys of Pinot that we do not support: a fault where they would change data or answers, a warning
//! where they are about speed or placement.

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
const WITHOUT_EFFECT: [(&str, &str); 19] = [
    ("quota", "storage"),
    ("quota", "rateLimiterUnit"),
    ("quota", "rateLimiterDuration"),
    ("quota", "rateLimits"),
    ("routing", "routingTableBuilderName"),
    ("", "query"),
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
}

fn part<'a>(table: Node<'a>, section: &'static str) -> Option<Node<'a>> {
    if section.is_empty() {
        return Some(table);
    }
    let object = table.get(section)?.as_object()?;
    Some(Node::new(object, section))
}
