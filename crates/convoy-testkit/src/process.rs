//! An engine in a process of its own, so that it can be killed, starved and measured: the test
//! binary, started again to run one of its tests, which serves.

use std::io::{BufRead, BufReader, Lines, Write};
use std::net::SocketAddr;
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};

use serde_json::Value;

use crate::{App, Client};

/// The environment variable with the options of the process.
const OPTIONS: &str = "CONVOY_TEST_SERVES";
/// The prefix of the line with its address.
const SERVING: &str = "serving at ";

/// The process; it ends when this value is dropped, and with the test's process.
pub struct ServerProcess {
    child: Child,
    /// `None` once it is closed, which ends the process.
    input: Option<ChildStdin>,
    /// Its output, which is kept open and not read once it serves.
    output: Lines<BufReader<ChildStdout>>,
    address: SocketAddr,
}

impl ServerProcess {
    /// Starts this binary again to run `test`, which calls [`serve_until_input_ends`].
    pub fn start(test: &str, options: &Value) -> ServerProcess {
        ServerProcess::start_with(
            Command::new(std::env::current_exe().expect("the path of this binary")),
            test,
            options,
        )
    }

    /// The same with a command that runs the program in its arguments, such as `prlimit`.
    pub fn start_under(command: &[&str], test: &str, options: &Value) -> ServerProcess {
        let mut wrapper = Command::new(command[0]);
        wrapper.args(&command[1..]).arg(std::env::current_exe().expect("the path of this binary"));
        ServerProcess::start_with(wrapper, test, options)
    }

    fn start_with(mut command: Command, test: &str, options: &Value) -> ServerProcess {
        let mut child = command
            .args(["--exact", test, "--ignored", "--nocapture"])
            .env(OPTIONS, options.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("this binary starts again");
        let input = child.stdin.take();
        let mut output = BufReader::new(child.stdout.take().expect("its output is piped")).lines();
        let address = output
            .by_ref()
            .map_while(Result::ok)
            .find_map(|line| line.split_once(SERVING).map(|(_, address)| address.parse().expect("an address")))
            .expect("the server starts");
        ServerProcess { child, input, output, address }
    }

    /// Sends it a line, which its test handles; returns the line that it prints next.
    pub fn command(&mut self, line: &str) -> String {
        let input = self.input.as_mut().expect("it has not been closed");
        writeln!(input, "{line}").expect("the process reads");
        self.output.next().expect("the process answers").expect("its output is text")
    }

    /// Ends it by SIGKILL.
    pub fn kill(&mut self) {
        self.child.kill().and_then(|()| self.child.wait()).expect("our own child");
    }

    /// Has it close its engine, and waits until it has ended.
    pub fn close(&mut self) {
        self.input = None;
        assert!(self.until_end().success(), "the server closes");
    }

    /// Waits until it has ended by itself.
    pub fn until_end(&mut self) -> ExitStatus {
        self.child.wait().expect("our own child")
    }

    /// A client of it.
    pub fn client(&self) -> Client {
        Client::of(self.address)
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Its resident memory, in bytes.
    pub fn resident(&self) -> u64 {
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

/// The options of this process, if it was started to serve.
pub fn options_of_server() -> Option<Value> {
    let options = std::env::var(OPTIONS).ok()?;
    Some(serde_json::from_str(&options).expect("the test's own options"))
}

/// Announces the address of a served engine, and closes it when the input of the process ends.
/// `handle` answers the lines of [`ServerProcess::command`].
pub async fn serve_until_input_ends(app: App, handle: impl Fn(&str) -> String + Send + 'static) {
    println!("{SERVING}{}", app.address);
    std::io::stdout().flush().expect("the test reads");
    let reading = tokio::task::spawn_blocking(move || {
        for line in std::io::stdin().lines() {
            println!("{}", handle(&line.expect("commands are text")));
        }
    });
    reading.await.expect("it is read");
    app.engine.close().await;
}
