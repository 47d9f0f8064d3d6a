//! What is done to the text of a request before it is parsed: quotes and comments are respected.

use schemas::proto::Explain;

/// Pieces between semicolons that stand outside of quotes and comments.
pub(super) fn split_statements(text: &str) -> Vec<&str> {
    let mut pieces = split_outside_quotes(text, ';');
    pieces.retain(|piece| outside_quotes(piece).any(|(_, c)| !c.is_whitespace()));
    pieces
}

pub(super) fn split_outside_quotes(text: &str, separator: char) -> Vec<&str> {
    let mut pieces = Vec::new();
    let mut start = 0;
    for (at, _) in outside_quotes(text).filter(|(_, c)| *c == separator) {
        pieces.push(text[start..at].trim());
        start = at + 1;
    }
    pieces.push(text[start..].trim());
    pieces
}

/// Characters outside of -- and /* comments */; of 'text', "names" and `names` the closing quote.
fn outside_quotes(text: &str) -> impl Iterator<Item = (usize, char)> {
    let mut quote: Option<char> = None;
    let mut comment: Option<&'static str> = None;
    let mut skip = 0;
    text.char_indices().filter(move |(at, c)| {
        let rest = &text[*at..];
        if *at < skip {
            return false;
        }
        if let Some(end) = comment {
            if rest.starts_with(end) {
                comment = None;
                skip = at + end.len();
            }
            return false;
        }
        if let Some(open) = quote {
            if *c == open {
                quote = None;
            }
            return quote.is_none();
        }
        if rest.starts_with("--") {
            comment = Some("\n");
            return false;
        }
        if rest.starts_with("/*") {
            comment = Some("*/");
            skip = at + 2;
            return false;
        }
        if matches!(c, '\'' | '"' | '`') {
            quote = Some(*c);
            return false;
        }
        true
    })
}

/// What follows `word` at the start, in any case.
pub(super) fn strip_word<'a>(text: &'a str, word: &str) -> Option<&'a str> {
    let head = text.get(..word.len())?;
    let rest = &text[word.len()..];
    (head.eq_ignore_ascii_case(word) && rest.starts_with(char::is_whitespace)).then(|| rest.trim())
}

/// The statement behind EXPLAIN in any of its forms.
pub(super) fn strip_explain(text: &str) -> (&str, Explain) {
    let Some(mut rest) = strip_word(text, "EXPLAIN") else {
        return (text, Explain::None);
    };
    for word in ["IMPLEMENTATION", "PLAN", "WITHOUT", "IMPLEMENTATION", "FOR"] {
        rest = strip_word(rest, word).unwrap_or(rest);
    }
    match strip_word(rest, "ANALYZE") {
        Some(rest) => (rest, Explain::Analyze),
        None => (rest, Explain::Plan),
    }
}

/// `… OPTION(a=b, c=d)` at the end.
pub(super) fn split_option_clause(text: &str) -> (&str, &str) {
    let Some(body) = text.strip_suffix(')') else {
        return (text, "");
    };
    let Some((open, _)) = outside_quotes(body).filter(|(_, c)| *c == '(').last() else {
        return (text, "");
    };
    let head = body[..open].trim_end();
    let word = head.len().checked_sub("OPTION".len());
    match word.and_then(|at| Some((head.get(at..)?, at))) {
        Some((word, at)) if word.eq_ignore_ascii_case("OPTION") => {
            (head[..at].trim_end(), &body[open + 1..])
        }
        _ => (text, ""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn semicolons_in_quotes_and_comments_split_nothing() {
        assert_eq!(
            split_statements("SET a=1; SELECT ';' ;"),
            ["SET a=1", "SELECT ';'"]
        );
        assert_eq!(split_statements("SELECT 1 -- a; b"), ["SELECT 1 -- a; b"]);
        assert_eq!(
            split_statements("/* ; */ SELECT 'it''s;' /*/;*/"),
            ["/* ; */ SELECT 'it''s;' /*/;*/"]
        );
        assert_eq!(split_statements("SELECT 1; -- done"), ["SELECT 1"]);
        assert!(split_statements(" ;; -- nothing").is_empty());
    }

    #[test]
    fn an_option_clause_is_found_at_the_end_only() {
        assert_eq!(
            split_option_clause("SELECT 1 option (a=1)"),
            ("SELECT 1", "a=1")
        );
        assert_eq!(split_option_clause("SELECT f(a)"), ("SELECT f(a)", ""));
        assert_eq!(
            split_option_clause("SELECT 'OPTION(a=1)'"),
            ("SELECT 'OPTION(a=1)'", "")
        );
    }
}
