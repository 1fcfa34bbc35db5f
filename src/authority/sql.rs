//! The port to SQLite.
//!
//! The same SQL text runs on a Durable Object's storage and, in native tests, on SQLite itself. The port is as narrow
//! as the two have in common: one statement, at most [`PARAMETERS_MAX`] positional parameters, all rows at once (a
//! cursor kept across an `await` has no snapshot), and a transaction around a closure.

use std::fmt;

use crate::{
    json::{self, FromJson},
    policy::UnixMillis,
};

/// Bound parameters per statement (Cloudflare Durable Objects, SQLite limits).
pub const PARAMETERS_MAX: usize = 100;

/// The largest integer that survives the way through JavaScript, 2⁵³ − 1. A larger one would be stored rounded,
/// without an error.
pub const INTEGER_MAX: i64 = (1 << 53) - 1;

/// A value in a row or a parameter. Blobs are not used: everything stored is text or a number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// SQL NULL.
    Null,
    /// An integer within ±[`INTEGER_MAX`].
    Integer(i64),
    /// A text.
    Text(String),
}

/// One row of a result, in the order of its columns.
pub type Row = Vec<Value>;

/// SQLite refused a statement, or a row was not of the expected shape. Never a refusal of a command: trouble.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SqlError(
    /// What SQLite said. It may quote the statement, never its parameters.
    pub String,
);

impl fmt::Display for SqlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// SQLite, as the Authority sees it.
pub trait Sql {
    /// Runs one statement and gives all its rows.
    ///
    /// # Errors
    /// What SQLite refuses, and an integer beyond [`INTEGER_MAX`].
    fn run(&self, statement: &str, parameters: &[Value]) -> Result<Vec<Row>, SqlError>;

    /// Runs `body` in a transaction: all of its statements count, or none of them when it gives an `Err` or traps.
    ///
    /// # Errors
    /// Those of `body`, and a failure to begin or commit.
    fn atomically<T, E: From<SqlError>>(&self, body: impl FnOnce() -> Result<T, E>) -> Result<T, E>;
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Value::Text(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Value::Text(text)
    }
}

impl From<bool> for Value {
    fn from(flag: bool) -> Self {
        Value::Integer(flag.into())
    }
}

impl From<u32> for Value {
    fn from(number: u32) -> Self {
        Value::Integer(number.into())
    }
}

impl From<u64> for Value {
    /// Saturates at `i64::MAX`, which [`Sql::run`] refuses: a number too large is an error, never another number.
    fn from(number: u64) -> Self {
        Value::Integer(i64::try_from(number).unwrap_or(i64::MAX))
    }
}

impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Value::Null, Into::into)
    }
}

/// Takes the columns of a row from left to right, each with the type it must have.
pub struct Columns(std::vec::IntoIter<Value>);

impl Columns {
    /// Starts at the first column.
    #[must_use]
    pub fn of(row: Row) -> Self {
        Columns(row.into_iter())
    }

    /// A text that is not NULL.
    ///
    /// # Errors
    /// Another type, or no column left.
    pub fn text(&mut self) -> Result<String, SqlError> {
        match self.0.next() {
            Some(Value::Text(text)) => Ok(text),
            other => Err(unexpected("text", other.as_ref())),
        }
    }

    /// A text or NULL.
    ///
    /// # Errors
    /// Another type, or no column left.
    pub fn optional_text(&mut self) -> Result<Option<String>, SqlError> {
        match self.0.next() {
            Some(Value::Text(text)) => Ok(Some(text)),
            Some(Value::Null) => Ok(None),
            other => Err(unexpected("text or NULL", other.as_ref())),
        }
    }

    /// A whole number that is not negative.
    ///
    /// # Errors
    /// Another type, a negative number, or no column left.
    pub fn number(&mut self) -> Result<u64, SqlError> {
        self.optional_number()?.ok_or_else(|| unexpected("number", Some(&Value::Null)))
    }

    /// A whole number that is not negative, or NULL.
    ///
    /// # Errors
    /// Another type, a negative number, or no column left.
    pub fn optional_number(&mut self) -> Result<Option<u64>, SqlError> {
        match self.0.next() {
            Some(Value::Integer(number)) => {
                u64::try_from(number).map(Some).map_err(|_| SqlError(format!("a stored number is negative: {number}")))
            }
            Some(Value::Null) => Ok(None),
            other => Err(unexpected("number or NULL", other.as_ref())),
        }
    }

    /// A text that `parse` understands.
    ///
    /// # Errors
    /// Another type, or a text that is not of the stored form.
    pub fn parsed<T>(&mut self, what: &str, parse: impl FnOnce(&str) -> Option<T>) -> Result<T, SqlError> {
        let text = self.text()?;
        parse(&text).ok_or_else(|| SqlError(format!("a stored {what} is not of its form")))
    }

    /// A text that holds JSON of `T`.
    ///
    /// # Errors
    /// Another type, or JSON of another shape.
    pub fn json<T: FromJson>(&mut self) -> Result<T, SqlError> {
        from_json(&self.text()?)
    }
}

/// Takes the columns of a row that has many of them. The first that is not as it must be is kept, and one check at the
/// end refuses the row: one per column, each with all that was read until then to be dropped, would be four times the
/// code.
pub struct Wide {
    /// To take from at once what nothing can stand in for. What comes before all others has the least to drop.
    pub columns: Columns,
    wrong: Option<SqlError>,
}

impl Wide {
    /// What `read` makes of `columns`, if all of them are as they must be.
    ///
    /// # Errors
    /// The first column that is not.
    pub fn read<T>(columns: Columns, read: impl FnOnce(&mut Wide) -> Result<T, SqlError>) -> Result<T, SqlError> {
        let mut row = Wide { columns, wrong: None };
        let record = read(&mut row)?;
        row.wrong.map_or(Ok(record), Err)
    }

    fn or_wrong<T: Default>(&mut self, column: Result<T, SqlError>) -> T {
        match column {
            Ok(value) => value,
            Err(error) => {
                self.wrong.get_or_insert(error);
                T::default()
            }
        }
    }

    /// As [`Columns::text`].
    pub fn text(&mut self) -> String {
        let column = self.columns.text();
        self.or_wrong(column)
    }

    /// As [`Columns::optional_text`].
    pub fn optional_text(&mut self) -> Option<String> {
        let column = self.columns.optional_text();
        self.or_wrong(column)
    }

    /// As [`Columns::number`].
    pub fn number(&mut self) -> u64 {
        let column = self.columns.number();
        self.or_wrong(column)
    }

    /// As [`Columns::optional_number`].
    pub fn optional_number(&mut self) -> Option<u64> {
        let column = self.columns.optional_number();
        self.or_wrong(column)
    }

    /// A number of a smaller type.
    pub fn narrow<T: TryFrom<u64> + Default>(&mut self) -> T {
        let column = self.columns.number().and_then(narrow);
        self.or_wrong(column)
    }

    /// A number of milliseconds since 1970.
    pub fn instant(&mut self) -> UnixMillis {
        UnixMillis::from_millis(self.number())
    }

    /// The same, or NULL.
    pub fn optional_instant(&mut self) -> Option<UnixMillis> {
        self.optional_number().map(UnixMillis::from_millis)
    }

    /// As [`Columns::json`].
    pub fn json<T: FromJson + Default>(&mut self) -> T {
        let column = self.columns.json();
        self.or_wrong(column)
    }

    /// As [`Columns::json`], or NULL.
    pub fn optional_json<T: FromJson>(&mut self) -> Option<T> {
        let column = self.columns.optional_text().and_then(|text| text.map(|text| from_json(&text)).transpose());
        self.or_wrong(column)
    }

    /// What `read` takes from some of the columns.
    pub fn some<T: Default>(&mut self, read: impl FnOnce(&mut Columns) -> Result<T, SqlError>) -> T {
        let columns = read(&mut self.columns);
        self.or_wrong(columns)
    }
}

/// A stored number as one of a smaller type.
///
/// # Errors
/// A number out of its range.
pub fn narrow<T: TryFrom<u64>>(number: u64) -> Result<T, SqlError> {
    T::try_from(number).map_err(|_| SqlError(format!("a stored number is out of range: {number}")))
}

/// Reads a stored JSON column.
///
/// # Errors
/// JSON of another shape than was stored.
pub fn from_json<T: FromJson>(text: &str) -> Result<T, SqlError> {
    json::read(text).ok_or_else(|| SqlError("stored JSON does not fit".into()))
}

/// Reads every row. The loop is a fraction of what `collect` would bring for each type.
///
/// # Errors
/// Those of `read`.
pub fn each<T>(rows: Vec<Row>, mut read: impl FnMut(Columns) -> Result<T, SqlError>) -> Result<Vec<T>, SqlError> {
    let mut all = Vec::with_capacity(rows.len());
    for row in rows {
        all.push(read(Columns::of(row))?);
    }
    Ok(all)
}

/// The single row of a result that must have exactly one.
///
/// # Errors
/// No row, or more than one.
pub fn only(rows: Vec<Row>) -> Result<Columns, SqlError> {
    at_most_one(rows)?.ok_or_else(|| SqlError("a row is missing".into()))
}

/// The row of a result that may have none.
///
/// # Errors
/// More than one row.
pub fn at_most_one(rows: Vec<Row>) -> Result<Option<Columns>, SqlError> {
    if rows.len() > 1 {
        return Err(SqlError(format!("{} rows where at most one can be", rows.len())));
    }
    Ok(rows.into_iter().next().map(Columns::of))
}

fn unexpected(wanted: &str, found: Option<&Value>) -> SqlError {
    let found = match found {
        Some(Value::Null) => "NULL",
        Some(Value::Integer(_)) => "a number",
        Some(Value::Text(_)) => "a text",
        None => "no column",
    };
    SqlError(format!("{wanted} expected, {found} found"))
}
