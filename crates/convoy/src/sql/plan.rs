//! What a statement reads, from what Postgres says it will do. Pure.
//!
//! Invariant: it may name a table that does not matter; where it cannot name all
//! that do, it says so ([`Plan::unclear`]). A function may read whatever it likes
//! and the plan would not tell; so the names of all that could be functions are
//! gathered, to be looked up.

use std::collections::BTreeSet;

use serde_json::Value;

/// What a plan, and the statement's own text, name.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Plan {
    /// Tables, as `(schema, name)`.
    pub relations: BTreeSet<(String, String)>,
    /// What may be functions.
    pub functions: BTreeSet<String>,
    /// What may be operators.
    pub operators: BTreeSet<String>,
    /// Every name in the statement's text: views are among them.
    pub words: BTreeSet<String>,
    /// Something is read that has no name here.
    pub unclear: bool,
}

/// Nodes that read no table by themselves.
const INNER: [&str; 32] = [
    "Aggregate",
    "Append",
    "Bitmap Index Scan",
    "BitmapAnd",
    "BitmapOr",
    "CTE Scan",
    "Function Scan",
    "Gather",
    "Gather Merge",
    "Group",
    "Hash",
    "Hash Join",
    "Incremental Sort",
    "Limit",
    "LockRows",
    "Materialize",
    "Memoize",
    "Merge Append",
    "Merge Join",
    "Nested Loop",
    "ProjectSet",
    "Recursive Union",
    "Result",
    "SetOp",
    "Sort",
    "Subquery Scan",
    "Table Function Scan",
    "Unique",
    "Values Scan",
    "WindowAgg",
    "WorkTable Scan",
    "Named Tuplestore Scan",
];
/// What holds names and no expressions.
const NAMES: [&str; 12] = [
    "Alias",
    "CTE Name",
    "Command",
    "Index Name",
    "Join Type",
    "Node Type",
    "Parent Relationship",
    "Partial Mode",
    "Relation Name",
    "Schema",
    "Strategy",
    "Subplan Name",
];

impl Plan {
    /// Reads what `explain (verbose, format json)` has said of a statement.
    pub(crate) fn read(json: &str, statement: &str) -> Plan {
        let mut plan = Plan::default();
        match serde_json::from_str(json) {
            Ok(explained) => plan.walk(&explained),
            Err(_) => plan.unclear = true,
        }
        // The plan does not show the expressions of LIMIT and VALUES.
        let words = plan.scan(statement);
        plan.words = words;
        plan
    }

    fn walk(&mut self, value: &Value) {
        match value {
            Value::Array(items) => items.iter().for_each(|item| self.walk(item)),
            Value::Object(node) => {
                if let Some(kind) = node.get("Node Type").and_then(Value::as_str) {
                    match (node.get("Relation Name"), node.get("Schema")) {
                        (Some(Value::String(name)), Some(Value::String(schema))) => {
                            self.relations.insert((schema.clone(), name.clone()));
                        }
                        _ => self.unclear |= !INNER.contains(&kind),
                    }
                    // Left out for the values at hand, and read for others.
                    self.unclear |= node.get("Subplans Removed").is_some_and(|removed| removed != 0);
                    if let Some(name) = node.get("Function Name").and_then(Value::as_str) {
                        self.functions.insert(name.to_owned());
                    }
                }
                for (key, value) in node {
                    if !NAMES.contains(&key.as_str()) {
                        self.walk(value);
                    }
                }
            }
            Value::String(expression) => {
                self.scan(expression);
            }
            _ => {}
        }
    }

    /// Notes what may be functions and operators in an SQL text; gives all its names.
    fn scan(&mut self, sql: &str) -> BTreeSet<String> {
        let mut words = BTreeSet::new();
        let mut rest = sql;
        while let Some(first) = rest.chars().next() {
            let (token, after) = match first {
                '\'' => (None, quoted(rest, '\'', previous_is_escape(sql, rest)).1),
                '"' => {
                    let (inside, after) = quoted(rest, '"', false);
                    (Some(inside.replace("\"\"", "\"")), after)
                }
                '$' => (None, past_dollar(rest)),
                '-' if rest.starts_with("--") => (None, rest.split_once('\n').map_or("", |(_, after)| after)),
                '/' if rest.starts_with("/*") => (None, past_comment(rest)),
                _ if is_word(first) && !first.is_ascii_digit() => {
                    let end = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
                    (Some(rest[..end].to_lowercase()), &rest[end..])
                }
                _ if is_operator(first) => {
                    let end = rest.find(|c| !is_operator(c)).unwrap_or(rest.len());
                    self.operators.insert(rest[..end].to_owned());
                    (None, &rest[end..])
                }
                _ => (None, &rest[first.len_utf8()..]),
            };
            if let Some(word) = token {
                // A name spelled by escapes.
                self.unclear |= word == "u" && after.starts_with('&');
                if after.trim_start().starts_with('(') {
                    self.functions.insert(word.clone());
                }
                words.insert(word);
            }
            rest = after;
        }
        words
    }
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_' || c == '$' || !c.is_ascii()
}

fn is_operator(c: char) -> bool {
    "+-*/<>=~!@#%^&|`?".contains(c)
}

/// Whether the quote at which `rest` begins is that of an escape string.
fn previous_is_escape(sql: &str, rest: &str) -> bool {
    sql[..sql.len() - rest.len()].ends_with(['e', 'E'])
}

/// What is between quotes, and what follows; unended, all of it is between them.
fn quoted(text: &str, quote: char, escapes: bool) -> (&str, &str) {
    let mut chars = text.char_indices().skip(1).peekable();
    while let Some((at, c)) = chars.next() {
        if escapes && c == '\\' {
            chars.next();
        } else if c == quote && chars.next_if(|(_, next)| *next == quote).is_none() {
            return (&text[1..at], &text[at + 1..]);
        }
    }
    (&text[1..], "")
}

/// `$1`, or `$tag$ … $tag$`.
fn past_dollar(text: &str) -> &str {
    let tag = text[1..].find('$').map(|end| &text[..end + 2]);
    match tag.filter(|tag| {
        tag[1..tag.len() - 1].chars().all(|c| is_word(c) && c != '$')
            && !tag[1..].starts_with(|c: char| c.is_ascii_digit())
    }) {
        Some(tag) => text[tag.len()..].split_once(tag).map_or("", |(_, after)| after),
        None => &text[1..],
    }
}

fn past_comment(text: &str) -> &str {
    let (mut depth, mut rest) = (0u32, text);
    loop {
        if let Some(inner) = rest.strip_prefix("/*") {
            (depth, rest) = (depth + 1, inner);
        } else if let Some(outer) = rest.strip_prefix("*/") {
            (depth, rest) = (depth - 1, outer);
            if depth == 0 {
                return rest;
            }
        } else {
            let Some(c) = rest.chars().next() else { return "" };
            rest = &rest[c.len_utf8()..];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn functions(sql: &str) -> Vec<String> {
        let mut plan = Plan::default();
        plan.scan(sql);
        plan.functions.into_iter().collect()
    }

    #[test]
    fn functions_are_found_wherever_they_can_be_called() {
        assert_eq!(functions("(public.f((t.data ->> 'g(x)'::text)) > 1)"), ["f"]);
        assert_eq!(functions(r#"select "My ""F"(1), LOWER (b)"#), ["My \"F", "lower"]);
        assert_eq!(
            functions("select 'it''s f(1)' || g('x\\') /* h(1) /* i(1) */ j(1) */ -- k(1)\n || l(2)"),
            ["g", "l"]
        );
        assert_eq!(functions(r"select E'\' f(1)' || g(1)"), ["g"]);
        assert_eq!(functions("select $$f(1)$$, $a$ g(1) $b$ $a$, h($1), i($2)"), ["h", "i"]);
        assert_eq!(functions("limit größe(1)"), ["größe"]);
    }

    #[test]
    fn a_plan_lists_its_tables_or_is_marked_unclear() {
        let read = |plan: Value| Plan::read(&json!([{ "Plan": plan }]).to_string(), "");
        let scan =
            |name: &str| json!({ "Node Type": "Seq Scan", "Schema": "public", "Relation Name": name, "Alias": "f(x)" });
        let joined = read(json!({ "Node Type": "Hash Join", "Plans": [scan("a"),
            { "Node Type": "Hash", "Plans": [{ "Node Type": "CTE Scan", "CTE Name": "c", "Plans": [scan("b")] }] }] }));
        let names: Vec<&str> = joined.relations.iter().map(|(_, name)| name.as_str()).collect();
        assert_eq!((names, joined.unclear), (vec!["a", "b"], false));
        assert!(joined.functions.is_empty());
        assert!(read(json!({ "Node Type": "Foreign Scan", "Relations": "(a) INNER JOIN (b)" })).unclear);
        assert!(read(json!({ "Node Type": "Custom Scan" })).unclear);
        assert!(read(json!({ "Node Type": "Append", "Subplans Removed": 2, "Plans": [scan("a")] })).unclear);
        assert!(!read(json!({ "Node Type": "Append", "Subplans Removed": 0, "Plans": [scan("a")] })).unclear);
        assert!(Plan::read("no plan", "").unclear);
        let called = read(json!({ "Node Type": "Function Scan", "Schema": "public", "Function Name": "f" }));
        assert!(called.functions.contains("f"));
    }

    proptest! {
        #[test]
        fn no_text_is_too_strange_to_scan(sql in any::<String>()) {
            Plan::default().scan(&sql);
        }

        #[test]
        fn a_call_is_found_behind_any_strings_and_comments(
            before in proptest::collection::vec("('[^'\\\\]*'|\"[^\"]*\"|/\\*[a-z(]*\\*/|--[a-z(]*\n|\\$\\$[a-z(]*\\$\\$|[0-9+ ,])", 0..12),
        ) {
            let sql = format!("{} needle(1)", before.join(" "));
            prop_assert!(functions(&sql).contains(&"needle".to_owned()), "{}", sql);
        }
    }
}
