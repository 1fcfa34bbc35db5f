//! Databases that cost little to make. A thread keeps its connections from history to history, with the product's tables,
//! with every statement prepared, and with nothing in them: what an instance writes is in a transaction of its own, which is
//! rolled back when the instance is gone. So no connection knows anything of an instance before.

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
    prepared: Vec<(String, Statement<'static>)>,
    by_text: HashMap<String, usize>,
    /// Most texts are constants, which are known again by where they are.
    by_place: HashMap<(usize, usize), usize>,
}

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
        self.database().query(&format!("{verb} {savepoint}"), &[]).map(drop)
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
            // A thread that ends has no use for it.
            let _ = IDLE.try_with(|idle| idle.borrow_mut().push(database));
        }
    }
}

impl Database {
    fn query(&self, text: &str, parameters: &[Value]) -> Result<Vec<Row>, SqlError> {
        let statements = &mut *self.statements.borrow_mut();
        let place = (text.as_ptr().addr(), text.len());
        let known = statements.by_place.get(&place).copied().filter(|at| statements.prepared[*at].0 == text);
        let at = match known.or_else(|| statements.by_text.get(text).copied()) {
            Some(at) => at,
            None => {
                let prepared = self.sqlite.prepare(text).map_err(failed)?;
                statements.prepared.push((text.to_owned(), prepared));
                statements.by_text.insert(text.to_owned(), statements.prepared.len() - 1);
                statements.prepared.len() - 1
            }
        };
        if known.is_none() {
            if statements.by_place.len() > 4_096 {
                statements.by_place.clear();
            }
            statements.by_place.insert(place, at);
        }
        rows::rows(&mut statements.prepared[at].1, parameters)
    }
}

fn open() -> rusqlite::Connection {
    let sqlite = rusqlite::Connection::open_in_memory().unwrap();
    // Else a statement is prepared anew whenever other values are bound to it.
    sqlite.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true).unwrap();
    sqlite.execute_batch("PRAGMA foreign_keys = ON; PRAGMA page_size = 1024").unwrap();
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
        if statement.starts_with("CREATE ") || statement.starts_with("ALTER ") {
            self.statements.borrow_mut().push(statement.to_owned());
        }
        rows::rows(&mut self.sqlite.prepare(statement).map_err(failed)?, parameters)
    }

    fn atomically<T, E: From<SqlError>>(&self, body: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
        body()
    }
}
