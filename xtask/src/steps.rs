//! A list of steps that all run, each timed; the table at the end is the verdict.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

#[derive(Debug, Default)]
pub(crate) struct Steps {
    done: Vec<Step>,
}

#[derive(Debug)]
struct Step {
    name: &'static str,
    took: Duration,
    fault: Option<String>,
}

impl Steps {
    /// Runs one step. A failed one does not keep the others from running.
    pub(crate) fn run(&mut self, name: &'static str, work: impl FnOnce() -> Result<()>) {
        println!("\n── {name} ──");
        let start = Instant::now();
        let fault = work().err().map(|error| format!("{error:#}"));
        if let Some(fault) = &fault {
            println!("failed: {fault}");
        }
        self.done.push(Step {
            name,
            took: start.elapsed(),
            fault,
        });
    }

    /// Prints the table; an error when any step failed.
    pub(crate) fn finish(self) -> Result<()> {
        println!("\n{}", self.table());
        let failed = self.done.iter().filter(|step| step.fault.is_some()).count();
        if failed > 0 {
            bail!("{failed} of {} steps failed", self.done.len());
        }
        println!("all {} steps passed", self.done.len());
        Ok(())
    }

    fn table(&self) -> String {
        let line = |step: &Step| {
            let seconds = step.took.as_secs_f64();
            let verdict = match &step.fault {
                None => "ok".to_owned(),
                Some(fault) => format!("FAILED  {}", fault.lines().next().unwrap_or_default()),
            };
            format!("{:<34} {seconds:>7.1} s  {verdict}\n", step.name)
        };
        self.done.iter().map(line).collect()
    }
}

/// Runs a command with its output shown; the error names the command to run by hand.
pub(crate) fn sh(program: impl AsRef<Path>, args: &[&str], folder: &Path) -> Result<()> {
    exec(
        Command::new(program.as_ref())
            .args(args)
            .current_dir(folder),
    )
}

pub(crate) fn exec(command: &mut Command) -> Result<()> {
    let shown = shown(command);
    println!("$ {shown}");
    let status = command
        .stdin(Stdio::null())
        .status()
        .with_context(|| format!("running `{shown}`"))?;
    ensure!(status.success(), "`{shown}` ended with {status}");
    Ok(())
}

fn shown(command: &Command) -> String {
    let program = Path::new(command.get_program());
    let name = program.file_name().unwrap_or(program.as_os_str());
    let words = std::iter::once(name).chain(command.get_args());
    let words: Vec<_> = words
        .map(|word| word.to_string_lossy().into_owned())
        .collect();
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_steps_run_and_the_table_names_the_failed_one() {
        let mut steps = Steps::default();
        let mut ran = 0;
        steps.run("first", || bail!("broke\nbadly"));
        steps.run("second", || {
            ran += 1;
            Ok(())
        });
        let table = steps.table();
        assert_eq!(ran, 1);
        assert!(
            table.contains("FAILED  broke\n") && table.contains("ok\n"),
            "{table}"
        );
        assert_eq!(
            steps.finish().unwrap_err().to_string(),
            "1 of 2 steps failed"
        );
    }

    #[test]
    fn an_error_names_the_command() {
        let error = sh("false", &["x"], Path::new("/")).unwrap_err();
        assert!(
            error.to_string().starts_with("`false x` ended with"),
            "{error}"
        );
    }
}
