//! The fuzz targets of static files: paths, and the headers that choose a form of a file.

use std::collections::HashMap;
use std::sync::LazyLock;

use bytes::Bytes;
use hyper::{HeaderMap, Method, StatusCode};

use super::{File, StaticFiles, names};

static FILES: LazyLock<StaticFiles> = LazyLock::new(|| {
    let files = ["index.html", "docs/index.html", "film.mp4"];
    let files: HashMap<_, _> =
        files.map(|name| (name.to_owned(), File::new(name, Bytes::from_static(b"0123456789")))).into();
    StaticFiles { files, base_path: "/api".to_owned() }
});

/// Looks up a path.
pub(in crate::http) fn lookup(path: &str) {
    let _found = FILES.find(path, true);
    let Some(key) = names::decode(path) else { return };
    let inner = key.strip_suffix('/').unwrap_or(&key);
    let is_plain = |name: &str| !matches!(name, "" | "." | "..") && !name.contains(['\\', '\0']);
    assert!(key.is_empty() || inner.split('/').all(is_plain), "{path} leads to {key}");
}

/// Answers with a form of a file.
pub(in crate::http) fn negotiate(headers: &HeaderMap) {
    for method in [Method::GET, Method::HEAD] {
        let Some(file) = FILES.files.get("film.mp4") else { return };
        let status = file.answer(&method, headers).status();
        let allowed = [200, 206, 304, 416].map(|status| StatusCode::from_u16(status).ok());
        assert!(allowed.contains(&Some(status)), "{status}");
    }
}
