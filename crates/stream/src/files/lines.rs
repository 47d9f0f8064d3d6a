//! Lines of a file as messages.
//!
//! Invariant: what is returned of a file is the same whenever its bytes are the same: a line is
//! handed out when its end is there, and never in two pieces.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use bytes::Bytes;
use schemas::Offset;

use crate::Message;

/// Lines and bytes that are read at once.
const LINES_MAX: usize = 4096;
const BLOCK: usize = 1 << 20;
/// Of a longer line only the beginning is handed out, with a note that no format takes for data.
const LINE_MAX: usize = 16 << 20;
const SHOWN: usize = 4096;

#[derive(Debug, Default)]
pub(super) struct Lines {
    pub(super) messages: Vec<Message>,
    /// Position after the last line that is whole.
    pub(super) next: u64,
    /// Position after what is there to be read, as far as is known.
    pub(super) end: u64,
}

/// The lines from `from` on, which is the beginning of one.
pub(super) fn read(file: &File, from: u64) -> io::Result<Lines> {
    let len = file.metadata()?.len();
    let mut lines = Lines {
        next: from,
        end: len,
        ..Lines::default()
    };
    let mut bytes = read_block(file, from, BLOCK)?;
    while !bytes.contains(&b'\n') && from + (bytes.len() as u64) < len {
        if bytes.len() > LINE_MAX {
            return over_long(file, from, &bytes, len);
        }
        let most = bytes.len().min(LINE_MAX + 1 - bytes.len());
        let more = read_block(file, from + bytes.len() as u64, most)?;
        if more.is_empty() {
            break;
        }
        bytes.extend_from_slice(&more);
    }
    let bytes = Bytes::from(bytes);
    let mut start = 0;
    for end in memchr_newlines(&bytes) {
        if lines.messages.len() == LINES_MAX {
            break;
        }
        let line = bytes.slice(start..end);
        let line = match line.last() {
            Some(b'\r') => line.slice(..line.len() - 1),
            _ => line,
        };
        if !line.is_empty() {
            lines.messages.push(message(from + start as u64, line));
        }
        start = end + 1;
    }
    lines.next = from + start as u64;
    if start > 0 && !bytes[start..].contains(&b'\n') && from + bytes.len() as u64 >= len {
        // The rest is a line that is being written.
        lines.end = lines.next;
    } else if start == 0 {
        lines.end = from;
    }
    Ok(lines)
}

fn message(offset: u64, payload: Bytes) -> Message {
    Message {
        offset: offset as Offset,
        timestamp_ms: -1,
        key: None,
        payload: Some(payload),
        headers: Vec::new(),
    }
}

fn memchr_newlines(bytes: &[u8]) -> impl Iterator<Item = usize> + '_ {
    let ends = bytes.iter().enumerate();
    ends.filter(|(_, byte)| **byte == b'\n').map(|(at, _)| at)
}

fn read_block(file: &File, from: u64, most: usize) -> io::Result<Vec<u8>> {
    let mut block = vec![0; most];
    let mut read = 0;
    while read < most {
        match file.read_at(&mut block[read..], from + read as u64)? {
            0 => break,
            count => read += count,
        }
    }
    block.truncate(read);
    Ok(block)
}

/// Looks for the end of a line that is longer than any may be.
fn over_long(file: &File, from: u64, bytes: &[u8], len: u64) -> io::Result<Lines> {
    let mut at = from + bytes.len() as u64;
    loop {
        let block = read_block(file, at, BLOCK)?;
        if block.is_empty() {
            // It is still being written.
            return Ok(Lines {
                next: from,
                end: from,
                ..Lines::default()
            });
        }
        if let Some(end) = memchr_newlines(&block).next() {
            let next = at + end as u64 + 1;
            let mut shown = bytes[..SHOWN].to_vec();
            let note = format!(
                "… a line of {} bytes, {LINE_MAX} are read at most",
                next - from - 1
            );
            shown.extend_from_slice(note.as_bytes());
            return Ok(Lines {
                messages: vec![message(from, shown.into())],
                next,
                end: len,
            });
        }
        at += block.len() as u64;
    }
}

/// Bytes of the lines of a file that are whole.
pub(super) fn whole_lines(path: &Path) -> io::Result<u64> {
    let file = File::open(path)?;
    let mut end = file.metadata()?.len();
    while end > 0 {
        let start = end.saturating_sub(BLOCK as u64);
        let block = read_block(&file, start, (end - start) as usize)?;
        if let Some(last) = block.iter().rposition(|byte| *byte == b'\n') {
            return Ok(start + last as u64 + 1);
        }
        end = start;
    }
    Ok(0)
}

/// Whether a line begins at `from`.
pub(super) fn begins_at(file: &File, from: u64) -> io::Result<bool> {
    if from == 0 {
        return Ok(true);
    }
    Ok(read_block(file, from - 1, 1)?.first() == Some(&b'\n'))
}
