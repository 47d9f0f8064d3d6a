//! Text and JSON indexes: `fieldConfigList[].indexes.text` and `.json`, `indexTypes` with
//! `properties`, `tableIndexConfig.jsonIndexColumns` and `.jsonIndexConfigs`.

use serde_json::{Map, Value as Json};

use super::super::Schema;
use super::super::reader::{Node, Report};
use super::Marked;
use crate::table::{ColumnSpec, JsonIndexSpec, STOP_WORDS, TextAnalyzer, TextIndexSpec};
use crate::types::DataType;

/// Of `indexes.text`. The last are about Lucene's files and memory.
const TEXT_KEYS: [&str; 14] = [
    "stopWordsInclude",
    "stopWordsExclude",
    "luceneAnalyzerClass",
    "useANDForMultiTermTextIndexQueries",
    "disabled",
    "rawValue",
    "queryCache",
    "fst",
    "luceneUseCompoundFile",
    "luceneMaxBufferSizeMB",
    "luceneNRTCachingDirectoryMaxBufferSizeMB",
    "reuseMutableIndex",
    "useMultiTermPrefixFST",
    "caseSensitive",
];
const JSON_KEYS: [&str; 11] = [
    "maxLevels",
    "excludeArray",
    "disableCrossArrayUnnest",
    "includePaths",
    "excludePaths",
    "excludeFields",
    "indexPaths",
    "maxValueLength",
    "skipInvalidJson",
    "maxBytesSize",
    "disabled",
];

/// What the config asks for, column by column.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Search {
    text: Vec<(Marked, TextIndexSpec)>,
    json: Vec<(Marked, JsonIndexSpec)>,
}

pub(super) fn read(table: Node<'_>, indexes: Node<'_>, report: &mut Report) -> Search {
    let mut search = Search::default();
    // What is wrong with the list itself is said elsewhere.
    let fields = table.get("fieldConfigList").and_then(Json::as_array);
    for (at, field) in fields.into_iter().flatten().enumerate() {
        let Some(field) = field.as_object() else {
            continue;
        };
        let path = format!("fieldConfigList[{at}]");
        if let Some(name) = field.get("name").and_then(Json::as_str) {
            let mark = Marked {
                path: format!("{path}.name"),
                column: name.to_owned(),
            };
            read_field(Node::new(field, &path), mark, &mut search, report);
        }
    }
    read_json_lists(indexes, &mut search, report);
    search
}

fn read_field(field: Node<'_>, mark: Marked, search: &mut Search, report: &mut Report) {
    let empty = Map::new();
    let path = field.path("indexes");
    let indexes = field.get("indexes").and_then(Json::as_object);
    let indexes = Node::new(indexes.unwrap_or(&empty), &path);
    let is_on = |kind: &str| {
        let config = indexes.get(kind).and_then(Json::as_object)?;
        let is_off = config.get("disabled").and_then(Json::as_bool) == Some(true);
        (!is_off).then_some(config)
    };
    let typed = |kind: &str| {
        let one = field.get("indexType").and_then(Json::as_str);
        let many = field.get("indexTypes").and_then(Json::as_array);
        let many = many.into_iter().flatten().filter_map(Json::as_str);
        one.into_iter()
            .chain(many)
            .any(|found| found.eq_ignore_ascii_case(kind))
    };
    if let Some(config) = is_on("text") {
        let path = indexes.path("text");
        let config = Node::new(config, &path);
        config.only(&TEXT_KEYS, report);
        let spec = text(config, ["stopWordsInclude", "stopWordsExclude"], report);
        search.text.push((mark.clone(), spec));
    } else if typed("text") {
        let path = field.path("properties");
        let properties = field.get("properties").and_then(Json::as_object);
        let properties = Node::new(properties.unwrap_or(&empty), &path);
        let spec = text(properties, ["stopWordInclude", "stopWordExclude"], report);
        search.text.push((mark.clone(), spec));
    }
    if let Some(config) = is_on("json") {
        let path = indexes.path("json");
        search
            .json
            .push((mark, json(Node::new(config, &path), report)));
    } else if typed("json") {
        search.json.push((mark, JsonIndexSpec::default()));
    }
}

fn text(config: Node<'_>, [include, exclude]: [&str; 2], report: &mut Report) -> TextIndexSpec {
    let class = config
        .text("luceneAnalyzerClass", report)
        .unwrap_or_default();
    let analyzer = match class.rsplit('.').next().unwrap_or_default() {
        "" | "StandardAnalyzer" => TextAnalyzer::Standard,
        "WhitespaceAnalyzer" => TextAnalyzer::Whitespace,
        "KeywordAnalyzer" => TextAnalyzer::Keyword,
        "EnglishAnalyzer" => TextAnalyzer::English,
        _ => {
            let what = format!(
                "`{class}` is not supported: StandardAnalyzer, WhitespaceAnalyzer, \
                 KeywordAnalyzer or EnglishAnalyzer of Lucene"
            );
            report.fault(&config.path("luceneAnalyzerClass"), what);
            TextAnalyzer::Standard
        }
    };
    for key in ["enablePrefixSuffixMatchingInPhraseQueries", "caseSensitive"] {
        if config.flag(key, report) == Some(true) {
            report.fault(
                &config.path(key),
                "not supported yet: it would change answers",
            );
        }
    }
    let mut stop_words: Vec<String> = match analyzer {
        TextAnalyzer::Standard | TextAnalyzer::English => STOP_WORDS.map(str::to_owned).to_vec(),
        TextAnalyzer::Whitespace | TextAnalyzer::Keyword => Vec::new(),
    };
    let excluded = words(config, exclude, report);
    stop_words.retain(|word| !excluded.contains(word));
    stop_words.extend(words(config, include, report));
    stop_words.sort_unstable();
    stop_words.dedup();
    let key = "useANDForMultiTermTextIndexQueries";
    TextIndexSpec {
        analyzer,
        stop_words,
        all_terms: config.flag(key, report) == Some(true),
    }
}

/// A list, or words with commas between them.
fn words(config: Node<'_>, key: &str, report: &mut Report) -> Vec<String> {
    let texts = config.texts(key, report).into_iter();
    let words = texts.flat_map(|text| text.split(','));
    let words = words.map(|word| word.trim().to_lowercase());
    words.filter(|word| !word.is_empty()).collect()
}

fn read_json_lists(indexes: Node<'_>, search: &mut Search, report: &mut Report) {
    let mark = |key: &str, column: &str| Marked {
        path: indexes.path(key),
        column: column.to_owned(),
    };
    if let Some(configs) = indexes.object("jsonIndexConfigs", report) {
        let path = indexes.path("jsonIndexConfigs");
        let configs = Node::new(configs, &path);
        for column in configs.object.keys() {
            let Some(config) = configs.object(column, report) else {
                continue;
            };
            if config.get("disabled").and_then(Json::as_bool) != Some(true) {
                let path = configs.path(column);
                let spec = json(Node::new(config, &path), report);
                search.json.push((mark("jsonIndexConfigs", column), spec));
            }
        }
    }
    for column in indexes.texts("jsonIndexColumns", report) {
        let is_known = search.json.iter().any(|(known, _)| known.column == column);
        if !is_known {
            let spec = JsonIndexSpec::default();
            search.json.push((mark("jsonIndexColumns", column), spec));
        }
    }
}

fn json(config: Node<'_>, report: &mut Report) -> JsonIndexSpec {
    config.only(&JSON_KEYS, report);
    // -1 and 0 stand for no limit.
    let mut limit = |key: &str| {
        let number = config.number(key, report)?;
        u32::try_from(number).ok().filter(|number| *number > 0)
    };
    let levels_max = limit("maxLevels");
    let value_bytes_max = limit("maxValueLength").unwrap_or(0);
    if limit("maxBytesSize").is_some() {
        report.warn_without_effect(&config.path("maxBytesSize"));
    }
    let mut paths = |key: &str| {
        let paths: Vec<String> = config
            .texts(key, report)
            .into_iter()
            .map(str::to_owned)
            .collect();
        if let Some(wrong) = paths.iter().find(|path| !path.starts_with("$.")) {
            let what = format!("`{wrong}` is no path such as $.a.b or $.a[*].b");
            report.fault(&config.path(key), what);
        }
        paths
    };
    let (include_paths, exclude_paths) = (paths("includePaths"), paths("excludePaths"));
    if !include_paths.is_empty() && !exclude_paths.is_empty() {
        let what = "includePaths are given too: one of the two is enough";
        report.fault(&config.path("excludePaths"), what);
    }
    let fields = config.texts("excludeFields", report);
    let index_paths = config.texts("indexPaths", report);
    if let Some(wrong) = index_paths
        .iter()
        .find(|path| path.starts_with('$') || path.contains('['))
    {
        let what = format!(
            "`{wrong}` is no pattern such as a.b, a.* or a.**; elements of an array are an empty \
             step: a..b"
        );
        report.fault(&config.path("indexPaths"), what);
    }
    JsonIndexSpec {
        levels_max,
        exclude_array: config.flag("excludeArray", report) == Some(true),
        separate_arrays: config.flag("disableCrossArrayUnnest", report) == Some(true),
        include_paths,
        exclude_paths,
        exclude_fields: fields.into_iter().map(str::to_owned).collect(),
        value_bytes_max,
        index_paths: index_paths.into_iter().map(str::to_owned).collect(),
        marks_invalid: config.flag("skipInvalidJson", report) == Some(true),
    }
}

impl Search {
    /// Columns are there and hold what the index is for.
    pub(super) fn check(&self, schema: &Schema, report: &mut Report) {
        let text = self
            .text
            .iter()
            .map(|(mark, _)| (mark, "text", DataType::String));
        let json = self
            .json
            .iter()
            .map(|(mark, _)| (mark, "JSON", DataType::Json));
        for (mark, kind, also) in text.chain(json) {
            let found = schema
                .columns
                .iter()
                .find(|column| column.name == mark.column);
            match found {
                None => {
                    let what = format!("there is no column `{}`", mark.column);
                    report.fault(&mark.path, what);
                }
                Some(column) => {
                    let fits = [DataType::String, also].contains(&column.data_type);
                    if !fits || (kind == "JSON" && column.multi_value) {
                        let what = format!(
                            "column `{}` is {}: no {kind} index goes with it",
                            column.name, column.data_type
                        );
                        report.fault(&mark.path, what);
                    }
                }
            }
        }
    }

    pub(super) fn apply(&self, columns: &mut [ColumnSpec]) {
        for column in columns {
            let text = self
                .text
                .iter()
                .find(|(mark, _)| mark.column == column.name);
            column.text_index = text.map(|(_, spec)| spec.clone());
            let json = self
                .json
                .iter()
                .find(|(mark, _)| mark.column == column.name);
            column.json_index = json.map(|(_, spec)| spec.clone());
        }
    }
}
