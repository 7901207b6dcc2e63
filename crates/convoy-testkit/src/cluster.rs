//! A Postgres of a test alone, which can be killed, replaced by its standby, and starved.

use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Stdio};

use tokio::sync::watch;
use uuid::Uuid;

use crate::{Psql, within};

/// The programs of Postgres, and the user that runs them: Postgres refuses to run as root.
#[derive(Debug, Clone)]
pub struct PostgresTools {
    folder: PathBuf,
    /// The ids of the user and its group, where this process is root's.
    user: Option<(u32, u32)>,
}

/// A running server; its files are removed with this value.
pub struct Cluster {
    tools: PostgresTools,
    folder: PathBuf,
    port: u16,
    settings: Vec<String>,
    server: Child,
    log: watch::Receiver<Log>,
}

#[derive(Default)]
struct Log {
    ready: bool,
    /// It accepts connections that only read.
    ready_to_read: bool,
}

impl PostgresTools {
    /// Finds them; the reason if they are missing.
    pub fn find() -> Result<PostgresTools, String> {
        let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
        let debian = versions.map(|version| version.path().join("bin"));
        let path = std::env::var_os("PATH").unwrap_or_default();
        let all = debian.chain(std::env::split_paths(&path));
        let folder = all.filter(|folder| folder.join("initdb").exists() && folder.join("pg_basebackup").exists()).max();
        let folder = folder.ok_or("initdb and pg_basebackup are in no folder of PATH or /usr/lib/postgresql")?;
        let user = match rustix::process::geteuid().is_root() {
            false => None,
            true => Some(ids_of("postgres").ok_or("Postgres does not run as root, and there is no user `postgres`")?),
        };
        Ok(PostgresTools { folder, user })
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.folder.join(program));
        if let Some((user, group)) = self.user {
            command.gid(group).uid(user);
        }
        // Not that of the test, which this user may not read.
        command.current_dir("/");
        command
    }

    fn run(&self, program: &str, args: &[&str]) {
        let output = self.command(program).args(args).output().expect("a program of Postgres runs");
        assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// Makes a folder that the server may write to.
    pub fn own(&self, folder: &Path) {
        if let Some((user, group)) = self.user {
            chown(folder, Some(user), Some(group)).expect("root may change owners");
        }
    }

    /// Starts a server with these settings. The role `convoy` may do anything.
    pub async fn start(&self, settings: &[(&str, &str)]) -> Cluster {
        self.init(&[], settings).await
    }

    /// The same with its write-ahead log in this folder, which is empty, in files of 1 MiB.
    pub async fn start_with_log_in(&self, folder: &Path, settings: &[(&str, &str)]) -> Cluster {
        let folder = folder.to_str().expect("a path of ASCII");
        self.init(&["--waldir", folder, "--wal-segsize=1"], settings).await
    }

    async fn init(&self, options: &[&str], settings: &[(&str, &str)]) -> Cluster {
        let folder = self.new_folder();
        let data = folder.join("data");
        let data = data.to_str().expect("a path of ASCII");
        let plain = ["-D", data, "-U", "convoy", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync"];
        self.run("initdb", &[&plain, options].concat());
        Cluster::launch(self.clone(), folder, settings).await
    }

    fn new_folder(&self) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("convoy-test-{}", Uuid::now_v7().simple()));
        std::fs::create_dir(&folder).expect("a new folder");
        self.own(&folder);
        folder
    }
}

fn ids_of(user: &str) -> Option<(u32, u32)> {
    let users = std::fs::read_to_string("/etc/passwd").ok()?;
    let line = users.lines().find(|line| line.split(':').next() == Some(user))?;
    let mut ids = line.split(':').skip(2).map(str::parse);
    Some((ids.next()?.ok()?, ids.next()?.ok()?))
}

impl Cluster {
    async fn launch(tools: PostgresTools, folder: PathBuf, settings: &[(&str, &str)]) -> Cluster {
        let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let port = free.local_addr().expect("an address").port();
        drop(free);
        let settings: Vec<String> = settings.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let (server, log) = run_server(&tools, &folder, port, &settings);
        let mut cluster = Cluster { tools, folder, port, settings, server, log };
        cluster.until_ready().await;
        cluster
    }

    async fn until_ready(&mut self) {
        let started = within(self.log.wait_for(|log| log.ready || log.ready_to_read)).await.map(drop);
        started.expect("Postgres starts; its log is above");
    }

    /// Waits until the server has ended by itself.
    pub async fn ended(&mut self) {
        within(async {
            while self.server.try_wait().expect("a child of this process").is_none() {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }

    /// Starts the server again, after it has ended.
    pub async fn restart(&mut self) {
        (self.server, self.log) = run_server(&self.tools, &self.folder, self.port, &self.settings);
        self.until_ready().await;
    }

    /// Starts a standby that replicates this server. Its name is `standby`.
    pub async fn start_standby(&self, settings: &[(&str, &str)]) -> Cluster {
        let folder = self.tools.new_folder();
        let data = folder.join("data");
        let from = format!("host=127.0.0.1 port={} user=convoy application_name=standby", self.port);
        let args = ["-D", data.to_str().expect("a path of ASCII"), "-d", &from, "-R", "-X", "stream", "-c", "fast"];
        self.tools.run("pg_basebackup", &[&args[..], &["--no-sync"]].concat());
        Cluster::launch(self.tools.clone(), folder, settings).await
    }

    /// The URL of a database, for the role `convoy`.
    pub fn url(&self, database: &str) -> String {
        format!("postgres://convoy@127.0.0.1:{}/{database}", self.port)
    }

    /// A plain connection to a database.
    pub async fn psql(&self, database: &str) -> Psql {
        Psql::at(&self.url(database)).await
    }

    /// Makes the standby a primary; returns once it is.
    pub async fn promote(&mut self) {
        self.psql("postgres").await.run("select pg_promote(wait => false)").await;
        let promoted = within(self.log.wait_for(|log| log.ready)).await.map(drop);
        promoted.expect("it becomes a primary");
    }

    /// Ends all of its processes at once.
    pub fn kill(&mut self) {
        // SIGQUIT: each process ends without flushing anything. After SIGKILL, those of open
        // connections would go on for a moment.
        if let Some(pid) = rustix::process::Pid::from_raw(self.server.id().cast_signed()) {
            // It fails for a server that has ended.
            rustix::process::kill_process(pid, rustix::process::Signal::QUIT).ok();
        }
        drop(self.server.wait());
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.kill();
        if let Err(error) = std::fs::remove_dir_all(&self.folder) {
            eprintln!("the files of a test's Postgres were left behind: {error}");
        }
    }
}

fn run_server(tools: &PostgresTools, folder: &Path, port: u16, settings: &[String]) -> (Child, watch::Receiver<Log>) {
    let mut command = tools.command("postgres");
    command.arg("-D").arg(folder.join("data")).args(["-p", &port.to_string(), "-c", "listen_addresses=127.0.0.1"]);
    command.arg("-k").arg(folder).args(["-c", "fsync=off"]);
    for setting in settings {
        command.args(["-c", setting]);
    }
    let mut server = command.stderr(Stdio::piped()).spawn().expect("Postgres starts");
    let (sender, log) = watch::channel(Log::default());
    let stderr = server.stderr.take().expect("its log is piped");
    std::thread::spawn(move || follow(stderr, &sender));
    (server, log)
}

/// Reads the log of the server to its end, so that the server never waits for it.
fn follow(stderr: ChildStderr, sender: &watch::Sender<Log>) {
    use std::io::{BufRead, BufReader};
    for line in BufReader::new(stderr).lines().map_while(Result::ok) {
        sender.send_modify(|log| {
            log.ready |= line.contains("database system is ready to accept connections");
            log.ready_to_read |= line.contains("ready to accept read-only connections");
        });
        if line.contains("FATAL:  could not") || line.contains("PANIC:") {
            eprintln!("{line}");
        }
    }
}
