//! Error messages for function names that cannot be called.
//!
//! Invariant: the names of functions that are not public are revealed only to calls from
//! inside the process and in `convoy dev`.

use super::program::{Function, FunctionKind};

/// The maximum length of a name in a message, in characters.
const MAX_SHOWN: usize = 100;

/// The message to the network outside of development: the same for names that are unknown,
/// internal, or of another kind.
pub(super) fn unknown(kind: FunctionKind, name: &str) -> String {
    let (kind, name) = (kind.as_str(), shown(name));
    format!("No public {kind} is called `{name}`; is it exported from a file in convoy/functions?")
}

/// The message to a developer: why the function cannot be called, and the nearest name.
pub(super) fn explained<'a>(
    kind: FunctionKind,
    name: &str,
    found: Option<&Function>,
    all: impl Iterator<Item = &'a Function>,
) -> String {
    match found {
        Some(function) if function.kind != kind => {
            let (actual, requested) = (with_article(function.kind), with_article(kind));
            format!("`{}` is {actual} and was called as {requested}; {}.", function.name, how_to_call(function.kind))
        }
        Some(function) => format!(
            "`{}` is internal: other functions and the command line reach it, the network does not. \
             To call it from a client, define it with `{}` instead of `internal{}`.",
            function.name,
            kind.as_str(),
            capitalised(kind)
        ),
        None => {
            let name = shown(name);
            let kind = kind.as_str();
            match nearest(&name, all.map(|function| &*function.name)) {
                Some(meant) => format!("No {kind} is called `{name}`; did you mean `{meant}`?"),
                None => format!("No {kind} is called `{name}`; is it exported from a file in convoy/functions?"),
            }
        }
    }
}

fn shown(name: &str) -> String {
    name.chars().take(MAX_SHOWN).collect()
}

fn with_article(kind: FunctionKind) -> String {
    let article = if kind == FunctionKind::Action { "an" } else { "a" };
    format!("{article} {}", kind.as_str())
}

fn how_to_call(kind: FunctionKind) -> &'static str {
    match kind {
        FunctionKind::Query => "use `query`, `watch` or `useQuery`",
        FunctionKind::Mutation => "use `mutation` or `useMutation`",
        FunctionKind::Action => "use `action` or `useAction`",
    }
}

fn capitalised(kind: FunctionKind) -> &'static str {
    match kind {
        FunctionKind::Query => "Query",
        FunctionKind::Mutation => "Mutation",
        FunctionKind::Action => "Action",
    }
}

/// The name with the smallest edit distance from `name`, if that is small. A name without
/// its module has distance 0.
fn nearest<'a>(name: &str, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let max_distance = (name.chars().count() / 3).max(2);
    let lower = name.to_lowercase();
    let distance = |other: &str| {
        let other = other.to_lowercase();
        if other.rsplit('.').next() == Some(&lower) || other.split(['.', '/']).eq(lower.split(['.', '/'])) {
            return 0;
        }
        let start: String = other.chars().take(2 * MAX_SHOWN).collect();
        strsim::osa_distance(&lower, &start)
    };
    // Names with a space are Convoy's own.
    let near = names.filter(|name| !name.contains(' ')).map(|name| (distance(name), name));
    near.filter(|(distance, _)| *distance <= max_distance).min().map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::super::program::tests::function;
    use super::*;

    #[test]
    fn the_nearest_name_is_suggested() {
        let names = ["messages.list", "messages.send", "users.get", "convoy: stored documents"];
        let near = |name| nearest(name, names.into_iter());
        assert_eq!(near("messages.lst"), Some("messages.list"));
        assert_eq!(near("message.list"), Some("messages.list"));
        assert_eq!(near("Messages.List"), Some("messages.list"));
        assert_eq!(near("messages/list"), Some("messages.list"));
        assert_eq!(near("messages.lsit"), Some("messages.list"));
        assert_eq!(near("send"), Some("messages.send"));
        assert_eq!(near("constructor"), None);
        assert_eq!(near(""), None);
        assert_eq!(near("convoy: stored document"), None);
    }

    #[test]
    fn a_message_names_the_actual_kind_or_the_nearest_name() {
        let list = function("messages.send");
        insta::assert_snapshot!(
            explained(FunctionKind::Query, "messages.send", Some(&list), std::iter::empty()),
            @"`messages.send` is a mutation and was called as a query; use `mutation` or `useMutation`."
        );
        insta::assert_snapshot!(
            explained(FunctionKind::Mutation, "messages.send", Some(&list), std::iter::empty()),
            @"`messages.send` is internal: other functions and the command line reach it, the network does not. To call it from a client, define it with `mutation` instead of `internalMutation`."
        );
        insta::assert_snapshot!(
            explained(FunctionKind::Mutation, "messages.sned", None, [&list].into_iter()),
            @"No mutation is called `messages.sned`; did you mean `messages.send`?"
        );
    }
}
