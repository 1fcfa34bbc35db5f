//! One statement on SQLite, with the values that the Authority's port knows.

use keygate::authority::sql::{INTEGER_MAX, Row, SqlError, Value};
use rusqlite::{
    Statement,
    types::{ToSqlOutput, ValueRef},
};

/// Runs it and gives all its rows.
pub fn rows(prepared: &mut Statement<'_>, parameters: &[Value]) -> Result<Vec<Row>, SqlError> {
    let failed = |error: rusqlite::Error| SqlError(error.to_string());
    let bound = parameters.iter().map(|parameter| match parameter {
        Value::Null => Ok(ToSqlOutput::Borrowed(ValueRef::Null)),
        Value::Text(text) => Ok(ToSqlOutput::Borrowed(ValueRef::Text(text.as_bytes()))),
        Value::Integer(number) if number.unsigned_abs() <= INTEGER_MAX.unsigned_abs() => {
            Ok(ToSqlOutput::Borrowed(ValueRef::Integer(*number)))
        }
        Value::Integer(number) => Err(SqlError(format!("an integer is too large to be stored: {number}"))),
    });
    let bound = bound.collect::<Result<Vec<_>, _>>()?;
    let columns = prepared.column_count();
    let mut rows = prepared.query(rusqlite::params_from_iter(bound)).map_err(failed)?;
    let mut all = Vec::new();
    while let Some(row) = rows.next().map_err(failed)? {
        let value = |column| match row.get_ref(column).map_err(failed)? {
            ValueRef::Null => Ok(Value::Null),
            ValueRef::Integer(number) => Ok(Value::Integer(number)),
            ValueRef::Text(text) => Ok(Value::Text(String::from_utf8(text.to_vec()).unwrap())),
            other => Err(SqlError(format!("neither text nor an integer: {other:?}"))),
        };
        all.push((0..columns).map(value).collect::<Result<Row, SqlError>>()?);
    }
    Ok(all)
}
