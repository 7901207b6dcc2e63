//! Options of the headers by which browsers protect answers.
//!
//! Invariant: names and values are such that HTTP takes.

use std::collections::BTreeMap;

use serde::de::Error;
use serde::{Deserialize, Deserializer};

/// Changes to the default headers.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct SecurityHeaderOptions {
    /// `Strict-Transport-Security` of all answers, if browsers reach the server by HTTPS.
    pub hsts: Option<Hsts>,
    /// Changes to the headers of the API.
    pub api: HeaderChanges,
    /// Changes to the headers of static files, and of HTML that a route returns.
    pub pages: HeaderChanges,
}

/// Headers by name: a value adds or replaces one, `None` leaves it out.
#[derive(Debug, Clone, Default)]
pub struct HeaderChanges(pub(crate) BTreeMap<String, Option<String>>);

impl<'de> Deserialize<'de> for HeaderChanges {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<HeaderChanges, D::Error> {
        let headers = BTreeMap::<String, Option<String>>::deserialize(deserializer)?;
        for (name, value) in &headers {
            let wrong = match value {
                _ if !is_name(name) => "name",
                Some(value) if !is_value(value) => "value",
                _ => continue,
            };
            return Err(D::Error::custom(format!("securityHeaders: the {wrong} of the header `{name}` is invalid")));
        }
        Ok(HeaderChanges(headers))
    }
}

/// A value of `Strict-Transport-Security`.
#[derive(Debug, Clone)]
pub struct Hsts(pub(crate) String);

impl<'de> Deserialize<'de> for Hsts {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Hsts, D::Error> {
        let value = String::deserialize(deserializer)?;
        let has_age = value.split(';').any(|part| {
            let age = part.trim().strip_prefix("max-age=");
            age.is_some_and(|age| !age.is_empty() && age.bytes().all(|byte| byte.is_ascii_digit()))
        });
        if !has_age || !is_value(&value) {
            return Err(D::Error::custom(
                "securityHeaders.hsts has no max-age, as in `max-age=31536000; includeSubDomains`",
            ));
        }
        Ok(Hsts(value))
    }
}

/// A token (RFC 9110, section 5.6.2).
fn is_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}

fn is_value(value: &str) -> bool {
    value.bytes().all(|byte| matches!(byte, b' '..=b'~'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn invalid_options_are_refused_by_name() {
        for (options, named) in [
            (json!({ "hsts": true }), "string"),
            (json!({ "hsts": "includeSubDomains" }), "hsts"),
            (json!({ "hsts": "max-age=1\r\nx: y" }), "hsts"),
            (json!({ "api": { "a b": "x" } }), "the name of the header `a b`"),
            (json!({ "pages": { "x-own": "a\r\nset-cookie: b" } }), "the value of the header `x-own`"),
            (json!({ "page": {} }), "page"),
        ] {
            let refused = serde_json::from_value::<SecurityHeaderOptions>(options).expect_err("refused").to_string();
            assert!(refused.contains(named), "{refused}");
        }
    }
}
