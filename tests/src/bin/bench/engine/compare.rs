//! Whether two engines gave the same answer: order left open, doubles within 1e-9.

use std::cmp::Ordering;

use serde_json::Value;

use super::suite::{Compare, Query};

pub(crate) type Row = Vec<Value>;

const RELATIVE: f64 = 1e-9;

/// `None`: equal. Else the first difference, for a reader.
pub(crate) fn difference(query: &Query, left: &[Row], right: &[Row]) -> Option<String> {
    if left.len() != right.len() {
        return Some(format!("{} rows instead of {}", left.len(), right.len()));
    }
    let (columns, tolerance) = match &query.compare {
        Compare::Count => return None,
        Compare::Rows => (None, RELATIVE),
        Compare::Approximate => (None, query.tolerance),
        Compare::Columns(columns) => (Some(columns.as_slice()), RELATIVE),
    };
    let (left, right) = (sorted(left, columns), sorted(right, columns));
    let mut pairs = left.iter().zip(&right);
    let (a, b) = pairs.find(|(a, b)| !same_row(a, b, tolerance))?;
    Some(format!("{} instead of {}", shown(a), shown(b)))
}

fn shown(row: &Row) -> String {
    let text = Value::Array(row.clone()).to_string();
    text.chars().take(160).collect()
}

/// Rows by what is exact in them first, so that equal rows meet; truth values as 0 and 1, which
/// some engines give for them.
fn sorted(rows: &[Row], columns: Option<&[usize]>) -> Vec<Row> {
    let pick = |row: &Row| -> Row {
        let picked: Vec<&Value> = match columns {
            None => row.iter().collect(),
            Some(columns) => columns.iter().filter_map(|at| row.get(*at)).collect(),
        };
        picked.into_iter().map(plain).collect()
    };
    let mut rows: Vec<Row> = rows.iter().map(pick).collect();
    rows.sort_by(compare_rows);
    rows
}

fn compare_rows(a: &Row, b: &Row) -> Ordering {
    let exact = |row: &Row| -> Vec<String> {
        let cells = row.iter().filter(|cell| !cell.is_number());
        cells.map(Value::to_string).collect()
    };
    let numbers = |row: &Row| -> Vec<f64> { row.iter().filter_map(Value::as_f64).collect() };
    let by_numbers = || {
        let (a, b) = (numbers(a), numbers(b));
        let pairs = a.iter().zip(&b);
        let mut orders = pairs.map(|(a, b)| match close(*a, *b, RELATIVE) {
            true => Ordering::Equal,
            false => a.total_cmp(b),
        });
        orders
            .find(|order| order.is_ne())
            .unwrap_or(Ordering::Equal)
    };
    exact(a).cmp(&exact(b)).then_with(by_numbers)
}

fn same_row(a: &Row, b: &Row, tolerance: f64) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b, tolerance))
}

fn same(a: &Value, b: &Value, tolerance: f64) -> bool {
    // Whole numbers of 64 bits are compared as such: a double would hide their last digits.
    if let (Some(a), Some(b)) = (a.as_i64(), b.as_i64())
        && tolerance <= RELATIVE
    {
        return a == b;
    }
    match (a.as_f64(), b.as_f64()) {
        (Some(a), Some(b)) => close(a, b, tolerance),
        _ => a == b,
    }
}

fn plain(cell: &Value) -> Value {
    cell.as_bool()
        .map_or_else(|| cell.clone(), |flag| Value::from(i64::from(flag)))
}

fn close(a: f64, b: f64, tolerance: f64) -> bool {
    (a - b).abs() <= tolerance * a.abs().max(b.abs()).max(1e-6)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn query(compare: &str) -> Query {
        toml::from_str(&format!(
            "name = ''\ngroup = ''\ntolerance = 0.1\ncompare = {compare}"
        ))
        .unwrap()
    }

    fn rows(value: Value) -> Vec<Row> {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn order_is_open_and_sums_may_differ_in_their_last_digits() {
        let a = rows(json!([["x", 1, 0.1 + 0.2], ["y", 2, null]]));
        let b = rows(json!([["y", 2, null], ["x", 1.0, 0.3]]));
        assert_eq!(difference(&query("'rows'"), &a, &b), None);
        let c = rows(json!([["y", 2, null], ["x", 1.0, 0.3001]]));
        assert!(difference(&query("'rows'"), &a, &c).is_some());
        assert_eq!(difference(&query("'approximate'"), &a, &c), None);
        assert_eq!(difference(&query("{ columns = [0, 1] }"), &a, &c), None);
        assert_eq!(difference(&query("'count'"), &a, &c), None);
        assert!(difference(&query("'count'"), &a, &c[1..]).is_some());
    }

    #[test]
    fn truth_values_may_be_numbers() {
        let a = rows(json!([[1, false, 7], [0, true, 8]]));
        let b = rows(json!([[false, 1, 8], [true, 0, 7]]));
        assert_eq!(difference(&query("'rows'"), &a, &b), None);
    }

    #[test]
    fn long_numbers_are_compared_to_the_last_digit() {
        let a = rows(json!([[9_007_199_254_740_993_i64]]));
        let b = rows(json!([[9_007_199_254_740_992_i64]]));
        assert!(difference(&query("'rows'"), &a, &b).is_some());
    }
}
