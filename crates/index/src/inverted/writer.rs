//! Write half of the inverted index: codes in document order → the documents of each code.
//!
//! A counting sort: two passes over the codes, no map. The lists ascend, each document is in
//! exactly one of them.

/// The documents of every code, one list after the other.
#[derive(Debug)]
pub struct Postings {
    starts: Vec<u32>,
    docs: Vec<u32>,
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
        Self { starts, docs }
    }

    pub fn cardinality(&self) -> u32 {
        self.starts.len() as u32 - 1
    }

    pub fn doc_count(&self) -> u32 {
        self.docs.len() as u32
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
