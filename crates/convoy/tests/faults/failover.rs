//! A standby takes the place of its primary, behind an address that stays: nothing that was
//! acknowledged is lost, and no live query stays stale, although the change log of the standby is
//! empty and its transaction ids may be lower than those that were seen before.

use std::collections::BTreeSet;

use convoy::{Config, Engine};
use convoy_testkit::{App, Cluster, PostgresTools, Proxy, within};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::machine::{damage, open, unavailable, write_when_available};
use crate::pairs::{Damage, Watcher, Way, report};

const DATABASE: &str = "postgres";
/// The mutations before, during and after the failover, and rows of another program.
const BEFORE: u64 = 6;
const DURING: u64 = 12;
const AFTER: u64 = 4;
const TOTAL: u64 = BEFORE + DURING + AFTER;
/// How often a control is made until the mistake is detected.
const ATTEMPTS: usize = 5;

/// A primary with its standby; `None` if the programs are missing, with the reason on standard error.
async fn primary_and_standby() -> Option<(Cluster, Cluster)> {
    let tools = PostgresTools::find().map_err(|reason| report(&format!("skipped: {reason}"))).ok()?;
    let primary = tools.start(&[("max_connections", "80")]).await;
    let standby = primary.start_standby(&[("max_connections", "80"), ("hot_standby", "on")]).await;
    Some((primary, standby))
}

async fn until(psql: &mut convoy_testkit::Psql, sql: &str) {
    within(async { while psql.column(sql).await != ["true"] {} }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_acknowledged_is_lost_when_a_synchronous_standby_takes_over() {
    let Some((mut primary, mut standby)) = primary_and_standby().await else { return };
    let mut psql = primary.psql(DATABASE).await;
    psql.run("alter system set synchronous_standby_names = 'standby'").await;
    psql.run("select pg_reload_conf()").await;
    until(&mut psql, "select (count(*) = 1)::text from pg_stat_replication where sync_state = 'sync'").await;
    let (proxy, url) = Proxy::before(&primary.url(DATABASE)).await;
    let nodes = [open(&url, json!({})).await, open(&url, json!({})).await];
    let mut watchers = watch(&nodes).await;
    for number in 0..BEFORE {
        write_when_available(&nodes[0].client(), number, Way::ALL[number as usize % 3]).await;
    }

    let mut writing = JoinSet::new();
    for number in BEFORE..BEFORE + DURING {
        let client = nodes[number as usize % 2].client();
        writing.spawn(async move { write_when_available(&client, number, Way::ALL[number as usize % 3]).await });
    }
    // While mutations run, at first without a primary: the standby only reads.
    primary.kill();
    proxy.point_to(&standby.url(DATABASE));
    let reply = refused_by_standby(&nodes[0]).await;
    standby.promote().await;
    let sentences: BTreeSet<String> = writing.join_all().await.into_iter().flatten().collect();
    report(&format!("meanwhile: {reply:?}, {sentences:?}"));

    let mut psql = standby.psql(DATABASE).await;
    finish(&nodes, &mut psql, &mut watchers, (0..BEFORE + DURING).collect()).await;
}

/// Calls a mutation until the standby refuses it; returns the sentence.
async fn refused_by_standby(node: &App) -> String {
    within(async {
        loop {
            let reply = node.client().mutate("pairs.addWithin", json!({ "number": 1_000 })).await;
            let sentence = unavailable(&reply);
            if sentence.contains("standby") {
                return sentence;
            }
        }
    })
    .await
}

async fn watch(nodes: &[App; 2]) -> [(&App, Watcher); 2] {
    let [here, there] = nodes;
    [(here, Watcher::open(here.client(), 0..TOTAL).await), (there, Watcher::open(there.client(), 0..TOTAL).await)]
}

/// Writes to the new primary, by the nodes and by another program, and checks everything.
async fn finish(
    nodes: &[App; 2],
    psql: &mut convoy_testkit::Psql,
    watchers: &mut [(&App, Watcher); 2],
    mut acknowledged: BTreeSet<u64>,
) {
    write_after(nodes, psql, &mut acknowledged).await;
    until_read(psql, watchers).await;
    assert_eq!(damage(psql, watchers, &acknowledged, 0..TOTAL).await, Damage::default());
    for node in nodes {
        node.engine.close().await;
    }
}

async fn write_after(nodes: &[App; 2], psql: &mut convoy_testkit::Psql, acknowledged: &mut BTreeSet<u64>) {
    for number in BEFORE + DURING..TOTAL - 1 {
        write_when_available(&nodes[number as usize % 2].client(), number, Way::ALL[number as usize % 3]).await;
        acknowledged.insert(number);
    }
    psql.run(&format!("insert into notes (data) values ('{{\"number\": {}}}')", TOTAL - 1)).await;
    acknowledged.insert(TOTAL - 1);
}

/// Waits until the nodes have read the log up to the last row, of which no other way tells them.
async fn until_read(psql: &mut convoy_testkit::Psql, watchers: &mut [(&App, Watcher); 2]) {
    let stored = crate::pairs::Stored::read(psql).await;
    for (_, watcher) in watchers {
        watcher.until_shows(TOTAL - 1, &stored).await;
    }
}

/// The standby has not received the last transactions: what they did is gone, and their ids are
/// used again. Live queries go back to what is stored.
async fn lose_the_newest(failpoints: Value) -> Option<Damage> {
    let is_control = failpoints != json!([]);
    let (mut primary, mut standby) = primary_and_standby().await?;
    let (proxy, url) = Proxy::before(&primary.url(DATABASE)).await;
    let options = json!({ "failpoints": failpoints });
    let nodes = [open(&url, options.clone()).await, open(&url, options).await];
    let mut watchers = watch(&nodes).await;
    for number in 0..BEFORE {
        write_when_available(&nodes[0].client(), number, Way::ALL[number as usize % 3]).await;
    }
    let mut psql = primary.psql(DATABASE).await;
    until(&mut psql, "select (replay_lsn = pg_current_wal_lsn())::text from pg_stat_replication").await;
    // From here on the standby receives nothing.
    let mut reading = standby.psql(DATABASE).await;
    reading.run("alter system set primary_conninfo = ''").await;
    reading.run("select pg_reload_conf()").await;
    until(&mut psql, "select (count(*) = 0)::text from pg_stat_replication").await;
    for number in BEFORE..BEFORE + DURING {
        write_when_available(&nodes[0].client(), number, Way::ALL[number as usize % 3]).await;
    }
    psql.run("do $$ begin for i in 1..500 loop perform pg_current_xact_id(); commit; end loop; end $$").await;
    // So that both nodes have read the log up to these ids.
    let shown = crate::pairs::Stored::read(&mut psql).await;
    for (app, watcher) in &mut watchers {
        assert_eq!(watcher.stale(Some(app), &shown).await, Vec::<u64>::new());
    }
    primary.kill();
    standby.promote().await;
    proxy.point_to(&standby.url(DATABASE));
    let mut psql = standby.psql(DATABASE).await;
    let mut acknowledged = (0..BEFORE).collect();
    write_after(&nodes, &mut psql, &mut acknowledged).await;
    // With the mistake, the nodes may never read the last row.
    if !is_control {
        until_read(&mut psql, &mut watchers).await;
    }
    let found = damage(&mut psql, &mut watchers, &acknowledged, 0..TOTAL).await;
    for node in &nodes {
        node.engine.close().await;
    }
    Some(found)
}

#[tokio::test(flavor = "multi_thread")]
async fn live_queries_converge_when_a_standby_that_lags_takes_over() {
    let Some(found) = lose_the_newest(json!([])).await else { return };
    assert_eq!(found, Damage::default());
}

#[tokio::test(flavor = "multi_thread")]
async fn control_a_position_of_the_lost_primary_is_detected() {
    // Where a node runs its queries again for another reason, the mistake does no damage.
    for _ in 0..ATTEMPTS {
        let Some(found) = lose_the_newest(json!(["ignoreEpoch"])).await else { return };
        if !found.stale.is_empty() {
            return;
        }
    }
    panic!("the failpoint was not detected");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_that_opens_on_a_standby_is_refused_until_it_is_a_primary() {
    let Some((mut primary, mut standby)) = primary_and_standby().await else { return };
    let config = json!({ "databaseUrl": standby.url(DATABASE) });
    let config: Config = serde_json::from_value(config).expect("options");
    let failure = Engine::open(config).await.err().expect("it only reads").to_failure();
    assert_eq!(failure.code.as_str(), "UNAVAILABLE", "{failure}");
    assert!(failure.message.contains("standby") && failure.message.contains("pg_promote"), "{failure}");
    primary.kill();
    standby.promote().await;
    open(&standby.url(DATABASE), json!({})).await.engine.close().await;
}
