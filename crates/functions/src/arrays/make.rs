//! ARRAY, FILTERMV, ARRAYTOMV: arrays of single values, and columns of several values as arrays.

use datafusion::common::Result;
use datafusion::functions_nested::make_array::make_array_udf;
use datafusion::logical_expr::Expr;

use crate::arguments::wrong;
use crate::docs::Section;
use crate::plain::{Plain, Takes, list_of};

pub(super) fn all() -> Vec<Plain> {
    use Takes::{Any, List};
    vec![
        Plain::new(
            "array_value_constructor",
            &[Any],
            list_of(crate::rows::TEXT),
            |rows| Err(wrong(format!("{} is planned as ARRAY[…]", rows.name()))),
        )
        .variadic()
        .gives(|types, _| Ok(list_of(types[0].clone())))
        .alias("array")
        .simplifies(|args, _| -> Result<Option<Expr>> {
            Ok(Some(make_array_udf().call(args.to_vec())))
        })
        .says(
            Section::Arrays,
            "ARRAY(value, …)",
            "An array of the values. Also called ARRAYVALUECONSTRUCTOR.",
            &[("ARRAYVALUECONSTRUCTOR(1, 2)", "[1, 2]")],
        ),
        Plain::new("array_to_mv", &[List], list_of(crate::rows::TEXT), |rows| {
            rows.whole(0)
        })
        .gives(|types, _| Ok(types[0].clone()))
        .alias("mv_to_array")
        .says(
            Section::Arrays,
            "ARRAYTOMV(array)",
            "The array as a column of several values. Both are the same here.",
            &[("ARRAYTOMV(ARRAY[1, 2])", "[1, 2]")],
        ),
    ]
}
