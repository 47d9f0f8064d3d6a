//! Protobuf messages by their descriptor: the config's own, or the `.proto` that a registry has for
//! the id of a message.
//!
//! Invariant: a schema is compiled once, and what is wrong with it is told with each of its
//! messages.

mod message;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hashbrown::HashMap;
use prost_reflect::{DescriptorPool, FileDescriptor, MessageDescriptor};
use protox::Compiler;
use protox::file::{ChainFileResolver, File, FileResolver, GoogleFileResolver};
use schemas::decoding::Descriptor;

use crate::framing::Framed;
use crate::registry::{PROTOBUF, Schemas};
use crate::row::{Row, Target};
use message::Protobuf;

/// What the compiler takes of messages within messages.
const NESTED_MAX: usize = 64;

#[derive(Debug)]
pub(crate) struct Protobufs {
    /// Of all messages, unless the registry tells.
    own: Option<Protobuf>,
    /// Full name of the message; empty: that to which the indexes of a message point.
    name: String,
    /// By their ids in the registry; the error is why there is none.
    files: HashMap<u32, Result<FileDescriptor, String>>,
    known: HashMap<(u32, Vec<u32>), Protobuf>,
}

impl Protobufs {
    pub(crate) fn new(
        descriptor: &Descriptor,
        name: &str,
        target: &Target,
    ) -> Result<Self, String> {
        let bytes = match descriptor {
            Descriptor::Registry => None,
            Descriptor::File(path) => {
                let path = path.strip_prefix("file://").unwrap_or(path);
                let read = std::fs::read(path);
                Some(
                    read.map_err(|error| {
                        format!("the descriptor `{path}` cannot be read: {error}")
                    })?,
                )
            }
            Descriptor::Inline(text) => {
                let decoded = STANDARD.decode(text.trim());
                Some(decoded.map_err(|error| format!("the descriptor is not base64: {error}"))?)
            }
        };
        let own = bytes.map(|bytes| {
            let pool = DescriptorPool::decode(bytes.as_slice())
                .map_err(|error| format!("the descriptor is no FileDescriptorSet: {error}"))?;
            Ok::<_, String>(Protobuf::new(named(&pool, name)?, target))
        });
        Ok(Self {
            own: own.transpose()?,
            name: name.to_owned(),
            files: HashMap::new(),
            known: HashMap::new(),
        })
    }

    pub(crate) fn knows(&self, id: u32) -> bool {
        self.own.is_some() || self.files.get(&id).is_some_and(Result::is_ok)
    }

    pub(crate) fn learn(&mut self, id: u32, found: Result<Schemas, String>) {
        let file = found
            .and_then(|schemas| schemas.of_kind(PROTOBUF, id))
            .and_then(|texts| {
                compiled(id, texts)
                    .map_err(|reason| format!("the schema {id} cannot be used: {reason}"))
            });
        self.known.retain(|(of, _), _| *of != id);
        self.files.insert(id, file);
    }

    pub(crate) fn read(
        &mut self,
        framed: &Framed<'_>,
        target: &Target,
        row: &mut Row,
    ) -> Result<(), String> {
        self.message(framed, target)?
            .read(target, row, framed.record)
    }

    /// The whole message in Protobuf's JSON.
    pub(crate) fn json(
        &mut self,
        framed: &Framed<'_>,
        target: &Target,
        out: &mut Vec<u8>,
    ) -> Result<(), String> {
        self.message(framed, target)?.json(framed.record, out)
    }

    fn message(&mut self, framed: &Framed<'_>, target: &Target) -> Result<&mut Protobuf, String> {
        if let Some(own) = &mut self.own {
            return Ok(own);
        }
        let unknown = "the schema of the message is not known";
        let id = framed.id.ok_or(unknown)?;
        let file = match self.files.get(&id).ok_or(unknown)? {
            Ok(file) => file,
            Err(reason) => return Err(reason.clone()),
        };
        // By reference: a key that is there is not made again.
        let key = (id, framed.indexes.clone());
        if !self.known.contains_key(&key) {
            let message = match self.name.as_str() {
                "" => pointed_to(file, &framed.indexes)?,
                name => named(file.parent_pool(), name)?,
            };
            self.known
                .insert(key.clone(), Protobuf::new(message, target));
        }
        self.known.get_mut(&key).ok_or_else(|| unknown.to_owned())
    }
}

fn named(pool: &DescriptorPool, name: &str) -> Result<MessageDescriptor, String> {
    pool.get_message_by_name(name).ok_or_else(|| {
        let known: Vec<String> = pool
            .all_messages()
            .map(|message| message.full_name().to_owned())
            .collect();
        format!(
            "the descriptor has no message `{name}`, but: {}",
            known.join(", ")
        )
    })
}

fn pointed_to(file: &FileDescriptor, indexes: &[u32]) -> Result<MessageDescriptor, String> {
    let missing = || format!("the schema has no message at {indexes:?}");
    let (first, within) = indexes.split_first().unwrap_or((&0, &[]));
    let mut message = file.messages().nth(*first as usize).ok_or_else(missing)?;
    for index in within {
        let inner = message.child_messages().nth(*index as usize);
        message = inner.ok_or_else(missing)?;
    }
    Ok(message)
}

/// Files by the names under which they are imported.
#[derive(Debug)]
struct Texts(HashMap<String, String>);

impl FileResolver for Texts {
    fn open_file(&self, name: &str) -> Result<File, protox::Error> {
        match self.0.get(name) {
            Some(text) => File::from_source(name, text),
            None => Err(protox::Error::file_not_found(name)),
        }
    }
}

/// The last of the texts.
fn compiled(id: u32, mut texts: Vec<(String, String)>) -> Result<FileDescriptor, String> {
    if texts.iter().any(|(_, text)| deepest(text) > NESTED_MAX) {
        return Err(format!("it is nested deeper than {NESTED_MAX}"));
    }
    let name = format!("schema-{id}.proto");
    if let Some(last) = texts.last_mut() {
        last.0.clone_from(&name);
    }
    let mut resolver = ChainFileResolver::new();
    resolver.add(Texts(texts.into_iter().collect()));
    resolver.add(GoogleFileResolver::new());
    let mut compiler = Compiler::with_file_resolver(resolver);
    compiler.include_imports(true);
    compiler
        .open_file(&name)
        .map_err(|error| error.to_string())?;
    let pool = compiler.descriptor_pool();
    pool.get_file_by_name(&name)
        .ok_or_else(|| "it gives no descriptor".to_owned())
}

/// Braces within braces, wherever they stand.
fn deepest(text: &str) -> usize {
    let (mut open, mut most) = (0_usize, 0);
    for byte in text.bytes() {
        match byte {
            b'{' | b'[' | b'(' | b'<' => open += 1,
            b'}' | b']' | b')' | b'>' => open = open.saturating_sub(1),
            _ => {}
        }
        most = most.max(open);
    }
    most
}

#[cfg(test)]
mod tests;
