//! Replica groups: which servers make a group, and which of a group hold a partition.
//!
//! Invariants: no server is in two groups; who is in a group and may stay there stays. Tables with
//! as many partitions over the same servers have each partition on the same one, whatever else
//! these hold: what is partitioned alike can be joined where it is.

use schemas::InstanceId;
use schemas::placement::{GroupSpec, InstancePartitions};

use super::spread::{Aim, Capacity, Rows, spread};

/// `pool`: those of the tag that may be given something, who has least first.
pub(crate) fn instance_partitions(
    spec: &GroupSpec,
    pool: &[InstanceId],
    current: Option<&InstancePartitions>,
) -> InstancePartitions {
    let groups = (spec.groups as usize).max(1);
    let size = match spec.instances as usize {
        0 => (pool.len() / groups).max(1),
        size => size,
    };
    let mut members: Vec<Vec<InstanceId>> = vec![Vec::new(); groups];
    let mut taken: Vec<InstanceId> = Vec::new();
    for (at, group) in members.iter_mut().enumerate() {
        let before = current.and_then(|current| current.groups.get(at));
        for server in before.into_iter().flatten().flatten() {
            if group.len() < size && pool.contains(server) && !taken.contains(server) {
                group.push(server.clone());
                taken.push(server.clone());
            }
        }
    }
    let missing = (size * groups).saturating_sub(taken.len());
    let others = pool.iter().filter(|server| !taken.contains(server));
    let mut coming: Vec<&InstanceId> = others.take(missing).collect();
    if spec.partitions > 1 {
        coming.sort();
    }
    for server in coming {
        let smallest = members.iter_mut().min_by_key(|group| group.len());
        if let Some(group) = smallest.filter(|group| group.len() < size) {
            group.push(server.clone());
        }
    }
    let of_group = |(at, members): (usize, Vec<InstanceId>)| {
        let before = current.and_then(|current| current.groups.get(at));
        partitions(spec, &members, before)
    };
    InstancePartitions {
        groups: members.into_iter().enumerate().map(of_group).collect(),
    }
}

/// The servers of each partition in one group.
fn partitions(
    spec: &GroupSpec,
    members: &[InstanceId],
    before: Option<&Vec<Vec<InstanceId>>>,
) -> Vec<Vec<InstanceId>> {
    let count = (spec.partitions as usize).max(1);
    let each = match spec.partition_instances as usize {
        0 => members.len(),
        each => each.min(members.len()),
    };
    let mut rows = Rows::new(each, count);
    for partition in 0..count {
        let kept = before.and_then(|before| before.get(partition));
        let position = |server: &InstanceId| members.iter().position(|member| member == server);
        let kept = kept.into_iter().flatten().filter_map(position);
        rows.push(kept.map(|at| at as u32));
    }
    let capacity = Capacity {
        takes: vec![true; members.len()],
        burden: vec![0; members.len()],
    };
    spread(&mut rows, &capacity, each, Aim::Balance);
    let row = |at| {
        let row = rows.row(at).iter();
        row.map(|server| members[*server as usize].clone())
            .collect()
    };
    (0..count).map(row).collect()
}
