//! A server in a process of its own, so that its memory can be measured: this binary, started
//! again to run the test at the end of this file.

use std::io::{BufRead, BufReader, Lines, Read, Write};
use std::net::SocketAddr;
use std::process::{Child, ChildStdout, Command, Stdio};

use convoy_testkit::{App, Client, TestDb, allow_open_files};
use serde_json::{Value, json};

use crate::chat::{functions, tables};
use crate::list_append;

/// The environment variable with the options of the process.
const OPTIONS: &str = "CONVOY_TEST_SERVES";
/// The prefix of the line with its address.
const SERVING: &str = "serving at ";
/// The size of a result of `padded`, in bytes.
pub(crate) const PADDING: usize = 32 << 10;

/// The process; it ends when this value is dropped, and with the test's process.
pub(crate) struct ServerProcess {
    child: Child,
    /// Its output, which is kept open and not read once it serves.
    _output: Lines<BufReader<ChildStdout>>,
    address: SocketAddr,
}

impl ServerProcess {
    /// Starts a server on this database with these options of the engine.
    pub(crate) fn start(db: &TestDb, mut options: Value) -> ServerProcess {
        options["databaseUrl"] = json!(db.url());
        let program = std::env::current_exe().expect("the path of this binary");
        let mut child = Command::new(program)
            .args(["--exact", "server_process::serves_until_its_input_ends", "--ignored", "--nocapture"])
            .env(OPTIONS, options.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("this binary starts again");
        let mut output = BufReader::new(child.stdout.take().expect("its output is piped")).lines();
        let address = output
            .by_ref()
            .map_while(Result::ok)
            .find_map(|line| line.split_once(SERVING).map(|(_, address)| address.parse().expect("an address")))
            .expect("the server starts");
        ServerProcess { child, _output: output, address }
    }

    /// Ends it by SIGKILL.
    pub(crate) fn kill(&mut self) {
        self.child.kill().and_then(|()| self.child.wait()).expect("our own child");
    }

    pub(crate) fn client(&self) -> Client {
        Client::of(self.address)
    }

    /// Its resident memory, in bytes.
    pub(crate) fn resident(&self) -> u64 {
        let path = format!("/proc/{}/status", self.child.id());
        let status = std::fs::read_to_string(path).expect("the process lives, on Linux");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("its resident memory");
        line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number of KiB") << 10
    }
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        // Fails if it has ended already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "the server of other tests, which start it"]
async fn serves_until_its_input_ends() {
    let Ok(config) = std::env::var(OPTIONS) else { return };
    allow_open_files(12_000);
    let config = serde_json::from_str(&config).expect("the test's own options");
    let padding = "x".repeat(PADDING);
    // An object, so that it is sent whole instead of as a delta.
    let program = functions().query("padded", move |ctx, _| {
        let padding = padding.clone();
        async move {
            ctx.saw_nothing();
            let last =
                json!({ "op": "scan", "table": "marks", "index": "by_n", "eq": [], "order": "desc", "limit": 1 });
            Ok(json!({ "n": ctx.op(last).await?[0]["n"], "padding": padding }))
        }
    });
    let mut all = tables();
    let lists = list_append::tables();
    all.as_array_mut().expect("a list").extend(lists.as_array().expect("a list").iter().cloned());
    let app = App::open(config, all, list_append::add_to(program)).await;
    println!("{SERVING}{}", app.address);
    std::io::stdout().flush().expect("the test reads");
    let ended = tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new())).await;
    ended.expect("it is read").expect("it ends");
    app.engine.close().await;
}
