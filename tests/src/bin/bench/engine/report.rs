//! The table of a run: for the terminal while it runs, as Markdown when it is done.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::measure::{Measured, geometric_mean};

/// Below this a statement counts as fast enough beside any peer.
const FAST_MS: f64 = 1.0;

/// One statement: what Tannin needed, and each peer or why it gave nothing.
#[derive(Debug)]
pub(crate) struct Line {
    pub(crate) name: String,
    pub(crate) group: String,
    pub(crate) tannin: Result<Measured, String>,
    pub(crate) peers: Vec<(String, Result<Measured, String>)>,
    /// Answers that differ.
    pub(crate) differences: Vec<String>,
}

impl Line {
    /// The fastest peer by medians.
    fn best(&self) -> Option<(&str, &Measured)> {
        let answered = self.peers.iter().filter_map(|(name, measured)| {
            let measured = measured.as_ref().ok()?;
            Some((name.as_str(), measured))
        });
        answered.min_by(|(_, a), (_, b)| a.median().total_cmp(&b.median()))
    }

    /// How many times faster than the best peer.
    pub(crate) fn ratio(&self, of: impl Fn(&Measured) -> f64) -> Option<f64> {
        let least = self.peers.iter().filter_map(|(_, measured)| {
            let measured = measured.as_ref().ok()?;
            Some(of(measured))
        });
        let least = least.min_by(f64::total_cmp)?;
        Some(least / of(self.tannin.as_ref().ok()?))
    }

    fn is_slower(&self) -> bool {
        let slow = |own: &Measured| own.median() > FAST_MS;
        self.ratio(Measured::median)
            .is_some_and(|ratio| ratio < 1.0)
            && self.tannin.as_ref().is_ok_and(slow)
    }

    pub(crate) fn cells(&self) -> Vec<String> {
        let mut cells = vec![self.name.clone(), both(&self.tannin)];
        cells.extend(self.peers.iter().map(|(_, measured)| both(measured)));
        let best = self.best().map_or("", |(name, _)| name);
        cells.push(best.to_owned());
        for ratio in [
            self.ratio(Measured::median),
            self.ratio(|measured| measured.cpu_ms),
        ] {
            cells.push(ratio.map_or(String::new(), |ratio| format!("{}×", digits(ratio))));
        }
        let verdict = if self.differences.is_empty() {
            ""
        } else {
            "DIFFERS"
        };
        cells.push(verdict.to_owned());
        cells
    }
}

/// Median and minimum.
fn both(measured: &Result<Measured, String>) -> String {
    match measured {
        Ok(measured) => format!(
            "{} ({})",
            digits(measured.median()),
            digits(measured.least())
        ),
        Err(_) => "–".to_owned(),
    }
}

/// Three digits are worth showing.
pub(crate) fn digits(value: f64) -> String {
    match value {
        value if value >= 100.0 => format!("{value:.0}"),
        value if value >= 10.0 => format!("{value:.1}"),
        value => format!("{value:.2}"),
    }
}

/// A Markdown table; short enough to be read on a terminal too.
pub(crate) fn table(lines: &[Line], peers: &[String]) -> String {
    let mut text = String::from("| statement | Tannin ms |");
    for peer in peers {
        let _ = write!(text, " {peer} |");
    }
    text.push_str(" best peer | ratio | of CPU | |\n|---|---|");
    text.push_str(&"---|".repeat(peers.len() + 4));
    text.push('\n');
    for line in lines {
        let _ = writeln!(text, "| {} |", line.cells().join(" | "));
    }
    text
}

/// Means by group and of all, what is slower, what differs, what failed.
pub(crate) fn summary(lines: &[Line]) -> String {
    let mut groups: BTreeMap<&str, Vec<&Line>> = BTreeMap::new();
    for line in lines {
        groups.entry(&line.group).or_default().push(line);
    }
    let mut text = String::from(
        "| group | statements | Tannin ms, geometric mean | ratio of medians | ratio of minima | \
         ratio of CPU |\n|---|---|---|---|---|---|\n",
    );
    for (name, lines) in &groups {
        text.push_str(&means(name, lines));
    }
    text.push_str(&means("all", &lines.iter().collect::<Vec<_>>()));
    list(
        &mut text,
        "Slower than the best peer, and more than 1 ms",
        lines,
        |line| line.is_slower().then(String::new),
    );
    list(&mut text, "Not answered by Tannin", lines, |line| {
        line.tannin.as_ref().err().cloned()
    });
    list(&mut text, "Answers that differ", lines, |line| {
        (!line.differences.is_empty()).then(|| line.differences.join("; "))
    });
    list(&mut text, "Not answered by a peer", lines, |line| {
        let faults = line.peers.iter().filter_map(|(name, measured)| {
            let fault = measured.as_ref().err()?;
            Some(format!("{name}: {fault}"))
        });
        let faults: Vec<String> = faults.collect();
        (!faults.is_empty()).then(|| faults.join("; "))
    });
    text
}

fn means(name: &str, lines: &[&Line]) -> String {
    let own = lines
        .iter()
        .filter_map(|line| Some(line.tannin.as_ref().ok()?.median()));
    let of = |what: fn(&Measured) -> f64| {
        geometric_mean(lines.iter().filter_map(|line| line.ratio(what)))
    };
    format!(
        "| {name} | {} | {} | {}× | {}× | {}× |\n",
        lines.len(),
        digits(geometric_mean(own)),
        digits(of(Measured::median)),
        digits(of(Measured::least)),
        digits(of(|measured| measured.cpu_ms)),
    )
}

fn list(text: &mut String, title: &str, lines: &[Line], why: impl Fn(&Line) -> Option<String>) {
    let found: Vec<String> = lines
        .iter()
        .filter_map(|line| {
            let why = why(line)?;
            let separator = if why.is_empty() { "" } else { ": " };
            Some(format!(
                "- {}{separator}{}\n",
                line.name,
                why.replace('\n', " ")
            ))
        })
        .collect();
    let none = if found.is_empty() { " none." } else { "\n\n" };
    let _ = write!(text, "\n{title}:{none}{}\n", found.concat().trim_end());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(name: &str, own: f64, peers: &[f64]) -> Line {
        let of = |ms: f64| {
            Ok(Measured {
                ms: vec![ms],
                cpu_ms: ms,
                rows: Vec::new(),
            })
        };
        Line {
            name: name.to_owned(),
            group: "g".to_owned(),
            tannin: of(own),
            peers: peers.iter().map(|ms| ("p".to_owned(), of(*ms))).collect(),
            differences: Vec::new(),
        }
    }

    #[test]
    fn the_ratio_is_to_the_best_peer_and_a_millisecond_is_fast_enough() {
        let lines = [
            line("ahead", 2.0, &[50.0, 20.0]),
            line("behind", 4.0, &[2.0, 9.0]),
            line("quick", 0.9, &[0.5]),
            line("alone", 1.0, &[]),
        ];
        assert_eq!(lines[0].ratio(Measured::median), Some(10.0));
        assert_eq!(lines[3].ratio(Measured::median), None);
        let slower: Vec<_> = lines.iter().filter(|line| line.is_slower()).collect();
        assert_eq!(slower.len(), 1);
        let text = summary(&lines);
        assert!(text.contains("1 ms:\n\n- behind\n"), "{text}");
        assert!(text.contains("Answers that differ: none."), "{text}");
    }
}
