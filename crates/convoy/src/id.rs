//! Document ids: `messages:<uuid>`, a table's name and a UUID.

use uuid::Uuid;

/// A new id: UUIDv7, greater than every one this process made before.
pub fn mint() -> Uuid {
    Uuid::now_v7()
}

/// Parses a bare UUID of any version in its usual spelling.
pub fn parse(text: &str) -> Option<Uuid> {
    // `try_parse` alone would also take braces, `urn:` and undashed spellings,
    // and one document must not answer to several ids.
    (text.len() == 36).then(|| Uuid::try_parse(text).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_only_grow() {
        let ids: Vec<Uuid> = (0..10_000).map(|_| mint()).collect();
        assert!(ids.windows(2).all(|pair| pair[0] < pair[1]));
    }

    #[test]
    fn one_spelling_only() {
        let id = mint();
        assert_eq!(parse(&id.to_string()), Some(id));
        assert_eq!(parse(&id.simple().to_string()), None);
        assert_eq!(parse(&format!("{{{id}}}")), None);
    }
}
