//! The parser's dialect, which ends a parse that would never end.
//!
//! Where a word such as CAST or CASE does not begin what it should, the parser begins again and
//! takes it for a name: a mistake below thirty of them is looked for a thousand million times. So
//! the beginnings of expressions are counted, and there may be some for each token.

use std::any::TypeId;
use std::cell::Cell;

use datafusion::sql::sqlparser::ast::Expr;
use datafusion::sql::sqlparser::dialect::{Dialect, GenericDialect};
use datafusion::sql::sqlparser::parser::{Parser, ParserError};

/// What is right begins once or twice at each token.
const BEGINS_PER_TOKEN: usize = 16;
const BEGINS_MIN: usize = 20_000;

#[derive(Debug)]
pub(super) struct Patient {
    generic: GenericDialect,
    begins_left: Cell<usize>,
}

impl Patient {
    pub(super) fn with(tokens: usize) -> Self {
        Self {
            generic: GenericDialect {},
            begins_left: Cell::new(BEGINS_MIN.max(tokens.saturating_mul(BEGINS_PER_TOKEN))),
        }
    }
}

macro_rules! as_generic {
    ($($name:ident)*) => {
        $(fn $name(&self) -> bool {
            self.generic.$name()
        })*
    };
}

impl Dialect for Patient {
    fn dialect(&self) -> TypeId {
        self.generic.dialect()
    }

    fn parse_prefix(&self, _: &mut Parser<'_>) -> Option<Result<Expr, ParserError>> {
        let left = self.begins_left.get();
        self.begins_left.set(left.saturating_sub(1));
        (left == 0).then_some(Err(ParserError::RecursionLimitExceeded))
    }

    fn is_delimited_identifier_start(&self, ch: char) -> bool {
        self.generic.is_delimited_identifier_start(ch)
    }

    fn is_identifier_start(&self, ch: char) -> bool {
        self.generic.is_identifier_start(ch)
    }

    fn is_identifier_part(&self, ch: char) -> bool {
        self.generic.is_identifier_part(ch)
    }

    as_generic! {
        supports_unicode_string_literal
        supports_partition_by_after_order_by
        supports_array_join_syntax
        supports_group_by_expr
        supports_group_by_with_modifier
        supports_left_associative_joins_without_parens
        supports_connect_by
        supports_match_recognize
        supports_pipe_operator
        supports_start_transaction_modifier
        supports_window_function_null_treatment_arg
        supports_dictionary_syntax
        supports_window_clause_named_window_reference
        supports_parenthesized_set_variables
        supports_select_wildcard_except
        support_map_literal_syntax
        allow_extract_custom
        allow_extract_single_quotes
        supports_extract_comma_syntax
        supports_create_view_comment_syntax
        supports_parens_around_table_factor
        supports_values_as_table_factor
        supports_create_index_with_clause
        supports_explain_with_utility_options
        supports_limit_comma
        supports_update_order_by
        supports_from_first_select
        supports_projection_trailing_commas
        supports_asc_desc_in_column_definition
        supports_try_convert
        supports_bitwise_shift_operators
        supports_comment_on
        supports_load_extension
        supports_named_fn_args_with_assignment_operator
        supports_struct_literal
        supports_empty_projections
        supports_nested_comments
        supports_multiline_comment_hints
        supports_user_host_grantee
        supports_string_escape_constant
        supports_array_typedef_with_brackets
        supports_match_against
        supports_set_names
        supports_comma_separated_set_assignments
        supports_filter_during_aggregation
        supports_select_wildcard_exclude
        supports_data_type_signed_suffix
        supports_interval_options
        supports_quote_delimited_string
        supports_select_wildcard_replace
        supports_select_wildcard_ilike
        supports_select_wildcard_rename
        supports_optimize_table
        supports_install
        supports_detach
        supports_prewhere
        supports_with_fill
        supports_limit_by
        supports_interpolate
        supports_settings
        supports_select_format
        supports_comment_optimizer_hint
        supports_constraint_keyword_without_name
        supports_key_column_option
        supports_comma_separated_trim
        supports_cte_without_as
        supports_select_item_multi_column_alias
        supports_xml_expressions
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    /// Without optimisation fifty levels take more than the stack of a test.
    const STACK_BYTES: usize = 64 << 20;

    #[test]
    fn a_mistake_below_many_words_is_found_at_once() {
        let thread = std::thread::Builder::new().stack_size(STACK_BYTES);
        thread.spawn(look_for_mistakes).unwrap().join().unwrap();
    }

    fn look_for_mistakes() {
        for (open, close) in [
            ("CAST(", " AS BIGINT)"),
            ("CASE WHEN true THEN ", " END"),
            ("ARRAY[", "]"),
            ("EXISTS(SELECT ", ")"),
        ] {
            for depth in [30, 47, 300] {
                let nested = format!("{}1 2{}", open.repeat(depth), close.repeat(depth));
                let begin = Instant::now();
                let options = crate::Options::default();
                let sql = format!("SELECT {nested}");
                let parsed = crate::parse(&sql, crate::Dialect::Standard, options, 10);
                assert!(parsed.is_err(), "{sql}");
                assert!(begin.elapsed() < Duration::from_secs(20), "{open} {depth}");
            }
        }
    }

    #[test]
    fn it_is_the_generic_dialect() {
        let patient = Patient::with(0);
        assert_eq!(patient.dialect(), GenericDialect {}.dialect());
        assert!(patient.supports_filter_during_aggregation());
        assert!(patient.supports_limit_comma());
    }
}
