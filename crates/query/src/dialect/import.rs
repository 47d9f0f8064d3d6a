//! `INSERT INTO t FROM FILE 'uri', …`: the one statement that changes something, as Pinot has it.

use super::{Options, syntax, take_options, text};
use schemas::Fault;

/// Files that shall become rows of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileImport {
    pub table: String,
    pub uris: Vec<String>,
    /// Of SET and OPTION: Pinot's batch configs.
    pub options: Options,
}

/// `None`: it is another statement.
pub fn file_import(sent: &str, options: &Options) -> Option<Result<FileImport, Fault>> {
    let pieces = text::split_statements(sent);
    let begins = |piece: &&str| text::strip_word(piece, "INSERT").is_some();
    pieces.iter().find(|piece| begins(piece))?;
    Some(parse(sent, options.clone()))
}

fn parse(sent: &str, options: Options) -> Result<FileImport, Fault> {
    const FORM: &str = "rows are inserted from files alone: INSERT INTO t FROM FILE 'file:///path'";
    let wrong = || syntax(FORM);
    let (statement, options) = take_options(sent, options)?;
    let rest = text::strip_word(statement, "INSERT").ok_or_else(wrong)?;
    let rest = text::strip_word(rest, "INTO").ok_or_else(wrong)?;
    let (table, rest) = table_name(rest).ok_or_else(wrong)?;
    let rest = text::strip_word(rest, "FROM").ok_or_else(wrong)?;
    let word = rest.split_at_checked("FILE".len());
    let files = word.filter(|(word, _)| word.eq_ignore_ascii_case("FILE"));
    let (_, files) = files.ok_or_else(wrong)?;
    let uri = |piece: &str| {
        let piece = text::strip_word(piece, "FILE").unwrap_or(piece).trim();
        let quoted = piece.strip_prefix('\'')?.strip_suffix('\'')?;
        let text = quoted.replace("''", "\0");
        let is_one = !text.is_empty() && !text.contains('\'');
        is_one.then(|| text.replace('\0', "'"))
    };
    let uris = text::split_outside_quotes(files, ',').into_iter().map(uri);
    Ok(FileImport {
        table,
        uris: uris.collect::<Option<_>>().ok_or_else(wrong)?,
        options,
    })
}

/// `t`, `"t"`, `db.t`: the last part, and what follows.
fn table_name(text: &str) -> Option<(String, &str)> {
    let mut rest = text.trim_start();
    loop {
        let quote = rest.chars().next().filter(|c| matches!(c, '"' | '`'));
        let (name, after) = match quote {
            Some(quote) => rest[1..].split_once(quote)?,
            None => {
                let is_part = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-');
                rest.split_at(rest.find(|c| !is_part(c))?)
            }
        };
        match after.strip_prefix('.') {
            Some(more) => rest = more,
            None if name.is_empty() => return None,
            None => return Some((name.to_owned(), after.trim_start())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pinots_form_is_understood() {
        let of = |sql: &str| file_import(sql, &Options::default());
        let import = of(
            "SET inputFormat = 'csv';\nINSERT INTO \"db\".\"t-1\"\n FROM FILE \
             's3://b/x,y.csv', FILE '/a/''b''.csv';",
        );
        let import = import.unwrap().unwrap();
        assert_eq!(import.table, "t-1");
        assert_eq!(import.uris, ["s3://b/x,y.csv", "/a/'b'.csv"]);
        assert_eq!(import.options.0["inputformat"], "csv");
        let plain = of("insert into t from file '/x' option(segmentIngestionType=REFRESH)");
        let plain = plain.unwrap().unwrap();
        assert_eq!((plain.table.as_str(), plain.uris.len()), ("t", 1));
        assert_eq!(plain.options.0["segmentingestiontype"], "REFRESH");
        for wrong in [
            "INSERT INTO t VALUES (1)",
            "INSERT INTO t FROM FILE",
            "INSERT INTO t FROM FILE ''",
            "INSERT INTO t FROM FILE 'a' 'b'",
            "INSERT INTO FROM FILE 'a'",
            "INSERT INTO t FROM FI",
            "INSERT INTO",
            "INSERT INTO t FROM FILE 'a'; SELECT 1",
            "INSERT INTO t FROM é",
        ] {
            let Some(parsed) = of(wrong) else { continue };
            assert!(parsed.is_err(), "{wrong}");
        }
        assert!(of("SELECT 'INSERT INTO t'").is_none());
        assert!(of("INSERT").is_none());
    }
}
