//! JSONEXTRACTKEY(document, 'path'): where a document has the values that a path names.
//!
//! Places are written as JSONPath's normalized paths, `$['a'][0]`, as Pinot has them.

use std::fmt::Write;

use datafusion::common::Result;
use index::json::{JsonPath, Step};
use serde_json::Value;

use crate::arguments::wrong;
use crate::docs::Section;
use crate::plain::{Plain, Takes, list_of};
use crate::rows::TEXT;

const NAME: &str = "JSONEXTRACTKEY";

/// Which values at and below a path are meant.
struct Question {
    path: JsonPath,
    below: Below,
}

#[derive(Clone, Copy)]
enum Below {
    /// Those of the path.
    No,
    /// Their fields and elements: `.*`.
    Children,
    /// And those of these: `..*`.
    All,
}

impl Question {
    fn parse(text: &str) -> Result<Self> {
        let endings = [
            ("..**", Below::All),
            ("..*", Below::All),
            (".*", Below::Children),
            ("[*]", Below::Children),
        ];
        let ending = endings
            .into_iter()
            .find_map(|(ending, below)| Some((text.strip_suffix(ending)?, below)));
        let (path, below) = ending.unwrap_or((text, Below::No));
        let path =
            JsonPath::parse(path).map_err(|fault| wrong(format!("{NAME}: {}", fault.what)))?;
        Ok(Self { path, below })
    }

    fn places(&self, document: &str) -> Vec<String> {
        let Ok(document) = serde_json::from_str::<Value>(document) else {
            return Vec::new();
        };
        let mut found = vec![("$".to_owned(), &document)];
        for step in self.path.steps() {
            found = found
                .into_iter()
                .flat_map(|(place, value)| {
                    let mut inside = children(&place, value);
                    match step {
                        Step::Field(name) => inside.retain(|(_, key, _)| *key == Key::Field(name)),
                        Step::Element(at) => {
                            inside.retain(|(_, key, _)| *key == Key::Element(*at as usize));
                        }
                        Step::EachElement => {}
                    }
                    inside.into_iter().map(|(place, _, value)| (place, value))
                })
                .collect();
        }
        let mut places = Vec::new();
        for (place, value) in found {
            match self.below {
                Below::No => places.push(place),
                below => add_below(&place, value, matches!(below, Below::All), &mut places),
            }
        }
        places
    }
}

#[derive(PartialEq, Eq)]
enum Key<'a> {
    Field(&'a str),
    Element(usize),
}

fn children<'a>(place: &str, value: &'a Value) -> Vec<(String, Key<'a>, &'a Value)> {
    match value {
        Value::Object(fields) => fields
            .iter()
            .map(|(name, value)| {
                let escaped = name.replace('\\', "\\\\").replace('\'', "\\'");
                (format!("{place}['{escaped}']"), Key::Field(name), value)
            })
            .collect(),
        Value::Array(elements) => elements
            .iter()
            .enumerate()
            .map(|(at, value)| {
                let mut inside = place.to_owned();
                let _ = write!(inside, "[{at}]");
                (inside, Key::Element(at), value)
            })
            .collect(),
        _ => Vec::new(),
    }
}

/// Documents are parsed to a bounded depth, so this ends.
fn add_below(place: &str, value: &Value, all: bool, places: &mut Vec<String>) {
    for (place, _, value) in children(place, value) {
        places.push(place.clone());
        if all {
            add_below(&place, value, all, places);
        }
    }
}

pub(super) fn all() -> Vec<Plain> {
    let own = Plain::new(
        "json_extract_key",
        &[Takes::Text; 2],
        list_of(TEXT),
        |rows| {
            let question = Question::parse(rows.text(1)?)?;
            rows.map(|document: &str| Some(question.places(document)))
        },
    );
    vec![own.says(
        Section::Json,
        "JSONEXTRACTKEY(document, 'path')",
        "Where the document has the values of a path, which may end with `.*` for what is in them \
         and `..*` for what is in that as well.",
        &[
            (
                "JSONEXTRACTKEY('{\"a\":{\"b\":7},\"c\":[1]}', '$.*')",
                "[$['a'], $['c']]",
            ),
            (
                "JSONEXTRACTKEY('{\"a\":{\"b\":7},\"c\":[1]}', '$..*')",
                "[$['a'], $['a']['b'], $['c'], $['c'][0]]",
            ),
        ],
    )]
}
