//! Codes of views that one array has again and again.
//!
//! Rows of a file whose texts come from a dictionary have the very same view for the same text:
//! then its bytes are neither hashed nor compared twice. Where hardly a view comes again, as in
//! texts out of messages, nobody looks for long.

const SLOTS_BITS: u32 = 10;
/// So many views are looked for before it is given up for the array.
const TRIES: u32 = 256;
/// One of so many must be found.
const WORTH: u32 = 8;

#[derive(Clone, Copy, Debug, Default)]
struct Slot {
    view: u128,
    code: u32,
    array: u32,
}

#[derive(Debug, Default)]
pub(super) struct SameViews {
    /// Each view in one place. Empty until the first is kept.
    slots: Vec<Slot>,
    /// Number of the array at hand: buffers of another may hold other bytes.
    array: u32,
    tries: u32,
    found: u32,
}

impl SameViews {
    /// Views of another array follow.
    pub(super) fn begin(&mut self) {
        (self.tries, self.found) = (0, 0);
        self.array = self.array.wrapping_add(1);
        if self.array == 0 {
            // Numbers come again: nothing of their first time may be left.
            self.slots.fill(Slot::default());
            self.array = 1;
        }
    }

    fn is_worth_it(&self) -> bool {
        self.tries < TRIES || self.found >= self.tries / WORTH
    }

    /// The code of a view with its bytes in a buffer.
    #[inline]
    pub(super) fn find(&mut self, view: u128) -> Option<u32> {
        if !self.is_worth_it() {
            return None;
        }
        self.tries += 1;
        let slot = self.slots.get(place(view))?;
        let is_it = slot.view == view && slot.array == self.array;
        self.found += u32::from(is_it);
        is_it.then_some(slot.code)
    }

    #[inline]
    pub(super) fn keep(&mut self, view: u128, code: u32) {
        if !self.is_worth_it() {
            return;
        }
        if self.slots.is_empty() {
            self.slots.resize(1 << SLOTS_BITS, Slot::default());
        }
        let array = self.array;
        self.slots[place(view)] = Slot { view, code, array };
    }
}

/// By the offset in the buffer, and the buffer.
fn place(view: u128) -> usize {
    let key = (view >> 64) as u64;
    (key.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (u64::BITS - SLOTS_BITS)) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(at: u32) -> u128 {
        u128::from(at) << 96 | 20
    }

    #[test]
    fn views_are_known_within_their_array_alone() {
        let mut same = SameViews::default();
        same.begin();
        assert_eq!(same.find(view(7)), None);
        same.keep(view(7), 3);
        assert_eq!((same.find(view(7)), same.find(view(8))), (Some(3), None));
        same.begin();
        assert_eq!(same.find(view(7)), None, "the buffers are others");
        same.keep(view(7), 4);
        assert_eq!(same.find(view(7)), Some(4));
        same.array = u32::MAX;
        same.begin();
        assert_eq!(same.find(view(7)), None);
    }

    #[test]
    fn it_is_given_up_where_nothing_comes_again() {
        let mut same = SameViews::default();
        same.begin();
        for at in 0..TRIES {
            assert_eq!(same.find(view(at)), None);
            same.keep(view(at), at);
        }
        same.keep(view(5000), 1);
        assert_eq!(same.find(view(5000)), None);
        same.begin();
        same.keep(view(5000), 1);
        assert_eq!(same.find(view(5000)), Some(1));
    }
}
