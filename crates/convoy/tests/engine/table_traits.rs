//! Detects the tables whose inserts can be held: those without side effects or rejections.

use convoy_testkit::{Functions, TestDb, table};
use serde_json::json;

/// Each lets an insert fail, be changed by the database, or change more than its row.
const SIDE_EFFECTS: &[&str] = &[
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

/// Changes that cannot make an insert fail.
const HARMLESS: &[&str] = &[
    "alter table notes add column archived boolean not null default false, add column owner text default 'nobody'",
    // As created by Convoy 0.0.1.
    "create index notes_by_n on notes ((data ->> 'n'), (data ->> 'it''s(x)'))",
    "create index on notes (updated_at)",
];

#[tokio::test(flavor = "multi_thread")]
async fn inserts_are_held_only_if_the_database_cannot_reject_or_change_them() {
    for side_effect in SIDE_EFFECTS {
        let db = TestDb::new().await;
        let app = db.app(json!([table("notes", &[])]), Functions::new()).await;
        let before = app.load(Functions::new(), false).await;
        assert!(before.tables["notes"].holds_writes, "the table has no side effects yet");
        db.psql().await.run(side_effect).await;
        let after = app.load(Functions::new(), false).await;
        assert!(!after.tables["notes"].holds_writes, "{side_effect}");
        app.engine.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn inserts_are_held_despite_harmless_changes() {
    let db = TestDb::new().await;
    let app = db.app(json!([table("notes", &[("by_n", false, &[("n", "number")])])]), Functions::new()).await;
    for harmless in HARMLESS {
        db.psql().await.run(harmless).await;
        let report = app.load(Functions::new(), false).await;
        assert!(report.tables["notes"].holds_writes, "{harmless}");
    }
    app.engine.close().await;
}
