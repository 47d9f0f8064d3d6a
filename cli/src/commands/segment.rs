//! `tannin segment`: what a segment file holds, and whether it is whole. Needs no node.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result};
use comfy_table::CellAlignment;
use segment::SealedSegment;
use segment::inspect::{Inspected, InspectedColumn, inspect};
use serde_json::{Value, json};

use crate::args::{SegmentAction, SegmentArgs};
use crate::exit::Exit;
use crate::render::new_table;
use crate::units;

pub(crate) fn run(action: SegmentAction) -> Result<()> {
    match action {
        SegmentAction::Inspect(args) => show(&args),
        SegmentAction::Verify(args) => verify(&args),
    }
}

fn open(file: &Path) -> Result<Arc<SealedSegment>> {
    if !file.is_file() {
        let what = format!("`{}` is no file", file.display());
        return Err(Exit::usage(what));
    }
    Ok(SealedSegment::open_any(file)?)
}

fn show(args: &SegmentArgs) -> Result<()> {
    let segment = open(&args.file)?;
    let inspected = inspect(&segment)?;
    match args.json {
        true => println!("{:#}", as_json(&segment, &inspected)),
        false => println!("{}", as_text(&segment, &inspected)),
    }
    Ok(())
}

fn verify(args: &SegmentArgs) -> Result<()> {
    let outcome = open(&args.file).and_then(|segment| {
        segment.verify_all()?;
        Ok(segment)
    });
    let (crc, bytes, rows) = match &outcome {
        Ok(segment) => (segment.crc(), segment.bytes(), segment.row_count()),
        Err(error) => {
            if args.json {
                println!(
                    "{:#}",
                    json!({ "whole": false, "reason": format!("{error:#}") })
                );
            }
            return outcome.map(drop).context("the segment is not whole");
        }
    };
    if args.json {
        let crc = format!("{crc:08x}");
        let whole = json!({ "whole": true, "crc": crc, "bytes": bytes, "rows": rows });
        println!("{whole:#}");
    } else {
        let (rows, bytes) = (units::grouped(rows.into()), units::bytes(bytes));
        println!("whole: {rows} rows in {bytes}, checksum {crc:08x}");
    }
    Ok(())
}

fn as_text(segment: &SealedSegment, inspected: &Inspected) -> String {
    let head = format!(
        "{}\n{} rows in {}, checksum {:08x}, offsets [{}, {})\n",
        segment.name(),
        units::grouped(segment.row_count().into()),
        units::bytes(segment.bytes()),
        segment.crc(),
        segment.start(),
        segment.end(),
    );
    let mut columns = new_table();
    columns.set_header([
        "column", "type", "encoding", "distinct", "nulls", "bytes", "parts", "least", "greatest",
    ]);
    for column in &inspected.columns {
        columns.add_row(row(column));
    }
    for at in [3, 4, 5] {
        if let Some(column) = columns.column_mut(at) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    let mut text = format!("{head}\n{columns}");
    if !inspected.indexes.is_empty() {
        let mut indexes = new_table();
        indexes.set_header(["index", "columns", "bytes"]);
        for index in &inspected.indexes {
            let bytes = units::bytes(index.bytes);
            indexes.add_row([index.kind.to_owned(), index.columns.join(", "), bytes]);
        }
        text.push_str(&format!("\n\n{indexes}"));
    }
    for (what, bytes) in [
        ("rejected rows", inspected.rejected_bytes),
        ("which rows of the partition count", inspected.keys_bytes),
    ] {
        if bytes > 0 {
            text.push_str(&format!("\n\n{what}: {}", units::bytes(bytes)));
        }
    }
    text
}

const SHOWN_MAX: usize = 24;

fn row(column: &InspectedColumn) -> [String; 9] {
    let several = if column.is_multi_value { " ARRAY" } else { "" };
    let sorted = if column.is_sorted { ", sorted" } else { "" };
    let parts = column.parts.iter();
    let parts = parts.map(|(part, bytes)| format!("{part} {}", units::bytes(*bytes)));
    let cut = |text: &str| match text.char_indices().nth(SHOWN_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    };
    let (least, greatest) = match &column.range {
        Some((least, greatest)) => (cut(least), cut(greatest)),
        None => (String::new(), String::new()),
    };
    let distinct = column.cardinality.map(|count| units::grouped(count.into()));
    [
        column.name.clone(),
        format!("{}{several}", column.data_type),
        format!("{}{sorted}", column.encoding),
        distinct.unwrap_or_default(),
        units::grouped(column.nulls.into()),
        units::bytes(column.bytes()),
        parts.collect::<Vec<_>>().join(", "),
        least,
        greatest,
    ]
}

fn as_json(segment: &SealedSegment, inspected: &Inspected) -> Value {
    let columns = inspected.columns.iter().map(|column| {
        let parts = column.parts.iter();
        let parts: Vec<Value> = parts
            .map(|(part, bytes)| json!({ "part": part, "bytes": bytes }))
            .collect();
        json!({
            "name": column.name,
            "dataType": column.data_type.name(),
            "multiValue": column.is_multi_value,
            "encoding": column.encoding,
            "cardinality": column.cardinality,
            "sorted": column.is_sorted,
            "nulls": column.nulls,
            "bytes": column.bytes(),
            "parts": parts,
            "least": column.range.as_ref().map(|(least, _)| least),
            "greatest": column.range.as_ref().map(|(_, greatest)| greatest),
        })
    });
    let indexes = inspected
        .indexes
        .iter()
        .map(|index| json!({ "kind": index.kind, "columns": index.columns, "bytes": index.bytes }));
    json!({
        "name": segment.name(),
        "id": segment.id().to_string(),
        "crc": format!("{:08x}", segment.crc()),
        "rows": segment.row_count(),
        "bytes": segment.bytes(),
        "startOffset": segment.start(),
        "endOffset": segment.end(),
        "columns": columns.collect::<Vec<_>>(),
        "indexes": indexes.collect::<Vec<_>>(),
        "rejectedBytes": inspected.rejected_bytes,
        "keysBytes": inspected.keys_bytes,
    })
}
