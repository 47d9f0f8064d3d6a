//! `tannin sql`: one statement, a watched statement, or a prompt.

use std::io::{IsTerminal, Read, Write};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use broker::forms::Form;

use crate::args::{OutputFormat, SqlArgs};
use crate::client::{Client, Refusal};
use crate::exit::Exit;
use crate::local;
use crate::{render, units};

pub(crate) async fn run(args: SqlArgs) -> Result<()> {
    let client = Client::new(&args.node)?;
    let of_file = args.output.as_deref().and_then(OutputFormat::of);
    let format = args.format.or(of_file).unwrap_or_default();
    match (args.statement, args.watch) {
        (Some(statement), Some(every)) => watch(&client, &statement, every).await,
        (Some(statement), None) => {
            let outcome = match (format.form(), args.output) {
                (Some(form), Some(path)) => export(&client, &statement, form, &path).await,
                (None, Some(path)) => Err(Exit::usage(format!(
                    "--format csv, json, arrow or parquet is needed: the ending of `{}` does not \
                     tell",
                    path.display()
                ))),
                (Some(form), None) if format.is_binary() => stream(&client, &statement, form).await,
                _ => once(&client, &statement, format).await,
            };
            outcome.map_err(|error| explain(&statement, error))
        }
        (None, Some(_)) => Err(Exit::usage("--watch needs a statement")),
        (None, None) if format.is_binary() => {
            Err(Exit::usage("an answer in this format needs a statement"))
        }
        (None, None) if std::io::stdin().is_terminal() => super::prompt::run(&client, format).await,
        (None, None) => script(&client, format).await,
    }
}

/// The answer as a file, whole or not at all.
pub(super) async fn export(
    client: &Client,
    statement: &str,
    form: Form,
    path: &Path,
) -> Result<()> {
    let cannot = || format!("cannot write `{}`", path.display());
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(folder).with_context(cannot)?;
    let written = write_answer(client, statement, form, file.as_file_mut()).await?;
    file.as_file().sync_all().with_context(cannot)?;
    file.persist(path).with_context(cannot)?;
    eprintln!("{}: {}", path.display(), units::bytes(written));
    Ok(())
}

async fn stream(client: &Client, statement: &str, form: Form) -> Result<()> {
    let mut out = std::io::stdout();
    if out.is_terminal() {
        return Err(Exit::usage(
            "this format is not for a terminal: give it a file with --output",
        ));
    }
    write_answer(client, statement, form, &mut out).await?;
    Ok(())
}

/// How many bytes there were.
async fn write_answer(
    client: &Client,
    statement: &str,
    form: Form,
    to: &mut impl Write,
) -> Result<u64> {
    let statement = statement.trim().trim_end_matches(';');
    if let Some(files) = local::files_of(statement) {
        let (schema, batches) = local::batches(statement, &files).await?;
        let body = broker::forms::encode(form, &schema, &batches).await?;
        to.write_all(&body)?;
        return Ok(body.len() as u64);
    }
    let mut response = client.answered(statement, form).await?;
    let mut written = 0;
    while let Some(piece) = response.chunk().await.context("the answer broke off")? {
        to.write_all(&piece)?;
        written += piece.len() as u64;
    }
    to.flush()?;
    Ok(written)
}

/// Statements from stdin, separated by `;` at the end of a line.
async fn script(client: &Client, format: OutputFormat) -> Result<()> {
    let mut text = String::new();
    std::io::stdin()
        .read_to_string(&mut text)
        .context("cannot read stdin")?;
    for statement in split_statements(&text) {
        once(client, statement, format)
            .await
            .map_err(|error| explain(statement, error))?;
    }
    Ok(())
}

pub(super) fn split_statements(text: &str) -> Vec<&str> {
    let ends_statement = |c: char| c == '\n';
    let mut statements = Vec::new();
    let mut start = 0;
    for (index, _) in text.match_indices(ends_statement).chain([(text.len(), "")]) {
        if index >= start && text[start..index].trim_end().ends_with(';') {
            statements.push(text[start..index].trim());
            start = index;
        }
    }
    statements.push(text[start..].trim());
    statements.retain(|statement| !statement.trim_matches(';').trim().is_empty());
    statements
}

/// Rows on stdout, what they cost on stderr when a person reads.
pub(super) async fn once(client: &Client, statement: &str, format: OutputFormat) -> Result<()> {
    let statement = statement.trim().trim_end_matches(';');
    let answer = match local::files_of(statement) {
        Some(files) => local::query(statement, &files).await?,
        None => client.sql(statement).await?,
    };
    println!("{}", render::answer(&answer, format));
    for warning in &answer.warnings {
        eprintln!("warning: {warning}");
    }
    if format == OutputFormat::Table {
        println!("{}", render::footer(&answer.stats));
    }
    Ok(())
}

/// Redraws in place until Ctrl-C.
async fn watch(client: &Client, statement: &str, every: Duration) -> Result<()> {
    const HOME_AND_CLEAR: &str = "\x1b[H\x1b[J";
    let interrupted = tokio::signal::ctrl_c();
    tokio::pin!(interrupted);
    let mut ticks = tokio::time::interval(every.max(Duration::from_millis(20)));
    print!("\x1b[2J");
    loop {
        tokio::select! {
            _ = &mut interrupted => return Ok(()),
            _ = ticks.tick() => {}
        }
        let answer = client
            .sql(statement)
            .await
            .map_err(|error| explain(statement, error))?;
        let text = render::answer(&answer, OutputFormat::Table);
        print!(
            "{HOME_AND_CLEAR}{text}\n{}\n",
            render::footer(&answer.stats)
        );
        std::io::stdout().flush()?;
    }
}

/// Shows the line of the statement and points at the place.
pub(super) fn explain(statement: &str, error: anyhow::Error) -> anyhow::Error {
    let Some(refusal) = error.downcast_ref::<Refusal>() else {
        return error;
    };
    let (Some(line), Some(column)) = (refusal.line, refusal.column) else {
        return error;
    };
    let Some(text) = statement.lines().nth(line.saturating_sub(1)) else {
        return error;
    };
    let marker = " ".repeat(column.saturating_sub(1));
    anyhow::anyhow!("{refusal}\n  {text}\n  {marker}^")
}

#[cfg(test)]
mod tests {
    use super::split_statements;

    #[test]
    fn scripts_split_at_line_ends() {
        let text = "SELECT ';' AS x;\n\nSELECT\n 2;\nSELECT 3";
        assert_eq!(
            split_statements(text),
            ["SELECT ';' AS x;", "SELECT\n 2;", "SELECT 3"]
        );
        assert!(split_statements(" \n;\n").is_empty());
    }
}
