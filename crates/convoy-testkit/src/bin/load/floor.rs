//! The lower bound: hyper writing the same bytes to many streams, without other work. A POST
//! to `/write` puts its body in front of the previous ones, like in a list of the newest, and
//! wakes every stream.

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
    /// The text of a frame before, between and after the last writes.
    frame: Vec<String>,
}

type Body = UnsyncBoxBody<Bytes, Infallible>;

/// Prints `{"port":…}`, and serves until standard input closes.
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
        // Errors of a stream are ignored, because it ends with its client.
        tokio::spawn(http1::Builder::new().timer(TokioTimer::new()).serve_connection(TokioIo::new(socket), service));
    }
}

struct Floor {
    plan: Plan,
    /// The last writes, the newest first; as many as a frame holds.
    writes: Mutex<VecDeque<String>>,
    newest: watch::Sender<Bytes>,
}

impl Floor {
    fn new(plan: Plan) -> Floor {
        let writes = vec!["-".to_owned(); plan.frame.len().saturating_sub(1)].into();
        Floor { newest: watch::Sender::new(frame(&plan, &writes)), writes: Mutex::new(writes), plan }
    }

    fn write(&self, text: String) {
        let mut writes = self.writes.lock();
        writes.pop_back();
        writes.push_front(text);
        self.newest.send_replace(frame(&self.plan, &writes));
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

fn frame(plan: &Plan, writes: &VecDeque<String>) -> Bytes {
    let (first, others) = plan.frame.split_first().map_or(("", &[][..]), |(first, others)| (first.as_str(), others));
    let rest = writes.iter().zip(others).flat_map(|(writes, text)| [writes.as_str(), text]);
    std::iter::once(first).chain(rest).collect::<String>().into()
}
