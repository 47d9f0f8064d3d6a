//! Numbers of three bytes, widened to four.

use super::Level;

/// Replaces what is in `into` by the little-endian numbers of three bytes each; what is left over
/// is no number.
pub fn widen_triples(bytes: &[u8], into: &mut Vec<u32>) {
    let (triples, _) = bytes.as_chunks::<3>();
    into.clear();
    into.reserve(triples.len());
    let rest = match Level::current() {
        #[cfg(target_arch = "x86_64")]
        Level::Avx512 => {
            let (chunks, rest) = triples.as_chunks::<16>();
            // SAFETY: the CPU has what the level says; `into` is empty and has room for every
            // number.
            unsafe { super::avx512::widen_triples(chunks, into) };
            rest
        }
        #[cfg(target_arch = "x86_64")]
        Level::Avx2 => {
            let (chunks, rest) = triples.as_chunks::<8>();
            // SAFETY: as above.
            unsafe { super::avx2::widen_triples(chunks, into) };
            rest
        }
        #[cfg(target_arch = "aarch64")]
        Level::Neon => {
            let (chunks, rest) = triples.as_chunks::<8>();
            // SAFETY: as above.
            unsafe { super::neon::widen_triples(chunks, into) };
            rest
        }
        _ => triples,
    };
    let widened = rest
        .iter()
        .map(|[low, middle, high]| u32::from_le_bytes([*low, *middle, *high, 0]));
    into.extend(widened);
}
