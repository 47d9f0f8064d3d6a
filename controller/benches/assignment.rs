//! How long it takes to assign a table of a large cluster: `cargo bench -p controller --bench
//! assignment -- [servers] [partitions] [segments]`. Once with nothing there, once with all of it
//! there and one server more, once with all of it right. Seconds that this thread was on a
//! processor.

#![expect(clippy::print_stdout, reason = "prints what it measured")]

use std::collections::{BTreeMap, HashMap};
use std::error::Error;
use std::time::Instant;

use schemas::cluster::{SegmentState, TableState};
use schemas::segment::{SegmentRecord, SegmentStatus};
use schemas::{InstanceId, SegmentId, TableSpec, TableType};

#[path = "../src/assignment/mod.rs"]
#[expect(
    dead_code,
    unused_imports,
    reason = "the module is private to the crate, and only a part of it is measured"
)]
mod assignment;

use assignment::{Aim, Fleet, Node, Order, Wish, plan};

const REPLICAS: u32 = 3;

fn fleet(servers: usize) -> Fleet {
    let node = |at: usize| Node {
        id: InstanceId(format!("Server_10.0.{}.{}_8098", at / 200, at % 200)),
        tags: vec!["DefaultTenant_REALTIME".to_owned()],
        takes: true,
        keeps: true,
        burden: 0,
    };
    Fleet::new((0..servers).map(node).collect())
}

fn table(partitions: u32, segments: u32) -> Result<TableState, Box<dyn Error>> {
    let mut spec = TableSpec::new("events".parse()?, TableType::Realtime, Vec::new());
    spec.replication = REPLICAS;
    let each = segments / partitions;
    let mut list = Vec::with_capacity(segments as usize);
    for at in 0..segments {
        let id = SegmentId {
            table: spec.id,
            partition: at / each,
            sequence: at % each,
        };
        let mut record = SegmentRecord::consuming(id, &spec, 0, 0);
        if at % each + 1 < each {
            record.status = SegmentStatus::Done;
        }
        list.push(SegmentState {
            record,
            assigned: Default::default(),
            online: Default::default(),
            hidden: false,
        });
    }
    Ok(TableState {
        spec,
        segments: list.into(),
        paused: false,
        orders: Default::default(),
        time_boundary_ms: None,
        reloads: Vec::new(),
    })
}

fn measured(what: &str, table: &TableState, fleet: &Fleet) -> Vec<Wish> {
    let order = Order {
        aim: Aim::Balance,
        consuming: true,
        bootstrap: false,
        now_ms: 0,
    };
    let begun = Instant::now();
    let wishes = plan(
        table,
        |segment: &SegmentState| &*segment.assigned,
        fleet,
        &BTreeMap::new(),
        order,
    );
    let took = begun.elapsed().as_secs_f64();
    println!("{what:<40} {took:>6.3} s   {} segments move", wishes.len());
    wishes
}

fn apply(table: &mut TableState, wishes: Vec<Wish>) {
    let wishes = wishes.into_iter().map(|wish| (wish.segment, wish.servers));
    let mut wishes: HashMap<SegmentId, Vec<InstanceId>> = wishes.collect();
    for segment in &mut table.segments {
        if let Some(servers) = wishes.remove(&segment.record.id) {
            segment.assigned = servers.into();
        }
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let numbers: Vec<u32> = std::env::args()
        .filter_map(|text| text.parse().ok())
        .collect();
    let number = |at: usize, usual| numbers.get(at).copied().unwrap_or(usual);
    let (servers, partitions) = (number(0, 200) as usize, number(1, 10_000));
    let segments = number(2, 1_000_000);
    println!(
        "{servers} servers, {partitions} partitions, {segments} segments, {REPLICAS} replicas"
    );
    let mut table = table(partitions, segments)?;
    let wishes = measured("nothing is there", &table, &fleet(servers));
    apply(&mut table, wishes);
    measured("all is right", &table, &fleet(servers));
    measured("one server goes", &table, &fleet(servers - 1));
    let wishes = measured("one server comes", &table, &fleet(servers + 1));
    apply(&mut table, wishes);
    measured("and all is right again", &table, &fleet(servers + 1));
    Ok(())
}
