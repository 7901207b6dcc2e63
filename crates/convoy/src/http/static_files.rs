//! The files of a built front end, read once when the engine opens.
//!
//! Invariant: a request is looked up in a map by its decoded path, and never reaches the
//! file system. What is not in the map does not exist.

mod compress;
mod encoding;
#[cfg(any(test, feature = "fuzzing"))]
pub(super) mod fuzzing;
mod load;
mod names;

use std::collections::HashMap;
use std::sync::OnceLock;

use bytes::Bytes;
use hyper::header::{
    ACCEPT, ACCEPT_RANGES, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_RANGE, CONTENT_TYPE, HeaderValue, IF_RANGE,
    LOCATION, RANGE, VARY,
};
use hyper::http::request::Parts;
use hyper::{HeaderMap, Method, StatusCode};
use tokio_util::sync::CancellationToken;
use xxhash_rust::xxh3::xxh3_128;

use super::conditional;
use super::respond::{self, HttpAnswer, method_not_allowed};
use super::security_headers::Content;
use crate::config::Config;
use encoding::Coding;
pub(crate) use load::StaticError;

const INDEX: &str = "index.html";
/// What a file takes.
const METHODS: &str = "GET, HEAD";
/// For files whose name changes with their content.
const IMMUTABLE: &str = "public, max-age=31536000, immutable";
/// For all others: caches ask whether their copy is current.
const REVALIDATE: &str = "no-cache";

/// The files by path, without the slash at its start.
pub(crate) struct StaticFiles {
    files: HashMap<String, File>,
    /// Paths below it belong to the API.
    base_path: String,
}

/// One file.
struct File {
    content_type: HeaderValue,
    is_immutable: bool,
    identity: Variant,
    /// Whether its type can be compressed, so that answers differ by `Accept-Encoding`.
    is_compressible: bool,
    /// Its compressed forms, once they are made. `None` inside: compression saves nothing.
    brotli: OnceLock<Option<Variant>>,
    gzip: OnceLock<Option<Variant>>,
}

/// A file in one encoding.
struct Variant {
    bytes: Bytes,
    tag: HeaderValue,
}

/// What a path leads to.
enum Found<'a> {
    File(&'a File),
    /// A folder with an index, whose path must end with a slash for relative links in it.
    Folder,
}

impl StaticFiles {
    /// Reads the folder of a configuration; `None` if it has none.
    pub(crate) async fn of(config: &Config) -> Result<Option<StaticFiles>, StaticError> {
        let Some(folder) = config.static_files.clone() else { return Ok(None) };
        let (base_path, limits) = (config.base_path.clone(), config.limits.clone());
        let loading = tokio::task::spawn_blocking(move || load::read(&folder, base_path, &limits));
        Ok(Some(loading.await.unwrap_or(Err(StaticError::Stopped))?))
    }

    /// Compresses the files, one after the other, until all are done or the engine closes.
    /// A file that is not done yet is sent as it is.
    pub(crate) fn compress(&self, until: &CancellationToken) {
        let mut files: Vec<&File> = self.files.values().filter(|file| file.is_compressible).collect();
        files.sort_by_key(|file| file.identity.bytes.len());
        for (file, coding) in files.into_iter().flat_map(|file| [(file, Coding::Gzip), (file, Coding::Brotli)]) {
            let Some(bytes) = compress::compress(&file.identity.bytes, coding, &|| until.is_cancelled()) else {
                return;
            };
            let saves = bytes.len() < file.identity.bytes.len();
            let variant = saves.then(|| file.identity.compressed(bytes.into(), coding));
            // Only this task sets them.
            let _already_set = file.slot(coding).map(|slot| slot.set(variant));
        }
    }

    /// Answers a request for a path that is not one of Convoy's; `None` if no file is meant.
    pub(crate) fn answer(&self, head: &Parts) -> Option<HttpAnswer> {
        let is_read = matches!(head.method, Method::GET | Method::HEAD);
        let wants_page = is_read && accepts_html(&head.headers);
        let mut answer = match self.find(head.uri.path(), wants_page)? {
            _ if !is_read => return Some(method_not_allowed(&head.method, METHODS)),
            Found::File(file) => file.answer(&head.method, &head.headers),
            Found::Folder => {
                let query = head.uri.query().map(|query| format!("?{query}")).unwrap_or_default();
                let location = HeaderValue::from_str(&format!("{}/{query}", head.uri.path())).ok()?;
                let mut answer = respond::empty(StatusCode::TEMPORARY_REDIRECT);
                answer.headers_mut().insert(LOCATION, location);
                answer.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static(REVALIDATE));
                answer
            }
        };
        answer.extensions_mut().insert(Content::File);
        Some(answer)
    }

    /// Looks up a path as a request has it. `wants_page`: the browser navigates, so a path
    /// of the application's own router is answered with its page.
    fn find(&self, path: &str, wants_page: bool) -> Option<Found<'_>> {
        let path = names::decode(path)?;
        if names::is_below(&path, &self.base_path) {
            return None;
        }
        let index = |folder: &str| self.files.get(&format!("{folder}{INDEX}"));
        if path.is_empty() || path.ends_with('/') {
            if let Some(file) = index(&path) {
                return Some(Found::File(file));
            }
        } else if let Some(file) = self.files.get(&path) {
            return Some(Found::File(file));
        } else if index(&format!("{path}/")).is_some() {
            return Some(Found::Folder);
        }
        let is_page = wants_page && names::may_be_a_page(&path);
        index("").filter(|_| is_page).map(Found::File)
    }
}

impl File {
    fn new(path: &str, bytes: Bytes) -> File {
        let mime = mime_guess::from_path(path).first_or_octet_stream();
        let is_text = mime.type_() == "text" || matches!(mime.subtype().as_str(), "javascript" | "json" | "xml");
        let content_type = if is_text { format!("{mime}; charset=utf-8") } else { mime.to_string() };
        let is_compressible = compress::is_compressible(&mime);
        File {
            // Types of the table are plain ASCII.
            content_type: HeaderValue::from_str(&content_type)
                .unwrap_or(HeaderValue::from_static("application/octet-stream")),
            is_immutable: names::is_hashed(path),
            identity: Variant { tag: conditional::entity_tag(&format!("{:032x}", xxh3_128(&bytes))), bytes },
            is_compressible,
            brotli: OnceLock::new(),
            gzip: OnceLock::new(),
        }
    }

    fn slot(&self, coding: Coding) -> Option<&OnceLock<Option<Variant>>> {
        match coding {
            Coding::Brotli => Some(&self.brotli),
            Coding::Gzip => Some(&self.gzip),
            Coding::Identity => None,
        }
    }

    /// The form that a client with this `Accept-Encoding` gets. A part of a compressed form
    /// cannot be decoded by itself.
    fn variant(&self, headers: &HeaderMap, is_part: bool) -> (Coding, &Variant) {
        let made = |coding| self.slot(coding).and_then(OnceLock::get).and_then(Option::as_ref);
        let coding = match is_part {
            true => Coding::Identity,
            false => encoding::choose(headers, |coding| made(coding).is_some()),
        };
        made(coding).map_or((Coding::Identity, &self.identity), |variant| (coding, variant))
    }

    fn answer(&self, method: &Method, request: &HeaderMap) -> HttpAnswer {
        // Ranges are defined for GET only.
        let is_part = method == Method::GET && request.contains_key(RANGE);
        let (coding, variant) = self.variant(request, is_part);
        let mut answer = match conditional::is_current(request, &variant.tag) {
            true => respond::empty(StatusCode::NOT_MODIFIED),
            false if is_part => variant.part(request),
            false => respond::with_body(variant.bytes.clone()),
        };
        let status = answer.status();
        conditional::mark_tag(&mut answer, variant.tag.clone());
        let headers = answer.headers_mut();
        let caching = match self.is_immutable {
            _ if status == StatusCode::RANGE_NOT_SATISFIABLE => "no-store",
            true => IMMUTABLE,
            false => REVALIDATE,
        };
        headers.insert(CACHE_CONTROL, HeaderValue::from_static(caching));
        if self.is_compressible {
            headers.append(VARY, HeaderValue::from_static("Accept-Encoding"));
        }
        if status != StatusCode::NOT_MODIFIED {
            headers.insert(CONTENT_TYPE, self.content_type.clone());
            headers.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
            if let Some(name) = coding.name() {
                headers.insert(CONTENT_ENCODING, HeaderValue::from_static(name));
            }
        }
        answer
    }
}

impl Variant {
    /// The same file, compressed. Its tag is another one, because its bytes are others.
    fn compressed(&self, bytes: Bytes, coding: Coding) -> Variant {
        let tag = String::from_utf8_lossy(self.tag.as_bytes());
        let hash = format!("{}-{}", tag.trim_matches('"'), coding.name().unwrap_or_default());
        Variant { bytes, tag: conditional::entity_tag(&hash) }
    }

    /// The range that is asked for, or the whole file if it changed since.
    fn part(&self, request: &HeaderMap) -> HttpAnswer {
        let length = self.bytes.len();
        let range = request.get(RANGE).and_then(|range| range.to_str().ok());
        let range = range.filter(|_| request.get(IF_RANGE).is_none_or(|tag| *tag == self.tag));
        // A malformed range is ignored, as are several at once, which need no answer.
        let Some(ranges) = range.and_then(|range| http_range_header::parse_range_header(range).ok()) else {
            return respond::with_body(self.bytes.clone());
        };
        let part = match ranges.validate(length as u64).as_deref() {
            Ok([only]) => usize::try_from(*only.start()).ok().zip(usize::try_from(*only.end()).ok()),
            Ok(_) => return respond::with_body(self.bytes.clone()),
            Err(_) => None,
        };
        let Some((first, last)) = part.filter(|(first, last)| first <= last && *last < length) else {
            let mut answer = respond::empty(StatusCode::RANGE_NOT_SATISFIABLE);
            insert_range(&mut answer, format!("bytes */{length}"));
            return answer;
        };
        let mut answer = respond::with_body(self.bytes.slice(first..=last));
        *answer.status_mut() = StatusCode::PARTIAL_CONTENT;
        insert_range(&mut answer, format!("bytes {first}-{last}/{length}"));
        answer
    }
}

fn insert_range(answer: &mut HttpAnswer, range: String) {
    // Plain ASCII.
    if let Ok(range) = HeaderValue::from_str(&range) {
        answer.headers_mut().insert(CONTENT_RANGE, range);
    }
}

/// Whether the request is a navigation: scripts, images and `fetch` do not ask for HTML.
fn accepts_html(headers: &HeaderMap) -> bool {
    let lists = headers.get_all(ACCEPT).iter().filter_map(|list| list.to_str().ok());
    lists
        .flat_map(|list| list.split(','))
        .any(|range| range.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("text/html"))
}
