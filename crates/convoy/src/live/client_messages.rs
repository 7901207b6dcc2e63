//! Parses the messages that clients send about sessions. Strict about the members
//! that are used; unknown members are ignored, so that a newer client may send more.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::answer::hash_from_hex;
use super::message::PROTOCOL;
use super::stream::{QueryRequest, SessionUpdate};
use crate::error::{Code, Failure};

/// The first message of a WebSocket.
#[derive(Debug)]
pub(crate) struct Hello {
    /// The queries to subscribe to.
    pub queries: Vec<QueryRequest>,
    /// The bearer token.
    pub token: Option<String>,
    /// The client's consistency token.
    pub position: Option<String>,
}

/// A later message of a WebSocket.
#[derive(Debug)]
pub(crate) struct ClientUpdate {
    /// The changes to the session.
    pub update: SessionUpdate,
    /// A new bearer token.
    pub token: Option<String>,
}

#[derive(Deserialize)]
struct Query<'a> {
    id: u64,
    #[serde(borrow)]
    name: Cow<'a, str>,
    #[serde(borrow)]
    args: Option<&'a RawValue>,
    #[serde(borrow)]
    hash: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
struct Open<'a> {
    #[serde(rename = "type")]
    kind: Option<Cow<'a, str>>,
    protocol: u32,
    #[serde(borrow)]
    queries: Vec<Query<'a>>,
    token: Option<String>,
    position: Option<String>,
}

#[derive(Deserialize)]
struct Change<'a> {
    #[serde(rename = "type")]
    kind: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    add: Vec<Query<'a>>,
    #[serde(default)]
    remove: Vec<u64>,
    #[serde(default)]
    auth: bool,
    token: Option<String>,
}

/// Parses the body of `POST /api/live`: the queries to subscribe to.
pub(crate) fn parse_queries(text: &str) -> Result<Vec<QueryRequest>, Failure> {
    let open: Open<'_> = parse(text)?;
    hello_of(open).map(|hello| hello.queries)
}

/// Parses the body of `POST /api/live/<session>`.
pub(crate) fn parse_session_update(text: &str) -> Result<SessionUpdate, Failure> {
    let Change { add, remove, auth, .. } = parse(text)?;
    Ok(SessionUpdate { add: add.into_iter().map(query_request).collect(), remove, replace_token: auth })
}

/// Parses the first message of a WebSocket.
pub(crate) fn parse_hello(text: &str) -> Result<Hello, Failure> {
    let open: Open<'_> = parse(text)?;
    expect_type("open", open.kind.as_deref())?;
    hello_of(open)
}

/// Parses a later message of a WebSocket.
pub(crate) fn parse_update(text: &str) -> Result<ClientUpdate, Failure> {
    let change: Change<'_> = parse(text)?;
    expect_type("change", change.kind.as_deref())?;
    let Change { add, remove, token, .. } = change;
    let add = add.into_iter().map(query_request).collect();
    let update = SessionUpdate { add, remove, replace_token: token.is_some() };
    Ok(ClientUpdate { update, token })
}

fn hello_of(open: Open<'_>) -> Result<Hello, Failure> {
    let Open { protocol, queries, token, position, .. } = open;
    if protocol != PROTOCOL {
        let message =
            format!("This server supports protocol {PROTOCOL} of live queries, not {protocol}; reload the page.");
        return Err(Failure::new(Code::InvalidArgs, message));
    }
    Ok(Hello { queries: queries.into_iter().map(query_request).collect(), token, position })
}

fn query_request(query: Query<'_>) -> QueryRequest {
    let Query { id, name, args, hash } = query;
    QueryRequest {
        id,
        name: name.into_owned(),
        input: args.map_or("{}", RawValue::get).to_owned(),
        // A malformed hash matches no result, like an outdated one.
        client_hash: hash.as_deref().and_then(hash_from_hex),
    }
}

fn expect_type(expected: &str, kind: Option<&str>) -> Result<(), Failure> {
    if kind == Some(expected) {
        return Ok(());
    }
    Err(Failure::new(Code::InvalidArgs, format!("Expected a message of type `{expected}`.")))
}

fn parse<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T, Failure> {
    serde_json::from_str(text)
        .map_err(|error| Failure::new(Code::InvalidArgs, format!("Malformed live-query message: {error}.")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_queries_of_a_hello_are_parsed_and_unknown_members_ignored() {
        let hash = "000000000000000000000000000000ff";
        let text = format!(
            r#"{{"protocol":1,"news":true,"queries":[{{"id":1,"name":"a.b","args":{{"x":[1]}},"hash":"{hash}"}},{{"id":2,"name":"c","hash":"?"}}]}}"#
        );
        let queries = parse_queries(&text).expect("a body");
        let parsed: Vec<_> =
            queries.iter().map(|query| (query.id, &*query.name, &*query.input, query.client_hash)).collect();
        assert_eq!(parsed, [(1, "a.b", r#"{"x":[1]}"#, Some(255)), (2, "c", "{}", None)]);
    }

    #[test]
    fn malformed_messages_and_other_protocols_are_refused() {
        for text in
            ["", "[]", "{}", r#"{"protocol":2,"queries":[]}"#, r#"{"protocol":1,"queries":[{"id":-1,"name":"a"}]}"#]
        {
            assert_eq!(parse_queries(text).expect_err(text).code, Code::InvalidArgs);
        }
        assert!(parse_hello(r#"{"protocol":1,"queries":[]}"#).is_err());
        assert!(parse_hello(r#"{"type":"open","protocol":1,"queries":[]}"#).is_ok());
        assert!(parse_update(r#"{"type":"open"}"#).is_err());
        assert!(parse_update(r#"{"type":"change","token":"t"}"#).is_ok_and(|message| message.update.replace_token));
        assert!(
            parse_session_update(r#"{"remove":[1],"auth":true}"#).is_ok_and(|it| it.replace_token && it.remove == [1])
        );
    }
}
