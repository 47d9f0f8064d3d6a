//! What can be wrong with the bytes of an index.

#[derive(Debug, thiserror::Error)]
pub enum CorruptIndex {
    #[error("{wanted} bytes wanted, {got} found")]
    Length { wanted: u64, got: u64 },
    #[error("{wanted} buffers wanted, {got} found")]
    Buffers { wanted: u32, got: u32 },
    #[error("the bytes do not begin with `{expected}`")]
    WrongMagic { expected: &'static str },
    #[error("offset {index} is out of order")]
    OffsetsDecrease { index: u32 },
    #[error("the bitmap of code {code} cannot be read")]
    Bitmap { code: u32, source: std::io::Error },
    #[error("the bitmap of code {code} names document {doc} of {docs}")]
    DocOutOfRange { code: u32, doc: u32, docs: u32 },
    #[error("the documents of code {code} do not ascend")]
    DocsDescend { code: u32 },
    #[error("code {code} is out of range: the dictionary has {cardinality} values")]
    CodeOutOfRange { code: u32, cardinality: u32 },
    #[error("block {index} cannot be unpacked")]
    Block { index: u32 },
    #[error("block {index} holds a text that is not UTF-8")]
    BlockNotUtf8 { index: u32 },
    #[error("its description cannot be used: {what}")]
    Description { what: String },
    #[error("{what} {number} is out of range: there are {limit}")]
    NumberOutOfRange {
        what: &'static str,
        number: u32,
        limit: u32,
    },
    #[error("value {index} of the dictionary cannot be unpacked")]
    Prefix { index: u32 },
    #[error("value {index} of the dictionary is not UTF-8")]
    NotUtf8 { index: u32 },
    #[error("{what}")]
    Sketch { what: String },
    #[error("the text index cannot be read: {0}")]
    Text(String),
    #[error("the JSON index cannot be read: {0}")]
    Json(&'static str),
}

#[derive(Debug, thiserror::Error)]
#[error("{what} would be larger than {limit} bytes")]
pub struct IndexTooLarge {
    pub what: &'static str,
    pub limit: u64,
}
