//! What is found out of a table before anything is taken for granted of writes to it.

use convoy_testkit::{Functions, TestDb, table};
use serde_json::json;

/// Each makes that an insert may be refused, changed on its way, or do more than it says.
const REACTIONS: &[&str] = &[
    "create unique index on notes ((data ->> 'n'))",
    "alter table notes add check (data <> '{}')",
    "alter table notes add column owner text not null",
    "alter table notes add column owner text, alter column owner set default current_setting('app.owner')",
    "alter table notes add column n int generated always as ((data ->> 'n')::int) stored",
    "create domain word as text check (value <> ''); alter table notes add column owner word",
    "create index on notes (((data ->> 'n')::int))",
    "create index on notes (lower(data ->> 'n'))",
    "create index on notes (created_at) where (data ->> 'n')::int > 3",
    "create function stop() returns trigger language plpgsql as $$ begin return null; end $$;
     create trigger stop before insert on notes for each row execute function stop()",
    "create table copies (id uuid); create rule copy as on insert to notes do also insert into copies values (new.id)",
    "create rule nothing as on insert to notes do instead nothing",
    "create table replies (note uuid references notes)",
    "alter table notes enable row level security; alter table notes force row level security;
     create policy own on notes with check (data ->> 'owner' = current_user)",
    "create table more () inherits (notes)",
];

/// What cannot fail.
const HARMLESS: &[&str] = &[
    "alter table notes add column archived boolean not null default false, add column owner text default 'nobody'",
    // As Convoy 0.0.1 made them.
    "create index notes_by_n on notes ((data ->> 'n'), (data ->> 'it''s(x)'))",
    "create index on notes (updated_at)",
];

#[tokio::test(flavor = "multi_thread")]
async fn an_insert_waits_only_where_nothing_can_refuse_or_change_it() {
    for reaction in REACTIONS {
        let db = TestDb::new().await;
        let app = db.app(json!([table("notes", &[])]), Functions::new()).await;
        let before = app.load(Functions::new(), false).await;
        assert!(before.tables["notes"].holds_inserts, "nothing is the matter with it yet");
        db.psql().await.run(reaction).await;
        let after = app.load(Functions::new(), false).await;
        assert!(!after.tables["notes"].holds_inserts, "{reaction}");
        app.engine.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_insert_waits_beside_what_cannot_fail() {
    let db = TestDb::new().await;
    let app = db.app(json!([table("notes", &[("by_n", false, &[("n", "number")])])]), Functions::new()).await;
    for harmless in HARMLESS {
        db.psql().await.run(harmless).await;
        let report = app.load(Functions::new(), false).await;
        assert!(report.tables["notes"].holds_inserts, "{harmless}");
    }
    app.engine.close().await;
}
