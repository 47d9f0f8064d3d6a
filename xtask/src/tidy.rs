//! The form of the files: what a reader may rely on before reading. Each rule is one function from
//! a file's text to the places that break it, and each message says what to do.

use anyhow::{Result, bail};

use crate::workspace;

/// Files beside tests may have this many lines before their inline tests.
const LINES_MAX: usize = 600;
const FUNCTION_LINES_MAX: usize = 80;
const LINE_CHARS_MAX: usize = 100;

/// What lies at the root; a new file there is a decision, so it is written down here.
const ROOT: &[&str] = &[
    ".ci",
    ".cargo",
    ".dockerignore",
    ".gitattributes",
    ".github",
    ".gitignore",
    "ARCHITECTURE.md",
    "CHANGELOG.md",
    "Cargo.lock",
    "Cargo.toml",
    "LICENSE",
    "NOTICE",
    "README.md",
    "benchmarks",
    "broker",
    "cli",
    "clients",
    "clippy.toml",
    "controller",
    "crates",
    "deploy",
    "docs",
    "fuzz",
    "minion",
    "rust-toolchain.toml",
    "rustfmt.toml",
    "schemas",
    "server",
    "tests",
    "web",
    "xtask",
];

/// Names that tell nothing about what is inside.
const EMPTY_NAMES: &[&str] = &["common", "helper", "helpers", "misc", "util", "utils"];

/// Written by `cargo xtask codegen`, not by hand.
const GENERATED: &[&str] = &["schemas/src/proto/", "crates/rpc/src/generated/"];

/// Kinds of files that people write comments in.
const WRITTEN: &[&str] = &[
    ".rs", ".ts", ".mjs", ".css", ".toml", ".proto", ".sh", "/run",
];

pub(crate) fn run() -> Result<()> {
    let mut faults = Vec::new();
    let files = workspace::files()?;
    for file in &files {
        faults.extend(names(file));
        let generated = GENERATED.iter().any(|folder| file.starts_with(folder));
        if generated || !WRITTEN.iter().any(|ending| file.ends_with(ending)) {
            continue;
        }
        let text = std::fs::read_to_string(workspace::root().join(file))?;
        faults.extend(notes(file, &text));
        if file.ends_with(".rs") {
            faults.extend(rust(file, &text));
        }
    }
    for folder in workspace::crates()? {
        faults.extend(description(&folder)?);
    }
    for fault in &faults {
        println!("{fault}");
    }
    if !faults.is_empty() {
        bail!("{} places are not tidy", faults.len());
    }
    println!("{} files are tidy", files.len());
    Ok(())
}

fn names(file: &str) -> Vec<String> {
    let mut faults = Vec::new();
    let root = file.split('/').next().unwrap_or(file);
    if !ROOT.contains(&root) {
        faults.push(format!(
            "{file}: `{root}` is not known at the root; move it, or add it to ROOT in \
             xtask/src/tidy.rs"
        ));
    }
    for part in file.split('/') {
        let stem = part.split('.').next().unwrap_or(part);
        if EMPTY_NAMES.contains(&stem) {
            faults.push(format!("{file}: name it after what it is, not `{stem}`"));
        }
    }
    faults
}

/// Notes to oneself belong into an issue.
fn notes(file: &str, text: &str) -> Vec<String> {
    // In two parts, so that this very file passes.
    let marks = [("TO", "DO"), ("FIX", "ME"), ("XX", "X")].map(|(a, b)| format!("{a}{b}"));
    let words = |line: &str, mark: &String| {
        line.split(|c: char| !c.is_alphanumeric() && c != '_')
            .any(|word| word == mark)
    };
    let found = text.lines().enumerate().filter_map(|(at, line)| {
        let mark = marks.iter().find(|mark| words(line, mark))?;
        Some(format!("{file}:{}: do it or open an issue: {mark}", at + 1))
    });
    found.collect()
}

fn rust(file: &str, text: &str) -> Vec<String> {
    let mut faults = Vec::new();
    if !text.trim_start().starts_with("//!") {
        faults.push(format!(
            "{file}:1: open with `//!` and what must always hold here"
        ));
    }
    if is_test(file) {
        return faults;
    }
    for (at, line) in text.lines().enumerate() {
        let chars = line.chars().count();
        // The row of a table cannot be wrapped.
        let row = line.trim_start().starts_with("//! |") || line.trim_start().starts_with("/// |");
        if chars > LINE_CHARS_MAX && !row {
            faults.push(format!(
                "{file}:{}: {chars} characters, {LINE_CHARS_MAX} at most",
                at + 1
            ));
        }
    }
    let code = without_tests(text);
    if code.len() > LINES_MAX {
        faults.push(format!(
            "{file}: {} lines before the tests, {LINES_MAX} at most; split it by concept",
            code.len()
        ));
    }
    for (at, name, lines) in functions(&code) {
        if lines > FUNCTION_LINES_MAX {
            faults.push(format!(
                "{file}:{}: `{name}` has {lines} lines, {FUNCTION_LINES_MAX} at most",
                at + 1
            ));
        }
    }
    faults
}

fn is_test(file: &str) -> bool {
    file.ends_with("/tests.rs") || file.starts_with("tests/") || file.contains("/tests/")
}

/// The lines before `#[cfg(test)] mod …`, which closes a file.
fn without_tests(text: &str) -> Vec<&str> {
    let lines: Vec<&str> = text.lines().collect();
    let end = lines.windows(2).position(|pair| {
        pair[0] == "#[cfg(test)]" && pair[1].starts_with("mod ") && pair[1].ends_with('{')
    });
    lines[..end.unwrap_or(lines.len())].to_vec()
}

/// (line, name, lines) of each function; formatted code closes a function at its own indentation.
fn functions(lines: &[&str]) -> Vec<(usize, String, usize)> {
    let mut found = Vec::new();
    for (at, line) in lines.iter().enumerate() {
        let Some(name) = function_name(line) else {
            continue;
        };
        let indent = &line[..line.len() - line.trim_start().len()];
        let close = format!("{indent}}}");
        let opened = lines[at..]
            .iter()
            .position(|line| line.ends_with('{') || line.ends_with(';') || line.ends_with('}'));
        let Some(opening) = opened.map(|offset| at + offset) else {
            continue;
        };
        if !lines[opening].ends_with('{') {
            continue;
        }
        let length = lines[opening..].iter().position(|line| *line == close);
        if let Some(length) = length {
            found.push((at, name, opening - at + length + 1));
        }
    }
    found
}

fn function_name(line: &str) -> Option<String> {
    let mut words = line.split_whitespace().peekable();
    let before = |word: &str| {
        word.starts_with("pub") || matches!(word, "async" | "const" | "unsafe" | "extern" | "\"C\"")
    };
    while words.next_if(|word| before(word)).is_some() {}
    if words.next()? != "fn" {
        return None;
    }
    let name: String = words
        .next()?
        .chars()
        .take_while(|c| c.is_alphanumeric() || *c == '_')
        .collect();
    Some(name)
}

/// A crate says the same of itself in its manifest and in its first sentence.
fn description(folder: &str) -> Result<Vec<String>> {
    let manifest = workspace::manifest(folder)?;
    let Some(package) = manifest.get("package") else {
        return Ok(Vec::new());
    };
    let said = package.get("description").and_then(|text| text.as_str());
    let Some(said) = said else {
        return Ok(vec![format!(
            "{folder}/Cargo.toml: say what the crate is in `description`"
        )]);
    };
    let path = format!("{folder}/src/lib.rs");
    let Ok(text) = std::fs::read_to_string(workspace::root().join(&path)) else {
        return Ok(Vec::new());
    };
    let first = first_sentence(&text);
    // It may go on after the description, as `description: the parts`.
    let same = first
        .replace('`', "")
        .strip_prefix(said)
        .is_some_and(|rest| !rest.starts_with(char::is_alphanumeric));
    if same {
        return Ok(Vec::new());
    }
    Ok(vec![format!(
        "{path}:1: the first sentence is `{first}`, the description in Cargo.toml `{said}`"
    )])
}

/// Up to the first full stop at the end of a word, of the first paragraph.
fn first_sentence(text: &str) -> String {
    let paragraph: Vec<&str> = text
        .lines()
        .map_while(|line| line.strip_prefix("//!"))
        .map(str::trim)
        .take_while(|line| !line.is_empty())
        .collect();
    let paragraph = paragraph.join(" ");
    let end = paragraph.find(". ").unwrap_or(paragraph.len());
    paragraph[..end].trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_opens_with_what_must_hold() {
        assert_eq!(
            rust("a.rs", "//! Holds.\nfn a() {}\n"),
            Vec::<String>::new()
        );
        assert!(rust("a.rs", "fn a() {}\n")[0].starts_with("a.rs:1: open with"));
    }

    #[test]
    fn long_lines_files_and_functions_are_found() {
        let line = format!("//! {}\n", "x".repeat(100));
        assert!(rust("a.rs", &line)[0].contains("104 characters"));
        let long = format!(
            "//! H.\npub fn f(\n    a: u8,\n) {{\n{}}}\n",
            "    a;\n".repeat(90)
        );
        assert!(rust("a.rs", &long)[0].contains("`f` has 94 lines"));
        let lines = "// x\n".repeat(600);
        assert!(rust("a.rs", &format!("//! H.\n{lines}"))[0].contains("601 lines"));
        let tested = format!("//! H.\n#[cfg(test)]\nmod tests {{\n{lines}}}\n");
        assert_eq!(rust("a.rs", &tested), Vec::<String>::new());
        assert_eq!(
            rust("a/tests.rs", &format!("//! H.\n{lines}")),
            Vec::<String>::new()
        );
    }

    #[test]
    fn notes_are_found_as_words() {
        let mark = format!("TO{}", "DO");
        assert_eq!(notes("a.rs", &format!("// {mark}: later")).len(), 1);
        assert_eq!(notes("a.rs", &format!("let {mark}S_LEFT = 1;")).len(), 0);
    }

    #[test]
    fn names_say_something() {
        assert_eq!(names("crates/index/src/lib.rs"), Vec::<String>::new());
        assert!(names("crates/index/src/utils.rs")[0].contains("not `utils`"));
        assert!(names("notes.txt")[0].contains("not known at the root"));
    }

    #[test]
    fn the_first_sentence_ends_at_its_full_stop() {
        let text = "//! The edge: a table,\n//! and `v1.2` health. More.\n//!\n//! Else.\n";
        assert_eq!(first_sentence(text), "The edge: a table, and `v1.2` health");
    }
}
