//! Tenants, replica groups and tiers: on which servers segments may lie.

use serde_json::Map;

use super::super::reader::{Node, Report};
use super::keys;
use crate::ids::TableType;
use crate::placement::{DEFAULT_TENANT, GroupSpec, PlaceKind, Placement, Tier, TierTakes};
use crate::table::ColumnSpec;

const GROUPS_MAX: i64 = 64;
const PARTITIONS_MAX: i64 = 10_000;

pub(super) fn read(
    table: Node<'_>,
    table_type: TableType,
    replication: u32,
    is_keyed: bool,
    report: &mut Report,
) -> Placement {
    let empty = Map::new();
    let tenants = table.object("tenants", report).unwrap_or(&empty);
    let tenants = Node::new(tenants, "tenants");
    tenants.only(&keys::TENANTS, report);
    let tenant = |key: &str, report: &mut Report| {
        let name = tenants.text(key, report).filter(|name| !name.is_empty());
        name.unwrap_or(DEFAULT_TENANT).to_owned()
    };
    let mut placement = Placement {
        server_tenant: tenant("server", report),
        broker_tenant: tenant("broker", report),
        ..Placement::default()
    };
    if placement.broker_tenant != DEFAULT_TENANT {
        // Every broker answers for every table.
        report.warn_without_effect(&tenants.path("broker"));
    }
    overrides(tenants, table_type, is_keyed, &mut placement, report);
    group_map(table, table_type, replication, &mut placement, report);
    strategy(table, table_type, replication, &mut placement, report);
    placement.tiers = tiers(table, is_keyed, report);
    placement
}

fn overrides(
    tenants: Node<'_>,
    table_type: TableType,
    is_keyed: bool,
    placement: &mut Placement,
    report: &mut Report,
) {
    const KEY: &str = "tagOverrideConfig";
    let Some(object) = tenants.object(KEY, report) else {
        return;
    };
    let path = tenants.path(KEY);
    let node = Node::new(object, &path);
    node.only(&["realtimeConsuming", "realtimeCompleted"], report);
    let tag = |key: &str, report: &mut Report| {
        let tag = node.text(key, report).filter(|tag| !tag.is_empty())?;
        is_tag(&node.path(key), tag, report).then(|| tag.to_owned())
    };
    let consuming = tag("realtimeConsuming", report);
    let completed = tag("realtimeCompleted", report);
    if table_type == TableType::Offline {
        if node.says_something("realtimeConsuming") || node.says_something("realtimeCompleted") {
            report.warn_without_effect(&path);
        }
        return;
    }
    if is_keyed && completed.is_some() && completed != consuming {
        let what = "of a table whose keys have rules a partition is whole on each of its servers: \
                    what consumes and what is sealed have the same tag";
        report.fault(&node.path("realtimeCompleted"), what);
    }
    (placement.consuming_tag, placement.completed_tag) = (consuming, completed);
}

fn is_tag(path: &str, tag: &str, report: &mut Report) -> bool {
    let fits = tag.ends_with("_OFFLINE") || tag.ends_with("_REALTIME");
    if !fits {
        let what = format!("`{tag}` is no tag of servers: those end with _OFFLINE or _REALTIME");
        report.fault(path, what);
    }
    fits
}

/// `instanceAssignmentConfigMap`.
fn group_map(
    table: Node<'_>,
    table_type: TableType,
    replication: u32,
    placement: &mut Placement,
    report: &mut Report,
) {
    const KEY: &str = "instanceAssignmentConfigMap";
    let Some(object) = table.object(KEY, report) else {
        return;
    };
    let node = Node::new(object, KEY);
    for key in object.keys() {
        let path = node.path(key);
        let kinds = PlaceKind::of(table_type);
        let Some(kind) = kinds.iter().find(|kind| kind.name() == key) else {
            // Of a tier, or of the other type.
            report.warn_without_effect(&path);
            continue;
        };
        let Some(config) = node.object(key, report) else {
            continue;
        };
        let config = Node::new(config, &path);
        config.only(&keys::INSTANCE_ASSIGNMENT, report);
        for other in ["constraintConfig", "partitionSelector"] {
            if config.says_something(other) {
                report.warn_without_effect(&config.path(other));
            }
        }
        let group = group(config, replication, report);
        placement.groups.insert(*kind, group);
    }
}

fn group(config: Node<'_>, replication: u32, report: &mut Report) -> GroupSpec {
    let empty = Map::new();
    let pool_path = config.path("tagPoolConfig");
    let pool = config.object("tagPoolConfig", report).unwrap_or(&empty);
    let pool = Node::new(pool, &pool_path);
    pool.only(&["tag", "poolBased", "numPools", "pools"], report);
    if pool.flag("poolBased", report) == Some(true) {
        report.warn_without_effect(&pool.path("poolBased"));
    }
    let tag = pool.text("tag", report).filter(|tag| !tag.is_empty());
    let tag = tag.filter(|tag| is_tag(&pool.path("tag"), tag, report));
    let path = config.path("replicaGroupPartitionConfig");
    let rules = config.object("replicaGroupPartitionConfig", report);
    let rules = Node::new(rules.unwrap_or(&empty), &path);
    rules.only(&keys::REPLICA_GROUPS, report);
    let mut group = GroupSpec {
        tag: tag.map(str::to_owned),
        ..GroupSpec::default()
    };
    if rules.flag("replicaGroupBased", report) != Some(true) {
        if rules.number("numInstances", report).is_some_and(|n| n > 0) {
            report.warn_without_effect(&rules.path("numInstances"));
        }
        return group;
    }
    let count = |key: &str, most: i64, report: &mut Report| {
        let number = rules.number(key, report).unwrap_or(0);
        if !(0..=most).contains(&number) {
            report.fault(
                &rules.path(key),
                format!("{number} is not between 0 and {most}"),
            );
        }
        number.clamp(0, most) as u32
    };
    group.groups = count("numReplicaGroups", GROUPS_MAX, report);
    group.instances = count("numInstancesPerReplicaGroup", PARTITIONS_MAX, report);
    group.partitions = count("numPartitions", PARTITIONS_MAX, report);
    group.partition_instances = count("numInstancesPerPartition", PARTITIONS_MAX, report);
    let column = rules.text("partitionColumn", report);
    group.partition_column = column.map(str::to_owned);
    if group.groups == 0 {
        group.groups = replication;
    }
    if group.groups != replication {
        let (groups, path) = (group.groups, rules.path("numReplicaGroups"));
        let what = format!("there are {replication} replicas, and {groups} groups with one each");
        report.fault(&path, what);
    }
    group
}

/// `replicaGroupStrategyConfig`, which is older: a group for each replica.
fn strategy(
    table: Node<'_>,
    table_type: TableType,
    replication: u32,
    placement: &mut Placement,
    report: &mut Report,
) {
    const KEY: &str = "replicaGroupStrategyConfig";
    let Some(segments) = table.get("segmentsConfig").and_then(|s| s.as_object()) else {
        return;
    };
    let segments = Node::new(segments, "segmentsConfig");
    let named = segments.get("segmentAssignmentStrategy");
    let by_groups = named
        .and_then(|name| name.as_str())
        .is_some_and(|name| name.to_lowercase().starts_with("replicagroup"));
    let config = segments.object(KEY, report);
    let kind = PlaceKind::of(table_type)[0];
    if (config.is_none() && !by_groups) || placement.groups.contains_key(&kind) {
        return;
    }
    let mut group = GroupSpec {
        groups: replication,
        ..GroupSpec::default()
    };
    if let Some(config) = config {
        let path = segments.path(KEY);
        let node = Node::new(config, &path);
        node.only(&["partitionColumn", "numInstancesPerPartition"], report);
        let column = node.text("partitionColumn", report);
        group.partition_column = column.map(str::to_owned);
        let instances = node.number("numInstancesPerPartition", report).unwrap_or(0);
        group.partition_instances = instances.clamp(0, PARTITIONS_MAX) as u32;
    }
    placement.groups.insert(kind, group);
}

fn tiers(table: Node<'_>, is_keyed: bool, report: &mut Report) -> Vec<Tier> {
    let mut tiers = Vec::new();
    let objects = table.objects("tierConfigs", report);
    if is_keyed && !objects.is_empty() {
        // A partition is whole on each of its servers.
        report.warn_without_effect("tierConfigs");
        return tiers;
    }
    for (at, object) in objects.into_iter().enumerate() {
        let path = format!("tierConfigs[{at}]");
        let node = Node::new(object, &path);
        node.only(&keys::TIER, report);
        tiers.extend(tier(node, report));
    }
    // What is old enough for several lies in that of the oldest.
    tiers.sort_by_key(|tier| match &tier.takes {
        TierTakes::Named(_) => i64::MIN,
        TierTakes::OlderThanMs(age) => -age,
    });
    tiers
}

fn tier(node: Node<'_>, report: &mut Report) -> Option<Tier> {
    for key in ["name", "segmentSelectorType", "serverTag"] {
        if node.get(key).is_none() {
            report.fault(&node.path(key), "missing");
        }
    }
    if let Some(other) = node.text("storageType", report)
        && !other.eq_ignore_ascii_case("pinot_server")
    {
        let what = format!("`{other}` is not known: pinot_server");
        report.fault(&node.path("storageType"), what);
    }
    let name = node.text("name", report)?.to_owned();
    let server_tag = node.text("serverTag", report)?.to_owned();
    is_tag(&node.path("serverTag"), &server_tag, report);
    let takes = match node
        .text("segmentSelectorType", report)?
        .to_lowercase()
        .as_str()
    {
        "time" => {
            if node.get("segmentAge").is_none() {
                report.fault(&node.path("segmentAge"), "missing");
            }
            let age = node.text("segmentAge", report)?;
            let Some(age_ms) = period_ms(age) else {
                let what = format!("`{age}` is no time: 30d, 12h, 15m");
                report.fault(&node.path("segmentAge"), what);
                return None;
            };
            TierTakes::OlderThanMs(age_ms)
        }
        "fixed" => {
            let names = node.texts("segmentList", report).into_iter();
            TierTakes::Named(names.map(str::to_owned).collect())
        }
        other => {
            let what = format!("`{other}` is neither time nor fixed");
            report.fault(&node.path("segmentSelectorType"), what);
            return None;
        }
    };
    Some(Tier {
        name,
        takes,
        server_tag,
    })
}

/// `1d12h30m`.
fn period_ms(text: &str) -> Option<i64> {
    let mut sum = 0_i64;
    let mut digits = String::new();
    for letter in text.trim().to_lowercase().chars() {
        if letter.is_ascii_digit() {
            digits.push(letter);
            continue;
        }
        let unit = match letter {
            'd' => 86_400_000,
            'h' => 3_600_000,
            'm' => 60_000,
            's' => 1_000,
            _ => return None,
        };
        let count: i64 = std::mem::take(&mut digits).parse().ok()?;
        sum = sum.checked_add(count.checked_mul(unit)?)?;
    }
    (sum > 0 && digits.is_empty()).then_some(sum)
}

/// Columns that are named must be there.
pub(super) fn check<'a>(
    placement: &Placement,
    column: impl Fn(&str) -> Option<&'a ColumnSpec>,
    report: &mut Report,
) {
    for (kind, group) in &placement.groups {
        let Some(name) = &group.partition_column else {
            continue;
        };
        if column(name).is_none() {
            let path = format!("partitionColumn of {}", kind.name());
            report.fault(&path, format!("there is no column `{name}`"));
        }
    }
}
