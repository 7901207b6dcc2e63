//! Hides passwords in lines of the log. Errors of users' functions, of drivers and of other
//! programs quote URLs, and those of databases have passwords.

use std::borrow::Cow;

const HIDDEN: &str = "***";
/// The parameter of connection strings: `?password=…`, `host=… password=…`.
const PARAMETER: &str = "password=";

/// The text without the passwords of its URLs and connection strings.
pub(crate) fn without_passwords(text: &str) -> Cow<'_, str> {
    if !text.contains("://") && !text.contains(PARAMETER) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, hidden)) = next(rest) {
        shown.push_str(&rest[..before]);
        shown.push_str(HIDDEN);
        rest = &rest[before + hidden..];
    }
    shown.push_str(rest);
    Cow::Owned(shown)
}

/// A URL without its user and password: some services take a token as the user's name.
pub(crate) fn without_userinfo(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    match authority_of(rest).rfind('@') {
        Some(at) => format!("{scheme}://{HIDDEN}{}", &rest[at..]),
        None => url.to_owned(),
    }
}

/// Where the next password begins, and how long it is.
fn next(text: &str) -> Option<(usize, usize)> {
    let in_url = text.match_indices("://").find_map(|(at, _)| {
        let start = at + "://".len();
        let authority = authority_of(&text[start..]);
        let user = &authority[..authority.rfind('@')?];
        let colon = user.find(':')?;
        let password = &user[colon + 1..];
        (!password.is_empty() && password != HIDDEN).then_some((start + colon + 1, password.len()))
    });
    let parameter = text.match_indices(PARAMETER).find_map(|(at, _)| {
        let after = &text[at + PARAMETER.len()..];
        let (quote, value) = match after.chars().next() {
            // Of a connection string: it may have blanks.
            Some(quote @ ('\'' | '"')) => (1, after[1..].split(quote).next()?),
            _ => (0, until(after, |char| char == '&')),
        };
        let start = at + PARAMETER.len() + quote;
        (!value.is_empty() && value != HIDDEN).then_some((start, value.len()))
    });
    in_url.into_iter().chain(parameter).min()
}

/// The authority of a URL, from what follows its `://`.
fn authority_of(text: &str) -> &str {
    until(text, |char| matches!(char, '/' | '?' | '#'))
}

/// The beginning of a text, up to white space, a quote, or a character that `ends` it.
fn until(text: &str, ends: impl Fn(char) -> bool) -> &str {
    let is_end = |char: char| char.is_whitespace() || matches!(char, '"' | '\'' | '`' | '<' | '>') || ends(char);
    &text[..text.find(is_end).unwrap_or(text.len())]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn passwords_of_urls_and_connection_strings_are_hidden() {
        for (text, shown) in [
            ("postgres://ann:pa:ss@db:5432/app?x=1", "postgres://ann:***@db:5432/app?x=1"),
            ("at \"redis://:secret@host\", then http://a:b@c/", "at \"redis://:***@host\", then http://a:***@c/"),
            ("postgres://db/app?user=ann&password=secret&x=1", "postgres://db/app?user=ann&password=***&x=1"),
            ("host=db password=secret user=ann", "host=db password=*** user=ann"),
            ("host=db password='my secret' user=ann", "host=db password='***' user=ann"),
            ("password=\"it's\", password='cut", "password=\"***\", password='***"),
            ("postgres://ann:p%40ss@db and postgres://bob:x@db", "postgres://ann:***@db and postgres://bob:***@db"),
        ] {
            assert_eq!(without_passwords(text), shown);
        }
    }

    #[test]
    fn the_user_of_a_url_is_hidden_where_it_may_be_a_token() {
        for (url, shown) in [
            ("https://token@host:4318/v1?a=b@c", "https://***@host:4318/v1?a=b@c"),
            ("http://ann:secret@host", "http://***@host"),
            ("http://host/a@b", "http://host/a@b"),
            ("host", "host"),
        ] {
            assert_eq!(without_userinfo(url), shown);
        }
    }

    #[test]
    fn other_text_stays() {
        for text in
            ["", "http://host:80/a?b=c@d", "postgres://ann@db", "a: b@c", "time 10:20 a@b", "://", "password= x"]
        {
            assert_eq!(without_passwords(text), text);
        }
    }

    proptest! {
        #[test]
        fn no_password_is_left(before in ".*", user in "[a-z]*", password in "[^\\s\"'`<>/?#]{8,20}", after in "(/.*)?") {
            let text = format!("{before} x://{user}:{password}@host{after}");
            let shown = without_passwords(&text);
            prop_assert!(!shown.contains(&format!(":{password}@host")), "{}", shown);
            prop_assert_eq!(without_passwords(&shown), shown.clone());
        }
    }
}
