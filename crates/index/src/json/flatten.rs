//! From a document to its records.
//!
//! Every document has at least one record, if only an empty one: negations are about documents.

use serde_json::{Map, Value};

use super::PathTree;

/// More combinations of the elements of several arrays than these are not made: each array then
/// has records of its own, as with `separate_arrays`.
const COMBINATIONS_MAX: usize = 100_000;

/// Stands for a value that is too long, and for a text that is no JSON.
pub(super) const SKIPPED: &str = "$SKIPPED$";

/// Which parts of a document are in its records.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Flattening {
    /// Levels of objects and arrays; `None`: all.
    pub levels_max: Option<u32>,
    pub exclude_array: bool,
    /// Elements of different arrays are not combined with each other.
    pub separate_arrays: bool,
    /// `$.a.b`, `$.a[*].b`; nothing else is indexed unless it is empty.
    pub include_paths: Vec<String>,
    pub exclude_paths: Vec<String>,
    /// Names of fields, on every level.
    pub exclude_fields: Vec<String>,
    pub index_paths: PathTree,
    /// A text that is no JSON has a record in which its whole is `$SKIPPED$`.
    pub marks_invalid: bool,
    /// 0: no limit.
    pub value_bytes_max: u32,
}

impl Flattening {
    /// From an object with these names, as an index keeps it.
    pub fn of_parameters(parameters: &Value) -> Self {
        let number = |name: &str| {
            let number = parameters.get(name).and_then(Value::as_u64);
            number.and_then(|number| u32::try_from(number).ok())
        };
        let flag = |name: &str| parameters.get(name).and_then(Value::as_bool) == Some(true);
        let texts = |name: &str| -> Vec<String> {
            let texts = parameters.get(name).and_then(Value::as_array);
            let texts = texts.into_iter().flatten().filter_map(Value::as_str);
            texts.map(str::to_owned).collect()
        };
        Self {
            levels_max: number("levels_max"),
            exclude_array: flag("exclude_array"),
            separate_arrays: flag("separate_arrays"),
            include_paths: texts("include_paths"),
            exclude_paths: texts("exclude_paths"),
            exclude_fields: texts("exclude_fields"),
            index_paths: PathTree::of(&texts("index_paths")),
            marks_invalid: flag("marks_invalid"),
            value_bytes_max: number("value_bytes_max").unwrap_or(0),
        }
    }
}

/// What is done with the entries of records.
pub(super) trait Entries {
    /// Adds to `record` what stands for the entry.
    fn entry(&mut self, key: &str, value: &str, record: &mut Vec<u32>);
}

/// The records of a document; a text that is no JSON has one, which is empty unless it is marked.
pub(super) fn records(
    text: &str,
    flattening: &Flattening,
    entries: &mut impl Entries,
) -> Vec<Vec<u32>> {
    let Ok(document) = serde_json::from_str::<Value>(text) else {
        let mut record = Vec::new();
        if flattening.marks_invalid {
            entries.entry("", SKIPPED, &mut record);
        }
        return vec![record];
    };
    let mut walk = Walk {
        flattening,
        entries,
        key: String::new(),
        place: "$".to_owned(),
        scratch: String::new(),
    };
    let above = Above {
        level: 0,
        included: false,
        wanted: &flattening.index_paths,
    };
    let records = walk.value(&document, above);
    match records.is_empty() {
        true => vec![Vec::new()],
        false => records,
    }
}

struct Walk<'a, E> {
    flattening: &'a Flattening,
    entries: &'a mut E,
    /// As records have it.
    key: String,
    /// As the lists of paths have it.
    place: String,
    scratch: String,
}

/// What the way to a value says of it.
#[derive(Clone, Copy)]
struct Above<'a> {
    level: u32,
    /// A path above is in the list of those to include.
    included: bool,
    /// Of what is below.
    wanted: &'a PathTree,
}

impl<'a, E: Entries> Walk<'a, E> {
    fn value(&mut self, value: &Value, above: Above<'a>) -> Vec<Vec<u32>> {
        let is_deep = self.flattening.levels_max == Some(above.level);
        match value {
            Value::Null => Vec::new(),
            Value::Array(_) | Value::Object(_) if is_deep => Vec::new(),
            Value::Array(elements) => self.array(elements, above),
            Value::Object(fields) => self.object(fields, above),
            scalar => {
                let mut record = Vec::new();
                self.scalar(scalar, &mut record);
                vec![record]
            }
        }
    }

    fn scalar(&mut self, value: &Value, record: &mut Vec<u32>) {
        // Keys end at the first zero.
        if self.key.contains('\0') {
            return;
        }
        let text = match value {
            Value::String(text) => text.as_str(),
            other => {
                use std::fmt::Write;
                self.scratch.clear();
                write!(self.scratch, "{other}").expect("writing to a string cannot fail");
                &self.scratch
            }
        };
        let limit = self.flattening.value_bytes_max as usize;
        let text = match limit > 0 && text.len() > limit {
            true => SKIPPED,
            false => text,
        };
        self.entries.entry(&self.key, text, record);
    }

    fn array(&mut self, elements: &[Value], above: Above<'a>) -> Vec<Vec<u32>> {
        if self.flattening.exclude_array {
            return Vec::new();
        }
        let (key, place) = (self.key.len(), self.place.len());
        self.place.push_str("[*]");
        let mut records = Vec::with_capacity(elements.len());
        if let Some(below) = self.below(above, "") {
            let mut at = String::new();
            for (index, element) in elements.iter().enumerate() {
                self.key.push('.');
                let of_element = self.value(element, below);
                self.key.push_str("$index");
                at.clear();
                at.push_str(&index.to_string());
                for mut record in of_element {
                    self.entries.entry(&self.key, &at, &mut record);
                    records.push(record);
                }
                self.key.truncate(key);
            }
        }
        self.place.truncate(place);
        records
    }

    fn object(&mut self, fields: &Map<String, Value>, above: Above<'a>) -> Vec<Vec<u32>> {
        let mut common = Vec::new();
        let mut has_common = false;
        let mut arrays: Vec<Vec<Vec<u32>>> = Vec::new();
        let (key, place) = (self.key.len(), self.place.len());
        for (name, value) in fields {
            if self.flattening.exclude_fields.contains(name) {
                continue;
            }
            self.place.push('.');
            self.place.push_str(name);
            self.key.push('.');
            self.key.push_str(name);
            if let Some(below) = self.below(above, name) {
                let mut records = self.value(value, below);
                match records.len() {
                    0 => {}
                    1 => {
                        has_common = true;
                        common.append(&mut records[0]);
                    }
                    _ => arrays.push(records),
                }
            }
            self.place.truncate(place);
            self.key.truncate(key);
        }
        self.merge(common, has_common, arrays)
    }

    fn merge(
        &self,
        common: Vec<u32>,
        has_common: bool,
        mut arrays: Vec<Vec<Vec<u32>>>,
    ) -> Vec<Vec<u32>> {
        if arrays.is_empty() {
            return match has_common {
                true => vec![common],
                false => Vec::new(),
            };
        }
        let combinations = arrays
            .iter()
            .try_fold(1_usize, |count, array| count.checked_mul(array.len()))
            .filter(|count| *count <= COMBINATIONS_MAX);
        let combine = !self.flattening.separate_arrays && combinations.is_some();
        let mut records = match combine {
            false => arrays.into_iter().flatten().collect(),
            true => {
                let mut records = arrays.remove(0);
                for array in &arrays {
                    records = combined(&records, array);
                }
                records
            }
        };
        for record in &mut records {
            record.extend_from_slice(&common);
        }
        records
    }

    /// What is said of the value at the place, to which `step` leads; `None`: it is not wanted.
    fn below(&self, above: Above<'a>, step: &str) -> Option<Above<'a>> {
        Some(Above {
            level: above.level + 1,
            wanted: above.wanted.below(step)?,
            included: self.included(above.included)?,
        })
    }

    /// Whether the lists of paths let the place in, and if so whether with all below it.
    fn included(&self, included: bool) -> Option<bool> {
        if included {
            return Some(true);
        }
        let Flattening {
            include_paths,
            exclude_paths,
            ..
        } = self.flattening;
        if include_paths.is_empty() {
            return (!exclude_paths.contains(&self.place)).then_some(false);
        }
        if include_paths.contains(&self.place) {
            return Some(true);
        }
        let leads_there = include_paths
            .iter()
            .any(|path| path.starts_with(&self.place));
        leads_there.then_some(false)
    }
}

fn combined(records: &[Vec<u32>], array: &[Vec<u32>]) -> Vec<Vec<u32>> {
    let pairs = records
        .iter()
        .flat_map(|record| array.iter().map(move |element| (record, element)));
    pairs
        .map(|(record, element)| [record.as_slice(), element.as_slice()].concat())
        .collect()
}
