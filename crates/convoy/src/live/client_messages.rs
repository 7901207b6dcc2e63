//! What clients say of sessions, and the one place where its text becomes types.
//! Strict about what is relied on; what is not known is passed over, so that a
//! newer client may say more.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::answer::hash_in;
use super::message::PROTOCOL;
use super::stream::{Alteration, Asked};
use crate::error::{Code, Failure};

/// The first thing a client says over a WebSocket.
#[derive(Debug)]
pub(crate) struct Hello {
    /// What it watches.
    pub queries: Vec<Asked>,
    /// Its bearer token.
    pub token: Option<String>,
    /// The position it has seen.
    pub position: Option<String>,
}

/// What a client says later over a WebSocket.
#[derive(Debug)]
pub(crate) struct ClientUpdate {
    /// What is to be otherwise.
    pub alteration: Alteration,
    /// Its new bearer token.
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

/// The body of `POST /api/live`: what to watch.
pub(crate) fn opening(text: &str) -> Result<Vec<Asked>, Failure> {
    let open: Open<'_> = parse(text)?;
    asked_in(open).map(|greeting| greeting.queries)
}

/// The body of `POST /api/live/<session>`.
pub(crate) fn alteration(text: &str) -> Result<Alteration, Failure> {
    let Change { add, remove, auth, .. } = parse(text)?;
    Ok(Alteration { add: add.into_iter().map(asked).collect(), remove, renew: auth })
}

/// The first message of a WebSocket.
pub(crate) fn greeting(text: &str) -> Result<Hello, Failure> {
    let open: Open<'_> = parse(text)?;
    must_be("open", open.kind.as_deref())?;
    asked_in(open)
}

/// A later one.
pub(crate) fn wish(text: &str) -> Result<ClientUpdate, Failure> {
    let change: Change<'_> = parse(text)?;
    must_be("change", change.kind.as_deref())?;
    let Change { add, remove, token, .. } = change;
    let alteration = Alteration { add: add.into_iter().map(asked).collect(), remove, renew: token.is_some() };
    Ok(ClientUpdate { alteration, token })
}

fn asked_in(open: Open<'_>) -> Result<Hello, Failure> {
    let Open { protocol, queries, token, position, .. } = open;
    if protocol != PROTOCOL {
        let message =
            format!("this server speaks protocol {PROTOCOL} of live queries, not {protocol}; reload the page");
        return Err(Failure::new(Code::InvalidArgs, message));
    }
    Ok(Hello { queries: queries.into_iter().map(asked).collect(), token, position })
}

fn asked(query: Query<'_>) -> Asked {
    let Query { id, name, args, hash } = query;
    Asked {
        id,
        name: name.into_owned(),
        input: args.map_or("{}", RawValue::get).to_owned(),
        // One that is none of ours names nothing that we have, like an old one.
        held: hash.as_deref().and_then(hash_in),
    }
}

fn must_be(wanted: &str, kind: Option<&str>) -> Result<(), Failure> {
    if kind == Some(wanted) {
        return Ok(());
    }
    Err(Failure::new(Code::InvalidArgs, format!("a message of the type `{wanted}` was expected here")))
}

fn parse<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T, Failure> {
    serde_json::from_str(text)
        .map_err(|error| Failure::new(Code::InvalidArgs, format!("malformed live-query message: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_opening_lists_queries_and_newer_words_are_passed_over() {
        let hash = "000000000000000000000000000000ff";
        let text = format!(
            r#"{{"protocol":1,"news":true,"queries":[{{"id":1,"name":"a.b","args":{{"x":[1]}},"hash":"{hash}"}},{{"id":2,"name":"c","hash":"?"}}]}}"#
        );
        let queries = opening(&text).expect("an opening");
        let told: Vec<_> = queries.iter().map(|query| (query.id, &*query.name, &*query.input, query.held)).collect();
        assert_eq!(told, [(1, "a.b", r#"{"x":[1]}"#, Some(255)), (2, "c", "{}", None)]);
    }

    #[test]
    fn foreign_cursors_are_refused() {
        for text in
            ["", "[]", "{}", r#"{"protocol":2,"queries":[]}"#, r#"{"protocol":1,"queries":[{"id":-1,"name":"a"}]}"#]
        {
            assert_eq!(opening(text).expect_err(text).code, Code::InvalidArgs);
        }
        assert!(greeting(r#"{"protocol":1,"queries":[]}"#).is_err());
        assert!(greeting(r#"{"type":"open","protocol":1,"queries":[]}"#).is_ok());
        assert!(wish(r#"{"type":"open"}"#).is_err());
        assert!(wish(r#"{"type":"change","token":"t"}"#).is_ok_and(|wish| wish.alteration.renew));
        assert!(alteration(r#"{"remove":[1],"auth":true}"#).is_ok_and(|it| it.renew && it.remove == [1]));
    }
}
