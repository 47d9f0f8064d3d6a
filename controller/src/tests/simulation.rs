//! A whole cluster in one thread, by a clock that is turned and a dice that is seeded: controllers
//! that lead by lease and are frozen, servers that die, fall silent and come back, brokers that
//! know what was so a while ago, an operator who drains and rebalances meanwhile.
//!
//! Whatever happens: segments of a partition meet without gap or overlap; a server that a broker
//! may ask has what it is asked for; of those who shall hold a segment none is let go too early.
//! When the faults end, every segment is where it shall be, and every message is in one.
//! `cargo xtask simulate --seeds 10000 --seed 7` runs so many, from that one on.

use std::collections::{BTreeMap, BTreeSet};

use metastore::catalog::{Catalog, Group, LeaderRecord, RebalanceOptions, lead};
use metastore::{Fence, FencedStore, LeaseId};
use runtime::ManualClock;
use schemas::cluster::TableState;
use schemas::placement::InstanceOrder;
use schemas::proto::segment_consumed_reply::Action;
use schemas::proto::{
    CommitEndRequest, CommitStartRequest, HeartbeatRequest, HeldSegment, SegmentConsumedRequest,
    SegmentRef,
};
use schemas::{InstanceId, Offset, Partition};

use super::bare::{START_MS, spec};
use super::*;
use crate::api::Api;
use crate::reconcile;
use crate::state::State;

const PARTITIONS: u32 = 2;
const SERVERS: usize = 4;
const REPLICAS: u32 = 2;
/// Messages of a segment.
const ROWS: Offset = 20;
const TTL: Duration = Duration::from_secs(4);
/// Brokers know what was so at most so long ago.
const BROKER_LAG: Duration = Duration::from_secs(3);
/// As in `server::reconcile`.
const RETIRE: Duration = Duration::from_secs(30);
const LEAVE: Duration = Duration::from_secs(5);

/// SplitMix64.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n.max(1) as u64) as usize
    }

    fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }
}

struct Controller {
    state: Arc<State>,
    api: Api,
    fence: Fence,
    lease: Option<(LeaseId, Duration)>,
    frozen_until: Duration,
}

impl Controller {
    async fn new(
        at: usize,
        store: &Arc<dyn MetaStore>,
        deep: &DeepStore,
        streams: &FakeStreams,
        clock: &Arc<ManualClock>,
    ) -> Self {
        let fence = Fence::default();
        let fenced = FencedStore::new(Arc::clone(store), fence.clone());
        let config = Config {
            instance: format!("controller{at}"),
            address: String::new(),
            version: "9.9.9",
            liveness: Duration::from_secs(5),
            clock_skew_max: Duration::from_secs(60),
            reconcile_every: Duration::from_secs(1),
            entrance: Entrance::default(),
            election: None,
        };
        let state = State::load(
            config,
            Catalog::new(Arc::new(fenced)),
            deep.clone(),
            Arc::new(streams.clone()),
            Arc::new(NoCheck),
            Arc::clone(clock) as Arc<dyn Clock>,
        );
        let state = Arc::new(state.await.unwrap());
        Self {
            api: Api(Arc::clone(&state)),
            state,
            fence,
            lease: None,
            frozen_until: Duration::ZERO,
        }
    }
}

#[derive(Clone, Debug)]
struct Replica {
    /// When the controller heard of it.
    since: Option<Duration>,
    sequence: u32,
    start: Offset,
    next: Offset,
    hidden: bool,
    /// Told to commit: up to where, under which epoch, and its bytes once they are there.
    turn: Option<(Offset, u64)>,
    /// Rows of segments that are committed and not loaded yet.
    kept: BTreeSet<u32>,
    unwanted_since: Option<Duration>,
    ended: bool,
}

struct Server {
    name: InstanceId,
    up: bool,
    /// Neither heard nor told anything.
    cut_off: bool,
    /// When the controller heard of it, since it was away.
    heard: Option<Duration>,
    known: Option<Arc<TableState>>,
    sealed: BTreeMap<(Partition, u32), u32>,
    unwanted: BTreeMap<(Partition, u32), Duration>,
    replicas: BTreeMap<Partition, Replica>,
}

/// What a broker knows, and since when.
struct Known {
    table: Arc<TableState>,
    at: Duration,
}

struct World {
    seed: u64,
    dice: Dice,
    clock: Arc<ManualClock>,
    deep: DeepStore,
    store: Arc<dyn MetaStore>,
    controllers: Vec<Controller>,
    servers: Vec<Server>,
    broker: Option<Known>,
    table: TableId,
    log: BTreeMap<Partition, Offset>,
    crc: u32,
    answered: u64,
    heals: bool,
}

impl World {
    async fn new(seed: u64) -> Self {
        let clock = ManualClock::at_ms(START_MS);
        let shared = Arc::clone(&clock) as Arc<dyn Clock>;
        let store: Arc<dyn MetaStore> = Arc::new(MemoryStore::new(shared));
        let deep = DeepStore::in_memory();
        let streams = FakeStreams::default();
        streams
            .0
            .partitions
            .store(PARTITIONS, std::sync::atomic::Ordering::Relaxed);
        Catalog::new(Arc::clone(&store))
            .cluster(START_MS)
            .await
            .unwrap();
        let mut controllers = Vec::new();
        for at in 0..2 {
            let controller = Controller::new(at, &store, &deep, &streams, &clock);
            controllers.push(controller.await);
        }
        let server = |at: usize| Server {
            name: InstanceId(format!("s{at}")),
            up: true,
            cut_off: false,
            heard: None,
            known: None,
            sealed: BTreeMap::new(),
            unwanted: BTreeMap::new(),
            replicas: BTreeMap::new(),
        };
        let stored = spec(REALTIME, |spec| spec.replication = REPLICAS);
        let table = stored.spec.id;
        let created = Catalog::new(Arc::clone(&store)).create_table(&stored).await;
        created.unwrap();
        Self {
            seed,
            dice: Dice(seed),
            clock,
            deep,
            store,
            controllers,
            servers: (0..SERVERS).map(server).collect(),
            broker: None,
            table,
            log: (0..PARTITIONS).map(|partition| (partition, 0)).collect(),
            crc: 0,
            answered: 0,
            heals: false,
        }
    }

    fn now(&self) -> Duration {
        self.clock.monotonic()
    }

    /// The controller that believes to lead, by its own clock, and is awake.
    fn leader(&self) -> Option<usize> {
        let now = self.now();
        let leads = |one: &Controller| {
            let valid = one.lease.is_some_and(|(_, renewed)| renewed + TTL > now);
            valid && one.frozen_until <= now
        };
        self.controllers.iter().position(leads)
    }

    async fn turn(&mut self) {
        let ms = 50 + self.dice.below(400) as u64;
        self.clock.advance(Duration::from_millis(ms));
        for end in self.log.values_mut() {
            *end += Offset::from(self.dice.below(4) as u32);
        }
        for at in 0..self.controllers.len() {
            self.govern(at).await;
        }
        for at in 0..self.servers.len() {
            if self.servers[at].up && !self.dice.one_in(3) {
                self.serve(at).await;
            }
        }
        self.watch();
        self.ask();
        if !self.heals {
            self.mischief().await;
        }
    }

    /// A controller takes or renews the lead, and reconciles.
    async fn govern(&mut self, at: usize) {
        let now = self.now();
        let one = &mut self.controllers[at];
        if one.frozen_until > now {
            return;
        }
        if let Some((lease, renewed)) = one.lease {
            let alive = self.store.keep_alive(lease).await.unwrap();
            // One that slept believes in its lease until it looks.
            one.lease = (alive && renewed + TTL > now).then_some((lease, now));
            if one.lease.is_none() {
                one.fence.close();
            }
        } else {
            let lease = self.store.grant_lease(TTL).await.unwrap();
            let record = LeaderRecord {
                instance: one.state.config.instance.clone(),
                incarnation: String::new(),
                http: String::new(),
                grpc: String::new(),
                since_ms: 0,
            };
            let taken = lead(&*self.store, Group::ALL[0], &record, lease).await;
            if !taken.unwrap() {
                self.store.revoke(lease).await.unwrap();
                return;
            }
            one.fence.open(lease);
            one.lease = Some((lease, now));
            one.state.take_over().await.unwrap();
        }
        if one.lease.is_none() {
            return;
        }
        let state = Arc::clone(&one.state);
        let which = self.dice.below(6);
        let outcome = match which {
            0 => match state.table(self.table) {
                Some(table) => reconcile::open_partitions(&state, &table).await,
                None => Ok(()),
            },
            1 | 2 => reconcile::assignment(&state).await.map(|_| ()),
            3..=5 => reconcile::moves(&state).await.map(|_| ()),
            _ => Ok(()),
        };
        // Who lost the lead is told so by the store; conflicts are tried again.
        drop(outcome);
    }

    /// A server hears of the state, says what it holds, and does what it shall.
    async fn serve(&mut self, at: usize) {
        let leader = self.leader().filter(|_| !self.servers[at].cut_off);
        if let Some(leader) = leader {
            let state = &self.controllers[leader].state;
            if let Some(table) = state.table(self.table) {
                self.servers[at].known = Some(table);
            }
        }
        self.reconcile_server(at);
        if let Some(leader) = leader {
            let beat = self.heartbeat(at);
            self.controllers[leader].state.heartbeat(beat).unwrap();
            let now = self.now();
            let server = &mut self.servers[at];
            server.heard.get_or_insert(now);
            for replica in server.replicas.values_mut() {
                replica.since.get_or_insert(now);
            }
        }
        for partition in 0..PARTITIONS {
            self.consume(at, partition, leader).await;
        }
    }

    fn reconcile_server(&mut self, at: usize) {
        let now = self.now();
        let server = &mut self.servers[at];
        let Some(table) = server.known.clone() else {
            return;
        };
        let mut wanted = BTreeSet::new();
        let mut heads = BTreeMap::new();
        let mut unsealed = BTreeSet::new();
        for segment in &table.segments {
            let id = segment.record.id;
            let mine = segment.assigned.contains(&server.name);
            if !segment.record.is_done() {
                unsealed.insert((id.partition, id.sequence));
                if mine {
                    let others = segment.online.iter().any(|other| *other != server.name);
                    heads.insert(id.partition, (id.sequence, segment.record.start, others));
                }
            } else if mine {
                wanted.insert((id.partition, id.sequence));
                let held = server.sealed.get(&(id.partition, id.sequence));
                // One is loaded now and then.
                if held != Some(&segment.record.crc) && self.dice.one_in(2) {
                    let key = (id.partition, id.sequence);
                    server.sealed.insert(key, segment.record.crc);
                    if let Some(replica) = server.replicas.get_mut(&id.partition) {
                        replica.kept.remove(&id.sequence);
                    }
                }
            }
        }
        server.follow_heads(&heads, now);
        server.let_go(&wanted, &unsealed, now);
    }

    fn heartbeat(&self, at: usize) -> HeartbeatRequest {
        let server = &self.servers[at];
        let held = |partition, sequence, crc| HeldSegment {
            table_id: self.table.to_bytes(),
            segment: Some(SegmentRef {
                partition,
                sequence,
                crc,
            }),
            ..HeldSegment::default()
        };
        let sealed = server.sealed.iter();
        let mut all: Vec<HeldSegment> = sealed
            .map(|((partition, sequence), crc)| held(*partition, *sequence, *crc))
            .collect();
        for (partition, replica) in &server.replicas {
            if !replica.hidden {
                let kept = replica.kept.iter().map(|kept| held(*partition, *kept, 0));
                all.extend(kept);
                all.push(held(*partition, replica.sequence, 0));
            }
        }
        HeartbeatRequest {
            instance: server.name.0.clone(),
            role: "server".to_owned(),
            held: all,
            ..HeartbeatRequest::default()
        }
    }

    async fn consume(&mut self, at: usize, partition: Partition, leader: Option<usize>) {
        let end = self.log[&partition];
        let name = self.servers[at].name.0.clone();
        let Some(replica) = self.servers[at].replicas.get_mut(&partition) else {
            return;
        };
        if replica.ended {
            return;
        }
        if replica.turn.is_none() {
            let step = self.dice.below(15) as Offset;
            replica.next = (replica.next + step).min(end.max(replica.next));
            replica.hidden &= replica.next < end;
        }
        let replica = replica.clone();
        let Some(leader) = leader.filter(|_| replica.next - replica.start >= ROWS) else {
            return;
        };
        // The answer of the controller is lost now and then, and so is the request.
        let api = &self.controllers[leader].api;
        let lost = self.dice.one_in(8) && !self.heals;
        match replica.turn {
            None => {
                let request = SegmentConsumedRequest {
                    instance: name,
                    table_id: self.table.to_bytes(),
                    partition,
                    sequence: replica.sequence,
                    offset: replica.next,
                    reason: "ROWS".to_owned(),
                };
                let Ok(reply) = api.segment_consumed(request).await else {
                    return;
                };
                if !lost {
                    self.obey(at, partition, reply.action(), reply.offset, reply.epoch);
                }
            }
            Some((end, epoch)) => self.commit(at, partition, leader, end, epoch, lost).await,
        }
    }

    fn obey(
        &mut self,
        at: usize,
        partition: Partition,
        action: Action,
        offset: Offset,
        epoch: u64,
    ) {
        let Some(replica) = self.servers[at].replicas.get_mut(&partition) else {
            return;
        };
        match action {
            Action::Commit => {
                assert_eq!(offset, replica.next, "it can only seal what it has");
                replica.turn = Some((offset, epoch));
            }
            Action::CatchUp => replica.next = replica.next.max(offset.min(self.log[&partition])),
            Action::Keep | Action::Discard => {
                replica.kept.insert(replica.sequence);
                replica.sequence += 1;
                replica.start = offset;
                replica.next = offset;
                replica.turn = None;
            }
            Action::Fenced => replica.ended = true,
            Action::Hold => {}
        }
    }

    async fn commit(
        &mut self,
        at: usize,
        partition: Partition,
        leader: usize,
        end: Offset,
        epoch: u64,
        lost: bool,
    ) {
        let Some(replica) = self.servers[at].replicas.get(&partition).cloned() else {
            return;
        };
        let name = self.servers[at].name.0.clone();
        let api = &self.controllers[leader].api;
        let id = segment(self.table, partition, replica.sequence);
        let start = CommitStartRequest {
            instance: name.clone(),
            table_id: self.table.to_bytes(),
            partition,
            sequence: replica.sequence,
            epoch,
        };
        let begun = api
            .commit_start(start)
            .await
            .is_ok_and(|reply| reply.accepted);
        self.crc += 1;
        let mut record = sealed(id, replica.start, end, self.crc);
        let key = SegmentRecord::object_key(id, record.crc);
        let content = Bytes::from_static(b"a packed segment");
        record.stored_bytes = content.len() as u64;
        self.deep.upload(&key, content).await.unwrap();
        record.uri = Some(key);
        let mut accepted = false;
        // A zombie does not ask whether it still is its turn.
        if begun || self.dice.one_in(3) {
            let request = CommitEndRequest {
                instance: name,
                epoch,
                segment: serde_json::to_vec(&record).unwrap().into(),
            };
            let reply = api.commit_end(request).await;
            accepted = reply.is_ok_and(|reply| reply.accepted);
        }
        let server = &mut self.servers[at];
        let Some(replica) = server.replicas.get_mut(&partition) else {
            return;
        };
        replica.turn = None;
        if accepted && !lost {
            server
                .sealed
                .insert((partition, replica.sequence), record.crc);
            replica.sequence += 1;
            replica.start = end;
            replica.next = end;
        }
    }

    /// The broker hears of the state, but not at once.
    fn watch(&mut self) {
        let now = self.now();
        let is_old = self
            .broker
            .as_ref()
            .is_none_or(|known| now - known.at >= BROKER_LAG);
        let Some(leader) = self.leader() else {
            return;
        };
        if (is_old || self.dice.one_in(4))
            && let Some(table) = self.controllers[leader].state.table(self.table)
        {
            self.broker = Some(Known { table, at: now });
        }
    }

    /// Whoever a broker may ask has what it is asked for.
    fn ask(&mut self) {
        let now = self.now();
        let Some(known) = self.broker.as_ref() else {
            return;
        };
        // A broker that hears nothing for long is a fault that is seen, and not this one.
        if now - known.at > BROKER_LAG {
            return;
        }
        for segment in &known.table.segments {
            let id = segment.record.id;
            for server in &self.servers {
                let asked = segment.online.contains(&server.name)
                    && segment.assigned.contains(&server.name);
                // One that died is asked in vain, and another is.
                let is_new = server.heard.is_none_or(|heard| heard > known.at);
                if !asked || !server.up || is_new || server.cut_off {
                    continue;
                }
                let key = (id.partition, id.sequence);
                let has = match segment.record.is_done() {
                    true => server.sealed.get(&key) == Some(&segment.record.crc),
                    false => server.answers_from(id.partition, id.sequence, known.at),
                };
                assert!(
                    has,
                    "seed {}: {} lacks {id} of {segment:?}",
                    self.seed, server.name
                );
                self.answered += 1;
            }
        }
    }

    async fn mischief(&mut self) {
        let now = self.now();
        let at = self.dice.below(SERVERS);
        match self.dice.below(60) {
            0 => {
                let seconds = 1 + self.dice.below(50) as u64;
                let which = self.dice.below(2);
                self.controllers[which].frozen_until = now + Duration::from_secs(seconds);
            }
            1 => {
                let server = &mut self.servers[at];
                server.up = !server.up;
                // Rows in memory are lost, files stay.
                server.replicas.clear();
                server.unwanted.clear();
                server.known = None;
                server.heard = None;
            }
            2 => {
                let server = &mut self.servers[at];
                server.cut_off = !server.cut_off;
                // What it let go of meanwhile it has told nobody.
                server.heard = None;
            }
            3 | 4 => self.order(at).await,
            5 => self.rebalance().await,
            6 => {
                if let Some(leader) = self.leader() {
                    let state = Arc::clone(&self.controllers[leader].state);
                    drop(state.cancel_rebalance(self.table).await);
                }
            }
            7 => self
                .clock
                .advance(Duration::from_secs(self.dice.below(40) as u64)),
            _ => {}
        }
    }

    async fn order(&mut self, at: usize) {
        let order = InstanceOrder::ALL[self.dice.below(3)];
        if let Some(leader) = self.leader() {
            let state = Arc::clone(&self.controllers[leader].state);
            let name = self.servers[at].name.clone();
            drop(
                state
                    .change_instance(&name, |stored| stored.order = order)
                    .await,
            );
        }
    }

    async fn rebalance(&mut self) {
        let Some(leader) = self.leader() else {
            return;
        };
        let state = Arc::clone(&self.controllers[leader].state);
        let options = RebalanceOptions {
            consuming: !self.dice.one_in(4),
            bootstrap: self.dice.one_in(5),
            downtime: false,
            leave_first_keeping: u32::from(self.dice.one_in(3)),
            batch: 1 + self.dice.below(4) as u32,
        };
        if let Ok(plan) = state.propose(self.table, options, true) {
            drop(state.rebalance(&plan, options).await);
        }
    }

    /// Every message up to the end of the last segment is in one segment.
    async fn check(&self) {
        let catalog = Catalog::new(Arc::clone(&self.store));
        let segments = catalog.segments(self.table).await.unwrap();
        let mut ends: BTreeMap<Partition, (u32, Offset, bool)> = BTreeMap::new();
        for stored in &segments {
            let record = &stored.record;
            let partition = record.id.partition;
            let before = ends.get(&partition).copied().unwrap_or((0, 0, true));
            assert!(
                before.2,
                "seed {}: something follows what consumes",
                self.seed
            );
            let wanted = (before.0, before.1);
            assert_eq!(
                (record.id.sequence, record.start),
                wanted,
                "seed {}",
                self.seed
            );
            let end = record.end.unwrap_or(record.start);
            ends.insert(partition, (record.id.sequence + 1, end, record.is_done()));
            let distinct: BTreeSet<&InstanceId> = stored.assigned.iter().collect();
            assert_eq!(distinct.len(), stored.assigned.len(), "seed {}", self.seed);
        }
    }

    /// Faults are over: all is well before long.
    async fn heal(&mut self) {
        self.heals = true;
        for server in &mut self.servers {
            server.heard = None;
            (server.up, server.cut_off) = (true, false);
        }
        self.controllers
            .iter_mut()
            .for_each(|one| one.frozen_until = Duration::ZERO);
        let mut enabled = false;
        for round in 0..6_000 {
            self.turn().await;
            if round % 50 == 0 {
                self.check().await;
            }
            if let (Some(leader), false) = (self.leader(), enabled) {
                let state = Arc::clone(&self.controllers[leader].state);
                enabled = true;
                for server in &self.servers {
                    let enable = state.change_instance(&server.name, |stored| {
                        stored.order = InstanceOrder::Enabled;
                    });
                    enabled &= enable.await.is_ok();
                }
            }
            if enabled && round > 200 && self.is_well().await {
                return;
            }
        }
        let catalog = Catalog::new(Arc::clone(&self.store));
        let stored = catalog.segments(self.table).await.unwrap();
        let last: Vec<_> = stored.iter().rev().take(4).collect();
        panic!("seed {}: it does not get well: {last:#?}", self.seed);
    }

    async fn is_well(&self) -> bool {
        let Some(leader) = self.leader() else {
            return false;
        };
        let state = &self.controllers[leader].state;
        let Some(moving) = state.moving_of(self.table) else {
            return false;
        };
        let segments = &moving.table.segments;
        moving.targets.is_empty()
            && moving.moves.running().is_none()
            && segments.len() > PARTITIONS as usize
            && segments.iter().all(|segment| {
                let online = segment
                    .assigned
                    .iter()
                    .filter(|id| segment.online.contains(id));
                online.count() == REPLICAS as usize && segment.assigned.len() == REPLICAS as usize
            })
    }
}

/// Where a partition is consumed from, and whether others show it.
type Heads = BTreeMap<Partition, (u32, Offset, bool)>;

impl Server {
    fn follow_heads(&mut self, heads: &Heads, now: Duration) {
        for (partition, (sequence, start, hidden)) in heads {
            match self.replicas.get_mut(partition) {
                Some(replica) if !replica.ended => replica.unwanted_since = None,
                _ => {
                    let replica = Replica {
                        since: None,
                        sequence: *sequence,
                        start: *start,
                        next: *start,
                        hidden: *hidden,
                        turn: None,
                        kept: BTreeSet::new(),
                        unwanted_since: None,
                        ended: false,
                    };
                    self.replicas.insert(*partition, replica);
                }
            }
        }
        for (partition, replica) in &mut self.replicas {
            if !heads.contains_key(partition) {
                let since = *replica.unwanted_since.get_or_insert(now);
                replica.ended |= now - since >= LEAVE;
            }
        }
        let over = |replica: &Replica| {
            let since = replica.unwanted_since;
            since.is_some_and(|since| now - since >= LEAVE + RETIRE)
        };
        self.replicas.retain(|_, replica| !over(replica));
    }

    fn let_go(
        &mut self,
        wanted: &BTreeSet<(Partition, u32)>,
        unsealed: &BTreeSet<(Partition, u32)>,
        now: Duration,
    ) {
        let keys: Vec<(Partition, u32)> = self.sealed.keys().copied().collect();
        for key in keys {
            if wanted.contains(&key) || unsealed.contains(&key) {
                self.unwanted.remove(&key);
                continue;
            }
            let since = *self.unwanted.entry(key).or_insert(now);
            if now - since >= RETIRE {
                self.sealed.remove(&key);
                self.unwanted.remove(&key);
            }
        }
    }

    /// Whether it can answer for a partition from a segment on.
    fn answers_from(&self, partition: Partition, from: u32, known: Duration) -> bool {
        let Some(replica) = self.replicas.get(&partition) else {
            return false;
        };
        // It lost what it had, and another was asked.
        if replica.since.is_none_or(|since| since > known) {
            return true;
        }
        let mut before = from..replica.sequence;
        replica.sequence >= from
            && before.all(|sequence| {
                replica.kept.contains(&sequence) || self.sealed.contains_key(&(partition, sequence))
            })
    }
}

fn number(name: &str, usual: u64) -> u64 {
    #[expect(
        clippy::disallowed_methods,
        reason = "whoever runs the tests says how many"
    )]
    let given = std::env::var(name);
    given
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(usual)
}

#[test]
fn whatever_the_dice_say() {
    let (first, seeds) = (number("SEED", 1), number("SEEDS", 12));
    let mut answered = 0;
    for seed in first..first + seeds {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build();
        runtime.unwrap().block_on(async {
            let mut world = World::new(seed).await;
            for round in 0..400 {
                world.turn().await;
                if round % 20 == 0 {
                    world.check().await;
                }
            }
            world.heal().await;
            answered += world.answered;
        });
    }
    assert!(answered > 1_000 * seeds, "{answered} answers");
}
