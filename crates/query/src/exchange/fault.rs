//! Faults on their way through others' errors.
//!
//! Between servers an error travels as DataFusion's own; of one that is not DataFusion's, its text
//! alone. So a fault is written into the text, whole, and read from it again at the broker.

use std::fmt;

use datafusion::common::DataFusionError;
use prost::Message;
use schemas::{Fault, InstanceId, proto};

use crate::fault::to_fault;

/// Begins and ends a fault in a text: no message holds it by chance.
const BEGIN: &str = "\u{2}fault:";
const END: char = '\u{3}';

/// What went wrong, and who is to blame if it is a server.
#[derive(Clone, Debug)]
pub(super) struct Told {
    pub(super) fault: Fault,
    /// It was not reached, or cannot answer: others may.
    pub(super) server: Option<InstanceId>,
}

#[derive(Clone, PartialEq, Message)]
struct ToldMessage {
    #[prost(message, optional, tag = "1")]
    fault: Option<proto::Fault>,
    #[prost(string, tag = "2")]
    server: String,
}

impl fmt::Display for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let message = ToldMessage {
            fault: Some(self.fault.clone().into()),
            server: self.server.as_ref().map_or("", |id| &id.0).to_owned(),
        };
        f.write_str(BEGIN)?;
        for byte in message.encode_to_vec() {
            write!(f, "{byte:02x}")?;
        }
        write!(f, "{END}{}", self.fault)
    }
}

impl std::error::Error for Told {}

impl From<Told> for DataFusionError {
    fn from(told: Told) -> Self {
        Self::External(Box::new(told))
    }
}

impl Told {
    pub(super) fn by_nobody(fault: Fault) -> Self {
        Self {
            fault,
            server: None,
        }
    }

    pub(super) fn of(error: &DataFusionError) -> Self {
        let in_text = Self::in_text(&error.to_string());
        in_text.unwrap_or_else(|| Self {
            fault: to_fault(error, ""),
            server: None,
        })
    }

    fn in_text(text: &str) -> Option<Self> {
        let (_, rest) = text.split_once(BEGIN)?;
        let (digits, _) = rest.split_once(END)?;
        let byte = |at: usize| u8::from_str_radix(digits.get(at..at + 2)?, 16).ok();
        let bytes = (0..digits.len()).step_by(2).map(byte);
        let bytes: Vec<u8> = bytes.collect::<Option<_>>()?;
        let message = ToldMessage::decode(&*bytes).ok()?;
        Some(Self {
            fault: message.fault?.into(),
            server: (!message.server.is_empty()).then_some(InstanceId(message.server)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_survives_as_text() {
        let told = Told {
            fault: Fault::unavailable("no „b“"),
            server: Some(InstanceId("Server_b_1".to_owned())),
        };
        let as_text = DataFusionError::External(told.to_string().into());
        let within = as_text.context("a task failed");
        let read = Told::of(&within);
        assert_eq!(read.fault, told.fault);
        assert_eq!(read.server, told.server);
        let other = Told::of(&DataFusionError::Execution("divide by zero".to_owned()));
        assert!(other.fault.message.contains("divide by zero") && other.server.is_none());
    }
}
