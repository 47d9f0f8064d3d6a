//! REVERSE, NORMALIZE, REPEAT, LPAD and others that give a text another shape.

use arrow::array::ArrayRef;
use arrow::datatypes::DataType;
use datafusion::common::Result;
use unicode_normalization::UnicodeNormalization;

use super::{fits, length};
use crate::arguments::wrong;
use crate::docs::Section;
use crate::plain::{Plain, Takes};
use crate::rows::{Rows, TEXT};

fn normalize(text: &str, form: &str) -> Option<String> {
    Some(match form.to_ascii_uppercase().as_str() {
        "NFC" => text.nfc().collect(),
        "NFD" => text.nfd().collect(),
        "NFKC" => text.nfkc().collect(),
        "NFKD" => text.nfkd().collect(),
        _ => return None,
    })
}

fn normalized(rows: &Rows) -> Result<ArrayRef> {
    if !rows.has(1) {
        return rows.map(|text: &str| Some(text.nfc().collect::<String>()));
    }
    rows.try_map2(|text: &str, form: &str| {
        let normal = normalize(text, form).map(Some);
        normal.ok_or_else(|| {
            wrong(format!(
                "NORMALIZE: `{form}` is no form: NFC, NFD, NFKC or NFKD"
            ))
        })
    })
}

fn repeat(rows: &Rows) -> Result<ArrayRef> {
    let of = |text: &str, separator: &str, times: i64| {
        let times = usize::try_from(times).unwrap_or(0);
        let bytes = (text.len() + separator.len()).saturating_mul(times);
        fits("REPEAT", bytes)?;
        let mut repeated = String::with_capacity(bytes);
        for time in 0..times {
            if time > 0 {
                repeated.push_str(separator);
            }
            repeated.push_str(text);
        }
        Ok(Some(repeated))
    };
    match rows.has(2) {
        true => rows.try_map3(|text: &str, separator: &str, times: &str| {
            let times = times.trim().parse();
            of(text, separator, times.map_err(|_| not_whole("REPEAT"))?)
        }),
        false => rows.try_map2(|text: &str, times: &str| {
            let times = times.trim().parse();
            of(text, "", times.map_err(|_| not_whole("REPEAT"))?)
        }),
    }
}

fn not_whole(name: &str) -> datafusion::common::DataFusionError {
    wrong(format!("{name}: how often is a whole number"))
}

/// Unlike SQL's, a text that is too long stays as it is.
fn padded(rows: &Rows, on_the_left: bool) -> Result<ArrayRef> {
    rows.try_map3(|text: &str, size: i64, pad: &str| {
        let missing = usize::try_from(size)
            .unwrap_or(0)
            .saturating_sub(length(text));
        fits(rows.name(), missing)?;
        let pad = if pad.is_empty() { " " } else { pad };
        let pad: String = pad.chars().cycle().take(missing).collect();
        Ok(Some(match on_the_left {
            true => format!("{pad}{text}"),
            false => format!("{text}{pad}"),
        }))
    })
}

fn first_line(text: &str) -> &str {
    let line = text.split('\n').next().unwrap_or_default();
    line.strip_suffix('\r').unwrap_or(line)
}

/// Each letter by the one at the same place of the other list; those without one go.
fn translated(text: &str, from: &str, to: &str) -> String {
    let of = |c: char| match from.chars().position(|known| known == c) {
        Some(at) => to.chars().nth(at),
        None => Some(c),
    };
    text.chars().filter_map(of).collect()
}

fn concat(rows: &Rows) -> Result<ArrayRef> {
    match rows.columns().len() {
        3 => rows.map3(|a: &str, b: &str, between: &str| Some([a, between, b].concat())),
        _ => rows.map2(|a: &str, b: &str| Some([a, b].concat())),
    }
}

fn plain(name: &str, takes: &[Takes], body: fn(&Rows) -> Result<ArrayRef>) -> Plain {
    Plain::new(name, takes, TEXT, body).of_entries()
}

fn normalize_function() -> Plain {
    use Takes::Text;
    plain("normalize", &[Text, Text], normalized)
        .optional(1)
        .says(
            Section::Text,
            "NORMALIZE(text [, 'form'])",
            "The text in a normal form of Unicode: NFC, NFD, NFKC or NFKD.",
            &[("NORMALIZE('ﬁ', 'NFKC')", "fi")],
        )
}

fn repeat_function() -> Plain {
    use Takes::Text;
    plain("pinot_repeat", &[Text, Text, Text], repeat)
        .optional(1)
        .in_pinot(&["REPEAT"])
        .says(
            Section::Text,
            "REPEAT(text [, separator], times)",
            "The text so many times, with the separator between.",
            &[
                ("REPEAT('ab', 2)", "abab"),
                ("REPEAT('ab', '-', 3)", "ab-ab-ab"),
            ],
        )
}

fn lpad() -> Plain {
    use Takes::{Long, Text};
    plain("pinot_lpad", &[Text, Long, Text], |rows| padded(rows, true))
        .in_pinot(&["LPAD"])
        .says(
            Section::Text,
            "LPAD(text, size, pad)",
            "The text with padding before it. A longer text stays as it is.",
            &[("LPAD('7', 3, '0')", "007")],
        )
}

fn rpad() -> Plain {
    use Takes::{Long, Text};
    plain("pinot_rpad", &[Text, Long, Text], |rows| {
        padded(rows, false)
    })
    .in_pinot(&["RPAD"])
    .says(
        Section::Text,
        "RPAD(text, size, pad)",
        "The text with padding behind it. A longer text stays as it is.",
        &[("RPAD('ab', 5, 'xy')", "abxyx")],
    )
}

fn concat_function() -> Plain {
    use Takes::Text;
    Plain::new("pinot_concat", &[Text, Text, Text], TEXT, concat)
        .optional(1)
        .in_pinot(&["CONCAT"])
        .says(
            Section::Text,
            "CONCAT(a, b [, separator])",
            "Two texts, with the separator between.",
            &[("CONCAT('a', 'b')", "ab"), ("CONCAT('a', 'b', '-')", "a-b")],
        )
}

fn remove_function() -> Plain {
    use Takes::Text;
    plain("remove", &[Text, Text], |rows| {
        rows.map2(|text: &str, part: &str| {
            Some(match part.is_empty() {
                true => text.to_owned(),
                false => text.replace(part, ""),
            })
        })
    })
    .says(
        Section::Text,
        "REMOVE(text, part)",
        "The text without any of the part.",
        &[("REMOVE('banana', 'an')", "ba")],
    )
}

fn first_line_function() -> Plain {
    use Takes::Text;
    plain("first_line", &[Text], |rows| {
        rows.map::<&str, &str>(|text| Some(first_line(text)))
    })
    .says(
        Section::Text,
        "FIRSTLINE(text)",
        "What stands before the first line break.",
        &[("FIRSTLINE('one line')", "one line")],
    )
}

fn space() -> Plain {
    use Takes::Text;
    plain("space", &[Text], |rows| {
        rows.try_map(|count: &str| {
            let count: usize = count.trim().parse().map_err(|_| not_whole("SPACE"))?;
            fits("SPACE", count)?;
            Ok(Some(" ".repeat(count)))
        })
    })
    .says(
        Section::Text,
        "SPACE(count)",
        "So many spaces.",
        &[("LENGTH(SPACE(3))", "3")],
    )
}

fn translate() -> Plain {
    use Takes::Text;
    plain("pinot_translate", &[Text, Text, Text], |rows| {
        rows.map3(|text: &str, from: &str, to: &str| Some(translated(text, from, to)))
    })
    .in_pinot(&["TRANSLATE"])
    .says(
        Section::Text,
        "TRANSLATE(text, 'from', 'to')",
        "Each character of the one list by that at the same place of the other; those that have \
             none are left out.",
        &[("TRANSLATE('a-b_c', '-_', ' ')", "a bc")],
    )
}

fn trim() -> Plain {
    use Takes::Text;
    plain("pinot_trim", &[Text], |rows| {
        rows.map::<&str, &str>(|text| Some(text.trim()))
    })
    .in_pinot(&["TRIM"])
    .says(
        Section::Text,
        "TRIM(text)",
        "The text without white space at its ends.",
        &[("TRIM('  a b ')", "a b")],
    )
}

fn ltrim() -> Plain {
    use Takes::Text;
    plain("pinot_ltrim", &[Text], |rows| {
        rows.map::<&str, &str>(|text| Some(text.trim_start()))
    })
    .in_pinot(&["LTRIM"])
    .says(
        Section::Text,
        "LTRIM(text)",
        "The text without white space at its begin.",
        &[("LTRIM('  a')", "a")],
    )
}

fn rtrim() -> Plain {
    use Takes::Text;
    plain("pinot_rtrim", &[Text], |rows| {
        rows.map::<&str, &str>(|text| Some(text.trim_end()))
    })
    .in_pinot(&["RTRIM"])
    .says(
        Section::Text,
        "RTRIM(text)",
        "The text without white space at its end.",
        &[("RTRIM('a  ')", "a")],
    )
}

fn replace() -> Plain {
    use Takes::Text;
    plain("pinot_replace", &[Text, Text, Text], |rows| {
        rows.map3(|text: &str, from: &str, to: &str| {
            Some(match from.is_empty() {
                true => text.to_owned(),
                false => text.replace(from, to),
            })
        })
    })
    .in_pinot(&["REPLACE"])
    .says(
        Section::Text,
        "REPLACE(text, part, by)",
        "The text with something else in the place of a part, wherever that stands.",
        &[("REPLACE('a.b.c', '.', '/')", "a/b/c")],
    )
}

fn code_point() -> Plain {
    use Takes::Text;
    Plain::new("code_point", &[Text], DataType::Int32, |rows| {
        rows.map(|text: &str| text.chars().next().map(|c| c as i32))
    })
    .of_entries()
    .says(
        Section::Text,
        "CODEPOINT(text)",
        "The number of the first character in Unicode; null if there is none.",
        &[("CODEPOINT('€')", "8364")],
    )
}

fn ascii() -> Plain {
    use Takes::Text;
    Plain::new("pinot_ascii", &[Text], DataType::Int32, |rows| {
        rows.map(|text: &str| Some(text.chars().next().map_or(0, |c| c as i32)))
    })
    .of_entries()
    .in_pinot(&["ASCII"])
    .says(
        Section::Text,
        "ASCII(text)",
        "The number of the first character; 0 if there is none.",
        &[("ASCII('A')", "65")],
    )
}

fn chr() -> Plain {
    use Takes::Long;
    Plain::new("pinot_chr", &[Long], TEXT, |rows| {
        rows.try_map(|code: i64| {
            let letter = u32::try_from(code).ok().and_then(char::from_u32);
            let text = letter.map(|letter| Some(letter.to_string()));
            text.ok_or_else(|| wrong(format!("CHR: {code} is no character's number")))
        })
    })
    .of_entries()
    .in_pinot(&["CHR"])
    .says(
        Section::Text,
        "CHR(number)",
        "The character with this number in Unicode.",
        &[("CHR(8364)", "€")],
    )
}

pub(super) fn all() -> Vec<Plain> {
    vec![
        normalize_function(),
        repeat_function(),
        lpad(),
        rpad(),
        concat_function(),
        remove_function(),
        first_line_function(),
        space(),
        translate(),
        trim(),
        ltrim(),
        rtrim(),
        replace(),
        code_point(),
        ascii(),
        chr(),
    ]
}
