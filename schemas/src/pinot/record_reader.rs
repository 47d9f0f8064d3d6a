//! Options of Pinot's record readers, `recordReader.prop.…`, in the configs of jobs that import
//! files.
//!
//! Invariant: what would change rows is carried out or refused; keys are compared without regard to
//! capitals, as jobs pass them on in lower case.

use crate::Fault;
use crate::decoding::CsvSpec;

const KNOWN: &str = "delimiter, header, skipHeader, multiValueDelimiter, \
                     multiValueDelimiterEnabled, quoteCharacter, escapeCharacter, commentMarker, \
                     nullStringValue, \
                     ignoreSurroundingSpaces, ignoreEmptyLines, fileFormat";

/// How CSV files are read; of the options without their prefix. `None`: nothing is said.
pub fn csv_reader<'a>(
    options: impl Iterator<Item = (&'a str, &'a str)>,
) -> Result<Option<CsvSpec>, Fault> {
    let mut said: Vec<(String, &str)> = options
        .map(|(key, value)| (key.to_lowercase(), value))
        .collect();
    if said.is_empty() {
        return Ok(None);
    }
    // The form first, as other options may say more.
    said.sort_by_key(|(key, _)| key != "fileformat");
    let mut spec = CsvSpec {
        trim: false,
        ..CsvSpec::default()
    };
    let mut header = None;
    for (key, value) in said {
        match key.as_str() {
            "fileformat" => form(&mut spec, value)?,
            "header" => header = Some(value),
            "delimiter" => spec.delimiter = wanted(&key, value)?,
            "multivaluedelimiter" => spec.values_delimiter = wanted(&key, value)?,
            "multivaluedelimiterenabled" => {
                if !flag(&key, value)? {
                    spec.values_delimiter = '\0';
                }
            }
            "quotecharacter" => spec.quote = letter(&key, value)?,
            "escapecharacter" => spec.escape = letter(&key, value)?,
            "commentmarker" => spec.comment = letter(&key, value)?,
            "nullstringvalue" => spec.null_text = Some(value.to_owned()),
            "skipheader" => spec.skip_header = flag(&key, value)?,
            "ignoresurroundingspaces" => spec.trim = flag(&key, value)?,
            "ignoreemptylines" if flag(&key, value)? => {}
            "ignoreemptylines" => return Err(wrong(&key, "empty lines are always passed over")),
            _ => {
                let what = format!("no option of a reader that is known here: {KNOWN}");
                return Err(wrong(&key, &what));
            }
        }
    }
    let names = header.into_iter().flat_map(|all| all.split(spec.delimiter));
    spec.names = names.map(|name| name.trim().to_owned()).collect();
    if spec.names.iter().any(String::is_empty) {
        return Err(wrong("header", "a name is empty"));
    }
    if spec.skip_header && spec.names.is_empty() {
        let what = "without the header of the file `header` must name the fields";
        return Err(wrong("skipHeader", what));
    }
    Ok(Some(spec))
}

/// Of commons-csv, as far as they differ in what is read.
fn form(spec: &mut CsvSpec, name: &str) -> Result<(), Fault> {
    match name.to_uppercase().as_str() {
        "DEFAULT" | "EXCEL" | "RFC4180" => {}
        "TDF" => {
            spec.delimiter = '\t';
            spec.trim = true;
        }
        "MYSQL" => {
            spec.delimiter = '\t';
            spec.quote = None;
            spec.escape = Some('\\');
            spec.null_text = Some("\\N".to_owned());
        }
        _ => {
            let what = format!("`{name}` is none of DEFAULT, EXCEL, RFC4180, TDF and MYSQL");
            return Err(wrong("fileFormat", &what));
        }
    }
    Ok(())
}

fn wanted(key: &str, value: &str) -> Result<char, Fault> {
    letter(key, value)?.ok_or_else(|| wrong(key, "one character is wanted"))
}

/// Nothing: none.
fn letter(key: &str, value: &str) -> Result<Option<char>, Fault> {
    let value = match value {
        "\\t" => "\t",
        value => value,
    };
    let mut letters = value.chars();
    match (letters.next(), letters.next()) {
        (None, _) => Ok(None),
        (Some(letter), None) if letter.is_ascii() => Ok(Some(letter)),
        _ => Err(wrong(key, &format!("`{value}` is not one ASCII character"))),
    }
}

fn flag(key: &str, value: &str) -> Result<bool, Fault> {
    value
        .trim()
        .to_lowercase()
        .parse()
        .map_err(|_| wrong(key, &format!("`{value}` is neither true nor false")))
}

fn wrong(key: &str, what: &str) -> Fault {
    Fault::invalid(format!("recordReader.prop.{key}: {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(options: &[(&str, &str)]) -> Result<Option<CsvSpec>, String> {
        csv_reader(options.iter().copied()).map_err(|fault| fault.message)
    }

    #[test]
    fn options_are_those_of_pinots_reader() {
        assert_eq!(read(&[]).unwrap(), None);
        let spec = read(&[
            ("Header", "id| name"),
            ("delimiter", "|"),
            ("skipheader", "TRUE"),
            ("quoteCharacter", "'"),
            ("multiValueDelimiterEnabled", "false"),
            ("nullStringValue", "NULL"),
            ("ignoreEmptyLines", "true"),
        ]);
        let spec = spec.unwrap().unwrap();
        assert_eq!(spec.names, ["id", "name"]);
        assert_eq!(
            (spec.delimiter, spec.quote, spec.values_delimiter),
            ('|', Some('\''), '\0')
        );
        assert!(spec.skip_header && !spec.trim);
        let mysql = read(&[("escapecharacter", ""), ("fileformat", "MySQL")])
            .unwrap()
            .unwrap();
        assert_eq!(
            (mysql.delimiter, mysql.quote, mysql.escape),
            ('\t', None, None)
        );
        assert_eq!(
            read(&[("delimiter", "\\t")]).unwrap().unwrap().delimiter,
            '\t'
        );
    }

    #[test]
    fn what_is_not_carried_out_is_refused() {
        for (key, value, what) in [
            ("delimiter", "", "one character is wanted"),
            ("delimiter", "||", "not one ASCII character"),
            ("skipHeader", "true", "`header` must name the fields"),
            ("header", "a,,b", "a name is empty"),
            ("ignoreEmptyLines", "false", "always passed over"),
            ("skipUnParseableLines", "true", "no option of a reader"),
            ("fileFormat", "ORACLE", "none of DEFAULT"),
            ("skipHeader", "perhaps", "neither true nor false"),
        ] {
            let told = read(&[(key, value)]).unwrap_err();
            assert!(
                told.contains(what) && told.contains("recordReader.prop."),
                "{told}"
            );
        }
    }
}
