//! The floor: what hyper needs to write the same bytes to many streams, where
//! there is nothing else to do. A POST to `/write` puts its body into the frame
//! and wakes every stream.

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
use serde::Deserialize;
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::Failed;

#[derive(Deserialize)]
pub struct Plan {
    /// A frame around what a write says.
    frame: (String, String),
}

type Body = UnsyncBoxBody<Bytes, Infallible>;

/// Says `{"port":…}`, and serves until the caller closes its end.
pub async fn run(plan: Plan) -> Result<(), Failed> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("{{\"port\":{}}}", listener.local_addr()?.port());
    let floor = Arc::new(Floor { newest: watch::Sender::new(frame(&plan, "0")), plan });
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
    newest: watch::Sender<Bytes>,
}

impl Floor {
    async fn answer(&self, request: Request<Incoming>) -> Result<Response<Body>, hyper::Error> {
        if request.method() == Method::POST {
            let body = request.into_body().collect().await?.to_bytes();
            self.newest.send_replace(frame(&self.plan, &String::from_utf8_lossy(&body)));
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

fn frame(plan: &Plan, said: &str) -> Bytes {
    let (before, after) = &plan.frame;
    format!("{before}{said}{after}").into()
}
