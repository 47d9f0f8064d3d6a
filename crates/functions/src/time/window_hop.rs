//! DATETIMECONVERTWINDOWHOP: the beginnings of all windows that a time is in.

use arrow::array::{ArrayRef, ListBuilder, PrimitiveBuilder, StringViewBuilder};
use arrow::datatypes::{DataType, Int64Type, TimestampMillisecondType};
use datafusion::common::Result;

use super::convert::read;
use super::format::{Format, Granularity};
use crate::arguments::wrong;
use crate::docs::Section;
use crate::plain::{Plain, TIME, Takes, list_of, literal};
use crate::rows::{Rows, TEXT};

const NAME: &str = "DATETIMECONVERTWINDOWHOP";
/// A time is in no more windows than this.
const WINDOWS_MAX: i64 = 10_000;

struct Windows {
    step_ms: i64,
    length_ms: i64,
}

impl Windows {
    fn parse(step: &str, length: &str) -> Result<Self> {
        let ms = |text: &str| {
            let Granularity { size, unit } = Granularity::parse(text, NAME)?;
            let ms = unit.ms().checked_mul(size).filter(|ms| *ms > 0);
            ms.ok_or_else(|| wrong(format!("{NAME}: `{text}` is no length of a window")))
        };
        let (step_ms, length_ms) = (ms(step)?, ms(length)?);
        if length_ms / step_ms >= WINDOWS_MAX {
            return Err(wrong(format!(
                "{NAME}: windows of `{length}` every `{step}` put a time into more than \
                 {WINDOWS_MAX} of them"
            )));
        }
        Ok(Self { step_ms, length_ms })
    }

    /// The latest first.
    fn of(&self, ms: i64) -> impl Iterator<Item = i64> {
        let latest = ms.div_euclid(self.step_ms) * self.step_ms;
        let after = ms.saturating_sub(self.length_ms);
        std::iter::successors(Some(latest), |begin| begin.checked_sub(self.step_ms))
            .take_while(move |begin| *begin > after)
    }
}

fn entry(to: &Format) -> DataType {
    match to {
        Format::Epoch { .. } => DataType::Int64,
        Format::Timestamp => TIME,
        Format::Text { .. } => TEXT,
    }
}

fn convert(rows: &Rows) -> Result<ArrayRef> {
    let from = Format::parse(rows.text(1)?, NAME)?;
    let to = Format::parse(rows.text(2)?, NAME)?;
    let windows = Windows::parse(rows.text(3)?, rows.text(4)?)?;
    let times = read(rows, &from)?;
    // What lists are made of depends on the format; how, does not.
    macro_rules! lists {
        ($entries:expr, $push:expr) => {{
            let field = schemas::arrow::entry_field(entry(&to));
            let mut lists = ListBuilder::with_capacity($entries, times.len()).with_field(field);
            for ms in &times {
                for begin in ms.iter().flat_map(|ms| windows.of(*ms)) {
                    $push(lists.values(), begin);
                }
                lists.append(ms.is_some());
            }
            std::sync::Arc::new(lists.finish())
        }};
    }
    Ok(match &to {
        Format::Epoch { unit, size } => lists!(
            PrimitiveBuilder::<Int64Type>::new(),
            |entries: &mut PrimitiveBuilder<Int64Type>, ms| entries
                .append_value(unit.of_ms(ms) / size)
        ),
        Format::Timestamp => lists!(
            PrimitiveBuilder::<TimestampMillisecondType>::new(),
            |entries: &mut PrimitiveBuilder<TimestampMillisecondType>, ms| entries.append_value(ms)
        ),
        to @ Format::Text { .. } => lists!(
            StringViewBuilder::new(),
            |entries: &mut StringViewBuilder, ms| {
                let mut text = String::new();
                let written = to.write(ms, &mut text);
                entries.append_option(written.map(|()| &text));
            }
        ),
    })
}

pub(super) fn all() -> Vec<Plain> {
    use Takes::{Any, Text};
    let own = Plain::new(
        "date_time_convert_window_hop",
        &[Any, Text, Text, Text, Text],
        list_of(TEXT),
        convert,
    )
    .gives(|_, values| match literal(values, 2) {
        Some(to) => Ok(list_of(entry(&Format::parse(to, NAME)?))),
        None => Ok(list_of(TEXT)),
    });
    vec![own.says(
        Section::Time,
        "DATETIMECONVERTWINDOWHOP(time, 'input format', 'output format', 'step', 'length')",
        "The beginnings of the windows of a length that begin every step and that the time is in, \
         the latest first. Formats and lengths are those of DATETIMECONVERT.",
        &[(
            "DATETIMECONVERTWINDOWHOP(1718454690000, '1:MILLISECONDS:EPOCH', '1:MINUTES:EPOCH', \
             '1:MINUTES', '2:MINUTES')",
            "[28640911, 28640910]",
        )],
    )]
}
