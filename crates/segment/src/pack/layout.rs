//! How the numbers of a buffer are laid out before they are compressed: byte by byte.
//!
//! ```text
//! LAID_OUT := of all numbers the first byte, then of all the second, …; what is left over as it is
//! ```
//!
//! With `steps`, each number is its difference from the one before, which wraps around. It is not
//! told what a buffer holds: every layout is tried on a few pieces of it, and the best is taken.

use std::borrow::Cow;
use std::io;

use zstd::bulk::Compressor;

/// Pieces of a buffer that are tried, and the bytes of each.
const SAMPLES: usize = 3;
const SAMPLE_BYTES: usize = 1 << 13;
/// Where nothing is gained by a layout.
const BYTES_MIN: usize = 64;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Layout {
    width: u8,
    has_steps: bool,
}

const PLAIN: Layout = Layout {
    width: 1,
    has_steps: false,
};

impl Layout {
    /// `None`: there is none such.
    pub(super) fn new(width: u8, has_steps: bool) -> Option<Self> {
        let layout = Self { width, has_steps };
        (layout == PLAIN || matches!(width, 2 | 3 | 4 | 8)).then_some(layout)
    }

    /// The best for these bytes.
    pub(super) fn of(bytes: &[u8], compressor: &mut Compressor<'_>) -> io::Result<Self> {
        if bytes.len() < BYTES_MIN {
            return Ok(PLAIN);
        }
        let sample = sample(bytes);
        let mut best = (PLAIN, compressor.compress(&sample)?.len());
        for width in [2, 3, 4, 8] {
            for has_steps in [false, true] {
                let layout = Self { width, has_steps };
                let laid_out = layout.lay_out(&sample);
                let packed = compressor.compress(&laid_out)?.len();
                if packed < best.1 {
                    best = (layout, packed);
                }
            }
        }
        Ok(best.0)
    }

    pub(super) fn width(self) -> u8 {
        self.width
    }

    pub(super) fn has_steps(self) -> bool {
        self.has_steps
    }

    pub(super) fn lay_out(self, bytes: &[u8]) -> Cow<'_, [u8]> {
        match self.width {
            2 => Cow::Owned(lay_out::<2>(bytes, self.has_steps)),
            3 => Cow::Owned(lay_out::<3>(bytes, self.has_steps)),
            4 => Cow::Owned(lay_out::<4>(bytes, self.has_steps)),
            8 => Cow::Owned(lay_out::<8>(bytes, self.has_steps)),
            _ => Cow::Borrowed(bytes),
        }
    }

    pub(super) fn put_back(self, laid_out: &[u8]) -> Cow<'_, [u8]> {
        match self.width {
            2 => Cow::Owned(put_back::<2>(laid_out, self.has_steps)),
            3 => Cow::Owned(put_back::<3>(laid_out, self.has_steps)),
            4 => Cow::Owned(put_back::<4>(laid_out, self.has_steps)),
            8 => Cow::Owned(put_back::<8>(laid_out, self.has_steps)),
            _ => Cow::Borrowed(laid_out),
        }
    }
}

/// Pieces from all over; all of a short buffer. They begin where numbers of any width do.
fn sample(bytes: &[u8]) -> Cow<'_, [u8]> {
    if bytes.len() <= SAMPLES * SAMPLE_BYTES {
        return Cow::Borrowed(bytes);
    }
    let step = (bytes.len() - SAMPLE_BYTES) / (SAMPLES - 1) / 24 * 24;
    let pieces = (0..SAMPLES).map(|at| &bytes[at * step..][..SAMPLE_BYTES]);
    Cow::Owned(pieces.collect::<Vec<_>>().concat())
}

fn number<const N: usize>(bytes: [u8; N]) -> u64 {
    let mut word = [0; 8];
    word[..N].copy_from_slice(&bytes);
    u64::from_le_bytes(word)
}

fn lay_out<const N: usize>(bytes: &[u8], has_steps: bool) -> Vec<u8> {
    let (numbers, rest) = bytes.as_chunks::<N>();
    let mut out = vec![0; bytes.len()];
    let count = numbers.len();
    let mut before = 0_u64;
    for (at, bytes) in numbers.iter().enumerate() {
        let own = number(*bytes);
        let stored = if has_steps {
            own.wrapping_sub(before)
        } else {
            own
        };
        for (plane, byte) in stored.to_le_bytes()[..N].iter().enumerate() {
            out[plane * count + at] = *byte;
        }
        before = own;
    }
    out[count * N..].copy_from_slice(rest);
    out
}

fn put_back<const N: usize>(laid_out: &[u8], has_steps: bool) -> Vec<u8> {
    let count = laid_out.len() / N;
    let mut out = Vec::with_capacity(laid_out.len());
    let mut before = 0_u64;
    for at in 0..count {
        let mut bytes = [0; N];
        for (plane, byte) in bytes.iter_mut().enumerate() {
            *byte = laid_out[plane * count + at];
        }
        if has_steps {
            before = before.wrapping_add(number(bytes));
            bytes.copy_from_slice(&before.to_le_bytes()[..N]);
        }
        out.extend_from_slice(&bytes);
    }
    out.extend_from_slice(&laid_out[count * N..]);
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_layout_is_put_back(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let plain = PLAIN.lay_out(&bytes).into_owned();
            prop_assert_eq!(PLAIN.put_back(&plain).into_owned(), bytes.clone());
            for width in [2, 3, 4, 8] {
                for has_steps in [false, true] {
                    let layout = Layout::new(width, has_steps).unwrap();
                    let laid_out = layout.lay_out(&bytes);
                    prop_assert_eq!(laid_out.len(), bytes.len());
                    prop_assert_eq!(layout.put_back(&laid_out).into_owned(), bytes.clone());
                }
            }
        }
    }

    fn layout_of(bytes: &[u8]) -> Layout {
        let mut compressor = Compressor::new(super::super::LEVEL).unwrap();
        Layout::of(bytes, &mut compressor).unwrap()
    }

    #[test]
    fn the_best_layout_is_found() {
        // Splitmix64.
        let noise = |at: u32| {
            let z = u64::from(at).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            let z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
            (z >> 33) as u32
        };
        let of = |number: &dyn Fn(u32) -> u32| {
            let bytes = (0..100_000).flat_map(|at| number(at).to_le_bytes());
            layout_of(&bytes.collect::<Vec<_>>())
        };
        assert!(of(&|at| noise(at) % 5000 * 11).width() > 1);
        assert!(of(&|at| at * 1000 + noise(at) % 900).has_steps());
        assert_eq!(layout_of(b""), PLAIN);
        assert_eq!(Layout::new(5, false), None);
        assert_eq!(Layout::new(1, true), None);
    }
}
