//! Any few groups of many, with aggregates: groups are chosen among those of a few rows, and only
//! rows that can be of them are read.
//!
//! What rows are read by are conditions on keys alone. So a group is read as a whole or not at all,
//! and more groups than were chosen are as good. Where it is not clear beforehand that few rows are
//! left, all are read.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef};
use arrow::datatypes::{DataType, SchemaRef};
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::Operator;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::{binary, in_list, is_null, lit};
use query::scan_exec::ScanDescription;
use runtime::compute::Turn;
use segment::BLOCK_ROWS;

use super::exec::NativeAggregateExec;
use super::fold::{Slots, count};
use super::groups::Groups;
use super::keys::Key;
use super::number::BlockRows;
use super::star_tree::Trees;
use crate::filter::Filters;
use crate::stats::Counters;

/// Blocks that are looked at, of all segments together.
const BLOCKS: u32 = 16;
/// Where there can be no more groups than these, all are found as soon.
const GROUPS_MIN: u64 = 1 << 16;
/// Of the rows that were looked at, the groups that are chosen may have this part.
const SHARE_MIN: u64 = 4;
/// More are looked for value by value for too long.
const FEW_MAX: usize = 1_000;

/// The same over rows of at least `few` groups, which it has all rows of; `None`: all rows must be
/// read.
pub(super) fn chosen(
    operator: &NativeAggregateExec,
    turn: &mut Turn,
    trees: &Trees<'_>,
    (rows, few): (u64, usize),
) -> Result<Option<NativeAggregateExec>> {
    let is_worth_it = rows >= operator.shared().rows_per_worker() && few <= FEW_MAX;
    // A row is of as many groups as it has entries.
    if !is_worth_it || operator.entries.is_some() {
        return Ok(None);
    }
    // Told by those who read the rows.
    let counters = Counters::default();
    let filters = operator.filters(&counters);
    if !filters.are_quick() {
        return Ok(None);
    }
    let mut blocks = BLOCKS;
    for segment in 0..operator.segments().len() {
        if trees.of(segment)?.is_some() || blocks == 0 {
            return Ok(None);
        }
        let look = Look {
            operator,
            filters: &filters,
            segment,
            few,
        };
        if let Some(conditions) = look.conditions(turn, &mut blocks)? {
            let mut description = ScanDescription::clone(&operator.description);
            description.filters.extend(conditions);
            return Ok(Some(operator.reading(Arc::new(description))));
        }
    }
    Ok(None)
}

/// A look at the first rows of a segment.
struct Look<'a, 'f> {
    operator: &'a NativeAggregateExec,
    filters: &'f Filters<'a>,
    segment: usize,
    few: usize,
}

impl Look<'_, '_> {
    /// What rows of some groups have that few others have. Takes from the `left` blocks.
    fn conditions(
        &self,
        turn: &mut Turn,
        left: &mut u32,
    ) -> Result<Option<Vec<Arc<dyn PhysicalExpr>>>> {
        let compiler = self
            .operator
            .compiler(&self.operator.segments()[self.segment]);
        let keys = self.operator.keys.iter();
        let keys = keys.map(|key| Key::new(key, &compiler));
        let keys = keys.collect::<Result<Vec<_>>>()?;
        let most = keys.iter();
        let most = most.fold(1u64, |all, key| all.saturating_mul(key.domain));
        let told: Vec<bool> = keys.iter().map(tells_rows).collect();
        if most < GROUPS_MIN || !told.contains(&true) {
            return Ok(None);
        }
        // Groups are numbered as they come.
        let mut groups = Groups::new(keys, 0)?;
        let Some(chosen) = self.rarest(turn, &mut groups, left)? else {
            return Ok(None);
        };
        let values = groups.values(&chosen)?;
        let schema = &self.operator.description.table_schema;
        let keys = self.operator.keys.iter().zip(values).zip(told);
        let told = keys.filter(|(_, told)| *told);
        let conditions = told.map(|((key, values), _)| is_any_of(key, &values, schema));
        conditions.collect::<Result<Vec<_>>>().map(Some)
    }

    /// The groups with the fewest rows, if they have few.
    fn rarest(
        &self,
        turn: &mut Turn,
        groups: &mut Groups<'_>,
        left: &mut u32,
    ) -> Result<Option<Vec<u32>>> {
        let Some(filter) = self.filters.of(self.segment)? else {
            return Ok(None);
        };
        let rows = self.operator.segments()[self.segment].row_count();
        let end = rows.div_ceil(BLOCK_ROWS).min(*left);
        *left -= end;
        let (mut picked, mut assigned, mut counts) = (Vec::new(), Vec::new(), Vec::new());
        let mut blocks = filter.blocks(0..end);
        while let Some((start, mask)) = blocks.next(turn)? {
            mask.collect_into(&mut picked);
            let rows = BlockRows {
                start,
                len: mask.len,
                picked: Some(&picked),
                mask,
                entries: None,
            };
            let slots = Slots::Each(groups.assign(rows, &mut assigned)?);
            counts.resize(groups.count().max(counts.len()), 0);
            count(slots, rows.count(), &mut counts);
        }
        let all: u64 = counts.iter().sum();
        let known = (0..counts.len() as u32).filter(|group| counts[*group as usize] > 0);
        let mut known: Vec<u32> = known.collect();
        known.sort_by_key(|group| counts[*group as usize]);
        known.truncate(self.few);
        let own: u64 = known.iter().map(|group| counts[*group as usize]).sum();
        let is_rare = known.len() == self.few && own * SHARE_MIN <= all;
        Ok(is_rare.then_some(known))
    }
}

/// Whether rows are found by values of the key, which are equal where groups are.
fn tells_rows(key: &Key<'_>) -> bool {
    match key.dictionary() {
        Some(_) => matches!(
            key.input_type(),
            DataType::Int32
                | DataType::Int64
                | DataType::Timestamp(_, _)
                | DataType::Utf8View
                | DataType::BinaryView
        ),
        None => key.whole_numbers().is_some(),
    }
}

/// The key, which is a column, has one of the values.
fn is_any_of(
    key: &Arc<dyn PhysicalExpr>,
    values: &ArrayRef,
    schema: &SchemaRef,
) -> Result<Arc<dyn PhysicalExpr>> {
    let places = (0..values.len()).filter(|at| values.is_valid(*at));
    let list = places.map(|at| ScalarValue::try_from_array(values, at));
    let mut list = list.collect::<Result<Vec<_>>>()?;
    list.sort_by(|a, b| a.partial_cmp(b).unwrap_or(std::cmp::Ordering::Equal));
    list.dedup();
    let list: Vec<_> = list.into_iter().map(lit).collect();
    let null = is_null(Arc::clone(key))?;
    if list.is_empty() {
        return Ok(null);
    }
    let is_in = in_list(Arc::clone(key), list, &false, schema)?;
    match values.null_count() {
        0 => Ok(is_in),
        _ => binary(is_in, Operator::Or, null, schema),
    }
}
