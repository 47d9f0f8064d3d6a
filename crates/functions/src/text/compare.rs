//! STRCMP, LEVENSHTEINDISTANCE, HAMMINGDISTANCE, SOUNDEX: how alike two texts are.

use arrow::datatypes::DataType;

use super::length;
use crate::docs::Section;
use crate::plain::{Plain, Takes};
use crate::rows::TEXT;

/// As Java compares: the difference of the first characters that differ, else of the lengths.
fn compared(a: &str, b: &str) -> i32 {
    let (a, b): (Vec<u16>, Vec<u16>) = (a.encode_utf16().collect(), b.encode_utf16().collect());
    let differs = a.iter().zip(&b).find(|(a, b)| a != b);
    match differs {
        Some((a, b)) => i32::from(*a) - i32::from(*b),
        None => a.len() as i32 - b.len() as i32,
    }
}

fn hamming(a: &str, b: &str) -> i32 {
    if length(a) != length(b) {
        return -1;
    }
    a.chars().zip(b.chars()).filter(|(a, b)| a != b).count() as i32
}

fn digit(letter: char) -> Option<char> {
    Some(match letter {
        'B' | 'F' | 'P' | 'V' => '1',
        'C' | 'G' | 'J' | 'K' | 'Q' | 'S' | 'X' | 'Z' => '2',
        'D' | 'T' => '3',
        'L' => '4',
        'M' | 'N' => '5',
        'R' => '6',
        _ => return None,
    })
}

/// A letter and three digits, of English words that sound alike.
fn soundex(text: &str) -> String {
    let mut letters = text.chars().filter(char::is_ascii_alphabetic);
    let mut letters = letters.by_ref().map(|c| c.to_ascii_uppercase());
    let Some(first) = letters.next() else {
        return String::new();
    };
    let mut code = String::from(first);
    let mut last = digit(first);
    for letter in letters {
        let own = digit(letter);
        if let Some(own) = own
            && last != Some(own)
        {
            code.push(own);
            if code.len() == 4 {
                break;
            }
        }
        // H and W do not part two that sound alike.
        if !matches!(letter, 'H' | 'W') {
            last = own;
        }
    }
    while code.len() < 4 {
        code.push('0');
    }
    code
}

fn difference(a: &str, b: &str) -> i32 {
    let (a, b) = (soundex(a), soundex(b));
    a.chars().zip(b.chars()).filter(|(a, b)| a == b).count() as i32
}

pub(super) fn all() -> Vec<Plain> {
    use Takes::Text;
    let int = |name: &str, of: fn(&str, &str) -> i32| {
        Plain::new(name, &[Text, Text], DataType::Int32, move |rows| {
            rows.map2(|a: &str, b: &str| Some(of(a, b)))
        })
        .of_entries()
    };
    vec![
        int("strcmp", compared).says(
            Section::Text,
            "STRCMP(a, b)",
            "0 if both are the same, less if the first comes before the second, else more.",
            &[("STRCMP('a', 'c')", "-2")],
        ),
        int("hamming_distance", hamming).says(
            Section::Text,
            "HAMMINGDISTANCE(a, b)",
            "At how many places the characters differ; -1 if the texts are not of one length.",
            &[("HAMMINGDISTANCE('karolin', 'kathrin')", "3")],
        ),
        int("levenshtein_distance", |a, b| {
            strsim::levenshtein(a, b) as i32
        })
        .says(
            Section::Text,
            "LEVENSHTEINDISTANCE(a, b)",
            "How many characters must come, go or change to make one of the other.",
            &[("LEVENSHTEINDISTANCE('kitten', 'sitting')", "3")],
        ),
        int("difference", difference).says(
            Section::Text,
            "DIFFERENCE(a, b)",
            "How many places of the two SOUNDEX codes agree, up to 4.",
            &[("DIFFERENCE('Robert', 'Rupert')", "4")],
        ),
        Plain::new("soundex", &[Text], TEXT, |rows| {
            rows.map(|text: &str| Some(soundex(text)))
        })
        .of_entries()
        .says(
            Section::Text,
            "SOUNDEX(text)",
            "A code that English words which sound alike have in common.",
            &[
                ("SOUNDEX('Robert')", "R163"),
                ("SOUNDEX('Tymczak')", "T522"),
            ],
        ),
    ]
}
