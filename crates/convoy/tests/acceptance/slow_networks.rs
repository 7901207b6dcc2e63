//! Networks that delay data, limit its rate, or deliver the notifications of commits long after
//! or before the answers to statements: clients read their own writes, nothing goes backwards,
//! and streams converge.

use std::time::Duration;

use convoy_testkit::{App, Conditions, Flow, Proxy, TestDb};
use rand::rngs::StdRng;
use serde_json::{Value, json};

use crate::scale::{report, scale, seeded, with_seeds};
use crate::session_guarantees::{create_counters, serve, violations_of_clients};

/// What the network between the first node and Postgres does.
#[derive(Debug, Clone, Copy)]
enum Network {
    /// Each flush arrives later.
    Delays,
    /// Each connection has a low rate.
    Throttles,
    /// Notifications arrive after answers that Postgres has sent later.
    NotificationsLast,
    /// Notifications arrive before answers that Postgres has sent earlier.
    NotificationsFirst,
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_read_their_writes_while_data_is_delayed() {
    holds(Network::Delays).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_read_their_writes_at_a_low_rate() {
    holds(Network::Throttles).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_read_their_writes_while_notifications_come_last() {
    holds(Network::NotificationsLast).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_read_their_writes_while_notifications_come_first() {
    holds(Network::NotificationsFirst).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn control_ignored_consistency_tokens_are_detected_behind_late_notifications() {
    let found = violations(Network::NotificationsLast, 60, &mut seeded(), json!(["ignorePosition"])).await;
    assert!(!found.is_empty(), "the failpoint was not detected");
}

async fn holds(network: Network) {
    with_seeds("slow_networks", async |mut random| {
        let found = violations(network, scale(15, 1_000), &mut random, json!([])).await;
        assert_eq!(found, Vec::<String>::new(), "{network:?}");
    })
    .await;
}

async fn violations(network: Network, steps: usize, random: &mut StdRng, failpoints: Value) -> Vec<String> {
    let db = TestDb::new().await;
    let (proxy, url) = Proxy::before(&db.url()).await;
    // The log is read seldom, so that notifications matter.
    let limits = json!({ "pollMs": 500 });
    let options = |url: String| json!({ "databaseUrl": url, "limits": limits, "failpoints": failpoints });
    let nodes = [serve(&db, options(url)).await, serve(&db, options(db.url())).await];
    create_counters(&nodes[0]).await;
    proxy.listener_after(0).await;
    let found = tokio::select! {
        found = violations_of_clients(&nodes, steps, random) => found,
        never = network.run(&proxy, &nodes[1]) => never,
    };
    let [notifications, answers] = [Flow::NOTIFICATIONS, Flow::ANSWERS].map(|flow| proxy.flushes(flow));
    report(&format!("{network:?}: notifications {notifications:?}, answers {answers:?}"));
    assert!(notifications.passed > 0, "notifications passed through the proxy");
    proxy.release();
    for node in &nodes {
        node.engine.close().await;
    }
    found
}

impl Network {
    /// Applies the faults until it is dropped.
    async fn run<T>(self, proxy: &Proxy, other: &App) -> T {
        match self {
            Network::Delays => {
                proxy.set(&Flow::ALL, Conditions { delay: Duration::from_millis(10), ..Conditions::default() });
                std::future::pending().await
            }
            Network::Throttles => {
                proxy.set(&Flow::ALL, Conditions { bytes_per_second: Some(100_000), ..Conditions::default() });
                std::future::pending().await
            }
            Network::NotificationsLast => loop {
                proxy.hold(Flow::NOTIFICATIONS);
                // Until Postgres has notified this node, and much later answers have passed.
                until_notified(proxy, other, |proxy| {
                    let before = proxy.flushes(Flow::NOTIFICATIONS).held;
                    async move { proxy.until_flushes(Flow::NOTIFICATIONS, |flushes| flushes.held > before).await }
                })
                .await;
                let before = proxy.flushes(Flow::ANSWERS).passed;
                proxy.until_flushes(Flow::ANSWERS, |flushes| flushes.passed > before + 30).await;
                proxy.release();
                let before = proxy.flushes(Flow::ANSWERS).passed;
                proxy.until_flushes(Flow::ANSWERS, |flushes| flushes.passed > before + 5).await;
            },
            Network::NotificationsFirst => loop {
                proxy.hold(Flow::ANSWERS);
                until_notified(proxy, other, |proxy| {
                    let before = proxy.flushes(Flow::NOTIFICATIONS).passed;
                    async move { proxy.until_flushes(Flow::NOTIFICATIONS, |flushes| flushes.passed > before).await }
                })
                .await;
                proxy.release();
                let before = proxy.flushes(Flow::ANSWERS).passed;
                proxy.until_flushes(Flow::ANSWERS, |flushes| flushes.passed > before + 20).await;
            },
        }
    }
}

/// Has the other node commit, so that Postgres notifies the first one, until that is seen.
async fn until_notified<'a, F: Future<Output = ()>>(proxy: &'a Proxy, other: &App, seen: impl FnOnce(&'a Proxy) -> F) {
    let committing = async {
        loop {
            // Not one of the counters, whose locks a call with a held answer may have.
            other.client().mutate("counters.another", json!({})).await.data();
        }
    };
    tokio::select! {
        () = seen(proxy) => {}
        () = committing => {}
    }
}
