//! Errors that may leave the process.
//!
//! A [`Failure`] has a code from a closed list, a message that states what to do next,
//! and details for the caller. Causes (SQL text, connection strings, stack traces) are
//! never part of it; they are logged where they happen, under the same `error_id`.

use serde::ser::SerializeStruct;
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::output;

/// The closed list of error codes, each with its HTTP status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Code {
    /// The input is invalid; the caller must change it (400).
    InvalidArgs,
    /// The caller must authenticate (401).
    Unauthorized,
    /// The caller may not do this (403).
    Forbidden,
    /// There is no such name or path (404).
    NotFound,
    /// The path exists, with another method (405).
    MethodNotAllowed,
    /// A conflict with another write, or with a unique index (409).
    Conflict,
    /// A published size limit was exceeded (413).
    PayloadTooLarge,
    /// Too many requests (429).
    RateLimited,
    /// A defect in the function or in the engine (500).
    Internal,
    /// Temporary: the database is unreachable, or the server drains or is overloaded.
    /// Retrying helps (503).
    Unavailable,
    /// A published time limit was exceeded (504).
    Timeout,
}

impl Code {
    const ALL: [Code; 11] = [
        Code::InvalidArgs,
        Code::Unauthorized,
        Code::Forbidden,
        Code::NotFound,
        Code::MethodNotAllowed,
        Code::Conflict,
        Code::PayloadTooLarge,
        Code::RateLimited,
        Code::Internal,
        Code::Unavailable,
        Code::Timeout,
    ];

    /// The name of the code on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Code::InvalidArgs => "INVALID_ARGS",
            Code::Unauthorized => "UNAUTHORIZED",
            Code::Forbidden => "FORBIDDEN",
            Code::NotFound => "NOT_FOUND",
            Code::MethodNotAllowed => "METHOD_NOT_ALLOWED",
            Code::Conflict => "CONFLICT",
            Code::PayloadTooLarge => "PAYLOAD_TOO_LARGE",
            Code::RateLimited => "RATE_LIMITED",
            Code::Internal => "INTERNAL",
            Code::Unavailable => "UNAVAILABLE",
            Code::Timeout => "TIMEOUT",
        }
    }

    /// The HTTP status that belongs to the code.
    pub fn status(self) -> u16 {
        match self {
            Code::InvalidArgs => 400,
            Code::Unauthorized => 401,
            Code::Forbidden => 403,
            Code::NotFound => 404,
            Code::MethodNotAllowed => 405,
            Code::Conflict => 409,
            Code::PayloadTooLarge => 413,
            Code::RateLimited => 429,
            Code::Internal => 500,
            Code::Unavailable => 503,
            Code::Timeout => 504,
        }
    }

    /// The code of a wire name, if there is one.
    pub fn parse(name: &str) -> Option<Code> {
        Self::ALL.into_iter().find(|code| code.as_str() == name)
    }
}

/// An error as its receiver sees it. Serializes to
/// `{"code","message","details"?,"errorId"?}`.
#[derive(Debug, Clone)]
pub struct Failure {
    /// The kind of error, for programs.
    pub code: Code,
    /// The explanation and the remedy, for developers: sentences, see `CONTRIBUTING.md`.
    pub message: String,
    /// JSON meant for the caller (`details.issues`, `details.table`, …).
    pub details: Option<Box<RawValue>>,
    /// The id of the log entry with the cause, for `INTERNAL`.
    pub error_id: Option<String>,
    /// An HTTP status that overrides the code's own.
    pub status: Option<u16>,
}

impl Failure {
    /// A failure with a code and a message.
    pub fn new(code: Code, message: impl Into<String>) -> Failure {
        Failure { code, message: message.into(), details: None, error_id: None, status: None }
    }

    /// Adds details for the caller.
    #[must_use]
    pub fn with_details(mut self, details: &impl Serialize) -> Failure {
        // Plain data always serializes; if it ever failed, the failure would be sent
        // without details.
        self.details = serde_json::value::to_raw_value(details).ok();
        self
    }

    /// Adds the cause, a fragment, to the last sentence of the message.
    #[must_use]
    pub fn with_cause(mut self, cause: &dyn std::fmt::Display) -> Failure {
        let sentence = self.message.strip_suffix('.').unwrap_or(&self.message);
        self.message = format!("{sentence}: {cause}.");
        self
    }

    /// A defect: the cause is logged, and the caller receives the id of the log entry.
    pub fn internal(context: &str, cause: &dyn std::fmt::Display) -> Failure {
        let error_id = Uuid::now_v7().simple().to_string();
        // A thrown error may have any length.
        tracing::error!(error_id, context, cause = %output::cut(cause), "internal error");
        Failure {
            error_id: Some(error_id),
            ..Failure::new(
                Code::Internal,
                "Something went wrong on the server; its log has the cause under this errorId.",
            )
        }
    }

    /// Tells clients that repeat calls by themselves whether they may: `true` if the call was
    /// certainly not run, `false` if it may have been run and a repetition is not recognized.
    pub fn with_repeatable(self, repeatable: bool) -> Failure {
        let details = RawValue::from_string(format!(r#"{{"repeatable":{repeatable}}}"#)).ok();
        Failure { details, ..self }
    }

    /// The HTTP status of the answer.
    pub fn http_status(&self) -> u16 {
        // A status outside this range would not be an error.
        self.status.filter(|status| (400..600).contains(status)).unwrap_or_else(|| self.code.status())
    }

    /// The failure as JSON text.
    pub fn to_json(&self) -> String {
        // A struct of strings and valid JSON always serializes.
        serde_json::to_string(self)
            .unwrap_or_else(|_| format!(r#"{{"code":"{}","message":"Unprintable error."}}"#, self.code.as_str()))
    }

    /// The body of an answer that reports the failure: `{"ok":false,"error":{…}}`.
    pub fn to_envelope(&self) -> String {
        format!(r#"{{"ok":false,"error":{}}}"#, self.to_json())
    }
}

impl Serialize for Failure {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let fields = 2 + usize::from(self.details.is_some()) + usize::from(self.error_id.is_some());
        let mut out = serializer.serialize_struct("Failure", fields)?;
        out.serialize_field("code", self.code.as_str())?;
        out.serialize_field("message", &self.message)?;
        if let Some(details) = &self.details {
            out.serialize_field("details", details)?;
        }
        if let Some(error_id) = &self.error_id {
            out.serialize_field("errorId", error_id)?;
        }
        out.end()
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.code.as_str(), self.message)
    }
}

impl std::error::Error for Failure {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_parses_back_from_its_name() {
        for code in Code::ALL {
            assert_eq!(Code::parse(code.as_str()), Some(code));
        }
        assert_eq!(Code::parse("constructor"), None);
    }

    #[test]
    fn an_internal_failure_does_not_contain_its_cause() {
        let failure = Failure::internal("reading", &"password=hunter2");
        let json = failure.to_json();
        assert!(!json.contains("hunter2"));
        assert!(json.contains("errorId"));
    }
}
