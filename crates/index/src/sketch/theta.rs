//! Distinct values by a theta sketch of Apache DataSketches, whose compact form Pinot reads and
//! writes too.
//!
//! Values are hashed as DataSketches for Java hashes them, so that sketches made there and here can
//! be joined.

use std::fmt;

use datasketches::error::Error;
use datasketches::hash::value::{canonical_float, raw_bytes};
use datasketches::theta::{
    CompactThetaSketch, ThetaSketch as OwnValues, ThetaSketchBuilder, ThetaUnion, ThetaUnionBuilder,
};

use crate::CorruptIndex;

/// Sketches keep 4,096 values, as Pinot's do.
const LG_K: u8 = 12;

pub struct ThetaSketch {
    own: OwnValues,
    others: ThetaUnion,
}

fn damaged(error: &Error) -> CorruptIndex {
    CorruptIndex::Sketch {
        what: format!("bytes that are no theta sketch: {error}"),
    }
}

impl fmt::Debug for ThetaSketch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ThetaSketch").finish_non_exhaustive()
    }
}

impl ThetaSketch {
    pub fn new() -> Result<Self, CorruptIndex> {
        let own = ThetaSketchBuilder::default().lg_k(LG_K).build();
        let others = ThetaUnionBuilder::default().lg_k(LG_K).build();
        Ok(Self {
            own: own.map_err(|error| damaged(&error))?,
            others: others.map_err(|error| damaged(&error))?,
        })
    }

    pub fn add_long(&mut self, value: i64) {
        self.own.update(value);
    }

    pub fn add_double(&mut self, value: f64) {
        self.own.update(canonical_float::from_f64(value));
    }

    /// An empty text counts as none.
    pub fn add_text(&mut self, text: &str) {
        if !text.is_empty() {
            self.own.update(raw_bytes::from_slice(text.as_bytes()));
        }
    }

    /// The compact form of another one; nothing at all is an empty one.
    pub fn merge_state(&mut self, state: &[u8]) -> Result<(), CorruptIndex> {
        if state.is_empty() {
            return Ok(());
        }
        let sketch = CompactThetaSketch::deserialize(state).map_err(|error| damaged(&error))?;
        self.others.update(&sketch).map_err(|error| damaged(&error))
    }

    fn whole(&mut self) -> Result<CompactThetaSketch, CorruptIndex> {
        let own = self.own.compact(true);
        self.others.update(&own).map_err(|error| damaged(&error))?;
        Ok(self.others.to_sketch(true))
    }

    /// The compact form.
    pub fn state(&mut self) -> Result<Vec<u8>, CorruptIndex> {
        Ok(self.whole()?.serialize())
    }

    pub fn estimate(&mut self) -> Result<f64, CorruptIndex> {
        Ok(self.whole()?.estimate())
    }

    pub fn memory_bytes(&self) -> usize {
        self.own.estimated_size() + self.others.estimated_size()
    }
}
