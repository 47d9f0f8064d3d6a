//! Write half of the JSON index: documents in their order → keys, postings and starts.
//!
//! Each distinct (path, value) is one number while documents are read; the keys are sorted once,
//! at the end.

use std::collections::HashMap;
use std::hash::BuildHasherDefault;

use super::flatten::{Entries, Flattening, records};
use crate::dictionary::DictionaryWriter;
use crate::inverted::{self, Postings};
use crate::{IndexTooLarge, forward};

#[derive(Debug)]
pub struct JsonIndexWriter {
    flattening: Flattening,
    keys: Keys,
    /// Entries of all records, one record after the other.
    entries: Vec<u32>,
    /// Where the entries of each record end.
    ends: Vec<u32>,
    /// First record of each document.
    starts: Vec<u32>,
}

type Hashed = BuildHasherDefault<std::hash::DefaultHasher>;

#[derive(Debug, Default)]
struct Keys {
    numbers: HashMap<Box<str>, u32, Hashed>,
    /// For each number that of its path.
    paths: Vec<u32>,
    scratch: String,
}

impl Keys {
    fn number(&mut self, path: Option<u32>) -> u32 {
        if let Some(number) = self.numbers.get(self.scratch.as_str()) {
            return *number;
        }
        let number = self.paths.len() as u32;
        self.paths.push(path.unwrap_or(number));
        self.numbers.insert(self.scratch.as_str().into(), number);
        number
    }
}

impl Entries for Keys {
    fn entry(&mut self, key: &str, value: &str, record: &mut Vec<u32>) {
        self.scratch.clear();
        self.scratch.push_str(key);
        self.scratch.push('\0');
        self.scratch.push_str(value);
        if let Some(number) = self.numbers.get(self.scratch.as_str()) {
            record.push(*number);
            return;
        }
        self.scratch.truncate(key.len());
        let path = self.number(None);
        self.scratch.push('\0');
        self.scratch.push_str(value);
        let number = self.number(Some(path));
        record.push(number);
    }
}

impl JsonIndexWriter {
    pub fn new(flattening: Flattening) -> Self {
        Self {
            flattening,
            keys: Keys::default(),
            entries: Vec::new(),
            ends: Vec::new(),
            starts: vec![0],
        }
    }

    /// Adds the next document; one that is no JSON has no values.
    pub fn add(&mut self, document: &str) -> Result<(), IndexTooLarge> {
        for record in records(document, &self.flattening, &mut self.keys) {
            // Each entry stands for its path too.
            for number in record {
                self.entries.push(number);
                self.entries.push(self.keys.paths[number as usize]);
            }
            self.ends.push(fits(self.entries.len())?);
        }
        self.starts.push(fits(self.ends.len())?);
        Ok(())
    }

    /// The parts of the grammar, in its order.
    pub fn finish(self) -> Result<Vec<Vec<u8>>, IndexTooLarge> {
        let mut sorted: Vec<(Box<str>, u32)> = self.keys.numbers.into_iter().collect();
        sorted.sort_unstable();
        let mut codes = vec![0; sorted.len()];
        let mut dictionary = DictionaryWriter::default();
        for (code, (key, number)) in (0..).zip(&sorted) {
            codes[*number as usize] = code;
            dictionary.push(key.as_bytes())?;
        }
        drop(sorted);
        let (offsets, keys) = dictionary.finish();
        let mut entries = self.entries;
        entries
            .iter_mut()
            .for_each(|entry| *entry = codes[*entry as usize]);
        let postings = Postings::from_entries(&self.ends, &entries, codes.len() as u32);
        let docs = self.starts.len() - 1;
        let mut parts = vec![
            forward::pack(offsets.iter().map(|offset| offset.to_le_bytes())),
            keys,
            inverted::serialize(&postings)?,
        ];
        if self.ends.len() != docs {
            let starts = self.starts.iter();
            parts.push(forward::pack(starts.map(|start| start.to_le_bytes())));
        }
        Ok(parts)
    }
}

fn fits(count: usize) -> Result<u32, IndexTooLarge> {
    u32::try_from(count).map_err(|_| IndexTooLarge {
        what: "a JSON index",
        limit: u64::from(u32::MAX),
    })
}
