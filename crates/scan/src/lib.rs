//! The server's half of a query: predicates, native operators, optimizer rules over segments.
