//! Reading a JSON document key by key, collecting faults instead of stopping at the first.

use std::collections::BTreeMap;

use serde_json::{Map, Value as Json};

use super::{Parsed, Violations};

/// Collects what is wrong with a document.
#[derive(Debug, Default)]
pub(super) struct Report {
    pub(super) faults: Vec<String>,
    pub(super) unrecognized: BTreeMap<String, Json>,
    pub(super) warnings: Vec<String>,
}

impl Report {
    pub(super) fn fault(&mut self, path: &str, what: impl std::fmt::Display) {
        self.faults.push(format!("{path}: {what}"));
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

    pub(super) fn get(&self, key: &str) -> Option<&'a Json> {
        self.object.get(key).filter(|value| !value.is_null())
    }

    /// Keys that are not `known` go to the report with the nearest known one.
    pub(super) fn only(&self, known: &[&str], report: &mut Report) {
        for (key, value) in self.object {
            if known.contains(&key.as_str()) {
                continue;
            }
            let nearest = known
                .iter()
                .map(|candidate| (strsim::jaro_winkler(key, candidate), candidate))
                .filter(|(similarity, _)| *similarity > 0.8)
                .max_by(|a, b| a.0.total_cmp(&b.0));
            let path = match nearest {
                Some((_, candidate)) => format!("{} (did you mean `{candidate}`?)", self.path(key)),
                None => self.path(key),
            };
            report.unrecognized.insert(path, value.clone());
        }
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
