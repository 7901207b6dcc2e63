//! A strict client of `POST /api/live`, which is one stream for many queries: it panics on
//! any violation of the protocol.

use std::collections::{HashMap, HashSet};
use std::time::Instant;

use bytes::Bytes;
use hyper::Method;
use serde_json::{Value, json};

use crate::client::{Client, Reply};
use crate::events::{Events, data_of, is_heartbeat};
use crate::reader::{Reader, StreamState};
use crate::{rows, within};

/// An open session.
pub struct LiveSession {
    events: Events,
    answers: Answers,
}

/// The messages and results that a session has received.
#[derive(Default)]
pub struct Answers {
    /// The id of the session on this server.
    pub id: String,
    /// Messages other than results (`error`, `included`, `settled`, `auth`, `end`), in order of arrival.
    pub messages: Vec<Value>,
    /// The number of results received, whole or as rows.
    pub results: usize,
    /// The number of results received as rows.
    pub deltas: usize,
    /// The number of results confirmed as unchanged.
    pub unchanged: usize,
    /// The size of the events received, in bytes.
    pub bytes: usize,
    /// How often each query was answered: by a result, rows, or that it is unchanged.
    answered: HashMap<u64, usize>,
    /// When the last result arrived, whole or as rows.
    pub last_result: Option<Instant>,
    /// The newest position received.
    pub position: Option<String>,
    next_seq: u64,
    results_by_query: HashMap<u64, QueryResult>,
    /// Removed queries, whose messages in flight are ignored.
    removed: HashSet<u64>,
}

struct QueryResult {
    hash: String,
    data: Value,
}

impl Client {
    /// Opens a session that watches `queries`, a list of
    /// `{ id, name, args, hash? }`.
    pub async fn live(&self, queries: Value) -> LiveSession {
        self.try_live(queries).await.unwrap_or_else(|refusal| panic!("{} {}", refusal.status, refusal.body))
    }

    /// Like [`Client::live`]; the reply if the server rejects the session.
    pub async fn try_live(&self, queries: Value) -> Result<LiveSession, Reply> {
        self.resume(Answers::default(), queries).await
    }

    /// Opens a session in place of one that has ended, with its results, whose hashes `queries`
    /// may send.
    pub async fn resume(&self, ended: Answers, queries: Value) -> Result<LiveSession, Reply> {
        let body = json!({ "protocol": 1, "queries": queries }).to_string();
        let response = within(self.request(Method::POST, "/api/live", Bytes::from(body))).await;
        if response.status() != 200 {
            return Err(Reply::read(response).await);
        }
        assert_eq!(response.headers()["content-type"], "text/event-stream; charset=utf-8");
        let answers = Answers { results_by_query: ended.results_by_query, ..Answers::default() };
        let mut session = LiveSession { events: Events::new(response.into_body()), answers };
        while session.answers.id.is_empty() {
            assert!(session.receive().await, "a session begins with its id");
        }
        Ok(session)
    }

    /// Changes the queries or the token of a session, by `POST /api/live/<session>`.
    pub async fn change(&self, session: &str, change: Value) -> Reply {
        self.send(Method::POST, &format!("/api/live/{session}"), change.to_string()).await
    }
}

impl LiveSession {
    /// Its id on this server.
    pub fn id(&self) -> &str {
        &self.answers.id
    }

    /// The messages and results received so far.
    pub fn answers(&self) -> &Answers {
        &self.answers
    }

    /// Disconnects; returns what was received.
    pub fn disconnect(self) -> Answers {
        self.answers
    }

    /// Handles the next event. Returns `false` when the stream has ended.
    pub async fn receive(&mut self) -> bool {
        let Some(event) = self.events.next().await else { return false };
        if !is_heartbeat(&event) {
            self.answers.on_event(&event);
        }
        true
    }

    /// Reads until the newest result of a query is `wanted`.
    pub async fn until(&mut self, query: u64, wanted: impl Fn(&Value) -> bool) -> Value {
        self.wait_until(|answers| answers.latest(query).filter(|data| wanted(data)).cloned()).await
    }

    /// Reads until a message of this type was received; returns the first.
    pub async fn until_message(&mut self, kind: &str) -> Value {
        self.wait_until(|answers| answers.messages.iter().find(|message| message["type"] == kind).cloned()).await
    }

    async fn wait_until(&mut self, found: impl Fn(&Answers) -> Option<Value>) -> Value {
        within(async {
            loop {
                if let Some(found) = found(&self.answers) {
                    return found;
                }
                assert!(self.receive().await, "the stream has ended: {:?}", self.answers.messages);
            }
        })
        .await
    }

    /// Reads in a task from now on.
    pub fn read_continuously(self) -> Reader<Answers> {
        Reader::new(self.events, self.answers)
    }
}

impl Answers {
    /// The result of a query that another request has returned.
    pub fn of(query: u64, hash: &str, data: Value) -> Answers {
        let results_by_query = HashMap::from([(query, QueryResult { hash: hash.to_owned(), data })]);
        Answers { results_by_query, ..Answers::default() }
    }

    /// How often this stream has answered a query.
    pub fn answered(&self, query: u64) -> usize {
        self.answered.get(&query).copied().unwrap_or_default()
    }

    /// The hash of the newest result of a query.
    pub fn hash(&self, query: u64) -> Option<&str> {
        self.results_by_query.get(&query).map(|result| result.hash.as_str())
    }

    /// Replaces a query by another with the same result, and returns the hash of that. Ids are
    /// used once, because messages in flight for the old query do not fit the new one.
    pub fn rename_query(&mut self, from: u64, to: u64) -> Option<String> {
        self.removed.insert(from);
        let result = self.results_by_query.remove(&from)?;
        let hash = result.hash.clone();
        self.results_by_query.insert(to, result);
        Some(hash)
    }

    fn on_message(&mut self, message: Value) {
        assert_eq!(message["seq"], self.next_seq, "messages have consecutive numbers: {message}");
        let kind = message["type"].as_str().expect("a message has a type");
        assert_eq!(kind == "session", self.next_seq == 0, "the session message comes first, and once: {message}");
        self.next_seq += 1;
        if let Some(position) = message["position"].as_str() {
            self.position = Some(position.to_owned());
        }
        if message["id"].as_u64().is_some_and(|query| self.removed.contains(&query)) {
            return;
        }
        if matches!(kind, "result" | "rows" | "same") {
            *self.answered.entry(message["id"].as_u64().expect("a query id")).or_default() += 1;
        }
        let query = || message["id"].as_u64().expect("a query id");
        let hash = || message["hash"].as_str().expect("a hash").to_owned();
        match kind {
            "session" => {
                assert_eq!(message["protocol"], 1);
                self.id = message["session"].as_str().expect("a session id").to_owned();
                assert_eq!(self.id.len(), 32, "{message}");
            }
            "result" => {
                self.results += 1;
                self.last_result = Some(Instant::now());
                self.results_by_query.insert(query(), QueryResult { hash: hash(), data: message["data"].clone() });
            }
            "rows" => {
                self.results += 1;
                self.deltas += 1;
                self.last_result = Some(Instant::now());
                let result = self.results_by_query.get_mut(&query()).expect("a delta follows a result");
                assert_eq!(message["from"], result.hash.as_str(), "a delta applies to the last result");
                *result = QueryResult { hash: hash(), data: rows::apply(&result.data, &message) };
            }
            "same" => {
                let result = self.results_by_query.get(&query()).expect("an unchanged result is known");
                assert_eq!(result.hash, hash());
                self.unchanged += 1;
            }
            "error" | "included" | "settled" | "auth" | "end" => self.messages.push(message),
            _ => panic!("{message} is no message of this protocol"),
        }
    }
}

impl StreamState for Answers {
    fn on_event(&mut self, event: &str) {
        self.bytes += event.len();
        for data in data_of(event) {
            self.on_message(serde_json::from_str(data).expect("messages are JSON"));
        }
    }

    fn latest(&self, query: u64) -> Option<&Value> {
        self.results_by_query.get(&query).map(|result| &result.data)
    }
}
