//! Reading a JSON document key by key, collecting faults instead of stopping at the first.

use std::collections::BTreeMap;

use serde_json::{Map, Value as Json};

use super::{Parsed, Unknown, Violations};

/// Collects what is wrong with a document.
#[derive(Debug, Default)]
pub(super) struct Report {
    pub(super) faults: Vec<String>,
    pub(super) unrecognized: BTreeMap<String, Unknown>,
    pub(super) warnings: Vec<String>,
}

impl Report {
    pub(super) fn fault(&mut self, path: &str, what: impl std::fmt::Display) {
        self.faults.push(format!("{path}: {what}"));
    }

    pub(super) fn warn_without_effect(&mut self, path: &str) {
        self.warnings.push(format!("{path} has no effect yet"));
    }

    /// Keys that nobody knows are faults.
    pub(super) fn refuse_unknown(&mut self) {
        for (pointer, unknown) in std::mem::take(&mut self.unrecognized) {
            let hint = unknown.nearest.map_or(String::new(), |nearest| {
                format!("; did you mean `{nearest}`?")
            });
            self.faults.push(format!("{pointer}: unknown key{hint}"));
        }
    }

    pub(super) fn finish<T>(self, value: Option<T>) -> Result<Parsed<T>, Violations> {
        match value {
            Some(value) if self.faults.is_empty() => Ok(Parsed {
                value,
                unrecognized: self.unrecognized,
                warnings: self.warnings,
            }),
            _ => Err(Violations(self.faults)),
        }
    }
}

pub(super) fn parse(text: &str) -> Result<Map<String, Json>, Violations> {
    match serde_json::from_str(text) {
        Ok(Json::Object(object)) => Ok(object),
        Ok(_) => Err(Violations(vec!["$: a JSON object was expected".to_owned()])),
        Err(error) => Err(Violations(vec![format!("$: not JSON: {error}")])),
    }
}

/// One object of the document and where it stands.
#[derive(Clone, Copy, Debug)]
pub(super) struct Node<'a> {
    pub(super) object: &'a Map<String, Json>,
    path: &'a str,
}

impl<'a> Node<'a> {
    pub(super) fn new(object: &'a Map<String, Json>, path: &'a str) -> Self {
        Self { object, path }
    }

    pub(super) fn path(&self, key: &str) -> String {
        if self.path.is_empty() {
            key.to_owned()
        } else {
            format!("{}.{key}", self.path)
        }
    }

    /// Where the object itself stands.
    pub(super) fn place(&self) -> &'a str {
        self.path
    }

    pub(super) fn get(&self, key: &str) -> Option<&'a Json> {
        self.object.get(key).filter(|value| !value.is_null())
    }

    /// Whether something stands there: not `null`, `false`, `[]`, `{}` or `""`.
    pub(super) fn says_something(&self, key: &str) -> bool {
        self.get(key).is_some_and(|value| match value {
            Json::Array(list) => !list.is_empty(),
            Json::Object(object) => !object.is_empty(),
            Json::Bool(flag) => *flag,
            Json::String(text) => !text.is_empty() && text != "false",
            _ => true,
        })
    }

    /// Keys that are not `known` go to the report with the nearest known one.
    pub(super) fn only(&self, known: &[&'static str], report: &mut Report) {
        self.only_with(known, &[], report);
    }

    /// Also keys with one of `prefixes` are known.
    pub(super) fn only_with(&self, known: &[&'static str], prefixes: &[&str], report: &mut Report) {
        for (key, value) in self.object {
            let is_known = known.contains(&key.as_str())
                || prefixes.iter().any(|prefix| key.starts_with(prefix));
            if !is_known {
                let unknown = Unknown {
                    value: value.clone(),
                    nearest: nearest(key, known),
                };
                report.unrecognized.insert(self.pointer(key), unknown);
            }
        }
    }

    /// RFC 6901.
    fn pointer(&self, key: &str) -> String {
        let parent = self.path.replace(['.', '['], "/").replace(']', "");
        let separator = if parent.is_empty() { "" } else { "/" };
        let key = key.replace('~', "~0").replace('/', "~1");
        format!("{separator}{parent}/{key}")
    }

    pub(super) fn text(&self, key: &str, report: &mut Report) -> Option<&'a str> {
        let value = self.get(key)?;
        let text = value.as_str();
        if text.is_none() {
            report.fault(
                &self.path(key),
                format!("a string was expected, not {value}"),
            );
        }
        text
    }

    /// Also a number that is written as a string, as Pinot's own configs do.
    pub(super) fn number(&self, key: &str, report: &mut Report) -> Option<i64> {
        let value = self.get(key)?;
        let number = value
            .as_i64()
            .or_else(|| value.as_str()?.trim().parse().ok());
        if number.is_none() {
            report.fault(
                &self.path(key),
                format!("a whole number was expected, not {value}"),
            );
        }
        number
    }

    pub(super) fn decimal(&self, key: &str, report: &mut Report) -> Option<f64> {
        let value = self.get(key)?;
        let number = value
            .as_f64()
            .or_else(|| value.as_str()?.trim().parse().ok());
        if number.is_none() {
            report.fault(
                &self.path(key),
                format!("a number was expected, not {value}"),
            );
        }
        number
    }

    pub(super) fn flag(&self, key: &str, report: &mut Report) -> Option<bool> {
        let value = self.get(key)?;
        let flag = value.as_bool().or_else(|| match value.as_str() {
            Some("true") => Some(true),
            Some("false") => Some(false),
            _ => None,
        });
        if flag.is_none() {
            report.fault(
                &self.path(key),
                format!("true or false was expected, not {value}"),
            );
        }
        flag
    }

    pub(super) fn object(&self, key: &str, report: &mut Report) -> Option<&'a Map<String, Json>> {
        let value = self.get(key)?;
        let object = value.as_object();
        if object.is_none() {
            report.fault(&self.path(key), "an object was expected");
        }
        object
    }

    /// A list of objects.
    pub(super) fn objects(&self, key: &str, report: &mut Report) -> Vec<&'a Map<String, Json>> {
        let Some(value) = self.get(key) else {
            return Vec::new();
        };
        let Some(list) = value.as_array() else {
            report.fault(&self.path(key), "a list was expected");
            return Vec::new();
        };
        let mut objects = Vec::new();
        for (at, item) in list.iter().enumerate() {
            match item.as_object() {
                Some(object) => objects.push(object),
                None => report.fault(
                    &format!("{}[{at}]", self.path(key)),
                    "an object was expected",
                ),
            }
        }
        objects
    }

    /// The objects of a list whose faults another reader has told.
    pub(super) fn object_list(&self, key: &str) -> Vec<&'a Map<String, Json>> {
        let list = self.get(key).and_then(Json::as_array);
        list.into_iter()
            .flatten()
            .filter_map(Json::as_object)
            .collect()
    }

    /// A list of strings, or one string.
    pub(super) fn texts(&self, key: &str, report: &mut Report) -> Vec<&'a str> {
        match self.get(key) {
            None => Vec::new(),
            Some(Json::String(one)) => vec![one],
            Some(Json::Array(list)) => {
                let texts: Vec<&str> = list.iter().filter_map(Json::as_str).collect();
                if texts.len() != list.len() {
                    report.fault(&self.path(key), "a list of strings was expected");
                }
                texts
            }
            Some(_) => {
                report.fault(&self.path(key), "a list of strings was expected");
                Vec::new()
            }
        }
    }
}

fn nearest(key: &str, known: &[&'static str]) -> Option<&'static str> {
    let alike = |candidate: &'static str| (strsim::jaro_winkler(key, candidate), candidate);
    let close = known.iter().map(|candidate| alike(candidate));
    close
        .filter(|(similarity, _)| *similarity > 0.8)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, candidate)| candidate)
}
