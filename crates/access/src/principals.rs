//! The file of principals: who there is, how each proves it, what each may do.
//!
//! ```toml
//! [principals.ann]
//! password = "$argon2id$…"           # tannin access password
//! groups = ["analysts"]
//!
//! [principals.shop]
//! token = "sha256:…"                 # tannin access token
//! tables = { orders = ["write"] }
//!
//! [groups.analysts]
//! tables = { "web_*" = ["read"] }
//! cluster = ["read"]
//!
//! [[issuers]]                        # of JWTs
//! issuer = "https://login.example"
//! audience = "tannin"
//! algorithm = "RS256"
//! key_file = "login.pem"             # beside this file
//! ```
//!
//! Invariant: a file is taken whole or not at all, and every fault names its line.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use schemas::TableName;
use schemas::cluster::ClusterState;
use serde::Deserialize;
use toml::Spanned;

use crate::AccessError;
use crate::followed::read;
use crate::grants::{Action, Actions, Grants};
use crate::jwt::{Algorithm, Issuer, Key};
use crate::secrets::{PasswordMark, parse_token_hash};

/// Somebody who may do something.
#[derive(Clone, Debug)]
pub struct Principal(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    name: String,
    /// Only one who is known by a name can be told from others.
    is_anyone: bool,
    grants: Grants,
    /// The last one that was asked for, with its tables that may be read.
    seen: Mutex<Option<(Weak<ClusterState>, Arc<ClusterState>)>>,
}

impl Principal {
    pub(crate) fn new(name: impl Into<String>, grants: Grants) -> Self {
        Self(Arc::new(Inner {
            name: name.into(),
            is_anyone: false,
            grants,
            seen: Mutex::default(),
        }))
    }

    /// Where nobody proves anything.
    pub fn anyone() -> Self {
        Self(Arc::new(Inner {
            name: "anyone".to_owned(),
            is_anyone: true,
            grants: Grants::everything(),
            seen: Mutex::default(),
        }))
    }

    pub fn name(&self) -> &str {
        &self.0.name
    }

    pub fn is_anyone(&self) -> bool {
        self.0.is_anyone
    }

    /// `table` is a raw or a physical name.
    pub fn may(&self, action: Action, table: &str) -> bool {
        let raw = TableName::parse_physical(table);
        let raw = raw.as_ref().map_or(table, |(raw, _)| raw.as_str());
        self.0.grants.on_table(action, raw)
    }

    pub fn may_cluster(&self, action: Action) -> bool {
        self.0.grants.to_cluster(action)
    }

    /// The cluster with the tables alone that may be read.
    pub fn visible(&self, cluster: &Arc<ClusterState>) -> Arc<ClusterState> {
        if self.0.grants.on_every_table(Action::Read) {
            return Arc::clone(cluster);
        }
        let mut seen = self.0.seen.lock();
        if let Some((of, visible)) = &*seen
            && of.as_ptr() == Arc::as_ptr(cluster)
        {
            return Arc::clone(visible);
        }
        let mut visible = ClusterState::clone(cluster);
        let may_see = |name: &TableName| self.0.grants.on_table(Action::Read, name.as_str());
        visible.tables.retain(|_, table| may_see(&table.spec.name));
        let visible = Arc::new(visible);
        *seen = Some((Arc::downgrade(cluster), Arc::clone(&visible)));
        visible
    }
}

/// How one proves to be who he is.
#[derive(Clone, Debug)]
pub(crate) struct Known {
    pub(crate) principal: Principal,
    pub(crate) password: Option<PasswordMark>,
}

/// All that the file says.
pub(crate) struct Book {
    pub(crate) by_name: HashMap<String, Known>,
    /// By the hash of a token.
    pub(crate) by_token: HashMap<[u8; 32], Principal>,
    pub(crate) groups: HashMap<String, Grants>,
    pub(crate) issuers: Vec<Issuer>,
    /// The file itself and those that it names.
    pub(crate) files: Vec<PathBuf>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    #[serde(default)]
    principals: BTreeMap<String, WrittenPrincipal>,
    #[serde(default)]
    groups: BTreeMap<String, WrittenGrants>,
    #[serde(default)]
    issuers: Vec<WrittenIssuer>,
}

type Words = Vec<Spanned<String>>;

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenPrincipal {
    password: Option<Spanned<String>>,
    token: Option<Spanned<String>>,
    #[serde(default)]
    groups: Words,
    #[serde(default)]
    tables: BTreeMap<String, Words>,
    #[serde(default)]
    cluster: Words,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenGrants {
    #[serde(default)]
    tables: BTreeMap<String, Words>,
    #[serde(default)]
    cluster: Words,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenIssuer {
    issuer: String,
    audience: String,
    algorithm: Spanned<String>,
    key_file: Spanned<PathBuf>,
    #[serde(default = "groups_claim")]
    groups_claim: String,
}

fn groups_claim() -> String {
    "groups".to_owned()
}

/// Where in the text, and what is wrong there.
type At = (usize, String);

/// Reads a file of principals and says how many there are, for people who wrote one.
pub fn checked(path: &Path) -> Result<String, AccessError> {
    let book = Book::read(path)?;
    Ok(format!(
        "{} principals, {} groups, {} issuers of tokens",
        book.by_name.len(),
        book.groups.len(),
        book.issuers.len()
    ))
}

impl Book {
    pub(crate) fn read(path: &Path) -> Result<Self, AccessError> {
        let bytes = read("the file of principals", path)?;
        let text = String::from_utf8(bytes).map_err(|_| {
            AccessError(format!(
                "the file of principals `{}` is no text",
                path.display()
            ))
        })?;
        Self::parse(path, &text)
    }

    fn parse(path: &Path, text: &str) -> Result<Self, AccessError> {
        let fault = |(at, message): At| {
            let line = text[..at.min(text.len())].matches('\n').count() + 1;
            AccessError(format!("{}:{line}: {message}", path.display()))
        };
        // The line alone: what stands there may be a secret.
        let written: Written = toml::from_str(text).map_err(|error| {
            let at = error.span().map_or(0, |span| span.start);
            fault((at, error.message().to_owned()))
        })?;
        let mut groups = HashMap::new();
        for (name, group) in &written.groups {
            let granted = grants(&group.tables, &group.cluster).map_err(fault)?;
            groups.insert(name.clone(), granted);
        }
        let mut book = Self {
            by_name: HashMap::new(),
            by_token: HashMap::new(),
            groups,
            issuers: Vec::new(),
            files: vec![path.to_owned()],
        };
        for (name, one) in &written.principals {
            book.add(name, one).map_err(fault)?;
        }
        for one in &written.issuers {
            let beside = path.parent().unwrap_or(Path::new("."));
            book.trust(one, beside).map_err(fault)?;
        }
        Ok(book)
    }

    fn add(&mut self, name: &str, one: &WrittenPrincipal) -> Result<(), At> {
        let mut granted = grants(&one.tables, &one.cluster)?;
        for group in &one.groups {
            let found = self.groups.get(group.get_ref());
            granted.add(found.ok_or_else(|| {
                let message = format!("there is no group `{}`", group.get_ref());
                (group.span().start, message)
            })?);
        }
        let principal = Principal::new(name, granted);
        let marked = one.password.as_ref().map(|password| {
            let mark = PasswordMark::parse(password.get_ref());
            mark.map_err(|wrong| {
                (
                    password.span().start,
                    format!("`password` of `{name}` {wrong}"),
                )
            })
        });
        let password = marked.transpose()?;
        if let Some(token) = &one.token {
            let at = token.span().start;
            let hash = parse_token_hash(token.get_ref()).ok_or_else(|| {
                let wrong = "is not what `tannin access token` prints (sha256:…)";
                (at, format!("`token` of `{name}` {wrong}"))
            })?;
            if let Some(other) = self.by_token.insert(hash, principal.clone()) {
                let message = format!("`{name}` has the token of `{}`", other.name());
                return Err((at, message));
            }
        }
        let known = Known {
            principal,
            password,
        };
        self.by_name.insert(name.to_owned(), known);
        Ok(())
    }

    fn trust(&mut self, one: &WrittenIssuer, beside: &Path) -> Result<(), At> {
        let algorithm = Algorithm::named(one.algorithm.get_ref()).ok_or_else(|| {
            let message = format!(
                "`{}` is no algorithm of tokens: HS256, RS256 or ES256",
                one.algorithm.get_ref()
            );
            (one.algorithm.span().start, message)
        })?;
        let at = one.key_file.span().start;
        let path = beside.join(one.key_file.get_ref());
        let key = Key::read(algorithm, &path).map_err(|AccessError(message)| (at, message))?;
        self.files.push(path);
        self.issuers.push(Issuer {
            name: one.issuer.clone(),
            audience: one.audience.clone(),
            groups_claim: one.groups_claim.clone(),
            key,
        });
        Ok(())
    }

    /// Of a token: what the file grants to one of this name, and to groups that the token names.
    pub(crate) fn with_groups(&self, name: &str, groups: &[String]) -> Principal {
        let mut granted = Grants::default();
        if let Some(known) = self.by_name.get(name) {
            granted.add(known.principal.grants());
        }
        for group in groups.iter().filter_map(|group| self.groups.get(group)) {
            granted.add(group);
        }
        Principal::new(name, granted)
    }
}

impl Principal {
    fn grants(&self) -> &Grants {
        &self.0.grants
    }
}

fn grants(tables: &BTreeMap<String, Words>, cluster: &Words) -> Result<Grants, At> {
    let mut granted = Grants::default();
    for (pattern, words) in tables {
        granted.on_tables(pattern.clone(), actions(words)?);
    }
    granted.on_cluster(actions(cluster)?);
    Ok(granted)
}

fn actions(words: &Words) -> Result<Actions, At> {
    let mut all = Actions::default();
    for word in words {
        let one = Actions::parse(word.get_ref()).ok_or_else(|| {
            let text = word.get_ref();
            let message = format!("`{text}` is no action: read, write, admin, or * for all");
            (word.span().start, message)
        })?;
        all = all.and(one);
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secrets::hash_of_token;

    fn parse(text: &str) -> Result<Book, String> {
        Book::parse(Path::new("p.toml"), text).map_err(|AccessError(message)| message)
    }

    #[test]
    fn groups_and_own_grants_add_up() {
        let token = hash_of_token("x");
        let book = parse(&format!(
            "[principals.ann]\ngroups = ['analysts']\ntables = {{ clicks = ['write'] }}\n\
             token = '{token}'\n\
             [groups.analysts]\ntables = {{ 'web_*' = ['read'] }}\ncluster = ['read']\n"
        ));
        let book = book.unwrap();
        let ann = &book.by_name["ann"].principal;
        assert!(ann.may(Action::Write, "clicks") && ann.may(Action::Write, "clicks_REALTIME"));
        assert!(!ann.may(Action::Read, "clicks"));
        assert!(ann.may(Action::Read, "web_x") && ann.may(Action::Read, "default.web_x_OFFLINE"));
        assert!(ann.may_cluster(Action::Read) && !ann.may_cluster(Action::Admin));
        let other = book.with_groups("bob", &["analysts".to_owned(), "nobody".to_owned()]);
        assert!(other.may(Action::Read, "web_x") && !other.may(Action::Write, "clicks"));
        assert_eq!(book.by_token.len(), 1);
    }

    #[test]
    fn each_fault_has_its_line() {
        let token = hash_of_token("x");
        let same = format!("[principals.a]\ntoken = '{token}'\n[principals.b]\ntoken = '{token}'");
        let all = [
            ("[principals.ann\n", "p.toml:1: "),
            (
                "[principals.ann]\npasword = 'x'",
                "p.toml:2: unknown field `pasword`",
            ),
            (
                "[principals.ann]\n\npassword = 'x'",
                "p.toml:3: `password` of `ann` is not",
            ),
            (
                "[principals.ann]\ntoken = 'x'",
                "p.toml:2: `token` of `ann` is not",
            ),
            (
                "[principals.ann]\ngroups = [\n'x',\n'y']",
                "p.toml:3: there is no group `x`",
            ),
            (
                "[groups.a.tables]\nt = ['read']\nu = ['rite']",
                "p.toml:3: `rite` is no action",
            ),
            (&same, "p.toml:4: `b` has the token of `a`"),
            (
                "[[issuers]]\nissuer = 'i'\naudience = 'a'\nalgorithm = 'none'\nkey_file = 'k'",
                "p.toml:4: `none` is no algorithm",
            ),
            (
                "[[issuers]]\nissuer = 'i'\naudience = 'a'\nalgorithm = 'RS256'\nkey_file = '/no'",
                "p.toml:5: the key `/no` cannot be read",
            ),
        ];
        for (text, wanted) in all {
            let fault = parse(text).err().unwrap();
            assert!(fault.starts_with(wanted), "{text}: {fault}");
        }
        let secret = parse("[principals.ann]\npassword = 'very secret'")
            .err()
            .unwrap();
        assert!(!secret.contains("very"), "{secret}");
    }
}
