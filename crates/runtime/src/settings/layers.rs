//! From layers of text to [`Settings`].
//!
//! Invariant: every layer may only name keys of the defaults; a fault names the layer, the key and
//! the nearest key that exists. All faults of all layers are reported together.

use toml::{Table, Value};

use super::{DEFAULT_TOML, Settings};

const ENVIRONMENT_PREFIX: &str = "TANNIN_";

/// Collects layers from the weakest to the strongest.
#[derive(Debug)]
pub struct Layers {
    merged: Table,
    faults: Vec<String>,
}

#[derive(Debug, thiserror::Error)]
#[error("{}", .faults.join("\n"))]
pub struct SettingsError {
    /// One sentence each.
    pub faults: Vec<String>,
}

impl Default for Layers {
    fn default() -> Self {
        let merged = DEFAULT_TOML.parse().expect("default.toml is tested");
        Self {
            merged,
            faults: Vec::new(),
        }
    }
}

impl Layers {
    /// `name` is the path of the file, for messages.
    pub fn file(&mut self, name: &str, text: &str) {
        match text.parse::<Table>() {
            Ok(table) => self.overlay(name, table),
            Err(error) => self
                .faults
                .push(format!("{name}: {}", error.to_string().trim_end())),
        }
    }

    /// Variables of the form `TANNIN_SECTION__KEY`, and `TANNIN_SECTION` where the section can be
    /// one URL; others are ignored.
    pub fn environment(&mut self, variables: impl IntoIterator<Item = (String, String)>) {
        for (name, value) in variables {
            let Some(path) = name.strip_prefix(ENVIRONMENT_PREFIX) else {
                continue;
            };
            let Some((section, key)) = path.split_once("__") else {
                let section = path.to_lowercase();
                if self.can_be_url(&section) {
                    self.put_url(&format!("environment {name}"), &section, &value);
                }
                continue;
            };
            let (section, key) = (section.to_lowercase(), key.to_lowercase());
            self.set_one(&format!("environment {name}"), &section, &key, &value);
        }
    }

    /// `section.key=value`, as `--set` takes it; `section=URL` where the section can be one URL.
    pub fn assignment(&mut self, text: &str) {
        if let Some((section, url)) = text.split_once('=')
            && self.can_be_url(section.trim())
        {
            self.put_url("--set", section.trim(), url.trim());
            return;
        }
        let parts = text.split_once('=').and_then(|(path, value)| {
            let (section, key) = path.trim().split_once('.')?;
            Some((section.trim(), key.trim(), value.trim()))
        });
        match parts {
            Some((section, key, value)) => {
                self.set_one(&format!("--set {text}"), section, key, value);
            }
            None => self
                .faults
                .push(format!("--set {text}: write `--set section.key=value`")),
        }
    }

    pub fn settings(self) -> Result<Settings, SettingsError> {
        let Self { merged, mut faults } = self;
        match Value::Table(merged).try_into::<Settings>() {
            Ok(settings) => {
                faults.extend(settings.faults());
                if faults.is_empty() {
                    return Ok(settings);
                }
            }
            Err(error) => faults.push(error.to_string().trim_end().to_owned()),
        }
        Err(SettingsError { faults })
    }

    fn overlay(&mut self, layer: &str, table: Table) {
        for (section, value) in table {
            match value {
                Value::Table(keys) => {
                    for (key, value) in keys {
                        self.put(layer, &section, &key, value);
                    }
                }
                Value::String(url) if self.can_be_url(&section) => {
                    self.put_url(layer, &section, &url);
                }
                _ => self
                    .faults
                    .push(format!("{layer}: `{section}` stands outside of a section")),
            }
        }
    }

    /// Whether `section = "kind://…"` says all of it.
    fn can_be_url(&self, section: &str) -> bool {
        let section = self.merged.get(section).and_then(Value::as_table);
        section.is_some_and(|keys| keys.contains_key("kind") && keys.contains_key("url"))
    }

    /// The scheme is the kind.
    fn put_url(&mut self, layer: &str, section: &str, url: &str) {
        let Some((scheme, _)) = url.split_once("://") else {
            self.faults.push(format!(
                "{layer}: `{section}` stands outside of a section and is no URL"
            ));
            return;
        };
        let kind = match scheme {
            "postgresql" => "postgres",
            scheme => scheme,
        };
        self.put(layer, section, "kind", Value::String(kind.to_owned()));
        self.put(layer, section, "url", Value::String(url.to_owned()));
    }

    /// The text takes the type of the default: `8000` is a number for a port, text for a name.
    fn set_one(&mut self, layer: &str, section: &str, key: &str, text: &str) {
        let default = self.merged.get(section).and_then(|keys| keys.get(key));
        let value = match default {
            Some(Value::String(_)) | None => Value::String(text.to_owned()),
            Some(Value::Array(_)) if !text.starts_with('[') => {
                let items = text
                    .split(',')
                    .map(str::trim)
                    .filter(|item| !item.is_empty());
                Value::Array(items.map(|item| Value::String(item.to_owned())).collect())
            }
            Some(_) => parse_value(text),
        };
        self.put(layer, section, key, value);
    }

    fn put(&mut self, layer: &str, section: &str, key: &str, value: Value) {
        let known_sections: Vec<String> = self.merged.keys().cloned().collect();
        let Some(keys) = self.merged.get_mut(section).and_then(Value::as_table_mut) else {
            let hint = nearest(section, &known_sections);
            self.faults
                .push(format!("{layer}: there is no section `{section}`{hint}"));
            return;
        };
        let Some(old) = keys.get_mut(key) else {
            let known: Vec<String> = keys.keys().cloned().collect();
            let hint = nearest(key, &known);
            self.faults.push(format!(
                "{layer}: there is no setting `{section}.{key}`{hint}"
            ));
            return;
        };
        if old.same_type(&value) {
            *old = value;
        } else {
            let (wanted, got) = (old.type_str(), value.type_str());
            self.faults.push(format!(
                "{layer}: `{section}.{key}` takes a value of type {wanted}, not {got}"
            ));
        }
    }
}

fn parse_value(text: &str) -> Value {
    let parsed = format!("v = {text}").parse::<Table>().ok();
    parsed
        .and_then(|mut table| table.remove("v"))
        .unwrap_or_else(|| Value::String(text.to_owned()))
}

fn nearest(word: &str, known: &[String]) -> String {
    known
        .iter()
        .map(|candidate| (strsim::jaro_winkler(word, candidate), candidate))
        .filter(|(similarity, _)| *similarity > 0.75)
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .map(|(_, candidate)| format!("; did you mean `{candidate}`?"))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::MetastoreKind;

    #[test]
    fn the_defaults_are_complete() {
        let settings = Layers::default().settings().unwrap();
        assert_eq!(settings.broker.http_port, 8099);
    }

    #[test]
    fn later_layers_win() {
        let mut layers = Layers::default();
        layers.file(
            "a.toml",
            "[broker]\nhttp_port = 1\n[http]\nallowed_hosts = ['a']",
        );
        layers.environment([("TANNIN_BROKER__HTTP_PORT".to_owned(), "2".to_owned())]);
        assert_eq!(
            Layers {
                merged: layers.merged.clone(),
                faults: vec![]
            }
            .port(),
            2
        );
        layers.assignment("broker.http_port=3");
        layers.assignment("http.allowed_hosts=b,c");
        let settings = layers.settings().unwrap();
        assert_eq!(settings.broker.http_port, 3);
        assert_eq!(settings.http.allowed_hosts, ["b", "c"]);
    }

    #[test]
    fn a_section_can_be_one_url() {
        let file = |text: &str| {
            let mut layers = Layers::default();
            layers.file("my.toml", text);
            layers
        };
        let url = "postgres://me:secret@db:5432/x";
        let written = file(&format!("metastore = '{url}'\n[broker]\nhttp_port = 1"));
        let mut of_environment = Layers::default();
        of_environment.environment([("TANNIN_METASTORE".to_owned(), url.to_owned())]);
        let mut flag = Layers::default();
        flag.assignment(&format!("metastore={url}"));
        let long = file(&format!("[metastore]\nkind = 'postgres'\nurl = '{url}'"));
        for layers in [written, of_environment, flag, long] {
            let settings = layers.settings().unwrap();
            assert_eq!(settings.metastore.kind, MetastoreKind::Postgres);
            assert_eq!(settings.metastore.url, url);
            let listed = settings.listed();
            assert!(
                listed
                    .iter()
                    .all(|setting| !setting.value.contains("secret"))
            );
        }
        let faults = file("metastore = 'x'\nbroker = 'y'")
            .settings()
            .unwrap_err();
        assert_eq!(
            faults.faults,
            [
                "my.toml: `broker` stands outside of a section",
                "my.toml: `metastore` stands outside of a section and is no URL",
            ]
        );
    }

    #[test]
    fn a_metastore_is_all_of_one_kind() {
        let fault = |assignment: &str| {
            let mut layers = Layers::default();
            layers.assignment(assignment);
            layers.settings().unwrap_err().to_string()
        };
        assert!(fault("metastore.kind=postgres").contains("`metastore.url` is empty"));
        assert!(fault("metastore.url=postgres://h/d").contains("kind = \"postgres\""));
        assert!(fault("metastore=mysql://h/d").contains("mysql"));
    }

    #[test]
    fn certificates_come_with_their_keys() {
        let fault = |assignments: &[&str]| {
            let mut layers = Layers::default();
            assignments.iter().for_each(|one| layers.assignment(one));
            layers.settings().map(|_| ()).unwrap_err().to_string()
        };
        assert!(fault(&["security.key_file=k"]).contains("go together"));
        assert!(fault(&["security.certificate_file=c"]).contains("go together"));
        assert!(fault(&["security.ca_file=c"]).contains("has no certificate of it"));
        assert!(fault(&["security.audit=some"]).contains("audit"));
    }

    #[test]
    fn passwords_are_not_shown() {
        let mut layers = Layers::default();
        layers.environment([("TANNIN_METASTORE__PASSWORD".to_owned(), "secret".to_owned())]);
        let settings = layers.settings().unwrap();
        assert_eq!(settings.metastore.password.0, "secret");
        assert!(!format!("{settings:?}").contains("secret"));
        let listed = settings.listed();
        assert!(listed.iter().all(|setting| setting.value != "secret"));
    }

    impl Layers {
        fn port(self) -> u16 {
            self.settings().unwrap().broker.http_port
        }
    }

    #[test]
    fn every_fault_is_named() {
        let mut layers = Layers::default();
        layers.file(
            "my.toml",
            "[brokr]\nx = 1\n[broker]\nhttp_prot = 1\nquery_timeout_ms = 'x'",
        );
        layers.assignment("nonsense");
        let faults = layers.settings().unwrap_err().faults;
        assert_eq!(
            faults,
            [
                "my.toml: there is no setting `broker.http_prot`; did you mean `http_port`?",
                "my.toml: `broker.query_timeout_ms` takes a value of type integer, not string",
                "my.toml: there is no section `brokr`; did you mean `broker`?",
                "--set nonsense: write `--set section.key=value`",
            ]
        );
    }
}
