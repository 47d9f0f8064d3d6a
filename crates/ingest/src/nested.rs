//! Nested records as flat ones, and one record as several, as Pinot's `complexTypeConfig` says.
//!
//! Inner fields get the names of the outer ones before theirs. An array that is to be unnested
//! makes a record of each element, several of them one of each combination; a record without
//! elements stays one. Never more than [`RECORDS_MAX`] come of a message.

use schemas::decoding::{Collections, NestedSpec};
use serde_json::{Map, Value as Json};

use crate::row::TEXT_BYTES_MAX;

const RECORDS_MAX: usize = 100_000;

type Record = Map<String, Json>;

pub(crate) fn records(spec: &NestedSpec, document: &[u8]) -> Result<Vec<Record>, String> {
    let document = serde_json::from_slice(document).map_err(|error| error.to_string())?;
    let Json::Object(document) = document else {
        return Err("the record is no object".to_owned());
    };
    let mut flat = Map::new();
    flatten(spec, "", document, &mut flat);
    let mut records = vec![flat];
    for path in &spec.unnest {
        let (mut unnested, mut bytes) = (Vec::with_capacity(records.len()), 0_usize);
        for record in records {
            bytes = bytes.saturating_add(repeated(path, &record));
            if bytes > TEXT_BYTES_MAX {
                return Err(format!(
                    "the message unnests into more than {} MiB",
                    TEXT_BYTES_MAX >> 20
                ));
            }
            unnest(spec, path, record, &mut unnested);
            if unnested.len() > RECORDS_MAX {
                return Err(format!(
                    "the message unnests into more than {RECORDS_MAX} records"
                ));
            }
        }
        records = unnested;
    }
    for record in &mut records {
        finish(spec, record);
    }
    Ok(records)
}

fn inner_name(spec: &NestedSpec, outer: &str, name: &str) -> String {
    match outer {
        "" => name.to_owned(),
        outer => format!("{outer}{}{name}", spec.delimiter),
    }
}

/// Objects become their fields; everything else stays for now.
fn flatten(spec: &NestedSpec, outer: &str, object: Record, flat: &mut Record) {
    for (name, value) in object {
        let name = inner_name(spec, outer, &name);
        match value {
            Json::Object(inner) => flatten(spec, &name, inner, flat),
            value => drop(flat.insert(name, value)),
        }
    }
}

/// About the bytes of what each element of an array has beside it.
fn repeated(path: &str, record: &Record) -> usize {
    let Some(Json::Array(elements)) = record.get(path) else {
        return 0;
    };
    let others = record.iter().filter(|(name, _)| *name != path);
    let others: usize = others
        .map(|(name, value)| name.len() + bytes_of(value))
        .sum();
    others.saturating_mul(elements.len())
}

fn bytes_of(value: &Json) -> usize {
    match value {
        Json::String(text) => text.len(),
        Json::Array(elements) => elements.iter().map(bytes_of).sum::<usize>() + elements.len(),
        Json::Object(fields) => {
            let fields = fields.iter();
            fields
                .map(|(name, value)| name.len() + bytes_of(value))
                .sum()
        }
        _ => size_of::<Json>(),
    }
}

fn unnest(spec: &NestedSpec, path: &str, record: Record, records: &mut Vec<Record>) {
    let Some(Json::Array(elements)) = record.get(path) else {
        records.push(record);
        return;
    };
    if elements.is_empty() {
        let mut record = record;
        record.shift_remove(path);
        records.push(record);
        return;
    }
    for element in elements {
        if records.len() > RECORDS_MAX {
            return;
        }
        let mut one: Record = Map::new();
        for (name, value) in record.iter().filter(|(name, _)| *name != path) {
            one.insert(name.clone(), value.clone());
        }
        match element {
            Json::Object(inner) => flatten(spec, path, inner.clone(), &mut one),
            value => drop(one.insert(path.to_owned(), value.clone())),
        }
        records.push(one);
    }
}

/// Arrays that stay become JSON texts where the config wants it, names what it says.
fn finish(spec: &NestedSpec, record: &mut Record) {
    for value in record.values_mut() {
        let Json::Array(elements) = value else {
            continue;
        };
        let is_nested = elements.iter().any(|one| one.is_object() || one.is_array());
        let becomes_text = match spec.collections {
            Collections::None => false,
            Collections::NonPrimitive => is_nested,
            Collections::All => true,
        };
        if becomes_text {
            *value = Json::String(value.to_string());
        }
    }
    if spec.rename.is_empty() {
        return;
    }
    let renamed = std::mem::take(record).into_iter().map(|(name, value)| {
        let mut prefixes = spec.rename.iter();
        let found = prefixes.find_map(|(prefix, to)| {
            let rest = name.strip_prefix(prefix.as_str())?;
            Some(format!("{to}{rest}"))
        });
        (found.unwrap_or(name), value)
    });
    *record = renamed.collect();
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(spec: &NestedSpec, document: &str) -> Vec<String> {
        let records = records(spec, document.as_bytes()).unwrap();
        let texts = records
            .into_iter()
            .map(|record| Json::Object(record).to_string());
        texts.collect()
    }

    fn spec(unnest: &[&str]) -> NestedSpec {
        NestedSpec {
            delimiter: ".".to_owned(),
            unnest: unnest.iter().map(|path| (*path).to_owned()).collect(),
            collections: Collections::NonPrimitive,
            rename: Vec::new(),
        }
    }

    #[test]
    fn objects_are_flattened_and_arrays_become_records() {
        let document =
            r#"{"id":1,"a":{"b":{"c":2}},"items":[{"n":1,"tags":["x"]},{"n":2}],"k":[1,2]}"#;
        assert_eq!(
            made(&spec(&[]), document),
            [r#"{"id":1,"a.b.c":2,"items":"[{\"n\":1,\"tags\":[\"x\"]},{\"n\":2}]","k":[1,2]}"#]
        );
        assert_eq!(
            made(&spec(&["items", "k"]), document),
            [
                r#"{"id":1,"a.b.c":2,"items.n":1,"items.tags":["x"],"k":1}"#,
                r#"{"id":1,"a.b.c":2,"items.n":1,"items.tags":["x"],"k":2}"#,
                r#"{"id":1,"a.b.c":2,"items.n":2,"k":1}"#,
                r#"{"id":1,"a.b.c":2,"items.n":2,"k":2}"#,
            ]
        );
        assert_eq!(
            made(&spec(&["items"]), r#"{"id":1,"items":[]}"#),
            [r#"{"id":1}"#]
        );
        assert_eq!(
            made(&spec(&["a", "a.b"]), r#"{"a":[{"b":[1,2]},{"b":[3]}]}"#),
            [r#"{"a.b":1}"#, r#"{"a.b":2}"#, r#"{"a.b":3}"#]
        );
    }

    #[test]
    fn names_and_collections_as_the_config_says() {
        let mut spec = spec(&[]);
        spec.delimiter = "_".to_owned();
        spec.collections = Collections::All;
        spec.rename = vec![("a_".to_owned(), String::new())];
        assert_eq!(made(&spec, r#"{"a":{"b":[1]}}"#), [r#"{"b":"[1]"}"#]);
    }

    #[test]
    fn a_message_cannot_become_endlessly_many() {
        let many = vec!["0"; 1_000].join(",");
        let document = format!(r#"{{"a":[{many}],"b":[{many}]}}"#);
        assert!(records(&spec(&["a", "b"]), document.as_bytes()).is_err());
        let text = "x".repeat(1_000_000);
        let document = format!(r#"{{"a":[{many}],"text":"{text}"}}"#);
        let refused = records(&spec(&["a"]), document.as_bytes()).unwrap_err();
        assert!(refused.contains("64 MiB"), "{refused}");
        assert!(records(&spec(&[]), b"[1]").is_err());
        let deep = format!("{}1{}", "[".repeat(10_000), "]".repeat(10_000));
        assert!(records(&spec(&[]), deep.as_bytes()).is_err());
    }
}
