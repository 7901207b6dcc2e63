//! A folder of static files beside the API, over the wire.

use std::fs;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use convoy::{Config, Engine, Exchange, ExchangeBody, ExchangeHead};
use convoy_testkit::{App, TestDb, within};
use serde_json::json;

use crate::shared::{functions, tables};
use crate::wire::{exchange, header, send_request, status};

/// A folder that is removed at the end of its test.
pub(crate) struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).expect("the folder can be removed");
    }
}

impl Folder {
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    fn new(files: &[(&str, &[u8])]) -> Folder {
        let folder = std::env::temp_dir().join(format!("convoy-static-{}", convoy::id::mint()));
        for (name, bytes) in files {
            let file = folder.join(name);
            fs::create_dir_all(file.parent().expect("a folder")).expect("created");
            fs::write(file, bytes).expect("written");
        }
        fs::create_dir_all(&folder).expect("created");
        Folder(folder)
    }
}

const PAGE: &str = "<!doctype html><title>Shop</title>";
const SCRIPT: &str = "assets/index-BwWc4b6K.js";

fn script() -> String {
    "export const price = 1;\n".repeat(200)
}

pub(crate) fn front_end() -> Folder {
    Folder::new(&[
        ("index.html", PAGE.as_bytes()),
        (SCRIPT, script().as_bytes()),
        ("assets/my-document.js", b"1"),
        ("assets/index-BwWc4b6K.js.map", b"{}"),
        ("docs/index.html", b"<h1>Docs</h1>"),
        ("film.mp4", b"0123456789"),
        ("two words.txt", b"words"),
        ("\u{fc}ber/\u{1f980}.svg", b"<svg/>"),
        (".env", b"SECRET=1"),
        (".git/config", b"secret"),
        (".well-known/security.txt", b"Contact: a"),
        ("api/query/x", b"never"),
    ])
}

async fn serve(db: &TestDb, folder: &Path) -> App {
    db.app_with(json!({ "static": folder }), tables(), functions()).await
}

async fn get(app: &App, path: &str, lines: &[&str]) -> String {
    let lines: Vec<&str> = ["host: a"].into_iter().chain(lines.iter().copied()).collect();
    send_request(app, &format!("GET {path} HTTP/1.1"), &lines).await
}

fn body(answer: &str) -> &str {
    answer.split_once("\r\n\r\n").map_or("", |(_, body)| body)
}

const NAVIGATION: &str = "accept: text/html,application/xhtml+xml,*/*;q=0.8";

#[tokio::test(flavor = "multi_thread")]
async fn files_are_served_with_their_types_beside_the_api() {
    let db = TestDb::new().await;
    let folder = front_end();
    let app = serve(&db, &folder.0).await;
    for (path, content, kind) in [
        ("/", PAGE, "text/html; charset=utf-8"),
        ("/index.html?v=1", PAGE, "text/html; charset=utf-8"),
        ("/assets/index-BwWc4b6K.js", script().as_str(), "text/javascript; charset=utf-8"),
        ("/docs/", "<h1>Docs</h1>", "text/html; charset=utf-8"),
        ("/film.mp4", "0123456789", "video/mp4"),
        ("/two%20words.txt", "words", "text/plain; charset=utf-8"),
        ("/%C3%BCber/%F0%9F%A6%80.svg", "<svg/>", "image/svg+xml"),
        ("/.well-known/security.txt", "Contact: a", "text/plain; charset=utf-8"),
    ] {
        let answer = get(&app, path, &[]).await;
        assert_eq!((status(&answer), header(&answer, "content-type")), (200, Some(kind)), "{path}: {answer}");
        assert_eq!(body(&answer), content, "{path}");
        assert_eq!(header(&answer, "x-content-type-options"), Some("nosniff"));
    }
    let folder_answer = get(&app, "/docs?a=b", &[]).await;
    assert_eq!((status(&folder_answer), header(&folder_answer, "location")), (307, Some("/docs/?a=b")));
    assert_eq!(app.client().query("messages.all", json!({})).await.data(), json!([]));
    app.engine.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_a_file_of_the_front_end_is_not_found() {
    let db = TestDb::new().await;
    let folder = front_end();
    let secret = folder.0.with_extension("secret");
    fs::write(&secret, "outside").expect("written");
    std::os::unix::fs::symlink(&secret, folder.0.join("link.txt")).expect("linked");
    std::os::unix::fs::symlink("/etc", folder.0.join("etc")).expect("linked");
    let app = serve(&db, &folder.0).await;
    assert_eq!(status(&get(&app, "/etc/hostname", &[]).await), 404);
    let outside = format!("/../{}", secret.file_name().and_then(|name| name.to_str()).expect("a name"));
    for path in [
        "/.env",
        "/.git/config",
        "/link.txt",
        "/assets/index-BwWc4b6K.js.map",
        &outside,
        "/%2e%2e/secret",
        "/..%2fsecret",
        "/docs/../index.html",
        "//index.html",
        "//evil.test/",
        "//docs",
        "/assets\\index.html",
        "/assets%5Cindex.html",
        "/assets%2Findex-BwWc4b6K.js",
        "/index.html%00",
        "/index.html/",
        "/missing.js",
        "/assets/missing",
        "/%ff",
        "/api/query/x/y",
        "/api/x",
        "/api",
        "/%61pi/query/x",
    ] {
        for lines in [&[][..], &[NAVIGATION]] {
            let answer = get(&app, path, lines).await;
            assert_eq!(status(&answer), 404, "{path}: {answer}");
            assert_eq!(header(&answer, "content-type"), Some("application/json; charset=utf-8"), "{path}");
            assert_eq!(header(&answer, "location"), None);
        }
    }
    fs::remove_file(secret).expect("removed");
    app.engine.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deep_link_gets_the_page_and_other_requests_do_not() {
    let db = TestDb::new().await;
    let folder = front_end();
    let app = serve(&db, &folder.0).await;
    for path in ["/rooms", "/rooms/42/", "/rooms/caf%C3%A9?tab=1"] {
        let answer = get(&app, path, &[NAVIGATION]).await;
        assert_eq!((status(&answer), body(&answer)), (200, PAGE), "{path}");
        assert_eq!(header(&answer, "cache-control"), Some("no-cache"));
        for accept in [&[][..], &["accept: */*"], &["accept: application/json"]] {
            assert_eq!(status(&get(&app, path, accept).await), 404, "{path} {accept:?}");
        }
        let post = send_request(&app, &format!("POST {path} HTTP/1.1"), &["host: a", NAVIGATION]).await;
        assert_eq!(status(&post), 404);
    }
    let post = send_request(&app, "POST /index.html HTTP/1.1", &["host: a"]).await;
    assert_eq!((status(&post), header(&post, "allow")), (405, Some("GET, HEAD")));
    app.engine.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_hashed_names_are_cached_for_good_and_tags_revalidate_the_rest() {
    let db = TestDb::new().await;
    let folder = front_end();
    let app = serve(&db, &folder.0).await;
    let script = get(&app, &format!("/{SCRIPT}"), &[]).await;
    assert_eq!(header(&script, "cache-control"), Some("public, max-age=31536000, immutable"));
    for path in ["/", "/assets/my-document.js", "/film.mp4"] {
        let answer = get(&app, path, &[]).await;
        assert_eq!(header(&answer, "cache-control"), Some("no-cache"), "{path}");
        let tag = header(&answer, "etag").expect("a tag");
        assert!(tag.starts_with('"'), "it is strong: {tag}");
        let known = get(&app, path, &[&format!("if-none-match: \"x\", {tag}")]).await;
        assert_eq!((status(&known), body(&known)), (304, ""), "{known}");
        assert_eq!(header(&known, "cache-control"), Some("no-cache"));
        assert_eq!(status(&get(&app, path, &["if-none-match: \"x\""]).await), 200);
    }
    let head = send_request(&app, "HEAD /film.mp4 HTTP/1.1", &["host: a"]).await;
    assert_eq!((status(&head), header(&head, "content-length"), body(&head)), (200, Some("10"), ""));
    app.engine.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn compressed_forms_are_chosen_by_the_client_and_have_tags_of_their_own() {
    let db = TestDb::new().await;
    let folder = front_end();
    let app = serve(&db, &folder.0).await;
    let path = format!("/{SCRIPT}");
    // They are made in the background; until then the file is sent as it is.
    let brotli = within(async {
        loop {
            let answer = get(&app, &path, &["accept-encoding: gzip, br"]).await;
            if header(&answer, "content-encoding") == Some("br") {
                return answer;
            }
        }
    })
    .await;
    let gzip = get(&app, &path, &["accept-encoding: br;q=0, gzip"]).await;
    let plain = get(&app, &path, &["accept-encoding: br;q=0, gzip;q=0"]).await;
    assert_eq!((header(&gzip, "content-encoding"), header(&plain, "content-encoding")), (Some("gzip"), None));
    assert_eq!(body(&plain), script());
    let length = |answer: &str| header(answer, "content-length").and_then(|length| length.parse::<usize>().ok());
    assert!(length(&brotli) < length(&gzip) && length(&gzip) < length(&plain));
    let tags = [&brotli, &gzip, &plain].map(|answer| header(answer, "etag").expect("a tag").to_owned());
    assert!(tags[0] != tags[1] && tags[1] != tags[2] && tags[0] != tags[2], "{tags:?}");
    for answer in [&brotli, &gzip, &plain] {
        assert_eq!(header(answer, "vary"), Some("Accept-Encoding"));
    }
    let known = get(&app, &path, &["accept-encoding: br", &format!("if-none-match: {}", tags[0])]).await;
    assert_eq!((status(&known), header(&known, "content-encoding")), (304, None));
    assert_eq!(header(&get(&app, "/film.mp4", &["accept-encoding: br"]).await, "vary"), None);
    // Answers of functions are never compressed.
    let call = "POST /api/query/messages.all HTTP/1.1";
    let called = send_request(&app, call, &["host: a", "accept-encoding: br, gzip"]).await;
    assert_eq!((status(&called), header(&called, "content-encoding")), (200, None));
    app.engine.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_part_of_a_film_can_be_asked_for() {
    let db = TestDb::new().await;
    let folder = front_end();
    let app = serve(&db, &folder.0).await;
    let whole = get(&app, "/film.mp4", &[]).await;
    assert_eq!(header(&whole, "accept-ranges"), Some("bytes"));
    let tag = header(&whole, "etag").expect("a tag");
    let same = format!("if-range: {tag}");
    for (lines, code, range, content) in [
        (&["range: bytes=2-4"][..], 206, Some("bytes 2-4/10"), "234"),
        (&["range: bytes=7-"], 206, Some("bytes 7-9/10"), "789"),
        (&["range: bytes=-3"], 206, Some("bytes 7-9/10"), "789"),
        (&["range: bytes=5-99"], 206, Some("bytes 5-9/10"), "56789"),
        (&["range: bytes=2-4", &same], 206, Some("bytes 2-4/10"), "234"),
        (&["range: bytes=2-4", "if-range: \"old\""], 200, None, "0123456789"),
        (&["range: bytes=2-4", "accept-encoding: br"], 206, Some("bytes 2-4/10"), "234"),
        (&["range: bytes=10-"], 416, Some("bytes */10"), ""),
        (&["range: bytes=0-1, 3-4"], 200, None, "0123456789"),
        (&["range: lines=1-2"], 200, None, "0123456789"),
        (&["range: bytes=x"], 200, None, "0123456789"),
    ] {
        let answer = get(&app, "/film.mp4", lines).await;
        assert_eq!((status(&answer), header(&answer, "content-range")), (code, range), "{lines:?}: {answer}");
        assert_eq!(body(&answer), content, "{lines:?}");
        let caching = if code == 416 { "no-store" } else { "no-cache" };
        assert_eq!(header(&answer, "cache-control"), Some(caching), "{lines:?}");
    }
    let head = send_request(&app, "HEAD /film.mp4 HTTP/1.1", &["host: a", "range: bytes=2-4"]).await;
    assert_eq!((status(&head), header(&head, "content-length")), (200, Some("10")), "{head}");
    app.engine.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn files_are_read_once_and_answers_of_the_page_end_with_the_connection() {
    let db = TestDb::new().await;
    let folder = front_end();
    let app = serve(&db, &folder.0).await;
    fs::write(folder.0.join("index.html"), "changed").expect("written");
    fs::remove_file(folder.0.join("film.mp4")).expect("removed");
    assert_eq!(body(&get(&app, "/", &[]).await), PAGE);
    assert_eq!(status(&get(&app, "/film.mp4", &[]).await), 200);
    // A body is discarded, and the connection stays usable or closes.
    let sent = b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: 2\r\n\r\n{}";
    assert_eq!(status(&exchange(&app, sent).await), 200);
    app.engine.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_server_of_the_process_keeps_its_own_paths() {
    let db = TestDb::new().await;
    let folder = front_end();
    let app = serve(&db, &folder.0).await;
    let begin = |url: &str, answers_unknown_paths| {
        let headers = ["host", "a", "accept", "text/html"].map(str::to_owned).to_vec();
        let head = ExchangeHead { method: "GET".into(), url: url.into(), headers, peer: None, answers_unknown_paths };
        Exchange::begin(&app.engine, head, ExchangeBody::Whole(Bytes::new()))
    };
    for url in ["/", "/index.html", "/rooms/42", "/api/openapi.json"] {
        assert!(begin(url, false).is_none(), "{url} is passed on");
        let answered = begin(url, true).expect("all paths are answered");
        let (head, _body) = within(answered.respond()).await.expect("it is open");
        assert_eq!(head.status, 404, "{url}");
    }
    app.engine.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_that_cannot_be_served_is_an_error_before_the_start() {
    let db = TestDb::new().await;
    let empty = Folder::new(&[(".keep", b"")]);
    let missing = empty.0.join("dist");
    let front_end = front_end();
    for (options, said) in [
        (json!({ "static": missing }), "build the front end first"),
        (json!({ "static": empty.0 }), "is empty"),
        (json!({ "static": front_end.0.join("index.html") }), "There is no folder"),
        (json!({ "static": front_end.0, "basePath": "/" }), "basePath"),
    ] {
        let mut config = options.clone();
        config["databaseUrl"] = json!(db.url());
        let config: Config = serde_json::from_value(config).expect("known options");
        let refused = Engine::open(config).await.err().expect("it does not open").to_failure();
        assert!(refused.message.contains(said), "{options}: {refused}");
    }
}
