//! A session of its own that reads whole tables by COPY and writes documents in bulk,
//! without the limits of calls.

use futures_util::StreamExt;
use tokio::sync::mpsc;
use uuid::Uuid;

use super::{DbError, PgSession, Postgres, Row};
use crate::schema::Table;
use crate::sql::Statement;
use crate::sql::transfer::{self, Rows};

/// The bytes of documents that are sent on together.
const CHUNK_BYTES: usize = 256 * 1024;
/// The first bytes of a binary COPY, its flags and the length of its extension.
const HEADER_BYTES: usize = 11 + 4 + 4;

/// A row of a table, with its times as ISO texts where the table has them.
#[derive(Debug)]
pub(crate) struct StoredRow {
    /// The uuid of the id.
    pub id: Uuid,
    /// The creation time.
    pub created: Option<String>,
    /// The time of the last change.
    pub updated: Option<String>,
    /// The text of the `jsonb`.
    pub data: String,
}

/// See the module.
pub(crate) struct Bulk {
    session: PgSession,
}

impl Postgres {
    /// Opens a session for bulk work.
    pub(crate) async fn bulk(&self) -> Result<Bulk, DbError> {
        Ok(Bulk { session: self.connect().await? })
    }
}

impl Bulk {
    /// Begins a transaction in which all reads see one snapshot.
    pub(crate) async fn begin_snapshot(&mut self) -> Result<(), DbError> {
        self.session.execute(transfer::begin_snapshot()).await
    }

    /// Ends it.
    pub(crate) async fn end_snapshot(&mut self) -> Result<(), DbError> {
        self.session.end("commit").await
    }

    /// Runs one statement by itself.
    pub(crate) async fn run(&mut self, statement: Statement) -> Result<Vec<Row>, DbError> {
        self.session.fetch_autocommit(statement).await
    }

    /// Runs one statement inside the open transaction.
    pub(crate) async fn fetch(&mut self, statement: Statement) -> Result<Vec<Row>, DbError> {
        self.session.fetch(statement).await
    }

    /// Sends the rows of a table in chunks, as fast as the receiver takes them. Returns early when the receiver is gone;
    /// the session is then of no further use.
    pub(crate) async fn copy(
        &mut self,
        table: &Table,
        rows: Rows,
        to: &mpsc::Sender<Vec<StoredRow>>,
    ) -> Result<(), DbError> {
        let statement = transfer::copy(table, rows);
        let mut stream = self.session.connection.copy_out_raw(statement.text()).await?;
        let mut decoder = Decoder::default();
        let mut chunk = Vec::new();
        let mut size = 0;
        while let Some(bytes) = stream.next().await {
            decoder.buffer.extend_from_slice(&bytes?);
            while let Some(row) = decoder.next()? {
                size += row.data.len();
                chunk.push(row);
            }
            decoder.compact();
            if size >= CHUNK_BYTES {
                size = 0;
                if to.send(std::mem::take(&mut chunk)).await.is_err() {
                    return Ok(());
                }
            }
        }
        if !decoder.is_finished {
            return Err(DbError::Row("COPY ended in the middle of a table".into()));
        }
        if !chunk.is_empty() {
            // A receiver that is gone needs no rows.
            let _gone = to.send(chunk).await;
        }
        Ok(())
    }
}

/// Decodes the binary format of COPY from pieces of any length.
#[derive(Default)]
struct Decoder {
    buffer: Vec<u8>,
    /// The part of the buffer that was decoded.
    at: usize,
    has_header: bool,
    is_finished: bool,
}

impl Decoder {
    /// The next complete row in the buffer.
    fn next(&mut self) -> Result<Option<StoredRow>, DbError> {
        if !self.has_header {
            if self.buffer.len() < HEADER_BYTES {
                return Ok(None);
            }
            if !self.buffer.starts_with(b"PGCOPY\n\xff\r\n\0") {
                return Err(DbError::Row("this is not a binary COPY".into()));
            }
            self.at = HEADER_BYTES;
            self.has_header = true;
        }
        let mut fields = Fields { rest: &self.buffer[self.at..] };
        let Some(count) = fields.int::<2>().map(i16::from_be_bytes) else { return Ok(None) };
        if count < 0 {
            self.is_finished = true;
            self.at += 2;
            return Ok(None);
        }
        let mut values: [Option<&[u8]>; 4] = [None; 4];
        if usize::try_from(count) != Ok(values.len()) {
            return Err(DbError::Row(format!("COPY sent {count} columns")));
        }
        for value in &mut values {
            let Some(field) = fields.value()? else { return Ok(None) };
            *value = field;
        }
        let [id, created, updated, data] = values;
        let broken = |what: &str| DbError::Row(format!("COPY sent a row with an invalid {what}"));
        let row = StoredRow {
            id: id.and_then(|id| Uuid::from_slice(id).ok()).ok_or_else(|| broken("id"))?,
            created: text(created).map_err(|_| broken("created_at"))?,
            updated: text(updated).map_err(|_| broken("updated_at"))?,
            // A null has no version byte.
            data: match data {
                None => "null".to_owned(),
                Some(data) => text(data.strip_prefix(&[1])).ok().flatten().ok_or_else(|| broken("document"))?,
            },
        };
        self.at = self.buffer.len() - fields.rest.len();
        Ok(Some(row))
    }

    /// Forgets what was decoded.
    fn compact(&mut self) {
        self.buffer.drain(..self.at);
        self.at = 0;
    }
}

fn text(bytes: Option<&[u8]>) -> Result<Option<String>, std::str::Utf8Error> {
    bytes.map(|bytes| std::str::from_utf8(bytes).map(str::to_owned)).transpose()
}

/// The rest of a buffer; every read is `None` where the buffer ends too early.
struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    fn int<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.rest.split_first_chunk::<N>()?;
        self.rest = rest;
        Some(*head)
    }

    /// `Some(None)` is a null.
    fn value(&mut self) -> Result<Option<Option<&'a [u8]>>, DbError> {
        let Some(length) = self.int::<4>().map(i32::from_be_bytes) else { return Ok(None) };
        if length == -1 {
            return Ok(Some(None));
        }
        let length = usize::try_from(length).map_err(|_| DbError::Row("COPY sent a negative length".into()))?;
        let Some((value, rest)) = self.rest.split_at_checked(length) else { return Ok(None) };
        self.rest = rest;
        Ok(Some(Some(value)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_decoded_from_pieces_of_any_length() {
        let mut bytes = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0".to_vec();
        let mut field = |value: Option<&[u8]>, first: bool| {
            if first {
                bytes.extend_from_slice(&4i16.to_be_bytes());
            }
            let length = value.map_or(-1, |value| i32::try_from(value.len()).expect("short"));
            bytes.extend_from_slice(&length.to_be_bytes());
            bytes.extend_from_slice(value.unwrap_or_default());
        };
        let id = Uuid::now_v7();
        field(Some(id.as_bytes()), true);
        field(Some(b"2026-01-01T00:00:00+00:00"), false);
        field(None, false);
        field(Some(b"\x01{\"a\": 1}"), false);
        bytes.extend_from_slice(&(-1i16).to_be_bytes());
        for piece in 1..bytes.len() {
            let mut decoder = Decoder::default();
            let mut rows = Vec::new();
            for part in bytes.chunks(piece) {
                decoder.buffer.extend_from_slice(part);
                while let Some(row) = decoder.next().expect("valid") {
                    rows.push(row);
                }
                decoder.compact();
            }
            assert!(decoder.is_finished);
            let [row] = &*rows else { panic!("{rows:?}") };
            assert_eq!((row.id, row.data.as_str(), row.updated.as_deref()), (id, r#"{"a": 1}"#, None));
        }
    }
}
