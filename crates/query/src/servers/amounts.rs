//! How much fragments of a shape bring: rows, and values in their lists.
//!
//! A shape is a fragment's plan without its values. What it brought is kept as a part of the rows
//! that were expected to pass its filters, so that it tells of other values and other segments.
//! Invariant: what is known takes a bounded number of bytes.

use std::collections::HashMap;

/// Shapes that are known at once.
const SHAPES_MAX: usize = 1024;

#[derive(Debug, Default)]
pub(super) struct Amounts(HashMap<u64, f64>);

impl Amounts {
    /// The newest answer counts: data changes.
    pub(super) fn observe(&mut self, shape: u64, share: f64) {
        if self.0.len() >= SHAPES_MAX && !self.0.contains_key(&shape) {
            self.0.clear();
        }
        self.0.insert(shape, share);
    }

    pub(super) fn share(&self, shape: u64) -> Option<f64> {
        self.0.get(&shape).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_counts_and_not_all_are_kept() {
        let mut amounts = Amounts::default();
        assert_eq!(amounts.share(7), None);
        amounts.observe(7, 0.5);
        amounts.observe(7, 0.25);
        assert_eq!(amounts.share(7), Some(0.25));
        for shape in 100..3000 {
            amounts.observe(shape, 1.0);
            assert!(amounts.0.len() <= SHAPES_MAX);
        }
        assert_eq!(amounts.share(2999), Some(1.0));
    }
}
