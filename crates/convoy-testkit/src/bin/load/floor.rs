//! The floor: what hyper needs to write the same bytes to many streams, where
//! there is nothing else to do. A POST to `/write` puts its body before the last
//! ones, as a list of the newest would have it, and wakes every stream.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use parking_lot::Mutex;
use serde::Deserialize;
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::Failed;

#[derive(Deserialize)]
pub(crate) struct Plan {
    /// What stands before, between and after what the last writes say in a frame.
    frame: Vec<String>,
}

type Body = UnsyncBoxBody<Bytes, Infallible>;

/// Says `{"port":…}`, and serves until the caller closes its end.
pub(crate) async fn run(plan: Plan) -> Result<(), Failed> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("{{\"port\":{}}}", listener.local_addr()?.port());
    let floor = Arc::new(Floor::new(plan));
    let closed = tokio::task::spawn_blocking(|| std::io::copy(&mut std::io::stdin(), &mut std::io::sink()));
    tokio::select! {
        closed = closed => closed?.map(|_| ()).map_err(Failed::from),
        failed = serve(listener, floor) => failed,
    }
}

async fn serve(listener: TcpListener, floor: Arc<Floor>) -> Result<(), Failed> {
    loop {
        let (socket, _) = listener.accept().await?;
        socket.set_nodelay(true)?;
        let floor = floor.clone();
        let service = service_fn(move |request| {
            let floor = floor.clone();
            async move { floor.answer(request).await }
        });
        // A stream ends with its client, which is no news to anyone.
        tokio::spawn(http1::Builder::new().timer(TokioTimer::new()).serve_connection(TokioIo::new(socket), service));
    }
}

struct Floor {
    plan: Plan,
    /// What the last writes say, the newest first; as many as the frame holds.
    said: Mutex<VecDeque<String>>,
    newest: watch::Sender<Bytes>,
}

impl Floor {
    fn new(plan: Plan) -> Floor {
        let said = vec!["-".to_owned(); plan.frame.len().saturating_sub(1)].into();
        Floor { newest: watch::Sender::new(frame(&plan, &said)), said: Mutex::new(said), plan }
    }

    fn write(&self, says: String) {
        let mut said = self.said.lock();
        said.pop_back();
        said.push_front(says);
        self.newest.send_replace(frame(&self.plan, &said));
    }

    async fn answer(&self, request: Request<Incoming>) -> Result<Response<Body>, hyper::Error> {
        if request.method() == Method::POST {
            let body = request.into_body().collect().await?.to_bytes();
            self.write(String::from_utf8_lossy(&body).into_owned());
            return Ok(Response::new(Full::new(Bytes::from_static(b"{}")).boxed_unsync()));
        }
        let mut newest = self.newest.subscribe();
        newest.mark_changed();
        let frames = stream::unfold(newest, |mut newest| async move {
            newest.changed().await.ok()?;
            let frame = newest.borrow_and_update().clone();
            Some((Ok(Frame::data(frame)), newest))
        });
        Ok(Response::new(StreamBody::new(frames).boxed_unsync()))
    }
}

fn frame(plan: &Plan, said: &VecDeque<String>) -> Bytes {
    let (first, others) = plan.frame.split_first().map_or(("", &[][..]), |(first, others)| (first.as_str(), others));
    let rest = said.iter().zip(others).flat_map(|(said, text)| [said.as_str(), text]);
    std::iter::once(first).chain(rest).collect::<String>().into()
}
