//! What the path of a request or the name of a file says. Pure.

use percent_encoding::percent_decode_str;

/// The folder in which Vite puts the files that it names by their content.
const ASSETS: &str = "assets";
/// The length of Vite's hashes.
const HASH_LENGTH: usize = 8;

/// Decodes the path of a request to the key of a file: without the slash at its start, and
/// with the one at its end, if it has one. `None` if no file can have such a path.
pub(super) fn decode(path: &str) -> Option<String> {
    let path = path.strip_prefix('/')?;
    let inner = path.strip_suffix('/').unwrap_or(path);
    if path.is_empty() {
        return Some(String::new());
    }
    let mut key = String::with_capacity(path.len());
    for segment in inner.split('/') {
        // Segments are decoded one by one, so that an encoded slash is no separator.
        let segment = percent_decode_str(segment).decode_utf8().ok()?;
        let is_name = !matches!(segment.as_ref(), "" | "." | "..") && !segment.contains(['/', '\\', '\0']);
        if !is_name {
            return None;
        }
        if !key.is_empty() {
            key.push('/');
        }
        key.push_str(&segment);
    }
    if path.ends_with('/') {
        key.push('/');
    }
    Some(key)
}

/// Whether a decoded path is the base path of the API or below it.
pub(super) fn is_below(path: &str, base_path: &str) -> bool {
    let base = base_path.trim_matches('/');
    path.strip_prefix(base).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Whether a decoded path may be one of the application's router: not the name of a file,
/// with its extension, nothing hidden, and not in the folder of the assets.
pub(super) fn may_be_a_page(path: &str) -> bool {
    let path = path.strip_suffix('/').unwrap_or(path);
    let last = path.rsplit('/').next().unwrap_or_default();
    let is_hidden = path.split('/').any(|name| name.starts_with('.'));
    !is_hidden && !last.contains('.') && path.split('/').next() != Some(ASSETS)
}

/// Whether the name of a file changes with its content, so that it can be cached for good: it
/// is below `assets/`, and ends with `-`, a hash of Vite, and extensions.
pub(super) fn is_hashed(path: &str) -> bool {
    let Some(name) = path.strip_prefix(ASSETS).and_then(|path| path.strip_prefix('/')) else { return false };
    let name = name.rsplit('/').next().unwrap_or_default();
    let Some((stem, _extension)) = name.split_once('.') else { return false };
    let Some(at) = stem.len().checked_sub(HASH_LENGTH + 1).filter(|at| *at > 0) else { return false };
    let hash = stem.get(at..).and_then(|end| end.strip_prefix('-'));
    hash.is_some_and(|hash| hash.len() == HASH_LENGTH && looks_random(hash))
}

/// Whether eight characters are a hash in base64url and not a word, a version or a date. A
/// wrong yes would keep an old file in browsers for a year, and a wrong no costs a request:
/// nine of ten hashes pass, and no usual name.
fn looks_random(hash: &str) -> bool {
    #[derive(PartialEq, Clone, Copy)]
    enum Class {
        Upper,
        Lower,
        Digit,
        Mark,
    }
    let class = |char: char| match char {
        'A'..='Z' => Some(Class::Upper),
        'a'..='z' => Some(Class::Lower),
        '0'..='9' => Some(Class::Digit),
        '-' | '_' => Some(Class::Mark),
        _ => None,
    };
    let Some(classes) = hash.chars().map(class).collect::<Option<Vec<Class>>>() else { return false };
    // A capital letter begins a word, so it does not count as a change to what follows.
    let changes = classes.windows(2).filter(|pair| pair[0] != pair[1] && pair != &[Class::Upper, Class::Lower]).count();
    classes.contains(&Class::Upper) && classes.contains(&Class::Lower) && changes >= 2
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn paths_are_decoded_to_names() {
        for (path, key) in [
            ("/", ""),
            ("/index.html", "index.html"),
            ("/a/b.js", "a/b.js"),
            ("/docs/", "docs/"),
            ("/my%20file.txt", "my file.txt"),
            ("/%C3%BCber/%F0%9F%A6%80.svg", "über/🦀.svg"),
            ("/100%25.txt", "100%.txt"),
            ("/a+b", "a+b"),
            ("/...", "..."),
            ("/%2561", "%61"),
        ] {
            assert_eq!(decode(path).as_deref(), Some(key), "{path}");
        }
        for path in [
            "",
            "index.html",
            "//",
            "//a",
            "/a//b",
            "/a//",
            "/.",
            "/..",
            "/../a",
            "/a/../b",
            "/a/./b",
            "/%2e%2e/a",
            "/a%2fb",
            "/a%5Cb",
            "/a\\b",
            "/a%00",
            "/%ff",
            "/a/%2E",
            "/..%2f..%2fetc/passwd",
        ] {
            assert_eq!(decode(path), None, "{path}");
        }
    }

    #[test]
    fn the_base_path_is_the_apis() {
        for path in ["api", "api/", "api/x", "api/query/a"] {
            assert!(is_below(path, "/api"), "{path}");
        }
        for path in ["", "apis", "app/api", "API/x"] {
            assert!(!is_below(path, "/api"), "{path}");
        }
    }

    #[test]
    fn a_page_has_no_extension_and_is_no_asset() {
        for path in ["", "rooms", "rooms/42/", "a.b/c"] {
            assert!(may_be_a_page(path), "{path}");
        }
        for path in [
            "main.js",
            ".git/config",
            "a/.b/c",
            "rooms/logo.svg",
            "rooms/logo.svg/",
            "assets/main",
            "assets",
            "assets/",
        ] {
            assert!(!may_be_a_page(path), "{path}");
        }
    }

    #[test]
    fn only_names_with_a_hash_of_vite_are_immutable() {
        for name in [
            "assets/index-BwWc4b6K.js",
            "assets/index-D-8oh3qL.css",
            "assets/a/deep-_9XkR-b1.woff2",
            "assets/index-BwWc4b6K.js.map.json",
        ] {
            assert!(is_hashed(name), "{name}");
        }
        for name in [
            "index-BwWc4b6K.js",
            "public/index-BwWc4b6K.js",
            "assets/index.js",
            "assets/my-document.js",
            "assets/my-document1.js",
            "assets/my-Document.js",
            "assets/my-ThisFile.js",
            "assets/my-version2.js",
            "assets/my-Version2.js",
            "assets/my-v2alpha1.js",
            "assets/report-20240101.pdf",
            "assets/report-2024Q1EU.pdf",
            "assets/logo-DARKMODE.svg",
            "assets/BwWc4b6K.js",
            "assets/-BwWc4b6K.js",
            "assets/index-BwWc4b6K",
            "assets/index-BwWc4b6.js",
            "assets/index-BwWc4b6Ké.js",
            "assets/index-BwWc 4b6.js",
        ] {
            assert!(!is_hashed(name), "{name}");
        }
    }

    proptest! {
        #[test]
        fn a_name_is_found_under_its_encoded_path(name in "[^/\\\\\\x00]{1,12}") {
            prop_assume!(name != "." && name != "..");
            let encoded = percent_encoding::utf8_percent_encode(&name, percent_encoding::NON_ALPHANUMERIC);
            prop_assert_eq!(decode(&format!("/{encoded}")), Some(name));
        }

        #[test]
        fn a_key_never_leaves_the_folder(path in "(/|%2e|%2f|\\.|a|%5c|\\\\|%00|%){0,12}") {
            if let Some(key) = decode(&path) {
                prop_assert!(key.trim_end_matches('/').split('/').all(|name| name != ".." && name != "."), "{}", key);
                prop_assert!(!key.starts_with('/') && !key.contains(['\\', '\0']), "{}", key);
            }
        }
    }
}
