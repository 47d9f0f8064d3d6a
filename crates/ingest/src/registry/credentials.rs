//! Who a machine is to registries, as its settings say.
//!
//! Invariant: what is said of an address goes to that address and what is below it, and is shown
//! to nobody.

use std::fmt;

/// By addresses.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Credentials(Vec<(String, Proof)>);

#[derive(Clone, PartialEq, Eq)]
pub(super) enum Proof {
    Basic { user: String, password: String },
    Bearer(String),
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list()
            .entries(self.0.iter().map(|(url, _)| url))
            .finish()
    }
}

impl fmt::Debug for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("…")
    }
}

impl Proof {
    /// `user:password`, or a token.
    pub(super) fn of(user_info: Option<&str>, token: Option<&str>) -> Option<Self> {
        let basic = |info: &str| {
            let (user, password) = info.split_once(':')?;
            Some(Self::Basic {
                user: user.to_owned(),
                password: password.to_owned(),
            })
        };
        match token {
            Some(token) => Some(Self::Bearer(token.to_owned())),
            None => user_info.and_then(basic),
        }
    }
}

impl Credentials {
    /// A line for each address: `URL basic user:password` or `URL bearer token`. Lines that are
    /// empty or begin with `#` are passed over. The error tells the line and what is wrong with it,
    /// not what stands there.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut all = Vec::new();
        for (at, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let wrong = |what: &str| format!("line {}: {what}", at + 1);
            let parts = line.split_once(char::is_whitespace);
            let parts = parts.and_then(|(url, rest)| {
                let (kind, secret) = rest.trim_start().split_once(char::is_whitespace)?;
                Some((url, kind, secret.trim_start()))
            });
            let Some((url, kind, secret)) = parts else {
                return Err(wrong(
                    "write `URL basic user:password` or `URL bearer token`",
                ));
            };
            if !url.starts_with("http://") && !url.starts_with("https://") {
                return Err(wrong("it begins with no URL of http:// or https://"));
            }
            let proof = match kind.to_ascii_lowercase().as_str() {
                "basic" if secret.contains(':') => Proof::of(Some(secret), None),
                "basic" => return Err(wrong("`basic` is followed by user:password")),
                "bearer" => Some(Proof::Bearer(secret.to_owned())),
                _ => None,
            };
            let proof = proof.ok_or_else(|| wrong("after the URL comes `basic` or `bearer`"))?;
            all.push((url.trim_end_matches('/').to_owned(), proof));
        }
        Ok(Self(all))
    }

    /// What is said of the longest address that the URL is, or is below.
    pub(super) fn of(&self, url: &str) -> Option<Proof> {
        let url = url.trim_end_matches('/');
        let is_below = |known: &str| {
            let rest = url.strip_prefix(known);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        let known = self.0.iter().filter(|(known, _)| is_below(known));
        let longest = known.max_by_key(|(known, _)| known.len());
        longest.map(|(_, proof)| proof.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_go_to_their_address_alone() {
        let text = "# ours\n\nhttps://r.example:8081/  basic ann:s3:cret\n\
                    https://r.example:8081/eu\tBearer tok en\n";
        let known = Credentials::parse(text).unwrap();
        let basic = Proof::of(Some("ann:s3:cret"), None);
        assert_eq!(known.of("https://r.example:8081"), basic);
        assert_eq!(known.of("https://r.example:8081/us"), basic);
        let bearer = Some(Proof::Bearer("tok en".to_owned()));
        assert_eq!(known.of("https://r.example:8081/eu/"), bearer);
        for other in [
            "http://r.example:8081",
            "https://r.example:80811",
            "https://r.example:8081.evil.example",
            "https://r.example",
        ] {
            assert_eq!(known.of(other), None, "{other}");
        }
        assert!(!format!("{known:?}").contains("s3"), "{known:?}");
    }

    #[test]
    fn what_is_wrong_is_told_without_the_secret() {
        for (text, what) in [
            ("https://r basic", "line 1: write"),
            (
                "\nr.example basic a:secret",
                "line 2: it begins with no URL",
            ),
            ("https://r digest a:secret", "`basic` or `bearer`"),
            ("https://r basic secret", "user:password"),
        ] {
            let told = Credentials::parse(text).unwrap_err();
            assert!(told.contains(what) && !told.contains("secret"), "{told}");
        }
    }
}
