//! Codes of the short values that rows hold again and again.
//!
//! A value that a view holds itself is told apart by the view alone: where it was seen lately its
//! code is found with one look, without the dictionary.

const PLACES_BITS: u32 = 9;
/// No view of a short value.
const NOTHING: u128 = u128::MAX;

#[derive(Debug, Default)]
pub(super) struct NearViews {
    /// Each view in one place. Empty until the first is kept.
    places: Vec<(u128, u32)>,
}

impl NearViews {
    /// The code of a view that holds its value.
    #[inline(always)]
    pub(super) fn find(&self, view: u128) -> Option<u32> {
        match self.places.get(place(view)) {
            Some((known, code)) if *known == view => Some(*code),
            _ => None,
        }
    }

    pub(super) fn keep(&mut self, view: u128, code: u32) {
        if self.places.is_empty() {
            self.places.resize(1 << PLACES_BITS, (NOTHING, 0));
        }
        self.places[place(view)] = (view, code);
    }
}

#[inline(always)]
fn place(view: u128) -> usize {
    let folded = view as u64 ^ ((view >> 64) as u64).rotate_left(32);
    (folded.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (u64::BITS - PLACES_BITS)) as usize
}

#[cfg(test)]
mod tests {
    use arrow::array::make_view;

    use super::*;

    #[test]
    fn what_was_kept_last_in_a_place_is_found() {
        let mut near = NearViews::default();
        let view = |n: u32| make_view(format!("v{n}").as_bytes(), 0, 0);
        assert_eq!(near.find(view(0)), None);
        for n in 0..3000 {
            near.keep(view(n), n);
            assert_eq!(near.find(view(n)), Some(n));
        }
        let found = (0..3000).filter_map(|n| near.find(view(n)).map(|code| (n, code)));
        let found: Vec<_> = found.collect();
        assert!(found.iter().all(|(n, code)| n == code));
        assert!(found.len() > 256, "{} are spread", found.len());
    }
}
