//! FACTORIAL, WIDTHBUCKET, BYTESWAPINT: of whole numbers.

use arrow::datatypes::DataType;

use crate::arguments::wrong;
use crate::docs::Section;
use crate::plain::{Plain, Takes};

fn factorial(n: i64) -> Option<i64> {
    let n = u64::try_from(n).ok()?;
    (2..=n).try_fold(1i64, |product, factor| {
        product.checked_mul(i64::try_from(factor).ok()?)
    })
}

/// The number of the bucket from 1 on, 0 below them and one more above.
fn bucket(x: f64, low: f64, high: f64, count: i64) -> Option<i64> {
    if x.is_nan() {
        return None;
    }
    let (x, low, high) = if low > high {
        (-x, -low, -high)
    } else {
        (x, low, high)
    };
    Some(match x {
        x if x < low => 0,
        x if x >= high => count + 1,
        _ => ((x - low) / (high - low) * count as f64) as i64 + 1,
    })
}

pub(super) fn all() -> Vec<Plain> {
    use Takes::{Double, Int, Long};
    let long = || DataType::Int64;
    vec![
        Plain::new("pinot_factorial", &[Long], long(), |rows| {
            rows.try_map(|n: i64| {
                let fault = || wrong(format!("FACTORIAL: {n} is not from 0 to 20"));
                factorial(n).map(Some).ok_or_else(fault)
            })
        })
        .of_entries()
        .in_pinot(&["FACTORIAL"])
        .says(
            Section::Math,
            "FACTORIAL(n)",
            "The product of all whole numbers up to n, which is at most 20.",
            &[("FACTORIAL(5)", "120")],
        ),
        Plain::new(
            "width_bucket",
            &[Double, Double, Double, Long],
            long(),
            |rows| {
                rows.try_map4(|x: f64, low: f64, high: f64, count: i64| {
                    match count > 0 && low != high {
                        true => Ok(bucket(x, low, high, count)),
                        false => Err(wrong(
                            "WIDTHBUCKET: the ends differ and there is at least one bucket",
                        )),
                    }
                })
            },
        )
        .says(
            Section::Math,
            "WIDTHBUCKET(x, low, high, count)",
            "In which of so many buckets of one width the number is, from 1 on; 0 below them and \
             one more above.",
            &[("WIDTHBUCKET(5.3, 0, 10, 5)", "3")],
        ),
        Plain::new("byteswap_int", &[Int], DataType::Int32, |rows| {
            rows.map(|x: i32| Some(x.swap_bytes()))
        })
        .of_entries()
        .says(
            Section::Bits,
            "BYTESWAPINT(x)",
            "The four bytes of an INT in the opposite order.",
            &[("BYTESWAPINT(1)", "16777216")],
        ),
        Plain::new("byteswap_long", &[Long], long(), |rows| {
            rows.map(|x: i64| Some(x.swap_bytes()))
        })
        .of_entries()
        .says(
            Section::Bits,
            "BYTESWAPLONG(x)",
            "The eight bytes of a LONG in the opposite order.",
            &[("BYTESWAPLONG(1)", "72057594037927936")],
        ),
    ]
}
