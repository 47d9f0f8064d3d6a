//! Ways to an answer beside the usual one, and what shows that they were taken.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

/// What `skipIndexes` knows and questions use.
const KINDS: [&str; 10] = [
    "dictionary",
    "sorted",
    "inverted",
    "range",
    "bloom",
    "null",
    "zone",
    "text",
    "json",
    "timestamp",
];
const STAR_TREE: &str = "star_tree";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    Usual,
    /// DataFusion's operators.
    General,
    /// Planned anew.
    WithoutTemplate,
    OneThread,
    /// As many threads as there are, for as few rows as there are.
    Threads,
    WithoutTrees,
    Without(&'static str),
}

/// Asked of each question in some form.
pub(super) const EVERY: [Way; 4] = [
    Way::General,
    Way::WithoutTemplate,
    Way::OneThread,
    Way::Threads,
];

impl Way {
    pub(super) fn option(self) -> Option<(&'static str, String)> {
        let (name, value) = match self {
            Self::Usual => return None,
            Self::General => ("nativeOperators", "false".to_owned()),
            Self::WithoutTemplate => ("planTemplates", "false".to_owned()),
            Self::OneThread => ("maxThreads", "1".to_owned()),
            Self::Threads => ("rowsPerThread", "1".to_owned()),
            Self::WithoutTrees => ("useStarTree", "false".to_owned()),
            Self::Without(kind) => ("skipIndexes", format!("*={kind}")),
        };
        Some((name, value))
    }

    /// What shows that it was not taken.
    pub(super) fn contradiction(self, stats: &Value) -> Option<String> {
        let is_other = match self {
            Self::Usual | Self::Threads => false,
            Self::General => stats["nativeOperators"] != 0,
            Self::WithoutTemplate => stats["planTemplate"] == true,
            Self::OneThread => stats["threads"].as_u64() > Some(1),
            Self::WithoutTrees => kinds_of(stats).contains(STAR_TREE),
            Self::Without(kind) => kinds_of(stats).contains(kind),
        };
        is_other.then(|| format!("it did not go by {self:?}: {stats}"))
    }

    /// Those without what was used.
    pub(super) fn without_used(stats: &Value) -> Vec<Self> {
        let used = kinds_of(stats);
        let kinds = KINDS.into_iter().filter(|kind| used.contains(kind));
        let trees = used.contains(STAR_TREE).then_some(Self::WithoutTrees);
        kinds.map(Self::Without).chain(trees).collect()
    }
}

fn kinds_of(stats: &Value) -> BTreeSet<&str> {
    let names = stats["indexes"].as_array().into_iter().flatten();
    names
        .filter_map(|name| name.as_str()?.split('(').next())
        .collect()
}

/// What the questions used in all: a way that was never taken was not tested.
#[derive(Debug, Default)]
pub struct Used {
    pub questions: u64,
    pub answers: u64,
    pub with_rows: u64,
    pub refused_by_oracle: u64,
    pub native: u64,
    pub fallback: u64,
    pub pruned: u64,
    pub templates: u64,
    /// Answers that several threads worked on.
    pub threads: u64,
    /// By kind, the answers that used it, and those that were asked for without it.
    pub indexes: BTreeMap<String, u64>,
    pub ways: BTreeMap<String, u64>,
}

impl Used {
    pub(super) fn add(&mut self, way: Way, stats: &Value) {
        let number = |key: &str| stats[key].as_u64().unwrap_or(0);
        self.native += number("nativeOperators");
        self.fallback += number("fallbackOperators");
        self.pruned += number("segmentsPruned");
        self.templates += u64::from(stats["planTemplate"] == true);
        self.threads += u64::from(number("threads") > 1);
        for kind in kinds_of(stats) {
            *self.indexes.entry(kind.to_owned()).or_default() += 1;
        }
        *self.ways.entry(format!("{way:?}")).or_default() += 1;
    }

    /// What should have been used and was not.
    pub fn missing(&self) -> Vec<String> {
        let kinds = KINDS.iter().chain(&["scan", STAR_TREE]);
        let kinds = kinds.filter(|kind| !self.indexes.contains_key(**kind));
        let mut missing: Vec<String> = kinds.map(|kind| (*kind).to_owned()).collect();
        let skipped = KINDS.into_iter().map(Way::Without);
        let ways = EVERY.into_iter().chain(skipped).chain([Way::WithoutTrees]);
        let ways = ways.map(|way| format!("{way:?}"));
        missing.extend(ways.filter(|way| !self.ways.contains_key(way)));
        for (what, count, least) in [
            ("native operators", self.native, self.answers / 4),
            ("other operators", self.fallback, 1),
            ("pruning", self.pruned, 1),
            ("plan templates", self.templates, self.answers / 4),
            ("several threads", self.threads, self.questions / 20),
        ] {
            if count < least {
                missing.push(format!("{what} ({count} of at least {least})"));
            }
        }
        missing
    }
}
