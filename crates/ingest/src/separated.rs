//! One record of separated values in each message: the fields by their order, as the config names
//! them.
//!
//! An empty field is null; a quoted one keeps its spaces. A message of more than one line is
//! refused, but for the header that it may repeat.

use csv_core::{ReadRecordResult, Reader};
use schemas::decoding::CsvSpec;

use crate::coerce::Cell;
use crate::row::{Row, Target};

#[derive(Debug)]
pub(crate) struct Csv {
    spec: CsvSpec,
    reader: Reader,
    /// For each field its column, and whether that takes several values.
    columns: Vec<Option<(usize, bool)>>,
    fields: Vec<u8>,
    ends: Vec<usize>,
}

/// A payload that is not one record.
fn lines(count: &str) -> String {
    format!("the message has {count} lines of separated values, one is wanted")
}

impl Csv {
    pub(crate) fn new(spec: &CsvSpec, target: &Target) -> Self {
        let mut builder = csv_core::ReaderBuilder::new();
        builder.delimiter(spec.delimiter as u8);
        match spec.quote {
            Some(quote) => builder.quote(quote as u8),
            None => builder.quoting(false),
        };
        builder.escape(spec.escape.map(|escape| escape as u8));
        builder.double_quote(spec.escape.is_none());
        builder.comment(spec.comment.map(|comment| comment as u8));
        let column = |name: &String| {
            let at = target.position(name)?;
            Some((at, target.is_multi_value(at)))
        };
        Self {
            spec: spec.clone(),
            reader: builder.build(),
            columns: spec.names.iter().map(column).collect(),
            fields: Vec::new(),
            ends: vec![0; spec.names.len() + 1],
        }
    }

    pub(crate) fn read(
        &mut self,
        target: &Target,
        row: &mut Row,
        payload: &[u8],
    ) -> Result<(), String> {
        self.reader.reset();
        let mut rest = payload;
        if self.spec.skip_header {
            self.record(&mut rest)?;
        }
        let count = self.record(&mut rest)?.ok_or_else(|| lines("no"))?;
        let wanted = self.columns.len();
        if count != wanted {
            return Err(format!(
                "the record has {count} fields, {wanted} are named in the config"
            ));
        }
        let mut from = 0;
        for (at, column) in self.columns.iter().enumerate() {
            let to = self.ends[at];
            let field = &self.fields[from..to];
            from = to;
            if let Some((at, several)) = *column {
                row.cells[at] = value(&self.spec, target, row, at, several, field)?;
            }
        }
        let is_over = rest.iter().all(u8::is_ascii_whitespace);
        match is_over || self.record(&mut rest)?.is_none() {
            true => Ok(()),
            false => Err(lines("several")),
        }
    }

    /// Fields of the next record, which stand in `self.fields` up to `self.ends`; `None`: there is
    /// none.
    fn record(&mut self, rest: &mut &[u8]) -> Result<Option<usize>, String> {
        // No record is longer than what is left, with its quotes taken away.
        if self.fields.len() < rest.len() {
            self.fields.resize(rest.len(), 0);
        }
        let (mut written, mut ended) = (0, 0);
        loop {
            let (result, read, out, ends) =
                self.reader
                    .read_record(rest, &mut self.fields[written..], &mut self.ends[ended..]);
            *rest = &rest[read..];
            written += out;
            ended += ends;
            match result {
                ReadRecordResult::Record => return Ok(Some(ended)),
                ReadRecordResult::End => return Ok(None),
                // The end of the input ends the record.
                ReadRecordResult::InputEmpty => {}
                ReadRecordResult::OutputFull => {
                    self.fields.resize(written + rest.len() + 1, 0);
                }
                ReadRecordResult::OutputEndsFull => {
                    let wanted = self.columns.len();
                    return Err(format!(
                        "the record has more than the {wanted} fields that the config names"
                    ));
                }
            }
        }
    }
}

fn value(
    spec: &CsvSpec,
    target: &Target,
    row: &mut Row,
    at: usize,
    several: bool,
    field: &[u8],
) -> Result<Cell, String> {
    let text = std::str::from_utf8(field)
        .map_err(|error| format!("`{}` is not UTF-8: {error}", target.spec.columns[at].name))?;
    let text = if spec.trim { text.trim() } else { text };
    let is_null = |text: &str| text.is_empty() || spec.null_text.as_deref() == Some(text);
    if is_null(text) {
        return Ok(Cell::Null);
    }
    if !several {
        return target.field(at, &mut row.texts).text(text);
    }
    let from = row.entries.len();
    for one in text
        .split(spec.values_delimiter)
        .filter(|one| !is_null(one))
    {
        let cell = target.field(at, &mut row.texts).text(one)?;
        row.push_entry(cell);
    }
    Ok(row.list(from))
}
