//! Requests that another HTTP server of the process passes on: what crosses, without one.

use std::sync::Arc;

use bytes::Bytes;
use convoy::{Exchange, ExchangeBody, ExchangeHead, Pushed};
use convoy_testkit::{App, Functions, TestDb, within};
use serde_json::{Value, json};

use crate::shared::{chat, tables};

fn head(method: &str, url: &str) -> ExchangeHead {
    let headers = ["Host", "app.test", "Content-Type", "application/json"].map(str::to_owned).to_vec();
    ExchangeHead { method: method.to_owned(), url: url.to_owned(), headers, peer: None, answers_unknown_paths: false }
}

fn begin(app: &App, method: &str, url: &str, body: ExchangeBody) -> Exchange {
    Exchange::begin(&app.engine, head(method, url), body).expect("a path of Convoy")
}

async fn respond(exchange: &Exchange) -> (u16, Value) {
    let (head, body) = within(exchange.respond()).await.expect("it is open");
    (head.status, serde_json::from_slice(&body).expect("JSON"))
}

#[tokio::test(flavor = "multi_thread")]
async fn only_paths_of_convoy_begin_an_exchange() {
    let db = TestDb::new().await;
    let app = chat(&db).await;
    for url in ["/", "/api/auth/login", "/api/query/", "/api/query/a/b", "/apix/health", "/api/_live", "not a url"] {
        let exchange = Exchange::begin(&app.engine, head("GET", url), ExchangeBody::Whole(Bytes::new()));
        assert!(exchange.is_none(), "{url}");
    }
    for url in ["/api/health/", "/api/query/a", "http://app.test/api/live", "/api/subscribe"] {
        assert!(Exchange::begin(&app.engine, head("GET", url), ExchangeBody::Pushed).is_some(), "{url}");
    }
    app.engine.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn chunks_of_a_body_wait_in_a_bounded_queue() {
    let db = TestDb::new().await;
    let app = chat(&db).await;
    let exchange = begin(&app, "POST", "/api/query/messages.list", ExchangeBody::Pushed);
    let push = |text: &'static str| exchange.push(Bytes::from_static(text.as_bytes()));
    assert_eq!(["{\"chan", "nel", "\":", "\"home"].map(push), [Pushed::Accepted; 4]);
    // Nothing reads them before the response is asked for.
    assert_eq!(push("\"}"), Pushed::Full);
    let rest = async {
        within(exchange.room()).await;
        assert_eq!(push("\"}"), Pushed::Accepted);
        exchange.end();
    };
    let (answer, ()) = tokio::join!(respond(&exchange), rest);
    assert_eq!(answer, (200, json!({ "ok": true, "data": [] })));
    app.engine.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_the_server_does_not_have_is_refused_with_the_reason() {
    let db = TestDb::new().await;
    let app = chat(&db).await;
    let exchange = begin(&app, "POST", "/api/query/messages.list", ExchangeBody::Pushed);
    exchange.fail("another middleware has read it".to_owned());
    let (status, body) = respond(&exchange).await;
    assert_eq!((status, &body["error"]["message"]), (400, &json!("another middleware has read it")));
    app.engine.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_exchange_that_is_closed_or_dropped_ends_its_session() {
    let db = TestDb::new().await;
    let app = chat(&db).await;
    let url = "/api/subscribe?name=messages.list&args=%7B%22channel%22:%22home%22%7D";
    let closed = begin(&app, "GET", url, ExchangeBody::Whole(Bytes::new()));
    let (head, _) = closed.respond().await.expect("it is open");
    assert!(head.streams);
    assert!(within(closed.pull()).await.expect("it goes on").is_some());
    let dropped = begin(&app, "GET", url, ExchangeBody::Whole(Bytes::new()));
    assert!(dropped.respond().await.is_some());
    assert_eq!(app.engine.stats().sessions, 2);
    let (pulled, ()) = tokio::join!(within(closed.pull()), async { closed.close() });
    assert!(pulled.expect("it ended well").is_none());
    drop(dropped);
    assert_eq!(app.engine.stats().sessions, 0);
    // Its response is not awaited any more.
    let early = begin(&app, "POST", "/api/query/messages.list", ExchangeBody::Pushed);
    let (response, ()) = tokio::join!(early.respond(), async { early.close() });
    assert!(response.is_none());
    app.engine.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_ends_early_is_never_taken_for_a_whole_one() {
    let db = TestDb::new().await;
    let functions = Functions::new()
        .mutation("count", |ctx, _| async move { Ok(json!(ctx.hold("channels", json!({ "name": "x" })))) });
    let app = db.app(tables(), functions).await;
    // The arguments of this mutation may be left out, and white space may follow them.
    for (round, sent) in ["", "{", "{}", "{} "].into_iter().cycle().take(400).enumerate() {
        let exchange = Arc::new(begin(&app, "POST", "/api/mutation/count", ExchangeBody::Pushed));
        assert_eq!(exchange.push(Bytes::from_static(sent.as_bytes())), Pushed::Accepted);
        let answering = tokio::spawn({
            let exchange = exchange.clone();
            async move { exchange.respond().await }
        });
        if round % 3 == 0 {
            tokio::task::yield_now().await;
        }
        exchange.close();
        let answer = within(answering).await.expect("it does not panic");
        assert!(answer.is_none_or(|(head, _)| head.status == 400), "{round}");
    }
    let lost = begin(&app, "POST", "/api/mutation/count", ExchangeBody::Pushed);
    assert_eq!(
        ["{", "}", " ", "\n"].map(|chunk| lost.push(Bytes::from_static(chunk.as_bytes()))),
        [Pushed::Accepted; 4]
    );
    lost.fail("the proxy has lost the rest".to_owned());
    assert_eq!(respond(&lost).await.0, 400);
    // Closing waits for mutations that have started.
    app.engine.close().await;
    assert_eq!(db.psql().await.column("select count(*)::text from channels").await, ["0"]);
}
