//! From a JSON value to the type of its column.
//!
//! | column | accepted |
//! |---|---|
//! | INT, LONG | integers, floats without a fraction, both also as strings; booleans as 0 and 1 |
//! | FLOAT, DOUBLE | numbers, also as strings; `"NaN"`, `"Infinity"`, `"-Infinity"` |
//! | BOOLEAN | booleans, `"true"`, `"false"`, 0, 1 |
//! | TIMESTAMP | see [`crate::time`] |
//! | STRING | strings; numbers, booleans, objects and arrays as their JSON text |
//! | JSON | anything, as its JSON text |
//! | BYTES | hexadecimal strings |
//! | UUID | 32 hexadecimal digits, with or without hyphens |
//! | BIG_DECIMAL | numbers and numeric strings with at most 18 digits after the point |
//!
//! A column with several values a row takes an array of these, or one of them for an array of one.
//! Nulls in an array are left out, and an empty array is null, as in Pinot.
//!
//! Everything else, and numbers out of range, reject the row.

use arrow::datatypes::i256;
use schemas::DataType;
use schemas::arrow::BIG_DECIMAL_SCALE;

/// One field of the row that is being read. Texts and decimals lie in the row's buffers, so that a
/// cell fits into two registers.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) enum Cell {
    #[default]
    Null,
    Long(i64),
    Double(f64),
    /// Range in the row's text, or in its bytes.
    Text(u32, u32),
    /// Place among the row's decimals.
    Decimal(u32),
    /// Range in the row's entries.
    List(u32, u32),
}

const _: () = assert!(size_of::<Cell>() == 16);

impl Cell {
    /// The bytes from `from` to `to` in the row's text or bytes.
    #[inline]
    pub(crate) fn of_text(from: usize, to: usize) -> Result<Self, String> {
        match u32::try_from(to) {
            Ok(to) => Ok(Self::Text(from as u32, to)),
            Err(_) => Err("the texts of the row exceed 4 GiB".to_owned()),
        }
    }

    /// The entries from `from` on, of `entries` in all; none is null. They lie in memory, where
    /// there is no room for 2^32 of them in a row.
    pub(crate) fn of_entries(from: usize, entries: usize) -> Self {
        match from == entries {
            true => Self::Null,
            false => Self::List(from as u32, entries as u32),
        }
    }
}

/// What JSON offers, before the column's type is known to take it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Offer<'a> {
    Boolean(bool),
    Integer(i64),
    Unsigned(u64),
    Float(f64),
    Text(&'a str),
}

const FLOAT_EXACT_MAX: f64 = 9_007_199_254_740_992.0;

pub(crate) fn long(offer: Offer<'_>, data_type: DataType) -> Option<i64> {
    let value = match offer {
        Offer::Boolean(value) => i64::from(value),
        Offer::Integer(value) => value,
        Offer::Unsigned(value) => i64::try_from(value).ok()?,
        Offer::Float(value) => whole(value)?,
        Offer::Text(text) => {
            let text = text.trim();
            text.parse().ok().or_else(|| whole(text.parse().ok()?))?
        }
    };
    match data_type {
        DataType::Int => i32::try_from(value).ok().map(i64::from),
        _ => Some(value),
    }
}

pub(crate) fn whole(value: f64) -> Option<i64> {
    (value.fract() == 0.0 && value.abs() <= FLOAT_EXACT_MAX).then_some(value as i64)
}

/// A finite number that is too large for a FLOAT is not made infinite.
pub(crate) fn double(offer: Offer<'_>, data_type: DataType) -> Option<f64> {
    let value = match offer {
        Offer::Boolean(_) => return None,
        Offer::Integer(value) => value as f64,
        Offer::Unsigned(value) => value as f64,
        Offer::Float(value) => value,
        Offer::Text(text) => match text.trim() {
            "NaN" => f64::NAN,
            "Infinity" => f64::INFINITY,
            "-Infinity" => f64::NEG_INFINITY,
            text => text.parse().ok().filter(|value: &f64| value.is_finite())?,
        },
    };
    let fits = data_type != DataType::Float || !value.is_finite() || (value as f32).is_finite();
    fits.then_some(value)
}

pub(crate) fn boolean(offer: Offer<'_>) -> Option<i64> {
    match offer {
        Offer::Boolean(value) => Some(i64::from(value)),
        Offer::Integer(value @ (0 | 1)) => Some(value),
        Offer::Text(text) if text.eq_ignore_ascii_case("true") => Some(1),
        Offer::Text(text) if text.eq_ignore_ascii_case("false") => Some(0),
        Offer::Text("1") => Some(1),
        Offer::Text("0") => Some(0),
        _ => None,
    }
}

/// Exact at [`BIG_DECIMAL_SCALE`].
pub(crate) fn decimal(text: &str) -> Option<i256> {
    let text = text.trim();
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().ok()?),
        None => (text, 0),
    };
    let (negative, digits) = match mantissa.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, mantissa.strip_prefix('+').unwrap_or(mantissa)),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let all = format!("{whole}{fraction}");
    if all.is_empty() || !all.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    let places = i32::try_from(fraction.len()).ok()?;
    let shift = i32::from(BIG_DECIMAL_SCALE)
        .checked_add(exponent)?
        .checked_sub(places)?;
    let scaled = if shift >= 0 {
        let zeros = usize::try_from(shift).ok().filter(|zeros| *zeros <= 76)?;
        format!("{all}{}", "0".repeat(zeros))
    } else {
        let cut = all.len().checked_sub(shift.unsigned_abs() as usize)?;
        all[cut..]
            .bytes()
            .all(|digit| digit == b'0')
            .then(|| all[..cut].to_owned())?
    };
    let significant = scaled.trim_start_matches('0');
    if significant.len() > 76 {
        return None;
    }
    let value = if significant.is_empty() {
        i256::ZERO
    } else {
        i256::from_string(significant)?
    };
    Some(if negative {
        value.wrapping_neg()
    } else {
        value
    })
}

/// Appends the bytes that `text` says in hexadecimal.
pub(crate) fn hex(text: &str, to: &mut Vec<u8>) -> bool {
    if !text.len().is_multiple_of(2) {
        return false;
    }
    let digit = |byte: u8| (byte as char).to_digit(16).map(|value| value as u8);
    let before = to.len();
    for pair in text.as_bytes().chunks_exact(2) {
        match (digit(pair[0]), digit(pair[1])) {
            (Some(high), Some(low)) => to.push(high << 4 | low),
            _ => {
                to.truncate(before);
                return false;
            }
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers() {
        assert_eq!(long(Offer::Float(3.0), DataType::Int), Some(3));
        assert_eq!(long(Offer::Float(3.5), DataType::Int), None);
        assert_eq!(long(Offer::Integer(1 << 40), DataType::Int), None);
        assert_eq!(long(Offer::Text("17"), DataType::Long), Some(17));
        let wide = |offer| double(offer, DataType::Double);
        assert_eq!(wide(Offer::Text("NaN")).map(f64::is_nan), Some(true));
        assert_eq!(wide(Offer::Text("x")), None);
        assert_eq!(wide(Offer::Float(1e300)), Some(1e300));
        assert_eq!(double(Offer::Float(1e300), DataType::Float), None);
    }

    #[test]
    fn decimals_are_exact_or_refused() {
        let one = decimal("1").unwrap();
        assert_eq!(decimal("1.000000000000000000"), Some(one));
        assert_eq!(decimal("10e-1"), Some(one));
        assert_eq!(decimal("-1"), Some(one.wrapping_neg()));
        assert!(decimal("0.0000000000000000001").is_none(), "19 digits");
        assert!(decimal("1e99").is_none());
        assert!(decimal("1e2147483647").is_none());
        assert!(decimal("0.1e-2147483648").is_none());
        assert!(decimal("").is_none());
    }
}
