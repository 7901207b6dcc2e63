//! What keeps an engine from its database is told with the statement that mends it:
//! each is applied, and then the engine opens.

use convoy::{Config, Engine, Failure};
use convoy_testkit::{Functions, TestDb, table};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use uuid::Uuid;

const PASSWORD: &str = "s3cret-of-the-role";

/// A role of its own for a test, with a name that has to be quoted.
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

    /// The role's URL of the database, or of another one of the server.
    fn url(&self, database: Option<&str>) -> String {
        let url = self.db.url();
        let (_, after) = url.rsplit_once('@').expect("a URL with a role");
        let (authority, own) = after.split_once('/').expect("a URL with a database");
        let name = self.name.replace(' ', "%20");
        format!("postgres://{name}:{PASSWORD}@{authority}/{}", database.unwrap_or(own))
    }

    async fn run(&self, sql: &str) {
        let database = self.db.url().rsplit('/').next().expect("a database").to_owned();
        let sql = sql.replace("$role", &format!("\"{}\"", self.name)).replace("$db", &database);
        self.db.psql().await.run(&sql).await;
    }

    /// Does as the failure says.
    async fn mend(&self, failure: &Failure) {
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
async fn each_missing_right_is_named_with_the_grant_that_gives_it() {
    let role = Role::new("").await;
    let url = role.url(None);

    let failure = open_error(&url).await;
    assert!(failure.message.contains("may not create the schema _convoy"), "{failure}");
    assert_eq!(fault(&failure), ("no-right".to_owned(), false));
    assert!(failure.message.contains("create tables and indexes in the schema public"), "{failure}");
    role.mend(&failure).await;
    let engine = open(&url).await.expect("it opens now");

    role.run("revoke create on schema public from $role").await;
    let failure = load(&engine, items()).await.expect_err("it may not create tables");
    let grant = format!("run: grant usage, create on schema public to \"{}\"", role.name);
    assert!(failure.message.contains(&grant), "{failure}");
    role.mend(&failure).await;
    assert_eq!(load(&engine, items()).await.expect("it loads now"), Vec::<String>::new());

    // A table of another role's.
    role.run("create table others (like items including all); alter table others owner to current_user").await;
    let tables = json!([table("others", &[("by_name", false, &[("name", "text")])])]);
    let failure = load(&engine, tables.clone()).await.expect_err("it may not change that table");
    assert!(failure.message.contains("the table public.others, which "), "{failure}");
    role.mend(&failure).await;
    assert_eq!(load(&engine, tables).await.expect("it loads now"), Vec::<String>::new());

    // Rights that calls need are asked for at each load.
    role.run("revoke select, delete on items from $role").await;
    let warnings = load(&engine, items()).await.expect("it loads").join("\n");
    assert!(warnings.contains("no right to select, delete in table items"), "{warnings}");
    let remedy = warnings.split_once("run: ").expect("a remedy").1.to_owned();
    role.run(&remedy).await;
    assert_eq!(load(&engine, items()).await.expect("it loads"), Vec::<String>::new());

    // Half of `_convoy` is another's.
    engine.close().await;
    role.run(
        "alter table _convoy.changes owner to current_user; alter function _convoy.log_insert owner to current_user",
    )
    .await;
    let failure = open_error(&url).await;
    assert!(failure.message.contains("_convoy.changes") && failure.message.contains("_convoy.log_insert"), "{failure}");
    role.mend(&failure).await;
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
    assert!(failure.message.contains(&format!("database \"{name}\" does not exist")), "{failure}");
    assert!(failure.message.contains("permission denied to create database (42501)"), "{failure}");
    assert!(failure.message.contains(&format!("alter role \"{}\" createdb", role.name)), "{failure}");
    role.mend(&failure).await;
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
    let told = |failure: &Failure, kind: &str, passes: bool, part: &str| {
        assert_eq!(fault(failure), (kind.to_owned(), passes), "{failure}");
        assert!(failure.message.contains(part), "{failure}");
        assert_eq!(failure.code.as_str(), if passes { "UNAVAILABLE" } else { "INVALID_ARGS" });
    };

    let wrong = url.replace(PASSWORD, "something-else");
    told(&open_error(&wrong).await, "wrong-password", false, "28P01");
    let none = open_error(&role.url(Some("none-such"))).await;
    told(&none, "no-database", false, "create database \"none-such\" owner ");

    role.run("alter role $role nologin").await;
    let failure = open_error(&url).await;
    told(&failure, "unknown-role", false, "28000");
    role.run("alter role $role login connection limit 0").await;
    let failure = open_error(&url).await;
    told(&failure, "too-many-connections", true, "connection limit -1");
    role.run("alter role $role connection limit -1; revoke connect on database \"$db\" from public").await;
    let failure = open_error(&url).await;
    told(&failure, "no-right", false, "grant connect on database");
    role.mend(&failure).await;
    open(&url).await.expect("it opens now").close().await;

    told(&open_error(&format!("{url}?sslmode=require")).await, "tls-refused", false, "sslmode=prefer");
    told(
        &open_error(&format!("{url}?options=-c%20no_such.%20=1")).await,
        "wrong-option",
        false,
        "options in DATABASE_URL",
    );
    told(&open_error("postgres://a:b@host.invalid/d").await, "unknown-host", true, "host.invalid");
    told(
        &open_error("postgres:///d?host=/no/such/folder&user=a").await,
        "unreachable",
        true,
        "no socket /no/such/folder",
    );
    let free = TcpListener::bind("127.0.0.1:0").await.expect("a port").local_addr().expect("an address");
    told(&open_error(&format!("postgres://a:b@{free}/d")).await, "unreachable", true, "nothing listens at");
    role.drop().await;
}

/// A server that answers whatever it is told with these bytes, once TLS is declined.
async fn answering(bytes: &'static [u8]) -> String {
    answering_tls(b"N", bytes).await
}

/// Reads some of what the other side says.
async fn hear(socket: &mut tokio::net::TcpStream) -> std::io::Result<()> {
    match socket.read(&mut [0; 1024]).await? {
        0 => Err(std::io::ErrorKind::UnexpectedEof.into()),
        _ => Ok(()),
    }
}

async fn answering_tls(tls: &'static [u8], bytes: &'static [u8]) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let answered: std::io::Result<()> = async {
                // The request for TLS, then the start-up message.
                hear(&mut socket).await?;
                socket.write_all(tls).await?;
                hear(&mut socket).await?;
                socket.write_all(bytes).await?;
                socket.shutdown().await
            }
            .await;
            if let Err(error) = answered {
                println!("the engine hung up first: {error}");
            }
        }
    });
    format!("postgres://app:{PASSWORD}@{address}/app")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_starting_server_is_distinguished_from_a_foreign_one() {
    let starting = answering(b"E\0\0\0\x3bSFATAL\0VFATAL\0C57P03\0Mthe database system is starting\0\0").await;
    let failure = open_error(&starting).await;
    assert_eq!(fault(&failure), ("starting".to_owned(), true), "{failure}");
    assert!(failure.message.contains("the database system is starting"), "{failure}");

    let url = answering_tls(b"S", b"").await;
    let unread = open_error(&format!("{url}?sslmode=verify-full&sslrootcert=/no/such.pem")).await;
    assert_eq!(fault(&unread), ("tls-failed".to_owned(), false), "{unread}");
    assert!(unread.message.contains("sslrootcert"), "{unread}");

    let none = open_error(&answering(b"HTTP/1.1 400 Bad Request\r\n\r\n").await).await;
    assert!(["not-postgres", "unreachable"].contains(&fault(&none).0.as_str()), "{none}");
    assert!(none.message.contains("check "), "{none}");
    let closed = open_error(&answering(b"").await).await;
    assert_eq!(fault(&closed), ("unreachable".to_owned(), true), "{closed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_never_answers_is_given_up() {
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

    // Left by a process that was killed, of this or another schema, and one of the user's.
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

/// A killed process leaves its build going on in Postgres. What it finishes is kept;
/// what it would wait for must not wait for it.
#[tokio::test(flavor = "multi_thread")]
async fn a_build_that_outlives_its_engine_is_waited_for() {
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
    // One of the schema, and one of another version of it, which is unfinished when the load begins.
    for name in [by_name.as_str(), "convoy_items_two_0123456789abcdef"] {
        gate.run("select pg_advisory_lock(14)").await;
        let mut builder = db.psql().await;
        let create = format!("create index concurrently {name} on items (slow(data->>'name'))");
        let building = tokio::spawn(async move { builder.run(&create).await });
        psql.until_a_session_waits_for_a_lock().await;
        let now = psql.column("select clock_timestamp()::text").await.remove(0);
        let again = engine.clone();
        let loading = tokio::spawn(async move { load(&again, items()).await });
        // Asking is right; a statement that waits for the build would deadlock with it.
        let meets = format!(
            "select count(*)::text from pg_stat_activity
            where datname = current_database() and backend_start > '{now}'
              and (query like '%query_start::text = %' or query like 'drop index%' and wait_event_type = 'Lock')"
        );
        convoy_testkit::within(async { while psql.column(&meets).await == ["0"] {} }).await;
        gate.run("select pg_advisory_unlock(14)").await;
        building.await.expect("the build is not what a deadlock ends");
        let warnings = loading.await.expect("no panic").expect("it loads");
        assert_eq!(warnings, Vec::<String>::new());
        let kept = "select pg_get_indexdef(indexrelid) from pg_index
            where indrelid = 'items'::regclass and indisvalid and indexrelid::regclass::text = ";
        let kept = psql.column(&format!("{kept}'{name}'")).await;
        assert!(kept.len() == 1 && kept[0].contains("slow("), "{name} was built twice, or dropped: {kept:?}");
    }
    engine.close().await;
}
