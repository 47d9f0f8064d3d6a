//! Texts without a dictionary: compressed blocks, or the bytes of UUIDs.
//!
//! A block is unpacked when it is asked for, and only then is it known to be whole. The last one is
//! kept: a filter and what it lets through ask for the same.

use std::ops::Range;
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use arrow::array::{Array, ArrayRef, BinaryViewArray, StringViewArray, make_view};
use arrow::buffer::{Buffer, ScalarBuffer};
use index::CorruptIndex;
use index::blocks::BlocksReader;
use schemas::DataType;

use super::forward::uuid_array;
use crate::BLOCK_ROWS;

#[derive(Debug)]
pub(crate) struct TextColumn {
    data_type: DataType,
    rows: usize,
    form: Form,
    last: ArcSwapOption<(usize, ArrayRef)>,
}

#[derive(Debug)]
pub(super) enum Form {
    /// Their frame was checked.
    Blocks(ScalarBuffer<u64>, Buffer),
    /// 16 bytes for each row.
    Uuids(Buffer),
}

impl TextColumn {
    pub(super) fn new(data_type: DataType, rows: u32, form: Form) -> Self {
        Self {
            data_type,
            rows: rows as usize,
            form,
            last: ArcSwapOption::empty(),
        }
    }

    /// `rows` lie within one block.
    pub(crate) fn array(&self, rows: Range<usize>) -> Result<ArrayRef, CorruptIndex> {
        let block = rows.start / BLOCK_ROWS as usize;
        let start = block * BLOCK_ROWS as usize;
        if rows.is_empty() {
            let none = arrow::array::new_empty_array(&schemas::arrow::arrow_type(self.data_type));
            return Ok(none);
        }
        let array = match self.last.load().as_deref() {
            Some((last, array)) if *last == block => Arc::clone(array),
            _ => {
                let array =
                    self.block(block, self.rows.min(start + BLOCK_ROWS as usize) - start)?;
                self.last.store(Some(Arc::new((block, Arc::clone(&array)))));
                array
            }
        };
        Ok(array.slice(rows.start - start, rows.len()))
    }

    fn block(&self, block: usize, count: usize) -> Result<ArrayRef, CorruptIndex> {
        match &self.form {
            Form::Blocks(starts, data) => {
                let values = BlocksReader::new(starts, data).block(block, count)?;
                if self.data_type != DataType::Bytes {
                    check_utf8(block, &values)?;
                }
                let ranges: Vec<Range<usize>> = values.ranges().collect();
                let bytes = Buffer::from(values.into_bytes());
                let view =
                    |range: Range<usize>| make_view(&bytes[range.clone()], 0, range.start as u32);
                let views: ScalarBuffer<u128> = ranges.into_iter().map(view).collect();
                // SAFETY: the views name ranges of the one buffer, which the reader has checked;
                // strings were found to be UTF-8 above.
                Ok(unsafe {
                    match self.data_type {
                        DataType::Bytes => {
                            Arc::new(BinaryViewArray::new_unchecked(views, [bytes], None))
                        }
                        _ => Arc::new(StringViewArray::new_unchecked(views, [bytes], None)),
                    }
                })
            }
            Form::Uuids(bytes) => {
                let start = block * BLOCK_ROWS as usize * 16;
                Ok(uuid_array(&bytes[start..start + count * 16]))
            }
        }
    }
}

fn check_utf8(block: usize, values: &index::blocks::BlockValues) -> Result<(), CorruptIndex> {
    let corrupt = || CorruptIndex::BlockNotUtf8 {
        index: block as u32,
    };
    let all = values.concatenated();
    if all.is_ascii() {
        return Ok(());
    }
    let text = std::str::from_utf8(all).map_err(|_| corrupt())?;
    let mut end = 0;
    for value in values.iter() {
        end += value.len();
        if !text.is_char_boundary(end) {
            return Err(corrupt());
        }
    }
    Ok(())
}
