//! By which columns a table is partitioned: Pinot's `segmentPartitionConfig`.

use std::collections::BTreeMap;

use super::super::Schema;
use super::super::reader::{Node, Report};
use super::Marked;
use crate::partition::{Murmur3, PartitionFunction, Partitioning};
use crate::table::ColumnSpec;

#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct ColumnPartitionings(Vec<(Marked, Partitioning)>);

impl ColumnPartitionings {
    pub(super) fn read(indexes: Node<'_>, report: &mut Report) -> Self {
        let path = indexes.path("segmentPartitionConfig");
        let Some(config) = indexes.object("segmentPartitionConfig", report) else {
            return Self::default();
        };
        let config = Node::new(config, &path);
        config.only(&["columnPartitionMap"], report);
        let Some(columns) = config.object("columnPartitionMap", report) else {
            return Self::default();
        };
        let path = config.path("columnPartitionMap");
        let columns = Node::new(columns, &path);
        let mut found = Self::default();
        for name in columns.object.keys() {
            let path = columns.path(name);
            if let Some(options) = columns.object(name, report)
                && let Some(by) = partitioning(Node::new(options, &path), report)
            {
                let column = name.clone();
                found.0.push((Marked { path, column }, by));
            }
        }
        found
    }

    pub(super) fn check(&self, schema: &Schema, report: &mut Report) {
        let columns = schema.columns.iter();
        let columns: BTreeMap<&str, &ColumnSpec> = columns
            .map(|column| (column.name.as_str(), column))
            .collect();
        for (mark, _) in &self.0 {
            match columns.get(mark.column.as_str()) {
                None => report.fault(&mark.path, format!("there is no column `{}`", mark.column)),
                Some(column) if !goes(column) => report.warn_without_effect(&mark.path),
                Some(_) => {}
            }
        }
    }

    pub(super) fn set(&self, columns: &mut [ColumnSpec]) {
        for column in columns {
            let meant = self.0.iter().find(|(mark, _)| mark.column == column.name);
            let by = meant.map(|(_, by)| *by);
            column.partitioning = by.filter(|_| goes(column));
        }
    }
}

fn goes(column: &ColumnSpec) -> bool {
    !column.multi_value && PartitionFunction::goes_with(column.data_type)
}

fn partitioning(options: Node<'_>, report: &mut Report) -> Option<Partitioning> {
    options.only(&["functionName", "numPartitions", "functionConfig"], report);
    for key in ["functionName", "numPartitions"] {
        if options.get(key).is_none() {
            report.fault(&options.path(key), "missing");
        }
    }
    let partitions = options.number("numPartitions", report)?;
    let Some(partitions) = u32::try_from(partitions).ok().filter(|count| *count > 0) else {
        let what = format!("{partitions} is no number of partitions");
        report.fault(&options.path("numPartitions"), what);
        return None;
    };
    let name = options.text("functionName", report)?;
    let function = match name.to_lowercase().as_str() {
        "modulo" => PartitionFunction::Modulo,
        "murmur" | "murmur2" => PartitionFunction::Murmur,
        "murmur3" => murmur3(options, report)?,
        "hashcode" => PartitionFunction::HashCode,
        "bytearray" => PartitionFunction::ByteArray,
        _ => {
            // It tells which segments to leave out: without it all are read.
            report.warn_without_effect(&format!("{}: `{name}`", options.path("functionName")));
            return None;
        }
    };
    if !matches!(function, PartitionFunction::Murmur3 { .. })
        && options.says_something("functionConfig")
    {
        report.warn_without_effect(&options.path("functionConfig"));
        return None;
    }
    Some(Partitioning {
        function,
        partitions,
    })
}

fn murmur3(options: Node<'_>, report: &mut Report) -> Option<PartitionFunction> {
    let mut seed = 0;
    let mut variant = Murmur3::X86;
    if let Some(config) = options.object("functionConfig", report) {
        let path = options.path("functionConfig");
        let config = Node::new(config, &path);
        config.only(&["seed", "variant"], report);
        let given = |key: &str| config.get(key).is_some_and(|value| value != "");
        if given("seed") {
            let number = config.number("seed", report)?;
            let Ok(number) = i32::try_from(number) else {
                report.fault(
                    &config.path("seed"),
                    format!("{number} has more than 32 bits"),
                );
                return None;
            };
            seed = number;
        }
        if given("variant") {
            let name = config.text("variant", report)?;
            let known = [Murmur3::X86, Murmur3::X64];
            let Some(known) = known.into_iter().find(|known| known.name() == name) else {
                let what = format!("`{name}` is neither x86_32 nor x64_32");
                report.fault(&config.path("variant"), what);
                return None;
            };
            variant = known;
        }
    }
    Some(PartitionFunction::Murmur3 { seed, variant })
}
