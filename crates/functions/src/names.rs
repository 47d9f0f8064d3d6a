//! What functions are called: in any case, with underscores and without, and in Pinot's dialect
//! some of them mean something else.

use std::collections::HashMap;
use std::sync::LazyLock;

use datafusion::logical_expr::{AggregateUDFImpl, ScalarUDFImpl};

/// As Pinot compares names.
pub fn canonical(name: &str) -> String {
    let letters = name.chars().filter(|c| *c != '_');
    letters.flat_map(char::to_lowercase).collect()
}

/// Whether both are one name, as [`canonical`] says.
pub fn is_same(a: &str, b: &str) -> bool {
    let mut a = a.bytes().filter(|b| *b != b'_');
    let mut b = b.bytes().filter(|b| *b != b'_');
    loop {
        match (a.next(), b.next()) {
            (None, None) => return true,
            (Some(a), Some(b)) if a.eq_ignore_ascii_case(&b) => {}
            _ => return false,
        }
    }
}

/// Pinot's names of functions that are here under other names, with those.
const ELSEWHERE: &[(&str, &str)] = &[("rand", "random"), ("uuid_v4", "uuid")];

/// The registered name of what standard SQL means by `name`, a scalar function or an aggregate, if
/// it is not the plain one.
pub fn in_standard(name: &str) -> Option<&'static str> {
    Some(match name.to_ascii_lowercase().as_str() {
        "ceiling" => "ceil",
        "array_remove" => "array_remove_all",
        "gen_random_uuid" => "uuid",
        "mode" => "most_frequent",
        _ => return None,
    })
}

/// By canonical name in Pinot's dialect, where it is not the one that all dialects share.
static IN_PINOT: LazyLock<HashMap<String, String>> = LazyLock::new(|| {
    let mut names: HashMap<String, String> = HashMap::new();
    for (name, own) in ELSEWHERE {
        names.insert(canonical(name), (*own).to_owned());
    }
    for function in crate::plain_functions() {
        for name in &function.in_pinot {
            names.insert(canonical(name), function.name().to_owned());
        }
    }
    names
});

/// As [`in_pinot`], of aggregates.
pub fn aggregate_in_pinot(name: &str) -> Option<&'static str> {
    static NAMES: LazyLock<HashMap<String, String>> = LazyLock::new(|| {
        let mut names = HashMap::new();
        for function in crate::aggregates::renamed_aggregates() {
            for name in &function.in_pinot {
                names.insert(canonical(name), function.name().to_owned());
            }
        }
        names
    });
    NAMES.get(&canonical(name)).map(String::as_str)
}

/// The registered name of what Pinot's dialect means by `name`, if it is not the plain one.
pub fn in_pinot(name: &str) -> Option<&'static str> {
    IN_PINOT.get(&canonical(name)).map(String::as_str)
}
