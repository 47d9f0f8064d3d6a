//! What users read about a function: `docs/reference/functions.md` is made of it, and a test runs
//! its examples.

use datafusion::logical_expr::{DocSection, Documentation};

/// A call and its value, as text. Of a call the SELECT is left out.
pub(crate) type Example = (&'static str, &'static str);

/// Chapters of the reference page, in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Section {
    Time,
    Text,
    Url,
    Math,
    Bits,
    Logic,
    Arrays,
    Json,
    Conversion,
    Hash,
    Ip,
    Aggregate,
}

impl Section {
    #[cfg(test)]
    pub(crate) const ALL: [Self; 12] = [
        Self::Time,
        Self::Text,
        Self::Url,
        Self::Math,
        Self::Bits,
        Self::Logic,
        Self::Arrays,
        Self::Json,
        Self::Conversion,
        Self::Hash,
        Self::Ip,
        Self::Aggregate,
    ];

    pub(crate) const fn label(self) -> &'static str {
        match self {
            Self::Time => "Dates and times",
            Self::Text => "Texts",
            Self::Url => "URLs",
            Self::Math => "Numbers",
            Self::Bits => "Bits",
            Self::Logic => "Conditions and nulls",
            Self::Arrays => "Arrays and columns of several values",
            Self::Json => "JSON and full text",
            Self::Conversion => "Conversion",
            Self::Hash => "Hashes",
            Self::Ip => "IP addresses",
            Self::Aggregate => "Aggregates",
        }
    }
}

pub(crate) fn documentation(
    section: Section,
    syntax: &str,
    about: &str,
    examples: &[Example],
) -> Documentation {
    let section = DocSection {
        include: true,
        label: section.label(),
        description: None,
    };
    let examples = examples
        .iter()
        .map(|(call, value)| format!("> SELECT {call}\n{value}"));
    Documentation::builder(section, about, syntax)
        .with_sql_example(examples.collect::<Vec<_>>().join("\n"))
        .build()
}
