//! What a newcomer sees: what runs where, the rows as they grow, questions to copy, how to stop.

use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Result;
use runtime::settings::Settings;

use crate::client::{Answer, Client};
use crate::node::{Addresses, Node};
use crate::sample::{FLIGHT_COUNT, QUESTIONS};
use crate::units;

const COUNT: &str = "SELECT COUNT(*) FROM flights";
/// While the history loads, and later.
const LOADING_EVERY: Duration = Duration::from_millis(50);
const LIVE_EVERY: Duration = Duration::from_secs(1);

pub(super) struct Screen {
    addresses: Addresses,
    port_offset: u16,
    data_dir: PathBuf,
    /// Lines can be redrawn.
    is_terminal: bool,
}

impl Screen {
    pub(super) fn new(settings: &Settings, node: &Node) -> Self {
        Self {
            addresses: node.addresses.clone(),
            port_offset: settings.node.port_offset,
            data_dir: settings.node.data_dir.clone(),
            is_terminal: std::io::stdout().is_terminal(),
        }
    }

    pub(super) fn places(&self) {
        let at = &self.addresses;
        println!(
            "Tannin {}: everything in one process, data in {}\n",
            env!("CARGO_PKG_VERSION"),
            self.data_dir.display()
        );
        println!("  page and SQL      http://{}", at.broker_http);
        println!("  tables, schemas   http://{}", at.controller_http);
        if !at.log.is_empty() {
            println!("  Kafka protocol    {}", at.log);
        }
        println!("  server {}, minion {}\n", at.server_http, at.minion_http);
    }

    /// Without sample tables: how to get some of one's own.
    pub(super) fn empty(&self) {
        let program = self.program();
        let offset = self.offset();
        println!("no tables yet; make one of your own:");
        println!("  {program} table create clicks --kafka localhost:9092 --topic clicks{offset}");
        println!("  {program} import trips.parquet{offset}\n");
        self.ending();
    }

    /// The rows as they grow; the questions once the history is there. Ends only with an error.
    pub(super) async fn watch(&self, client: &Client, events_per_second: u32) -> Result<()> {
        let begun = std::time::Instant::now();
        let mut rows = 0;
        while rows < FLIGHT_COUNT {
            // The broker may not know the table in the first moments.
            if let Ok(answer) = client.sql(COUNT).await {
                rows = count(&answer);
                self.redraw(&format!("loading flights: {}", units::grouped(rows)));
            }
            tokio::time::sleep(LOADING_EVERY).await;
        }
        self.redraw("");
        println!(
            "flights: {} rows after {:.1} s{}\n",
            units::grouped(rows),
            begun.elapsed().as_secs_f64(),
            match events_per_second {
                0 => String::new(),
                rate => format!(
                    ", {} more arrive each second",
                    units::grouped(u64::from(rate))
                ),
            }
        );
        self.questions();
        self.ending();
        let mut ticks = tokio::time::interval(LIVE_EVERY);
        loop {
            ticks.tick().await;
            if !self.is_terminal {
                continue;
            }
            let line = match client.sql(COUNT).await {
                Ok(answer) => live(&answer),
                Err(error) => format!("flights: {error:#}"),
            };
            self.redraw(&line);
        }
    }

    fn questions(&self) {
        println!("ask:");
        for (title, sql) in QUESTIONS {
            println!("  # {title}");
            println!("  {} sql {}{}", self.program(), quoted(sql), self.offset());
        }
        println!(
            "or open http://{} in a browser\n",
            self.addresses.broker_http
        );
    }

    fn ending(&self) {
        println!("stop: Ctrl-C; the same command goes on where it was");
        println!("start over: rm -r {}", self.data_dir.display());
    }

    pub(super) fn stopping(&self) {
        self.redraw("");
        println!("stopping");
    }

    fn redraw(&self, line: &str) {
        if self.is_terminal {
            print!("\r\x1b[K{line}");
            // A terminal that has gone away is no reason to stop.
            let _ = std::io::stdout().flush();
        }
    }

    fn offset(&self) -> String {
        match self.port_offset {
            0 => String::new(),
            offset => format!(" --port-offset {offset}"),
        }
    }

    /// This program as it can be typed here.
    fn program(&self) -> String {
        let program = std::env::current_exe().unwrap_or_else(|_| PathBuf::from("tannin"));
        let here = std::env::current_dir().unwrap_or_default();
        let shown = program.strip_prefix(&here).unwrap_or(&program);
        shown_path(shown)
    }
}

fn shown_path(path: &Path) -> String {
    let text = path.display().to_string();
    match text.contains(' ') {
        true => format!("'{text}'"),
        false => text,
    }
}

/// For a shell.
fn quoted(sql: &str) -> String {
    if sql.contains(['"', '$']) {
        format!("'{sql}'")
    } else {
        format!("\"{sql}\"")
    }
}

fn count(answer: &Answer) -> u64 {
    let first = answer.rows.first().and_then(|row| row.first()?.as_u64());
    first.unwrap_or(0)
}

fn live(answer: &Answer) -> String {
    let age = answer.stats.newest_event_age_ms;
    let age = age.map_or_else(String::new, |age_ms| {
        format!(" · newest event {} old", units::age(age_ms))
    });
    format!("flights: {}{age}", units::grouped(count(answer)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_question_can_be_pasted_into_a_shell() {
        for (_, sql) in QUESTIONS {
            let shell = std::process::Command::new("sh")
                .args(["-c", &format!("printf %s {}", quoted(sql))])
                .output()
                .unwrap();
            assert_eq!(String::from_utf8_lossy(&shell.stdout), sql);
        }
    }
}
