//! The hashes behind partition functions, bit for bit as Java's clients compute them: producers and
//! brokers must agree on where a key goes.

/// MurmurHash2 with the seed of Kafka's producers.
pub fn murmur2(bytes: &[u8]) -> i32 {
    const M: u32 = 0x5bd1_e995;
    let mut hash = 0x9747_b28c ^ bytes.len() as u32;
    let (words, tail) = bytes.as_chunks::<4>();
    for word in words {
        let mut k = u32::from_le_bytes(*word).wrapping_mul(M);
        k ^= k >> 24;
        hash = hash.wrapping_mul(M) ^ k.wrapping_mul(M);
    }
    if !tail.is_empty() {
        hash = (hash ^ little_endian(tail) as u32).wrapping_mul(M);
    }
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(M);
    (hash ^ (hash >> 15)) as i32
}

/// MurmurHash3, the 32-bit one.
pub fn murmur3_x86(bytes: &[u8], seed: i32) -> i32 {
    let scrambled = |k: u32| {
        let k = k.wrapping_mul(0xcc9e_2d51).rotate_left(15);
        k.wrapping_mul(0x1b87_3593)
    };
    let mut hash = seed as u32;
    let (words, tail) = bytes.as_chunks::<4>();
    for word in words {
        hash ^= scrambled(u32::from_le_bytes(*word));
        hash = hash
            .rotate_left(13)
            .wrapping_mul(5)
            .wrapping_add(0xe654_6b64);
    }
    hash ^= scrambled(little_endian(tail) as u32);
    hash ^= bytes.len() as u32;
    hash = (hash ^ (hash >> 16)).wrapping_mul(0x85eb_ca6b);
    hash = (hash ^ (hash >> 13)).wrapping_mul(0xc2b2_ae35);
    (hash ^ (hash >> 16)) as i32
}

/// The upper half of what Infinispan and Debezium compute: an early draft of MurmurHash3, whose
/// last bytes are taken with their sign.
pub fn murmur3_x64(bytes: &[u8], seed: i32) -> i32 {
    (murmur3_draft(bytes, seed)[0] >> 32) as i32
}

/// All of it.
pub fn murmur3_draft(bytes: &[u8], seed: i32) -> [u64; 2] {
    let seed = i64::from(seed) as u64;
    let mut state = State {
        h1: 0x9368_e53c_2f6a_f274 ^ seed,
        h2: 0x586d_cd20_8f7c_d3fd ^ seed,
        c1: 0x87c3_7b91_1142_53d5,
        c2: 0x4cf5_ad43_2745_937f,
    };
    let (pairs, tail) = bytes.as_chunks::<16>();
    for pair in pairs {
        let (k1, k2) = pair.split_at(8);
        state.mix(little_endian(k1), little_endian(k2));
    }
    if !tail.is_empty() {
        let (k1, k2) = tail.split_at(tail.len().min(8));
        state.mix(signed(k1), signed(k2));
    }
    let State { mut h1, mut h2, .. } = state;
    h2 ^= bytes.len() as u64;
    h1 = h1.wrapping_add(h2);
    h2 = h2.wrapping_add(h1);
    (h1, h2) = (finished(h1), finished(h2));
    h1 = h1.wrapping_add(h2);
    [h1, h2.wrapping_add(h1)]
}

/// MurmurHash2 of 64 bits, form A.
pub fn murmur2_64(bytes: &[u8], seed: i32) -> i64 {
    const M: u64 = 0xc6a4_a793_5bd1_e995;
    let mut hash = u64::from(seed as u32) ^ (bytes.len() as u64).wrapping_mul(M);
    let (words, tail) = bytes.as_chunks::<8>();
    for word in words {
        let mut k = u64::from_le_bytes(*word).wrapping_mul(M);
        k ^= k >> 47;
        hash = (hash ^ k.wrapping_mul(M)).wrapping_mul(M);
    }
    if !tail.is_empty() {
        hash = (hash ^ little_endian(tail)).wrapping_mul(M);
    }
    hash = (hash ^ (hash >> 47)).wrapping_mul(M);
    (hash ^ (hash >> 47)) as i64
}

/// MurmurHash3 of 128 bits for machines of 64.
pub fn murmur3_128(bytes: &[u8], seed: i32) -> [u64; 2] {
    const C1: u64 = 0x87c3_7b91_1142_53d5;
    const C2: u64 = 0x4cf5_ad43_2745_937f;
    let of_first = |k: u64| k.wrapping_mul(C1).rotate_left(31).wrapping_mul(C2);
    let of_second = |k: u64| k.wrapping_mul(C2).rotate_left(33).wrapping_mul(C1);
    let (mut h1, mut h2) = (u64::from(seed as u32), u64::from(seed as u32));
    let (pairs, tail) = bytes.as_chunks::<16>();
    for pair in pairs {
        let (k1, k2) = pair.split_at(8);
        h1 = (h1 ^ of_first(little_endian(k1))).rotate_left(27);
        h1 = h1
            .wrapping_add(h2)
            .wrapping_mul(5)
            .wrapping_add(0x52dc_e729);
        h2 = (h2 ^ of_second(little_endian(k2))).rotate_left(31);
        h2 = h2
            .wrapping_add(h1)
            .wrapping_mul(5)
            .wrapping_add(0x3849_5ab5);
    }
    let (k1, k2) = tail.split_at(tail.len().min(8));
    h1 ^= of_first(little_endian(k1)) ^ bytes.len() as u64;
    h2 ^= of_second(little_endian(k2)) ^ bytes.len() as u64;
    h1 = h1.wrapping_add(h2);
    h2 = h2.wrapping_add(h1);
    (h1, h2) = (finished(h1), finished(h2));
    h1 = h1.wrapping_add(h2);
    [h1, h2.wrapping_add(h1)]
}

struct State {
    h1: u64,
    h2: u64,
    c1: u64,
    c2: u64,
}

impl State {
    fn mix(&mut self, k1: u64, k2: u64) {
        let Self { h1, h2, c1, c2 } = self;
        *h1 ^= k1.wrapping_mul(*c1).rotate_left(23).wrapping_mul(*c2);
        *h1 = h1.wrapping_add(*h2);
        *h2 = h2.rotate_left(41);
        *h2 ^= k2.wrapping_mul(*c2).rotate_left(23).wrapping_mul(*c1);
        *h2 = h2.wrapping_add(*h1);
        *h1 = h1.wrapping_mul(3).wrapping_add(0x52dc_e729);
        *h2 = h2.wrapping_mul(3).wrapping_add(0x3849_5ab5);
        *c1 = c1.wrapping_mul(5).wrapping_add(0x7b7d_159c);
        *c2 = c2.wrapping_mul(5).wrapping_add(0x6bce_6396);
    }
}

fn finished(mut k: u64) -> u64 {
    k = (k ^ (k >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    k = (k ^ (k >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    k ^ (k >> 33)
}

/// Of at most eight bytes.
fn little_endian(bytes: &[u8]) -> u64 {
    let shifted = (0..)
        .zip(bytes)
        .map(|(at, byte)| u64::from(*byte) << (8 * at));
    shifted.fold(0, |all, byte| all | byte)
}

/// Of at most eight bytes, each with its sign.
fn signed(bytes: &[u8]) -> u64 {
    let byte_at = |(at, byte): (u32, &u8)| (i64::from(*byte as i8) << (8 * at)) as u64;
    (0..)
        .zip(bytes)
        .map(byte_at)
        .fold(0, |all, byte| all ^ byte)
}

/// `String.hashCode`.
pub(super) fn java_string(text: &str) -> i32 {
    let units = text.encode_utf16();
    units.fold(0, |hash: i32, unit| {
        hash.wrapping_mul(31).wrapping_add(unit.into())
    })
}

/// `Arrays.hashCode` of bytes.
pub(super) fn java_bytes(bytes: &[u8]) -> i32 {
    let signed = bytes.iter().map(|byte| i32::from(*byte as i8));
    signed.fold(1, |hash: i32, byte| {
        hash.wrapping_mul(31).wrapping_add(byte)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::partition::{Murmur3, PartitionFunction, Partitioning};

    /// `java.util.Random::nextBytes`, by which Pinot's tests make their values.
    struct JavaRandom(u64);

    impl JavaRandom {
        fn new(seed: u64) -> Self {
            Self((seed ^ 0x5_deec_e66d) & ((1 << 48) - 1))
        }

        fn seven(&mut self) -> [u8; 7] {
            let mut bytes = [0; 7];
            for chunk in bytes.chunks_mut(4) {
                self.0 = (self.0.wrapping_mul(0x5_deec_e66d) + 0xb) & ((1 << 48) - 1);
                let number = (self.0 >> 16) as u32;
                chunk.copy_from_slice(&number.to_le_bytes()[..chunk.len()]);
            }
            bytes
        }
    }

    fn hashes(hash: impl Fn(&[u8]) -> i32) -> [i32; 10] {
        let mut random = JavaRandom::new(100);
        [(); 10].map(|()| hash(&random.seven()))
    }

    #[test]
    fn as_kafka_hashes() {
        let wanted = [
            -1044832774,
            -594851693,
            1441878663,
            1766739604,
            1034724141,
            -296671913,
            443511156,
            1483601453,
            1819695080,
            -931669296,
        ];
        assert_eq!(hashes(murmur2), wanted);
        assert_eq!(murmur2(b"foobar"), -790332482);
        assert_eq!(murmur2(b"a-little-bit-long-string"), -985981536);
        assert_eq!(murmur2(b"abc"), 479470107);
    }

    #[test]
    fn as_pinot_hashes() {
        let wanted = [
            1255034832,
            -395463542,
            659973067,
            1070436837,
            -1193041642,
            -1412829846,
            -483463488,
            -1385092001,
            568671606,
            -807299446,
        ];
        assert_eq!(hashes(|bytes| murmur3_x86(bytes, 0)), wanted);
        let wanted = [
            -590969347,
            -315366997,
            1642137565,
            -1732240651,
            -597560989,
            -1430018124,
            -448506674,
            410998174,
            -1912106487,
            -19253806,
        ];
        assert_eq!(hashes(|bytes| murmur3_x86(bytes, 9001)), wanted);
        let wanted = [
            -1569442405,
            -921191038,
            16439113,
            -881572510,
            2111401876,
            655879980,
            1409856380,
            -1348364123,
            -1770645361,
            1277101955,
        ];
        assert_eq!(hashes(|bytes| murmur3_x64(bytes, 0)), wanted);
        let wanted = [
            698083240,
            174075836,
            -938825597,
            155806634,
            -831733828,
            319389887,
            -939822329,
            -1785781936,
            -1796939240,
            757512622,
        ];
        assert_eq!(hashes(|bytes| murmur3_x64(bytes, 9001)), wanted);
    }

    /// Values of the authors' own code, as the packages `mmh3` and `murmurhash2` of Python have it.
    #[test]
    fn wide_hashes_are_those_of_their_authors() {
        let of_foo = [-2129773440516405919_i64, 9128664383759220103].map(|half| half as u64);
        assert_eq!(murmur3_128(b"foo", 0), of_foo);
    }

    /// The partitions that Pinot's tests want of the same bytes as texts.
    #[test]
    fn as_pinot_partitions() {
        let of = |function| {
            let by = Partitioning {
                function,
                partitions: 5,
            };
            let mut random = JavaRandom::new(100);
            [(); 10].map(|()| {
                by.of_text(&String::from_utf8_lossy(&random.seven()))
                    .unwrap()
            })
        };
        let murmur3 = |seed, variant| of(PartitionFunction::Murmur3 { seed, variant });
        assert_eq!(
            of(PartitionFunction::Murmur),
            [1, 4, 4, 1, 1, 2, 0, 4, 2, 3]
        );
        assert_eq!(murmur3(0, Murmur3::X64), [4, 1, 3, 2, 0, 3, 3, 2, 0, 1]);
        assert_eq!(murmur3(9001, Murmur3::X64), [2, 1, 4, 2, 2, 2, 2, 1, 3, 3]);
        assert_eq!(murmur3(0, Murmur3::X86), [4, 3, 3, 2, 3, 4, 0, 3, 1, 4]);
        assert_eq!(murmur3(9001, Murmur3::X86), [2, 1, 3, 2, 2, 1, 1, 4, 4, 2]);
        assert_eq!(
            of(PartitionFunction::ByteArray),
            [1, 3, 2, 0, 0, 4, 4, 1, 2, 4]
        );
    }

    #[test]
    fn texts_of_every_length_are_taken_whole() {
        let text: String = ('a'..='z').chain('0'..='9').collect();
        let distinct = |hash: &dyn Fn(&[u8]) -> i32| {
            let all: std::collections::HashSet<i32> = (0..=text.len())
                .map(|end| hash(&text.as_bytes()[..end]))
                .collect();
            all.len()
        };
        for hash in [
            &murmur2 as &dyn Fn(&[u8]) -> i32,
            &|bytes: &[u8]| murmur3_x86(bytes, 0),
            &|bytes: &[u8]| murmur3_x64(bytes, 0),
            &java_bytes,
        ] {
            assert_eq!(distinct(hash), text.len() + 1);
        }
    }
}
