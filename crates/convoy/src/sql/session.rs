//! Transactions that bring their own settings, for sessions that are lent.

use super::Statement;

/// Asks for nothing but an answer.
pub fn sign_of_life() -> Statement {
    Statement::fixed("select 1")
}

/// Begins a transaction, with settings that end with it. For the simple protocol.
/// None of this takes a snapshot.
pub fn begin(begin: &'static str, settings: &[(&'static str, String)]) -> Statement {
    let mut sql = Statement::fixed(begin);
    for (name, value) in settings {
        sql.push("; set local ").push(name).push(" = ").literal(value);
    }
    sql
}

/// Ends a transaction and leaves nothing prepared in the session. For the simple
/// protocol, whose statements all reach the same session; but what follows one that
/// fails is not run, and a commit may fail, while a transaction that failed takes
/// nothing but its end.
pub fn end(end: &'static str, prepared: &[String]) -> Statement {
    let mut sql = Statement::new();
    let end_first = end == "rollback";
    if end_first {
        sql.push(end).push("; ");
    }
    for name in prepared {
        sql.push("deallocate ").ident(name).push("; ");
    }
    if !end_first {
        sql.push(end);
    }
    sql
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_of_a_transaction_stays_in_its_session() {
        let settings = [("statement_timeout", "10".to_owned()), ("plan_cache_mode", "auto".to_owned())];
        assert_eq!(
            begin("begin isolation level serializable", &settings).text(),
            "begin isolation level serializable; set local statement_timeout = '10'; set local plan_cache_mode = 'auto'"
        );
        let prepared = ["a".to_owned(), "b".to_owned()];
        assert_eq!(end("commit", &prepared).text(), r#"deallocate "a"; deallocate "b"; commit"#);
        assert_eq!(end("rollback", &prepared).text(), r#"rollback; deallocate "a"; deallocate "b"; "#);
        assert_eq!(end("commit", &[]).text(), "commit");
    }
}
