//! Messages of one type, in one pass over the bytes led by their descriptor.
//!
//! Fields become columns by name. A field without presence that is not there has its default, as
//! the language says; one with presence is null. Of a field that comes twice the last counts.
//! Nested messages and maps become JSON texts in Protobuf's own mapping; `Timestamp` is a time, and
//! wrappers are what they wrap.

use hashbrown::HashMap;
use prost_reflect::{
    DynamicMessage, EnumDescriptor, FieldDescriptor, Kind, MessageDescriptor, ReflectMessage,
};

use crate::coerce::Cell;
use crate::field::Field;
use crate::row::{Row, Target};

#[derive(Debug)]
pub(super) struct Protobuf {
    message: MessageDescriptor,
    /// By their numbers.
    fields: HashMap<u32, Step>,
    /// Columns of fields without presence, which have a default.
    defaults: Vec<(usize, FieldDescriptor)>,
    /// Values of the repeated fields of this message, by step.
    repeated: Vec<Vec<Cell>>,
    seen: Vec<bool>,
}

#[derive(Debug)]
struct Step {
    column: usize,
    field: FieldDescriptor,
    /// Place in `repeated` of a list for a column of several values.
    list: Option<usize>,
}

/// One value as it stands in the message.
#[derive(Clone, Copy, Debug)]
enum Wire<'a> {
    Varint(u64),
    Fixed64(u64),
    Bytes(&'a [u8]),
    Fixed32(u32),
}

impl Protobuf {
    pub(super) fn new(message: MessageDescriptor, target: &Target) -> Self {
        let mut fields = HashMap::new();
        let (mut defaults, mut lists) = (Vec::new(), 0);
        for field in message.fields() {
            let Some(column) = target.position(field.name()) else {
                continue;
            };
            let list = (field.is_list() && target.is_multi_value(column)).then_some(lists);
            lists += usize::from(list.is_some());
            if !field.supports_presence() && !field.is_list() && !field.is_map() {
                defaults.push((column, field.clone()));
            }
            fields.insert(
                field.number(),
                Step {
                    column,
                    field,
                    list,
                },
            );
        }
        Self {
            message,
            fields,
            defaults,
            repeated: vec![Vec::new(); lists],
            seen: vec![false; target.spec.columns.len()],
        }
    }

    pub(super) fn read(
        &mut self,
        target: &Target,
        row: &mut Row,
        payload: &[u8],
    ) -> Result<(), String> {
        self.seen.fill(false);
        self.repeated.iter_mut().for_each(Vec::clear);
        let (mut rest, mut whole) = (payload, None);
        while !rest.is_empty() {
            let tag = varint(&mut rest)?;
            let number = u32::try_from(tag >> 3).map_err(|_| "a field has no valid number")?;
            let value = wire(&mut rest, tag & 7, number)?;
            let (Some(step), Some(value)) = (self.fields.get(&number), value) else {
                continue;
            };
            let at = step.column;
            let is_first = !std::mem::replace(&mut self.seen[at], true);
            match step.list {
                Some(list) => {
                    let repeated = &mut self.repeated[list];
                    several(step, value, target, row, repeated)?;
                }
                // All of its parts are read at once.
                None if is_document(&step.field) && !is_first => {}
                None if is_document(&step.field) => {
                    let message = match &mut whole {
                        Some(message) => message,
                        None => whole.insert(document(&self.message, payload)?),
                    };
                    let text = text_of(message, &step.field)?;
                    row.cells[at] = target.field(at, &mut row.texts).json(&text)?;
                }
                None => {
                    let field = target.field(at, &mut row.texts);
                    row.cells[at] = one(&step.field, value, field)?;
                }
            }
        }
        for step in self.fields.values() {
            if let Some(list) = step.list {
                let from = row.entries.len();
                row.entries.extend_from_slice(&self.repeated[list]);
                row.cells[step.column] = row.list(from);
            }
        }
        for (at, field) in &self.defaults {
            if !self.seen[*at] {
                row.cells[*at] = default(field, target.field(*at, &mut row.texts))?;
            }
        }
        Ok(())
    }

    /// The whole message in Protobuf's JSON, with the names of the descriptor.
    pub(super) fn json(&self, payload: &[u8], out: &mut Vec<u8>) -> Result<(), String> {
        let message = document(&self.message, payload)?;
        let options = prost_reflect::SerializeOptions::new()
            .use_proto_field_name(true)
            .skip_default_fields(false)
            .stringify_64_bit_integers(false);
        let mut serializer = serde_json::Serializer::new(out);
        message
            .serialize_with_options(&mut serializer, &options)
            .map_err(|error| error.to_string())
    }
}

fn document(message: &MessageDescriptor, payload: &[u8]) -> Result<DynamicMessage, String> {
    DynamicMessage::decode(message.clone(), payload)
        .map_err(|error| format!("the message cannot be read: {error}"))
}

/// Whether a value is a message that is no time and no wrapper, or repeated for one column.
fn is_document(field: &FieldDescriptor) -> bool {
    let is_nested = match field.kind() {
        Kind::Message(message) => !is_plain(&message),
        _ => false,
    };
    is_nested || field.is_list() || field.is_map()
}

fn is_plain(message: &MessageDescriptor) -> bool {
    let Some(name) = message.full_name().strip_prefix("google.protobuf.") else {
        return false;
    };
    name == "Timestamp"
        || (name.ends_with("Value") && message.fields().len() == 1 && name != "Value")
}

fn text_of(message: &DynamicMessage, field: &FieldDescriptor) -> Result<String, String> {
    let options = prost_reflect::SerializeOptions::new()
        .use_proto_field_name(true)
        .stringify_64_bit_integers(false);
    let mut only = DynamicMessage::new(message.descriptor());
    only.set_field(field, message.get_field(field).into_owned());
    let json = only.serialize_with_options(serde_json::value::Serializer, &options);
    let json = json.map_err(|error| error.to_string())?;
    let value = json
        .get(field.name())
        .map_or("null".to_owned(), ToString::to_string);
    Ok(value)
}

fn several(
    step: &Step,
    value: Wire<'_>,
    target: &Target,
    row: &mut Row,
    into: &mut Vec<Cell>,
) -> Result<(), String> {
    let mut push = |value: Wire<'_>, row: &mut Row| {
        let cell = one(
            &step.field,
            value,
            target.field(step.column, &mut row.texts),
        )?;
        if !matches!(cell, Cell::Null) {
            into.push(cell);
        }
        Ok::<_, String>(())
    };
    let is_packed = match (&value, step.field.kind()) {
        (Wire::Bytes(_), Kind::String | Kind::Bytes | Kind::Message(_)) => false,
        (Wire::Bytes(_), _) => true,
        _ => false,
    };
    let Wire::Bytes(mut packed) = value else {
        return push(value, row);
    };
    if !is_packed {
        return push(value, row);
    }
    let wire_type = match step.field.kind() {
        Kind::Double | Kind::Fixed64 | Kind::Sfixed64 => 1,
        Kind::Float | Kind::Fixed32 | Kind::Sfixed32 => 5,
        _ => 0,
    };
    while !packed.is_empty() {
        if let Some(value) = wire(&mut packed, wire_type, step.field.number())? {
            push(value, row)?;
        }
    }
    Ok(())
}

fn one(descriptor: &FieldDescriptor, value: Wire<'_>, field: Field<'_>) -> Result<Cell, String> {
    let zigzag = |value: u64| (value >> 1) as i64 ^ -((value & 1) as i64);
    match (descriptor.kind(), value) {
        (Kind::Double, Wire::Fixed64(bits)) => field.float(f64::from_bits(bits)),
        (Kind::Float, Wire::Fixed32(bits)) => field.float(f32::from_bits(bits).into()),
        (Kind::Int32, Wire::Varint(value)) => field.integer((value as i32).into()),
        (Kind::Int64, Wire::Varint(value)) => field.integer(value as i64),
        (Kind::Uint32, Wire::Varint(value)) => field.integer((value as u32).into()),
        (Kind::Uint64, Wire::Varint(value)) => field.unsigned(value),
        (Kind::Sint32, Wire::Varint(value)) => field.integer((zigzag(value) as i32).into()),
        (Kind::Sint64, Wire::Varint(value)) => field.integer(zigzag(value)),
        (Kind::Fixed32, Wire::Fixed32(value)) => field.integer(value.into()),
        (Kind::Fixed64, Wire::Fixed64(value)) => field.unsigned(value),
        (Kind::Sfixed32, Wire::Fixed32(value)) => field.integer((value as i32).into()),
        (Kind::Sfixed64, Wire::Fixed64(value)) => field.integer(value as i64),
        (Kind::Bool, Wire::Varint(value)) => field.boolean(value != 0),
        (Kind::Enum(of), Wire::Varint(value)) => symbol(&of, value as i32, field),
        (Kind::String, Wire::Bytes(bytes)) => match std::str::from_utf8(bytes) {
            Ok(text) => field.text(text),
            Err(error) => Err(format!("`{}` is not UTF-8: {error}", descriptor.name())),
        },
        (Kind::Bytes, Wire::Bytes(bytes)) => field.bytes(bytes),
        (Kind::Message(message), Wire::Bytes(bytes)) if is_plain(&message) => {
            plain(&message, bytes, field)
        }
        (Kind::Message(message), Wire::Bytes(bytes)) => {
            let message = document(&message, bytes)?;
            let options = prost_reflect::SerializeOptions::new()
                .use_proto_field_name(true)
                .stringify_64_bit_integers(false);
            let json = message.serialize_with_options(serde_json::value::Serializer, &options);
            let json = json.map_err(|error| error.to_string())?;
            field.json(&json.to_string())
        }
        _ => Err(format!(
            "the field `{}` is written as another type than the descriptor has",
            descriptor.name()
        )),
    }
}

/// A name where a text is wanted, else the number.
fn symbol(of: &EnumDescriptor, number: i32, field: Field<'_>) -> Result<Cell, String> {
    use schemas::DataType;
    match (field.column.data_type, of.get_value(number)) {
        (DataType::String | DataType::Json, Some(value)) => field.text(value.name()),
        _ => field.integer(number.into()),
    }
}

/// A time, or what is wrapped.
fn plain(message: &MessageDescriptor, bytes: &[u8], field: Field<'_>) -> Result<Cell, String> {
    let (mut rest, mut first, mut second) = (bytes, None, None);
    while !rest.is_empty() {
        let tag = varint(&mut rest)?;
        let number = u32::try_from(tag >> 3).map_err(|_| "a field has no valid number")?;
        match (number, wire(&mut rest, tag & 7, number)?) {
            (1, value) => first = value,
            (2, value) => second = value,
            _ => {}
        }
    }
    if message.full_name() == "google.protobuf.Timestamp" {
        let number = |value| match value {
            Some(Wire::Varint(value)) => value as i64,
            _ => 0,
        };
        let ms = number(first).checked_mul(1_000);
        let ms = ms.and_then(|ms| ms.checked_add(number(second) / 1_000_000));
        return field.instant(ms, ms.unwrap_or_default());
    }
    let inner = message.get_field(1).ok_or("a wrapper without a field")?;
    match first {
        Some(value) => one(&inner, value, field),
        None => default(&inner, field),
    }
}

fn default(descriptor: &FieldDescriptor, field: Field<'_>) -> Result<Cell, String> {
    match descriptor.kind() {
        Kind::Double | Kind::Float => field.float(0.0),
        Kind::Bool => field.boolean(false),
        Kind::String => field.text(""),
        Kind::Bytes => field.bytes(&[]),
        Kind::Enum(of) => symbol(&of, 0, field),
        Kind::Message(_) => Ok(Cell::Null),
        _ => field.integer(0),
    }
}

const CUT_OFF: &str = "the message ends within a field";

/// `None`: a group, which is passed.
fn wire<'a>(rest: &mut &'a [u8], wire_type: u64, number: u32) -> Result<Option<Wire<'a>>, String> {
    Ok(Some(match wire_type {
        0 => Wire::Varint(varint(rest)?),
        1 => Wire::Fixed64(u64::from_le_bytes(take(rest)?)),
        5 => Wire::Fixed32(u32::from_le_bytes(take(rest)?)),
        2 => {
            let length = varint(rest)?;
            let length = usize::try_from(length).ok();
            let taken = length.and_then(|length| rest.split_at_checked(length));
            let (bytes, after) = taken.ok_or(CUT_OFF)?;
            *rest = after;
            Wire::Bytes(bytes)
        }
        3 => {
            skip_group(rest, number)?;
            return Ok(None);
        }
        other => return Err(format!("the field {number} has the wire type {other}")),
    }))
}

/// Up to the end of the group, groups within it among them.
fn skip_group(rest: &mut &[u8], number: u32) -> Result<(), String> {
    let mut open = vec![u64::from(number)];
    while let Some(innermost) = open.last() {
        let tag = varint(rest)?;
        match tag & 7 {
            3 if open.len() < 64 => open.push(tag >> 3),
            3 => return Err("groups are nested deeper than 64".to_owned()),
            4 if tag >> 3 == *innermost => drop(open.pop()),
            4 => return Err("a group ends that did not begin".to_owned()),
            wire_type => drop(wire(rest, wire_type, number)?),
        }
    }
    Ok(())
}

fn take<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], String> {
    let (taken, after) = rest.split_first_chunk().ok_or(CUT_OFF)?;
    *rest = after;
    Ok(*taken)
}

fn varint(rest: &mut &[u8]) -> Result<u64, String> {
    let mut value = 0u64;
    for shift in (0..70).step_by(7) {
        let (byte, after) = rest.split_first().ok_or(CUT_OFF)?;
        *rest = after;
        value |= u64::from(byte & 0x7F).checked_shl(shift).unwrap_or(0);
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err("a number of the message has more than 64 bits".to_owned())
}
