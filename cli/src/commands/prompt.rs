//! The prompt of `tannin sql`: history, several lines, a few commands that begin with a backslash.

use anyhow::Result;
use rustyline::DefaultEditor;
use rustyline::error::ReadlineError;

use super::sql::{explain, once};
use crate::args::OutputFormat;
use crate::client::Client;

const HELP: &str = "\
end a statement with ; and press Enter
  \\d          list tables and their columns
  \\d TABLE    describe one
  \\q          leave (or Ctrl-D)";

pub(super) async fn run(client: &Client, format: OutputFormat) -> Result<()> {
    println!("connected to {}; \\? for help", client.broker);
    let mut editor = DefaultEditor::new()?;
    let history = history_file();
    if let Some(path) = &history {
        let _ = editor.load_history(path);
    }
    let mut pending = String::new();
    loop {
        let prompt = if pending.is_empty() {
            "tannin> "
        } else {
            "   ...> "
        };
        match editor.readline(prompt) {
            Ok(line) => {
                if pending.is_empty() && line.trim_start().starts_with('\\') {
                    if !command(client, line.trim()).await {
                        break;
                    }
                    continue;
                }
                pending.push_str(&line);
                pending.push('\n');
                if line.trim_end().ends_with(';') {
                    let statement = std::mem::take(&mut pending);
                    let _ = editor.add_history_entry(statement.trim());
                    ask(client, statement.trim(), format).await;
                }
            }
            Err(ReadlineError::Interrupted) => pending.clear(),
            Err(ReadlineError::Eof) => break,
            Err(error) => return Err(error.into()),
        }
    }
    if let Some(path) = &history {
        let _ = editor.save_history(path);
    }
    Ok(())
}

/// An error ends the statement, not the session.
async fn ask(client: &Client, statement: &str, format: OutputFormat) {
    if statement.trim_matches(';').trim().is_empty() {
        return;
    }
    if let Err(error) = once(client, statement, format).await {
        eprintln!("{:#}", explain(statement, error));
    }
}

/// `false` ends the session.
async fn command(client: &Client, line: &str) -> bool {
    let (word, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
    match word {
        "\\q" => return false,
        "\\d" => match super::table::describe(client, rest.trim()).await {
            Ok(text) => println!("{text}"),
            Err(error) => eprintln!("{error:#}"),
        },
        _ => println!("{HELP}"),
    }
    true
}

#[expect(clippy::disallowed_methods, reason = "the shell's home folder")]
fn history_file() -> Option<std::path::PathBuf> {
    let home = std::env::var("HOME").ok()?;
    Some(std::path::PathBuf::from(home).join(".tannin_history"))
}
