//! `.toml` files of requests and the answers they must have: an API, as its clients see it.
//!
//! An expected answer is JSON of which every key must be there, with that value; arrays have as
//! many elements. `"*"` is any value, `"~text"` any string that contains the text. An answer that
//! is no JSON is compared as a string.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use reqwest::Method;
use schemas::cluster::Role;
use serde::Deserialize;
use serde_json::Value;

use crate::cluster::{Cluster, until};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Scenario {
    /// What the scenario shows.
    about: String,
    #[serde(rename = "step")]
    steps: Vec<Step>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Step {
    /// `GET /tables`.
    request: String,
    #[serde(default = "controller")]
    role: Role,
    /// Of the request.
    #[serde(default)]
    headers: BTreeMap<String, String>,
    body: Option<String>,
    #[serde(default = "ok")]
    status: u16,
    answer: Option<String>,
    /// The answer has these, among others.
    #[serde(default)]
    answer_headers: BTreeMap<String, String>,
    /// The answer comes in time, not at once.
    #[serde(default)]
    in_time: bool,
}

fn controller() -> Role {
    Role::Controller
}

fn ok() -> u16 {
    200
}

/// Runs every file of a folder; the number of steps.
pub async fn run_folder(cluster: &Cluster, folder: &Path) -> Result<usize> {
    let mut steps = 0;
    let mut files: Vec<_> = std::fs::read_dir(folder)?
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<_>>()?;
    files.sort();
    for file in files {
        let text = std::fs::read_to_string(&file)?;
        let scenario: Scenario =
            toml::from_str(&text).with_context(|| format!("{} is no scenario", file.display()))?;
        for step in &scenario.steps {
            run_step(cluster, step).await.with_context(|| {
                let name = file.file_name().unwrap_or_default();
                let name = name.to_string_lossy();
                format!("{name} ({}): {}", scenario.about, step.request)
            })?;
            steps += 1;
        }
    }
    ensure!(steps > 0, "{} holds no scenario", folder.display());
    Ok(steps)
}

async fn run_step(cluster: &Cluster, step: &Step) -> Result<()> {
    if step.in_time {
        return until("the answer", || try_step(cluster, step)).await;
    }
    try_step(cluster, step).await
}

async fn try_step(cluster: &Cluster, step: &Step) -> Result<()> {
    let (method, path) = step
        .request
        .split_once(' ')
        .context("write `METHOD /path`")?;
    let method: Method = method.parse()?;
    // Addresses differ from run to run.
    let body = step.body.clone();
    let body = body.map(|body| body.replace("{log}", &cluster.log()));
    let mut request = cluster.request(step.role, method, path, body);
    for (name, value) in &step.headers {
        request = request.header(name, value);
    }
    let answer = request.send().await?;
    let (status, headers) = (answer.status(), answer.headers().clone());
    let text = answer.text().await?;
    ensure!(
        status.as_u16() == step.status,
        "status {status} instead of {}: {text}",
        step.status
    );
    for (name, wanted) in &step.answer_headers {
        let found = headers.get(name).map(|value| value.as_bytes());
        ensure!(found == Some(wanted.as_bytes()), "{name} is {found:?}");
    }
    let Some(wanted) = &step.answer else {
        return Ok(());
    };
    let wanted = wanted.replace("{log}", &cluster.log());
    let found = serde_json::from_str(&text).unwrap_or(Value::String(text.clone()));
    let wanted = serde_json::from_str(&wanted).unwrap_or(Value::String(wanted));
    fits(&wanted, &found, "$").with_context(|| format!("the answer is {text}"))
}

/// Whether `found` has all that `wanted` names.
fn fits(wanted: &Value, found: &Value, path: &str) -> Result<()> {
    match (wanted, found) {
        (Value::String(any), _) if any == "*" => Ok(()),
        (Value::String(part), Value::String(found)) if part.starts_with('~') => {
            ensure!(
                found.contains(&part[1..]),
                "{path}: `{found}` does not contain `{}`",
                &part[1..]
            );
            Ok(())
        }
        (Value::Object(wanted), Value::Object(found)) => {
            for (key, value) in wanted {
                let Some(found) = found.get(key) else {
                    bail!("{path}.{key} is missing");
                };
                fits(value, found, &format!("{path}.{key}"))?;
            }
            Ok(())
        }
        (Value::Array(wanted), Value::Array(found)) => {
            ensure!(
                wanted.len() == found.len(),
                "{path} has {} elements instead of {}",
                found.len(),
                wanted.len()
            );
            for (index, (wanted, found)) in wanted.iter().zip(found).enumerate() {
                fits(wanted, found, &format!("{path}[{index}]"))?;
            }
            Ok(())
        }
        (wanted, found) => {
            ensure!(wanted == found, "{path} is {found} instead of {wanted}");
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_answer_fits_when_it_has_all_that_is_named() {
        let found = json!({"a": [1, {"b": "some text"}], "c": null, "d": 3});
        let fine = [
            json!({"a": [1, {"b": "~me te"}]}),
            json!({"a": "*", "c": null}),
        ];
        for wanted in fine {
            fits(&wanted, &found, "$").unwrap();
        }
        let wrong = [
            (json!({"a": [1]}), "$.a has 2 elements instead of 1"),
            (json!({"e": 1}), "$.e is missing"),
            (json!({"d": "3"}), "$.d is 3 instead of \"3\""),
        ];
        for (wanted, why) in wrong {
            assert_eq!(fits(&wanted, &found, "$").unwrap_err().to_string(), why);
        }
    }
}
