//! Document ids: `messages:<uuid>`, a table name and a UUID.

use uuid::Uuid;

/// Creates an id: a UUIDv7 greater than every previous one of this process.
pub fn mint() -> Uuid {
    Uuid::now_v7()
}

/// Parses a UUID of any version in its hyphenated form.
pub fn parse(text: &str) -> Option<Uuid> {
    // `try_parse` also accepts braces, `urn:` and undashed forms, and a document must
    // have only one id.
    (text.len() == 36).then(|| Uuid::try_parse(text).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_increase() {
        let ids: Vec<Uuid> = (0..10_000).map(|_| mint()).collect();
        assert!(ids.windows(2).all(|pair| pair[0] < pair[1]));
    }

    #[test]
    fn only_the_hyphenated_form_is_accepted() {
        let id = mint();
        assert_eq!(parse(&id.to_string()), Some(id));
        assert_eq!(parse(&id.simple().to_string()), None);
        assert_eq!(parse(&format!("{{{id}}}")), None);
    }
}
