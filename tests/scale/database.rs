//! SQLite in memory that counts what Cloudflare would bill.
//!
//! - *Rows written*: the rows that SQLite says an `INSERT`, `UPDATE` or `DELETE` changed, each with one more per index
//!   of its table; for an `UPDATE` only per index over a column that it sets.
//! - *Rows read*: the steps of SQLite's virtual machine (`SQLITE_STMTSTATUS_VM_STEP`). No row is read without a step, so
//!   it is an upper bound, and a high one.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;

use keygate::authority::sql::{Row, Sql, SqlError, Value};
use rusqlite::{Connection, StatementStatus};

use super::rows;

/// What was done so far.
#[derive(Clone, Debug, Default)]
pub struct Bill {
    pub statements: u64,
    pub steps: u64,
    /// By table; heartbeats apart.
    pub written: HashMap<String, u64>,
}

/// A database, and its bill.
pub struct Counted {
    connection: Connection,
    depth: Cell<u32>,
    /// What one changed row costs, by statement; none for one that only reads.
    costs: RefCell<HashMap<String, Option<(String, u64)>>>,
    bill: RefCell<Bill>,
}

impl Counted {
    pub fn new() -> Self {
        let connection = Connection::open_in_memory().unwrap();
        connection.set_prepared_statement_cache_capacity(256);
        connection.execute_batch("PRAGMA foreign_keys = ON").unwrap();
        Counted { connection, depth: Cell::new(0), costs: RefCell::default(), bill: RefCell::default() }
    }

    /// The rows written since the bill was taken.
    pub fn rows_written(&self) -> u64 {
        self.bill.borrow().written.values().sum()
    }

    /// Takes the bill, and begins a new one.
    pub fn take_bill(&self) -> Bill {
        self.bill.take()
    }

    /// Everything up to [`Counted::mark`] is one transaction: in memory, SQLite would spend its time on committing.
    pub fn begin(&self) {
        self.connection.execute_batch("BEGIN").unwrap();
    }

    /// Marks a state that [`Counted::back`] returns to.
    pub fn mark(&self) {
        self.connection.execute_batch("COMMIT; SAVEPOINT mark").unwrap();
    }

    pub fn back(&self) {
        self.connection.execute_batch("ROLLBACK TO mark").unwrap();
    }

    /// The one number that a query gives.
    pub fn number(&self, query: &str) -> u64 {
        self.connection.query_row(query, [], |row| row.get::<_, i64>(0)).unwrap().unsigned_abs()
    }

    /// The table that `statement` writes, and what a row of it costs.
    fn cost(&self, statement: &str) -> (String, u64) {
        let mut words = statement.split_whitespace();
        let verb = words.next().unwrap();
        let table = words.find(|word| !["INTO", "FROM", "OR", "IGNORE"].contains(word)).unwrap().to_owned();
        let set = statement.split_once(" SET ").map_or("", |(_, rest)| rest);
        let set = set.split(" WHERE ").next().unwrap();
        let indices = self.strings("SELECT name FROM pragma_index_list(?1) WHERE origin <> 'pk'", &table);
        let touched = indices.iter().filter(|index| {
            let columns = self.strings("SELECT coalesce(name, '') FROM pragma_index_info(?1)", index);
            verb != "UPDATE" || columns.iter().any(|column| set.contains(&format!("{column} =")))
        });
        let cost = 1 + touched.count() as u64;
        (if set.starts_with("heartbeat") { "heartbeat".into() } else { table }, cost)
    }

    fn strings(&self, query: &str, parameter: &str) -> Vec<String> {
        let mut statement = self.connection.prepare(query).unwrap();
        statement.query_map([parameter], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
    }
}

impl Sql for Counted {
    fn run(&self, statement: &str, parameters: &[Value]) -> Result<Vec<Row>, SqlError> {
        let failed = |error: rusqlite::Error| SqlError(error.to_string());
        let mut prepared = self.connection.prepare_cached(statement).map_err(failed)?;
        if !self.costs.borrow().contains_key(statement) {
            let writes = ["INSERT", "UPDATE", "DELETE"].iter().any(|verb| statement.starts_with(verb));
            let cost = writes.then(|| self.cost(statement));
            self.costs.borrow_mut().insert(statement.to_owned(), cost);
        }
        let all = rows::rows(&mut prepared, parameters)?;
        let mut bill = self.bill.borrow_mut();
        bill.statements += 1;
        bill.steps += u64::from(prepared.reset_status(StatementStatus::VmStep).unsigned_abs());
        if let Some((table, cost)) = &self.costs.borrow()[statement] {
            let written = self.connection.changes() * cost;
            match bill.written.get_mut(table) {
                Some(sum) => *sum += written,
                None => drop(bill.written.insert(table.clone(), written)),
            }
        }
        Ok(all)
    }

    fn atomically<T, E: From<SqlError>>(&self, body: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
        let run = |statement: String| {
            self.connection.execute_batch(&statement).map_err(|error| E::from(SqlError(error.to_string())))
        };
        let depth = self.depth.get();
        run(format!("SAVEPOINT s{depth}"))?;
        self.depth.set(depth + 1);
        let result = body();
        self.depth.set(depth);
        if result.is_err() {
            run(format!("ROLLBACK TO s{depth}"))?;
        }
        run(format!("RELEASE s{depth}"))?;
        result
    }
}
