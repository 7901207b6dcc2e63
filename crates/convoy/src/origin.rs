//! Web origins in their serialized form: `https://app.example`, with a port unless it is
//! the scheme's default. Other forms are refused when they are parsed, so that origins
//! can be compared by value.

use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

/// The origin of a page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// `null`: an opaque origin, such as that of a sandboxed frame or a local file.
    Opaque,
    /// Scheme, host and port.
    Tuple {
        /// In lower case, `https`.
        scheme: String,
        /// In lower case and without the scheme's default port, `app.example`.
        authority: String,
    },
}

impl Origin {
    /// Parses the value of an `Origin` header; `None` if it is malformed.
    pub fn parse(text: &str) -> Option<Origin> {
        if text == "null" {
            return Some(Origin::Opaque);
        }
        let (scheme, authority) = text.split_once("://")?;
        let starts_with_letter = scheme.starts_with(|first: char| first.is_ascii_alphabetic());
        let is_scheme_char = |char: char| char.is_ascii_alphanumeric() || matches!(char, '+' | '-' | '.');
        if !starts_with_letter || !scheme.chars().all(is_scheme_char) || !is_authority(authority) {
            return None;
        }
        let scheme = scheme.to_ascii_lowercase();
        let authority = without_default_port(&scheme, &authority.to_ascii_lowercase()).to_owned();
        Some(Origin::Tuple { scheme, authority })
    }

    /// The scheme, unless the origin is opaque.
    pub fn scheme(&self) -> Option<&str> {
        match self {
            Origin::Opaque => None,
            Origin::Tuple { scheme, .. } => Some(scheme),
        }
    }

    /// Whether `host`, the value of a `Host` header, is the host of this origin. The scheme
    /// of a request is unknown behind a proxy, so only host and port are compared.
    pub fn is_of_host(&self, host: &str) -> bool {
        match self {
            Origin::Opaque => false,
            Origin::Tuple { scheme, authority } => {
                without_default_port(scheme, &host.to_ascii_lowercase()) == authority.as_str()
            }
        }
    }
}

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Origin::Opaque => f.write_str("null"),
            Origin::Tuple { scheme, authority } => write!(f, "{scheme}://{authority}"),
        }
    }
}

/// For the configuration: an opaque origin is not specific, so it cannot be allowed.
impl<'de> Deserialize<'de> for Origin {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Origin, D::Error> {
        let text = String::deserialize(deserializer)?;
        match Origin::parse(&text) {
            Some(origin @ Origin::Tuple { .. }) => Ok(origin),
            Some(Origin::Opaque) | None => Err(D::Error::custom(format!(
                "cors.origins has `{text}`; write each origin as browsers send it, \
                 such as https://app.example or http://localhost:5173, without a path and without *"
            ))),
        }
    }
}

/// Whether the text is a host with an optional port.
fn is_authority(text: &str) -> bool {
    split_authority(text).is_some()
}

/// A host, without the brackets of an IPv6 address, and its port if the text has one; `None` if the
/// text is no host with an optional port.
pub(crate) fn split_authority(text: &str) -> Option<(&str, Option<u16>)> {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (address, after) = rest.split_once(']')?;
            address.parse::<std::net::Ipv6Addr>().ok()?;
            let port = if after.is_empty() { None } else { Some(after.strip_prefix(':')?) };
            (address, port)
        }
        None => {
            let (host, port) = text.split_once(':').map_or((text, None), |(host, port)| (host, Some(port)));
            let is_of_name = |char: char| char.is_ascii_alphanumeric() || matches!(char, '-' | '.' | '_');
            if host.is_empty() || !host.chars().all(is_of_name) {
                return None;
            }
            (host, port)
        }
    };
    let Some(port) = port else { return Some((host, None)) };
    let is_number = port.bytes().all(|byte| byte.is_ascii_digit());
    Some((host, Some(port.parse().ok().filter(|_| is_number)?)))
}

fn without_default_port<'a>(scheme: &str, host: &'a str) -> &'a str {
    let default = match scheme {
        "http" => ":80",
        "https" => ":443",
        _ => return host,
    };
    host.strip_suffix(default).unwrap_or(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn serialized_origins_are_parsed() {
        for text in [
            "null",
            "https://app.example",
            "http://localhost:5173",
            "http://127.0.0.1:3000",
            "http://[::1]:3000",
            "https://xn--bcher-kva.example",
            "chrome-extension://abcdefghijklmnop",
            "capacitor://localhost",
        ] {
            assert_eq!(Origin::parse(text).map(|origin| origin.to_string()).as_deref(), Some(text));
        }
        assert_eq!(Origin::parse("HTTPS://App.Example:443"), Origin::parse("https://app.example"));
    }

    #[test]
    fn other_forms_are_malformed() {
        for text in [
            "",
            " ",
            "NULL",
            "app.example",
            "//app.example",
            "https:",
            "https://",
            "https://app.example/",
            "https://app.example/path",
            "https://app.example?x",
            "https://user@app.example",
            "https://app.example:",
            "https://app.example:99999",
            "https://app.example:+80",
            "https://app.example:80:80",
            "https://app.example, https://other.example",
            "https://app.example https://other.example",
            "https://[::1",
            "https://[evil]",
            "https://[::1]x",
            "1https://app.example",
            "https://b\u{fc}cher.example",
            "*",
        ] {
            assert_eq!(Origin::parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_host_is_split_from_its_port() {
        for (text, expected) in [
            ("app.example", Some(("app.example", None))),
            ("app.example:8443", Some(("app.example", Some(8_443)))),
            ("[2001:db8::1]", Some(("2001:db8::1", None))),
            ("[::1]:3000", Some(("::1", Some(3_000)))),
            ("app.example:", None),
            ("app.example:+80", None),
            ("2001:db8::1", None),
            ("[app.example]", None),
            ("app.example/path", None),
            ("user@app.example", None),
            ("", None),
            (":80", None),
        ] {
            assert_eq!(split_authority(text), expected, "{text}");
        }
    }

    #[test]
    fn a_host_is_compared_without_case_and_default_port() {
        let is = |origin: &str, host: &str| Origin::parse(origin).expect("well-formed").is_of_host(host);
        assert!(is("https://app.example", "App.Example"));
        assert!(is("https://app.example", "app.example:443"));
        assert!(is("http://app.example", "app.example:80"));
        assert!(is("http://[::1]:3000", "[::1]:3000"));
        assert!(!is("https://app.example", "app.example:80"));
        assert!(!is("https://app.example:8443", "app.example"));
        assert!(!is("https://app.example", "app.example.evil.test"));
        assert!(!is("https://app.example", ""));
        assert!(!is("null", "null"));
    }
}
