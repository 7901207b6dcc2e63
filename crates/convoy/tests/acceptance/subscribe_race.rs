//! Acceptance 2: a query is watched at the very moment in which its answer
//! changes. Nobody is left with the answer from before.

use convoy_testkit::{App, Connection, Session, Subscriber, TestDb, Watch, within};
use futures_util::future::join_all;
use rand::RngExt;
use rand::rngs::StdRng;
use serde_json::{Value, json};

use crate::chat::{bodies, serve};
use crate::lane::{scale, seeded};

/// Races that are run at once, each in a channel of its own: a later write would
/// hide that one was missed.
const AT_ONCE: usize = 25;
/// How much later than the other one side may begin, in turns of the scheduler.
const HEAD_START: u32 = 60;

#[tokio::test(flavor = "multi_thread")]
async fn no_subscription_made_while_its_answer_changes_stays_stale() {
    let stale = subscribe_while_writing(scale(20, 400), json!([])).await;
    assert_eq!(stale, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn control_registering_after_the_run_is_found() {
    let stale = subscribe_while_writing(8, json!(["registerAfterRun"])).await;
    assert!(stale > 0, "nobody noticed");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_written_upon_the_first_frame_is_always_seen() {
    let db = TestDb::new().await;
    let app = serve(&db, json!({})).await;
    let rounds = scale(20, 400);
    let mut writers = connections(&app).await;
    for round in 0..rounds {
        let pairs = writers.iter_mut().enumerate().map(|(pair, writer)| {
            let (app, channel) = (&app, format!("{round}/{pair}"));
            async move {
                let mut reader = Reader::open(app, pair, &channel).await;
                reader.until_first().await;
                write(writer, &channel).await;
                reader.until_seen().await;
            }
        });
        join_all(pairs).await;
    }
    println!("{0} of {0} saw what was written upon their first frame", rounds * AT_ONCE);
    app.engine.close().await;
}

/// How many of the subscriptions never show what was written as they were made.
async fn subscribe_while_writing(rounds: usize, mistakes: Value) -> usize {
    let mut random = seeded("subscribe race");
    let db = TestDb::new().await;
    let app = serve(&db, json!({ "mistakes": mistakes })).await;
    let mut writers = connections(&app).await;
    let mut stale = 0;
    for round in 0..rounds {
        let races = writers.iter_mut().enumerate().map(|(pair, writer)| {
            let (app, channel) = (&app, format!("{round}/{pair}"));
            let (readers, writers) = head_starts(&mut random);
            async move {
                let reading = async {
                    turns(readers).await;
                    Reader::open(app, pair, &channel).await
                };
                let writing = async {
                    turns(writers).await;
                    write(writer, &channel).await;
                };
                tokio::join!(reading, writing).0
            }
        });
        let mut readers = join_all(races).await;
        app.rest().await;
        let seen = join_all(readers.iter_mut().map(Reader::comes_to_see)).await;
        stale += seen.into_iter().filter(|seen| !seen).count();
    }
    println!("{stale} of {} subscriptions stale", rounds * AT_ONCE);
    app.engine.close().await;
    stale
}

async fn connections(app: &App) -> Vec<Connection> {
    let mut all = Vec::new();
    for _ in 0..AT_ONCE {
        all.push(app.client().connect().await);
    }
    all
}

async fn write(writer: &mut Connection, channel: &str) {
    writer.mutate("messages.send", &json!({ "channel": channel, "n": 1, "body": "written" })).await.data();
}

/// Either side may be first, by a little or by nothing.
fn head_starts(random: &mut StdRng) -> (u32, u32) {
    let turns = random.random_range(0..HEAD_START);
    if random.random() { (turns, 0) } else { (0, turns) }
}

async fn turns(turns: u32) {
    for _ in 0..turns {
        tokio::task::yield_now().await;
    }
}

/// Someone who watches a channel: by a stream of its own, in a new session, or
/// as one more query of a session.
enum Reader {
    Watch(Watch),
    Session(Session),
}

impl Reader {
    async fn open(app: &App, which: usize, channel: &str) -> Reader {
        let args = json!({ "channel": channel });
        let query = json!([{ "id": 0, "name": "messages.list", "args": args }]);
        match which % 3 {
            0 => Reader::Watch(app.client().watch("messages.list", args).await),
            1 => Reader::Session(app.client().live(query).await),
            _ => {
                let session = app.client().live(json!([])).await;
                session.change(json!({ "add": query, "remove": [] })).await.data();
                Reader::Session(session)
            }
        }
    }

    async fn until_first(&mut self) {
        match self {
            Reader::Watch(watch) => within(watch.next()).await,
            Reader::Session(session) => session.until(0, |_| true).await,
        };
    }

    async fn until_seen(&mut self) {
        match self {
            Reader::Watch(watch) => watch.until(is_written).await,
            Reader::Session(session) => session.until(0, is_written).await,
        };
    }

    async fn comes_to_see(&mut self) -> bool {
        match self {
            Reader::Watch(watch) => watch.comes_to(0, is_written).await,
            Reader::Session(session) => session.comes_to(0, is_written).await,
        }
    }
}

fn is_written(list: &Value) -> bool {
    bodies(list) == ["written"]
}
