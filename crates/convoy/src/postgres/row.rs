//! Converts values for the driver, and leaves JSON as text instead of parsing it.

use sqlx::encode::IsNull;
use sqlx::error::BoxDynError;
use sqlx::postgres::types::Oid;
use sqlx::postgres::{PgArgumentBuffer, PgArguments, PgHasArrayType, PgRow, PgTypeInfo};
use sqlx::{Arguments, Encode, Postgres, Row as _, Type, ValueRef};
use uuid::Uuid;

use super::DbError;
use crate::sql::Bind;
use crate::time::Time;

const JSONB: PgTypeInfo = PgTypeInfo::with_oid(Oid(3802));
const JSONB_ARRAY: PgTypeInfo = PgTypeInfo::with_oid(Oid(3807));
const TIMESTAMPTZ: PgTypeInfo = PgTypeInfo::with_oid(Oid(1184));
const TIMESTAMPTZ_ARRAY: PgTypeInfo = PgTypeInfo::with_oid(Oid(1185));

/// One row of a result; columns are read by position.
pub(crate) struct Row(PgRow);

impl Row {
    pub(super) fn new(row: PgRow) -> Row {
        Row(row)
    }

    /// The number of columns.
    pub(crate) fn width(&self) -> usize {
        self.0.len()
    }

    /// The bytes of a column as Postgres sent them; `None` for null.
    fn bytes(&self, at: usize) -> Result<Option<&[u8]>, DbError> {
        let value = self.0.try_get_raw(at)?;
        if value.is_null() {
            return Ok(None);
        }
        value.as_bytes().map(Some).map_err(|error| DbError::Row(error.to_string()))
    }

    fn present(&self, at: usize) -> Result<&[u8], DbError> {
        self.bytes(at)?.ok_or_else(|| DbError::Row(format!("column {at} is null")))
    }

    /// A `uuid`.
    pub(crate) fn uuid(&self, at: usize) -> Result<Uuid, DbError> {
        Uuid::from_slice(self.present(at)?).map_err(|error| DbError::Row(error.to_string()))
    }

    /// A `uuid`, or null.
    pub(crate) fn uuid_or_null(&self, at: usize) -> Result<Option<Uuid>, DbError> {
        self.bytes(at)?.map(|_| self.uuid(at)).transpose()
    }

    /// A `timestamptz`.
    pub(crate) fn micros(&self, at: usize) -> Result<Time, DbError> {
        let bytes = self.present(at)?;
        let bytes: [u8; 8] = bytes.try_into().map_err(|_| DbError::Row(format!("column {at} is no timestamp")))?;
        Ok(Time::of_postgres(i64::from_be_bytes(bytes)))
    }

    /// A `timestamptz`, or null.
    pub(crate) fn micros_or_null(&self, at: usize) -> Result<Option<Time>, DbError> {
        self.bytes(at)?.map(|_| self.micros(at)).transpose()
    }

    /// The JSON text of a `jsonb`: on the wire a version byte and the text.
    pub(crate) fn json(&self, at: usize) -> Result<&str, DbError> {
        match self.present(at)?.split_first() {
            Some((1, text)) => std::str::from_utf8(text).map_err(|error| DbError::Row(error.to_string())),
            _ => Err(DbError::Row(format!("column {at} is no jsonb of version 1"))),
        }
    }

    /// A `jsonb`'s text, or null.
    pub(crate) fn json_or_null(&self, at: usize) -> Result<Option<&str>, DbError> {
        self.bytes(at)?.map(|_| self.json(at)).transpose()
    }

    /// A `text`.
    pub(crate) fn text(&self, at: usize) -> Result<&str, DbError> {
        std::str::from_utf8(self.present(at)?).map_err(|error| DbError::Row(error.to_string()))
    }

    /// A `text`, or null.
    pub(crate) fn text_or_null(&self, at: usize) -> Result<Option<&str>, DbError> {
        self.bytes(at)?.map(|_| self.text(at)).transpose()
    }

    /// A `text[]`.
    pub(crate) fn texts(&self, at: usize) -> Result<Vec<String>, DbError> {
        Ok(self.0.try_get(at)?)
    }

    /// An `int8`.
    pub(crate) fn int8(&self, at: usize) -> Result<i64, DbError> {
        Ok(self.0.try_get(at)?)
    }

    /// An `int8`, or null.
    pub(crate) fn int8_or_null(&self, at: usize) -> Result<Option<i64>, DbError> {
        Ok(self.0.try_get(at)?)
    }

    /// A `bool`.
    pub(crate) fn bool(&self, at: usize) -> Result<bool, DbError> {
        Ok(self.0.try_get(at)?)
    }
}

/// JSON text that is sent as a `jsonb` without being parsed here.
struct JsonText(String);

impl Type<Postgres> for JsonText {
    fn type_info() -> PgTypeInfo {
        JSONB
    }
}

impl PgHasArrayType for JsonText {
    fn array_type_info() -> PgTypeInfo {
        JSONB_ARRAY
    }
}

impl Encode<'_, Postgres> for JsonText {
    fn encode_by_ref(&self, buffer: &mut PgArgumentBuffer) -> Result<IsNull, BoxDynError> {
        buffer.extend_from_slice(&[1]);
        buffer.extend_from_slice(self.0.as_bytes());
        Ok(IsNull::No)
    }
}

/// Exact over the whole range, infinite times included.
impl Type<Postgres> for Time {
    fn type_info() -> PgTypeInfo {
        TIMESTAMPTZ
    }
}

impl PgHasArrayType for Time {
    fn array_type_info() -> PgTypeInfo {
        TIMESTAMPTZ_ARRAY
    }
}

impl Encode<'_, Postgres> for Time {
    fn encode_by_ref(&self, buffer: &mut PgArgumentBuffer) -> Result<IsNull, BoxDynError> {
        buffer.extend_from_slice(&self.to_postgres().to_be_bytes());
        Ok(IsNull::No)
    }
}

pub(super) fn add(arguments: &mut PgArguments, bind: Bind) -> Result<(), DbError> {
    let added = match bind {
        Bind::Uuid(id) => arguments.add(id),
        Bind::Uuids(ids) => arguments.add(ids),
        Bind::Json(text) => arguments.add(JsonText(text)),
        Bind::Jsons(texts) => arguments.add(texts.into_iter().map(JsonText).collect::<Vec<_>>()),
        Bind::Text(text) => arguments.add(text),
        Bind::Texts(texts) => arguments.add(texts),
        Bind::Bool(value) => arguments.add(value),
        Bind::Bools(values) => arguments.add(values),
        Bind::Int(value) => arguments.add(value),
        Bind::Time(time) => arguments.add(time),
        Bind::Times(times) => arguments.add(times),
    };
    added.map_err(|error| DbError::Row(error.to_string()))
}
