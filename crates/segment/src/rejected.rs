//! Rows that could not be decoded: they belong to the segment of their offset and commit with it.
//!
//! All are counted in the ledger. At most [`ROWS_MAX`] of them and [`BYTES_MAX`] are kept to be
//! looked at, the first [`PAYLOAD_MAX`] bytes of each payload.

pub(crate) const ROWS_MAX: usize = 10_000;
pub(crate) const BYTES_MAX: usize = 16 << 20;
pub(crate) const PAYLOAD_MAX: usize = 4096;
const REASON_MAX: usize = 1024;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RejectedRow {
    pub partition: u32,
    pub offset: i64,
    pub time_ms: i64,
    pub reason: String,
    pub payload: Vec<u8>,
}

impl RejectedRow {
    fn bytes(&self) -> usize {
        self.reason.len() + self.payload.len() + size_of::<Self>()
    }
}

/// The rejected rows of a consuming segment.
#[derive(Clone, Debug, Default)]
pub(crate) struct RejectedLog {
    rows: Vec<RejectedRow>,
    bytes: usize,
    count: u64,
}

impl RejectedLog {
    pub(crate) fn add(&mut self, mut row: RejectedRow) {
        self.count += 1;
        row.payload.truncate(PAYLOAD_MAX);
        row.reason
            .truncate(row.reason.floor_char_boundary(REASON_MAX));
        if self.rows.len() < ROWS_MAX && self.bytes + row.bytes() <= BYTES_MAX {
            self.bytes += row.bytes();
            self.rows.push(row);
        }
    }

    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn into_rows(self) -> Vec<RejectedRow> {
        self.rows
    }

    pub(crate) fn rows(&self) -> &[RejectedRow] {
        &self.rows
    }
}

/// ```text
/// REJECTED := ROW*
/// ROW      := partition: u32 | offset: i64 | time_ms: i64 | TEXT reason | TEXT payload
/// TEXT     := length: u32 | bytes
/// ```
pub(crate) fn to_bytes(rows: &[RejectedRow]) -> Vec<u8> {
    let mut out = Vec::new();
    for row in rows {
        out.extend_from_slice(&row.partition.to_le_bytes());
        out.extend_from_slice(&row.offset.to_le_bytes());
        out.extend_from_slice(&row.time_ms.to_le_bytes());
        for text in [row.reason.as_bytes(), &row.payload] {
            out.extend_from_slice(&(text.len() as u32).to_le_bytes());
            out.extend_from_slice(text);
        }
    }
    out
}

/// `None` when the bytes are no rejected rows.
pub(crate) fn from_bytes(mut bytes: &[u8]) -> Option<Vec<RejectedRow>> {
    let mut rows = Vec::new();
    while !bytes.is_empty() {
        rows.push(RejectedRow {
            partition: u32::from_le_bytes(take(&mut bytes)?),
            offset: i64::from_le_bytes(take(&mut bytes)?),
            time_ms: i64::from_le_bytes(take(&mut bytes)?),
            reason: String::from_utf8(take_text(&mut bytes)?).ok()?,
            payload: take_text(&mut bytes)?,
        });
    }
    Some(rows)
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (head, tail) = bytes.split_first_chunk::<N>()?;
    *bytes = tail;
    Some(*head)
}

fn take_text(bytes: &mut &[u8]) -> Option<Vec<u8>> {
    let length = u32::from_le_bytes(take(bytes)?) as usize;
    let (head, tail) = bytes.split_at_checked(length)?;
    *bytes = tail;
    Some(head.to_vec())
}

#[cfg(test)]
mod tests {
    use super::{PAYLOAD_MAX, ROWS_MAX, RejectedLog, RejectedRow, from_bytes, to_bytes};

    fn row(offset: i64, payload: Vec<u8>) -> RejectedRow {
        RejectedRow {
            partition: 3,
            offset,
            time_ms: 1_700_000_000_000,
            reason: "field `a`: no number".to_owned(),
            payload,
        }
    }

    #[test]
    fn round_trip_and_damage() {
        let rows = vec![row(1, vec![]), row(2, b"{\"a\":".to_vec())];
        let bytes = to_bytes(&rows);
        assert_eq!(from_bytes(&bytes), Some(rows));
        assert_eq!(from_bytes(&bytes[..bytes.len() - 1]), None);
        assert_eq!(from_bytes(&[]), Some(vec![]));
    }

    #[test]
    fn what_is_kept_is_bounded_and_all_is_counted() {
        let mut log = RejectedLog::default();
        for offset in 0..6000 {
            log.add(row(offset, vec![7; 9000]));
        }
        assert_eq!(log.count(), 6000);
        assert!(
            log.rows()
                .iter()
                .all(|row| row.payload.len() == PAYLOAD_MAX)
        );
        assert!(log.bytes() <= super::BYTES_MAX && log.rows().len() > 3000);
        let mut log = RejectedLog::default();
        for offset in 0..20_000 {
            log.add(row(offset, vec![]));
        }
        assert_eq!((log.count(), log.rows().len()), (20_000, ROWS_MAX));
    }
}
