//! How many documents hold each code: mostly few, seldom many.
//!
//! ```text
//! COUNTS := cardinality × u8; 255: it is in MORE
//! MORE   := (code: u32 | documents: u32)*, ascending, 255 documents or more
//! ```
//!
//! or, where that is no shorter, one u32 for each code.

use std::ops::Range;

use crate::CorruptIndex;

/// A count that says: look in `MORE`.
const MANY: u8 = u8::MAX;

/// `COUNTS` and `MORE`; `None`: numbers of four bytes take no more.
pub fn narrowed(counts: &[u32]) -> Option<(Vec<u8>, Vec<u32>)> {
    let is_many = |count: u32| count >= u32::from(MANY);
    let many = counts.iter().filter(|count| is_many(**count)).count();
    if counts.len() + many * 8 >= counts.len() * 4 {
        return None;
    }
    let few = counts.iter().map(|count| (*count).min(MANY.into()) as u8);
    let more = (0u32..).zip(counts).filter(|(_, count)| is_many(**count));
    let more = more.flat_map(|(code, count)| [code, *count]);
    Some((few.collect(), more.collect()))
}

/// Numbers that were [checked](DocCounts::check) before.
#[derive(Clone, Copy, Debug)]
pub struct DocCounts<'a>(Form<'a>);

#[derive(Clone, Copy, Debug)]
enum Form<'a> {
    Wide(&'a [u32]),
    Narrow(&'a [u8], &'a [[u32; 2]]),
}

impl<'a> DocCounts<'a> {
    pub fn wide(counts: &'a [u32]) -> Self {
        Self(Form::Wide(counts))
    }

    /// `more` are pairs.
    pub fn narrow(counts: &'a [u8], more: &'a [u32]) -> Self {
        Self(Form::Narrow(counts, more.as_chunks().0))
    }

    /// Codes, not documents.
    pub fn len(self) -> usize {
        match self.0 {
            Form::Wide(counts) => counts.len(),
            Form::Narrow(counts, _) => counts.len(),
        }
    }

    pub fn is_empty(self) -> bool {
        self.len() == 0
    }

    pub fn get(self, code: u32) -> u32 {
        match self.0 {
            Form::Wide(counts) => counts[code as usize],
            Form::Narrow(counts, more) => match counts[code as usize] {
                MANY => more[more.partition_point(|[at, _]| *at < code)][1],
                few => few.into(),
            },
        }
    }

    /// Of all codes of a range together.
    pub fn sum(self, codes: Range<u32>) -> u64 {
        let range = codes.start as usize..codes.end as usize;
        match self.0 {
            Form::Wide(counts) => counts[range].iter().map(|count| u64::from(*count)).sum(),
            Form::Narrow(counts, more) => {
                let few: u64 = counts[range].iter().map(|count| u64::from(*count)).sum();
                let from = more.partition_point(|[at, _]| *at < codes.start);
                let to = more.partition_point(|[at, _]| *at < codes.end);
                let past = |count: u32| u64::from(count - u32::from(MANY));
                few + more[from..to]
                    .iter()
                    .map(|[_, count]| past(*count))
                    .sum::<u64>()
            }
        }
    }

    /// Calls `each` with every code and its count.
    pub fn each(self, mut each: impl FnMut(u32, u32)) {
        match self.0 {
            Form::Wide(counts) => (0..)
                .zip(counts)
                .for_each(|(code, count)| each(code, *count)),
            Form::Narrow(counts, more) => {
                let mut more = more.iter().map(|[_, count]| *count);
                for (code, few) in (0..).zip(counts) {
                    match *few {
                        MANY => each(code, more.next().unwrap_or(MANY.into())),
                        few => each(code, few.into()),
                    }
                }
            }
        }
    }

    /// `MORE` has just the codes that `COUNTS` send there.
    pub fn check(self) -> Result<(), CorruptIndex> {
        let Form::Narrow(counts, more) = self.0 else {
            return Ok(());
        };
        let wanted = counts.iter().filter(|count| **count == MANY).count();
        if wanted != more.len() {
            return Err(CorruptIndex::Length {
                wanted: wanted as u64 * 8,
                got: more.len() as u64 * 8,
            });
        }
        let mut next = 0;
        for (index, [code, count]) in (0..).zip(more) {
            let is_many = counts.get(*code as usize) == Some(&MANY) && *count >= MANY.into();
            if *code < next || !is_many {
                return Err(CorruptIndex::OffsetsDecrease { index });
            }
            next = code + 1;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::{DocCounts, narrowed};

    proptest! {
        #[test]
        fn both_forms_tell_the_same(
            counts in vec(prop_oneof![9 => 0..300_u32, 1 => any::<u32>()], 40..200),
            ends in (0..41_u32, 0..41_u32),
        ) {
            let wide = DocCounts::wide(&counts);
            let Some((few, more)) = narrowed(&counts) else {
                prop_assert!(counts.iter().filter(|count| **count > 254).count() * 8 >= 120);
                return Ok(());
            };
            let narrow = DocCounts::narrow(&few, &more);
            narrow.check().unwrap();
            let range = ends.0.min(ends.1)..ends.0.max(ends.1).min(40);
            prop_assert_eq!(narrow.sum(range.clone()), wide.sum(range));
            let mut each = Vec::new();
            narrow.each(|code, count| each.push((code, count)));
            for (code, count) in (0..).zip(&counts) {
                prop_assert_eq!(narrow.get(code), *count);
                prop_assert_eq!(each[code as usize], (code, *count));
            }
        }
    }

    #[test]
    fn what_does_not_fit_together_is_found() {
        let is_wrong = |few: &[u8], more: &[u32]| DocCounts::narrow(few, more).check().is_err();
        assert!(!is_wrong(&[255, 3, 255], &[0, 255, 2, 900]));
        assert!(is_wrong(&[255, 3, 255], &[0, 255]));
        assert!(is_wrong(&[255, 3, 255], &[2, 900, 0, 255]));
        assert!(is_wrong(&[255, 3, 255], &[0, 255, 0, 900]));
        assert!(is_wrong(&[255, 3, 255], &[0, 255, 1, 900]));
        assert!(is_wrong(&[255, 3, 255], &[0, 255, 3, 900]));
        assert!(is_wrong(&[255, 3, 255], &[0, 254, 2, 900]));
    }
}
