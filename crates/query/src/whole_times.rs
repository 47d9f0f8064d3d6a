//! `'2025-12-01 10:00'` and `'2025-12-01 10'` are times, as in PostgreSQL: what a literal leaves
//! out is zero. The planner's own cast wants seconds.

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::{Expr, LogicalPlan};
use datafusion::optimizer::AnalyzerRule;

#[derive(Debug)]
pub(crate) struct WholeTimes;

impl AnalyzerRule for WholeTimes {
    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> Result<LogicalPlan> {
        let whole = plan.transform_up_with_subqueries(|node| {
            let names = NamePreserver::new(&node);
            node.map_expressions(|expr| {
                if !expr.exists(|part| Ok(of_literal(part).is_some()))? {
                    return Ok(Transformed::no(expr));
                }
                let name = names.save(&expr);
                let whole = expr.transform_up(|part| Ok(made_whole(part)))?;
                Ok(whole.update_data(|expr| name.restore(expr)))
            })
        })?;
        Ok(whole.data)
    }

    fn name(&self) -> &str {
        "whole_times"
    }
}

fn made_whole(mut part: Expr) -> Transformed<Expr> {
    let Some(text) = of_literal(&part) else {
        return Transformed::no(part);
    };
    if let Expr::Cast(cast) = &mut part {
        *cast.expr = Expr::Literal(ScalarValue::Utf8(Some(text)), None);
    }
    Transformed::yes(part)
}

/// The whole text of a literal that is cast to a time and leaves something out.
fn of_literal(part: &Expr) -> Option<String> {
    let Expr::Cast(cast) = part else {
        return None;
    };
    if !cast.field.data_type().is_temporal() {
        return None;
    }
    match cast.expr.as_ref() {
        Expr::Literal(value, _) => whole(value.try_as_str()??),
        _ => None,
    }
}

fn whole(text: &str) -> Option<String> {
    let (date, rest) = text.trim().split_at_checked("2025-12-01".len())?;
    let is_like = |text: &str, form: &str| {
        let pairs = text.bytes().zip(form.bytes());
        let fits = |(byte, form): (u8, u8)| match form {
            b'0' => byte.is_ascii_digit(),
            other => byte == other,
        };
        text.len() == form.len() && pairs.into_iter().all(fits)
    };
    let clock = rest.strip_prefix([' ', 'T'])?;
    let end = clock.find(['+', '-', 'Z', 'z', ' ']);
    let (clock, zone) = clock.split_at(end.unwrap_or(clock.len()));
    let missing = match clock {
        clock if is_like(clock, "00") => ":00:00",
        clock if is_like(clock, "00:00") => ":00",
        _ => return None,
    };
    is_like(date, "0000-00-00").then(|| format!("{date}T{clock}{missing}{zone}"))
}

#[cfg(test)]
mod tests {
    use super::whole;

    #[test]
    fn what_is_left_out_is_zero() {
        for (text, wanted) in [
            ("2025-12-01 10:30", Some("2025-12-01T10:30:00")),
            ("2025-12-01T10", Some("2025-12-01T10:00:00")),
            ("2025-12-01 10:30+02", Some("2025-12-01T10:30:00+02")),
            ("2025-12-01 10:30Z", Some("2025-12-01T10:30:00Z")),
            ("2025-12-01 10:30:00", None),
            ("2025-12-01", None),
            ("2025-12-01 1", None),
            ("no time at all", None),
            ("äöüäö 10:30", None),
        ] {
            assert_eq!(whole(text).as_deref(), wanted, "{text}");
        }
    }
}
