//! The broker's half of a query: dialects, planning, the scan as a description, cut, gather.
