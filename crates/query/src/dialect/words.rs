//! Clauses that the parser does not know, told to it in words that it knows.
//!
//! Done on tokens, which keep their places, so that whatever is wrong later is found where it was
//! written. What stands here for something else is read back by [`super::standard`].

use std::ops::Range;

use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan, Word};

use crate::excluding::Exclusion;

pub(super) fn known(tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    let mut tokens = table(tokens);
    trim_spaces(&mut tokens);
    let new = [
        Keyword::ASOF,
        Keyword::SYMMETRIC,
        Keyword::ASYMMETRIC,
        Keyword::SAMPLE,
        Keyword::EXCLUDE,
    ];
    let is_new = |token: &TokenWithSpan| new.iter().any(|word| is_word(token, *word));
    let has = |word| tokens.iter().any(|token| is_word(token, word));
    let may_compare = has(Keyword::IS) && has(Keyword::DISTINCT);
    if !may_compare && !tokens.iter().any(is_new) {
        return tokens;
    }
    let is_space = |token: &TokenWithSpan| matches!(token.token, Token::Whitespace(_));
    let tokens = tokens.into_iter().filter(|token| !is_space(token));
    let mut tokens: Vec<TokenWithSpan> = tokens.collect();
    symmetric(&mut tokens);
    distinct_from(&mut tokens);
    exclude(&mut tokens);
    while sample_by(&mut tokens) {}
    as_of(tokens)
}

fn is_word(token: &TokenWithSpan, keyword: Keyword) -> bool {
    match &token.token {
        Token::Word(word) => word.keyword == keyword && word.quote_style.is_none(),
        _ => false,
    }
}

fn is_at(tokens: &[TokenWithSpan], at: usize, words: &[Keyword]) -> bool {
    let Some(tokens) = tokens.get(at..at + words.len()) else {
        return false;
    };
    tokens
        .iter()
        .zip(words)
        .all(|(token, word)| is_word(token, *word))
}

/// `TABLE t` is SELECT * FROM t.
fn table(mut tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    if let Some(first) = tokens
        .first()
        .filter(|first| is_word(first, Keyword::TABLE))
    {
        let like = |token: Token| TokenWithSpan::new(token, first.span);
        let words = [
            of_keyword(Keyword::SELECT),
            Token::Mul,
            of_keyword(Keyword::FROM),
        ];
        tokens.splice(..1, words.map(like).to_vec());
    }
    tokens
}

/// TRIM(TRAILING FROM x) takes spaces off.
fn trim_spaces(tokens: &mut Vec<TokenWithSpan>) {
    const SIDES: [Keyword; 3] = [Keyword::LEADING, Keyword::TRAILING, Keyword::BOTH];
    let has = |word| tokens.iter().any(|token| is_word(token, word));
    if !has(Keyword::TRIM) || !SIDES.into_iter().any(has) {
        return;
    }
    let is_space = |token: &TokenWithSpan| matches!(token.token, Token::Whitespace(_));
    tokens.retain(|token| !is_space(token));
    let mut at = 2;
    while at < tokens.len() {
        let begins =
            is_at(tokens, at - 2, &[Keyword::TRIM]) && tokens[at - 1].token == Token::LParen;
        let has_none = SIDES
            .iter()
            .any(|side| is_at(tokens, at, &[*side, Keyword::FROM]));
        if begins && has_none {
            let space = Token::SingleQuotedString(" ".to_owned());
            tokens.insert(at + 1, TokenWithSpan::new(space, tokens[at].span));
        }
        at += 1;
    }
}

fn symmetric(tokens: &mut Vec<TokenWithSpan>) {
    let mut at = 1;
    while at < tokens.len() {
        if is_word(&tokens[at - 1], Keyword::BETWEEN) {
            if is_word(&tokens[at], Keyword::SYMMETRIC) {
                // `~ ~` before the lower end: nobody writes that.
                tokens[at].token = Token::Tilde;
                tokens.insert(at, tokens[at].clone());
            } else if is_word(&tokens[at], Keyword::ASYMMETRIC) {
                tokens.remove(at);
            }
        }
        at += 1;
    }
}

/// `a IS [NOT] DISTINCT FROM b AND c`: the parser takes all that follows for the other side. `<=>`
/// binds as it should; `~ ~` behind it stands for the negation.
fn distinct_from(tokens: &mut Vec<TokenWithSpan>) {
    let mut at = 0;
    while at < tokens.len() {
        let like = |token: Token| TokenWithSpan::new(token, tokens[at].span);
        use Keyword as K;
        if is_at(tokens, at, &[K::IS, K::NOT, K::DISTINCT, K::FROM]) {
            let same = like(Token::Spaceship);
            tokens.splice(at..at + 4, [same]);
        } else if is_at(tokens, at, &[K::IS, K::DISTINCT, K::FROM]) {
            let differ = [Token::Spaceship, Token::Tilde, Token::Tilde].map(like);
            tokens.splice(at..at + 3, differ);
        }
        at += 1;
    }
}

/// `(… EXCLUDE TIES)` at the end of a window becomes a mark that the window is divided by.
fn exclude(tokens: &mut Vec<TokenWithSpan>) {
    use Keyword as K;
    let known: [(&[&str], Option<Exclusion>); 4] = [
        (&["EXCLUDE", "CURRENT", "ROW"], Some(Exclusion::CurrentRow)),
        (&["EXCLUDE", "GROUP"], Some(Exclusion::Group)),
        (&["EXCLUDE", "TIES"], Some(Exclusion::Ties)),
        (&["EXCLUDE", "NO", "OTHERS"], None),
    ];
    let says = |token: &TokenWithSpan, text: &str| match &token.token {
        Token::Word(word) => word.quote_style.is_none() && word.value.eq_ignore_ascii_case(text),
        _ => false,
    };
    let mut at = 0;
    while at < tokens.len() {
        let found = known.iter().find(|(words, _)| {
            let end = tokens.get(at + words.len());
            let mut pairs = tokens[at..].iter().zip(*words);
            pairs.all(|(token, text)| says(token, text))
                && end.is_some_and(|end| end.token == Token::RParen)
        });
        if let Some((words, exclusion)) = found
            && let Some(open) = opening(&tokens[..at])
        {
            let span = tokens[at].span;
            let like = |token: Token| TokenWithSpan::new(token, span);
            tokens.drain(at..at + words.len());
            if let Some(exclusion) = exclusion {
                let mark = Token::SingleQuotedString(exclusion.mark().to_owned());
                // The planner leaves out what is plainly a literal.
                let mark = [Token::LParen, mark, Token::RParen].map(like).into_iter();
                let (place, words): (usize, Vec<TokenWithSpan>) =
                    match is_at(tokens, open + 1, &[K::PARTITION, K::BY]) {
                        true => (open + 3, mark.chain([like(Token::Comma)]).collect()),
                        false => {
                            let by = [K::PARTITION, K::BY].map(|word| like(of_keyword(word)));
                            (open + 1, by.into_iter().chain(mark).collect())
                        }
                    };
                tokens.splice(place..place, words);
            }
        }
        at += 1;
    }
}

/// Of the parenthesis that is open at the end.
fn opening(tokens: &[TokenWithSpan]) -> Option<usize> {
    let mut depth = 0;
    tokens.iter().rposition(|token| {
        match token.token {
            Token::RParen => depth += 1,
            Token::LParen => depth -= 1,
            _ => {}
        }
        depth < 0
    })
}

/// `SELECT ts, … SAMPLE BY 1h FILL(PREV)` becomes `SELECT sampled_by(ts, '1h', 'PREV'), … GROUP BY
/// ALL`. `false`: there is none left.
fn sample_by(tokens: &mut Vec<TokenWithSpan>) -> bool {
    let by = |pair: &[TokenWithSpan]| {
        is_word(&pair[0], Keyword::SAMPLE) && is_word(&pair[1], Keyword::BY)
    };
    let Some(at) = tokens.windows(2).position(by) else {
        return false;
    };
    let mut end = at + 2;
    let mut interval = String::new();
    while let Some(Token::Number(..) | Token::Word(_)) = tokens.get(end).map(|t| &t.token) {
        let is_unit = matches!(tokens[end].token, Token::Word(_));
        interval.push_str(&tokens[end].token.to_string());
        end += 1;
        if is_unit {
            break;
        }
    }
    let mut fill = String::new();
    if let [word, open, value, close, ..] = &tokens[end..]
        && word.token.to_string().eq_ignore_ascii_case("FILL")
        && (&open.token, &close.token) == (&Token::LParen, &Token::RParen)
    {
        fill = value.token.to_string();
        end += 4;
    }
    let Some(first) = first_item(&tokens[..at]) else {
        return false;
    };
    let like = |token: Token| TokenWithSpan::new(token, tokens[at].span);
    let groups = [Keyword::GROUP, Keyword::BY, Keyword::ALL].map(|word| like(of_keyword(word)));
    let called = Token::make_word(super::gaps::SAMPLED, None);
    let opened = [called, Token::LParen].map(like);
    let arguments = [
        Token::Comma,
        Token::SingleQuotedString(interval),
        Token::Comma,
        Token::SingleQuotedString(fill),
        Token::RParen,
    ];
    let arguments = arguments.map(like);
    tokens.splice(at..end, groups);
    tokens.splice(first.end..first.end, arguments);
    tokens.splice(first.start..first.start, opened);
    true
}

/// The first item of the SELECT that is not closed, when it is a name.
fn first_item(tokens: &[TokenWithSpan]) -> Option<Range<usize>> {
    let mut depth = 0;
    let select = (0..tokens.len()).rev().find(|at| {
        match tokens[*at].token {
            Token::RParen => depth += 1,
            Token::LParen => depth -= 1,
            _ => {}
        }
        depth == 0 && is_word(&tokens[*at], Keyword::SELECT)
    })?;
    let start = select + 1;
    let part = |token: &TokenWithSpan| matches!(token.token, Token::Word(_) | Token::Period);
    let length = tokens[start..]
        .iter()
        .take_while(|token| part(token))
        .count();
    // `ts AS t`: the name alone.
    let length = (1..length)
        .find(|at| tokens[start + at].token != Token::Period && at % 2 == 1)
        .unwrap_or(length);
    (length > 0).then_some(start..start + length)
}

/// `LEFT ASOF JOIN` and `ASOF LEFT JOIN` become `ASOF JOIN` with a condition that IS TRUE; a
/// condition gets the parentheses that the parser wants.
fn as_of(tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    let mut known = Vec::with_capacity(tokens.len() + 8);
    let mut is_left = false;
    let mut at = 0;
    while at < tokens.len() {
        let token = &tokens[at];
        at += 1;
        let next = tokens.get(at);
        let followed_by = |word| next.is_some_and(|next| is_word(next, word));
        if is_word(token, Keyword::LEFT) && followed_by(Keyword::ASOF) {
            is_left = true;
        } else if is_word(token, Keyword::ASOF) {
            known.push(token.clone());
            if followed_by(Keyword::LEFT) {
                is_left = true;
                at += 1 + usize::from(is_at(&tokens, at + 1, &[Keyword::OUTER]));
            } else if followed_by(Keyword::INNER) {
                at += 1;
            }
            let end = at + table_length(&tokens[at..]);
            let ends_with = |word| tokens.get(end).is_some_and(|next| is_word(next, word));
            if ends_with(Keyword::ON) || ends_with(Keyword::USING) {
                // As DuckDB writes it the condition is among the others: NULL stands for it.
                known.extend(as_of(tokens[at..end].to_vec()));
                let like = |new: Token| TokenWithSpan::new(new, token.span);
                known.push(like(of_keyword(Keyword::MATCH_CONDITION)));
                let none = [like(of_keyword(Keyword::NULL))];
                known.extend(condition(&none, std::mem::take(&mut is_left)));
                at = end;
            }
        } else if is_word(token, Keyword::MATCH_CONDITION) {
            let end = at + condition_length(&tokens[at..]);
            known.push(token.clone());
            known.extend(condition(&tokens[at..end], std::mem::take(&mut is_left)));
            at = end;
        } else {
            known.push(token.clone());
        }
    }
    known
}

/// In parentheses, as a condition that IS TRUE where all rows of the left side stay.
fn condition(tokens: &[TokenWithSpan], is_left: bool) -> Vec<TokenWithSpan> {
    let Some(first) = tokens.first() else {
        return Vec::new();
    };
    let like = |new: Token| TokenWithSpan::new(new, first.span);
    let mut known = vec![like(Token::LParen), like(Token::LParen)];
    known.extend_from_slice(tokens);
    known.push(like(Token::RParen));
    if is_left {
        known.extend([Keyword::IS, Keyword::TRUE].map(|word| like(of_keyword(word))));
    }
    known.push(like(Token::RParen));
    known
}

/// Up to what the join goes by.
fn table_length(tokens: &[TokenWithSpan]) -> usize {
    let ends = [Keyword::ON, Keyword::USING, Keyword::MATCH_CONDITION];
    length_up_to(tokens, |token| ends.iter().any(|end| is_word(token, *end)))
}

/// Up to the ON that belongs to the join.
fn condition_length(tokens: &[TokenWithSpan]) -> usize {
    length_up_to(tokens, |token| is_word(token, Keyword::ON))
}

/// Outside of parentheses.
fn length_up_to(tokens: &[TokenWithSpan], is_end: impl Fn(&TokenWithSpan) -> bool) -> usize {
    let mut depth = 0i32;
    for (at, token) in tokens.iter().enumerate() {
        match token.token {
            Token::LParen => depth += 1,
            Token::RParen => depth -= 1,
            _ => {}
        }
        if depth < 0 || depth == 0 && is_end(token) {
            return at;
        }
    }
    tokens.len()
}

fn of_keyword(keyword: Keyword) -> Token {
    Token::Word(Word {
        value: format!("{keyword:?}"),
        quote_style: None,
        keyword,
    })
}
