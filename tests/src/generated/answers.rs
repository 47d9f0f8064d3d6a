//! Whether two answers are the same: whole numbers and texts exactly, floats to nine digits.

use std::cmp::Ordering;

use serde_json::Value;

pub type Rows = Vec<Vec<Value>>;

/// What differs first; `None`: nothing.
pub fn difference(expected: &Rows, found: &Rows, ordered: bool) -> Option<String> {
    if expected.len() != found.len() {
        return Some(format!("{} rows, not {}", found.len(), expected.len()));
    }
    let (mut expected, mut found) = (expected.clone(), found.clone());
    if !ordered {
        for rows in [&mut expected, &mut found] {
            rows.sort_by(|a, b| compare(a, b));
        }
    }
    let mut pairs = expected.iter().zip(&found).enumerate();
    let (at, (expected, found)) = pairs.find(|(_, (a, b))| {
        a.len() != b.len() || !a.iter().zip(b.iter()).all(|(a, b)| same(a, b))
    })?;
    Some(format!(
        "row {at}: {} is right, not {}",
        show(expected),
        show(found)
    ))
}

fn show(row: &[Value]) -> String {
    Value::Array(row.to_vec()).to_string()
}

fn is_float(value: &Value) -> bool {
    value.is_f64() || special(value).is_some()
}

/// What JSON has no number for.
fn special(value: &Value) -> Option<f64> {
    match value.as_str()? {
        "NaN" => Some(f64::NAN),
        "Infinity" => Some(f64::INFINITY),
        "-Infinity" => Some(f64::NEG_INFINITY),
        _ => None,
    }
}

fn same(a: &Value, b: &Value) -> bool {
    if a == b {
        return true;
    }
    match (a.as_f64(), b.as_f64()) {
        (Some(x), Some(y)) if is_float(a) || is_float(b) => {
            (x - y).abs() <= 1e-9 * x.abs().max(y.abs())
        }
        _ => false,
    }
}

/// By everything but floats, whose last digits may differ, then by floats.
fn compare(a: &[Value], b: &[Value]) -> Ordering {
    let text = |row: &[Value]| {
        let exact = row.iter().map(|cell| match cell {
            // 2 and 2.0 are one number.
            Value::Number(number) => {
                let whole = number.as_f64().filter(|value| value.fract() == 0.0);
                whole.map_or(String::new(), |whole| format!("{whole:e}"))
            }
            other => other.to_string(),
        });
        exact.collect::<Vec<String>>()
    };
    let number = |cell: &Value| cell.as_f64().unwrap_or(f64::NEG_INFINITY);
    let floats = || {
        let pairs = a.iter().zip(b);
        let orders = pairs.map(|(a, b)| number(a).total_cmp(&number(b)));
        orders.fold(Ordering::Equal, Ordering::then)
    };
    // Of whole numbers that are one float.
    let wholes = || {
        let pairs = a.iter().zip(b);
        let orders = pairs.filter_map(|(a, b)| Some(a.as_i64()?.cmp(&b.as_i64()?)));
        orders.fold(Ordering::Equal, Ordering::then)
    };
    text(a).cmp(&text(b)).then_with(floats).then_with(wholes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn rows(value: Value) -> Rows {
        serde_json::from_value(value).expect("rows")
    }

    #[test]
    fn floats_may_differ_in_the_last_digits_and_nothing_else_may() {
        let a = rows(json!([[1, 0.3, "x"], [2, null, "y"]]));
        let b = rows(json!([[2, null, "y"], [1, 0.30000000000000004, "x"]]));
        assert_eq!(difference(&a, &b, false), None);
        assert!(difference(&a, &b, true).is_some());
        let c = rows(json!([[2, 0.0, "y"], [1, 0.3, "x"]]));
        assert!(difference(&a, &c, false).is_some());
        let d = rows(json!([[i64::MIN], [i64::MIN + 1]]));
        let e = rows(json!([[i64::MIN + 1], [i64::MIN]]));
        assert_eq!(difference(&d, &e, false), None);
        let d = rows(json!([[i64::MAX, 0.3, "x"]]));
        let e = rows(json!([[i64::MAX - 1, 0.3, "x"]]));
        assert!(difference(&d, &e, false).is_some());
    }
}
