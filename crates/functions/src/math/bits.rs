//! Bits of whole numbers, which are LONGs. Shifts by more than there are bits begin anew, as in
//! Java.

use arrow::datatypes::DataType;

use crate::docs::Section;
use crate::plain::{Plain, Takes};

type Two = (
    &'static str,
    &'static [&'static str],
    fn(i64, i64) -> i64,
    [&'static str; 4],
);

const TWO: &[Two] = &[
    (
        "bit_and",
        &[],
        |a, b| a & b,
        [
            "BITAND(a, b)",
            "Bits that both have.",
            "BITAND(12, 10)",
            "8",
        ],
    ),
    (
        "bit_or",
        &[],
        |a, b| a | b,
        ["BITOR(a, b)", "Bits that any has.", "BITOR(12, 10)", "14"],
    ),
    (
        "bit_xor",
        &[],
        |a, b| a ^ b,
        [
            "BITXOR(a, b)",
            "Bits that just one has.",
            "BITXOR(12, 10)",
            "6",
        ],
    ),
    (
        "bit_shift_left",
        &[],
        |a, b| a.wrapping_shl(b as u32),
        [
            "BITSHIFTLEFT(a, by)",
            "Bits moved up.",
            "BITSHIFTLEFT(3, 2)",
            "12",
        ],
    ),
    (
        "bit_shift_right",
        &[],
        |a, b| a.wrapping_shr(b as u32),
        [
            "BITSHIFTRIGHT(a, by)",
            "Bits moved down; the sign stays.",
            "BITSHIFTRIGHT(-8, 1)",
            "-4",
        ],
    ),
    (
        "bit_shift_right_unsigned",
        &["bit_shift_right_logical"],
        |a, b| (a as u64).wrapping_shr(b as u32) as i64,
        [
            "BITSHIFTRIGHTUNSIGNED(a, by)",
            "Bits moved down, with zeros above.",
            "BITSHIFTRIGHTUNSIGNED(-8, 60)",
            "15",
        ],
    ),
    (
        "bit_extract",
        &["extract_bit"],
        |a, b| a.wrapping_shr(b as u32) & 1,
        [
            "BITEXTRACT(a, place)",
            "The bit at a place, from 0 on. Also called EXTRACTBIT.",
            "BITEXTRACT(5, 2)",
            "1",
        ],
    ),
];

pub(super) fn all() -> Vec<Plain> {
    use Takes::Long;
    let long = || DataType::Int64;
    let two = TWO
        .iter()
        .map(|(name, aliases, of, [syntax, about, call, value])| {
            let function = Plain::new(*name, &[Long, Long], long(), |rows| {
                rows.map2(|a: i64, b: i64| Some(of(a, b)))
            });
            let named = aliases
                .iter()
                .fold(function, |function, name| function.alias(*name));
            named
                .of_entries()
                .says(Section::Bits, syntax, about, &[(call, value)])
        });
    let one = |name: &str, of: fn(i64) -> i64| {
        Plain::new(name, &[Long], long(), move |rows| {
            rows.map(|a: i64| Some(of(a)))
        })
        .of_entries()
    };
    let one = [
        one("bit_not", |a| !a).says(
            Section::Bits,
            "BITNOT(a)",
            "Bits that the number has not.",
            &[("BITNOT(5)", "-6")],
        ),
        one("bit_mask", |a| 1i64.wrapping_shl(a as u32)).says(
            Section::Bits,
            "BITMASK(place)",
            "The number with one bit at a place, from 0 on.",
            &[("BITMASK(3)", "8")],
        ),
        Plain::new("pinot_bit_count", &[Long], DataType::Int32, |rows| {
            rows.map(|a: i64| Some(a.count_ones() as i32))
        })
        .of_entries()
        .in_pinot(&["BIT_COUNT"])
        .says(
            Section::Bits,
            "BITCOUNT(a)",
            "How many bits the number has.",
            &[("BITCOUNT(7)", "3")],
        ),
    ];
    two.chain(one).collect()
}
