//! A batch of operations, and the role under which each is executed.
//!
//! In a program with row-level security every operation says so itself: it runs under the role
//! of the program, with the settings of its caller, or as the system. One that says neither is
//! refused, so that no omission of the host can lift the policies.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Op, Wire, invalid};
use crate::error::Failure;
use crate::schema::Schema;

/// The role of a transaction, and the settings that policies read.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct RunAs {
    /// The name of the role.
    pub role: Arc<str>,
    /// Custom parameters, such as `app.user`, with their values.
    pub settings: BTreeMap<String, String>,
}

/// Operations in their order.
#[derive(Debug)]
pub(crate) struct Batch {
    /// The operations.
    pub ops: Vec<Result<Op, Failure>>,
    /// The role of each; empty in a program without row-level security.
    roles: Vec<Role>,
}

#[derive(Debug, PartialEq, Eq)]
enum Role {
    /// That of the connection.
    System,
    /// That of the caller.
    Caller(Arc<RunAs>),
    /// Transaction control, which needs none.
    Any,
}

impl Batch {
    /// Parses a batch. `role` is the role of the program, if it has row-level security. The outer
    /// error is a protocol error of the host; an inner one is the answer to that operation alone.
    pub(crate) fn parse(json: &str, schema: &Schema, role: Option<&Arc<str>>) -> Result<Batch, serde_json::Error> {
        let wire: Vec<Wire<'_>> = serde_json::from_str(json)?;
        let mut batch = Batch { ops: Vec::with_capacity(wire.len()), roles: Vec::new() };
        for mut op in wire {
            let Some(role) = role else {
                batch.ops.push(op.resolve(schema));
                continue;
            };
            let (system, settings) = (op.system, op.settings.take());
            let op = op.resolve(schema);
            let found = match (&op, system, settings) {
                (Ok(Op::Control(_)) | Err(_), false, None) => Ok(Role::Any),
                (_, true, None) => Ok(Role::System),
                (_, false, Some(settings)) => settings_role(role, settings, batch.roles.last()),
                _ => Err(invalid("The operation has to say whether it runs as the system or for a caller.".to_owned())),
            };
            let (op, role) = match found {
                Ok(role) => (op, role),
                Err(failure) => (Err(failure), Role::Any),
            };
            batch.ops.push(op);
            batch.roles.push(role);
        }
        Ok(batch)
    }

    /// How many operations from `start` on, at most `max`, run under one role, and that role;
    /// `None` is that of the connection.
    pub(crate) fn same_role(&self, start: usize, max: usize) -> (usize, Option<&Arc<RunAs>>) {
        let Some(roles) = self.roles.get(start..start + max) else { return (max, None) };
        let mut first: Option<&Role> = None;
        let length =
            roles.iter().take_while(|role| **role == Role::Any || **first.get_or_insert(role) == **role).count();
        let run_as = first.and_then(|role| if let Role::Caller(run_as) = role { Some(run_as) } else { None });
        (length, run_as)
    }
}

/// The role of a caller; that of the operation before, if it is the same.
fn settings_role(role: &Arc<str>, settings: BTreeMap<String, String>, before: Option<&Role>) -> Result<Role, Failure> {
    if let Some(Role::Caller(run_as)) = before
        && run_as.settings == settings
    {
        return Ok(Role::Caller(run_as.clone()));
    }
    match settings.iter().find(|(name, value)| !is_custom_parameter(name) || value.contains('\0')) {
        Some((name, _)) => Err(invalid(format!("`{name}` is not a custom parameter that can be set."))),
        None => Ok(Role::Caller(Arc::new(RunAs { role: role.clone(), settings }))),
    }
}

/// Whether a setting has the name of a custom parameter, none of Postgres or of Convoy.
fn is_custom_parameter(name: &str) -> bool {
    let is_word = |part: &str| {
        let first = |c: char| c.is_ascii_alphabetic() || c == '_';
        part.starts_with(first) && part.chars().all(|c| first(c) || c.is_ascii_digit() || c == '$')
    };
    let is_own = |part: &str| ["convoy", "_convoy"].iter().any(|own| part.eq_ignore_ascii_case(own));
    match name.split_once('.') {
        Some((first, rest)) => is_word(first) && !is_own(first) && rest.split('.').all(is_word),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(ops: &str, role: Option<&str>) -> Batch {
        let schema = r#"{"tables":[{"name":"m","physicalName":"m","managed":true,"indexes":[]}]}"#;
        let schema = Schema::parse(serde_json::from_str(schema).expect("a description")).expect("a schema");
        Batch::parse(ops, &schema, role.map(Arc::from).as_ref()).expect("the protocol is kept")
    }

    fn scan(more: &str) -> String {
        format!(r#"{{"op":"scan","table":"m","order":"asc"{more}}}"#)
    }

    fn groups(batch: &Batch) -> Vec<String> {
        let (mut start, mut groups) = (0, Vec::new());
        while start < batch.ops.len() {
            let (length, run_as) = batch.same_role(start, batch.ops.len() - start);
            groups.push(format!("{length} {:?}", run_as.map(|run_as| run_as.settings.values().collect::<Vec<_>>())));
            start += length;
        }
        groups
    }

    #[test]
    fn neighbours_of_one_role_are_grouped_with_the_control_between_them() {
        let (system, ada) = (scan(r#","system":true"#), scan(r#","settings":{"app.user":"ada"}"#));
        let eve = scan(r#","settings":{"app.user":"eve"}"#);
        let control = r#"{"op":"savepoint","name":1}"#;
        let text = [control, &system, &system, &ada, control, &ada, &eve, control].join(",");
        let batch = parse(&format!("[{text}]"), Some("app"));
        assert_eq!(groups(&batch), ["3 None", "3 Some([\"ada\"])", "2 Some([\"eve\"])"]);
        assert_eq!(groups(&parse(&format!("[{control},{control}]"), Some("app"))), ["2 None"]);
        assert_eq!(groups(&parse(&format!("[{control},{}]", scan("")), None)), ["2 None"]);
    }

    #[test]
    fn an_operation_without_a_role_is_refused_where_the_program_has_one() {
        let both = scan(r#","system":true,"settings":{}"#);
        let batch = parse(&format!("[{},{both},{}]", scan(""), scan(r#","settings":{}"#)), Some("app"));
        let refused: Vec<bool> = batch.ops.iter().map(Result::is_err).collect();
        assert_eq!(refused, [true, true, false]);
        assert!(parse(&format!("[{}]", scan("")), None).ops[0].is_ok());
    }

    #[test]
    fn only_custom_parameters_are_settings() {
        for name in ["app.user", "request.jwt.claims", "_a.b$1", "Convoys.user"] {
            assert!(is_custom_parameter(name), "{name}");
        }
        for name in ["role", "search_path", "convoy.writer", "_Convoy.x", "app.", ".user", "a b.c", "a.b'", "a.1", ""] {
            assert!(!is_custom_parameter(name), "{name}");
            let op = format!("[{}]", scan(&format!(r#","settings":{{"{name}":"1"}}"#)));
            assert!(parse(&op, Some("app")).ops[0].is_err(), "{name}");
        }
    }
}
