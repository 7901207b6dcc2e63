#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    convoy::fuzzing::paths(data);
    convoy::fuzzing::headers(data);
    let (host, url) = data.split_at(data.iter().position(|byte| *byte == b'\n').unwrap_or(0));
    let Ok(host) = std::str::from_utf8(host) else { return };
    let Some((url, path)) = convoy::fuzzing::url_of(url.strip_prefix(b"\n").unwrap_or(url), host) else { return };
    // The parser of JavaScript's `Request` is of the same standard. An address may be written otherwise there.
    let parsed = url::Url::parse(&url).unwrap_or_else(|error| panic!("{url}: {error}"));
    let same = |path: &str| percent_encoded(path) == percent_encoded(parsed.path());
    assert!(same(&path), "{url} has the path {} and not {path}", parsed.path());
});

/// The path, with each character that may be escaped so.
fn percent_encoded(path: &str) -> String {
    path.bytes()
        .map(|byte| {
            if byte.is_ascii_alphanumeric() || b"%/".contains(&byte) {
                char::from(byte).to_string()
            } else {
                format!("%{byte:02X}")
            }
        })
        .collect()
}
