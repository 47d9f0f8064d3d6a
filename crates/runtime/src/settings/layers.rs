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

    /// Variables of the form `TANNIN_SECTION__KEY`; others are ignored.
    pub fn environment(&mut self, variables: impl IntoIterator<Item = (String, String)>) {
        for (name, value) in variables {
            let Some(path) = name.strip_prefix(ENVIRONMENT_PREFIX) else {
                continue;
            };
            let Some((section, key)) = path.split_once("__") else {
                continue;
            };
            let (section, key) = (section.to_lowercase(), key.to_lowercase());
            self.set_one(&format!("environment {name}"), &section, &key, &value);
        }
    }

    /// `section.key=value`, as `--set` takes it.
    pub fn assignment(&mut self, text: &str) {
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
            Ok(settings) if faults.is_empty() => return Ok(settings),
            Ok(_) => {}
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
                _ => self
                    .faults
                    .push(format!("{layer}: `{section}` stands outside of a section")),
            }
        }
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
