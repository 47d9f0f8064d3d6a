//! CityHash 1.1 (Pike, Alakuijala; Google, 2013), whose values Pinot gives too.
//!
//! The 128 bits are CityHash128 of `city.cc`: blocks of 128 bytes go through two pairs of 64 bits
//! and three words, what is below through [`murmur`].

use arrow::datatypes::DataType;
use cityhasher::hash as city;

use crate::docs::Section;
use crate::plain::{Plain, Takes};

const K0: u64 = 0xc3a5_c85c_97cb_3127;
const K1: u64 = 0xb492_b66f_be98_f273;
const K2: u64 = 0x9ae1_6a3b_2f90_404f;
const K_MUL: u64 = 0x9ddf_ea08_eb38_2d69;
const BLOCK: usize = 128;

type Pair = (u64, u64);

fn word(bytes: &[u8], at: usize) -> u64 {
    let mut word = [0; 8];
    word.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(word)
}

const fn shift_mix(value: u64) -> u64 {
    value ^ (value >> 47)
}

const fn of_two(u: u64, v: u64) -> u64 {
    let a = shift_mix((u ^ v).wrapping_mul(K_MUL));
    let b = shift_mix((v ^ a).wrapping_mul(K_MUL));
    b.wrapping_mul(K_MUL)
}

/// Of 32 bytes.
fn weak(bytes: &[u8], at: usize, a: u64, b: u64) -> Pair {
    let [w, x, y, z] = [0, 8, 16, 24].map(|offset| word(bytes, at + offset));
    let a = a.wrapping_add(w);
    let b = b.wrapping_add(a).wrapping_add(z).rotate_right(21);
    let c = a;
    let a = a.wrapping_add(x).wrapping_add(y);
    let b = b.wrapping_add(a.rotate_right(44));
    (a.wrapping_add(z), b.wrapping_add(c))
}

/// Below a block.
fn murmur(bytes: &[u8], (seed0, seed1): Pair) -> Pair {
    let (mut a, mut b) = (seed0, seed1);
    let (mut c, mut d);
    if bytes.len() <= 16 {
        a = shift_mix(a.wrapping_mul(K1)).wrapping_mul(K1);
        c = b.wrapping_mul(K1).wrapping_add(city::<u64>(bytes));
        let first = if bytes.len() >= 8 { word(bytes, 0) } else { c };
        d = shift_mix(a.wrapping_add(first));
    } else {
        let end = bytes.len();
        c = of_two(word(bytes, end - 8).wrapping_add(K1), a);
        d = of_two(
            b.wrapping_add(end as u64),
            c.wrapping_add(word(bytes, end - 16)),
        );
        a = a.wrapping_add(d);
        // The last 16 bytes, which may be whole, were taken above.
        for at in (0..end - 16).step_by(16) {
            let mixed = |at| shift_mix(word(bytes, at).wrapping_mul(K1)).wrapping_mul(K1);
            a = (a ^ mixed(at)).wrapping_mul(K1);
            b ^= a;
            c = (c ^ mixed(at + 8)).wrapping_mul(K1);
            d ^= c;
        }
    }
    let (a, b) = (of_two(a, c), of_two(d, b));
    (a ^ b, of_two(b, a))
}

/// What blocks are mixed into.
struct State {
    x: u64,
    y: u64,
    z: u64,
    v: Pair,
    w: Pair,
}

impl State {
    /// 64 bytes.
    fn take(&mut self, bytes: &[u8], at: usize) {
        let sum = self.x.wrapping_add(self.y).wrapping_add(self.v.0);
        self.x = sum.wrapping_add(word(bytes, at + 8));
        self.x = self.x.rotate_right(37).wrapping_mul(K1);
        let sum = self.y.wrapping_add(self.v.1);
        self.y = sum.wrapping_add(word(bytes, at + 48));
        self.y = self.y.rotate_right(42).wrapping_mul(K1);
        self.x ^= self.w.1;
        let more = self.v.0.wrapping_add(word(bytes, at + 40));
        self.y = self.y.wrapping_add(more);
        self.z = self.z.wrapping_add(self.w.0);
        self.z = self.z.rotate_right(33).wrapping_mul(K1);
        let (a, b) = (self.v.1.wrapping_mul(K1), self.x.wrapping_add(self.w.0));
        self.v = weak(bytes, at, a, b);
        let (a, b) = (self.z.wrapping_add(self.w.1), word(bytes, at + 16));
        self.w = weak(bytes, at + 32, a, self.y.wrapping_add(b));
        std::mem::swap(&mut self.z, &mut self.x);
    }
}

fn seeded(bytes: &[u8], (seed0, seed1): Pair) -> Pair {
    let len = bytes.len();
    if len < BLOCK {
        return murmur(bytes, (seed0, seed1));
    }
    let (x, y, z) = (seed0, seed1, K1.wrapping_mul(len as u64));
    let v0 = (y ^ K1).rotate_right(49).wrapping_mul(K1);
    let v0 = v0.wrapping_add(word(bytes, 0));
    let v1 = v0.rotate_right(42).wrapping_mul(K1);
    let v1 = v1.wrapping_add(word(bytes, 8));
    let w0 = y.wrapping_add(z).rotate_right(35).wrapping_mul(K1);
    let w1 = x.wrapping_add(word(bytes, 88)).rotate_right(53);
    let mut state = State {
        x,
        y,
        z,
        v: (v0, v1),
        w: (w0.wrapping_add(x), w1.wrapping_mul(K1)),
    };
    let whole = len / BLOCK * BLOCK;
    for at in (0..whole).step_by(BLOCK / 2) {
        state.take(bytes, at);
    }
    let State {
        mut x,
        mut y,
        mut z,
        mut v,
        mut w,
    } = state;
    x = x.wrapping_add(v.0.wrapping_add(z).rotate_right(49).wrapping_mul(K0));
    y = y.wrapping_mul(K0).wrapping_add(w.1.rotate_right(37));
    z = z.wrapping_mul(K0).wrapping_add(w.0.rotate_right(27));
    w.0 = w.0.wrapping_mul(9);
    v.0 = v.0.wrapping_mul(K0);
    // Pieces of 32 from the end, the last of which reaches into the blocks.
    for done in (0..len - whole).step_by(32) {
        let at = len - done - 32;
        y = x.wrapping_add(y).rotate_right(42).wrapping_mul(K0);
        y = y.wrapping_add(v.1);
        w.0 = w.0.wrapping_add(word(bytes, at + 16));
        x = x.wrapping_mul(K0).wrapping_add(w.0);
        z = z.wrapping_add(w.1).wrapping_add(word(bytes, at));
        w.1 = w.1.wrapping_add(v.0);
        v = weak(bytes, at, v.0.wrapping_add(z), v.1);
        v.0 = v.0.wrapping_mul(K0);
    }
    x = of_two(x, v.0);
    y = of_two(y.wrapping_add(z), w.0);
    (
        of_two(x.wrapping_add(v.1), w.1).wrapping_add(y),
        of_two(x.wrapping_add(w.1), y.wrapping_add(v.1)),
    )
}

fn city128(bytes: &[u8]) -> Vec<u8> {
    let (first, second) = match bytes.len() {
        16.. => seeded(
            &bytes[16..],
            (word(bytes, 0), word(bytes, 8).wrapping_add(K0)),
        ),
        _ => seeded(bytes, (K0, K1)),
    };
    [first.to_be_bytes(), second.to_be_bytes()].concat()
}

fn city64_seeded(bytes: &[u8], seed0: u64, seed1: u64) -> i64 {
    of_two(city::<u64>(bytes).wrapping_sub(seed0), seed1) as i64
}

pub(super) fn all() -> Vec<Plain> {
    use Takes::{Bytes, Long};
    vec![
        Plain::new("city_hash32", &[Bytes], DataType::Int64, |rows| {
            // As Pinot has them: 32 bits with a sign.
            rows.map(|bytes: &[u8]| Some(i64::from(city::<u32>(bytes) as i32)))
        })
        .says(
            Section::Hash,
            "CITYHASH32(bytes)",
            "CityHash of 32 bits.",
            &[("CITYHASH32('a')", "1016544589")],
        ),
        Plain::new(
            "city_hash64",
            &[Bytes, Long, Long],
            DataType::Int64,
            |rows| match (rows.has(1), rows.has(2)) {
                (false, _) => rows.map(|bytes: &[u8]| Some(city::<u64>(bytes) as i64)),
                (true, false) => {
                    rows.map2(|bytes: &[u8], seed: i64| Some(city64_seeded(bytes, K2, seed as u64)))
                }
                (true, true) => rows.map3(|bytes: &[u8], one: i64, other: i64| {
                    Some(city64_seeded(bytes, one as u64, other as u64))
                }),
            },
        )
        .optional(2)
        .says(
            Section::Hash,
            "CITYHASH64(bytes [, seed [, second seed]])",
            "CityHash of 64 bits.",
            &[("CITYHASH64('a')", "-5528939962900187677")],
        ),
        Plain::new("city_hash128", &[Bytes], DataType::BinaryView, |rows| {
            rows.map(|bytes: &[u8]| Some(city128(bytes)))
        })
        .says(
            Section::Hash,
            "CITYHASH128(bytes)",
            "CityHash of 128 bits.",
            &[("CITYHASH128('a')", "6e97d6bbdfc0a0c452a71e38f43be561")],
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::city128;
    use crate::conversion::to_hex;

    /// Of the reference implementation, for lengths around those at which it goes other ways.
    const OF_THE_REFERENCE: &[(usize, &str)] = &[
        (0, "3df09dfc64c09a2b3cb540c392e51e29"),
        (3, "4741ba3a1fae99c750b61bec9ab59eba"),
        (7, "15d40b9d530ecff5112f613ac1ef8e2f"),
        (8, "70cba4b79fd2d3744fcdbc4a704dfea2"),
        (15, "b9dbd5a88ad4da3b8d1c53d5190863bc"),
        (16, "572c51d036859c5fb42d965cda8da3b0"),
        (17, "28cf351a775d49e431662a494a6e4d25"),
        (31, "56a889b6274745585934185d0dc55a22"),
        (32, "3426af397f0dbcec2d22250a470033a1"),
        (33, "7d371cafbc091f71c8f260bf1ec967d3"),
        (40, "a306ce721a77d8f8eaf1394b98d1e323"),
        (48, "5b908846a289b7bec0cccd986d7954c3"),
        (127, "40994d24df534e34cf58e49edc5d978d"),
        (128, "e86f7bc035ea578d65c89280d3f3f350"),
        (143, "3ef9cdaeeaf0016dbca030dd02114ff8"),
        (144, "a430dde83a4986775452173ef1f6e701"),
        (145, "f4d0e957a2b4f27ce6abbb065e5e8b73"),
        (156, "edddbd754bde51f8b4b265c8ef25fcb0"),
        (200, "35b6914ca5d36bc2fad263a01d765781"),
        (255, "b8bf1413a1be22e3d1e0c735b50ab841"),
        (256, "75d9c61d19ce62ef236c63b045c52d6d"),
        (272, "3bdf4272ffbf0789088287fb938ea72a"),
        (273, "983df6101ee8893e965aefeab7e3618b"),
        (400, "d02b9111195f9c77a541d1c82521d0aa"),
        (1000, "c048f37b0000fc965389ec2d2f882c62"),
    ];

    #[test]
    fn values_are_those_of_the_reference() {
        for (len, wanted) in OF_THE_REFERENCE {
            let bytes: Vec<u8> = (0..*len).map(|at| (at * 37 + len) as u8).collect();
            assert_eq!(to_hex(&city128(&bytes)), *wanted, "{len} bytes");
        }
    }
}
