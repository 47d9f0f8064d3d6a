//! Who may depend on whom, as data. An edge that is not in a table fails, in tests too: a role
//! never sees a role, and each heavy library has the few owners named here.

use std::collections::BTreeSet;

use anyhow::{Result, bail};

use crate::workspace;

/// Folder → the members it may use. `cli`, `tests` and `benchmarks` stand above all roles.
const MEMBERS: &[(&str, &[&str])] = &[
    ("schemas", &[]),
    ("crates/runtime", &["schemas"]),
    ("crates/kernels", &[]),
    ("crates/index", &[]),
    // What functions mean is defined with the indexes that answer them.
    ("crates/functions", &["index", "schemas"]),
    (
        "fuzz",
        &["index", "ingest", "runtime", "schemas", "segment"],
    ),
    ("crates/metastore", &["runtime", "schemas"]),
    ("crates/stream", &["runtime", "schemas"]),
    ("crates/deepstore", &["runtime", "schemas"]),
    ("crates/access", &["runtime", "schemas"]),
    ("crates/rpc", &["access", "runtime", "schemas"]),
    ("crates/rest", &["access", "runtime", "schemas"]),
    (
        "crates/segment",
        &["index", "kernels", "runtime", "schemas"],
    ),
    ("crates/upsert", &["runtime", "schemas", "segment"]),
    // Rows that are rolled up hold sketches.
    ("crates/ingest", &["index", "runtime", "schemas"]),
    (
        "crates/batch",
        &["deepstore", "ingest", "runtime", "schemas", "segment"],
    ),
    // The gathering operator speaks to servers.
    (
        "crates/query",
        &["access", "functions", "rpc", "runtime", "schemas"],
    ),
    // Readers of indexes come from `segment`, their types from `index`.
    (
        "crates/scan",
        &[
            "functions",
            "index",
            "kernels",
            "query",
            "runtime",
            "schemas",
            "segment",
        ],
    ),
    (
        "controller",
        &[
            "access",
            "deepstore",
            "metastore",
            "rest",
            "rpc",
            "runtime",
            "schemas",
            "stream",
        ],
    ),
    // Rows that come over HTTP are looked at before they go into a table's stream.
    (
        "broker",
        &[
            "access", "ingest", "query", "rest", "rpc", "runtime", "schemas", "stream",
        ],
    ),
    (
        "server",
        &[
            "access",
            "deepstore",
            "ingest",
            "query",
            "rest",
            "rpc",
            "runtime",
            "scan",
            "schemas",
            "segment",
            "stream",
            "upsert",
        ],
    ),
    (
        "minion",
        &[
            "access",
            "batch",
            "deepstore",
            "ingest",
            "rest",
            "rpc",
            "runtime",
            "schemas",
        ],
    ),
    ("xtask", &[]),
];

const ABOVE: &[&str] = &["cli", "tests", "benchmarks"];

/// Library (and what begins with it and a dash) → the folders that may use it.
const LIBRARIES: &[(&str, &[&str])] = &[
    // One file of it (docs/adr/0042).
    ("datafusion-distributed", &["crates/query"]),
    (
        "datafusion",
        &[
            "crates/functions",
            "crates/query",
            "crates/scan",
            "broker",
            "server",
            "cli",
        ],
    ),
    ("rdkafka", &["crates/stream", "cli"]),
    ("kafka-protocol", &["crates/stream"]),
    ("sqlx", &["crates/metastore"]),
    ("tonic", &["crates/rpc", "xtask"]),
    (
        "prost",
        &[
            "schemas",
            "crates/rpc",
            "crates/ingest",
            "crates/query",
            "crates/scan",
            "fuzz",
            "xtask",
        ],
    ),
    (
        "axum",
        &[
            "crates/rest",
            "controller",
            "broker",
            "server",
            "minion",
            "cli",
        ],
    ),
    ("object_store", &["crates/deepstore"]),
    (
        "roaring",
        &["crates/index", "crates/segment", "crates/scan"],
    ),
    ("tantivy", &["crates/index"]),
    (
        "memmap2",
        &["crates/segment", "crates/stream", "crates/upsert"],
    ),
    // The others' tests are servers with certificates of their own.
    (
        "rustls",
        &["crates/access", "crates/batch", "crates/ingest"],
    ),
    ("argon2", &["crates/access"]),
    ("ring", &["crates/access"]),
    (
        "parquet",
        &["crates/batch", "crates/ingest", "broker", "cli"],
    ),
    ("clap", &["cli", "xtask", "tests", "benchmarks"]),
    ("anyhow", &["cli", "xtask", "tests", "benchmarks"]),
    // The controller hands SQL on to brokers, as Pinot's does; schemas come from a registry.
    (
        "reqwest",
        &[
            "cli",
            "controller",
            "crates/batch",
            "crates/ingest",
            "tests",
            "benchmarks",
        ],
    ),
];

pub(crate) fn run() -> Result<()> {
    let mut members = BTreeSet::new();
    let mut uses = Vec::new();
    for folder in workspace::crates()? {
        let manifest = workspace::manifest(&folder)?;
        if let Some(package) = manifest.get("package") {
            let name = package.get("name").and_then(|name| name.as_str());
            members.insert(name.unwrap_or_default().to_owned());
            uses.push((folder, dependencies(&manifest)));
        }
    }
    let faults: Vec<String> = uses
        .iter()
        .flat_map(|(folder, used)| check(folder, used, &members))
        .collect();
    for fault in &faults {
        println!("{fault}");
    }
    if !faults.is_empty() {
        bail!("{} dependencies point the wrong way", faults.len());
    }
    let edges: usize = uses.iter().map(|(_, used)| used.len()).sum();
    println!(
        "{edges} dependencies of {} crates point the right way",
        uses.len()
    );
    Ok(())
}

/// Of every kind and for every platform; renamed ones by their real name.
fn dependencies(manifest: &toml::Table) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for (key, value) in manifest {
        let Some(table) = value.as_table() else {
            continue;
        };
        if key.ends_with("dependencies") {
            for (name, spec) in table {
                let real = spec.get("package").and_then(|name| name.as_str());
                found.insert(real.unwrap_or(name).to_owned());
            }
        } else if key == "target" {
            let platforms = table.values().filter_map(|platform| platform.as_table());
            found.extend(platforms.flat_map(dependencies));
        }
    }
    found
}

fn check(folder: &str, used: &BTreeSet<String>, members: &BTreeSet<String>) -> Vec<String> {
    let mut faults = Vec::new();
    let allowed = MEMBERS.iter().find(|(name, _)| *name == folder);
    let above = ABOVE.contains(&folder);
    if allowed.is_none() && !above {
        faults.push(format!(
            "{folder}: a new crate; say in MEMBERS of xtask/src/deps.rs what it may use"
        ));
    }
    for name in used {
        if members.contains(name) {
            let fine = above || allowed.is_some_and(|(_, list)| list.contains(&name.as_str()));
            if !fine && allowed.is_some() {
                faults.push(format!(
                    "{folder} ──▶ {name}: not allowed (DESIGN, ARCHITECTURE.md)"
                ));
            }
        } else if let Some((library, owners)) = LIBRARIES.iter().find(|(l, _)| is_of(name, l))
            && !owners.contains(&folder)
        {
            faults.push(format!(
                "{folder} ──▶ {name}: `{library}` belongs to {} only",
                owners.join(", ")
            ));
        }
    }
    faults
}

fn is_of(name: &str, library: &str) -> bool {
    let rest = name.strip_prefix(library);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn a_role_never_sees_a_role() {
        let members = set(&["broker", "server", "query"]);
        assert_eq!(
            check("broker", &set(&["query", "axum"]), &members),
            Vec::<String>::new()
        );
        assert!(check("broker", &set(&["server"]), &members)[0].starts_with("broker ──▶ server"));
        assert_eq!(
            check("cli", &set(&["server", "broker"]), &members),
            Vec::<String>::new()
        );
    }

    #[test]
    fn a_library_stays_with_its_owners() {
        let none = BTreeSet::new();
        assert!(check("controller", &set(&["datafusion-proto"]), &none)[0].contains("belongs to"));
        assert_eq!(
            check("crates/query", &set(&["datafusion-proto"]), &none),
            Vec::<String>::new()
        );
        assert!(check("crates/index", &set(&["prost"]), &none)[0].contains("`prost`"));
        assert!(!is_of("prostate", "prost"));
    }

    #[test]
    fn a_new_crate_must_be_entered() {
        assert!(check("crates/new", &set(&[]), &set(&[]))[0].contains("MEMBERS"));
    }

    #[test]
    fn every_kind_of_dependency_counts() {
        let manifest: toml::Table = "[dependencies]\na = \"1\"\n[dev-dependencies]\nb = \"1\"\n\
            [target.'cfg(unix)'.dependencies]\nc = { package = \"d\", version = \"1\" }\n"
            .parse()
            .unwrap();
        assert_eq!(dependencies(&manifest), set(&["a", "b", "d"]));
    }
}
