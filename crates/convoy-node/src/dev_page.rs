//! The page of `convoy dev`, which JavaScript answers: requests go through one thread-safe
//! function, and are answered by id.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use convoy::{Code, DevAnswer, DevPage, DevRequest, Failure};
use futures_util::future::BoxFuture;
use napi::bindgen_prelude::{FnArgs, Function};
use napi::threadsafe_function::{ThreadsafeFunction, ThreadsafeFunctionCallMode};
use napi::{Result, Status};
use tokio::sync::oneshot;

/// Requests that wait for JavaScript; more are refused.
const MAX_WAITING: usize = 64;

/// `(id, method, path, authorization, body)`.
pub type DevRequestArguments = FnArgs<(u32, String, String, Option<String>, String)>;

type OnRequest = ThreadsafeFunction<DevRequestArguments, (), DevRequestArguments, Status, false, true>;

/// The requests in progress.
#[derive(Default)]
pub struct DevRequests {
    waiting: Mutex<Waiting>,
}

#[derive(Default)]
struct Waiting {
    answers: HashMap<u32, oneshot::Sender<DevAnswer>>,
    last: u32,
}

impl DevRequests {
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Passes on the answer to a request; if its client has gone, nothing happens.
    pub fn answer(&self, id: u32, answer: DevAnswer) {
        if let Some(sender) = self.waiting().answers.remove(&id) {
            // The client may go at any time.
            let _gone = sender.send(answer);
        }
    }

    fn begin(&self) -> Option<(u32, oneshot::Receiver<DevAnswer>)> {
        let (sender, receiver) = oneshot::channel();
        let mut waiting = self.waiting();
        if waiting.answers.len() >= MAX_WAITING {
            return None;
        }
        waiting.last = waiting.last.wrapping_add(1);
        let id = waiting.last;
        waiting.answers.insert(id, sender);
        Some((id, receiver))
    }
}

/// The page as the engine sees it.
pub struct JsDevPage {
    on_request: Arc<OnRequest>,
    requests: Arc<DevRequests>,
}

impl JsDevPage {
    pub fn new(on_request: &Function<'_, DevRequestArguments, ()>, requests: Arc<DevRequests>) -> Result<JsDevPage> {
        let on_request = on_request.build_threadsafe_function::<DevRequestArguments>().weak::<true>().build()?;
        Ok(JsDevPage { on_request: Arc::new(on_request), requests })
    }
}

/// Removes a request whose client has gone.
struct Abandon {
    id: u32,
    requests: Arc<DevRequests>,
}

impl Drop for Abandon {
    fn drop(&mut self) {
        self.requests.waiting().answers.remove(&self.id);
    }
}

impl DevPage for JsDevPage {
    fn answer(&self, request: DevRequest) -> BoxFuture<'static, std::result::Result<DevAnswer, Failure>> {
        let (on_request, requests) = (self.on_request.clone(), self.requests.clone());
        Box::pin(async move {
            let unavailable = |message: &str| Failure::new(Code::Unavailable, message);
            let (id, answer) =
                requests.begin().ok_or_else(|| unavailable("Too many requests to the page of convoy dev at once."))?;
            let _abandon = Abandon { id, requests };
            let DevRequest { method, path, authorization, body } = request;
            let arguments = (id, method, path, authorization, body).into();
            match on_request.call(arguments, ThreadsafeFunctionCallMode::NonBlocking) {
                Status::Ok => answer.await.map_err(|_ended| unavailable("convoy dev is stopping.")),
                _ => Err(unavailable("convoy dev is stopping.")),
            }
        })
    }
}
