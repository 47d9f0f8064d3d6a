//! What must be in the table, kept by the producer's side: which event was acknowledged at which
//! offset. An event whose acknowledgement was lost with the process may be there or not, at any
//! offset, but at most once; once seen it must stay.

use std::collections::{BTreeMap, HashSet};

use anyhow::{Result, bail, ensure};
use serde_json::{Value, json};

pub const PARTITIONS: usize = 3;
pub const TABLE: &str = "crash";
/// Only this partition gets events that the decoder must reject.
pub const REJECTING: usize = 2;
const REJECT_EVERY: u64 = 50;
const TIME_BASE_MS: i64 = 1_700_000_000_000;

/// The columns of a row, in the order of [`Event::row`].
pub const COLUMNS: &str = "id, kind, who, amount, price, flag, CAST(ts AS BIGINT)";

#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    id: i64,
    kind: String,
    who: String,
    amount: Option<i32>,
    price: f64,
    flag: bool,
    ts: i64,
}

/// SplitMix64: the content of an event is a function of the seed and its number.
fn mix(seed: u64, id: u64) -> u64 {
    let mut z = (seed ^ id.wrapping_mul(0x9e37_79b9_7f4a_7c15)).wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

impl Event {
    fn new(seed: u64, id: u64) -> Self {
        let h = mix(seed, id);
        Self {
            id: id as i64,
            kind: format!("kind-{}", h % 8),
            who: format!("user-{}", (h >> 8) % 5000),
            amount: (!(h >> 24).is_multiple_of(10)).then_some((h >> 32) as i32 % 1000),
            // Multiples of 1/64 add up exactly in any order.
            price: (h >> 40) as f64 / 64.0,
            flag: (h >> 5).is_multiple_of(2),
            ts: TIME_BASE_MS + id as i64,
        }
    }

    fn row(&self) -> [Value; 7] {
        [
            json!(self.id),
            json!(self.kind),
            json!(self.who),
            json!(self.amount),
            json!(self.price),
            json!(self.flag),
            json!(self.ts),
        ]
    }
}

/// Sums over all rows of the table that one statement can give too.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sums {
    pub rows: i64,
    pub id: i64,
    pub kind: i64,
    pub who: i64,
    pub amounts: i64,
    pub amount: i64,
    pub price_64: i64,
    pub flags: i64,
    pub ts: i64,
}

impl Sums {
    /// Gives the fields in their order. Text columns are summed by the number that they end with.
    pub const SQL: &str = "SELECT COUNT(*), SUM(id), \
        SUM(CAST(substr(kind, 6) AS BIGINT)), SUM(CAST(substr(who, 6) AS BIGINT)), \
        COUNT(amount), SUM(CAST(amount AS BIGINT)), SUM(CAST(price * 64 AS BIGINT)), \
        COUNT(*) FILTER (WHERE flag), SUM(CAST(ts AS BIGINT) - 1700000000000) FROM crash";

    pub fn from_numbers(numbers: &[i64]) -> Result<Self> {
        let &[rows, id, kind, who, amounts, amount, price_64, flags, ts] = numbers else {
            bail!("{} sums instead of 9", numbers.len());
        };
        Ok(Self {
            rows,
            id,
            kind,
            who,
            amounts,
            amount,
            price_64,
            flags,
            ts,
        })
    }

    fn add(&mut self, event: &Event) {
        let tail = |text: &str| text[5..].parse::<i64>().unwrap_or(0);
        self.rows += 1;
        self.id += event.id;
        self.kind += tail(&event.kind);
        self.who += tail(&event.who);
        self.amounts += i64::from(event.amount.is_some());
        self.amount += i64::from(event.amount.unwrap_or(0));
        self.price_64 += (event.price * 64.0) as i64;
        self.flags += i64::from(event.flag);
        self.ts += event.ts - TIME_BASE_MS;
    }
}

#[derive(Debug)]
pub struct Model {
    seed: u64,
    next: u64,
    /// By partition and offset: the event that is there, once known.
    log: [Vec<Option<u64>>; PARTITIONS],
    /// Sent and never answered.
    unknown: HashSet<u64>,
    /// Offsets below are known and were compared.
    compared: [usize; PARTITIONS],
    sums: Sums,
    rejected: [i64; PARTITIONS],
}

impl Model {
    pub fn new(seed: u64) -> Self {
        Self {
            seed,
            next: 0,
            log: Default::default(),
            unknown: HashSet::new(),
            compared: [0; PARTITIONS],
            sums: Sums::default(),
            rejected: [0; PARTITIONS],
        }
    }

    /// The next event to send: its number, partition and payload. Unknown until acknowledged.
    pub fn send(&mut self) -> (u64, i32, String) {
        let id = self.next;
        self.next += 1;
        self.unknown.insert(id);
        let payload = if is_rejected(id) {
            format!("{{\"id\": {id}, \"amount\": \"many\", \"ts\": {TIME_BASE_MS}}}")
        } else {
            let event = Event::new(self.seed, id);
            let [id, kind, who, amount, price, flag, ts] = event.row();
            json!({ "id": id, "kind": kind, "who": who, "amount": amount, "price": price,
                    "flag": flag, "ts": ts })
            .to_string()
        };
        (id, partition_of(id) as i32, payload)
    }

    pub fn acknowledged(&mut self, id: u64, offset: i64) -> Result<()> {
        let log = &mut self.log[partition_of(id)];
        let offset = usize::try_from(offset)?;
        if log.len() <= offset {
            log.resize(offset + 1, None);
        }
        ensure!(
            log[offset].is_none_or(|there| there == id),
            "offset {offset} was acknowledged for event {:?} and for event {id}",
            log[offset]
        );
        log[offset] = Some(id);
        self.unknown.remove(&id);
        Ok(())
    }

    /// The log must reach at least to here.
    pub fn acknowledged_end(&self, partition: usize) -> usize {
        self.log[partition].len()
    }

    pub fn compared(&self, partition: usize) -> usize {
        self.compared[partition]
    }

    /// The newest event of each key of a partition, by time and then by offset.
    pub fn newest(&self) -> BTreeMap<(i64, String), i64> {
        let mut newest: BTreeMap<(i64, String), (i64, i64)> = BTreeMap::new();
        for (partition, log) in (0..).zip(&self.log) {
            for id in log.iter().flatten().filter(|id| !is_rejected(**id)) {
                let event = Event::new(self.seed, *id);
                let own = (event.ts, event.id);
                let known = newest.entry((partition, event.who)).or_insert(own);
                if own.0 >= known.0 {
                    *known = own;
                }
            }
        }
        let newest = newest.into_iter();
        newest.map(|(key, (_, id))| (key, id)).collect()
    }

    /// From the next comparison on every row is compared again, not only new ones.
    pub fn compare_all_again(&mut self) {
        self.compared = [0; PARTITIONS];
        self.sums = Sums::default();
        self.rejected = [0; PARTITIONS];
    }

    pub fn sums(&self) -> &Sums {
        &self.sums
    }

    pub fn rejected(&self, partition: usize) -> i64 {
        self.rejected[partition]
    }

    /// Compares the rows of [compared, end): `$offset` and then [`COLUMNS`], in any order.
    pub fn compare(&mut self, p: usize, end: usize, rows: &[Vec<Value>]) -> Result<()> {
        let begin = self.compared[p];
        let mut found: Vec<Option<&[Value]>> = vec![None; end - begin];
        for row in rows {
            let offset = row.first().and_then(Value::as_u64).unwrap_or(u64::MAX) as usize;
            let place = offset.checked_sub(begin).and_then(|at| found.get_mut(at));
            let Some(place) = place else {
                bail!("partition {p}: a row at offset {offset}, outside of {begin}..{end}");
            };
            ensure!(
                place.is_none(),
                "partition {p}: offset {offset} is there twice"
            );
            *place = Some(&row[1..]);
        }
        if self.log[p].len() < end {
            self.log[p].resize(end, None);
        }
        for (at, row) in found.into_iter().enumerate() {
            self.compare_one(p, begin + at, row)?;
        }
        self.compared[p] = end;
        Ok(())
    }

    fn compare_one(&mut self, p: usize, offset: usize, row: Option<&[Value]>) -> Result<()> {
        let Some(row) = row else {
            return self.missing(p, offset);
        };
        let id = row.first().and_then(Value::as_u64).unwrap_or(u64::MAX);
        match self.log[p][offset] {
            Some(known) => ensure!(
                known == id,
                "partition {p}, offset {offset}: event {known} was acknowledged, {id} is there"
            ),
            None => ensure!(
                partition_of(id) == p && self.unknown.remove(&id),
                "partition {p}, offset {offset}: event {id} was not sent, or is there twice"
            ),
        }
        self.log[p][offset] = Some(id);
        let event = Event::new(self.seed, id);
        ensure!(
            row == event.row(),
            "partition {p}, offset {offset}: the row is {row:?}, sent was {:?}",
            event.row()
        );
        self.sums.add(&event);
        Ok(())
    }

    /// No row is right where the event had to be rejected.
    fn missing(&mut self, p: usize, offset: usize) -> Result<()> {
        match self.log[p][offset] {
            Some(id) => ensure!(
                is_rejected(id),
                "partition {p}, offset {offset}: event {id} was acknowledged and is not there"
            ),
            None => ensure!(
                p == REJECTING,
                "partition {p}, offset {offset}: nothing is there and nothing was to be rejected"
            ),
        }
        self.rejected[p] += 1;
        Ok(())
    }
}

fn partition_of(id: u64) -> usize {
    (id % PARTITIONS as u64) as usize
}

fn is_rejected(id: u64) -> bool {
    partition_of(id) == REJECTING && (id / PARTITIONS as u64).is_multiple_of(REJECT_EVERY)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(model: &mut Model, count: u64) {
        for _ in 0..count {
            model.send();
        }
    }

    fn row(offset: u64, id: u64) -> Vec<Value> {
        let mut row = vec![json!(offset)];
        row.extend(Event::new(1, id).row());
        row
    }

    #[test]
    fn what_was_acknowledged_must_be_there_once_and_unchanged() {
        let mut model = Model::new(1);
        sent(&mut model, 7);
        model.acknowledged(0, 0).unwrap();
        model.acknowledged(3, 1).unwrap();
        let mut wrong = row(1, 3);
        wrong[3] = json!("user-x");
        let missing = model.compare(0, 2, &[row(0, 0)]).unwrap_err().to_string();
        assert!(
            missing.contains("event 3 was acknowledged and is not there"),
            "{missing}"
        );
        let twice = model.compare(0, 2, &[row(0, 0), row(0, 0)]).unwrap_err();
        assert!(twice.to_string().contains("there twice"));
        assert!(model.compare(0, 2, &[row(0, 0), wrong]).is_err());
        assert!(model.compare(0, 2, &[row(0, 3), row(1, 0)]).is_err());
        assert!(model.compare(0, 2, &[row(0, 0), row(1, 3)]).is_ok());
        assert_eq!(model.compared(0), 2);
    }

    #[test]
    fn an_unanswered_event_may_be_there_once() {
        let mut model = Model::new(1);
        sent(&mut model, 4);
        assert!(model.compare(0, 1, &[row(0, 3)]).is_ok());
        assert!(model.compare(0, 2, &[row(1, 3)]).is_err(), "a second time");
        assert!(model.compare(0, 2, &[row(1, 6)]).is_err(), "never sent");
    }

    #[test]
    fn only_rejected_events_may_be_absent() {
        let mut model = Model::new(1);
        sent(&mut model, 3);
        model.acknowledged(2, 0).unwrap();
        assert!(is_rejected(2));
        assert!(model.compare(2, 1, &[]).is_ok());
        assert_eq!(model.rejected(2), 1);
        assert!(model.compare(0, 1, &[]).is_err());
    }
}
