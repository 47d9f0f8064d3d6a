//! Which instruction set the kernels use: the best of this CPU, or less where somebody asked.
//!
//! A level is never above what the CPU has, whoever sets it: that is what the kernels rely on.

use std::sync::atomic::{AtomicU8, Ordering};

/// Instruction sets; of those that a kind of CPU has, each with all of the one before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    Scalar,
    /// 64-bit ARM, every one.
    Neon,
    /// AVX2 and POPCNT: Haswell, Zen.
    Avx2,
    /// AVX-512 F, BW and VBMI: Ice Lake, Zen 4.
    Avx512,
}

impl Level {
    pub const ALL: [Self; 4] = [Self::Scalar, Self::Neon, Self::Avx2, Self::Avx512];

    /// The best of this CPU.
    pub fn of_cpu() -> Self {
        #[cfg(target_arch = "x86_64")]
        {
            let has_avx2 = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("popcnt");
            let has_avx512 = is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512bw")
                && is_x86_feature_detected!("avx512vbmi");
            if has_avx2 && has_avx512 {
                return Self::Avx512;
            }
            if has_avx2 {
                return Self::Avx2;
            }
        }
        if cfg!(target_arch = "aarch64") {
            return Self::Neon;
        }
        Self::Scalar
    }

    /// Uses no more than this from now on, in the whole process; what is used.
    ///
    /// For comparing levels: they differ in speed, not in results.
    pub fn limit(self) -> Self {
        let level = match self.min(Self::of_cpu()) {
            Self::Neon if !cfg!(target_arch = "aarch64") => Self::Scalar,
            level => level,
        };
        CURRENT.store(level as u8, Ordering::Relaxed);
        level
    }

    #[inline]
    pub(crate) fn current() -> Self {
        match CURRENT.load(Ordering::Relaxed) {
            0 => Self::Scalar,
            1 => Self::Neon,
            2 => Self::Avx2,
            3 => Self::Avx512,
            _ => Self::Avx512.limit(),
        }
    }
}

const UNKNOWN: u8 = u8::MAX;

/// A level that the CPU has, or [`UNKNOWN`].
static CURRENT: AtomicU8 = AtomicU8::new(UNKNOWN);
