//! What is in deploy/, as far as it can be tried without containers and without Kubernetes: the
//! files by themselves, the chart as Helm renders it, the services of the compose file as
//! processes.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::Result;

use crate::{golang, kafka, postgres, python, s3, steps, system, workspace};

const HELM: (&str, &str) = ("helm.sh/helm/v3/cmd/helm", "v3.22.0");

/// The image, the units, the rules of Prometheus with their alerts.
pub(crate) fn files() -> Result<()> {
    let promtool = system::unpacked("prometheus", "usr/bin/promtool")?;
    steps::exec(script("files.py")?.arg(promtool))
}

pub(crate) fn chart() -> Result<()> {
    let helm = golang::program(HELM.0, HELM.1)?;
    steps::exec(script("chart.py")?.arg(helm).arg(tannin()?))
}

/// A cluster as the compose file describes it, beside a real Kafka, a real PostgreSQL and an S3.
pub(crate) fn compose() -> Result<()> {
    kafka::prepare()?;
    postgres::prepare()?;
    s3::prepare()?;
    let folder = workspace::cache("compose")?.join("run");
    // A run that was interrupted may have left it.
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder)?;
    let run = |kafka: &str, metadata: &str, objects: &str| {
        let mut run = script("compose.py")?;
        run.arg(tannin()?).arg(&folder);
        steps::exec(run.args([kafka, metadata, objects]))
    };
    kafka::with_fresh(|kafka| {
        postgres::with_fresh(|metadata| s3::with_fresh(|objects| run(kafka, metadata, objects)))
    })?;
    // After a fault the logs of the services are wanted.
    fs::remove_dir_all(&folder)?;
    Ok(())
}

fn tannin() -> Result<PathBuf> {
    Ok(workspace::target()?.join("debug/tannin"))
}

/// One of `tests/deploy`, by a Python that has what they need.
fn script(name: &str) -> Result<Command> {
    let folder = workspace::root().join("tests/deploy");
    let python = python::with("deploy", &folder.join("requirements.txt"))?;
    let mut command = Command::new(python);
    command.arg(folder.join(name));
    Ok(command)
}
