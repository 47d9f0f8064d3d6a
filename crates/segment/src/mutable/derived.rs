//! What queries make of the codes of a consuming column: how many rows hold each, the order of the
//! values, what these do to sketches.
//!
//! Nothing is made before somebody asks, and the writer knows nothing of it. A column keeps what
//! was made last ([`Kept`]) and goes on from there; what a view was given ([`Derived`]) does not
//! change.

use std::sync::{Arc, OnceLock};

use arrow::array::Array;
use index::sketch::Raise;
use parking_lot::Mutex;

use super::dictionary::DictionaryReader;
use super::order::Order;
use super::seen::SeenCodes;
use crate::sealed::hashes::hashes;

/// The newest that was made.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    counts: Mutex<Counts>,
    order: Mutex<Arc<Order>>,
    raises: Mutex<Arc<Vec<Raise>>>,
}

#[derive(Debug, Default)]
struct Counts {
    rows: usize,
    of: Arc<Vec<u32>>,
}

/// Of one view.
#[derive(Debug, Default)]
pub(crate) struct Derived {
    pub(super) cardinality: OnceLock<u32>,
    pub(super) counts: OnceLock<Arc<Vec<u32>>>,
    pub(super) order: OnceLock<Arc<Order>>,
    /// In the order of the values.
    pub(super) ordered_counts: OnceLock<Vec<u32>>,
    pub(super) raises: OnceLock<Option<Arc<Vec<Raise>>>>,
}

impl Derived {
    /// As it was when the view was asked for the first time.
    pub(crate) fn cardinality(&self, published: impl FnOnce() -> u32) -> u32 {
        *self.cardinality.get_or_init(published)
    }
}

impl Kept {
    /// How many of the first `rows` rows hold each of the first `cardinality` codes, which are all
    /// that they hold; more codes may follow.
    pub(super) fn counts(
        &self,
        codes: SeenCodes<'_>,
        rows: usize,
        cardinality: usize,
    ) -> Arc<Vec<u32>> {
        let mut kept = self.counts.lock();
        if rows < kept.rows {
            // The view is older than what was counted last.
            let mut of = Vec::clone(&kept.of);
            codes.each(rows..kept.rows, |code| of[code as usize] -= 1);
            // Asked only now, it may know values that came after that.
            of.resize(cardinality.max(of.len()), 0);
            return Arc::new(of);
        }
        let Counts { rows: counted, of } = &mut *kept;
        if *counted < rows || of.len() < cardinality {
            let of = Arc::make_mut(of);
            of.resize(cardinality.max(of.len()), 0);
            codes.each(*counted..rows, |code| of[code as usize] += 1);
            *counted = rows;
        }
        Arc::clone(of)
    }

    /// Of the first `cardinality` values.
    pub(super) fn order(&self, dictionary: &DictionaryReader, cardinality: u32) -> Arc<Order> {
        let mut kept = self.order.lock();
        if cardinality < kept.cardinality() {
            return Arc::new(kept.first(cardinality));
        }
        if cardinality > kept.cardinality() {
            *kept = Arc::new(kept.extended(dictionary, cardinality));
        }
        Arc::clone(&kept)
    }

    /// Of the first `cardinality` values, and maybe more; `None`: they have no hashes.
    pub(super) fn raises(
        &self,
        dictionary: &DictionaryReader,
        cardinality: usize,
    ) -> Option<Arc<Vec<Raise>>> {
        let mut kept = self.raises.lock();
        let known = kept.len();
        if known < cardinality {
            let array = dictionary.array(cardinality as u32);
            let hashes = hashes(&array.slice(known, cardinality - known))?;
            Arc::make_mut(&mut kept).extend(hashes.into_iter().map(Raise::of));
        }
        Some(Arc::clone(&kept))
    }
}
