//! Figures beside their goals, on the terminal and as a dated file.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};

#[derive(Debug, Default)]
pub(crate) struct Figures {
    lines: Vec<Figure>,
    /// Sentences below the table.
    notes: Vec<String>,
}

#[derive(Debug)]
struct Figure {
    what: String,
    value: f64,
    unit: &'static str,
    goal: Option<Goal>,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Goal {
    AtMost(f64),
    AtLeast(f64),
}

impl Figures {
    pub(crate) fn add(&mut self, what: &str, value: f64, unit: &'static str, goal: Option<Goal>) {
        self.lines.push(Figure {
            what: what.to_owned(),
            value,
            unit,
            goal,
        });
    }

    pub(crate) fn note(&mut self, text: &str) {
        self.notes.push(text.to_owned());
    }

    pub(crate) fn print(&self) {
        println!();
        for figure in &self.lines {
            let Figure {
                what, value, unit, ..
            } = figure;
            println!("{what:<40} {value:>9.2} {unit:<4} {}", figure.verdict());
        }
        for note in &self.notes {
            println!("{note}");
        }
    }

    /// Writes `{date}-{suite}.md`; a second run of a day replaces the first.
    pub(crate) fn write(&self, folder: &Path, suite: &str) -> Result<PathBuf> {
        std::fs::create_dir_all(folder)?;
        let machine = Machine::look()?;
        let date = &machine.date;
        let head = format!("# {suite}, {date}\n\n{}\n\n", machine.described());
        let path = folder.join(format!("{date}-{suite}.md"));
        std::fs::write(&path, head + &self.table())
            .with_context(|| format!("writing {}", path.display()))?;
        Ok(path)
    }

    /// In Markdown.
    pub(crate) fn table(&self) -> String {
        let mut text = "| what | measured | goal |\n|---|---|---|\n".to_owned();
        for figure in &self.lines {
            let goal = figure.goal.map_or(String::new(), |goal| {
                format!("{} {}", goal.shown(), figure.unit)
            });
            let Figure {
                what, value, unit, ..
            } = figure;
            text.push_str(&format!(
                "| {} | {value:.2} {unit} | {goal} |\n",
                what.trim()
            ));
        }
        for note in &self.notes {
            text.push_str(&format!("\n{note}.\n"));
        }
        text
    }
}

impl Figure {
    fn verdict(&self) -> String {
        match self.goal {
            Some(goal) if goal.is_met(self.value) => goal.shown(),
            Some(goal) => format!("MISSED, goal {}", goal.shown()),
            None => String::new(),
        }
    }
}

impl Goal {
    fn is_met(self, value: f64) -> bool {
        match self {
            Self::AtMost(most) => value <= most,
            Self::AtLeast(least) => value >= least,
        }
    }

    fn shown(self) -> String {
        match self {
            Self::AtMost(most) => format!("≤ {most}"),
            Self::AtLeast(least) => format!("≥ {least}"),
        }
    }
}

fn said_by(command: &mut Command) -> Result<String> {
    let output = command.output()?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Where and when figures were measured.
#[derive(Debug)]
pub(crate) struct Machine {
    pub(crate) date: String,
    commit: String,
    cpu: String,
    cores: usize,
    memory_gib: f64,
    /// Processes that wanted to run, before the measurement.
    load: String,
}

impl Machine {
    pub(crate) fn look() -> Result<Self> {
        let read = |file: &str| std::fs::read_to_string(file).unwrap_or_default();
        let value = |file: &str, name: &str| {
            let text = read(file);
            let found = text.lines().find_map(|line| line.strip_prefix(name));
            found.map_or(String::new(), |rest| {
                rest.trim_start_matches([' ', '\t', ':']).to_owned()
            })
        };
        let memory = value("/proc/meminfo", "MemTotal");
        let kib = memory
            .split(' ')
            .next()
            .and_then(|kib| kib.parse::<f64>().ok());
        let load = read("/proc/loadavg");
        Ok(Self {
            date: said_by(Command::new("date").args(["-u", "+%F"]))?,
            commit: said_by(Command::new("git").args(["rev-parse", "--short", "HEAD"]))?,
            cpu: value("/proc/cpuinfo", "model name"),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            memory_gib: kib.unwrap_or_default() / f64::from(1 << 20),
            load: load.split(' ').take(3).collect::<Vec<_>>().join(" "),
        })
    }

    pub(crate) fn described(&self) -> String {
        let Self {
            commit,
            cpu,
            cores,
            memory_gib,
            load,
            ..
        } = self;
        format!(
            "Commit {commit}, {cores} cores ({cpu}), {memory_gib:.0} GiB of memory, load {load}."
        )
    }
}

/// Durations, asked for by quantile.
#[derive(Debug, Default)]
pub(crate) struct Times {
    ms: Vec<f64>,
}

impl Times {
    pub(crate) fn add(&mut self, duration: Duration) {
        self.ms.push(duration.as_secs_f64() * 1000.0);
    }

    pub(crate) fn count(&self) -> u64 {
        self.ms.len() as u64
    }

    pub(crate) fn join(&mut self, mut more: Self) {
        self.ms.append(&mut more.ms);
    }

    /// Milliseconds; 0 of nothing.
    pub(crate) fn at(&self, quantile: f64) -> f64 {
        let mut sorted = self.ms.clone();
        sorted.sort_by(f64::total_cmp);
        let last = sorted.len().saturating_sub(1);
        let at = (quantile * last as f64).round() as usize;
        sorted.get(at).copied().unwrap_or(0.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_values_that_were_measured() {
        let mut times = Times::default();
        for ms in [9, 1, 5, 3, 7] {
            times.add(Duration::from_millis(ms));
        }
        assert_eq!(
            [times.at(0.0), times.at(0.5), times.at(1.0)],
            [1.0, 5.0, 9.0]
        );
        assert_eq!(Times::default().at(0.5), 0.0);
    }
}
