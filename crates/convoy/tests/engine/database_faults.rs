//! Errors of the database contain the statement that fixes them: the tests apply it, and then
//! the engine opens.

use convoy::{Config, Engine, Failure};
use convoy_testkit::{Functions, TestDb, table};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use uuid::Uuid;

const PASSWORD: &str = "s3cret-of-the-role";

/// A role for one test, with a name that has to be quoted.
struct Role {
    name: String,
    db: TestDb,
}

impl Role {
    async fn new(attributes: &str) -> Role {
        let (db, name) = (TestDb::new().await, format!("App {}", Uuid::now_v7().simple()));
        db.psql().await.run(&format!("create role \"{name}\" login password '{PASSWORD}' {attributes}")).await;
        Role { name, db }
    }

    /// The URL of the database, or of another one of the server, for this role.
    fn url(&self, database: Option<&str>) -> String {
        let url = self.db.url();
        let (_, after) = url.rsplit_once('@').expect("a URL with a role");
        let (authority, database_name) = after.split_once('/').expect("a URL with a database");
        let name = self.name.replace(' ', "%20");
        format!("postgres://{name}:{PASSWORD}@{authority}/{}", database.unwrap_or(database_name))
    }

    async fn run(&self, sql: &str) {
        let database = self.db.url().rsplit('/').next().expect("a database").to_owned();
        let sql = sql.replace("$role", &format!("\"{}\"", self.name)).replace("$db", &database);
        self.db.psql().await.run(&sql).await;
    }

    /// Runs the statement that the error contains.
    async fn apply_remedy(&self, failure: &Failure) {
        let (_, remedy) = failure.message.rsplit_once("run: ").unwrap_or_else(|| panic!("no remedy: {failure}"));
        self.db.psql().await.run(remedy.split(" (").next().expect("a statement")).await;
    }

    async fn drop(self) {
        self.run("drop owned by $role cascade; drop role $role").await;
    }
}

async fn open(url: &str) -> Result<std::sync::Arc<Engine>, Failure> {
    let config: Config = serde_json::from_value(json!({ "databaseUrl": url, "poolSize": 2 })).expect("options");
    Engine::open(config).await.map_err(|error| error.to_failure())
}

async fn open_error(url: &str) -> Failure {
    let failure = open(url).await.err().expect("it is refused");
    assert!(!failure.to_json().contains(PASSWORD), "{failure}");
    failure
}

fn fault(failure: &Failure) -> (String, bool) {
    let details: Value = serde_json::from_str(failure.details.as_ref().expect("details").get()).expect("JSON");
    let database = &details["database"];
    (database["fault"].as_str().expect("a fault").to_owned(), database["passes"].as_bool().expect("whether it passes"))
}

async fn load(engine: &Engine, tables: Value) -> Result<Vec<String>, Failure> {
    let program = json!({ "schema": { "tables": tables }, "functions": [], "hasContext": false, "sync": true });
    let program = serde_json::from_value(program).expect("a program description");
    let report = engine.load(program, Functions::new().host()).await.map_err(|error| error.to_failure())?;
    Ok(report.warnings)
}

fn items() -> Value {
    json!([table("items", &[("by_name", false, &[("name", "text")])])])
}

#[tokio::test(flavor = "multi_thread")]
async fn each_missing_right_is_named_with_its_grant() {
    let role = Role::new("").await;
    // Up to Postgres 14 everyone may create tables in this schema.
    role.run("revoke create on schema public from public").await;
    let url = role.url(None);

    let failure = open_error(&url).await;
    assert!(failure.message.contains("may not create the schema _convoy"), "{failure}");
    assert_eq!(fault(&failure), ("no-right".to_owned(), false));
    assert!(failure.message.contains("create tables and indexes in the schema public"), "{failure}");
    role.apply_remedy(&failure).await;
    let engine = open(&url).await.expect("it opens now");

    role.run("revoke create on schema public from $role").await;
    let failure = load(&engine, items()).await.expect_err("it may not create tables");
    let grant = format!("run: grant usage, create on schema public to \"{}\"", role.name);
    assert!(failure.message.contains(&grant), "{failure}");
    role.apply_remedy(&failure).await;
    assert_eq!(load(&engine, items()).await.expect("it loads now"), Vec::<String>::new());

    // A table of another role.
    role.run("create table others (like items including all); alter table others owner to current_user").await;
    let tables = json!([table("others", &[("by_name", false, &[("name", "text")])])]);
    let failure = load(&engine, tables.clone()).await.expect_err("it may not change that table");
    assert!(failure.message.contains("the table public.others, which "), "{failure}");
    role.apply_remedy(&failure).await;
    assert_eq!(load(&engine, tables).await.expect("it loads now"), Vec::<String>::new());

    // Each load checks the rights that calls need.
    role.run("revoke select, delete on items from $role").await;
    let warnings = load(&engine, items()).await.expect("it loads").join("\n");
    assert!(warnings.contains("no right to select, delete in table items"), "{warnings}");
    let remedy = warnings.split_once("run: ").expect("a remedy").1.to_owned();
    role.run(&remedy).await;
    assert_eq!(load(&engine, items()).await.expect("it loads"), Vec::<String>::new());

    // Objects of `_convoy` have another owner.
    engine.close().await;
    role.run(
        "alter table _convoy.changes owner to current_user; alter function _convoy.log_insert owner to current_user",
    )
    .await;
    let failure = open_error(&url).await;
    assert!(failure.message.contains("_convoy.changes") && failure.message.contains("_convoy.log_insert"), "{failure}");
    role.apply_remedy(&failure).await;
    open(&url).await.expect("it opens now").close().await;
    role.drop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_createdb_right_is_explained_with_both_remedies() {
    let role = Role::new("").await;
    let name = format!("convoy_test_{}", Uuid::now_v7().simple());
    let config = json!({ "databaseUrl": role.url(Some(&name)), "createDatabase": true });
    let config: Config = serde_json::from_value(config).expect("options");
    let failure = Engine::open(config.clone()).await.err().expect("it is refused").to_failure();
    assert!(failure.message.contains(&format!("Database \"{name}\" does not exist")), "{failure}");
    assert!(failure.message.contains("permission denied to create database (42501)"), "{failure}");
    assert!(failure.message.contains(&format!("alter role \"{}\" createdb", role.name)), "{failure}");
    role.apply_remedy(&failure).await;
    Engine::open(config).await.expect("it opens now").close().await;
    role.run(&format!("drop database \"{name}\"")).await;
    role.drop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_only_role_or_database_is_explained_with_the_setting() {
    let role = Role::new("superuser").await;
    for sql in [
        "alter role $role set default_transaction_read_only = on",
        "alter database $db set default_transaction_read_only = on",
        "alter role $role in database $db set default_transaction_read_only = on",
    ] {
        role.run(sql).await;
        let failure = open_error(&role.url(None)).await;
        assert_eq!(fault(&failure), ("read-only".to_owned(), false), "{failure}");
        let (_, remedy) = failure.message.rsplit_once("run: ").expect("a remedy");
        let mut psql = role.db.psql().await;
        for statement in remedy.split("; ") {
            psql.run(statement).await;
        }
        let engine = open(&role.url(None)).await.expect("it opens now");
        engine.close().await;
    }
    role.drop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_refused_connection_is_explained_with_its_remedy() {
    let role = Role::new("").await;
    role.run("grant create on database \"$db\" to $role").await;
    let url = role.url(None);
    let expect_fault = |failure: &Failure, kind: &str, passes: bool, part: &str| {
        assert_eq!(fault(failure), (kind.to_owned(), passes), "{failure}");
        assert!(failure.message.contains(part), "{failure}");
        assert_eq!(failure.code.as_str(), if passes { "UNAVAILABLE" } else { "INVALID_ARGS" });
    };

    let wrong = url.replace(PASSWORD, "something-else");
    expect_fault(&open_error(&wrong).await, "wrong-password", false, "28P01");
    let none = open_error(&role.url(Some("none-such"))).await;
    expect_fault(&none, "no-database", false, "create database \"none-such\" owner ");

    role.run("alter role $role nologin").await;
    let failure = open_error(&url).await;
    expect_fault(&failure, "unknown-role", false, "28000");
    role.run("alter role $role login connection limit 0").await;
    let failure = open_error(&url).await;
    expect_fault(&failure, "too-many-connections", true, "connection limit -1");
    role.run("alter role $role connection limit -1; revoke connect on database \"$db\" from public").await;
    let failure = open_error(&url).await;
    expect_fault(&failure, "no-right", false, "grant connect on database");
    role.apply_remedy(&failure).await;
    open(&url).await.expect("it opens now").close().await;

    expect_fault(&open_error(&format!("{url}?sslmode=require")).await, "tls-refused", false, "sslmode=prefer");
    expect_fault(
        &open_error(&format!("{url}?options=-c%20no_such.%20=1")).await,
        "wrong-option",
        false,
        "options in DATABASE_URL",
    );
    expect_fault(&open_error("postgres://a:b@host.invalid/d").await, "unknown-host", true, "host.invalid");
    expect_fault(
        &open_error("postgres:///d?host=/no/such/folder&user=a").await,
        "unreachable",
        true,
        "no socket /no/such/folder",
    );
    let free = TcpListener::bind("127.0.0.1:0").await.expect("a port").local_addr().expect("an address");
    expect_fault(&open_error(&format!("postgres://a:b@{free}/d")).await, "unreachable", true, "Nothing listens at");
    role.drop().await;
}

/// A server that declines TLS and then answers any message with these bytes.
async fn server_answering(bytes: &'static [u8]) -> String {
    server_answering_tls(b"N", bytes).await
}

/// Reads some bytes from the other side.
async fn read_some(socket: &mut tokio::net::TcpStream) -> std::io::Result<()> {
    match socket.read(&mut [0; 1024]).await? {
        0 => Err(std::io::ErrorKind::UnexpectedEof.into()),
        _ => Ok(()),
    }
}

async fn server_answering_tls(tls: &'static [u8], bytes: &'static [u8]) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let answered: std::io::Result<()> = async {
                // The request for TLS, then the start-up message.
                read_some(&mut socket).await?;
                socket.write_all(tls).await?;
                read_some(&mut socket).await?;
                socket.write_all(bytes).await?;
                socket.shutdown().await
            }
            .await;
            if let Err(error) = answered {
                println!("the engine disconnected first: {error}");
            }
        }
    });
    format!("postgres://app:{PASSWORD}@{address}/app")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_starting_server_is_distinguished_from_a_foreign_one() {
    let starting = server_answering(b"E\0\0\0\x3bSFATAL\0VFATAL\0C57P03\0Mthe database system is starting\0\0").await;
    let failure = open_error(&starting).await;
    assert_eq!(fault(&failure), ("starting".to_owned(), true), "{failure}");
    assert!(failure.message.contains("the database system is starting"), "{failure}");

    let url = server_answering_tls(b"S", b"").await;
    let unread = open_error(&format!("{url}?sslmode=verify-full&sslrootcert=/no/such.pem")).await;
    assert_eq!(fault(&unread), ("tls-failed".to_owned(), false), "{unread}");
    assert!(unread.message.contains("sslrootcert"), "{unread}");

    let none = open_error(&server_answering(b"HTTP/1.1 400 Bad Request\r\n\r\n").await).await;
    assert!(["not-postgres", "unreachable"].contains(&fault(&none).0.as_str()), "{none}");
    assert!(none.message.contains("check "), "{none}");
    let closed = open_error(&server_answering(b"").await).await;
    assert_eq!(fault(&closed), ("unreachable".to_owned(), true), "{closed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_never_answers_times_out() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
    let address = listener.local_addr().expect("an address");
    let failure = open_error(&format!("postgres://a:b@{address}/d")).await;
    assert_eq!(fault(&failure), ("unreachable".to_owned(), true), "{failure}");
    assert!(failure.message.contains("did not answer within 10 s"), "{failure}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invalid_index_of_a_failed_build_is_dropped() {
    let db = TestDb::new().await;
    let config: Config = serde_json::from_value(json!({ "databaseUrl": db.url(), "poolSize": 2 })).expect("options");
    let engine = Engine::open(config).await.expect("the engine opens");
    load(&engine, items()).await.expect("it loads");
    let mut psql = db.psql().await;
    psql.run(r#"insert into items (data) select '{"name": "same"}' from generate_series(1, 3); analyze items"#).await;
    let unique =
        json!([table("items", &[("by_name", false, &[("name", "text")]), ("one", true, &[("name", "text")])])]);
    let failure = load(&engine, unique).await.expect_err("some are the same");
    assert!(failure.message.contains("`one` of `items` cannot be unique"), "{failure}");
    let invalid = "select indexrelid::regclass::text from pg_index where not indisvalid order by 1";
    assert_eq!(psql.column(invalid).await, Vec::<String>::new());

    // Left by killed processes with this or another schema, and one of the user.
    for name in ["convoy_items_two_0123456789abcdef", "convoy_mine", "mine"] {
        let why =
            psql.expect_error(&format!("create unique index concurrently {name} on items ((data->>'name'))")).await;
        assert!(why.contains("could not create unique index"), "{why}");
    }
    let warnings = load(&engine, items()).await.expect("it loads").join("\n");
    assert_eq!(psql.column(invalid).await, ["convoy_mine", "mine"]);
    assert!(!warnings.contains("goes on refusing"), "{warnings}");
    engine.close().await;
}

/// The index build of a killed process continues in Postgres. Its result is kept, and a load
/// must not hold a snapshot that the build waits for.
#[tokio::test(flavor = "multi_thread")]
async fn a_load_waits_for_the_index_build_of_a_killed_process() {
    let db = TestDb::new().await;
    let engine = open(&db.url()).await.expect("the engine opens");
    load(&engine, items()).await.expect("it loads");
    let (mut gate, mut psql) = (db.psql().await, db.psql().await);
    let by_name =
        psql.column("select indexname::text from pg_indexes where indexname like 'convoy_items_by_name_%'").await;
    let by_name = by_name.first().expect("the index of the schema").clone();
    psql.run(&format!(
        "insert into items (data) values ('{{\"name\": \"a\"}}'); drop index {by_name};
         create function slow(text) returns text immutable language plpgsql as
         $$ begin perform pg_advisory_lock_shared(14); perform pg_advisory_unlock_shared(14); return $1; end $$"
    ))
    .await;
    // An index of the schema, and one of another version of it, unfinished when the load begins.
    for name in [by_name.as_str(), "convoy_items_two_0123456789abcdef"] {
        gate.run("select pg_advisory_lock(14)").await;
        let mut builder = db.psql().await;
        let create = format!("create index concurrently {name} on items (slow(data->>'name'))");
        let building = tokio::spawn(async move { builder.run(&create).await });
        psql.until_a_session_waits_for_a_lock().await;
        let now = psql.column("select clock_timestamp()::text").await.remove(0);
        let reloading_engine = engine.clone();
        let loading = tokio::spawn(async move { load(&reloading_engine, items()).await });
        // Polling is right; a statement that waits for the build would deadlock with it.
        let waits = format!(
            "select count(*)::text from pg_stat_activity
            where datname = current_database() and backend_start > '{now}'
              and (query like '%query_start::text = %' or query like 'drop index%' and wait_event_type = 'Lock')"
        );
        convoy_testkit::within(async { while psql.column(&waits).await == ["0"] {} }).await;
        gate.run("select pg_advisory_unlock(14)").await;
        building.await.expect("the build is not ended by a deadlock");
        let warnings = loading.await.expect("no panic").expect("it loads");
        assert_eq!(warnings, Vec::<String>::new());
        let kept = "select pg_get_indexdef(indexrelid) from pg_index
            where indrelid = 'items'::regclass and indisvalid and indexrelid::regclass::text = ";
        let kept = psql.column(&format!("{kept}'{name}'")).await;
        assert!(kept.len() == 1 && kept[0].contains("slow("), "{name} was built twice, or dropped: {kept:?}");
    }
    engine.close().await;
}
