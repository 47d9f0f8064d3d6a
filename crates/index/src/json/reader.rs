//! Read half of the JSON index: a filter → documents; a path → the value of each document.
//!
//! [`JsonIndexReader::open`] checks the frame once: keys ascend and are UTF-8, there is a posting
//! list for each, starts ascend and end at the last record.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Arc, Weak};

use bytes::Bytes;
use parking_lot::Mutex;
use roaring::{MultiOps, RoaringBitmap};

use super::filter::Check;
use super::{JsonFilter, JsonPath};
use crate::CorruptIndex;
use crate::inverted::InvertedReader;

#[derive(Clone, Debug)]
pub struct JsonIndexReader {
    offsets: Bytes,
    keys: Bytes,
    postings: InvertedReader,
    starts: Option<Bytes>,
    docs: u32,
    /// What was found for a question, while somebody holds it.
    found: Arc<Mutex<HashMap<String, Weak<Extracted>>>>,
}

impl JsonIndexReader {
    /// The parts in the order of the grammar.
    pub fn open(parts: Vec<Bytes>) -> Result<Self, CorruptIndex> {
        let mut parts = parts.into_iter();
        let (offsets, keys, postings) = match (parts.next(), parts.next(), parts.next()) {
            (Some(offsets), Some(keys), Some(postings)) => (offsets, keys, postings),
            _ => return Err(CorruptIndex::Json("it has fewer than three parts")),
        };
        let starts = parts.next();
        let postings = InvertedReader::open(postings)?;
        let reader = Self {
            docs: match &starts {
                Some(starts) => (starts.len() / 4).saturating_sub(1) as u32,
                None => postings.doc_count(),
            },
            offsets,
            keys,
            postings,
            starts,
            found: Arc::default(),
        };
        reader.check_keys()?;
        reader.check_starts()?;
        Ok(reader)
    }

    fn check_keys(&self) -> Result<(), CorruptIndex> {
        let wanted = (u64::from(self.postings.cardinality()) + 1) * 4;
        if self.offsets.len() as u64 != wanted {
            return Err(CorruptIndex::Length {
                wanted,
                got: self.offsets.len() as u64,
            });
        }
        let mut previous = 0;
        for index in 0..=self.postings.cardinality() {
            let offset = number(&self.offsets, index);
            if offset < previous || (index == 0 && offset != 0) {
                return Err(CorruptIndex::OffsetsDecrease { index });
            }
            previous = offset;
        }
        if previous as usize != self.keys.len() {
            return Err(CorruptIndex::Length {
                wanted: u64::from(previous),
                got: self.keys.len() as u64,
            });
        }
        let is_utf8 = |code: &u32| std::str::from_utf8(self.key_bytes(*code)).is_ok();
        match (0..self.postings.cardinality()).find(|code| !is_utf8(code)) {
            Some(index) => Err(CorruptIndex::NotUtf8 { index }),
            None => Ok(()),
        }
    }

    fn check_starts(&self) -> Result<(), CorruptIndex> {
        let records = self.postings.doc_count();
        let Some(starts) = &self.starts else {
            return Ok(());
        };
        let wanted = (u64::from(self.docs) + 1) * 4;
        if starts.len() as u64 != wanted {
            return Err(CorruptIndex::Length {
                wanted,
                got: starts.len() as u64,
            });
        }
        let mut previous = None;
        for doc in 0..=self.docs {
            let start = number(starts, doc);
            if previous.map_or(start != 0, |previous| start <= previous) {
                return Err(CorruptIndex::OffsetsDecrease { index: doc });
            }
            previous = Some(start);
        }
        match previous == Some(records) {
            true => Ok(()),
            false => Err(CorruptIndex::Json("its records end elsewhere")),
        }
    }

    pub fn doc_count(&self) -> u32 {
        self.docs
    }

    /// Reads every list.
    pub fn verify(&self) -> Result<(), CorruptIndex> {
        (0..self.postings.cardinality()).try_for_each(|code| self.postings.docs(code).map(drop))
    }

    /// Documents for which the filter holds.
    pub fn search(&self, filter: &JsonFilter) -> Result<RoaringBitmap, CorruptIndex> {
        match filter {
            // No need to go back to records.
            JsonFilter::Not(inner) => Ok(self.all(self.docs) - self.search(inner)?),
            _ => Ok(self.documents_of(self.records(filter)?)),
        }
    }

    /// As [`Self::values`], once for all who ask the same, which `asked` tells of path and filter.
    /// Others wait meanwhile.
    pub fn shared_values(
        &self,
        asked: &str,
        path: &JsonPath,
        filter: Option<&JsonFilter>,
    ) -> Result<Arc<Extracted>, CorruptIndex> {
        let mut found = self.found.lock();
        if let Some(known) = found.get(asked).and_then(Weak::upgrade) {
            return Ok(known);
        }
        found.retain(|_, held| held.strong_count() > 0);
        let values = Arc::new(self.values(path, filter)?);
        found.insert(asked.to_owned(), Arc::downgrade(&values));
        Ok(values)
    }

    /// What a path holds in each document: of the first record that has a value there and fulfils
    /// the filter.
    pub fn values(
        &self,
        path: &JsonPath,
        filter: Option<&JsonFilter>,
    ) -> Result<Extracted, CorruptIndex> {
        let mut values = Vec::new();
        let mut of_doc = vec![(u32::MAX, u32::MAX); self.docs as usize];
        let places = self.places(path)?;
        let passes = filter.map(|filter| self.records(filter)).transpose()?;
        for code in self.codes_of(path.key()) {
            let mut records = self.postings.docs(code)?;
            if let Some(places) = &places {
                records &= places;
            }
            if let Some(passes) = &passes {
                records &= passes;
            }
            if records.is_empty() {
                continue;
            }
            let number = values.len() as u32;
            values.push(self.value(code, path.key()).to_owned());
            self.each_document(&records, |doc, record| {
                let known = &mut of_doc[doc as usize];
                // The first record that has one.
                if record < known.1 {
                    *known = (number, record);
                }
            });
        }
        let none = values.len() as u32;
        let codes = of_doc.into_iter().map(|(number, _)| number.min(none));
        Ok(Extracted {
            codes: codes.collect(),
            values,
        })
    }

    fn records(&self, filter: &JsonFilter) -> Result<RoaringBitmap, CorruptIndex> {
        match filter {
            JsonFilter::And(parts) => {
                let mut found: Option<RoaringBitmap> = None;
                for part in parts {
                    if found.as_ref().is_some_and(RoaringBitmap::is_empty) {
                        break;
                    }
                    let more = self.records(part)?;
                    found = Some(match found {
                        Some(found) => found & more,
                        None => more,
                    });
                }
                Ok(found.unwrap_or_default())
            }
            JsonFilter::Or(parts) => parts.iter().map(|part| self.records(part)).union(),
            JsonFilter::Not(inner) => {
                let documents = self.all(self.docs) - self.search(inner)?;
                Ok(self.records_of(&documents))
            }
            JsonFilter::Test(path, check) => self.test(path, check),
        }
    }

    fn test(&self, path: &JsonPath, check: &Check) -> Result<RoaringBitmap, CorruptIndex> {
        let places = self.places(path)?;
        if places.as_ref().is_some_and(RoaringBitmap::is_empty) {
            return Ok(RoaringBitmap::new());
        }
        let key = path.key();
        let mut found = match check {
            Check::Exists => match self.find(key.as_bytes()) {
                Ok(code) => self.postings.docs(code)?,
                Err(_) => RoaringBitmap::new(),
            },
            Check::OneOf(values) => {
                let mut codes: Vec<u32> = values
                    .iter()
                    .filter_map(|value| self.find(&pair(key, value)).ok())
                    .collect();
                codes.sort_unstable();
                codes.dedup();
                self.postings.docs_of_any(codes)?
            }
            check => {
                let codes = self.codes_of(key);
                self.postings
                    .docs_of_any(codes.filter(|code| check.holds(self.value(*code, key))))?
            }
        };
        if let Some(places) = places {
            found &= places;
        }
        Ok(found)
    }

    /// Records with all the places that the path names; `None`: it names none.
    fn places(&self, path: &JsonPath) -> Result<Option<RoaringBitmap>, CorruptIndex> {
        let mut found: Option<RoaringBitmap> = None;
        for (key, place) in path.places() {
            let more = match self.find(&pair(key, place)) {
                Ok(code) => self.postings.docs(code)?,
                Err(_) => RoaringBitmap::new(),
            };
            found = Some(match found {
                Some(found) => found & more,
                None => more,
            });
        }
        Ok(found)
    }

    /// Codes of the values at a path.
    fn codes_of(&self, path: &str) -> Range<u32> {
        let from = self.find(&pair(path, "")).unwrap_or_else(|after| after);
        let mut end = path.as_bytes().to_vec();
        end.push(1);
        let to = self.find(&end).unwrap_or_else(|after| after);
        from..to.max(from)
    }

    fn value(&self, code: u32, path: &str) -> &str {
        let key = self.key_bytes(code);
        let value = key.get(path.len() + 1..).unwrap_or_default();
        std::str::from_utf8(value).unwrap_or_default()
    }

    fn key_bytes(&self, code: u32) -> &[u8] {
        let from = number(&self.offsets, code) as usize;
        let to = number(&self.offsets, code + 1) as usize;
        &self.keys[from..to]
    }

    fn find(&self, key: &[u8]) -> Result<u32, u32> {
        let (mut low, mut high) = (0, self.postings.cardinality());
        while low < high {
            let middle = low + (high - low) / 2;
            match self.key_bytes(middle).cmp(key) {
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Greater => high = middle,
                std::cmp::Ordering::Equal => return Ok(middle),
            }
        }
        Err(low)
    }

    fn all(&self, count: u32) -> RoaringBitmap {
        let mut all = RoaringBitmap::new();
        all.insert_range(0..count);
        all
    }

    fn documents_of(&self, records: RoaringBitmap) -> RoaringBitmap {
        if self.starts.is_none() {
            return records;
        }
        let mut documents = Vec::new();
        self.each_document(&records, |doc, _| {
            if documents.last() != Some(&doc) {
                documents.push(doc);
            }
        });
        RoaringBitmap::from_sorted_iter(documents).expect("documents ascend with their records")
    }

    fn records_of(&self, documents: &RoaringBitmap) -> RoaringBitmap {
        let Some(starts) = &self.starts else {
            return documents.clone();
        };
        let mut records = RoaringBitmap::new();
        for doc in documents {
            records.insert_range(number(starts, doc)..number(starts, doc + 1));
        }
        records
    }

    /// Document and record, both ascending.
    fn each_document(&self, records: &RoaringBitmap, mut visit: impl FnMut(u32, u32)) {
        let Some(starts) = &self.starts else {
            records.iter().for_each(|record| visit(record, record));
            return;
        };
        let mut doc = 0;
        let mut next = 0;
        for record in records {
            if record >= next {
                doc = last_at_or_before(starts, doc, self.docs, record);
                next = number(starts, doc + 1);
            }
            visit(doc, record);
        }
    }
}

/// What a path holds in each document.
#[derive(Debug, PartialEq, Eq)]
pub struct Extracted {
    pub values: Vec<String>,
    /// For each document the position in `values`; their number where there is no value.
    pub codes: Vec<u32>,
}

/// The document of a record: searched in steps that double, as records mostly lie close.
fn last_at_or_before(starts: &Bytes, from: u32, docs: u32, record: u32) -> u32 {
    let mut step = 1;
    let mut low = from;
    while low + step < docs && number(starts, low + step) <= record {
        low += step;
        step *= 2;
    }
    let mut high = docs.min(low.saturating_add(step));
    while low + 1 < high {
        let middle = low + (high - low) / 2;
        if number(starts, middle) <= record {
            low = middle;
        } else {
            high = middle;
        }
    }
    low
}

fn pair(path: &str, value: &str) -> Vec<u8> {
    [path.as_bytes(), &[0], value.as_bytes()].concat()
}

fn number(bytes: &Bytes, at: u32) -> u32 {
    let at = at as usize * 4;
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("a four-byte slice"))
}
