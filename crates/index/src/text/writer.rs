//! Write half of the text index: texts in the order of documents → the files of the index.
//!
//! The same texts give the same bytes: the random name that tantivy gives its segment is replaced.

use std::path::PathBuf;

use tantivy::directory::RamDirectory;
use tantivy::schema::{Field, IndexRecordOption, Schema, TextFieldIndexing, TextOptions};
use tantivy::store::Compressor;
use tantivy::tokenizer::{PreTokenizedString, Token, TokenStream, Tokenizer, TokenizerManager};
use tantivy::{
    Directory, Index, IndexBuilder, IndexSettings, SingleSegmentIndexWriter, TantivyDocument,
    TantivyError,
};

use super::Analyzer;
use super::analyzer::VALUE_GAP;

pub(super) const FIELD: &str = "text";
const META: &str = "meta.json";
/// What is kept, in this order: the list of segments, then the files of the segment by their
/// endings.
pub(super) const FILES: [&str; 7] = [META, "term", "idx", "pos", "fast", "fieldnorm", "store"];
const TOKENIZER: &str = "own";
/// Sets the size of the first hash table, no limit.
const MEMORY_BYTES: usize = 64 << 20;
const SEGMENT_NAME: &str = "00000000000000000000000000000000";
const SEGMENT_HYPHENED: &str = "00000000-0000-0000-0000-000000000000";

/// Where tantivy looks for one of [`FILES`].
pub(super) fn path_of(file: &str) -> PathBuf {
    match file {
        META => META.into(),
        ending => format!("{SEGMENT_NAME}.{ending}").into(),
    }
}

#[derive(Debug, thiserror::Error)]
#[error("the text index cannot be built: {0}")]
pub struct TextIndexFault(#[from] TantivyError);

pub struct TextIndexWriter {
    writer: SingleSegmentIndexWriter<TantivyDocument>,
    directory: RamDirectory,
    field: Field,
    analyzer: Analyzer,
}

impl std::fmt::Debug for TextIndexWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TextIndexWriter").finish_non_exhaustive()
    }
}

impl TextIndexWriter {
    pub fn new(analyzer: Analyzer) -> Result<Self, TextIndexFault> {
        let indexing = TextFieldIndexing::default()
            .set_tokenizer(TOKENIZER)
            .set_index_option(IndexRecordOption::WithFreqsAndPositions)
            .set_fieldnorms(false);
        let mut schema = Schema::builder();
        let options = TextOptions::default().set_indexing_options(indexing);
        let field = schema.add_text_field(FIELD, options);
        let tokenizers = TokenizerManager::new();
        tokenizers.register(TOKENIZER, Words::new(analyzer.clone()));
        let settings = IndexSettings {
            // Nothing is stored; what tantivy writes for each document is all the same.
            docstore_compression: Compressor::Lz4,
            docstore_compress_dedicated_thread: false,
            ..IndexSettings::default()
        };
        let directory = RamDirectory::create();
        let writer = IndexBuilder::new()
            .schema(schema.build())
            .settings(settings)
            .tokenizers(tokenizers)
            .single_segment_index_writer(directory.clone(), MEMORY_BYTES)?;
        Ok(Self {
            writer,
            directory,
            field,
            analyzer,
        })
    }

    /// Adds the next document, which has one value.
    pub fn add(&mut self, text: &str) -> Result<(), TextIndexFault> {
        let mut document = TantivyDocument::new();
        document.add_text(self.field, text);
        Ok(self.writer.add_document(document)?)
    }

    /// Adds the next document, which has these values.
    pub fn add_values<'a>(
        &mut self,
        values: impl IntoIterator<Item = &'a str>,
    ) -> Result<(), TextIndexFault> {
        let mut tokens = Vec::new();
        let mut base = 0;
        for value in values {
            let next = self.analyzer.each_token(value, |word, at| {
                tokens.push(Token {
                    position: (base + at) as usize,
                    text: word.to_owned(),
                    ..Token::default()
                });
            });
            base += next + VALUE_GAP;
        }
        let mut document = TantivyDocument::new();
        let text = String::new();
        document.add_pre_tokenized_text(self.field, PreTokenizedString { text, tokens });
        Ok(self.writer.add_document(document)?)
    }

    /// The files of the index, in a fixed order.
    pub fn finish(self) -> Result<Vec<Vec<u8>>, TextIndexFault> {
        let index = self.writer.finalize()?;
        let [plain, hyphened] = segment_name(&index)?;
        let mut files = Vec::with_capacity(FILES.len());
        for file in FILES {
            let path = match file {
                META => META.into(),
                ending => PathBuf::from(format!("{plain}.{ending}")),
            };
            let bytes = match file {
                META => {
                    let text = self
                        .directory
                        .atomic_read(&path)
                        .map_err(TantivyError::from)?;
                    let text = String::from_utf8_lossy(&text).into_owned();
                    let text = text.replace(&hyphened, SEGMENT_HYPHENED);
                    text.replace(&plain, SEGMENT_NAME).into_bytes()
                }
                _ => {
                    let file = self
                        .directory
                        .open_read(&path)
                        .map_err(TantivyError::from)?;
                    file.read_bytes().map_err(TantivyError::from)?.to_vec()
                }
            };
            files.push(bytes);
        }
        Ok(files)
    }
}

/// The random name of the segment, as files and as the list of segments have it.
fn segment_name(index: &Index) -> Result<[String; 2], TantivyError> {
    let metas = index.searchable_segment_metas()?;
    let id = metas.first().map(|meta| meta.id().uuid_string());
    let plain = id.unwrap_or_default();
    let hyphened = match plain.len() {
        32 => [
            &plain[..8],
            &plain[8..12],
            &plain[12..16],
            &plain[16..20],
            &plain[20..],
        ]
        .join("-"),
        _ => plain.clone(),
    };
    Ok([plain, hyphened])
}

/// Our analyzer in tantivy's form.
#[derive(Clone)]
struct Words {
    analyzer: Analyzer,
    /// The words of the text at hand, one after the other, with their ends and positions.
    letters: String,
    words: Vec<(usize, u32)>,
}

impl Words {
    fn new(analyzer: Analyzer) -> Self {
        Self {
            analyzer,
            letters: String::new(),
            words: Vec::new(),
        }
    }
}

impl Tokenizer for Words {
    type TokenStream<'a> = WordStream<'a>;

    fn token_stream<'a>(&'a mut self, text: &'a str) -> WordStream<'a> {
        let Self {
            analyzer,
            letters,
            words,
        } = self;
        letters.clear();
        words.clear();
        analyzer.each_token(text, |word, at| {
            letters.push_str(word);
            words.push((letters.len(), at));
        });
        WordStream {
            letters,
            words: words.iter(),
            start: 0,
            token: Token::default(),
        }
    }
}

struct WordStream<'a> {
    letters: &'a str,
    words: std::slice::Iter<'a, (usize, u32)>,
    start: usize,
    token: Token,
}

impl TokenStream for WordStream<'_> {
    fn advance(&mut self) -> bool {
        let Some((end, position)) = self.words.next() else {
            return false;
        };
        self.token.text.clear();
        self.token.text.push_str(&self.letters[self.start..*end]);
        self.token.position = *position as usize;
        self.start = *end;
        true
    }

    fn token(&self) -> &Token {
        &self.token
    }

    fn token_mut(&mut self) -> &mut Token {
        &mut self.token
    }
}
