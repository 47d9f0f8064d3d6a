//! Credentials in a file: `name = value` lines as in `~/.aws/credentials`, or the JSON of a service
//! account.
//!
//! Invariant: a value is in no message and is not shown by `Debug`.

use std::fmt;
use std::path::Path;

use crate::DeepStoreError;

pub(crate) enum Credentials {
    Pairs(Vec<(String, String)>),
    Json(String),
}

impl Default for Credentials {
    fn default() -> Self {
        Self::Pairs(Vec::new())
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credentials(…)")
    }
}

impl Credentials {
    pub(crate) fn pairs(self) -> Result<Vec<(String, String)>, DeepStoreError> {
        match self {
            Self::Pairs(pairs) => Ok(pairs),
            Self::Json(_) => Err(DeepStoreError::Setting {
                key: "credentials_file",
                reason: "it is JSON; lines of `name = value` are wanted".to_owned(),
            }),
        }
    }
}

pub(crate) fn read(path: &Path) -> Result<Credentials, String> {
    let text = std::fs::read_to_string(path).map_err(|error| error.to_string())?;
    parse(&text)
}

/// Of several sections `[default]` counts, else the first.
fn parse(text: &str) -> Result<Credentials, String> {
    if text.trim_start().starts_with('{') {
        return Ok(Credentials::Json(text.to_owned()));
    }
    let mut sections: Vec<(&str, Vec<(String, String)>)> = vec![("", Vec::new())];
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with(['#', ';']) {
            continue;
        }
        if let Some(name) = line
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'))
        {
            sections.push((name.trim(), Vec::new()));
            continue;
        }
        let (name, value) = line
            .split_once('=')
            .ok_or_else(|| format!("line {} is no `name = value`", index + 1))?;
        if let Some((_, pairs)) = sections.last_mut() {
            pairs.push((name.trim().to_ascii_lowercase(), value.trim().to_owned()));
        }
    }
    let default = sections.iter().position(|(name, _)| *name == "default");
    let filled = || sections.iter().position(|(_, pairs)| !pairs.is_empty());
    let chosen = default.or_else(filled).ok_or("it is empty")?;
    Ok(Credentials::Pairs(sections.swap_remove(chosen).1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(text: &str) -> Vec<(String, String)> {
        parse(text).unwrap().pairs().unwrap()
    }

    fn pair(name: &str, value: &str) -> (String, String) {
        (name.to_owned(), value.to_owned())
    }

    #[test]
    fn the_default_section_counts_or_the_first() {
        let both = "[other]\naws_access_key_id = x\n\n# mine\n[default]\nAWS_Access_Key_Id=a\n\
                    aws_secret_access_key = b=c\n";
        let expected = [
            pair("aws_access_key_id", "a"),
            pair("aws_secret_access_key", "b=c"),
        ];
        assert_eq!(pairs(both), expected);
        assert_eq!(pairs("account_key = k"), [pair("account_key", "k")]);
        assert_eq!(pairs("[one]\na=1\n[two]\na=2"), [pair("a", "1")]);
    }

    #[test]
    fn a_secret_is_in_no_message() {
        let error = parse("aws_access_key_id = a\nsecret").err().unwrap();
        assert_eq!(error, "line 2 is no `name = value`");
        assert_eq!(parse("\n").err().unwrap(), "it is empty");
        let shown = format!("{:?}", parse("key = secret").unwrap());
        assert!(!shown.contains("secret"), "{shown}");
        assert!(matches!(parse("{\"a\": 1}"), Ok(Credentials::Json(_))));
    }
}
