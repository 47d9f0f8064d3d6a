//! From the bytes of a record to the scratch row, in one pass led by the writer's schema.
//!
//! Values go into columns of their name; what has no column is skipped. Hostile bytes cannot make
//! it go deep ([`DEPTH_MAX`]) nor round for long ([`ITEMS_MAX`]).

use arrow::datatypes::i256;
use schemas::DataType;

use super::cursor::Cursor;
use super::schema::{Kind, Logical, Node, NodeId, Schema};
use crate::coerce::Cell;
use crate::field::{Field, quote};
use crate::row::{Row, Shape, Target};

const DEPTH_MAX: u32 = 64;
/// Items of arrays and maps, and records, in a record: those of no bytes would not end with it.
const ITEMS_MAX: u64 = 1 << 20;
const DAY_MS: i64 = 86_400_000;

/// One field of a record: its type and its column.
#[derive(Clone, Copy, Debug)]
pub(super) struct Step {
    pub(super) node: NodeId,
    pub(super) column: Option<usize>,
    pub(super) several: bool,
    pub(super) direct: Direct,
}

/// Values that are a cell as they stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direct {
    Text { length_max: usize },
    Int,
    Long,
    Double,
    No,
}

impl Direct {
    pub(super) fn of(node: &Node, at: usize, target: &Target) -> Self {
        let is_time = target.spec.columns[at].data_type == DataType::Timestamp;
        match (&node.kind, node.logical, target.shapes[at]) {
            (Kind::String, _, Shape::Text { length_max }) => Self::Text { length_max },
            (Kind::Int, Logical::None, Shape::Int | Shape::Long) => Self::Int,
            (Kind::Long, Logical::None, Shape::Long) => Self::Long,
            (Kind::Long, Logical::Millis, Shape::One) if is_time => Self::Long,
            (Kind::Double, _, Shape::Double) => Self::Double,
            _ => Self::No,
        }
    }
}

pub(super) struct Reader<'a> {
    pub(super) schema: &'a Schema,
    pub(super) cursor: Cursor<'a>,
    items: u64,
}

impl<'a> Reader<'a> {
    pub(super) fn new(schema: &'a Schema, bytes: &'a [u8]) -> Self {
        Self {
            schema,
            cursor: Cursor::new(bytes),
            items: 0,
        }
    }

    pub(super) fn record(
        &mut self,
        steps: &[Step],
        target: &Target,
        row: &mut Row,
    ) -> Result<(), String> {
        for step in steps {
            let Some(at) = step.column else {
                self.skip(step.node, 0)?;
                continue;
            };
            // Written where they stay, as in JSON.
            let cell = &mut row.cells[at];
            match step.direct {
                Direct::Text { length_max } => {
                    let (texts, bytes) = (&mut row.texts, self.cursor.bytes()?);
                    if let Ok(text) = std::str::from_utf8(bytes)
                        && text.len() <= length_max
                        && let Ok(to) = u32::try_from(texts.text.len() + text.len())
                    {
                        *cell = Cell::Text(texts.text.len() as u32, to);
                        texts.text.push_str(text);
                    } else {
                        *cell = text(bytes, target.field(at, texts))?;
                    }
                    continue;
                }
                Direct::Int => *cell = Cell::Long(self.int()?),
                Direct::Long => *cell = Cell::Long(self.cursor.long()?),
                Direct::Double => *cell = Cell::Double(f64::from_le_bytes(self.cursor.array()?)),
                Direct::No => {}
            }
            if step.direct != Direct::No {
                continue;
            }
            row.cells[at] = if step.several {
                self.several(step.node, at, target, row, 0)?
            } else {
                self.value(step.node, target.field(at, &mut row.texts), 0)?
            };
        }
        Ok(())
    }

    /// The branch of a union, or the node itself.
    pub(super) fn branch(&mut self, node: NodeId, depth: u32) -> Result<NodeId, String> {
        let mut node = node;
        for _ in depth..DEPTH_MAX {
            let Kind::Union(branches) = &self.schema.nodes[node].kind else {
                return Ok(node);
            };
            node = branches[self.cursor.index(branches.len())?];
        }
        Err(too_deep())
    }

    fn value(&mut self, node: NodeId, field: Field<'_>, depth: u32) -> Result<Cell, String> {
        let node = self.branch(node, depth)?;
        let schema = self.schema;
        let of = &schema.nodes[node];
        match &of.kind {
            Kind::Null => Ok(Cell::Null),
            Kind::Boolean => field.boolean(self.cursor.boolean()?),
            Kind::Int => {
                let value = self.int()?;
                number(value, of.logical, field)
            }
            Kind::Long => number(self.cursor.long()?, of.logical, field),
            Kind::Float => {
                let value = f32::from_le_bytes(self.cursor.array()?);
                field.float(f64::from(value))
            }
            Kind::Double => field.float(f64::from_le_bytes(self.cursor.array()?)),
            Kind::String => text(self.cursor.bytes()?, field),
            Kind::Enum(symbols) => field.text(&symbols[self.cursor.index(symbols.len())?]),
            Kind::Bytes => binary(self.cursor.bytes()?, of.logical, field),
            Kind::Fixed(size) => binary(self.cursor.take(*size)?, of.logical, field),
            Kind::Array(_) | Kind::Map(_) | Kind::Record(_) => {
                let mut text = String::new();
                self.json(node, &mut text, depth + 1)?;
                field.json(&text)
            }
            Kind::Union(_) => Err(too_deep()),
        }
    }

    fn several(
        &mut self,
        node: NodeId,
        at: usize,
        target: &Target,
        row: &mut Row,
        depth: u32,
    ) -> Result<Cell, String> {
        let node = self.branch(node, depth)?;
        let from = row.entries.len();
        let Kind::Array(items) = &self.schema.nodes[node].kind else {
            let cell = self.value(node, target.field(at, &mut row.texts), depth)?;
            row.push_entry(cell);
            return Ok(row.list(from));
        };
        let items = *items;
        self.blocks(|reader| {
            let cell = reader.value(items, target.field(at, &mut row.texts), depth + 1)?;
            row.push_entry(cell);
            Ok(())
        })?;
        Ok(row.list(from))
    }

    /// Does `item` for each item of an array or a map.
    fn blocks(
        &mut self,
        mut item: impl FnMut(&mut Self) -> Result<(), String>,
    ) -> Result<(), String> {
        loop {
            let (count, _) = self.cursor.block()?;
            if count == 0 {
                return Ok(());
            }
            self.count(count)?;
            for _ in 0..count {
                item(self)?;
            }
        }
    }

    fn count(&mut self, items: u64) -> Result<(), String> {
        self.items = self.items.saturating_add(items);
        match self.items > ITEMS_MAX {
            true => Err(format!("the record has more than {ITEMS_MAX} items")),
            false => Ok(()),
        }
    }

    fn int(&mut self) -> Result<i64, String> {
        let value = self.cursor.long()?;
        match i32::try_from(value) {
            Ok(_) => Ok(value),
            Err(_) => Err(format!("an int of the record is {value}")),
        }
    }

    pub(super) fn skip(&mut self, node: NodeId, depth: u32) -> Result<(), String> {
        let node = self.branch(node, depth)?;
        if depth >= DEPTH_MAX {
            return Err(too_deep());
        }
        let schema = self.schema;
        match &schema.nodes[node].kind {
            Kind::Null => {}
            Kind::Boolean => drop(self.cursor.boolean()?),
            Kind::Int | Kind::Long => drop(self.cursor.long()?),
            Kind::Enum(symbols) => drop(self.cursor.index(symbols.len())?),
            Kind::Float => drop(self.cursor.array::<4>()?),
            Kind::Double => drop(self.cursor.array::<8>()?),
            Kind::Bytes | Kind::String => drop(self.cursor.bytes()?),
            Kind::Fixed(size) => drop(self.cursor.take(*size)?),
            Kind::Array(items) => self.skip_blocks(*items, false, depth)?,
            Kind::Map(values) => self.skip_blocks(*values, true, depth)?,
            Kind::Record(fields) => {
                self.count(1)?;
                for (_, field) in fields {
                    self.skip(*field, depth + 1)?;
                }
            }
            Kind::Union(_) => return Err(too_deep()),
        }
        Ok(())
    }

    fn skip_blocks(&mut self, items: NodeId, keyed: bool, depth: u32) -> Result<(), String> {
        loop {
            match self.cursor.block()? {
                (0, _) => return Ok(()),
                (_, Some(bytes)) => drop(self.cursor.take(bytes)?),
                (count, None) => {
                    self.count(count)?;
                    for _ in 0..count {
                        if keyed {
                            self.cursor.bytes()?;
                        }
                        self.skip(items, depth + 1)?;
                    }
                }
            }
        }
    }

    /// Appends a value as JSON: decimals as numbers, times as the numbers they are, bytes in
    /// hexadecimal.
    pub(super) fn json(
        &mut self,
        node: NodeId,
        out: &mut String,
        depth: u32,
    ) -> Result<(), String> {
        let node = self.branch(node, depth)?;
        if depth >= DEPTH_MAX {
            return Err(too_deep());
        }
        let schema = self.schema;
        let of = &schema.nodes[node];
        match &of.kind {
            Kind::Null => out.push_str("null"),
            Kind::Boolean => {
                let value = self.cursor.boolean()?;
                out.push_str(if value { "true" } else { "false" });
            }
            Kind::Int => out.push_str(&self.int()?.to_string()),
            Kind::Long => out.push_str(&self.cursor.long()?.to_string()),
            Kind::Float => {
                let value = f32::from_le_bytes(self.cursor.array()?);
                float(f64::from(value), &value.to_string(), out);
            }
            Kind::Double => {
                let value = f64::from_le_bytes(self.cursor.array()?);
                float(value, &value.to_string(), out);
            }
            Kind::String => quote(self.cursor.text()?, out),
            Kind::Enum(symbols) => quote(&symbols[self.cursor.index(symbols.len())?], out),
            Kind::Bytes => {
                let bytes = self.cursor.bytes()?;
                binary_json(bytes, of.logical, out);
            }
            Kind::Fixed(size) => {
                let bytes = self.cursor.take(*size)?;
                binary_json(bytes, of.logical, out);
            }
            Kind::Array(items) => {
                self.json_items(*items, false, out, depth)?;
            }
            Kind::Map(values) => self.json_items(*values, true, out, depth)?,
            Kind::Record(fields) => {
                self.count(1)?;
                out.push('{');
                for (at, (name, field)) in fields.iter().enumerate() {
                    if at > 0 {
                        out.push(',');
                    }
                    quote(name, out);
                    out.push(':');
                    self.json(*field, out, depth + 1)?;
                }
                out.push('}');
            }
            Kind::Union(_) => return Err(too_deep()),
        }
        Ok(())
    }

    fn json_items(
        &mut self,
        items: NodeId,
        keyed: bool,
        out: &mut String,
        depth: u32,
    ) -> Result<(), String> {
        out.push(if keyed { '{' } else { '[' });
        let mut is_first = true;
        self.blocks(|reader| {
            if !is_first {
                out.push(',');
            }
            is_first = false;
            if keyed {
                quote(reader.cursor.text()?, out);
                out.push(':');
            }
            reader.json(items, out, depth + 1)
        })?;
        out.push(if keyed { '}' } else { ']' });
        Ok(())
    }
}

fn text(bytes: &[u8], field: Field<'_>) -> Result<Cell, String> {
    match std::str::from_utf8(bytes) {
        Ok(text) => field.text(text),
        Err(error) => Err(format!("`{}` is not UTF-8: {error}", field.column.name)),
    }
}

#[cold]
fn too_deep() -> String {
    format!("the record is nested deeper than {DEPTH_MAX}")
}

#[inline]
fn number(value: i64, logical: Logical, field: Field<'_>) -> Result<Cell, String> {
    let ms = match logical {
        Logical::None | Logical::Decimal { .. } => return field.integer(value),
        Logical::Date => value.checked_mul(DAY_MS),
        Logical::Millis => Some(value),
        Logical::Micros => Some(value.div_euclid(1_000)),
        Logical::Nanos => Some(value.div_euclid(1_000_000)),
    };
    field.instant(ms, value)
}

fn binary(value: &[u8], logical: Logical, field: Field<'_>) -> Result<Cell, String> {
    match logical {
        Logical::Decimal { scale } => match decimal(value, scale) {
            Some(text) => field.decimal(&text),
            None => field.refuse(format_args!("a decimal of {} bytes", value.len())),
        },
        _ => field.bytes(value),
    }
}

fn binary_json(value: &[u8], logical: Logical, out: &mut String) {
    if let Logical::Decimal { scale } = logical
        && let Some(text) = decimal(value, scale)
    {
        out.push_str(&text);
        return;
    }
    let hex: String = value.iter().map(|byte| format!("{byte:02x}")).collect();
    quote(&hex, out);
}

fn float(value: f64, text: &str, out: &mut String) {
    if value.is_finite() {
        out.push_str(text);
    } else {
        let name = match value {
            f64::INFINITY => "Infinity",
            f64::NEG_INFINITY => "-Infinity",
            _ => "NaN",
        };
        quote(name, out);
    }
}

/// The text of a number in two's complement, the highest byte first.
fn decimal(value: &[u8], scale: usize) -> Option<String> {
    let fill = match value.first() {
        None => 0,
        Some(first) => {
            if first & 0x80 == 0 {
                0
            } else {
                0xFF
            }
        }
    };
    let cut = value.len().saturating_sub(32);
    if value[..cut].iter().any(|byte| *byte != fill) {
        return None;
    }
    let value = &value[cut..];
    let mut wide = [fill; 32];
    wide[32 - value.len()..].copy_from_slice(value);
    let text = i256::from_be_bytes(wide).to_string();
    if scale == 0 {
        return Some(text);
    }
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => ("-", digits),
        None => ("", text.as_str()),
    };
    let digits = format!("{digits:0>width$}", width = scale + 1);
    let (whole, fraction) = digits.split_at(digits.len() - scale);
    Some(format!("{sign}{whole}.{fraction}"))
}
