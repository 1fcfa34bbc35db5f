//! SQLite as the runtime offers it to an object: in memory, with everything that was written kept in a list of flushes,
//! so that it can be had again as of any of them.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
};

use keygate::authority::sql::{Row, Sql, SqlError, Value};

use super::connection::{Connection, Content};

/// Something that becomes durable together with the rest of its turn, or is lost with it.
#[derive(Clone, Debug)]
pub enum Write {
    Statement(String, Vec<Value>),
    /// When the alarm is to ring, in milliseconds of the epoch; none = it has rung.
    Alarm(Option<u64>),
}

/// What one turn wrote.
#[derive(Clone, Debug)]
pub struct Flush {
    pub writes: Vec<Write>,
}

/// What a shard's storage has been told, in order.
#[derive(Default)]
pub struct Disk {
    pub flushes: Vec<Flush>,
    /// So many of them are durable.
    pub durable: usize,
    /// The database as of some of them, so that it need not be written anew from the first on.
    images: Vec<(usize, Rc<Content>)>,
}

impl Disk {
    /// The database as of everything it has been told.
    pub fn open(&mut self) -> Sqlite {
        self.images.retain(|(flushes, _)| *flushes <= self.flushes.len());
        let (written, sqlite) = match self.images.last() {
            Some((flushes, content)) => (*flushes, Sqlite::with(Connection::with(content))),
            None => (0, Sqlite::with(Connection::empty())),
        };
        for write in self.flushes[written..].iter().flat_map(|flush| &flush.writes) {
            if let Write::Statement(statement, parameters) = write {
                sqlite.rows(statement, parameters).unwrap();
            }
        }
        sqlite
    }

    /// Remembers what `sqlite` is now, as of everything this has been told.
    pub fn remember(&mut self, sqlite: &Sqlite) {
        if let Some(connection) = &sqlite.connection {
            self.images.push((self.flushes.len(), Rc::new(connection.content())));
        }
    }

    /// When the alarm is to ring.
    pub fn alarm(&self) -> Option<u64> {
        let writes = self.flushes.iter().rev().flat_map(|flush| flush.writes.iter().rev());
        writes
            .filter_map(|write| match write {
                Write::Alarm(at) => Some(*at),
                Write::Statement(..) => None,
            })
            .next()
            .flatten()
    }
}

/// One instance's connection.
#[derive(Default)]
pub struct Sqlite {
    /// None = the instance is gone.
    connection: Option<Connection>,
    depth: Cell<u32>,
    /// The instance dies at the statement after the next so many.
    dies_after: Cell<Option<u32>>,
    dead: Cell<bool>,
    log: RefCell<Vec<Write>>,
}

impl Sqlite {
    fn with(connection: Connection) -> Self {
        Sqlite { connection: Some(connection), ..Sqlite::default() }
    }

    /// The instance dies in the middle of its next turn, if that has more statements than this.
    pub fn die_after(&self, statements: Option<u32>) {
        self.dies_after.set(statements);
    }

    pub fn is_dead(&self) -> bool {
        self.dead.get()
    }

    /// Notes an alarm among what is written.
    pub fn set_alarm(&self, at: Option<u64>) {
        self.log.borrow_mut().push(Write::Alarm(at));
    }

    /// What was written since this was asked last.
    pub fn take_log(&self) -> Vec<Write> {
        self.log.take()
    }

    /// Reads without being a statement of the product's.
    pub fn look(&self, statement: &str) -> Vec<Row> {
        self.rows(statement, &[]).unwrap()
    }

    /// The number in the only row and column of a result.
    pub fn number(&self, statement: &str) -> u64 {
        match &self.look(statement)[0][0] {
            Value::Integer(number) => *number as u64,
            _ => 0,
        }
    }

    fn rows(&self, statement: &str, parameters: &[Value]) -> Result<Vec<Row>, SqlError> {
        self.connection()?.run(statement, parameters)
    }

    fn connection(&self) -> Result<&Connection, SqlError> {
        self.connection.as_ref().ok_or_else(|| SqlError("the instance is gone".into()))
    }
}

impl Sql for Sqlite {
    fn run(&self, statement: &str, parameters: &[Value]) -> Result<Vec<Row>, SqlError> {
        if self.dies_after.get() == Some(0) {
            self.dead.set(true);
        }
        if self.dead.get() {
            return Err(SqlError("the instance is dead".into()));
        }
        self.dies_after.set(self.dies_after.get().map(|left| left - 1));
        let rows = self.rows(statement, parameters)?;
        let word = statement.trim_start().split(' ').next().unwrap_or_default();
        // A statement that changes no row is no write, and closes no gate.
        let wrote = match word {
            "SELECT" => false,
            "CREATE" | "ALTER" => true,
            _ => self.connection()?.changed(),
        };
        if wrote {
            self.log.borrow_mut().push(Write::Statement(statement.to_owned(), parameters.to_vec()));
        }
        Ok(rows)
    }

    fn atomically<T, E: From<SqlError>>(&self, body: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
        let connection = self.connection()?;
        let savepoint = format!("s{}", self.depth.get());
        let created = connection.created();
        connection.command("SAVEPOINT", &savepoint)?;
        self.depth.set(self.depth.get() + 1);
        let written = self.log.borrow().len();
        let result = body();
        self.depth.set(self.depth.get() - 1);
        if result.is_err() {
            self.log.borrow_mut().truncate(written);
            connection.command("ROLLBACK TO", &savepoint)?;
            connection.only_created(created);
        }
        connection.command("RELEASE", &savepoint)?;
        result
    }
}
