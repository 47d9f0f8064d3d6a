//! The key of a row's message: the values of its primary key.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, Visitor};
use serde_json::Value;

/// Values of the key as JSON, of several as an array; that of a text without its quotes. `None`:
/// there is no key, or the row is no object.
pub(super) fn key_of(names: &[String], payload: &[u8]) -> Option<Vec<u8>> {
    if names.is_empty() {
        return None;
    }
    let mut values = vec![Value::Null; names.len()];
    let mut json = serde_json::Deserializer::from_slice(payload);
    let values_of = Values {
        names,
        values: &mut values,
    };
    json.deserialize_map(values_of).ok()?;
    json.end().ok()?;
    let key = match values.len() {
        1 => values.swap_remove(0),
        _ => Value::Array(values),
    };
    Some(match key {
        Value::String(text) => text.into_bytes(),
        other => other.to_string().into_bytes(),
    })
}

struct Values<'a> {
    names: &'a [String],
    values: &'a mut [Value],
}

impl<'de> Visitor<'de> for Values<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(at) = map.next_key_seed(Place(self.names))? {
            match at {
                Some(at) => self.values[at] = map.next_value()?,
                None => {
                    let _ignored: IgnoredAny = map.next_value()?;
                }
            }
        }
        Ok(())
    }
}

/// Where a name is among those of the key.
struct Place<'a>(&'a [String]);

impl<'de> DeserializeSeed<'de> for Place<'_> {
    type Value = Option<usize>;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Self::Value, D::Error> {
        from.deserialize_str(self)
    }
}

impl Visitor<'_> for Place<'_> {
    type Value = Option<usize>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<Self::Value, E> {
        Ok(self.0.iter().position(|own| own == name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_values_as_json() {
        let key = |names: &[&str], row: &str| {
            let names: Vec<String> = names.iter().map(ToString::to_string).collect();
            key_of(&names, row.as_bytes()).map(|key| String::from_utf8(key).unwrap())
        };
        let row = r#"{"a":"x\n","other":[1,{"a":2}],"b":7,"c":null,"b":8.5} "#;
        assert_eq!(key(&["a"], row).as_deref(), Some("x\n"));
        assert_eq!(key(&["b"], row).as_deref(), Some("8.5"), "the last counts");
        assert_eq!(key(&["c"], row).as_deref(), Some("null"));
        assert_eq!(key(&["missing"], row).as_deref(), Some("null"));
        assert_eq!(key(&["b", "a"], row).as_deref(), Some(r#"[8.5,"x\n"]"#));
        assert_eq!(key(&[], row), None);
        assert_eq!(key(&["a"], "[1]"), None);
        assert_eq!(key(&["a"], r#"{"a":1} {}"#), None);
    }
}
