//! BIGDECIMALTOBYTES and BYTESTOBIGDECIMAL: decimals as Pinot stores them in BYTES, which is two
//! bytes of scale and the number without a point in two's complement, all with the highest first.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Decimal256Array};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Decimal256Type, DecimalType, i256};
use datafusion::common::Result;

use crate::arguments::wrong;
use crate::docs::Section;
use crate::plain::{Plain, Takes};
use crate::rows::{Out, Rows};

const PRECISION: u8 = 76;
/// Of a BIG_DECIMAL whose config names none.
const SCALE: i8 = 18;
const NUMBER: DataType = DataType::Decimal256(PRECISION, SCALE);
const TEN: i256 = i256::from_i128(10);

/// With no more digits behind the point than it has.
fn shortest(mut number: i256, mut scale: u16) -> (i256, u16) {
    while scale > 0 && number.wrapping_rem(TEN) == i256::ZERO {
        number = number.wrapping_div(TEN);
        scale -= 1;
    }
    (number, scale)
}

fn written(number: i256) -> Vec<u8> {
    let (number, scale) = shortest(number, SCALE as u16);
    let digits = number.to_be_bytes();
    let sign = if number.is_negative() { 0xff } else { 0 };
    let is_sign = |at: &usize| digits[*at] == sign && (digits[at + 1] ^ sign) & 0x80 == 0;
    let first = (0..digits.len() - 1).take_while(is_sign).count();
    [&scale.to_be_bytes()[..], &digits[first..]].concat()
}

fn read(bytes: &[u8]) -> Option<i256> {
    let (scale, digits) = bytes.split_first_chunk::<2>()?;
    let first = *digits.first()?;
    if digits.len() > 32 {
        return None;
    }
    let sign = if first & 0x80 == 0 { 0 } else { 0xff };
    let mut whole = [sign; 32];
    whole[32 - digits.len()..].copy_from_slice(digits);
    let (number, scale) = shortest(i256::from_be_bytes(whole), u16::from_be_bytes(*scale));
    let missing = u32::from((SCALE as u16).checked_sub(scale)?);
    let number = number.checked_mul(TEN.checked_pow(missing)?)?;
    Decimal256Type::is_valid_decimal_precision(number, PRECISION).then_some(number)
}

fn to_bytes(rows: &Rows) -> Result<ArrayRef> {
    let numbers = cast(&rows.whole(0)?, &NUMBER)?;
    let numbers = numbers.as_primitive::<Decimal256Type>();
    let mut bytes = <Vec<u8> as Out>::builder(numbers.len());
    for number in numbers {
        Out::push(number.map(written), &mut bytes);
    }
    Ok(<Vec<u8> as Out>::finish(bytes))
}

fn of_bytes(rows: &Rows) -> Result<ArrayRef> {
    let bytes = rows.whole(0)?;
    let numbers = bytes.as_binary_view().iter().map(|bytes| {
        let Some(bytes) = bytes else { return Ok(None) };
        read(bytes).map(Some).ok_or_else(|| {
            wrong(format!(
                "BYTESTOBIGDECIMAL: `{}` is no decimal of {SCALE} digits behind the point",
                crate::conversion::to_hex(bytes)
            ))
        })
    });
    let numbers = numbers.collect::<Result<Decimal256Array>>()?;
    Ok(Arc::new(
        numbers.with_precision_and_scale(PRECISION, SCALE)?,
    ))
}

pub(super) fn all() -> Vec<Plain> {
    let write = Plain::new(
        "big_decimal_to_bytes",
        &[Takes::Any],
        DataType::BinaryView,
        to_bytes,
    )
    .coerces(|types| Ok(vec![NUMBER; types.len()]));
    let read = Plain::new("bytes_to_big_decimal", &[Takes::Bytes], NUMBER, of_bytes);
    vec![
        write.says(
            Section::Conversion,
            "BIGDECIMALTOBYTES(number)",
            "A decimal as Pinot writes it into BYTES: its scale and its digits.",
            &[("BIGDECIMALTOBYTES(-1.5)", "0001f1")],
        ),
        read.says(
            Section::Conversion,
            "BYTESTOBIGDECIMAL(bytes)",
            "The decimal of such BYTES.",
            &[(
                "BYTESTOBIGDECIMAL(HEXTOBYTES('0001f1'))",
                "-1.500000000000000000",
            )],
        ),
    ]
}
