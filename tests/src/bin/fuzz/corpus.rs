//! Statements to begin with, and their words.

use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};
use sqllogictest::{DefaultColumnType, Record};

#[derive(Debug)]
pub(crate) struct Corpus {
    pub(crate) statements: Vec<Vec<String>>,
}

impl Corpus {
    pub(crate) fn read() -> Result<Self> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let mut statements = Vec::new();
        for folder in ["slt/standard", "slt/pinot"] {
            for entry in std::fs::read_dir(root.join(folder))? {
                let file = entry?.path();
                if file.extension().is_some_and(|end| end == "slt") {
                    statements.extend(of_file(&file)?);
                }
            }
        }
        for file in ["tpch/tpch.sql", "tpch/ssb.sql"] {
            let text = std::fs::read_to_string(root.join(file))?;
            statements.extend(text.split(';').map(str::to_owned));
        }
        // Folders list their files in any order.
        statements.sort();
        statements.dedup();
        ensure!(
            statements.len() > 300,
            "only {} statements",
            statements.len()
        );
        let statements = statements.iter().map(|sql| tokens(sql)).collect();
        Ok(Self { statements })
    }
}

fn of_file(file: &PathBuf) -> Result<Vec<String>> {
    let records = sqllogictest::parse_file::<DefaultColumnType>(file)?;
    let statements = records.into_iter().filter_map(|record| match record {
        Record::Query { sql, .. } | Record::Statement { sql, .. } => Some(sql),
        _ => None,
    });
    Ok(statements.collect())
}

/// Words, texts in quotes, and single characters; spaces belong to what stands before them.
pub(crate) fn tokens(sql: &str) -> Vec<String> {
    let mut tokens: Vec<String> = Vec::new();
    let mut quote = None;
    let mut in_word = false;
    for c in sql.chars() {
        let is_word = c.is_alphanumeric() || c == '_' || c == '$';
        match (quote, tokens.last_mut()) {
            (Some(open), Some(token)) => {
                token.push(c);
                if c == open {
                    quote = None;
                    in_word = false;
                }
            }
            (None, Some(token)) if (is_word && in_word) || c.is_whitespace() => {
                token.push(c);
                in_word = is_word;
            }
            _ => {
                tokens.push(c.to_string());
                in_word = is_word;
                quote = matches!(c, '\'' | '"' | '`').then_some(c);
            }
        }
    }
    tokens
}
