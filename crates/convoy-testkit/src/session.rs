//! A client of `POST /api/live`: one stream for many queries. Strict: whatever
//! the protocol does not allow ends the test.

use std::collections::{HashMap, HashSet};
use std::time::Instant;

use bytes::Bytes;
use hyper::Method;
use serde_json::{Value, json};

use crate::client::{Client, Reply};
use crate::events::{Events, data_of, is_heartbeat};
use crate::reader::{Holder, Reader};
use crate::{rows, within};

/// An open session.
pub struct Session {
    events: Events,
    answers: Answers,
}

/// What a session has been told.
#[derive(Default)]
pub struct Answers {
    /// The session's name on this server.
    pub id: String,
    /// Messages that were about no result (`error`, `settled`, `auth`, `end`), in
    /// order of arrival.
    pub told: Vec<Value>,
    /// How many results have arrived, whole or as rows.
    pub results: usize,
    /// Those of them that were rows.
    pub deltas: usize,
    /// When the last result arrived, whole or as rows.
    pub last_result: Option<Instant>,
    /// The newest position that was said.
    pub position: Option<String>,
    next_seq: u64,
    held: HashMap<u64, Held>,
    /// Queries watched no more; what is still on its way about them is ignored.
    left: HashSet<u64>,
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
        self.resume(Answers::default(), queries).await
    }

    /// Opens a session in place of one that has ended: what that held is held, and
    /// `queries` may name it by hash.
    pub async fn resume(&self, ended: Answers, queries: Value) -> Result<Session, Reply> {
        let body = json!({ "protocol": 1, "queries": queries }).to_string();
        let response = within(self.request(Method::POST, "/api/live", Bytes::from(body))).await;
        if response.status() != 200 {
            return Err(Reply::read(response).await);
        }
        assert_eq!(response.headers()["content-type"], "text/event-stream; charset=utf-8");
        let answers = Answers { held: ended.held, ..Answers::default() };
        let mut session = Session { events: Events::new(response.into_body()), answers };
        while session.answers.id.is_empty() {
            assert!(session.hear().await, "a session begins with its name");
        }
        Ok(session)
    }

    /// Changes what a session watches, or who it is: the body of
    /// `POST /api/live/<session>`.
    pub async fn change(&self, session: &str, change: Value) -> Reply {
        self.send(Method::POST, &format!("/api/live/{session}"), change.to_string()).await
    }
}

impl Session {
    /// Its name on this server.
    pub fn id(&self) -> &str {
        &self.answers.id
    }

    /// What it has been told so far.
    pub fn answers(&self) -> &Answers {
        &self.answers
    }

    /// Hangs up; what is left is what was held.
    pub fn leave(self) -> Answers {
        self.answers
    }

    /// Takes in the next event. `false` when the stream has ended.
    pub async fn hear(&mut self) -> bool {
        let Some(event) = self.events.next().await else { return false };
        if !is_heartbeat(&event) {
            self.answers.take(&event);
        }
        true
    }

    /// Reads until the newest result of a query is as `wanted`.
    pub async fn until(&mut self, query: u64, wanted: impl Fn(&Value) -> bool) -> Value {
        self.until_held(|answers| answers.latest(query).filter(|data| wanted(data)).cloned()).await
    }

    /// Reads until a message of this type has been told, and gives the first.
    pub async fn until_told(&mut self, kind: &str) -> Value {
        self.until_held(|answers| answers.told.iter().find(|message| message["type"] == kind).cloned()).await
    }

    async fn until_held(&mut self, found: impl Fn(&Answers) -> Option<Value>) -> Value {
        within(async {
            loop {
                if let Some(found) = found(&self.answers) {
                    return found;
                }
                assert!(self.hear().await, "the stream has ended: {:?}", self.answers.told);
            }
        })
        .await
    }

    /// Reads all the time from now on.
    pub fn read_on(self) -> Reader<Answers> {
        Reader::new(self.events, self.answers)
    }
}

impl Answers {
    /// The hash of what is held of a query.
    pub fn hash(&self, query: u64) -> Option<&str> {
        self.held.get(&query).map(|held| held.hash.as_str())
    }

    /// What is held of one query is held of another, which takes its place: gives
    /// its hash. A number is used once, since what is on its way under the old one
    /// does not fit the new.
    pub fn moves(&mut self, from: u64, to: u64) -> Option<String> {
        self.left.insert(from);
        let held = self.held.remove(&from)?;
        let hash = held.hash.clone();
        self.held.insert(to, held);
        Some(hash)
    }

    fn take_message(&mut self, message: Value) {
        assert_eq!(message["seq"], self.next_seq, "messages are counted: {message}");
        let kind = message["type"].as_str().expect("a message has a type");
        assert_eq!(kind == "session", self.next_seq == 0, "a session's name comes first, and once: {message}");
        self.next_seq += 1;
        if let Some(position) = message["position"].as_str() {
            self.position = Some(position.to_owned());
        }
        if message["id"].as_u64().is_some_and(|query| self.left.contains(&query)) {
            return;
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
                self.last_result = Some(Instant::now());
                self.held.insert(query(), Held { hash: hash(), data: message["data"].clone() });
            }
            "rows" => {
                self.results += 1;
                self.deltas += 1;
                self.last_result = Some(Instant::now());
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

impl Holder for Answers {
    fn take(&mut self, event: &str) {
        for data in data_of(event) {
            self.take_message(serde_json::from_str(data).expect("messages are JSON"));
        }
    }

    fn latest(&self, query: u64) -> Option<&Value> {
        self.held.get(&query).map(|held| &held.data)
    }
}
