//! `routing` and `quota`: what brokers do for a table. Segments are always pruned by everything
//! that their records tell, whichever pruners the config names.
//!
//! Two keys of the quota are ours: `maxQueriesRunning`, and `maxQueryMemory` as a size (`512M`).

use serde_json::Map;

use super::super::Violations;
use super::super::reader::{Node, Report};
use super::flush::size_bytes;
use super::keys;
use crate::table::{InstanceSelector, QuotaSpec, RoutingSpec};

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Serving {
    pub(super) routing: RoutingSpec,
    pub(super) quota: QuotaSpec,
}

/// `table` is the whole config.
pub(super) fn read(table: Node<'_>, report: &mut Report) -> Serving {
    let empty = Map::new();
    let mut section = |key: &'static str| {
        let object = table.object(key, report);
        Node::new(object.unwrap_or(&empty), key)
    };
    let (of_routing, of_quota) = (section("routing"), section("quota"));
    Serving {
        routing: routing(of_routing, report),
        quota: quota(of_quota, report),
    }
}

fn routing(node: Node<'_>, report: &mut Report) -> RoutingSpec {
    const SELECTOR: &str = "instanceSelectorType";
    node.only(&keys::ROUTING, report);
    let selector = match node.text(SELECTOR, report) {
        None | Some("" | "balanced") => InstanceSelector::Balanced,
        Some("replicaGroup") => InstanceSelector::ReplicaGroup,
        Some("strictReplicaGroup") => InstanceSelector::StrictReplicaGroup,
        Some(other) => {
            let what =
                format!("`{other}` is not one of balanced, replicaGroup, strictReplicaGroup");
            report.fault(&node.path(SELECTOR), what);
            InstanceSelector::Balanced
        }
    };
    RoutingSpec {
        selector,
        fixed_replica: node.flag("useFixedReplica", report).unwrap_or(false),
    }
}

/// Of all tables of a tenant: its name, and keys of a table's quota: `fast maxQueriesRunning=20`.
pub fn tenant_quota(text: &str) -> Result<(String, QuotaSpec), Violations> {
    let mut words = text.split_whitespace();
    let tenant = words.next().filter(|name| !name.contains('='));
    let mut report = Report::default();
    let mut keys = Map::new();
    for word in words {
        match word.split_once('=') {
            Some((key, value)) => {
                keys.insert(key.to_owned(), value.into());
            }
            None => report.fault(word, "it is no `key=value`"),
        }
    }
    let quota = quota(Node::new(&keys, tenant.unwrap_or("?")), &mut report);
    report.refuse_unknown();
    if tenant.is_none() || quota.is_usual() {
        let what = "the name of a tenant and what limits it are wanted, such as `fast \
                    maxQueriesPerSecond=100 maxQueriesRunning=20 maxQueryMemory=512M`";
        report.fault(text, what);
    }
    let given = tenant.map(|name| (name.to_owned(), quota));
    report.finish(given).map(|parsed| parsed.value)
}

fn quota(node: Node<'_>, report: &mut Report) -> QuotaSpec {
    node.only(&keys::QUOTA, report);
    QuotaSpec {
        queries_per_second: rate(node, report),
        queries_running_max: running(node, report),
        memory_bytes_max: memory(node, report),
    }
}

/// A number, or a text with one, which need not be whole.
fn rate(node: Node<'_>, report: &mut Report) -> Option<f64> {
    const KEY: &str = "maxQueriesPerSecond";
    let value = node.get(KEY).filter(|value| *value != "")?;
    let number = value
        .as_f64()
        .or_else(|| value.as_str()?.trim().parse().ok());
    let rate = number.filter(|rate: &f64| rate.is_finite() && *rate > 0.0);
    if rate.is_none() {
        report.fault(&node.path(KEY), format!("{value} is no rate above 0"));
    }
    rate
}

fn running(node: Node<'_>, report: &mut Report) -> Option<u32> {
    const KEY: &str = "maxQueriesRunning";
    let number = node.number(KEY, report)?;
    let running = u32::try_from(number).ok().filter(|running| *running > 0);
    if running.is_none() {
        report.fault(&node.path(KEY), format!("{number} is no number of queries"));
    }
    running
}

fn memory(node: Node<'_>, report: &mut Report) -> Option<u64> {
    const KEY: &str = "maxQueryMemory";
    let text = node.text(KEY, report)?;
    let bytes = size_bytes(text).filter(|bytes| *bytes > 0);
    if bytes.is_none() {
        report.fault(&node.path(KEY), format!("`{text}` is no size such as 512M"));
    }
    bytes
}
