//! Answers on a terminal: table, CSV or JSON, and the line that tells what an answer cost.

use broker::forms::csv_text;
use comfy_table::{CellAlignment, ContentArrangement, LineStyle, Table, TableStyle, presets};
use serde_json::Value;

use crate::args::OutputFormat;
use crate::client::{Answer, Stats};
use crate::units;

/// Rows of a table on the terminal; CSV and JSON show all.
const ROWS_SHOWN_MAX: usize = 1000;

pub(crate) fn answer(answer: &Answer, format: OutputFormat) -> String {
    match format {
        OutputFormat::Table => table(answer),
        OutputFormat::Csv => csv(answer),
        // Those of bytes are never put on a terminal.
        OutputFormat::Json | OutputFormat::Arrow | OutputFormat::Parquet => json(answer),
    }
}

const STYLE: TableStyle = presets::UTF8_HORIZONTAL_ONLY.row_separator(LineStyle::none());

/// A table as all commands show them.
pub(crate) fn new_table() -> Table {
    let mut table = Table::new();
    table.load_style(STYLE);
    table.set_content_arrangement(ContentArrangement::Disabled);
    table
}

fn table(answer: &Answer) -> String {
    let mut table = new_table();
    table.set_header(answer.columns.iter().map(|column| column.name.as_str()));
    for row in answer.rows.iter().take(ROWS_SHOWN_MAX) {
        table.add_row(row.iter().map(cell));
    }
    for (index, column) in answer.columns.iter().enumerate() {
        if is_number(&column.data_type)
            && let Some(column) = table.column_mut(index)
        {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    let mut text = table.to_string();
    if answer.rows.len() > ROWS_SHOWN_MAX {
        text.push_str(&format!(
            "\nthe first {} of {} rows; --format csv shows all",
            units::grouped(ROWS_SHOWN_MAX as u64),
            units::grouped(answer.rows.len() as u64)
        ));
    }
    text
}

fn is_number(data_type: &str) -> bool {
    matches!(
        data_type,
        "INT" | "LONG" | "FLOAT" | "DOUBLE" | "BIG_DECIMAL"
    )
}

fn cell(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// RFC 4180; null is an empty field, an empty string is quoted.
fn csv(answer: &Answer) -> String {
    let mut text = Vec::new();
    let mut line = |fields: &mut dyn Iterator<Item = Option<String>>| {
        for (at, field) in fields.enumerate() {
            if at > 0 {
                text.push(b',');
            }
            if let Some(field) = field {
                csv_text(&field, &mut text);
            }
        }
        text.push(b'\n');
    };
    line(
        &mut answer
            .columns
            .iter()
            .map(|column| Some(column.name.clone())),
    );
    for row in &answer.rows {
        line(
            &mut row
                .iter()
                .map(|value| (!value.is_null()).then(|| cell(value))),
        );
    }
    text.pop();
    String::from_utf8_lossy(&text).into_owned()
}

/// One object a line.
fn json(answer: &Answer) -> String {
    let lines = answer.rows.iter().map(|row| {
        let entries = answer
            .columns
            .iter()
            .map(|column| column.name.clone())
            .zip(row.clone());
        Value::Object(entries.collect()).to_string()
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// `1.8 ms · 3 of 41 segments · inverted(carrier) · 1,204 of 336,776 rows · newest event 7 ms old`.
pub(crate) fn footer(stats: &Stats) -> String {
    let mut parts = vec![units::elapsed(stats.time_used_ms)];
    if stats.segments_total > 0 {
        parts.push(format!(
            "{} of {} segments",
            stats.segments_processed, stats.segments_total
        ));
    }
    if !stats.indexes.is_empty() {
        parts.push(stats.indexes.join(" "));
    }
    if stats.total_docs > 0 {
        let (scanned, total) = (
            units::grouped(stats.docs_scanned),
            units::grouped(stats.total_docs),
        );
        parts.push(format!("{scanned} of {total} rows"));
    }
    if let Some(age_ms) = stats.newest_event_age_ms {
        parts.push(format!("newest event {} old", units::age(age_ms)));
    }
    parts.join(" · ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn sample() -> Answer {
        serde_json::from_value(json!({
            "columns": [{"name": "name", "type": "STRING"}, {"name": "n", "type": "LONG"}],
            "rows": [["a \"b\", c", 1], ["", null]],
            "stats": {"timeUsedMs": 1.8, "segmentsProcessed": 3, "segmentsTotal": 41,
                      "indexes": ["inverted(carrier)"], "docsScanned": 1204,
                      "totalDocs": 336776, "newestEventAgeMs": 7},
        }))
        .unwrap()
    }

    #[test]
    fn csv_quotes_and_tells_null_from_empty() {
        assert_eq!(csv(&sample()), "name,n\n\"a \"\"b\"\", c\",1\n\"\",");
    }

    #[test]
    fn json_is_one_object_a_line() {
        let text = json(&sample());
        assert_eq!(text.lines().count(), 2);
        assert_eq!(text.lines().nth(1).unwrap(), r#"{"name":"","n":null}"#);
    }

    #[test]
    fn the_footer_tells_what_it_cost() {
        assert_eq!(
            footer(&sample().stats),
            "1.8 ms · 3 of 41 segments · inverted(carrier) · 1,204 of 336,776 rows · \
             newest event 7 ms old"
        );
    }
}
