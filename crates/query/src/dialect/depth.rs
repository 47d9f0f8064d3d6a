//! How deep a statement is, before and after it is parsed.
//!
//! Planning follows the tree of a statement by recursion, and looks at each level at all that is
//! below it. A chain of operators makes the tree as deep as it is long: chains of AND, of OR and of
//! `||` become balanced trees, which mean the same, and others may only be so long.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    BinaryOperator, Expr, Statement, Value, VisitMut, VisitorMut,
};
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};
use schemas::Fault;

use super::syntax;

/// Planning them takes time that grows with the square of their number.
const CHAINED_MAX: usize = 1_000;
/// They become trees, but taken apart again in places they must fit on the stacks of threads.
const CONDITIONS_MAX: usize = 2_000;
/// Shorter chains stay as they are written: names of columns are made of them.
const CHAIN_MIN: usize = 32;

/// What stands between a pair of parentheses, or CASE and END.
#[derive(Clone, Copy, Default)]
struct Level {
    chained: usize,
    conditions: usize,
    /// Joins and set operations: a comma does not end them.
    relations: usize,
    is_case: bool,
}

pub(super) fn check(tokens: &[TokenWithSpan]) -> Result<(), Fault> {
    // Each operator has an operand.
    if tokens.len() < 2 * CHAINED_MAX {
        return Ok(());
    }
    let (mut outer, mut level) = (Vec::new(), Level::default());
    // Of the levels around.
    let (mut chained, mut conditions) = (0, 0);
    for token in tokens {
        let opens_case = is_keyword(token, Keyword::CASE);
        if opens_case || token.token == Token::LParen {
            chained += level.chained + level.relations;
            conditions += level.conditions;
            outer.push(level);
            level = Level {
                is_case: opens_case,
                ..Level::default()
            };
        } else if token.token == Token::RParen || level.is_case && is_keyword(token, Keyword::END) {
            level = outer.pop().unwrap_or_default();
            chained -= level.chained + level.relations;
            conditions -= level.conditions;
        } else {
            level.count(token);
        }
        if chained + level.chained + level.relations > CHAINED_MAX {
            return Err(syntax(&format!(
                "more than {CHAINED_MAX} operators, joins or set operations in a row cannot be \
                 planned; split them, for example by a subquery"
            )));
        }
        if conditions + level.conditions > CONDITIONS_MAX {
            return Err(syntax(&format!(
                "more than {CONDITIONS_MAX} conditions in a row cannot be planned; write \
                 `x IN (…)` for many comparisons of one column"
            )));
        }
    }
    Ok(())
}

impl Level {
    fn count(&mut self, token: &TokenWithSpan) {
        match &token.token {
            Token::Comma => (self.chained, self.conditions) = (0, 0),
            Token::Plus | Token::Minus | Token::Mul | Token::Div | Token::Mod => self.chained += 1,
            Token::DoubleColon => self.chained += 1,
            Token::StringConcat => self.conditions += 1,
            Token::Word(word) => match word.keyword {
                Keyword::WHEN | Keyword::THEN | Keyword::ELSE if self.is_case => {
                    (self.chained, self.conditions) = (0, 0);
                }
                Keyword::AND | Keyword::OR | Keyword::NOT => self.conditions += 1,
                Keyword::UNION | Keyword::INTERSECT | Keyword::EXCEPT | Keyword::JOIN => {
                    self.relations += 1;
                }
                _ => {}
            },
            _ => {}
        }
    }
}

fn is_keyword(token: &TokenWithSpan, keyword: Keyword) -> bool {
    matches!(&token.token, Token::Word(word) if word.keyword == keyword)
}

/// Long chains of operators for which it does not matter where the parentheses stand.
pub(super) fn balance(statement: &mut Statement) {
    let _ = VisitMut::visit(statement, &mut Balance);
}

struct Balance;

impl VisitorMut for Balance {
    type Break = ();

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        use BinaryOperator::{And, Or, StringConcat};
        if let Expr::BinaryOp { op, .. } = &*expr
            && matches!(op, And | Or | StringConcat)
            && length(expr) >= CHAIN_MIN
        {
            let op = op.clone();
            let mut operands = operands(expr, &op);
            *expr = tree(&mut operands, &op);
        }
        ControlFlow::Continue(())
    }
}

fn length(expr: &Expr) -> usize {
    let (mut length, mut at) = (0, expr);
    while let (Expr::BinaryOp { left, op, .. }, Expr::BinaryOp { op: first, .. }) = (at, expr)
        && op == first
    {
        (length, at) = (length + 1, left);
    }
    length
}

/// From left to right.
fn operands(expr: &mut Expr, op: &BinaryOperator) -> Vec<Expr> {
    let mut operands = Vec::new();
    let mut rest = std::mem::replace(expr, Expr::value(Value::Null));
    loop {
        match rest {
            Expr::BinaryOp {
                left,
                op: own,
                right,
            } if own == *op => {
                operands.push(*right);
                rest = *left;
            }
            first => {
                operands.push(first);
                break;
            }
        }
    }
    operands.reverse();
    operands
}

/// Of at least one operand.
fn tree(operands: &mut Vec<Expr>, op: &BinaryOperator) -> Expr {
    let mut right = operands.split_off(operands.len().div_ceil(2));
    if right.is_empty() {
        return operands.pop().unwrap_or_else(|| Expr::value(Value::Null));
    }
    Expr::BinaryOp {
        left: Box::new(tree(operands, op)),
        op: op.clone(),
        right: Box::new(tree(&mut right, op)),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Dialect, Options, parse};

    #[test]
    fn long_chains_become_trees_that_say_the_same() {
        let chain = |joint: &str, count| vec!["a"; count].join(joint);
        let parsed = |condition: String| {
            let sql = format!("SELECT {condition} AS c FROM t");
            parse(&sql, Dialect::Standard, Options::default(), 10)
        };
        for joint in [" AND ", " OR ", " || "] {
            let long = parsed(chain(joint, 2_000)).unwrap();
            // Without parentheses it is written as it was.
            assert_eq!(
                long.parsed.sql.to_string(),
                format!("SELECT {} AS c FROM t", chain(joint, 2_000))
            );
            assert!(parsed(chain(joint, 2_002)).is_err(), "{joint}");
        }
        assert!(parsed(chain(" + ", 1_000)).is_ok());
        assert!(parsed(chain(" + ", 1_002)).is_err());
        let case = "CASE WHEN a + b THEN c ELSE d END";
        assert!(parsed(vec![case; 1_002].join(" - ")).is_err());
        assert!(parsed(vec![case; 3_000].join(", ")).is_ok());
        assert!(parsed(format!("f({})", vec!["a + b"; 3_000].join(", "))).is_ok());
    }
}
