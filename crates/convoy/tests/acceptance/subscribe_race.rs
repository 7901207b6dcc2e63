//! Acceptance 2: subscribing while the answer changes. No subscription keeps the old
//! answer.

use convoy_testkit::{Answer, Answers, App, Connection, Reader, StreamState, TestDb};
use futures_util::future::join_all;
use rand::RngExt;
use rand::rngs::StdRng;
use serde_json::{Value, json};

use crate::chat::{bodies, serve};
use crate::scale::{report, scale, seeded, with_seeds};

/// Concurrent races, each in a channel of its own, so that no later write covers a missed
/// one.
const AT_ONCE: usize = 25;
/// The maximum delay of either side, in scheduler yields.
const HEAD_START: u32 = 60;

#[tokio::test(flavor = "multi_thread")]
async fn no_subscription_made_while_its_answer_changes_stays_stale() {
    with_seeds("subscribe_race", async |mut random| {
        assert_eq!(subscribe_while_writing(scale(20, 400), &mut random, json!([])).await, 0);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn control_registering_after_the_run_is_detected() {
    let stale = subscribe_while_writing(400, &mut seeded(), json!(["registerAfterRun"])).await;
    assert!(stale > 0, "the failpoint was not detected");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_after_the_first_frame_is_always_seen() {
    let db = TestDb::new().await;
    let app = serve(&db, json!({})).await;
    let rounds = scale(20, 400);
    let mut writers = connections(&app).await;
    for round in 0..rounds {
        let pairs = writers.iter_mut().enumerate().map(|(pair, writer)| {
            let (app, channel) = (&app, format!("{round}/{pair}"));
            async move {
                let mut subscriber = Subscriber::open(app, pair, &channel).await;
                subscriber.until(|_| true).await;
                write(writer, &channel).await;
                subscriber.until(is_written).await;
            }
        });
        join_all(pairs).await;
    }
    report(&format!("{0} of {0} saw the write after their first frame", rounds * AT_ONCE));
    app.engine.close().await;
}

/// How many of the subscriptions never show the concurrent write. Ends with the first round
/// that has such ones: how many rounds that takes depends on the scheduler.
async fn subscribe_while_writing(rounds: usize, random: &mut StdRng, failpoints: Value) -> usize {
    let db = TestDb::new().await;
    let app = serve(&db, json!({ "failpoints": failpoints })).await;
    let mut writers = connections(&app).await;
    let (mut made, mut stale) = (0, 0);
    for round in 0..rounds {
        let races = writers.iter_mut().enumerate().map(|(pair, writer)| {
            let (app, channel) = (&app, format!("{round}/{pair}"));
            let (readers, writers) = head_starts(random);
            async move {
                let reading = async {
                    yield_times(readers).await;
                    Subscriber::open(app, pair, &channel).await
                };
                let writing = async {
                    yield_times(writers).await;
                    write(writer, &channel).await;
                };
                tokio::join!(reading, writing).0
            }
        });
        let mut subscribers = join_all(races).await;
        app.until_idle().await;
        let seen = join_all(subscribers.iter_mut().map(Subscriber::sees_write)).await;
        made += seen.len();
        stale += seen.into_iter().filter(|seen| !seen).count();
        if stale > 0 {
            break;
        }
    }
    report(&format!("{stale} of {made} subscriptions stale"));
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

/// Delays for the reader and the writer; one of them is zero.
fn head_starts(random: &mut StdRng) -> (u32, u32) {
    let delay = random.random_range(0..HEAD_START);
    if random.random() { (delay, 0) } else { (0, delay) }
}

async fn yield_times(count: u32) {
    for _ in 0..count {
        tokio::task::yield_now().await;
    }
}

/// A subscriber of a channel: by a plain stream, in a new session, or by an added query of a
/// session.
enum Subscriber {
    Watch(Reader<Answer>),
    Session(Reader<Answers>),
}

impl Subscriber {
    async fn open(app: &App, which: usize, channel: &str) -> Subscriber {
        let (client, args) = (app.client(), json!({ "channel": channel }));
        let query = json!([{ "id": 0, "name": "messages.list", "args": args }]);
        match which % 3 {
            0 => Subscriber::Watch(client.watch("messages.list", args).await.read_continuously()),
            1 => Subscriber::Session(client.live(query).await.read_continuously()),
            _ => {
                let session = client.live(json!([])).await;
                client.change(session.id(), json!({ "add": query, "remove": [] })).await.data();
                Subscriber::Session(session.read_continuously())
            }
        }
    }

    async fn until(&mut self, wanted: impl Fn(&Value) -> bool) {
        match self {
            Subscriber::Watch(reader) => reader.until(|answer| answer.latest(0).is_some_and(&wanted)).await,
            Subscriber::Session(reader) => reader.until(|answers| answers.latest(0).is_some_and(&wanted)).await,
        }
    }

    async fn sees_write(&mut self) -> bool {
        match self {
            Subscriber::Watch(reader) => reader.reaches(0, is_written).await,
            Subscriber::Session(reader) => reader.reaches(0, is_written).await,
        }
    }
}

fn is_written(list: &Value) -> bool {
    bodies(list) == ["written"]
}
