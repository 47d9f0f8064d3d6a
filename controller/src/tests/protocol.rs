//! The completion protocol under generated histories: replicas consume, report, commit, lose
//! answers, fall silent and come back as zombies; messages arrive late, again and in another order;
//! the partition moves between servers; the controller restarts, and two of them act at once.
//!
//! Whatever happens: one committer at a time; a commit under an older epoch changes nothing; what
//! was committed stays; the segments of a partition meet without gap or overlap. And when all live
//! again, the partition goes on. `PROPTEST_CASES=10000` runs so many histories.

use metastore::catalog::Move;
use proptest::prelude::*;
use schemas::proto::segment_consumed_reply::Action;
use schemas::proto::{SegmentConsumedReply, SegmentConsumedRequest};
use schemas::{InstanceId, Offset};
use std::collections::BTreeMap;

use super::bare::Bare;
use super::*;

const REPLICAS: usize = 3;
const NAMES: [&str; REPLICAS] = ["a", "b", "c"];

#[derive(Clone, Debug)]
enum Step {
    Consume(usize, u8),
    Report(usize, Answer),
    Start(usize, Answer),
    End(usize, Answer),
    /// Somebody who once was told to commit does so, late and without asking.
    Zombie(usize),
    Beat(usize),
    Wait(u16),
    RestartController,
    /// From now on the other controller is asked, which still has what it had in memory.
    OtherController,
    /// Some request that was sent once arrives, late or again; nobody waits for the answer.
    Arrives(prop::sample::Index),
    /// The partition belongs to these servers now, a bit each.
    Moves(u8),
    /// Loses what it consumed and begins at the committed end.
    RestartReplica(usize),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    Heard,
    Lost,
}

fn step() -> impl Strategy<Value = Step> {
    let who = 0..REPLICAS;
    let answer = prop_oneof![4 => Just(Answer::Heard), 1 => Just(Answer::Lost)];
    prop_oneof![
        4 => (who.clone(), 1..50_u8).prop_map(|(who, rows)| Step::Consume(who, rows)),
        8 => (who.clone(), answer.clone()).prop_map(|(who, answer)| Step::Report(who, answer)),
        4 => (who.clone(), answer.clone()).prop_map(|(who, answer)| Step::Start(who, answer)),
        4 => (who.clone(), answer).prop_map(|(who, answer)| Step::End(who, answer)),
        2 => (0..8_usize).prop_map(Step::Zombie),
        2 => who.clone().prop_map(Step::Beat),
        2 => (0..700_u16).prop_map(Step::Wait),
        1 => Just(Step::RestartController),
        1 => Just(Step::OtherController),
        4 => any::<prop::sample::Index>().prop_map(Step::Arrives),
        1 => (1..8_u8).prop_map(Step::Moves),
        1 => who.prop_map(Step::RestartReplica),
    ]
}

/// A request of a replica.
#[derive(Clone, Copy, Debug)]
enum Sent {
    Report {
        sequence: u32,
        start: Offset,
        offset: Offset,
    },
    Start(Turn),
}

/// A leave to commit: segment, its start, its end, the epoch.
#[derive(Clone, Copy, Debug)]
struct Turn {
    sequence: u32,
    start: Offset,
    end: Offset,
    epoch: u64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Replica {
    sequence: u32,
    start: Offset,
    next: Offset,
    turn: Option<Turn>,
    started: bool,
}

struct Model {
    bare: Bare,
    twin: Bare,
    /// Every request that was made, and by whom.
    sent: Vec<(usize, Sent)>,
    table: TableId,
    replicas: [Replica; REPLICAS],
    /// Every leave that was ever given, and to whom.
    turns: Vec<(usize, Turn)>,
    committed: BTreeMap<u32, u32>,
    greatest_epoch: u64,
    crc: u32,
}

impl Model {
    async fn new() -> Self {
        let bare = Bare::new().await;
        let table = bare.table(REALTIME, |_| {}).await;
        bare.open_on(table, &NAMES).await;
        let twin = bare.twin().await;
        for name in NAMES {
            bare.beat(name);
            twin.beat(name);
        }
        Self {
            bare,
            twin,
            sent: Vec::new(),
            table,
            replicas: [Replica::default(); REPLICAS],
            turns: Vec::new(),
            committed: BTreeMap::new(),
            greatest_epoch: 0,
            crc: 0,
        }
    }

    async fn step(&mut self, step: Step) {
        match step {
            Step::Consume(who, rows) => self.replicas[who].next += Offset::from(rows),
            Step::Report(who, answer) => self.report(who, answer).await,
            Step::Start(who, answer) => self.start(who, answer).await,
            Step::End(who, answer) => self.end(who, answer).await,
            Step::Zombie(at) if !self.turns.is_empty() => {
                let (who, turn) = self.turns[at % self.turns.len()];
                self.commit(who, turn).await;
            }
            Step::Zombie(_) => {}
            Step::Beat(who) => self.beat(who),
            Step::Wait(seconds) => {
                let time = Duration::from_secs(u64::from(seconds));
                self.bare.clock.advance(time);
                self.bare.state.judge_liveness();
                self.twin.state.judge_liveness();
            }
            Step::RestartController => self.bare.restart().await,
            Step::OtherController => {
                std::mem::swap(&mut self.bare, &mut self.twin);
                self.bare.state.publish(self.table).await.unwrap();
            }
            Step::Arrives(which) if !self.sent.is_empty() => {
                let (who, sent) = self.sent[which.index(self.sent.len())];
                self.arrive(who, sent).await;
            }
            Step::Arrives(_) => {}
            Step::Moves(mask) => self.move_to(mask).await,
            Step::RestartReplica(who) => self.begin_at_head(who).await,
        }
    }

    fn beat(&self, who: usize) {
        self.bare.beat(NAMES[who]);
        self.twin.beat(NAMES[who]);
    }

    async fn begin_at_head(&mut self, who: usize) {
        let head = self.bare.state.catalog.head(self.table, 0).await;
        let head = head.unwrap().unwrap().value;
        self.replicas[who] = Replica {
            sequence: head.sequence,
            start: head.start,
            next: head.start,
            ..Replica::default()
        };
    }

    /// Nobody acts on the answer; a leave to commit is one all the same.
    async fn arrive(&mut self, who: usize, sent: Sent) {
        match sent {
            Sent::Report {
                sequence,
                start,
                offset,
            } => {
                self.reported(who, sequence, start, offset).await;
            }
            Sent::Start(turn) => {
                let id = segment(self.table, 0, turn.sequence);
                self.bare.start(NAMES[who], id, turn.epoch).await;
            }
        }
    }

    async fn move_to(&mut self, mask: u8) {
        let to = NAMES.iter().enumerate();
        let to = to.filter(|(at, _)| mask & (1 << at) != 0);
        let to: Vec<InstanceId> = to.map(|(_, name)| InstanceId((*name).to_owned())).collect();
        let catalog = &self.bare.state.catalog;
        let moves = catalog.segments(self.table).await.unwrap().into_iter();
        let moves = moves.map(|segment| Move {
            segment: segment.record.id,
            from: (segment.assigned, segment.target),
            to: (to.clone(), Vec::new()),
        });
        let moves: Vec<Move> = moves.collect();
        assert_eq!(catalog.move_partition(&moves).await.unwrap(), moves.len());
        self.bare.state.publish(self.table).await.unwrap();
    }

    async fn reported(
        &mut self,
        who: usize,
        sequence: u32,
        start: Offset,
        offset: Offset,
    ) -> SegmentConsumedReply {
        let request = SegmentConsumedRequest {
            instance: NAMES[who].to_owned(),
            table_id: self.table.to_bytes(),
            partition: 0,
            sequence,
            offset,
            reason: "ROWS".to_owned(),
        };
        let reply = self.bare.api.segment_consumed(request).await.unwrap();
        if reply.action() == Action::Commit {
            let turn = Turn {
                sequence,
                start,
                end: reply.offset,
                epoch: reply.epoch,
            };
            assert_eq!(turn.end, offset, "it can only seal what it has");
            self.turns.push((who, turn));
        }
        reply
    }

    async fn report(&mut self, who: usize, answer: Answer) {
        let replica = self.replicas[who];
        let (sequence, start, offset) = (replica.sequence, replica.start, replica.next);
        let sent = Sent::Report {
            sequence,
            start,
            offset,
        };
        self.sent.push((who, sent));
        let reply = self.reported(who, sequence, start, offset).await;
        let action = reply.action();
        if answer == Answer::Lost {
            return;
        }
        match action {
            Action::Commit => {
                self.replicas[who].turn = self.turns.last().map(|(_, turn)| *turn);
                self.replicas[who].started = false;
            }
            Action::CatchUp => {
                assert!(reply.offset > replica.next);
                self.replicas[who].next = reply.offset;
            }
            Action::Keep => {
                assert_eq!(reply.offset, replica.next);
                self.go_on(who, reply.offset);
            }
            Action::Discard => self.go_on(who, reply.offset),
            Action::Fenced => self.begin_at_head(who).await,
            Action::Hold => {}
        }
    }

    fn go_on(&mut self, who: usize, end: Offset) {
        let sequence = self.replicas[who].sequence + 1;
        self.replicas[who] = Replica {
            sequence,
            start: end,
            next: end,
            ..Replica::default()
        };
    }

    async fn start(&mut self, who: usize, answer: Answer) {
        let Some(turn) = self.replicas[who].turn else {
            return;
        };
        let id = segment(self.table, 0, turn.sequence);
        self.sent.push((who, Sent::Start(turn)));
        let accepted = self.bare.start(NAMES[who], id, turn.epoch).await;
        if answer == Answer::Heard {
            self.replicas[who].started = accepted;
            if !accepted {
                self.replicas[who].turn = None;
            }
        }
    }

    async fn end(&mut self, who: usize, answer: Answer) {
        let Some(turn) = self.replicas[who]
            .turn
            .filter(|_| self.replicas[who].started)
        else {
            return;
        };
        let accepted = self.commit(who, turn).await;
        if answer == Answer::Heard {
            self.replicas[who].turn = None;
            if accepted {
                self.go_on(who, turn.end);
            }
        }
    }

    /// Every attempt has bytes of its own.
    async fn commit(&mut self, who: usize, turn: Turn) -> bool {
        self.crc += 1;
        let id = segment(self.table, 0, turn.sequence);
        let mut record = sealed(id, turn.start, turn.end, self.crc);
        self.bare.store_object(&mut record).await;
        let head = self.bare.state.catalog.head(self.table, 0).await;
        let head = head.unwrap().unwrap().value;
        let accepted = self.bare.end(NAMES[who], &record, turn.epoch).await;
        let fits =
            (head.sequence, head.start, head.epoch) == (turn.sequence, turn.start, turn.epoch);
        assert_eq!(accepted, fits, "{turn:?} at {head:?}");
        if accepted {
            let before = self.committed.insert(turn.sequence, self.crc);
            assert_eq!(before, None, "segment {} twice", turn.sequence);
        }
        accepted
    }

    async fn check(&mut self) {
        let catalog = &self.bare.state.catalog;
        let head = catalog.head(self.table, 0).await.unwrap().unwrap().value;
        assert!(head.epoch >= self.greatest_epoch, "epochs only grow");
        self.greatest_epoch = head.epoch;
        let segments = catalog.segments(self.table).await.unwrap();
        assert_eq!(segments.len(), head.sequence as usize + 1);
        let mut end = 0;
        for (at, segment) in segments.iter().enumerate() {
            let record = &segment.record;
            assert_eq!((record.id.sequence as usize, record.start), (at, end));
            if at == head.sequence as usize {
                assert!(!record.is_done() && record.start == head.start);
                break;
            }
            assert_eq!(Some(&record.crc), self.committed.get(&record.id.sequence));
            end = record.end.unwrap();
        }
        let published = self.bare.published(self.table);
        assert_eq!(published.segments.len(), segments.len());

        let may_commit = |replica: &&Replica| {
            let turn = replica.turn;
            turn.is_some_and(|t| (t.sequence, t.epoch) == (head.sequence, head.epoch))
        };
        let committers = self.replicas.iter().filter(may_commit).count();
        assert!(committers <= 1, "{:?}", self.replicas);
    }

    /// All live, nothing is lost: some segment is committed soon.
    async fn must_go_on(&mut self) {
        let before = self.committed.len();
        for _ in 0..20 {
            for who in 0..REPLICAS {
                self.beat(who);
                self.step(Step::Report(who, Answer::Heard)).await;
                self.step(Step::Start(who, Answer::Heard)).await;
                self.step(Step::End(who, Answer::Heard)).await;
                self.check().await;
            }
            if self.committed.len() > before {
                return;
            }
            // Whoever was promised a turn and does not remember it is waited for.
            self.step(Step::Wait(61)).await;
        }
        panic!("nobody commits: {:?}", self.replicas);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::default())]

    #[test]
    fn histories(steps in prop::collection::vec(step(), 1..120)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
        runtime.unwrap().block_on(async {
            let mut model = Model::new().await;
            for step in steps {
                model.step(step).await;
                model.check().await;
            }
            model.must_go_on().await;
        });
    }
}

#[tokio::test]
async fn a_commit_without_its_object_is_refused() {
    let bare = Bare::new().await;
    let table = bare.table(REALTIME, |_| {}).await;
    bare.open(table, "a").await;
    let id = segment(table, 0, 0);
    let epoch = bare.state.catalog.elect(id).await.unwrap().unwrap();
    let mut record = sealed(id, 0, 10, 5);
    record.uri = Some(SegmentRecord::object_key(id, 5));
    record.stored_bytes = 16;
    assert!(!bare.end("a", &record, epoch).await, "nothing is there");
    bare.store_object(&mut record).await;
    record.stored_bytes += 1;
    assert!(!bare.end("a", &record, epoch).await, "it is not whole");
    record.stored_bytes -= 1;
    let elsewhere = SegmentRecord {
        uri: Some("elsewhere".to_owned()),
        ..record.clone()
    };
    assert!(!bare.end("a", &elsewhere, epoch).await);
    assert!(bare.end("a", &record, epoch).await);
    assert!(bare.end("a", &record, epoch).await, "the answer was lost");
    let fenced = bare.state.metrics.fenced.get();
    assert_eq!((bare.state.metrics.commits.get(), fenced), (1, 3));
}
