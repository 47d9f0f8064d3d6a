//! From the characters of a query to its words, signs and brackets.

use super::QueryFault;

/// A character of a word, and whether a `\` took its meaning away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::text) struct Char {
    pub(super) value: char,
    pub(super) escaped: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Token {
    And,
    Or,
    Not,
    Plus,
    Minus,
    Open,
    Close,
    Word(Vec<Char>),
    Quoted(String),
    Regex(String),
    /// Ends, whether each is included, `None` for `*`.
    Range {
        low: Option<String>,
        low_included: bool,
        high: Option<String>,
        high_included: bool,
    },
    /// `~2` behind a word or a phrase; no number is `None`.
    Tilde(Option<String>),
    /// `^2`: how much a word counts, which does not matter here.
    Boost,
}

/// A token and the character at which it begins.
pub(super) type Placed = (usize, Token);

pub(super) fn tokens(text: &str) -> Result<Vec<Placed>, QueryFault> {
    let mut lexer = Lexer {
        chars: text.chars().collect(),
        at: 0,
    };
    let mut tokens = Vec::new();
    while let Some(token) = lexer.next()? {
        tokens.push(token);
    }
    Ok(tokens)
}

pub(super) fn fault(at: usize, what: impl Into<String>) -> QueryFault {
    QueryFault {
        at,
        what: what.into(),
    }
}

struct Lexer {
    chars: Vec<char>,
    at: usize,
}

impl Lexer {
    fn peek(&self) -> Option<char> {
        self.chars.get(self.at).copied()
    }

    fn next(&mut self) -> Result<Option<Placed>, QueryFault> {
        while self.peek().is_some_and(char::is_whitespace) {
            self.at += 1;
        }
        let start = self.at;
        let Some(first) = self.peek() else {
            return Ok(None);
        };
        let one = |lexer: &mut Self, token| {
            lexer.at += 1;
            token
        };
        let token = match first {
            '(' => one(self, Token::Open),
            ')' => one(self, Token::Close),
            '+' => one(self, Token::Plus),
            '-' => one(self, Token::Minus),
            '!' => one(self, Token::Not),
            '"' => self.delimited('"', Token::Quoted)?,
            '/' => self.delimited('/', Token::Regex)?,
            '[' | '{' => self.range()?,
            '~' => {
                self.at += 1;
                let number = self.number();
                Token::Tilde((!number.is_empty()).then_some(number))
            }
            '^' => {
                self.at += 1;
                if self.number().is_empty() {
                    return Err(fault(start, "`^` takes a number, or write `\\^`"));
                }
                Token::Boost
            }
            ':' | ']' | '}' => {
                let what = format!("`{first}` has no meaning here; write `\\{first}`");
                return Err(fault(start, what));
            }
            _ => self.word()?,
        };
        Ok(Some((start, token)))
    }

    fn number(&mut self) -> String {
        let start = self.at;
        while self.peek().is_some_and(|c| c.is_ascii_digit() || c == '.') {
            self.at += 1;
        }
        self.chars[start..self.at].iter().collect()
    }

    /// Up to the next `end`; a `\` before it keeps it inside.
    fn delimited(&mut self, end: char, token: fn(String) -> Token) -> Result<Token, QueryFault> {
        let start = self.at;
        self.at += 1;
        let mut text = String::new();
        while let Some(c) = self.peek() {
            self.at += 1;
            match c {
                _ if c == end => return Ok(token(text)),
                '\\' => match self.peek() {
                    Some(next) => {
                        self.at += 1;
                        // Within a regular expression only its end is escaped by us.
                        if end == '/' && next != '/' {
                            text.push('\\');
                        }
                        text.push(next);
                    }
                    None => break,
                },
                _ => text.push(c),
            }
        }
        let what = format!("there is no closing `{end}`; write `\\{end}` for the character itself");
        Err(fault(start, what))
    }

    fn word(&mut self) -> Result<Token, QueryFault> {
        let start = self.at;
        let mut word: Vec<Char> = Vec::new();
        while let Some(c) = self.peek() {
            if c.is_whitespace() || matches!(c, '(' | ')' | '"' | '~' | '^' | '[' | ']' | '{' | '}')
            {
                break;
            }
            if c == ':' {
                return self.field(start, &word);
            }
            self.at += 1;
            let value = match c {
                '\\' => match self.peek() {
                    Some(next) => {
                        self.at += 1;
                        next
                    }
                    None => return Err(fault(self.at - 1, "a `\\` at the end escapes nothing")),
                },
                other => other,
            };
            word.push(Char {
                value,
                escaped: c == '\\',
            });
        }
        let plain: String = word.iter().map(|c| c.value).collect();
        let is_plain = word.iter().all(|c| !c.escaped);
        Ok(match plain.as_str() {
            "AND" | "&&" if is_plain => Token::And,
            "OR" | "||" if is_plain => Token::Or,
            "NOT" if is_plain => Token::Not,
            _ => Token::Word(word),
        })
    }

    /// `*:*` is every text; other fields than the column are not known.
    fn field(&mut self, start: usize, name: &[Char]) -> Result<Token, QueryFault> {
        let name: String = name.iter().map(|c| c.value).collect();
        if name == "*" && self.chars.get(self.at + 1) == Some(&'*') {
            self.at += 2;
            let star = |_| Char {
                value: '*',
                escaped: false,
            };
            return Ok(Token::Word((0..3).map(star).collect()));
        }
        let what = format!(
            "`{name}:` names a field; TEXT_MATCH searches one column, \
             write `\\:` for the character itself"
        );
        Err(fault(start, what))
    }

    fn range(&mut self) -> Result<Token, QueryFault> {
        let start = self.at;
        let low_included = self.peek() == Some('[');
        self.at += 1;
        let close = (self.at..self.chars.len()).find(|at| matches!(self.chars[*at], ']' | '}'));
        let Some(close) = close else {
            return Err(fault(start, "the range has no closing `]` or `}`"));
        };
        let inside: String = self.chars[self.at..close].iter().collect();
        let high_included = self.chars[close] == ']';
        self.at = close + 1;
        let Some((low, high)) = inside.split_once(" TO ") else {
            return Err(fault(start, "a range is written `[low TO high]`"));
        };
        let end = |text: &str| match text.trim() {
            "*" => None,
            text => Some(text.trim_matches('"').to_owned()),
        };
        Ok(Token::Range {
            low: end(low),
            low_included,
            high: end(high),
            high_included,
        })
    }
}
