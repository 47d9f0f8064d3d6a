//! The grammar of filters:
//!
//! ```text
//! OR    := AND ( OR AND )*      AND := NOT ( AND NOT )*      NOT := NOT? ( '(' OR ')' | TEST )
//! TEST  := PATH op LITERAL | PATH [NOT] IN (LITERAL, …) | PATH [NOT] BETWEEN LITERAL AND LITERAL
//!        | PATH IS [NOT] NULL | [NOT] REGEXP_LIKE(PATH, 'regex') | PATH [NOT] LIKE 'pattern'
//! PATH  := "$.a[*].b" | a.b        LITERAL := 'text' | number | true | false
//! ```

use std::ops::Bound;

use regex::{Regex, RegexBuilder};

use super::super::JsonPath;
use super::{Check, FilterFault, JsonFilter};

const DEPTH_MAX: usize = 64;
const REGEX_BYTES_MAX: usize = 1 << 20;

#[derive(Clone, Debug, PartialEq)]
enum Token {
    /// A path in double quotes.
    Path(String),
    Text(String),
    /// A bare word or number.
    Word(String),
    Sign(&'static str),
}

pub(super) fn parse(text: &str) -> Result<JsonFilter, FilterFault> {
    let tokens = tokens(text)?;
    let mut parser = Parser {
        tokens,
        at: 0,
        end: text.chars().count(),
    };
    let filter = parser.or(0)?;
    match parser.at == parser.tokens.len() {
        true => Ok(filter),
        false => Err(parser.fault("AND or OR was expected")),
    }
}

fn tokens(text: &str) -> Result<Vec<(usize, Token)>, FilterFault> {
    const SIGNS: [&str; 11] = ["<=", ">=", "<>", "!=", "=", "<", ">", "(", ")", ",", ";"];
    let chars: Vec<char> = text.chars().collect();
    let mut tokens = Vec::new();
    let mut at = 0;
    while at < chars.len() {
        let start = at;
        let c = chars[at];
        if c.is_whitespace() {
            at += 1;
            continue;
        }
        if matches!(c, '\'' | '"') {
            let text = quoted(&chars, &mut at)?;
            tokens.push((
                start,
                if c == '"' {
                    Token::Path(text)
                } else {
                    Token::Text(text)
                },
            ));
            continue;
        }
        let ahead: String = chars[at..chars.len().min(at + 2)].iter().collect();
        if let Some(sign) = SIGNS.iter().find(|sign| ahead.starts_with(**sign)) {
            at += sign.len();
            tokens.push((start, Token::Sign(sign)));
            continue;
        }
        while at < chars.len() && !chars[at].is_whitespace() && !"'\"=<>!(),;".contains(chars[at]) {
            at += 1;
        }
        if at == start {
            return Err(FilterFault::new(
                start,
                format!("`{c}` has no meaning here"),
            ));
        }
        tokens.push((start, Token::Word(chars[start..at].iter().collect())));
    }
    Ok(tokens)
}

/// A quote is written twice inside.
fn quoted(chars: &[char], at: &mut usize) -> Result<String, FilterFault> {
    let (start, quote) = (*at, chars[*at]);
    *at += 1;
    let mut text = String::new();
    loop {
        match chars.get(*at) {
            None => {
                let what = format!("there is no closing `{quote}`");
                return Err(FilterFault::new(start, what));
            }
            Some(c) if *c == quote => {
                *at += 1;
                if chars.get(*at) != Some(&quote) {
                    return Ok(text);
                }
                text.push(quote);
            }
            Some(c) => text.push(*c),
        }
        *at += 1;
    }
}

struct Parser {
    tokens: Vec<(usize, Token)>,
    at: usize,
    end: usize,
}

struct Literal {
    text: String,
    number: Option<f64>,
}

impl Parser {
    fn fault(&self, what: impl Into<String>) -> FilterFault {
        let at = self.tokens.get(self.at).map_or(self.end, |(at, _)| *at);
        FilterFault::new(at, what)
    }

    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.at).map(|(_, token)| token)
    }

    fn is_word(&self, word: &str) -> bool {
        matches!(self.peek(), Some(Token::Word(found)) if found.eq_ignore_ascii_case(word))
    }

    fn take_word(&mut self, word: &str) -> bool {
        let found = self.is_word(word);
        self.at += usize::from(found);
        found
    }

    fn take_sign(&mut self, sign: &str) -> bool {
        let found = matches!(self.peek(), Some(Token::Sign(found)) if *found == sign);
        self.at += usize::from(found);
        found
    }

    fn expect_sign(&mut self, sign: &str) -> Result<(), FilterFault> {
        match self.take_sign(sign) {
            true => Ok(()),
            false => Err(self.fault(format!("`{sign}` was expected"))),
        }
    }

    fn or(&mut self, depth: usize) -> Result<JsonFilter, FilterFault> {
        let mut parts = vec![self.and(depth)?];
        while self.take_word("OR") {
            parts.push(self.and(depth)?);
        }
        Ok(match parts.len() {
            1 => parts.remove(0),
            _ => JsonFilter::Or(parts),
        })
    }

    fn and(&mut self, depth: usize) -> Result<JsonFilter, FilterFault> {
        let mut parts = vec![self.not(depth)?];
        while self.take_word("AND") {
            parts.push(self.not(depth)?);
        }
        Ok(match parts.len() {
            1 => parts.remove(0),
            _ => JsonFilter::And(parts),
        })
    }

    fn not(&mut self, depth: usize) -> Result<JsonFilter, FilterFault> {
        if depth > DEPTH_MAX {
            return Err(self.fault(format!("it is nested more than {DEPTH_MAX} deep")));
        }
        if self.take_word("NOT") {
            let inner = self.not(depth + 1)?;
            return Ok(JsonFilter::Not(Box::new(inner)));
        }
        if self.take_sign("(") {
            let inner = self.or(depth + 1)?;
            self.expect_sign(")")?;
            return Ok(inner);
        }
        self.test()
    }

    fn test(&mut self) -> Result<JsonFilter, FilterFault> {
        if self.take_word("REGEXP_LIKE") {
            self.expect_sign("(")?;
            let path = self.path()?;
            self.expect_sign(",")?;
            let regex = self.regex(|text| format!("^(?s:{text})$"))?;
            self.expect_sign(")")?;
            return Ok(JsonFilter::Test(path, Check::Regex(regex)));
        }
        let path = self.path()?;
        if self.take_word("IS") {
            let negated = self.take_word("NOT");
            if !self.take_word("NULL") {
                return Err(self.fault("NULL was expected"));
            }
            return Ok(negated_if(!negated, path, Check::Exists));
        }
        let negated = self.take_word("NOT");
        if self.take_word("IN") {
            self.expect_sign("(")?;
            let mut values = vec![self.literal()?.text];
            while self.take_sign(",") {
                values.push(self.literal()?.text);
            }
            self.expect_sign(")")?;
            return Ok(negated_if(negated, path, Check::OneOf(values)));
        }
        if self.take_word("BETWEEN") {
            let low = self.literal()?;
            if !self.take_word("AND") {
                return Err(self.fault("AND was expected"));
            }
            let high = self.literal()?;
            let check = range(Bound::Included(low), Bound::Included(high));
            return Ok(negated_if(negated, path, check));
        }
        if self.take_word("LIKE") {
            let regex = self.regex(like)?;
            return Ok(negated_if(negated, path, Check::Regex(regex)));
        }
        if negated {
            return Err(self.fault("IN, BETWEEN or LIKE was expected"));
        }
        self.comparison(path)
    }

    fn comparison(&mut self, path: JsonPath) -> Result<JsonFilter, FilterFault> {
        let sign = match self.peek() {
            Some(Token::Sign(sign @ ("=" | "<>" | "!=" | "<" | "<=" | ">" | ">="))) => *sign,
            _ => return Err(self.fault("a comparison such as `=` was expected")),
        };
        self.at += 1;
        let literal = self.literal()?;
        let check = match sign {
            "=" | "<>" | "!=" => Check::OneOf(vec![literal.text]),
            "<" => range(Bound::Unbounded, Bound::Excluded(literal)),
            "<=" => range(Bound::Unbounded, Bound::Included(literal)),
            ">" => range(Bound::Excluded(literal), Bound::Unbounded),
            _ => range(Bound::Included(literal), Bound::Unbounded),
        };
        Ok(negated_if(matches!(sign, "<>" | "!="), path, check))
    }

    fn path(&mut self) -> Result<JsonPath, FilterFault> {
        let text = match self.peek() {
            Some(Token::Path(text)) => text.clone(),
            Some(Token::Word(text)) if !text.starts_with(|c: char| c.is_ascii_digit()) => {
                text.clone()
            }
            Some(Token::Text(text)) => {
                let what = format!("a path stands in double quotes: \"{text}\"");
                return Err(self.fault(what));
            }
            _ => return Err(self.fault("a path in double quotes was expected")),
        };
        let path = JsonPath::parse(&text).map_err(|fault| self.fault(fault.what))?;
        self.at += 1;
        Ok(path)
    }

    fn literal(&mut self) -> Result<Literal, FilterFault> {
        let literal = match self.peek() {
            Some(Token::Text(text)) => Literal {
                text: text.clone(),
                number: None,
            },
            Some(Token::Word(word)) => {
                let number = word.parse().ok();
                let is_flag = ["true", "false"].contains(&word.to_lowercase().as_str());
                if number.is_none() && !is_flag {
                    let what = format!("a text stands in single quotes: '{word}'");
                    return Err(self.fault(what));
                }
                Literal {
                    text: match is_flag {
                        true => word.to_lowercase(),
                        false => word.clone(),
                    },
                    number,
                }
            }
            Some(Token::Path(text)) => {
                let what = format!("a text stands in single quotes: '{text}'");
                return Err(self.fault(what));
            }
            _ => return Err(self.fault("a value was expected")),
        };
        self.at += 1;
        Ok(literal)
    }

    fn regex(&mut self, expression: impl Fn(&str) -> String) -> Result<Regex, FilterFault> {
        let Some(Token::Text(text)) = self.peek() else {
            return Err(self.fault("a text in single quotes was expected"));
        };
        let regex = RegexBuilder::new(&expression(text))
            .size_limit(REGEX_BYTES_MAX)
            .build()
            .map_err(|error| self.fault(format!("the regular expression: {error}")))?;
        self.at += 1;
        Ok(regex)
    }
}

fn negated_if(negated: bool, path: JsonPath, check: Check) -> JsonFilter {
    let test = JsonFilter::Test(path, check);
    match negated {
        true => JsonFilter::Not(Box::new(test)),
        false => test,
    }
}

/// Numbers are compared as numbers, anything else as text.
fn range(low: Bound<Literal>, high: Bound<Literal>) -> Check {
    let number = |end: &Bound<Literal>| match end {
        Bound::Unbounded => Some(Bound::Unbounded),
        Bound::Included(end) => end.number.map(Bound::Included),
        Bound::Excluded(end) => end.number.map(Bound::Excluded),
    };
    if let (Some(low), Some(high)) = (number(&low), number(&high)) {
        return Check::Numbers(low, high);
    }
    Check::Texts(low.map(|end| end.text), high.map(|end| end.text))
}

/// `%` is any number of characters, `_` one.
fn like(pattern: &str) -> String {
    let mut expression = String::from("^(?s:");
    let mut chars = pattern.chars();
    while let Some(c) = chars.next() {
        match c {
            '%' => expression.push_str(".*"),
            '_' => expression.push('.'),
            // The next character stands for itself.
            '\\' => push_literal(chars.next().unwrap_or('\\'), &mut expression),
            c => push_literal(c, &mut expression),
        }
    }
    expression.push_str(")$");
    expression
}

fn push_literal(c: char, expression: &mut String) {
    expression.push_str(&regex::escape(c.encode_utf8(&mut [0; 4])));
}
