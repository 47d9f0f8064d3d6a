//! Searches through the values of a growing dictionary of texts or bytes, all of them in the order
//! of their codes.

use std::fmt;

use super::dictionary::{DictionaryReader, INLINE_MAX};

/// The values that a view knows.
#[derive(Clone, Copy)]
pub struct SeenTexts<'a> {
    dictionary: &'a DictionaryReader,
    cardinality: u32,
}

/// What a value begins with, as far as it is told without a look at the rest.
#[derive(Clone, Copy, Debug)]
pub struct Head {
    /// The first four bytes, the first of them the most significant, zeros behind shorter values.
    pub bytes: u32,
    pub length: u32,
}

impl Head {
    pub fn of(value: &[u8]) -> Self {
        let mut bytes = [0; 4];
        let held = value.len().min(4);
        bytes[..held].copy_from_slice(&value[..held]);
        Self {
            bytes: u32::from_be_bytes(bytes),
            length: value.len() as u32,
        }
    }

    fn of_view(view: u128) -> Self {
        Self {
            bytes: ((view >> 32) as u32).swap_bytes(),
            length: view as u32,
        }
    }
}

impl<'a> SeenTexts<'a> {
    pub(crate) fn new(dictionary: &'a DictionaryReader, cardinality: u32) -> Option<Self> {
        dictionary.holds_bytes().then_some(Self {
            dictionary,
            cardinality,
        })
    }

    pub fn cardinality(&self) -> u32 {
        self.cardinality
    }

    pub fn get(&self, code: u32) -> &'a [u8] {
        self.dictionary.value(code)
    }

    pub fn find(&self, value: &[u8]) -> Option<u32> {
        self.dictionary.find(value, self.cardinality)
    }

    /// One bit for each code whose value passes, as `by_head` says or, where that says nothing,
    /// `by_value`.
    pub fn passing(
        &self,
        by_head: impl Fn(Head) -> Option<bool>,
        by_value: impl Fn(&[u8]) -> bool,
    ) -> Vec<u64> {
        let mut passed = Bits::new(self.cardinality);
        let arena = self.dictionary.arena();
        self.each_view(|code, view| {
            let passes = by_head(Head::of_view(*view));
            if passes.unwrap_or_else(|| by_value(arena.value(view))) {
                passed.set(code);
            }
        });
        passed.0
    }

    /// One bit for each code whose value holds `piece` and passes `fits`. `find` searches for the
    /// piece, which is not empty.
    pub fn holding(
        &self,
        piece: &[u8],
        find: impl Fn(&[u8]) -> Option<usize>,
        fits: impl Fn(&[u8]) -> bool,
    ) -> Vec<u64> {
        let mut passed = Bits::new(self.cardinality);
        let arena = self.dictionary.arena();
        // Long values lie one behind the other, so there is one search for all of them.
        let next = |(mut chunk, mut at): (usize, usize)| loop {
            let bytes = arena.0.get(chunk)?;
            if let Some(found) = find(&bytes[at..]) {
                return Some((chunk, at + found));
            }
            (chunk, at) = (chunk + 1, 0);
        };
        let mut hit = next((0, 0));
        self.each_view(|code, view| {
            let length = *view as u32 as usize;
            let holds = match length {
                _ if length < piece.len() => false,
                0..=INLINE_MAX => find(arena.value(view)).is_some(),
                _ => {
                    let start = ((*view >> 64) as u32 as usize, (*view >> 96) as u32 as usize);
                    if hit.is_some_and(|hit| hit < start) {
                        hit = next(start);
                    }
                    let end = (start.0, start.1 + length - piece.len());
                    hit.is_some_and(|hit| hit <= end)
                }
            };
            if holds && fits(arena.value(view)) {
                passed.set(code);
            }
        });
        passed.0
    }

    fn each_view(&self, mut each: impl FnMut(u32, &u128)) {
        let mut code = 0;
        for views in self.dictionary.views(self.cardinality) {
            for view in views {
                each(code, view);
                code += 1;
            }
        }
    }
}

impl fmt::Debug for SeenTexts<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.dictionary.fmt(f)
    }
}

struct Bits(Vec<u64>);

impl Bits {
    fn new(count: u32) -> Self {
        Self(vec![0; count.div_ceil(64) as usize])
    }

    #[inline(always)]
    fn set(&mut self, at: u32) {
        self.0[at as usize / 64] |= 1 << (at % 64);
    }
}
