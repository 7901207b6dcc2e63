//! A PgBouncer in transaction mode in front of the test's Postgres: Debian's package, configured
//! in a temporary folder.

use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};

use crate::{TestDb, within};

/// The folder of the program if it is not in `PATH`.
const FALLBACK_FOLDER: &str = "/usr/sbin";
/// Debian's user `nobody`: PgBouncer does not run as root.
const NOBODY: u32 = 65_534;

/// A running pooler, which is killed when dropped.
pub struct Pooler {
    port: u16,
    folder: PathBuf,
    process: Child,
}

impl Pooler {
    /// Starts a pooler with at most `sessions` server sessions. `ignored` are start-up
    /// parameters that it accepts and drops.
    pub async fn before(db: &TestDb, sessions: usize, ignored: &str) -> Pooler {
        let program = program().expect(
            "this test needs PgBouncer, and none was found in PATH or /usr/sbin; `npm test` installs Debian's package \
             where it may, else: `sudo apt-get install pgbouncer`",
        );
        let url = db.url();
        let (role, server) = url.strip_prefix("postgres://").and_then(|url| url.rsplit_once('@')).expect("a role");
        let (user, password) = role.split_once(':').expect("a password");
        let (authority, database) = server.split_once('/').expect("a database");
        let (host, server_port) = authority.split_once(':').expect("a port");
        let folder = std::env::temp_dir().join(format!("convoy_pooler_{database}"));
        std::fs::create_dir(&folder).expect("a folder of its own");
        let users = folder.join("users.txt");
        std::fs::write(&users, format!("\"{user}\" \"{password}\"\n")).expect("a file");
        // A port that was free a moment ago.
        let port =
            TcpListener::bind("127.0.0.1:0").await.and_then(|free| free.local_addr()).expect("a free port").port();
        let file = folder.join("pgbouncer.ini");
        let users = users.display();
        let config = format!(
            "[databases]\n{database} = host={host} port={server_port}\n[pgbouncer]\nlisten_addr = 127.0.0.1\n\
             listen_port = {port}\nunix_socket_dir =\nauth_type = plain\nauth_file = {users}\npool_mode = transaction\n\
             max_client_conn = 500\ndefault_pool_size = {sessions}\nignore_startup_parameters = {ignored}\n",
        );
        std::fs::write(&file, config).expect("a file");
        let mut command = Command::new(program);
        command.arg("--quiet").arg(&file);
        // Only root can and has to change the user.
        if std::fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0) {
            for path in [&folder, &file, &folder.join("users.txt")] {
                chown(path, Some(NOBODY), Some(NOBODY)).expect("root may");
            }
            command.uid(NOBODY).gid(NOBODY);
        }
        std::fs::set_permissions(&folder, PermissionsExt::from_mode(0o700)).expect("our folder");
        let process = command.spawn().expect("PgBouncer starts");
        // From here on it is killed with the test, even if it never answers.
        let mut pooler = Pooler { port, folder, process };
        within(async {
            while TcpStream::connect(("127.0.0.1", port)).await.is_err() {
                if let Some(status) = pooler.process.try_wait().expect("our child") {
                    panic!("PgBouncer ended at once with {status}");
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await;
        pooler
    }

    /// The URL of the database through the pooler.
    pub fn url(&self, db: &TestDb) -> String {
        let url = db.url();
        let (role, server) = url.rsplit_once('@').expect("a URL with a role");
        let (_, database) = server.split_once('/').expect("a URL with a database");
        format!("{role}@127.0.0.1:{}/{database}", self.port)
    }
}

impl Drop for Pooler {
    fn drop(&mut self) {
        if let Err(error) = self.process.kill().and_then(|()| self.process.wait()) {
            eprintln!("a pooler could not be ended: {error}");
        }
        if let Err(error) = std::fs::remove_dir_all(&self.folder) {
            eprintln!("a pooler's folder was left behind: {error}");
        }
    }
}

fn program() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain([PathBuf::from(FALLBACK_FOLDER)]);
    folders.map(|folder| folder.join("pgbouncer")).find(|program| Path::is_file(program))
}
