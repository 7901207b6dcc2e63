//! The values of attributes of spans.

use std::sync::Arc;

use opentelemetry::Value as OtelValue;

/// The value of an attribute. Those of most spans are never exported, so they are cheap to
/// make.
pub(crate) enum Value {
    Word(&'static str),
    Shared(Arc<str>),
    Text(String),
    Integer(i64),
    Flag(bool),
}

impl From<Value> for OtelValue {
    fn from(value: Value) -> OtelValue {
        match value {
            Value::Word(word) => word.into(),
            Value::Shared(text) => OtelValue::String(text.into()),
            Value::Text(text) => text.into(),
            Value::Integer(number) => number.into(),
            Value::Flag(flag) => flag.into(),
        }
    }
}

impl From<&'static str> for Value {
    fn from(word: &'static str) -> Value {
        Value::Word(word)
    }
}

impl From<Arc<str>> for Value {
    fn from(text: Arc<str>) -> Value {
        Value::Shared(text)
    }
}

impl From<String> for Value {
    fn from(text: String) -> Value {
        Value::Text(text)
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Value {
        Value::Integer(number)
    }
}

impl From<bool> for Value {
    fn from(flag: bool) -> Value {
        Value::Flag(flag)
    }
}
