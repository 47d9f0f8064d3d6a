//! `$.a.b[0].c[*]`: a way into a document.

use super::filter::FilterFault;

/// One step of a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    Field(String),
    Element(u32),
    EachElement,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JsonPath {
    steps: Vec<Step>,
    key: String,
    places: Vec<(String, String)>,
}

impl JsonPath {
    /// With `$` in front, or, as in old queries, without: `a.b`.
    pub fn parse(text: &str) -> Result<Self, FilterFault> {
        let fault = |what: &str| FilterFault::new(0, format!("the path `{text}`: {what}"));
        let dotted;
        let mut rest = match text.strip_prefix('$') {
            Some(rest) => rest,
            None if text.starts_with('[') => text,
            None => {
                dotted = format!(".{text}");
                &dotted
            }
        };
        let mut steps = Vec::new();
        while !rest.is_empty() {
            if let Some(after) = rest.strip_prefix('.') {
                let end = after.find(['.', '[']).unwrap_or(after.len());
                let (name, after) = after.split_at(end);
                if name.is_empty() {
                    return Err(fault("a name is missing behind a dot"));
                }
                steps.push(Step::Field(name.to_owned()));
                rest = after;
            } else if let Some(after) = rest.strip_prefix('[') {
                let Some((inside, after)) = after.split_once(']') else {
                    return Err(fault("a bracket is not closed"));
                };
                steps.push(step(inside).ok_or_else(|| {
                    fault("in brackets stands a position, * or a name in quotes")
                })?);
                rest = after;
            } else {
                return Err(fault("a dot or a bracket was expected"));
            }
        }
        Ok(Self::of(steps))
    }

    fn of(steps: Vec<Step>) -> Self {
        let mut key = String::new();
        let mut places = Vec::new();
        for step in &steps {
            match step {
                Step::Field(name) => {
                    key.push('.');
                    key.push_str(name);
                }
                Step::Element(place) => {
                    places.push((format!("{key}.$index"), place.to_string()));
                    key.push('.');
                }
                Step::EachElement => key.push('.'),
            }
        }
        Self { steps, key, places }
    }

    /// As records have it.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// Key and value of the places that the path names; a record must have them all.
    pub fn places(&self) -> &[(String, String)] {
        &self.places
    }

    /// It leads to one place at most.
    pub fn is_single(&self) -> bool {
        !self.steps.contains(&Step::EachElement)
    }

    pub fn steps(&self) -> &[Step] {
        &self.steps
    }
}

fn step(inside: &str) -> Option<Step> {
    if inside == "*" {
        return Some(Step::EachElement);
    }
    let quoted = |quote: char| inside.strip_prefix(quote)?.strip_suffix(quote);
    match quoted('\'').or_else(|| quoted('"')) {
        Some(name) => Some(Step::Field(name.to_owned())),
        None => inside.parse().ok().map(Step::Element),
    }
}
