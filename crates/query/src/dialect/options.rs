//! Query options: names without regard to case, values as text until somebody asks for them.

use std::collections::BTreeMap;

use schemas::Fault;
use schemas::proto::ScanOptions;

/// Query options by lower-case name, as Pinot resolves them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options(pub BTreeMap<String, String>);

impl Options {
    pub fn set(&mut self, name: &str, value: &str) {
        let value = value.trim().trim_matches('\'').to_owned();
        self.0.insert(name.trim().to_lowercase(), value);
    }

    /// `k1=v1;k2=v2`, as clients send it; empty pieces are fine.
    pub fn set_all(&mut self, text: &str) {
        for piece in text.split(';') {
            if let Some((name, value)) = piece.split_once('=') {
                self.set(name, value);
            }
        }
    }

    pub fn flag(&self, name: &str) -> Option<bool> {
        self.0
            .get(&name.to_lowercase())
            .map(|value| value.eq_ignore_ascii_case("true"))
    }

    /// `None` when it is not set; a fault when it is no number.
    pub fn number(&self, name: &str) -> Result<Option<u64>, Fault> {
        let Some(value) = self.0.get(&name.to_lowercase()) else {
            return Ok(None);
        };
        let number = value.parse().map_err(|_| {
            Fault::invalid(format!(
                "option `{name}` takes a whole number, not `{value}`"
            ))
        });
        number.map(Some)
    }

    /// As [`Self::flag`], for options of ours: neither true nor false is a fault.
    pub fn switch(&self, name: &str) -> Result<Option<bool>, Fault> {
        let Some(value) = self.0.get(&name.to_lowercase()) else {
            return Ok(None);
        };
        match value.to_lowercase().as_str() {
            "true" => Ok(Some(true)),
            "false" => Ok(Some(false)),
            _ => Err(Fault::invalid(format!(
                "option `{name}` takes true or false, not `{value}`"
            ))),
        }
    }

    /// What servers are told. `maxExecutionThreads` is Pinot's name of `maxThreads`.
    pub(super) fn of_scan(&self) -> Result<ScanOptions, Fault> {
        let is_off = |name| self.switch(name).map(|switch| switch == Some(false));
        let threads_max = match self.number("maxThreads")? {
            Some(0) => return Err(Fault::invalid("option `maxThreads` takes at least 1")),
            Some(threads) => Some(threads),
            None => self.number("maxExecutionThreads")?,
        };
        let thread_rows = self.number("rowsPerThread")?.unwrap_or(0);
        let mut options = ScanOptions {
            without_native_operators: is_off("nativeOperators")?,
            without_star_trees: is_off("useStarTree")?,
            without_plan_templates: is_off("planTemplates")?,
            threads_max: threads_max.unwrap_or(0).try_into().unwrap_or(u32::MAX),
            thread_rows: thread_rows.try_into().unwrap_or(u32::MAX),
            replaced_rows: self.flag("skipUpsert") == Some(true),
            ..ScanOptions::default()
        };
        if let Some(list) = self.0.get("skipindexes") {
            options.skip_indexes(list)?;
        }
        Ok(options)
    }
}

#[cfg(test)]
mod tests {
    use schemas::proto::IndexKind;

    use super::*;

    #[test]
    fn servers_are_told_what_the_query_forbids() {
        let mut options = Options::default();
        assert_eq!(options.of_scan().unwrap(), ScanOptions::default());
        options.set_all("skipIndexes=a=sorted;useStarTree=False;maxThreads=2;rowsPerThread=9");
        options.set_all("skipUpsert=true;skipUpsertView=true");
        let scan = options.of_scan().unwrap();
        assert!(scan.replaced_rows);
        assert!(!scan.uses("a", IndexKind::Sorted) && scan.uses("b", IndexKind::Sorted));
        assert!(scan.without_star_trees && !scan.without_native_operators);
        assert_eq!((scan.threads_max, scan.thread_rows), (2, 9));
        for wrong in ["nativeOperators=1", "maxThreads=0", "skipIndexes=a=b"] {
            let mut options = Options::default();
            options.set_all(wrong);
            options.of_scan().unwrap_err();
        }
    }
}
