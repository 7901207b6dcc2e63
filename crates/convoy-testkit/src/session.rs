//! A client of `POST /api/live`: one stream for many queries. Strict: whatever
//! the protocol does not allow ends the test.

use std::collections::HashMap;

use bytes::Bytes;
use hyper::Method;
use serde_json::{Value, json};

use crate::client::{Client, Reply};
use crate::events::{Events, data_of, is_heartbeat};
use crate::subscriber::{Heard, Subscriber};
use crate::{rows, within};

/// An open session.
pub struct Session {
    /// Its name on this server.
    pub id: String,
    /// Messages that were about no result (`error`, `settled`, `auth`, `end`), in
    /// order of arrival. The reader empties it.
    pub told: Vec<Value>,
    /// How many results have arrived, whole or as rows.
    pub results: usize,
    /// The newest position that was said.
    pub position: Option<String>,
    client: Client,
    events: Events,
    next_seq: u64,
    held: HashMap<u64, Held>,
}

struct Held {
    hash: String,
    data: Value,
}

impl Client {
    /// Opens a session that watches `queries`, a list of
    /// `{ id, name, args, hash? }`.
    pub async fn live(&self, queries: Value) -> Session {
        self.try_live(queries).await.unwrap_or_else(|refusal| panic!("{} {}", refusal.status, refusal.body))
    }

    /// The same, where it may be refused.
    pub async fn try_live(&self, queries: Value) -> Result<Session, Reply> {
        let body = json!({ "protocol": 1, "queries": queries }).to_string();
        let response = within(self.request(Method::POST, "/api/live", Bytes::from(body))).await;
        if response.status() != 200 {
            return Err(Reply::read(response).await);
        }
        assert_eq!(response.headers()["content-type"], "text/event-stream; charset=utf-8");
        let mut session = Session {
            id: String::new(),
            told: Vec::new(),
            results: 0,
            position: None,
            client: self.clone(),
            events: Events::new(response.into_body()),
            next_seq: 0,
            held: HashMap::new(),
        };
        while session.id.is_empty() {
            assert_ne!(session.hear().await, Heard::End, "a session begins with its name");
        }
        Ok(session)
    }
}

impl Session {
    /// Changes what is watched, or who watches: the body of
    /// `POST /api/live/<session>`.
    pub async fn change(&self, change: Value) -> Reply {
        self.change_as(&self.client, change).await
    }

    /// The same, sent with the headers of another client.
    pub async fn change_as(&self, client: &Client, change: Value) -> Reply {
        client.send(Method::POST, &format!("/api/live/{}", self.id), change.to_string()).await
    }

    /// Forgets what is held of a query, as a client does that watches it no more.
    pub fn forget(&mut self, query: u64) {
        self.held.remove(&query);
    }

    /// What is held of a query: its hash and its result.
    pub fn held(&self, query: u64) -> Option<(&str, &Value)> {
        self.held.get(&query).map(|held| (held.hash.as_str(), &held.data))
    }

    /// Takes over what an earlier session of the same client held, to be named by
    /// hash.
    pub fn hold(&mut self, query: u64, hash: &str, data: Value) {
        self.held.insert(query, Held { hash: hash.to_owned(), data });
    }

    /// Reads until the newest result of a query is as `wanted`.
    pub async fn until(&mut self, query: u64, wanted: impl Fn(&Value) -> bool) -> Value {
        within(async {
            loop {
                if let Some(data) = self.latest(query).filter(|data| wanted(data)) {
                    return data.clone();
                }
                assert_ne!(self.hear().await, Heard::End, "the stream ends: {:?}", self.told);
            }
        })
        .await
    }

    /// Reads until a message of this type has been told, and gives it.
    pub async fn until_told(&mut self, kind: &str) -> Value {
        within(async {
            loop {
                if let Some(place) = self.told.iter().position(|message| message["type"] == kind) {
                    return self.told.remove(place);
                }
                assert_ne!(self.hear().await, Heard::End, "the stream ends: {:?}", self.told);
            }
        })
        .await
    }

    fn take(&mut self, message: Value) {
        assert_eq!(message["seq"], self.next_seq, "messages are counted: {message}");
        let kind = message["type"].as_str().expect("a message has a type");
        assert_eq!(kind == "session", self.next_seq == 0, "a session's name comes first, and once: {message}");
        self.next_seq += 1;
        if let Some(position) = message["position"].as_str() {
            self.position = Some(position.to_owned());
        }
        let query = || message["id"].as_u64().expect("a query's number");
        let hash = || message["hash"].as_str().expect("a hash").to_owned();
        match kind {
            "session" => {
                assert_eq!(message["protocol"], 1);
                self.id = message["session"].as_str().expect("a name").to_owned();
                assert_eq!(self.id.len(), 32, "{message}");
            }
            "result" => {
                self.results += 1;
                self.held.insert(query(), Held { hash: hash(), data: message["data"].clone() });
            }
            "rows" => {
                self.results += 1;
                let held = self.held.get_mut(&query()).expect("a delta is of something held");
                assert_eq!(message["from"], held.hash.as_str(), "a delta is of what is held");
                *held = Held { hash: hash(), data: rows::apply(&held.data, &message) };
            }
            "same" => {
                let held = self.held.get(&query()).expect("what is the same is held");
                assert_eq!(held.hash, hash());
            }
            "error" | "settled" | "auth" | "end" => self.told.push(message),
            _ => panic!("{message} is no message of this protocol"),
        }
    }
}

impl Subscriber for Session {
    async fn hear(&mut self) -> Heard {
        let Some(event) = self.events.next().await else { return Heard::End };
        if is_heartbeat(&event) {
            return Heard::Heartbeat;
        }
        for data in data_of(&event) {
            self.take(serde_json::from_str(data).expect("messages are JSON"));
        }
        Heard::News
    }

    fn latest(&self, query: u64) -> Option<&Value> {
        self.held.get(&query).map(|held| &held.data)
    }
}
