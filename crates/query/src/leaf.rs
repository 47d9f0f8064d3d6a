//! What all leaves of a plan have in common: no children to replace.

/// Within `impl ExecutionPlan`: a leaf whose expressions are the filters of its description, those
/// of another leaf in whose place it is, or none.
#[macro_export]
macro_rules! leaf {
    (without_expressions) => {
        $crate::leaf!(@visits self, _visit, {
            Ok(datafusion::common::tree_node::TreeNodeRecursion::Continue)
        });
    };
    (in_place_of $other:ident) => {
        $crate::leaf!(@visits self, visit, { self.$other.apply_expressions(visit) });
    };
    ($($description:ident).+) => {
        $crate::leaf!(@visits self, visit, {
            use datafusion::common::tree_node::TreeNodeRecursion;
            for filter in &self.$($description).+.filters {
                if visit(filter)? == TreeNodeRecursion::Stop {
                    return Ok(TreeNodeRecursion::Stop);
                }
            }
            Ok(TreeNodeRecursion::Continue)
        });
    };
    (@visits $self:ident, $visit:ident, $visited:block) => {
        fn apply_expressions(
            &$self,
            $visit: &mut dyn FnMut(
                &std::sync::Arc<dyn datafusion::physical_expr::PhysicalExpr>,
            ) -> datafusion::common::Result<
                datafusion::common::tree_node::TreeNodeRecursion,
            >,
        ) -> datafusion::common::Result<datafusion::common::tree_node::TreeNodeRecursion> $visited

        fn children(
            &$self,
        ) -> Vec<&std::sync::Arc<dyn datafusion::physical_plan::ExecutionPlan>> {
            Vec::new()
        }

        fn replace_children(
            $self: std::sync::Arc<Self>,
            _: Vec<std::sync::Arc<dyn datafusion::physical_plan::ExecutionPlan>>,
            _: datafusion::physical_plan::execution_plan::ReplaceChildrenOptions,
        ) -> datafusion::common::Result<
            std::sync::Arc<dyn datafusion::physical_plan::ExecutionPlan>,
        > {
            Ok($self)
        }

        fn with_new_children(
            $self: std::sync::Arc<Self>,
            _: Vec<std::sync::Arc<dyn datafusion::physical_plan::ExecutionPlan>>,
        ) -> datafusion::common::Result<
            std::sync::Arc<dyn datafusion::physical_plan::ExecutionPlan>,
        > {
            Ok($self)
        }
    };
}
