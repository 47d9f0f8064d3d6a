//! Who shall hold what: pure functions from the servers that live to a list of servers.

use std::collections::HashMap;

use schemas::InstanceId;

/// The `replication` least loaded servers; ties go by name, so that the same input gives the same
/// answer. Fewer servers than wanted give fewer replicas.
pub(crate) fn least_loaded(
    alive: &[InstanceId],
    load: &HashMap<InstanceId, usize>,
    replication: u32,
) -> Vec<InstanceId> {
    let mut servers: Vec<&InstanceId> = alive.iter().collect();
    servers.sort_by_key(|server| (load.get(*server).copied().unwrap_or(0), *server));
    servers
        .into_iter()
        .take(replication as usize)
        .cloned()
        .collect()
}

/// Keeps who is trusted, replaces who is not, adds who is missing; `None` when nothing has to
/// change or nobody can take over. `trusted` are those who live or may come back soon.
pub(crate) fn repaired(
    current: &[InstanceId],
    trusted: &[InstanceId],
    alive: &[InstanceId],
    load: &HashMap<InstanceId, usize>,
    replication: u32,
) -> Option<Vec<InstanceId>> {
    let mut kept: Vec<InstanceId> = current
        .iter()
        .filter(|server| trusted.contains(server))
        .cloned()
        .collect();
    let missing = (replication as usize).saturating_sub(kept.len());
    let others: Vec<InstanceId> = alive
        .iter()
        .filter(|server| !kept.contains(server))
        .cloned()
        .collect();
    let added = least_loaded(&others, load, missing as u32);
    // A dead server is only taken off when somebody takes its place.
    if added.is_empty() {
        return None;
    }
    kept.extend(added);
    Some(kept)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn servers(names: &[&str]) -> Vec<InstanceId> {
        names
            .iter()
            .map(|name| InstanceId((*name).to_owned()))
            .collect()
    }

    #[test]
    fn load_decides_then_the_name() {
        let load = HashMap::from([(InstanceId("a".to_owned()), 2)]);
        let alive = servers(&["c", "b", "a"]);
        assert_eq!(least_loaded(&alive, &load, 2), servers(&["b", "c"]));
        assert_eq!(least_loaded(&alive, &load, 9).len(), 3);
    }

    #[test]
    fn the_trusted_stay_where_they_are() {
        let load = HashMap::new();
        let (ab, bc) = (servers(&["a", "b"]), servers(&["b", "c"]));
        let a_died = repaired(&ab, &bc, &bc, &load, 2);
        assert_eq!(a_died, Some(servers(&["b", "c"])));
        let b = servers(&["b"]);
        assert_eq!(repaired(&ab, &b, &b, &load, 2), None, "nobody takes over");
        assert_eq!(repaired(&ab, &ab, &ab, &load, 2), None);
        let abc = servers(&["a", "b", "c"]);
        let a_may_come_back = repaired(&ab, &abc, &bc, &load, 2);
        assert_eq!(a_may_come_back, None);
        let b_is_lost = repaired(&ab, &servers(&["a", "c"]), &servers(&["c"]), &load, 2);
        assert_eq!(b_is_lost, Some(servers(&["a", "c"])));
    }

    #[test]
    fn missing_replicas_are_added() {
        let load = HashMap::from([(InstanceId("b".to_owned()), 5)]);
        let abc = servers(&["a", "b", "c"]);
        let one = servers(&["a"]);
        let three = repaired(&one, &abc, &abc, &load, 2);
        assert_eq!(three, Some(servers(&["a", "c"])));
        assert_eq!(repaired(&abc, &abc, &abc, &load, 1), None, "none is taken");
    }
}
