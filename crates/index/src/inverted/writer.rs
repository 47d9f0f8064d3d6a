//! Write half of the inverted index: codes in document order → the documents of each code.
//!
//! A counting sort: two passes over the codes, no map. The lists ascend; a document is in the list
//! of every code that it holds, once.

/// The documents of every code, one list after the other.
#[derive(Debug)]
pub struct Postings {
    starts: Vec<u32>,
    docs: Vec<u32>,
    doc_count: u32,
}

impl Postings {
    /// Every code must be `< cardinality`.
    pub fn from_codes(codes: &[u32], cardinality: u32) -> Self {
        let mut starts = vec![0_u32; cardinality as usize + 1];
        for code in codes {
            starts[*code as usize + 1] += 1;
        }
        for at in 1..starts.len() {
            starts[at] += starts[at - 1];
        }
        let mut next = starts.clone();
        let mut docs = vec![0_u32; codes.len()];
        for (doc, code) in codes.iter().enumerate() {
            let slot = &mut next[*code as usize];
            docs[*slot as usize] = doc as u32;
            *slot += 1;
        }
        Self {
            starts,
            docs,
            doc_count: codes.len() as u32,
        }
    }

    /// Of documents with several values: those of a document end at its place in `ends`. A
    /// document is once in the list of a code that it holds more than once.
    pub fn from_entries(ends: &[u32], codes: &[u32], cardinality: u32) -> Self {
        let mut starts = vec![0_u32; cardinality as usize + 1];
        let mut last = vec![u32::MAX; cardinality as usize];
        for_each_entry(ends, codes, |doc, code| {
            starts[code + 1] += u32::from(last[code] != doc);
            last[code] = doc;
        });
        for at in 1..starts.len() {
            starts[at] += starts[at - 1];
        }
        let mut next = starts.clone();
        let mut docs = vec![0_u32; starts[cardinality as usize] as usize];
        last.fill(u32::MAX);
        for_each_entry(ends, codes, |doc, code| {
            if last[code] != doc {
                docs[next[code] as usize] = doc;
                next[code] += 1;
                last[code] = doc;
            }
        });
        Self {
            starts,
            docs,
            doc_count: ends.len() as u32,
        }
    }

    pub fn cardinality(&self) -> u32 {
        self.starts.len() as u32 - 1
    }

    pub fn doc_count(&self) -> u32 {
        self.doc_count
    }

    /// All documents in the order of their codes, those of one code ascending: a stable sort.
    pub fn into_docs(self) -> Vec<u32> {
        self.docs
    }

    /// Documents of `code`, ascending.
    pub fn docs(&self, code: u32) -> &[u32] {
        let code = code as usize;
        &self.docs[self.starts[code] as usize..self.starts[code + 1] as usize]
    }
}

fn for_each_entry(ends: &[u32], codes: &[u32], mut each: impl FnMut(u32, usize)) {
    let mut start = 0;
    for (doc, end) in (0..).zip(ends) {
        for code in &codes[start..*end as usize] {
            each(doc, *code as usize);
        }
        start = *end as usize;
    }
}
