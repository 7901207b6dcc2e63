//! Random tables with their indexes and documents.

use convoy_testkit::table;
use rand::RngExt;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use serde_json::{Map, Value, json};

/// A field of every document: its path and type. A document may lack it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Field {
    pub path: &'static str,
    pub kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    Number,
    Boolean,
    /// Text or numbers.
    Mixed,
}

pub(super) const FIELDS: [Field; 5] = [
    Field { path: "s", kind: Kind::Text },
    Field { path: "n", kind: Kind::Number },
    Field { path: "b", kind: Kind::Boolean },
    Field { path: "deep.e", kind: Kind::Number },
    Field { path: "any", kind: Kind::Mixed },
];

/// A table of the schema.
pub(super) struct Table {
    pub name: String,
    pub indexes: Vec<(String, Vec<Field>)>,
}

/// Few values, so that ranges overlap, sort keys tie, and writes move documents.
const TEXTS: [&str; 6] = ["", "B", "a", "aa", "b", "é"];
const NUMBERS: [f64; 7] = [-3.0, 0.0, 0.5, 2.0, 9.0, 10.0, 1e21];

impl Table {
    pub(super) fn random(name: &str, random: &mut StdRng) -> Table {
        let count = random.random_range(1..=3);
        let indexes = (0..count).map(|at| {
            let fields = random.random_range(1..=3);
            (format!("by_{at}"), FIELDS.sample(random, fields).copied().collect())
        });
        Table { name: name.to_owned(), indexes: indexes.collect() }
    }

    pub(super) fn described(&self) -> Value {
        let fields: Vec<Vec<(&str, &str)>> = self
            .indexes
            .iter()
            .map(|(_, fields)| fields.iter().map(|field| (field.path, field.kind.word())).collect())
            .collect();
        let indexes: Vec<_> = self
            .indexes
            .iter()
            .zip(&fields)
            .map(|((name, _), fields)| (name.as_str(), false, fields.as_slice()))
            .collect();
        table(&self.name, &indexes)
    }
}

impl Kind {
    pub(super) fn word(self) -> &'static str {
        match self {
            Kind::Text => "text",
            Kind::Number => "number",
            Kind::Boolean => "boolean",
            Kind::Mixed => "json",
        }
    }

    pub(super) fn random(self, random: &mut StdRng) -> Value {
        match self {
            Kind::Text => json!(TEXTS.choose(random)),
            Kind::Number => json!(NUMBERS.choose(random)),
            Kind::Boolean => json!(random.random::<bool>()),
            Kind::Mixed if random.random() => Kind::Text.random(random),
            Kind::Mixed => Kind::Number.random(random),
        }
    }
}

/// A document, some of whose fields are missing.
pub(super) fn document(random: &mut StdRng) -> Value {
    let mut document = Map::new();
    for field in FIELDS {
        if random.random_bool(0.15) {
            continue;
        }
        let value = field.kind.random(random);
        match field.path.split_once('.') {
            None => document.insert(field.path.to_owned(), value),
            Some((outer, inner)) => document.insert(outer.to_owned(), json!({ inner: value })),
        };
    }
    document.insert("tag".to_owned(), json!(random.random_range(0..1_000_000)));
    Value::Object(document)
}
