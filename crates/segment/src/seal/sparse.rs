//! Numbers that are nearly all the same: the one value, and where others are.

/// One row in so many may hold another value.
const ROWS_PER_EXCEPTION: usize = 16;
/// Fewer rows are not worth it.
const ROWS_MIN: usize = 1024;

#[derive(Debug)]
pub(super) struct Exceptions {
    /// In the form of the key.
    pub(super) default: i64,
    pub(super) positions: Vec<u32>,
}

impl Exceptions {
    /// The values of the exceptions.
    pub(super) fn iter<'a, T>(&'a self, values: &'a [T]) -> impl Iterator<Item = &'a T> {
        self.positions.iter().map(|row| &values[*row as usize])
    }
}

/// `None` when there are too many of them.
pub(super) fn exceptions<T>(values: &[T], key: impl Fn(&T) -> i64) -> Option<Exceptions> {
    if values.len() < ROWS_MIN {
        return None;
    }
    let default = majority(values.iter().map(&key))?;
    let limit = values.len() / ROWS_PER_EXCEPTION;
    let mut positions = Vec::new();
    for (row, value) in (0..).zip(values) {
        if key(value) != default {
            if positions.len() == limit {
                return None;
            }
            positions.push(row);
        }
    }
    Some(Exceptions { default, positions })
}

/// The value that more than half of the rows hold, if there is one.
fn majority(keys: impl Iterator<Item = i64>) -> Option<i64> {
    let mut candidate = None;
    let mut lead = 0_usize;
    for key in keys {
        if lead == 0 {
            candidate = Some(key);
        }
        match candidate == Some(key) {
            true => lead += 1,
            false => lead -= 1,
        }
    }
    candidate
}

#[cfg(test)]
mod tests {
    use super::exceptions;

    #[test]
    fn few_exceptions_are_found_and_many_are_not() {
        let values: Vec<i64> = (0..4000)
            .map(|row| if row % 20 == 3 { row } else { -7 })
            .collect();
        let found = exceptions(&values, |value| *value).unwrap();
        assert_eq!(found.default, -7);
        let kept: Vec<i64> = found.iter(&values).copied().collect();
        assert_eq!((found.positions[1], kept[1], kept.len()), (23, 23, 200));
        let many: Vec<i64> = (0..4000).map(|row| row % 8).collect();
        assert!(exceptions(&many, |value| *value).is_none());
        assert!(exceptions(&values[..100], |value| *value).is_none());
    }
}
