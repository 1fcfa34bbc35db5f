//! Databases that cost little to make. A thread keeps its connections from history to history, with the product's tables,
//! with every statement prepared, and with nothing in them: what an instance writes is in a transaction of its own, which is
//! rolled back when the instance is gone. So no connection knows anything of an instance before. What a statement read is
//! not read again before one of its tables has changed.

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    sync::OnceLock,
};

use keygate::authority::{
    schema,
    sql::{Row, Sql, SqlError, Value},
};
use rusqlite::{Statement, config::DbConfig};

use super::rows;

/// A database, from empty to whatever is written to it.
pub struct Connection {
    database: Option<Database>,
    /// So many of the schema's statements have been run. The tables are there all the time; before the last of them, this
    /// says that they are not.
    created: Cell<usize>,
}

/// All rows of all tables.
pub struct Content {
    created: usize,
    tables: Vec<Vec<Row>>,
}

/// What the product's migrations do to an empty database.
struct Schema {
    statements: Vec<String>,
    tables: Vec<Table>,
}

struct Table {
    name: String,
    read: String,
    write: String,
}

/// SQLite with its prepared statements, which a thread keeps for ever.
struct Database {
    sqlite: &'static rusqlite::Connection,
    statements: RefCell<Statements>,
}

#[derive(Default)]
struct Statements {
    prepared: Vec<Prepared>,
    by_text: HashMap<String, usize>,
    /// Which statement was looked for last in each of [`PLACES`]: most texts are constants, known again by where they are.
    by_place: Vec<usize>,
    /// Counts changes.
    now: u64,
    /// When each table was changed last.
    changed: Vec<u64>,
}

struct Prepared {
    text: String,
    statement: Statement<'static>,
    /// Which tables it names.
    tables: Vec<usize>,
    reads: bool,
    /// What it has answered, to which parameters, and when: half of what is read has not changed since it was read last.
    answers: Vec<(u64, Vec<Value>, Vec<Row>)>,
}

const PLACES: usize = 1_024;

/// So many answers are remembered for each statement.
const ANSWERS: usize = 8;

thread_local! {
    /// Databases that nobody uses.
    static IDLE: RefCell<Vec<Database>> = const { RefCell::new(Vec::new()) };
}

impl Connection {
    /// With nothing in it, not even tables, as far as anybody can tell.
    pub fn empty() -> Self {
        let idle = IDLE.with_borrow_mut(Vec::pop);
        let database = idle.unwrap_or_else(|| {
            let sqlite = open();
            schema().statements.iter().for_each(|statement| sqlite.execute_batch(statement).unwrap());
            Database { sqlite: Box::leak(Box::new(sqlite)), statements: RefCell::default() }
        });
        database.query("BEGIN", &[]).unwrap();
        Connection { database: Some(database), created: Cell::new(0) }
    }

    /// With this in it.
    pub fn with(content: &Content) -> Self {
        let connection = Self::empty();
        connection.created.set(content.created);
        for (table, rows) in schema().tables.iter().zip(&content.tables) {
            for row in rows {
                connection.database().query(&table.write, row).unwrap();
            }
        }
        connection
    }

    /// All that is in it.
    pub fn content(&self) -> Content {
        let read = |table: &Table| self.database().query(&table.read, &[]).unwrap();
        Content { created: self.created.get(), tables: schema().tables.iter().map(read).collect() }
    }

    /// Runs one statement.
    pub fn run(&self, statement: &str, parameters: &[Value]) -> Result<Vec<Row>, SqlError> {
        let created = self.created.get();
        let Some(next) = schema().statements.get(created) else { return self.database().query(statement, parameters) };
        if statement.contains("sqlite_schema") && created == 0 {
            return Ok(Vec::new());
        }
        assert_eq!(statement, next, "the tables are made in this order");
        self.created.set(created + 1);
        Ok(Vec::new())
    }

    /// True if the last statement that could have changed a row has.
    pub fn changed(&self) -> bool {
        self.database().sqlite.changes() > 0
    }

    /// Begins or ends a savepoint.
    pub fn command(&self, verb: &str, savepoint: &str) -> Result<(), SqlError> {
        let database = self.database();
        database.query(&format!("{verb} {savepoint}"), &[])?;
        if verb == "ROLLBACK TO" {
            database.statements.borrow_mut().forget();
        }
        Ok(())
    }

    /// How much of the schema is there.
    pub fn created(&self) -> usize {
        self.created.get()
    }

    /// No more of the schema is there than this: the rest was rolled back.
    pub fn only_created(&self, statements: usize) {
        self.created.set(statements);
    }

    fn database(&self) -> &Database {
        self.database.as_ref().expect("it is taken away only at the end")
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        let Some(database) = self.database.take() else { return };
        if database.query("ROLLBACK", &[]).is_ok() {
            database.statements.borrow_mut().forget();
            // A thread that ends has no use for it.
            let _ = IDLE.try_with(|idle| idle.borrow_mut().push(database));
        }
    }
}

impl Database {
    fn query(&self, text: &str, parameters: &[Value]) -> Result<Vec<Row>, SqlError> {
        let statements = &mut *self.statements.borrow_mut();
        let at = statements.find(self.sqlite, text)?;
        let prepared = &mut statements.prepared[at];
        if !prepared.reads {
            let rows = rows::rows(&mut prepared.statement, parameters);
            if self.sqlite.changes() > 0 {
                statements.now += 1;
                prepared.tables.iter().for_each(|table| statements.changed[*table] = statements.now);
            }
            return rows;
        }
        let changed = prepared.tables.iter().map(|table| statements.changed[*table]).max().unwrap_or(0);
        let known = prepared.answers.iter().position(|(_, other, _)| other == parameters);
        if let Some((_, _, rows)) = known.map(|at| &prepared.answers[at]).filter(|(at, ..)| *at >= changed) {
            return Ok(rows.clone());
        }
        let rows = rows::rows(&mut prepared.statement, parameters)?;
        let answer = (statements.now, parameters.to_vec(), rows.clone());
        match known {
            Some(at) => prepared.answers[at] = answer,
            None => {
                prepared.answers.truncate(ANSWERS - 1);
                prepared.answers.insert(0, answer);
            }
        }
        Ok(rows)
    }
}

impl Statements {
    fn find(&mut self, sqlite: &'static rusqlite::Connection, text: &str) -> Result<usize, SqlError> {
        let place = (text.as_ptr().addr() / 8 + text.len()) % PLACES;
        self.by_place.resize(PLACES, 0);
        let at = self.by_place[place];
        if self.prepared.get(at).is_some_and(|prepared| prepared.text == text) {
            return Ok(at);
        }
        let at = match self.by_text.get(text).copied() {
            Some(at) => at,
            None => {
                let tables = &schema().tables;
                self.prepared.push(Prepared {
                    text: text.to_owned(),
                    statement: sqlite.prepare(text).map_err(failed)?,
                    tables: (0..tables.len()).filter(|table| text.contains(&tables[*table].name)).collect(),
                    reads: text.trim_start().starts_with("SELECT "),
                    answers: Vec::new(),
                });
                self.changed.resize(tables.len(), 0);
                self.by_text.insert(text.to_owned(), self.prepared.len() - 1);
                self.prepared.len() - 1
            }
        };
        self.by_place[place] = at;
        Ok(at)
    }

    /// Nothing that was read is so any more.
    fn forget(&mut self) {
        self.prepared.iter_mut().for_each(|prepared| prepared.answers.clear());
    }
}

fn open() -> rusqlite::Connection {
    let sqlite = rusqlite::Connection::open_in_memory().unwrap();
    // Else a statement is prepared anew whenever other values are bound to it.
    sqlite.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true).unwrap();
    sqlite.execute_batch("PRAGMA foreign_keys = ON").unwrap();
    sqlite
}

fn failed(error: rusqlite::Error) -> SqlError {
    SqlError(error.to_string())
}

fn schema() -> &'static Schema {
    static SCHEMA: OnceLock<Schema> = OnceLock::new();
    SCHEMA.get_or_init(|| {
        let recorder = Recorder { sqlite: open(), statements: RefCell::default() };
        schema::migrate(&recorder, "").unwrap();
        let names = "SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY rowid";
        let tables = recorder.run(names, &[]).unwrap().into_iter().map(|row| {
            let [Value::Text(name)] = &row[..] else { panic!("a table has a name") };
            let columns = recorder.sqlite.prepare(&format!("SELECT * FROM {name}")).unwrap().column_count();
            Table {
                name: name.clone(),
                read: format!("SELECT * FROM {name}"),
                write: format!("INSERT INTO {name} VALUES ({})", vec!["?"; columns].join(", ")),
            }
        });
        Schema { tables: tables.collect(), statements: recorder.statements.take() }
    })
}

/// Notes how tables are made.
struct Recorder {
    sqlite: rusqlite::Connection,
    statements: RefCell<Vec<String>>,
}

impl Sql for Recorder {
    fn run(&self, statement: &str, parameters: &[Value]) -> Result<Vec<Row>, SqlError> {
        if ["CREATE ", "ALTER ", "DROP "].iter().any(|verb| statement.starts_with(verb)) {
            self.statements.borrow_mut().push(statement.to_owned());
        }
        rows::rows(&mut self.sqlite.prepare(statement).map_err(failed)?, parameters)
    }

    fn atomically<T, E: From<SqlError>>(&self, body: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
        body()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COUNT: &str = "SELECT count(*) FROM outbox";

    fn made() -> Connection {
        let connection = Connection::empty();
        schema().statements.iter().for_each(|statement| drop(connection.run(statement, &[]).unwrap()));
        connection
    }

    fn put(connection: &Connection, name: &str) {
        let parameters = [name.into(), 1u64.into()];
        connection.run("INSERT INTO outbox VALUES (?1, ?2, 0, 0, 0, 0)", &parameters).unwrap();
    }

    fn count(connection: &Connection) -> Value {
        connection.run(COUNT, &[]).unwrap()[0][0].clone()
    }

    #[test]
    fn a_connection_knows_nothing_of_what_was_written_to_it_before() {
        for _ in 0..3 {
            let connection = Connection::empty();
            assert!(connection.run("SELECT name FROM sqlite_schema WHERE name = 'meta'", &[]).unwrap().is_empty());
            drop(connection);
            let connection = made();
            assert_eq!(count(&connection), Value::Integer(0));
            put(&connection, "a");
            assert_eq!(count(&connection), Value::Integer(1));
        }
    }

    #[test]
    fn two_connections_at_a_time_are_two_databases() {
        let (one, other) = (made(), made());
        put(&one, "a");
        assert_eq!((count(&one), count(&other)), (Value::Integer(1), Value::Integer(0)));
    }

    #[test]
    fn what_is_read_is_what_was_written_last_and_not_rolled_back() {
        let connection = made();
        connection.command("SAVEPOINT", "s0").unwrap();
        for number in 1..4 {
            put(&connection, &number.to_string());
            assert_eq!(count(&connection), Value::Integer(number));
        }
        connection.command("ROLLBACK TO", "s0").unwrap();
        assert_eq!(count(&connection), Value::Integer(0));
    }

    #[test]
    fn a_copy_has_all_the_rows_of_every_table() {
        let connection = made();
        put(&connection, "a");
        let one = connection.content();
        let other = Connection::with(&one).content();
        assert_eq!((one.created, one.tables), (other.created, other.tables));
    }
}
