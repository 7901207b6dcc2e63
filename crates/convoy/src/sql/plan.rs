//! The tables and functions in the plan of a statement. Pure.
//!
//! Invariant: the result may name tables that do not matter. If tables that matter may be
//! missing, it is marked [`Plan::incomplete`]. A function may read any table without showing
//! it in the plan, so the names of all possible functions are collected, to be looked up in
//! the catalog.

use std::collections::BTreeSet;

use serde_json::Value;

/// The names in a plan and in the text of its statement.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Plan {
    /// Tables, as `(schema, name)`.
    pub relations: BTreeSet<(String, String)>,
    /// Names that may be functions.
    pub functions: BTreeSet<String>,
    /// Names that may be operators.
    pub operators: BTreeSet<String>,
    /// Every name in the text of the statement, views included.
    pub names: BTreeSet<String>,
    /// Whether tables are read that are not listed.
    pub incomplete: bool,
}

/// Plan nodes that read no table by themselves.
const NODES_WITHOUT_TABLE: [&str; 32] = [
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
/// Keys of a plan whose values are names, not expressions.
const NAME_KEYS: [&str; 12] = [
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
    /// Parses the output of `explain (verbose, format json)` for a statement.
    pub(crate) fn parse(json: &str, statement: &str) -> Plan {
        let mut plan = Plan::default();
        match serde_json::from_str(json) {
            Ok(json) => plan.walk(&json),
            Err(_) => plan.incomplete = true,
        }
        // The plan does not show the expressions of LIMIT and VALUES.
        let names = plan.scan_text(statement);
        plan.names = names;
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
                        _ => self.incomplete |= !NODES_WITHOUT_TABLE.contains(&kind),
                    }
                    // Subplans removed for these values may be needed for others.
                    self.incomplete |= node.get("Subplans Removed").is_some_and(|removed| removed != 0);
                    if let Some(name) = node.get("Function Name").and_then(Value::as_str) {
                        self.functions.insert(name.to_owned());
                    }
                }
                for (key, value) in node {
                    if !NAME_KEYS.contains(&key.as_str()) {
                        self.walk(value);
                    }
                }
            }
            Value::String(expression) => {
                self.scan_text(expression);
            }
            _ => {}
        }
    }

    /// Collects possible functions and operators of an SQL text, and returns all its names.
    fn scan_text(&mut self, sql: &str) -> BTreeSet<String> {
        let mut names = BTreeSet::new();
        let mut rest = sql;
        while let Some(first) = rest.chars().next() {
            let (token, after) = match first {
                '\'' => (None, split_quoted(rest, '\'', is_escape_string(sql, rest)).1),
                '"' => {
                    let (inside, after) = split_quoted(rest, '"', false);
                    (Some(inside.replace("\"\"", "\"")), after)
                }
                '$' => (None, after_dollar(rest)),
                '-' if rest.starts_with("--") => (None, rest.split_once('\n').map_or("", |(_, after)| after)),
                '/' if rest.starts_with("/*") => (None, after_comment(rest)),
                _ if is_name_char(first) && !first.is_ascii_digit() => {
                    let end = rest.find(|c| !is_name_char(c)).unwrap_or(rest.len());
                    (Some(rest[..end].to_lowercase()), &rest[end..])
                }
                _ if is_operator_char(first) => {
                    let end = rest.find(|c| !is_operator_char(c)).unwrap_or(rest.len());
                    self.operators.insert(rest[..end].to_owned());
                    (None, &rest[end..])
                }
                _ => (None, &rest[first.len_utf8()..]),
            };
            if let Some(word) = token {
                // `U&"…"`: a name with escapes.
                self.incomplete |= word == "u" && after.starts_with('&');
                if after.trim_start().starts_with('(') {
                    self.functions.insert(word.clone());
                }
                names.insert(word);
            }
            rest = after;
        }
        names
    }
}

fn is_name_char(c: char) -> bool {
    c.is_alphanumeric() || c == '_' || c == '$' || !c.is_ascii()
}

fn is_operator_char(c: char) -> bool {
    "+-*/<>=~!@#%^&|`?".contains(c)
}

/// Whether the quote at the start of `rest` opens an escape string.
fn is_escape_string(sql: &str, rest: &str) -> bool {
    sql[..sql.len() - rest.len()].ends_with(['e', 'E'])
}

/// The text between quotes, and the rest. Without a closing quote, all text is inside.
fn split_quoted(text: &str, quote: char, escapes: bool) -> (&str, &str) {
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

/// The text after `$1`, or after `$tag$ … $tag$`.
fn after_dollar(text: &str) -> &str {
    let tag = text[1..].find('$').map(|end| &text[..end + 2]);
    match tag.filter(|tag| {
        tag[1..tag.len() - 1].chars().all(|c| is_name_char(c) && c != '$')
            && !tag[1..].starts_with(|c: char| c.is_ascii_digit())
    }) {
        Some(tag) => text[tag.len()..].split_once(tag).map_or("", |(_, after)| after),
        None => &text[1..],
    }
}

fn after_comment(text: &str) -> &str {
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
        plan.scan_text(sql);
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
    fn a_plan_lists_its_tables_or_is_marked_incomplete() {
        let parse = |plan: Value| Plan::parse(&json!([{ "Plan": plan }]).to_string(), "");
        let scan_text =
            |name: &str| json!({ "Node Type": "Seq Scan", "Schema": "public", "Relation Name": name, "Alias": "f(x)" });
        let joined = parse(json!({ "Node Type": "Hash Join", "Plans": [scan_text("a"),
            { "Node Type": "Hash", "Plans": [{ "Node Type": "CTE Scan", "CTE Name": "c", "Plans": [scan_text("b")] }] }] }));
        let names: Vec<&str> = joined.relations.iter().map(|(_, name)| name.as_str()).collect();
        assert_eq!((names, joined.incomplete), (vec!["a", "b"], false));
        assert!(joined.functions.is_empty());
        assert!(parse(json!({ "Node Type": "Foreign Scan", "Relations": "(a) INNER JOIN (b)" })).incomplete);
        assert!(parse(json!({ "Node Type": "Custom Scan" })).incomplete);
        assert!(parse(json!({ "Node Type": "Append", "Subplans Removed": 2, "Plans": [scan_text("a")] })).incomplete);
        assert!(!parse(json!({ "Node Type": "Append", "Subplans Removed": 0, "Plans": [scan_text("a")] })).incomplete);
        assert!(Plan::parse("no plan", "").incomplete);
        let called = parse(json!({ "Node Type": "Function Scan", "Schema": "public", "Function Name": "f" }));
        assert!(called.functions.contains("f"));
    }

    proptest! {
        #[test]
        fn any_text_can_be_scanned(sql in any::<String>()) {
            Plan::default().scan_text(&sql);
        }

        #[test]
        fn a_call_is_found_after_any_strings_and_comments(
            before in proptest::collection::vec("('[^'\\\\]*'|\"[^\"]*\"|/\\*[a-z(]*\\*/|--[a-z(]*\n|\\$\\$[a-z(]*\\$\\$|[0-9+ ,])", 0..12),
        ) {
            let sql = format!("{} needle(1)", before.join(" "));
            prop_assert!(functions(&sql).contains(&"needle".to_owned()), "{}", sql);
        }
    }
}
