//! Avro records: binary, with the schema that they were written with, which is the table's own or
//! that of a registry.
//!
//! Fields become columns by name: what the writer has more is skipped, what it has less is null.

mod cursor;
mod reader;
mod schema;

use hashbrown::HashMap;

use crate::debezium::{self, Op};
use crate::decoder::Taken;
use crate::registry::{AVRO, Schemas};
use crate::row::{Row, Target};
use reader::{Direct, Reader, Step};
use schema::{Kind, NodeId, Schema};

#[derive(Debug)]
pub(crate) struct Avro {
    /// For messages that name no schema.
    own: Option<Program>,
    /// By the id of their schema in the registry; the error is why there is none.
    known: HashMap<u32, Result<Program, String>>,
    envelope: bool,
}

/// A writer's schema and where its fields go.
#[derive(Debug)]
struct Program {
    schema: Schema,
    layout: Layout,
}

#[derive(Debug)]
enum Layout {
    Record(Vec<Step>),
    Change(Change),
}

/// A record of Debezium's: where its fields stand, and the steps of the row in it.
#[derive(Debug)]
struct Change {
    fields: Vec<(Part, NodeId)>,
    rows: HashMap<NodeId, Vec<Step>>,
    /// As `rows`, of `source`.
    sources: HashMap<NodeId, Vec<Step>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Before,
    After,
    Op,
    TsMs,
    Source,
    Other,
}

impl Avro {
    pub(crate) fn new(
        schema: Option<&str>,
        envelope: bool,
        target: &Target,
    ) -> Result<Self, String> {
        let own = schema.map(|schema| Program::new(&[schema.to_owned()], envelope, target));
        Ok(Self {
            own: own.transpose()?,
            known: HashMap::new(),
            envelope,
        })
    }

    pub(crate) fn is_envelope(&self) -> bool {
        self.envelope
    }

    pub(crate) fn knows(&self, id: u32) -> bool {
        self.known.get(&id).is_some_and(Result::is_ok)
    }

    pub(crate) fn learn(&mut self, id: u32, found: Result<Schemas, String>, target: &Target) {
        let texts = found.and_then(|schemas| schemas.of_kind(AVRO, id));
        let program = texts.and_then(|texts| {
            let texts: Vec<String> = texts.into_iter().map(|(_, text)| text).collect();
            Program::new(&texts, self.envelope, target)
                .map_err(|reason| format!("the schema {id} cannot be used: {reason}"))
        });
        self.known.insert(id, program);
    }

    /// The whole record as JSON.
    pub(crate) fn json(
        &self,
        id: Option<u32>,
        record: &[u8],
        out: &mut String,
    ) -> Result<(), String> {
        let schema = &self.program(id)?.schema;
        let mut reader = Reader::new(schema, record);
        reader.json(schema.root, out, 0)?;
        ended(&reader)
    }

    pub(crate) fn read(
        &self,
        id: Option<u32>,
        target: &Target,
        row: &mut Row,
        record: &[u8],
    ) -> Result<Taken, String> {
        self.program(id)?.read(target, row, record)
    }

    fn program(&self, id: Option<u32>) -> Result<&Program, String> {
        match (id.and_then(|id| self.known.get(&id)), &self.own) {
            (Some(Ok(program)), _) => Ok(program),
            (Some(Err(reason)), _) => Err(reason.clone()),
            (None, Some(own)) => Ok(own),
            (None, None) => {
                let id = id.map_or("none".to_owned(), |id| id.to_string());
                Err(format!("the schema of the message ({id}) is not known"))
            }
        }
    }
}

/// Takes apart records that stand one after the other, as in a block of a container file.
#[derive(Debug)]
pub(crate) struct Splitter(Schema);

impl Splitter {
    pub(crate) fn new(schema: &str) -> Result<Self, String> {
        schema::parse(&[schema.to_owned()]).map(Self)
    }

    pub(crate) fn split(&self, block: &[u8], count: usize) -> Result<Vec<Vec<u8>>, String> {
        let mut rest = block;
        let mut records = Vec::new();
        for _ in 0..count {
            let mut reader = Reader::new(&self.0, rest);
            reader.skip(self.0.root, 0)?;
            let after = reader.cursor.rest();
            let (record, _) = rest.split_at(rest.len() - after.len());
            if record.is_empty() && records.len() > block.len() {
                return Err("a block has more records than bytes".to_owned());
            }
            records.push(record.to_vec());
            rest = after;
        }
        match rest.len() {
            0 => Ok(records),
            left => Err(format!(
                "{left} bytes are left behind the records of a block"
            )),
        }
    }

    pub(crate) fn json(&self, record: &[u8]) -> Result<Vec<u8>, String> {
        let mut out = String::new();
        Reader::new(&self.0, record).json(self.0.root, &mut out, 0)?;
        Ok(out.into_bytes())
    }
}

fn ended(reader: &Reader<'_>) -> Result<(), String> {
    match reader.cursor.rest().len() {
        0 => Ok(()),
        left => Err(format!(
            "{left} bytes are left after the record: it was written with another schema"
        )),
    }
}

impl Program {
    /// The last schema, which may refer to those before it.
    fn new(schemas: &[String], envelope: bool, target: &Target) -> Result<Self, String> {
        let schema = schema::parse(schemas)?;
        let Kind::Record(fields) = &schema.nodes[schema.root].kind else {
            return Err("the schema is no record".to_owned());
        };
        let layout = match envelope {
            false => Layout::Record(steps(&schema, fields, target, |name| target.position(name))),
            true => Layout::Change(Change::new(&schema, fields, target)?),
        };
        Ok(Self { schema, layout })
    }

    fn read(&self, target: &Target, row: &mut Row, record: &[u8]) -> Result<Taken, String> {
        let mut reader = Reader::new(&self.schema, record);
        let taken = match &self.layout {
            Layout::Record(steps) => {
                reader.record(steps, target, row)?;
                Taken::Row
            }
            Layout::Change(change) => change.read(&mut reader, target, row)?,
        };
        ended(&reader)?;
        Ok(taken)
    }
}

fn steps(
    schema: &Schema,
    fields: &[(String, NodeId)],
    target: &Target,
    column_of: impl Fn(&str) -> Option<usize>,
) -> Vec<Step> {
    let step = |(name, node): &(String, NodeId)| {
        let column = column_of(name);
        let direct = column.map(|at| Direct::of(&schema.nodes[*node], at, target));
        Step {
            node: *node,
            column,
            several: column.is_some_and(|at| target.is_multi_value(at)),
            direct: direct.unwrap_or(Direct::No),
        }
    };
    fields.iter().map(step).collect()
}

impl Change {
    fn new(schema: &Schema, fields: &[(String, NodeId)], target: &Target) -> Result<Self, String> {
        let (mut rows, mut sources) = (HashMap::new(), HashMap::new());
        let columns = debezium::source_columns(target);
        let part = |(name, node): &(String, NodeId)| {
            let part = match name.as_str() {
                "before" => Part::Before,
                "after" => Part::After,
                "op" => Part::Op,
                "ts_ms" => Part::TsMs,
                "source" if !columns.is_empty() => Part::Source,
                _ => Part::Other,
            };
            let branches = match &schema.nodes[*node].kind {
                Kind::Union(branches) => branches.as_slice(),
                _ => std::slice::from_ref(node),
            };
            for branch in branches {
                let Kind::Record(fields) = &schema.nodes[*branch].kind else {
                    continue;
                };
                if matches!(part, Part::Before | Part::After) {
                    let steps = steps(schema, fields, target, |name| target.position(name));
                    rows.insert(*branch, steps);
                } else if part == Part::Source {
                    let steps = steps(schema, fields, target, |name| columns.get(name).copied());
                    sources.insert(*branch, steps);
                }
            }
            (part, *node)
        };
        let fields: Vec<(Part, NodeId)> = fields.iter().map(part).collect();
        let has = |wanted| fields.iter().any(|(part, _)| *part == wanted);
        if !has(Part::Op) || !has(Part::After) {
            return Err("the schema is no envelope of Debezium's: `op`, `after`".to_owned());
        }
        Ok(Self {
            fields,
            rows,
            sources,
        })
    }

    /// The images come before the operation: they are passed first, and the one that counts is
    /// read then.
    fn read(
        &self,
        reader: &mut Reader<'_>,
        target: &Target,
        row: &mut Row,
    ) -> Result<Taken, String> {
        let (mut before, mut after, mut op, mut ts_ms) = (None, None, None, None);
        let mut source = None;
        for (part, node) in &self.fields {
            let at = reader.cursor.rest();
            match part {
                Part::Before => before = Some((at, *node)),
                Part::After => after = Some((at, *node)),
                Part::Source => source = Some((at, *node)),
                Part::Op => {
                    let node = reader.branch(*node, 0)?;
                    op = match &reader.schema.nodes[node].kind {
                        Kind::String => Some(reader.cursor.text()?),
                        Kind::Enum(symbols) => {
                            Some(symbols[reader.cursor.index(symbols.len())?].as_str())
                        }
                        _ => return Err("`op` is no text".to_owned()),
                    };
                    continue;
                }
                Part::TsMs => {
                    let node = reader.branch(*node, 0)?;
                    if let Kind::Long = reader.schema.nodes[node].kind {
                        ts_ms = Some(reader.cursor.long()?);
                    } else {
                        reader.skip(node, 0)?;
                    }
                    continue;
                }
                Part::Other => {}
            }
            reader.skip(*node, 0)?;
        }
        let name = op.ok_or("the message is no change of Debezium's: it has no `op`")?;
        let kind = debezium::op(name)?;
        let image = match kind {
            Op::Other => return Ok(Taken::Nothing),
            Op::Upsert => after.ok_or("the change has no `after`")?,
            Op::Delete => before.ok_or("the delete has no `before`")?,
        };
        let (at, node) = image;
        let mut inner = Reader::new(reader.schema, at);
        let node = inner.branch(node, 0)?;
        let steps = self.rows.get(&node).ok_or(match kind {
            Op::Delete => "the delete has no `before`",
            _ => "the change has no `after`",
        })?;
        inner.record(steps, target, row)?;
        debezium::describe(target, row, name, kind, ts_ms)?;
        if let Some((at, node)) = source {
            let mut inner = Reader::new(reader.schema, at);
            let node = inner.branch(node, 0)?;
            if let Some(steps) = self.sources.get(&node) {
                inner.record(steps, target, row)?;
            }
        }
        Ok(Taken::Row)
    }
}

#[cfg(test)]
mod tests;
