//! Avro schemas as readers walk them: a list of nodes that refer to each other by place, so that
//! named and recursive types cost nothing.

use hashbrown::HashMap;
use serde_json::{Map, Value as Json};

pub(super) type NodeId = usize;

#[derive(Debug)]
pub(super) struct Schema {
    pub(super) nodes: Vec<Node>,
    pub(super) root: NodeId,
}

#[derive(Debug)]
pub(super) struct Node {
    pub(super) kind: Kind,
    pub(super) logical: Logical,
}

#[derive(Debug)]
pub(super) enum Kind {
    Null,
    Boolean,
    Int,
    Long,
    Float,
    Double,
    Bytes,
    String,
    Fixed(usize),
    Enum(Vec<String>),
    Array(NodeId),
    Map(NodeId),
    Union(Vec<NodeId>),
    Record(Vec<(String, NodeId)>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Logical {
    None,
    Decimal { scale: usize },
    Date,
    Millis,
    Micros,
    Nanos,
}

/// What a schema may hold at most, records within records as often as they are written.
const NODES_MAX: usize = 100_000;

/// The last of `texts`; what it refers to is in those before it.
pub(super) fn parse(texts: &[String]) -> Result<Schema, String> {
    let mut parser = Parser::default();
    let mut root = None;
    for text in texts {
        let json: Json = serde_json::from_str(text)
            .map_err(|error| format!("the schema is no JSON: {error}"))?;
        root = Some(parser.node(&json, None)?);
    }
    Ok(Schema {
        nodes: parser.nodes,
        root: root.ok_or("there is no schema")?,
    })
}

#[derive(Default)]
struct Parser {
    nodes: Vec<Node>,
    /// Full names of what was defined.
    named: HashMap<String, NodeId>,
}

impl Parser {
    fn add(&mut self, kind: Kind, logical: Logical) -> Result<NodeId, String> {
        if self.nodes.len() == NODES_MAX {
            return Err(format!("the schema has more than {NODES_MAX} types"));
        }
        self.nodes.push(Node { kind, logical });
        Ok(self.nodes.len() - 1)
    }

    fn node(&mut self, json: &Json, space: Option<&str>) -> Result<NodeId, String> {
        match json {
            Json::String(name) => self.by_name(name, space),
            Json::Array(branches) => {
                let branches = branches.iter().map(|branch| self.node(branch, space));
                let branches = branches.collect::<Result<Vec<_>, _>>()?;
                self.add(Kind::Union(branches), Logical::None)
            }
            Json::Object(object) => self.object(object, space),
            other => Err(format!("{other} is no schema")),
        }
    }

    fn by_name(&mut self, name: &str, space: Option<&str>) -> Result<NodeId, String> {
        if let Some(kind) = primitive(name) {
            return self.add(kind, Logical::None);
        }
        let full = full_name(name, space);
        let known = self.named.get(&full).or_else(|| self.named.get(name));
        known
            .copied()
            .ok_or_else(|| format!("the schema names the type `{name}` and has none"))
    }

    fn object(
        &mut self,
        object: &Map<String, Json>,
        space: Option<&str>,
    ) -> Result<NodeId, String> {
        let kind = object
            .get("type")
            .ok_or("a type of the schema has no `type`")?;
        let Json::String(kind) = kind else {
            return self.node(kind, space);
        };
        let logical = logical(object);
        match kind.as_str() {
            "record" | "error" => self.record(object, space),
            "enum" => {
                let symbols = object.get("symbols").and_then(Json::as_array);
                let symbols = symbols.ok_or("an enum of the schema has no `symbols`")?;
                let symbols = symbols.iter().filter_map(Json::as_str).map(str::to_owned);
                let node = self.add(Kind::Enum(symbols.collect()), Logical::None)?;
                self.define(object, space, node)?;
                Ok(node)
            }
            "fixed" => {
                let size = object.get("size").and_then(Json::as_u64);
                let size = size.ok_or("a fixed of the schema has no `size`")?;
                let size = usize::try_from(size).map_err(|error| error.to_string())?;
                let node = self.add(Kind::Fixed(size), logical)?;
                self.define(object, space, node)?;
                Ok(node)
            }
            "array" => {
                let items = object
                    .get("items")
                    .ok_or("an array of the schema has no `items`")?;
                let items = self.node(items, space)?;
                self.add(Kind::Array(items), Logical::None)
            }
            "map" => {
                let values = object
                    .get("values")
                    .ok_or("a map of the schema has no `values`")?;
                let values = self.node(values, space)?;
                self.add(Kind::Map(values), Logical::None)
            }
            name => match primitive(name) {
                Some(kind) => self.add(kind, logical),
                None => self.by_name(name, space),
            },
        }
    }

    fn record(
        &mut self,
        object: &Map<String, Json>,
        space: Option<&str>,
    ) -> Result<NodeId, String> {
        let node = self.add(Kind::Record(Vec::new()), Logical::None)?;
        let full = self.define(object, space, node)?;
        let space = full.rsplit_once('.').map(|(space, _)| space);
        let fields = object.get("fields").and_then(Json::as_array);
        let fields = fields.ok_or_else(|| format!("the record `{full}` has no `fields`"))?;
        let mut own = Vec::with_capacity(fields.len());
        for field in fields {
            let name = field.get("name").and_then(Json::as_str);
            let name = name.ok_or_else(|| format!("a field of `{full}` has no `name`"))?;
            let of = field.get("type");
            let of = of.ok_or_else(|| format!("the field `{name}` of `{full}` has no `type`"))?;
            own.push((name.to_owned(), self.node(of, space)?));
        }
        self.nodes[node].kind = Kind::Record(own);
        Ok(node)
    }

    fn define(
        &mut self,
        object: &Map<String, Json>,
        space: Option<&str>,
        node: NodeId,
    ) -> Result<String, String> {
        let name = object.get("name").and_then(Json::as_str);
        let name = name.ok_or("a named type of the schema has no `name`")?;
        let own = object.get("namespace").and_then(Json::as_str);
        let full = full_name(name, own.or(space));
        self.named.insert(full.clone(), node);
        Ok(full)
    }
}

fn full_name(name: &str, space: Option<&str>) -> String {
    match space {
        Some(space) if !name.contains('.') && !space.is_empty() => format!("{space}.{name}"),
        _ => name.to_owned(),
    }
}

fn primitive(name: &str) -> Option<Kind> {
    Some(match name {
        "null" => Kind::Null,
        "boolean" => Kind::Boolean,
        "int" => Kind::Int,
        "long" => Kind::Long,
        "float" => Kind::Float,
        "double" => Kind::Double,
        "bytes" => Kind::Bytes,
        "string" => Kind::String,
        _ => return None,
    })
}

/// A logical type that is not known, or does not fit, is left aside, as the specification wants.
/// Kafka Connect's own names mean the same.
fn logical(object: &Map<String, Json>) -> Logical {
    let name = |key: &str| object.get(key).and_then(Json::as_str);
    let connect = match name("connect.name") {
        Some("io.debezium.time.Date" | "org.apache.kafka.connect.data.Date") => Logical::Date,
        Some("io.debezium.time.Timestamp" | "org.apache.kafka.connect.data.Timestamp") => {
            Logical::Millis
        }
        Some("io.debezium.time.MicroTimestamp") => Logical::Micros,
        Some("io.debezium.time.NanoTimestamp") => Logical::Nanos,
        _ => Logical::None,
    };
    match name("logicalType") {
        Some("decimal") => {
            let scale = object.get("scale").and_then(Json::as_u64).unwrap_or(0);
            match usize::try_from(scale) {
                Ok(scale) if scale <= 76 => Logical::Decimal { scale },
                _ => connect,
            }
        }
        Some("date") => Logical::Date,
        Some("timestamp-millis" | "local-timestamp-millis") => Logical::Millis,
        Some("timestamp-micros" | "local-timestamp-micros") => Logical::Micros,
        Some("timestamp-nanos" | "local-timestamp-nanos") => Logical::Nanos,
        _ => connect,
    }
}
