//! The shard's own row: its epoch and its sequence.

use super::sql::{Sql, SqlError, only};

/// Counts the command that is running: every change it makes carries the number it gets here.
///
/// # Errors
/// Trouble with SQLite.
pub fn next_sequence(sql: &impl Sql) -> Result<u64, SqlError> {
    only(sql.run("UPDATE meta SET sequence = sequence + 1 RETURNING sequence", &[])?)?.number()
}

/// What a copy is stamped with: the epoch, and the sequence as of which it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Moment {
    /// 32 hex digits, random, drawn when the database was created.
    pub epoch: String,
    /// The number of the last command.
    pub sequence: u64,
}

/// Reads epoch and sequence, in the same stretch as what will be stamped with them.
///
/// # Errors
/// Trouble with SQLite.
pub fn moment(sql: &impl Sql) -> Result<Moment, SqlError> {
    let mut row = only(sql.run("SELECT epoch, sequence FROM meta", &[])?)?;
    Ok(Moment { epoch: row.text()?, sequence: row.number()? })
}
