//! Which paths of a document are in its records, as patterns: `a.b`, `a.*`, `a..b`, `a.**`.
//!
//! A step is the name of a field, nothing for the elements of an array, `*` for any field or
//! element, `**` for all that is below. Where several patterns fit a step, `**` counts before its
//! name, and its name before `*`. A scalar is in the records wherever a pattern leads to it or past
//! it.

use std::collections::BTreeMap;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathTree {
    /// All below is wanted.
    is_whole: bool,
    named: BTreeMap<String, PathTree>,
    other: Option<Box<PathTree>>,
}

impl Default for PathTree {
    /// Everything.
    fn default() -> Self {
        Self {
            is_whole: true,
            ..Self::nothing()
        }
    }
}

impl PathTree {
    /// Without patterns, everything.
    pub fn of(patterns: &[String]) -> Self {
        if patterns.is_empty() {
            return Self::default();
        }
        let mut root = Self::nothing();
        for pattern in patterns {
            root.add(pattern);
        }
        root
    }

    const fn nothing() -> Self {
        Self {
            is_whole: false,
            named: BTreeMap::new(),
            other: None,
        }
    }

    fn add(&mut self, pattern: &str) {
        let mut at = self;
        for step in pattern.split('.') {
            at = match step {
                "**" => {
                    at.is_whole = true;
                    return;
                }
                "*" => at.other.get_or_insert_with(|| Box::new(Self::nothing())),
                name => at
                    .named
                    .entry(name.to_owned())
                    .or_insert_with(Self::nothing),
            };
        }
    }

    /// What is wanted below a field, or, by an empty name, in the elements of an array.
    pub(super) fn below(&self, step: &str) -> Option<&Self> {
        match self.is_whole {
            true => Some(self),
            false => self.named.get(step).or(self.other.as_deref()),
        }
    }
}
