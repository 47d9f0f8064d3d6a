//! What may be done: actions on tables by their names, and on the cluster.
//!
//! Actions do not include each other: whoever appends rows need not be able to read them.

use std::fmt;

/// What is done to a table, or to the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Of a table: rows, schema, config, state. Of the cluster: nodes, metrics, settings, what
    /// others ask.
    Read,
    /// Rows are appended, imported, replaced. Of the cluster: nothing.
    Write,
    /// Of a table: made, changed, dropped, paused, reloaded. Of the cluster: queries of others are
    /// ended, and whatever no other action covers.
    Admin,
}

impl Action {
    pub const ALL: [Self; 3] = [Self::Read, Self::Write, Self::Admin];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Admin => "admin",
        }
    }

    const fn bit(self) -> u8 {
        match self {
            Self::Read => 1,
            Self::Write => 2,
            Self::Admin => 4,
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Actions(u8);

impl Actions {
    /// `read`, `write`, `admin`, or `*` for all.
    pub(crate) fn parse(word: &str) -> Option<Self> {
        match Action::ALL.iter().find(|action| action.name() == word) {
            Some(action) => Some(Self(action.bit())),
            None => (word == "*").then_some(Self(u8::MAX)),
        }
    }

    pub(crate) const fn and(self, more: Self) -> Self {
        Self(self.0 | more.0)
    }

    const fn has(self, action: Action) -> bool {
        self.0 & action.bit() != 0
    }
}

/// What one principal may do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Grants {
    /// Patterns of names, in which `*` stands for any characters.
    tables: Vec<(String, Actions)>,
    cluster: Actions,
}

impl Grants {
    pub(crate) fn everything() -> Self {
        Self {
            tables: vec![("*".to_owned(), Actions(u8::MAX))],
            cluster: Actions(u8::MAX),
        }
    }

    pub(crate) fn on_tables(&mut self, pattern: String, actions: Actions) {
        self.tables.push((pattern, actions));
    }

    pub(crate) fn on_cluster(&mut self, actions: Actions) {
        self.cluster = self.cluster.and(actions);
    }

    pub(crate) fn add(&mut self, more: &Self) {
        self.tables.extend(more.tables.iter().cloned());
        self.on_cluster(more.cluster);
    }

    pub(crate) fn on_table(&self, action: Action, table: &str) -> bool {
        let mut fitting = self.tables.iter().filter(|(_, has)| has.has(action));
        fitting.any(|(pattern, _)| fits(pattern.as_bytes(), table.as_bytes()))
    }

    pub(crate) fn to_cluster(&self, action: Action) -> bool {
        self.cluster.has(action)
    }

    /// No table is kept from this one.
    pub(crate) fn on_every_table(&self, action: Action) -> bool {
        let mut all = self.tables.iter();
        all.any(|(pattern, has)| has.has(action) && pattern == "*")
    }
}

/// With a `*` behind which was read too little, more is tried: the last one alone needs that.
fn fits(pattern: &[u8], name: &[u8]) -> bool {
    let (mut at, mut in_name) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while in_name < name.len() {
        match pattern.get(at) {
            Some(b'*') => {
                star = Some((at, in_name));
                at += 1;
            }
            Some(byte) if *byte == name[in_name] => (at, in_name) = (at + 1, in_name + 1),
            _ => match star {
                Some((star_at, from)) => {
                    star = Some((star_at, from + 1));
                    (at, in_name) = (star_at + 1, from + 1);
                }
                None => return false,
            },
        }
    }
    pattern[at..].iter().all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_stand_for_any_characters() {
        let all = [
            ("*", "clicks", true),
            ("*", "", true),
            ("clicks", "clicks", true),
            ("clicks", "clicks2", false),
            ("clicks", "Clicks", false),
            ("web_*", "web_clicks", true),
            ("web_*", "web", false),
            ("*_log", "web_log", true),
            ("*_log", "web_log_2", false),
            ("a*b*c", "a_b_b_c", true),
            ("a*b*c", "acb", false),
            ("", "clicks", false),
        ];
        for (pattern, name, wanted) in all {
            assert_eq!(
                fits(pattern.as_bytes(), name.as_bytes()),
                wanted,
                "{pattern} {name}"
            );
        }
    }

    #[test]
    fn actions_do_not_include_each_other() {
        let mut grants = Grants::default();
        grants.on_tables("clicks".to_owned(), Actions::parse("write").unwrap());
        grants.on_tables("web_*".to_owned(), Actions::parse("*").unwrap());
        assert!(grants.on_table(Action::Write, "clicks"));
        assert!(!grants.on_table(Action::Read, "clicks"));
        assert!(!grants.on_table(Action::Admin, "clicks"));
        for action in Action::ALL {
            assert!(grants.on_table(action, "web_x"));
            assert!(!grants.on_every_table(action));
            assert!(!grants.to_cluster(action));
            assert!(Grants::everything().on_every_table(action));
        }
        assert_eq!(Actions::parse("rite"), None);
    }
}
