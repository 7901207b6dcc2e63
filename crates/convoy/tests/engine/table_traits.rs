//! What is found out of a table before anything is taken for granted of writes to it.

use convoy_testkit::{Functions, TestDb, table};
use serde_json::json;

/// Each makes that an insert may be refused, changed on its way, or do more than it says.
const REACTIONS: &[&str] = &[
    "create unique index on notes ((data ->> 'n'))",
    "alter table notes add check (data <> '{}')",
    "alter table notes add column owner text not null",
    "create function stop() returns trigger language plpgsql as $$ begin return null; end $$;
     create trigger stop before insert on notes for each row execute function stop()",
    "create table copies (id uuid); create rule copy as on insert to notes do also insert into copies values (new.id)",
    "create rule nothing as on insert to notes do instead nothing",
    "create table replies (note uuid references notes)",
    "alter table notes enable row level security; alter table notes force row level security;
     create policy own on notes with check (data ->> 'owner' = current_user)",
    "create table more () inherits (notes)",
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
