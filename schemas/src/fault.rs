//! The one error that crosses processes.
//!
//! Inside a crate errors are precise enums; at its boundary they become a [`Fault`]: a kind that
//! tells the caller what to do, Pinot's code for Pinot's clients, a message for the reader, and the
//! place in the statement where there is one.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What the caller should do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum FaultKind {
    /// Fix the request.
    Invalid,
    /// Ask for permission.
    Denied,
    /// Check the name.
    NotFound,
    /// Read the current state, then decide.
    Conflict,
    /// Retry later, with back-off.
    Overloaded,
    /// Report it; the details are in our log.
    Internal,
    /// Retry.
    Unavailable,
    /// Retry with a longer deadline or less data.
    Timeout,
    /// Nothing: the caller asked for it.
    Cancelled,
}

impl FaultKind {
    pub const ALL: [(Self, &'static str); 9] = [
        (Self::Invalid, "Invalid"),
        (Self::Denied, "Denied"),
        (Self::NotFound, "NotFound"),
        (Self::Conflict, "Conflict"),
        (Self::Overloaded, "Overloaded"),
        (Self::Internal, "Internal"),
        (Self::Unavailable, "Unavailable"),
        (Self::Timeout, "Timeout"),
        (Self::Cancelled, "Cancelled"),
    ];

    pub fn name(self) -> &'static str {
        Self::ALL
            .iter()
            .find(|(kind, _)| *kind == self)
            .map_or("Internal", |(_, name)| name)
    }

    /// A name that this version does not know is a bug of somebody: `Internal`.
    pub fn from_name(name: &str) -> Self {
        Self::ALL
            .iter()
            .find(|(_, known)| *known == name)
            .map_or(Self::Internal, |(kind, _)| *kind)
    }

    pub const fn http_status(self) -> u16 {
        match self {
            Self::Invalid => 400,
            Self::Denied => 403,
            Self::NotFound => 404,
            Self::Conflict => 409,
            Self::Overloaded => 429,
            Self::Internal => 500,
            Self::Unavailable | Self::Cancelled => 503,
            Self::Timeout => 504,
        }
    }

    /// Whether the same request may succeed later without a change.
    pub const fn retryable(self) -> bool {
        matches!(self, Self::Overloaded | Self::Unavailable | Self::Timeout)
    }
}

/// Pinot's error codes, as its clients know them.
pub mod pinot_code {
    pub const JSON_PARSING: u32 = 100;
    pub const SQL_PARSING: u32 = 150;
    pub const ACCESS_DENIED: u32 = 180;
    pub const TABLE_DOES_NOT_EXIST: u32 = 190;
    pub const QUERY_EXECUTION: u32 = 200;
    pub const SERVER_RESOURCE_LIMIT: u32 = 245;
    pub const EXECUTION_TIMEOUT: u32 = 250;
    pub const BROKER_SEGMENT_UNAVAILABLE: u32 = 305;
    pub const BROKER_TIMEOUT: u32 = 400;
    pub const BROKER_RESOURCE_MISSING: u32 = 410;
    pub const SERVER_NOT_RESPONDING: u32 = 427;
    pub const TOO_MANY_REQUESTS: u32 = 429;
    pub const INTERNAL: u32 = 450;
    pub const QUERY_CANCELLATION: u32 = 503;
    pub const QUERY_VALIDATION: u32 = 700;
    pub const UNKNOWN_COLUMN: u32 = 710;
    pub const QUERY_PLANNING: u32 = 720;

    /// Pinot's status of an answer with this code, for clients that ask for statuses.
    pub const fn http_status(code: u32) -> u16 {
        match code {
            JSON_PARSING | SQL_PARSING | QUERY_VALIDATION | UNKNOWN_COLUMN | QUERY_PLANNING => 400,
            ACCESS_DENIED => 403,
            TABLE_DOES_NOT_EXIST => 404,
            EXECUTION_TIMEOUT | BROKER_TIMEOUT => 408,
            TOO_MANY_REQUESTS => 429,
            SERVER_RESOURCE_LIMIT | BROKER_SEGMENT_UNAVAILABLE | BROKER_RESOURCE_MISSING => 503,
            SERVER_NOT_RESPONDING | QUERY_CANCELLATION => 503,
            _ => 500,
        }
    }

    /// The name that Pinot prints before the detail of a message.
    pub const fn name(code: u32) -> &'static str {
        match code {
            JSON_PARSING => "JsonParsingError",
            SQL_PARSING => "SQLParsingError",
            ACCESS_DENIED => "AccessDenied",
            TABLE_DOES_NOT_EXIST => "TableDoesNotExistError",
            QUERY_EXECUTION => "QueryExecutionError",
            SERVER_RESOURCE_LIMIT => "ServerResourceLimitExceededError",
            EXECUTION_TIMEOUT => "ExecutionTimeoutError",
            BROKER_SEGMENT_UNAVAILABLE => "BrokerSegmentUnavailableError",
            BROKER_TIMEOUT => "BrokerTimeoutError",
            BROKER_RESOURCE_MISSING => "BrokerResourceMissingError",
            SERVER_NOT_RESPONDING => "ServerNotRespondingError",
            TOO_MANY_REQUESTS => "TooManyRequestsError",
            QUERY_CANCELLATION => "QueryCancellationError",
            QUERY_VALIDATION => "QueryValidationError",
            UNKNOWN_COLUMN => "UnknownColumnError",
            QUERY_PLANNING => "QueryPlanningError",
            _ => "InternalError",
        }
    }
}

/// Byte offsets into the statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Span {
    pub start: u32,
    pub end: u32,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    pub kind: FaultKind,
    /// One of [`pinot_code`].
    pub code: u32,
    /// Lower case, no full stop, names in backticks; says what is wrong and what to do.
    pub message: String,
    pub retryable: bool,
    pub span: Option<Span>,
}

impl Fault {
    pub fn new(kind: FaultKind, code: u32, message: impl Into<String>) -> Self {
        Self {
            kind,
            code,
            message: message.into(),
            retryable: kind.retryable(),
            span: None,
        }
    }

    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(FaultKind::Invalid, pinot_code::QUERY_VALIDATION, message)
    }

    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(
            FaultKind::NotFound,
            pinot_code::TABLE_DOES_NOT_EXIST,
            message,
        )
    }

    pub fn conflict(message: impl Into<String>) -> Self {
        Self::new(FaultKind::Conflict, pinot_code::QUERY_VALIDATION, message)
    }

    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(FaultKind::Internal, pinot_code::INTERNAL, message)
    }

    pub fn unavailable(message: impl Into<String>) -> Self {
        Self::new(
            FaultKind::Unavailable,
            pinot_code::SERVER_NOT_RESPONDING,
            message,
        )
    }

    pub fn timeout(message: impl Into<String>) -> Self {
        Self::new(FaultKind::Timeout, pinot_code::EXECUTION_TIMEOUT, message)
    }

    pub fn denied(message: impl Into<String>) -> Self {
        Self::new(FaultKind::Denied, pinot_code::ACCESS_DENIED, message)
    }

    pub fn cancelled(message: impl Into<String>) -> Self {
        Self::new(
            FaultKind::Cancelled,
            pinot_code::QUERY_CANCELLATION,
            message,
        )
    }

    #[must_use]
    pub fn with_code(mut self, code: u32) -> Self {
        self.code = code;
        self
    }

    #[must_use]
    pub fn at(mut self, span: Span) -> Self {
        self.span = Some(span);
        self
    }

    /// An internal fault with the whole chain of causes of `error`.
    pub fn from_chain(kind: FaultKind, error: &dyn std::error::Error) -> Self {
        Self::new(kind, pinot_code::INTERNAL, chain(error))
    }
}

/// `outer: cause: root cause`. Correct because no `Display` of ours repeats its source.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        next = cause.source();
    }
    text
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Fault {}

impl From<Fault> for crate::proto::Fault {
    fn from(fault: Fault) -> Self {
        let span = fault.span.unwrap_or(Span { start: 0, end: 0 });
        Self {
            kind: fault.kind.name().to_owned(),
            pinot_code: fault.code,
            message: fault.message,
            retryable: fault.retryable,
            span_start: span.start,
            span_end: span.end,
        }
    }
}

impl From<crate::proto::Fault> for Fault {
    fn from(wire: crate::proto::Fault) -> Self {
        let span = (wire.span_end > wire.span_start).then_some(Span {
            start: wire.span_start,
            end: wire.span_end,
        });
        Self {
            kind: FaultKind::from_name(&wire.kind),
            code: wire.pinot_code,
            message: wire.message,
            retryable: wire.retryable,
            span,
        }
    }
}
