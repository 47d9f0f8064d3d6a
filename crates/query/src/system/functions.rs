//! `sys.functions`: what can be called, with the words of its documentation.

use arrow::array::RecordBatch;
use datafusion::common::Result;
use datafusion::execution::SessionState;
use datafusion::logical_expr::Documentation;

use super::described::{batch, texts};
use super::text;

struct Described {
    name: String,
    kind: &'static str,
    syntax: String,
    description: String,
    /// Of an alias, what it stands for.
    alias_of: String,
}

impl Described {
    fn new(
        called: &str,
        kind: &'static str,
        name: &str,
        documentation: Option<&Documentation>,
    ) -> Self {
        Self {
            name: called.to_owned(),
            kind,
            syntax: documentation.map_or_else(String::new, |d| d.syntax_example.clone()),
            description: documentation.map_or_else(String::new, |d| d.description.clone()),
            alias_of: match called == name {
                true => String::new(),
                false => name.to_owned(),
            },
        }
    }
}

pub(super) fn functions(session: &SessionState) -> Result<RecordBatch> {
    let scalar = session.scalar_functions().iter();
    let scalar = scalar.map(|(called, function)| {
        Described::new(called, "scalar", function.name(), function.documentation())
    });
    let aggregate = session.aggregate_functions().iter();
    let aggregate = aggregate.map(|(called, function)| {
        let documentation = function.documentation();
        Described::new(called, "aggregate", function.name(), documentation)
    });
    let window = session.window_functions().iter();
    let window = window.map(|(called, function)| {
        Described::new(called, "window", function.name(), function.documentation())
    });
    let mut all: Vec<Described> = scalar.chain(aggregate).chain(window).collect();
    // What is called by operators alone has a name that nobody can write.
    all.retain(|function| !function.name.starts_with('$'));
    all.sort_by(|a, b| (&a.name, a.kind).cmp(&(&b.name, b.kind)));
    let of = |each: fn(&Described) -> &str| texts(all.iter().map(each));
    batch(vec![
        (text("function"), of(|f| &f.name)),
        (text("kind"), of(|f| f.kind)),
        (text("syntax"), of(|f| &f.syntax)),
        (text("description"), of(|f| &f.description)),
        (text("alias_of"), of(|f| &f.alias_of)),
    ])
}
