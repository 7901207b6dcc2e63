//! A Postgres without connections or without disk space, and a server without file descriptors.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::Command;

use convoy_testkit::{Cluster, PostgresTools, Psql, Reply, ServerProcess, within};
use serde_json::{Value, json};
use tokio::net::TcpStream;

use crate::kills;
use crate::machine::{damage, open, unavailable, write_when_available};
use crate::pairs::{Damage, Watcher, Way, report};

fn tools() -> Option<PostgresTools> {
    PostgresTools::find().map_err(|reason| report(&format!("skipped: {reason}"))).ok()
}

/// Connections that others hold.
async fn take_all(cluster: &Cluster, role: &str) -> Vec<Psql> {
    let mut taken = Vec::new();
    let url = cluster.url("postgres").replace("convoy@", &format!("{role}@"));
    while let Some(psql) = Psql::try_at(&url).await {
        taken.push(psql);
    }
    taken
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_are_unavailable_while_postgres_has_no_connection_left() {
    let Some(tools) = tools() else { return };
    let cluster = tools.start(&[("max_connections", "30")]).await;
    let mut psql = cluster.psql("postgres").await;
    psql.run("create role app login; grant create on database postgres to app; grant all on schema public to app")
        .await;
    let url = cluster.url("postgres").replace("convoy@", "app@");
    let node = open(&url, json!({})).await;
    let mut watchers = [(&node, Watcher::open(node.client(), 0..4).await)];
    write_when_available(&node.client(), 0, Way::Transaction).await;
    for round in 1..3u64 {
        // Others take every connection, also those that the node loses.
        psql.run("select pg_terminate_backend(pid) from pg_stat_activity where usename = 'app'").await;
        let taken = within(async {
            let mut taken = take_all(&cluster, "app").await;
            loop {
                let reply = node.client().mutate("pairs.addWithin", json!({ "number": 100 + round })).await;
                if reply.status == 503 {
                    report(&unavailable(&reply));
                    return taken;
                }
                psql.run("select pg_terminate_backend(pid) from pg_stat_activity where usename = 'app' and application_name <> ''").await;
                taken.extend(take_all(&cluster, "app").await);
            }
        })
        .await;
        psql.run(&format!("insert into notes (data) values ('{{\"number\": {}}}')", round)).await;
        drop(taken);
        write_when_available(&node.client(), 3, Way::Transaction).await;
    }
    let found = damage(&mut psql, &mut watchers, &BTreeSet::from([0, 1, 2, 3]), 0..4).await;
    assert_eq!(found, Damage::default());
    node.engine.close().await;
}

/// A small file system in memory; unmounted with this value.
struct SmallDisk(PathBuf);

impl SmallDisk {
    /// `None` if this process may not mount one, with the reason on standard error.
    fn mount(tools: &PostgresTools, megabytes: u32) -> Option<SmallDisk> {
        let folder = std::env::temp_dir().join(format!("convoy-disk-{}", convoy::id::mint()));
        std::fs::create_dir_all(&folder).expect("a new folder");
        let size = format!("size={megabytes}m");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(&folder).output();
        let error = match mounted {
            Ok(output) if output.status.success() => {
                tools.own(&folder);
                return Some(SmallDisk(folder));
            }
            Ok(output) => String::from_utf8_lossy(&output.stderr).into_owned(),
            Err(error) => error.to_string(),
        };
        report(&format!("skipped: a small disk cannot be mounted: {error}"));
        None
    }

    /// Fills it; the returned file is the only thing that has to be removed.
    fn fill(&self) -> PathBuf {
        use std::io::Write;
        let ballast = self.0.join("ballast");
        let mut file = std::fs::File::create(&ballast).expect("a new file");
        for size in [1 << 20, 4 << 10] {
            while file.write_all(&vec![0; size]).is_ok() {}
        }
        ballast
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        drop(Command::new("umount").args(["-l"]).arg(&self.0).status());
        drop(std::fs::remove_dir(&self.0));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_are_unavailable_while_the_disk_of_postgres_is_full() {
    let Some(tools) = tools() else { return };
    let Some(disk) = SmallDisk::mount(&tools, 48) else { return };
    let cluster = tools.start(&[]).await;
    let place = disk.0.display();
    let mut server = cluster.psql("postgres").await;
    server.run(&format!("create tablespace small location '{place}'")).await;
    server.run("create database full_disk template template0 tablespace small").await;
    let mut psql = cluster.psql("full_disk").await;
    let node = open(&cluster.url("full_disk"), json!({})).await;
    let mut watchers = [(&node, Watcher::open(node.client(), 0..9).await)];
    for number in 0..3 {
        write_when_available(&node.client(), number, Way::ALL[number as usize]).await;
    }
    let ballast = disk.fill();
    let mut acknowledged = BTreeSet::from([0, 1, 2]);
    for (way, number) in Way::ALL.into_iter().zip(3..) {
        // Until the free space in the pages of the tables is used up.
        let reply = node.client().mutate(way.function(), large(number)).await;
        let sentence = unavailable(&reply);
        assert!(sentence.contains("disk"), "{sentence}");
        report(&format!("{way:?}: {sentence}"));
    }
    // Queries are answered, and so are those that are live.
    let read = node.client().query("of", json!({ "number": 0 })).await;
    assert_eq!(read.data(), json!([1, 1, 0]));
    std::fs::remove_file(ballast).expect("the file of this test");
    for number in 3..9 {
        write_when_available(&node.client(), number, Way::ALL[number as usize % 3]).await;
        acknowledged.insert(number);
    }
    let found = damage(&mut psql, &mut watchers, &acknowledged, 0..9).await;
    assert_eq!(found, Damage::default());
    node.engine.close().await;
}

/// The input of a mutation that writes text which does not compress.
fn large(number: u64) -> Value {
    let text: String = (0..4_000).map(|_| format!("{:032x}", rand::random::<u128>())).collect();
    json!({ "number": number, "large": text })
}

/// The mutations of a case with a full log: beyond what fits into a file of the log and its buffers.
const LOGGED: u64 = 120;

/// Writes until the disk of the write-ahead log is full, which ends Postgres; then makes space and
/// starts it again. Returns the damage; `None` if this machine cannot do that.
async fn fill_the_log(settings: &[(&str, &str)]) -> Option<Damage> {
    let tools = tools()?;
    let disk = SmallDisk::mount(&tools, 48)?;
    let log = disk.0.join("log");
    std::fs::create_dir(&log).expect("a new folder");
    tools.own(&log);
    // Otherwise Postgres would make space for a while by removing old files.
    let all = [&[("restart_after_crash", "off"), ("checkpoint_timeout", "1h")], settings].concat();
    let mut cluster = tools.start_with_log_in(&log, &all).await;
    let node = open(&cluster.url("postgres"), json!({})).await;
    let mut watchers = [(&node, Watcher::open(node.client(), 0..LOGGED).await)];
    let mut acknowledged = BTreeSet::new();
    for number in 0..3 {
        write_when_available(&node.client(), number, Way::ALL[number as usize]).await;
        acknowledged.insert(number);
    }
    let ballast = disk.fill();
    let mut numbers = 3..LOGGED - 6;
    for number in numbers.by_ref() {
        let way = Way::ALL[number as usize % 3];
        let reply = node.client().mutate(way.function(), large(number)).await;
        if reply.status != 200 {
            refused_or_in_doubt(&reply);
            break;
        }
        acknowledged.insert(number);
    }
    assert!(!numbers.is_empty(), "the disk was not full");
    cluster.ended().await;
    // Every call says so while there is no Postgres.
    for (way, number) in Way::ALL.into_iter().zip(numbers.clone()) {
        refused_or_in_doubt(&node.client().mutate(way.function(), json!({ "number": number })).await);
    }
    report(&unavailable(&node.client().query("of", json!({ "number": 0 })).await));
    std::fs::remove_file(ballast).expect("the file of this test");
    cluster.restart().await;
    for number in LOGGED - 6..LOGGED {
        write_when_available(&node.client(), number, Way::ALL[number as usize % 3]).await;
        acknowledged.insert(number);
    }
    let mut psql = cluster.psql("postgres").await;
    let found = damage(&mut psql, &mut watchers, &acknowledged, 0..LOGGED).await;
    node.engine.close().await;
    Some(found)
}

/// A connection that was just open may end while it commits.
fn refused_or_in_doubt(reply: &Reply) {
    assert_eq!((reply.status, reply.code()), (503, "UNAVAILABLE"), "{}", reply.body);
    report(&reply.body.to_string());
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_acknowledged_is_lost_when_the_disk_of_the_write_ahead_log_is_full() {
    let Some(found) = fill_the_log(&[]).await else { return };
    assert_eq!(found, Damage::default());
}

/// Commits that are acknowledged while they are only in the buffers of the log.
#[tokio::test(flavor = "multi_thread")]
async fn control_commits_that_the_full_disk_has_lost_are_detected() {
    let unsafe_commits = [
        ("synchronous_commit", "off"),
        ("wal_buffers", "8MB"),
        ("wal_writer_delay", "10s"),
        ("wal_writer_flush_after", "1GB"),
    ];
    let Some(found) = fill_the_log(&unsafe_commits).await else { return };
    assert!(!found.lost.is_empty(), "the lost commits were not detected: {found:?}");
}

/// The limit of open files: more than the engine needs for itself, and fewer than its clients open.
const FILES: usize = 80;

#[tokio::test(flavor = "multi_thread")]
async fn a_server_without_file_descriptors_waits_and_recovers() {
    let prlimit = ["prlimit", &format!("--nofile={FILES}")];
    if Command::new(prlimit[0]).arg("--version").output().is_err() {
        return report("skipped: there is no prlimit");
    }
    let db = convoy_testkit::TestDb::new().await;
    let mut psql = db.psql().await;
    // Clients that send nothing keep their descriptors.
    let server = kills::start_under(&prlimit, &db.url(), json!({ "limits": { "headerMs": 300_000 } }));
    let mut watcher = Watcher::open(server.client(), 0..6).await;
    let mut kept = server.client().connect().await;
    let add = |number: u64| json!({ "number": number });
    assert_eq!(kept.mutate("pairs.addWithin", &add(0)).await.status, 200);
    let mut idle = Vec::new();
    // More than there are descriptors: when the server closes another file, the next one takes it.
    for _ in 0..FILES {
        idle.push(TcpStream::connect(server.client().address).await.expect("the system accepts it"));
    }
    within(async {
        while open_files(&server) < FILES {
            tokio::task::yield_now().await
        }
    })
    .await;
    // These wait until the server can accept them.
    let waiting = tokio::spawn({
        let client = server.client();
        async move { client.mutate("pairs.addWithin", json!({ "number": 1 })).await.status }
    });
    // A second of processor time would be used up soon by a loop that never sleeps.
    let before = processor_time(&server);
    for number in 2..5 {
        assert_eq!(kept.mutate("pairs.addWithin", &add(number)).await.status, 200, "an open connection goes on");
    }
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    let used = processor_time(&server) - before;
    assert!(used < 0.7, "{used} s of processor time in a second without descriptors");
    assert!(!waiting.is_finished(), "there was no descriptor for it");
    drop(idle);
    assert_eq!(within(waiting).await.expect("no panic"), 200);
    assert_eq!(server.client().mutate("pairs.addWithin", add(5)).await.status, 200);
    let stored = crate::pairs::Stored::read(&mut psql).await;
    assert_eq!(Damage::of(&stored, &(0..6).collect()), Damage::default());
    assert_eq!(watcher.stale(None, &stored).await, Vec::<u64>::new());
    report(&format!("{used} s of processor time in a second without descriptors"));
}

fn open_files(server: &ServerProcess) -> usize {
    std::fs::read_dir(format!("/proc/{}/fd", server.id())).expect("the process lives, on Linux").count()
}

/// In seconds.
fn processor_time(server: &ServerProcess) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", server.id())).expect("the process lives, on Linux");
    let (_, rest) = stat.rsplit_once(')').expect("the name of the program");
    let fields: Vec<&str> = rest.split_whitespace().collect();
    // User and system time in hundredths of a second.
    [11, 12].map(|at: usize| fields[at].parse::<f64>().expect("a number")).iter().sum::<f64>() / 100.0
}
