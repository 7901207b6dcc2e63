//! The lines of the files: those of an export, plain documents, and Convex's.

use std::borrow::Cow;
use std::fmt;
use std::io::{self, Write};

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use uuid::Uuid;

use super::convex::KnownIds;
use crate::id;
use crate::postgres::StoredRow;
use crate::sql::transfer::StoredDocument;
use crate::time::Time;

/// How the lines of an archive are to be read.
pub(super) enum Format {
    /// As [`write_row`] writes them.
    Export,
    /// Documents, with or without `id` and `_creationTime`. The ids of others come from this checksum of the file.
    Documents,
    /// Convex's, with `_id` and `_creationTime`.
    Convex(KnownIds),
}

/// Writes one line of an export.
pub(super) fn write_row(out: &mut Vec<u8>, table: &str, row: &StoredRow) -> io::Result<()> {
    out.extend_from_slice(b"{\"id\":");
    serde_json::to_writer(&mut *out, &format!("{table}:{}", row.id))?;
    for (name, time) in [("createdAt", &row.created), ("updatedAt", &row.updated)] {
        if let Some(time) = time {
            write!(out, ",\"{name}\":\"{time}\"")?;
        }
    }
    writeln!(out, ",\"data\":{}}}", row.data)
}

/// The uuid of a line of an export; `None` if the line is not complete.
pub(super) fn id_of_row(line: &[u8]) -> Option<Uuid> {
    let row: ExportedRow<'_> = serde_json::from_slice(line).ok()?;
    uuid_of(&row.id)
}

#[derive(serde::Deserialize)]
#[serde(rename_all = "camelCase")]
struct ExportedRow<'a> {
    #[serde(borrow)]
    id: Cow<'a, str>,
    #[serde(borrow)]
    created_at: Option<Cow<'a, str>>,
    #[serde(borrow)]
    updated_at: Option<Cow<'a, str>>,
    #[serde(borrow)]
    data: &'a RawValue,
}

/// `messages:<uuid>` or `<uuid>`.
fn uuid_of(id: &str) -> Option<Uuid> {
    id::parse(id.rsplit_once(':').map_or(id, |(_, uuid)| uuid))
}

/// The place of a line.
pub(super) struct Place<'a> {
    /// The table's name in the schema.
    pub table: &'a str,
    /// The checksum of the file.
    pub file: &'a str,
    /// Counted from 1.
    pub line: u64,
}

/// Parses a line. An error is the reason for people.
pub(super) fn parse(format: &Format, place: &Place<'_>, line: &str) -> Result<StoredDocument, String> {
    match format {
        Format::Export => {
            let row: ExportedRow<'_> = serde_json::from_str(line).map_err(not_json)?;
            let text = |time: Option<Cow<'_, str>>| time.unwrap_or_default().into_owned();
            Ok(StoredDocument {
                id: own_id(place.table, &row.id)?,
                created: text(row.created_at),
                updated: text(row.updated_at),
                data: row.data.get().to_owned(),
            })
        }
        Format::Documents => {
            let (mut members, line_id) = (members(line)?, format!("{}\n{}", place.file, place.line));
            let id = match members.take_text("id")? {
                Some(id) => own_id(place.table, &id)?,
                None => named_uuid(&line_id),
            };
            let created = members.take_time()?;
            Ok(StoredDocument { id, updated: created.clone(), created, data: members.to_object() })
        }
        Format::Convex(known) => {
            let mut members = members(line)?;
            let id = members.take_text("_id")?.ok_or("it has no _id")?;
            let created = members.take_time()?;
            let data = known.rewrite(&members.to_object());
            let id = KnownIds::uuid_for(place.table, &id);
            Ok(StoredDocument { id, updated: created.clone(), created, data })
        }
    }
}

/// A uuid that is always the same for the same name: an import that is repeated adds nothing.
pub(super) fn named_uuid(name: &str) -> Uuid {
    let hash = xxhash_rust::xxh3::xxh3_128(name.as_bytes());
    uuid::Builder::from_bytes(hash.to_be_bytes())
        .with_variant(uuid::Variant::RFC4122)
        .with_version(uuid::Version::Custom)
        .into_uuid()
}

fn own_id(table: &str, id: &str) -> Result<Uuid, String> {
    let of_other = id.rsplit_once(':').is_some_and(|(prefix, _)| prefix != table);
    match uuid_of(id) {
        Some(uuid) if !of_other => Ok(uuid),
        _ => Err(format!("`{id}` is not an id of {table}, such as {table}:{}", Uuid::nil())),
    }
}

fn not_json(error: serde_json::Error) -> String {
    format!("it is not a valid line: {error}")
}

/// The members of an object, with their values as they are written.
#[derive(Default)]
struct Members<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

fn members(line: &str) -> Result<Members<'_>, String> {
    serde_json::from_str(line).map_err(not_json)
}

impl Members<'_> {
    fn take(&mut self, name: &str) -> Option<&RawValue> {
        let at = self.0.iter().position(|(key, _)| key == name)?;
        Some(self.0.remove(at).1)
    }

    fn take_text(&mut self, name: &str) -> Result<Option<String>, String> {
        let Some(value) = self.take(name) else { return Ok(None) };
        serde_json::from_str(value.get()).map(Some).map_err(|_| format!("its {name} is not a text"))
    }

    /// `_creationTime`, in milliseconds, as the statement reads it; empty without one.
    fn take_time(&mut self) -> Result<String, String> {
        let Some(value) = self.take("_creationTime") else { return Ok(String::new()) };
        let ms: f64 = serde_json::from_str(value.get()).map_err(|_| "its _creationTime is not a number")?;
        match Time::of_ms(ms) {
            Time::INFINITY => Ok("infinity".to_owned()),
            Time::MINUS_INFINITY => Ok("-infinity".to_owned()),
            time => Ok(format!("us:{}", time.to_postgres())),
        }
    }

    fn to_object(&self) -> String {
        let mut out = String::from("{");
        for (key, value) in &self.0 {
            if out.len() > 1 {
                out.push(',');
            }
            out.push_str(&serde_json::Value::from(key.as_ref()).to_string());
            out.push(':');
            out.push_str(value.get());
        }
        out.push('}');
        out
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Members<'a>, D::Error> {
        struct Collect;
        impl<'de> Visitor<'de> for Collect {
            type Value = Vec<(Cow<'de, str>, &'de RawValue)>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some((Key(key), value)) = map.next_entry::<Key<'de>, &'de RawValue>()? {
                    members.push((key, value));
                }
                Ok(members)
            }
        }
        deserializer.deserialize_map(Collect).map(Members)
    }
}

/// A key, borrowed where it has no escapes.
#[derive(serde::Deserialize)]
struct Key<'a>(#[serde(borrow)] Cow<'a, str>);

#[cfg(test)]
mod tests {
    use super::*;

    fn place(line: u64) -> Place<'static> {
        Place { table: "notes", file: "f00d", line }
    }

    #[test]
    fn a_row_is_read_back_as_it_was_written() {
        let row = StoredRow {
            id: Uuid::now_v7(),
            created: Some("2026-01-01T00:00:00.123456+00:00".to_owned()),
            updated: None,
            data: r#"{"n": 12345678901234567890, "text": "a\nb"}"#.to_owned(),
        };
        let mut line = Vec::new();
        write_row(&mut line, "notes", &row).expect("a vector takes all");
        assert_eq!(id_of_row(&line), Some(row.id));
        assert_eq!(id_of_row(&line[..line.len() - 3]), None);
        let read = parse(&Format::Export, &place(1), std::str::from_utf8(&line).expect("text")).expect("valid");
        assert_eq!((read.id, read.data, read.updated), (row.id, row.data, String::new()));
        assert_eq!(Some(read.created), row.created);
    }

    #[test]
    fn documents_keep_their_ids_and_others_get_the_same_ids_each_time() {
        let parsed = |line: &str, at| parse(&Format::Documents, &place(at), line);
        let own =
            parsed(r#"{"id":"notes:0190163d-8694-739b-aea5-966c26f8ad91","_creationTime":946684800000.5,"a":1.50}"#, 1);
        let own = own.expect("valid");
        assert_eq!(
            (own.id.to_string().as_str(), own.created.as_str()),
            ("0190163d-8694-739b-aea5-966c26f8ad91", "us:500")
        );
        assert_eq!(own.data, r#"{"a":1.50}"#);
        let (one, again, other) = (parsed("{}", 1), parsed("{}", 1), parsed("{}", 2));
        assert_eq!(one.as_ref().expect("valid").id, again.expect("valid").id);
        assert_ne!(one.expect("valid").id, other.expect("valid").id);
        assert!(parsed(r#"{"id":"people:0190163d-8694-739b-aea5-966c26f8ad91"}"#, 1).is_err());
        assert!(parsed(r#"{"a":"#, 1).is_err());
        assert!(parsed("[1]", 1).is_err());
    }
}
