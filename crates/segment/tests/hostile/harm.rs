//! Changes of a file, after which all its checksums are right.

use serde_json::Value;

use super::good::good;

/// One change.
#[derive(Clone, Copy, Debug)]
pub(super) enum Harm {
    /// A byte of an array.
    Byte { at: u64, value: u8 },
    /// Four bytes of an array become a number that is often a limit.
    Word { at: u64, value: u32 },
    /// A number of the footer.
    Number { at: u64, value: u64 },
    /// A text of the footer becomes another one of it.
    Text { at: u64, value: u64 },
    /// Two buffers of the footer change places.
    Swap { one: u64, other: u64 },
}

pub(super) fn harmed(harms: &[Harm]) -> (Vec<u8>, u32) {
    let good = good();
    let footer_at = u64::from_le_bytes(good[40..48].try_into().unwrap()) as usize;
    let mut arrays = good[..footer_at].to_vec();
    let mut footer: Value = serde_json::from_slice(&good[footer_at..]).unwrap();
    for harm in harms {
        match *harm {
            Harm::Byte { at, value } => {
                let at = 64 + at as usize % (arrays.len() - 64);
                arrays[at] = value;
            }
            Harm::Word { at, value } => {
                let at = 64 + at as usize % (arrays.len() - 64) / 4 * 4;
                arrays[at..at + 4].copy_from_slice(&value.to_le_bytes());
            }
            Harm::Number { at, value } => {
                let mut numbers = Vec::new();
                numbers_of(&mut footer, &mut numbers);
                let at = at as usize % numbers.len();
                *numbers[at] = value.into();
            }
            Harm::Text { at, value } => {
                let mut texts = Vec::new();
                texts_of(&mut footer, &mut texts);
                let other = texts[value as usize % texts.len()].clone();
                let at = at as usize % texts.len();
                *texts[at] = other;
            }
            Harm::Swap { one, other } => {
                let mut buffers = Vec::new();
                buffers_of(&mut footer, &mut buffers);
                let (one, other) = (one as usize % buffers.len(), other as usize % buffers.len());
                let kept = buffers[one].clone();
                *buffers[one] = std::mem::replace(buffers[other], kept);
            }
        }
    }
    sealed_again(arrays, footer)
}

/// With checksums that are right.
fn sealed_again(mut arrays: Vec<u8>, mut footer: Value) -> (Vec<u8>, u32) {
    let mut buffers = Vec::new();
    buffers_of(&mut footer, &mut buffers);
    for buffer in buffers {
        let number = |key: &str| buffer[key].as_u64().unwrap_or(0) as usize;
        let start = number("offset");
        let end = start.saturating_add(number("bytes").saturating_add(63) / 64 * 64);
        if let Some(bytes) = arrays.get(start..end) {
            buffer["crc"] = crc32c::crc32c(bytes).into();
        }
    }
    let footer = serde_json::to_vec(&footer).unwrap();
    let crc = crc32c::crc32c(&footer);
    arrays[12..16].copy_from_slice(&crc.to_le_bytes());
    arrays[48..56].copy_from_slice(&(footer.len() as u64).to_le_bytes());
    let header_crc = crc32c::crc32c(&arrays[..60]);
    arrays[60..64].copy_from_slice(&header_crc.to_le_bytes());
    arrays.extend_from_slice(&footer);
    (arrays, crc)
}

fn numbers_of<'a>(value: &'a mut Value, numbers: &mut Vec<&'a mut Value>) {
    match value {
        Value::Number(_) => numbers.push(value),
        Value::Array(values) => values.iter_mut().for_each(|v| numbers_of(v, numbers)),
        Value::Object(fields) => fields.values_mut().for_each(|v| numbers_of(v, numbers)),
        _ => {}
    }
}

fn texts_of<'a>(value: &'a mut Value, texts: &mut Vec<&'a mut Value>) {
    match value {
        Value::String(_) => texts.push(value),
        Value::Array(values) => values.iter_mut().for_each(|v| texts_of(v, texts)),
        Value::Object(fields) => fields.values_mut().for_each(|v| texts_of(v, texts)),
        _ => {}
    }
}

fn buffers_of<'a>(value: &'a mut Value, buffers: &mut Vec<&'a mut Value>) {
    match value {
        Value::Object(fields) if fields.contains_key("crc") => buffers.push(value),
        Value::Object(fields) => fields.values_mut().for_each(|v| buffers_of(v, buffers)),
        Value::Array(values) => values.iter_mut().for_each(|v| buffers_of(v, buffers)),
        _ => {}
    }
}
