//! Which rows go together into segments, by their time.

use schemas::task::RewriteOrder;

/// Segments of more buckets than these are divided at the window alone.
const BUCKETS_MAX: i64 = 400;

/// Rows with a time in `[from, to)` become segments of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    /// `None`: rows of all times.
    pub(super) within: Option<(i64, i64)>,
    /// It is what the order is about; the others are what came along.
    pub(super) is_window: bool,
}

impl Span {
    pub(super) fn overlaps(&self, range: Option<(i64, i64)>) -> bool {
        match (self.within, range) {
            (Some((from, to)), Some((least, greatest))) => least < to && greatest >= from,
            _ => true,
        }
    }
}

/// Every row of the inputs is in one of them, or is not of the order.
pub(super) fn spans(order: &RewriteOrder) -> Vec<Span> {
    let Some((start, end)) = order.window_ms else {
        return vec![Span {
            within: None,
            is_window: true,
        }];
    };
    let span = |from, to| Span {
        within: Some((from, to)),
        is_window: (from, to) == (start, end),
    };
    let Some(bucket_ms) = order.bucket_ms else {
        return vec![span(start, end)];
    };
    let ranges = || order.inputs.iter().filter_map(|input| input.time_range);
    let least = ranges()
        .map(|range| range.0)
        .min()
        .unwrap_or(start)
        .min(start);
    let greatest = ranges()
        .map(|range| range.1)
        .max()
        .unwrap_or(start)
        .max(start);
    let (first, last) = (least.div_euclid(bucket_ms), greatest.div_euclid(bucket_ms));
    if last - first >= BUCKETS_MAX || start.rem_euclid(bucket_ms) != 0 {
        return vec![span(i64::MIN, start), span(start, end), span(end, i64::MAX)];
    }
    let buckets = first..=last;
    buckets
        .map(|bucket| span(bucket * bucket_ms, (bucket + 1) * bucket_ms))
        .collect()
}
