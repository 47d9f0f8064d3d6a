//! Where the rows of a segment lie: from offsets in the log to rows.
//!
//! Offsets ascend with the rows, but for segments that are sorted by a column. They mostly follow
//! each other, so that a segment is a few runs.

use schemas::Offset;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Run {
    first: Offset,
    /// Of the offset `first`, in the order of offsets.
    row: u32,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Places {
    runs: Vec<Run>,
    rows: u32,
    /// Offset after the last.
    next: Offset,
    /// By place in the order of offsets: the row; `None`: that is the row.
    order: Option<Vec<u32>>,
}

impl Places {
    /// Of rows in any order.
    pub(crate) fn of(offsets: &[Offset]) -> Self {
        let mut places = Self::default();
        if offsets.is_sorted() {
            places.extend(offsets);
            return places;
        }
        let mut order: Vec<u32> = (0..offsets.len() as u32).collect();
        order.sort_unstable_by_key(|row| offsets[*row as usize]);
        let ascending: Vec<Offset> = order.iter().map(|row| offsets[*row as usize]).collect();
        places.extend(&ascending);
        places.order = Some(order);
        places
    }

    /// More rows behind the others, at ascending offsets.
    pub(crate) fn extend(&mut self, offsets: &[Offset]) {
        for offset in offsets {
            if self.runs.is_empty() || *offset != self.next {
                self.runs.push(Run {
                    first: *offset,
                    row: self.rows,
                });
            }
            self.rows += 1;
            self.next = offset + 1;
        }
    }

    pub(crate) fn rows(&self) -> u32 {
        self.rows
    }

    /// Rows are not in the order of their offsets.
    pub(crate) fn order(&self) -> Option<&[u32]> {
        self.order.as_deref()
    }

    /// Every offset and its row.
    pub(crate) fn each(&self, mut each: impl FnMut(Offset, u32)) {
        for (at, run) in self.runs.iter().enumerate() {
            let end = self.runs.get(at + 1).map_or(self.rows, |next| next.row);
            for (offset, place) in (run.first..).zip(run.row..end) {
                let row = self
                    .order
                    .as_ref()
                    .map_or(place, |order| order[place as usize]);
                each(offset, row);
            }
        }
    }

    /// The row of an offset; `None`: the segment has none there.
    pub(crate) fn row_of(&self, offset: Offset) -> Option<u32> {
        let after = self.runs.partition_point(|run| run.first <= offset);
        let run = self.runs.get(after.checked_sub(1)?)?;
        let end = self.runs.get(after).map_or(self.rows, |next| next.row);
        let place = u32::try_from(offset - run.first)
            .ok()?
            .checked_add(run.row)?;
        (place < end).then(|| match &self.order {
            None => place,
            Some(order) => order[place as usize],
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_offset_leads_to_its_row(
            offsets in prop::collection::btree_set(5..400_i64, 0..200),
            turns in any::<bool>(),
        ) {
            let mut offsets: Vec<Offset> = offsets.into_iter().collect();
            if turns {
                offsets.reverse();
            }
            let rows = offsets.iter().copied().zip(0..);
            let rows: BTreeMap<Offset, u32> = rows.collect();
            let places = Places::of(&offsets);
            prop_assert_eq!(places.rows() as usize, offsets.len());
            for offset in 0..410 {
                prop_assert_eq!(places.row_of(offset), rows.get(&offset).copied());
            }
            let mut all = BTreeMap::new();
            places.each(|offset, row| assert!(all.insert(offset, row).is_none()));
            prop_assert_eq!(all, rows);
        }
    }
}
