//! The groups of several segments become one: groups with equal keys are joined.
//!
//! With many groups each thread joins those whose hash falls into its piece. The values of one key
//! of numbers, which come in their order, are merged by it, and pieces are ranges of values.

use std::borrow::Cow;

use datafusion::common::Result;
use hashbrown::HashTable;
use runtime::compute::Turn;

use super::aggregate::{Aggregate, Kind};
use super::distinct;
use super::exec::NativeAggregateExec;
use super::grouped::{GroupKeys, Grouped, Piece, PieceGroups};
use super::plan::Output;
use super::states::States;
use super::worker::Part;
use crate::shared::in_turns;

/// Groups that a sketch or all values of a group are worth.
const HEAVY: usize = 200;
/// Pieces for each worker, so that they end together.
const PIECES_PER_WORKER: usize = 4;

/// Where the groups of each part went: none, or its number in the piece.
type Places = Vec<Vec<(u32, u32)>>;

pub(super) fn merge(
    operator: &NativeAggregateExec,
    turn: &mut Turn,
    workers: usize,
    parts: Vec<Part>,
) -> Result<Grouped> {
    let groups: usize = parts.iter().map(Part::groups).sum();
    if parts.is_empty() {
        // Without keys there is one group, also over no rows.
        let count = usize::from(operator.keys.is_empty());
        let mut states = operator.empty(count)?;
        settle(&mut states, operator.output())?;
        let groups = PieceGroups::Firsts(vec![(0, 0); count]);
        let piece = Piece { groups, states };
        return Ok(operator.grouped_of(GroupKeys::OfSegments(Vec::new()), vec![piece]));
    }
    let is_heavy = |aggregate: &Aggregate| {
        matches!(
            aggregate.kind,
            Kind::ApproxDistinct | Kind::Percentile { .. }
        )
    };
    let weight = match operator.aggregates.iter().any(is_heavy) {
        true => HEAVY,
        false => 1,
    };
    let alone_max = operator.shared.rows_here_max() as usize;
    let count = match groups * weight <= alone_max {
        true => 1,
        false => workers * PIECES_PER_WORKER,
    };
    let in_order = InOrder::of(&parts);
    if operator.aggregates.is_empty()
        && let Some(in_order) = &in_order
    {
        let pieces = in_turns(turn, workers, count, |piece| {
            Ok(Piece {
                groups: PieceGroups::Firsts(in_order.firsts((piece, count))),
                states: Vec::new(),
            })
        })?;
        let keys = parts.into_iter().map(|part| part.keys).collect();
        return Ok(operator.grouped_of(GroupKeys::OfSegments(keys), pieces));
    }
    let mut joined = in_turns(turn, workers, count, |piece| {
        let (firsts, places) = match &in_order {
            Some(in_order) => in_order.piece((piece, count)),
            None => by_hash(&parts, (piece, count)),
        };
        Ok((piece_of(operator, &parts, firsts, &places)?, places))
    })?;
    drop(in_order);
    join_distinct(operator, turn, workers, &parts, &mut joined)?;
    let pieces = joined.into_iter().map(|(piece, _)| piece).collect();
    let keys = parts.into_iter().map(|part| part.keys).collect();
    Ok(operator.grouped_of(GroupKeys::OfSegments(keys), pieces))
}

/// The values of the only key of each part, which are numbers and ascend.
struct InOrder<'p> {
    lists: Vec<Cow<'p, [i64]>>,
}

/// More lists are not merged by looking at the head of each.
const LISTS_MAX: usize = 16;

impl<'p> InOrder<'p> {
    /// `None`: there are more keys, or the values of some part are no numbers, or not in order.
    fn of(parts: &'p [Part]) -> Option<Self> {
        if parts.len() > LISTS_MAX {
            return None;
        }
        let mut lists = Vec::with_capacity(parts.len());
        for part in parts {
            let [key] = &part.keys[..] else { return None };
            let values = key.longs()?;
            if !values.is_sorted_by(|a, b| a < b) {
                return None;
            }
            lists.push(values);
        }
        Some(Self { lists })
    }

    /// The first place of each value that falls into the piece.
    fn firsts(&self, (piece, pieces): (usize, usize)) -> Vec<(u32, u32)> {
        let low = self.cut((piece, pieces));
        let high = self.cut((piece + 1, pieces));
        let longest = low.iter().zip(&high).map(|(low, high)| high - low).max();
        let mut firsts = Vec::with_capacity(longest.unwrap_or(0));
        self.merge(low, &high, |group, place| {
            if group == firsts.len() {
                firsts.push(place);
            }
        });
        firsts
    }

    /// The groups whose value falls into the piece.
    fn piece(&self, (piece, pieces): (usize, usize)) -> (Vec<(u32, u32)>, Places) {
        let low = self.cut((piece, pieces));
        let high = self.cut((piece + 1, pieces));
        let lengths = low.iter().zip(&high).map(|(low, high)| high - low);
        let mut places: Places = lengths.map(Vec::with_capacity).collect();
        let mut firsts = Vec::new();
        self.merge(low, &high, |group, (part, row)| {
            if group == firsts.len() {
                firsts.push((part, row));
            }
            places[part as usize].push((row, group as u32));
        });
        (firsts, places)
    }

    /// Where the piece begins in each list.
    fn cut(&self, (piece, pieces): (usize, usize)) -> Vec<usize> {
        let longest = self.lists.iter().max_by_key(|list| list.len());
        let value = longest.and_then(|list| list.get(list.len() * piece / pieces));
        let at = |list: &Cow<'_, [i64]>| match value {
            _ if piece == 0 => 0,
            Some(value) => list.partition_point(|other| other < value),
            None => list.len(),
        };
        self.lists.iter().map(at).collect()
    }

    /// Gives each place with the number of its group, in the order of values.
    #[inline(always)]
    fn merge(&self, mut next: Vec<usize>, ends: &[usize], mut each: impl FnMut(usize, (u32, u32))) {
        let head = |part: usize, at: usize| (at < ends[part]).then(|| self.lists[part][at]);
        let mut heads: Vec<Option<i64>> = next
            .iter()
            .enumerate()
            .map(|(part, at)| head(part, *at))
            .collect();
        let mut group = 0;
        while let Some(least) = heads.iter().copied().flatten().min() {
            for (part, own) in heads.iter_mut().enumerate() {
                if *own == Some(least) {
                    each(group, (part as u32, next[part] as u32));
                    next[part] += 1;
                    *own = head(part, next[part]);
                }
            }
            group += 1;
        }
    }
}

/// The groups whose hash falls into the piece: the first place of each, and where all went.
fn by_hash(parts: &[Part], (piece, pieces): (usize, usize)) -> (Vec<(u32, u32)>, Places) {
    let is_own = |hash: u64| ((hash >> 32) * pieces as u64) >> 32 == piece as u64;
    let mut table: HashTable<(u64, u32)> = HashTable::new();
    let mut firsts: Vec<(u32, u32)> = Vec::new();
    let mut places = Vec::with_capacity(parts.len());
    for (at, part) in (0u32..).zip(parts) {
        let mut own = Vec::with_capacity(part.groups() / pieces + 1);
        for (row, hash) in (0u32..).zip(&part.hashes) {
            if pieces > 1 && !is_own(*hash) {
                continue;
            }
            let same = |(known, group): &(u64, u32)| {
                let (other, other_row) = firsts[*group as usize];
                let others = &parts[other as usize].keys;
                let mut keys = part.keys.iter().zip(others);
                *known == *hash
                    && keys.all(|(own, other)| own.equals(row as usize, other, other_row as usize))
            };
            let group = match table.find(*hash, same) {
                Some((_, group)) => *group,
                None => {
                    let group = firsts.len() as u32;
                    firsts.push((at, row));
                    table.insert_unique(*hash, (*hash, group), |(hash, _)| *hash);
                    group
                }
            };
            own.push((row, group));
        }
        places.push(own);
    }
    (firsts, places)
}

/// The states of the groups of a piece.
fn piece_of(
    operator: &NativeAggregateExec,
    parts: &[Part],
    firsts: Vec<(u32, u32)>,
    places: &Places,
) -> Result<Piece> {
    let mut states = operator.empty(firsts.len())?;
    for (part, places) in parts.iter().zip(places) {
        for (own, others) in states.iter_mut().zip(&part.states) {
            own.join(others, places)?;
        }
    }
    settle(&mut states, operator.output())?;
    let groups = PieceGroups::Firsts(firsts);
    Ok(Piece { groups, states })
}

fn settle(states: &mut [States], output: Output) -> Result<()> {
    let mut states = states.iter_mut();
    states.try_for_each(|states| states.settle(output))
}

/// Joins sets of distinct values, which is done by value and not by group.
fn join_distinct(
    operator: &NativeAggregateExec,
    turn: &mut Turn,
    workers: usize,
    parts: &[Part],
    joined: &mut [(Piece, Places)],
) -> Result<()> {
    let aggregates = operator.aggregates.iter().enumerate();
    let distinct = aggregates.filter(|(_, aggregate)| aggregate.kind == Kind::Distinct);
    let distinct: Vec<usize> = distinct.map(|(at, _)| at).collect();
    if distinct.is_empty() {
        return Ok(());
    }
    let sizes: Vec<usize> = joined.iter().map(|(piece, _)| piece.groups.len()).collect();
    let groups: usize = sizes.iter().sum();
    let mut groups_of: Vec<Vec<u32>> = parts.iter().map(|part| vec![0; part.groups()]).collect();
    let mut first = 0;
    for (piece, places) in joined.iter() {
        for (groups_of, places) in groups_of.iter_mut().zip(places) {
            for (row, group) in places {
                groups_of[*row as usize] = first + group;
            }
        }
        first += piece.groups.len() as u32;
    }
    for at in distinct {
        let sets = parts.iter().filter_map(|part| match &part.states[at] {
            States::Distinct(sets) => Some(sets),
            _ => None,
        });
        let sets: Vec<_> = sets.collect();
        let others = distinct::alike(&sets)?;
        let pairs = sets.iter().zip(&others);
        let sets: Vec<_> = pairs
            .map(|(own, other)| other.as_ref().unwrap_or(own))
            .collect();
        let members: usize = sets.iter().map(|sets| sets.members()).sum();
        let shares = match members <= operator.shared.rows_here_max() as usize {
            true => 1,
            false => workers * PIECES_PER_WORKER,
        };
        let output = operator.output();
        let found = in_turns(turn, workers, shares, |share| {
            distinct::join_share(&sets, &groups_of, groups, (share, shares), output)
        })?;
        let pieces = distinct::joined(&sets, found, &sizes, output)?;
        for ((piece, _), sets) in joined.iter_mut().zip(pieces) {
            piece.states[at] = States::Distinct(sets);
        }
    }
    Ok(())
}
