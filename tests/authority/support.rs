//! SQLite as the Authority's `Sql`, with the limits of a Durable Object; and a shard to give orders to.

use std::cell::{Cell, RefCell};

use keygate::{
    authority::{
        admins::Caller,
        command::{
            self, Answer, Circumstances, Command, Committed, Failure, NewAccount, NewCredential, NewKey, Order,
            Precondition, Refusal,
        },
        copy::SigningKeys,
        journal::{CommandId, StoredAnswer},
        labels::Labels,
        lease::Terms,
        query::{self, Condition, Found, Query},
        record::{AccountRecord, KeyRecord},
        schema,
        settings::Settings,
        sql::{PARAMETERS_MAX, Row, Sql, SqlError, Value},
        sync::{self, Answered, SyncAnswer, SyncRequest, Want},
    },
    credential::{AccountRef, Brand, Digest, Environment, KeyText, NumberedSecret, Pepper, Peppers},
    policy::{Access, ApiAccess, Catalogue, Fields, Role, ScopeSet, UnixMillis},
};
use rusqlite::{Connection, StatementStatus, limits::Limit};

#[path = "rows.rs"]
mod rows;

pub const EPOCH: &str = "000102030405060708090a0b0c0d0e0f";

/// SQLite in memory. It can be told to fail at the n-th statement from now.
pub struct Sqlite {
    connection: Connection,
    depth: Cell<u32>,
    fail_after: Cell<Option<u32>>,
    pub statements: RefCell<Vec<String>>,
    steps: Cell<i64>,
}

impl Sqlite {
    pub fn new() -> Self {
        let connection = Connection::open_in_memory().unwrap();
        // What Cloudflare sets on a Durable Object's database (Durable Objects, SQLite limits).
        for (limit, value) in [
            (Limit::SQLITE_LIMIT_LENGTH, 2_000_000),
            (Limit::SQLITE_LIMIT_SQL_LENGTH, 100_000),
            (Limit::SQLITE_LIMIT_COLUMN, 100),
            (Limit::SQLITE_LIMIT_EXPR_DEPTH, 100),
            (Limit::SQLITE_LIMIT_COMPOUND_SELECT, 5),
            (Limit::SQLITE_LIMIT_VARIABLE_NUMBER, 100),
            (Limit::SQLITE_LIMIT_LIKE_PATTERN_LENGTH, 50),
        ] {
            connection.set_limit(limit, value).unwrap();
        }
        connection.execute_batch("PRAGMA foreign_keys = ON").unwrap();
        let (depth, fail_after, steps) = (Cell::new(0), Cell::new(None), Cell::new(0));
        Sqlite { connection, depth, fail_after, statements: RefCell::default(), steps }
    }

    /// The database that these statements make.
    pub fn of(statements: &str) -> Self {
        let sqlite = Sqlite::new();
        sqlite.connection.execute_batch(statements).unwrap();
        sqlite
    }

    /// The same database, opened anew: what another instance finds.
    pub fn reopened(&mut self) -> Self {
        let image = self.connection.serialize(rusqlite::MAIN_DB).unwrap();
        let mut sqlite = Sqlite::new();
        sqlite.connection.deserialize_read_exact(rusqlite::MAIN_DB, &image[..], image.len(), false).unwrap();
        sqlite
    }

    /// Fails the statement after the next `statements` ones; None = never.
    pub fn fail_after(&self, statements: Option<u32>) {
        self.fail_after.set(statements);
    }

    /// How many rows were written, indexes apart.
    pub fn changes(&self) -> u64 {
        self.connection.total_changes()
    }

    /// How many steps of SQLite's machine all statements took.
    pub fn steps(&self) -> i64 {
        self.steps.get()
    }

    /// Everything in the database, as text.
    pub fn dump(&self) -> String {
        let tables = self.rows("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name", &[]).unwrap();
        let mut dump = String::new();
        for table in tables {
            let Value::Text(name) = &table[0] else { panic!("a table without a name") };
            dump.push_str(&format!("{name}: {:?}\n", self.rows(&format!("SELECT * FROM {name}"), &[]).unwrap()));
        }
        dump
    }

    fn rows(&self, statement: &str, parameters: &[Value]) -> Result<Vec<Row>, SqlError> {
        assert!(parameters.len() <= PARAMETERS_MAX);
        let failed = |error: rusqlite::Error| SqlError(error.to_string());
        let mut prepared = self.connection.prepare_cached(statement).map_err(failed)?;
        assert!(!statement.contains("PRAGMA"), "a Durable Object refuses PRAGMA");
        let rows = rows::rows(&mut prepared, parameters);
        self.steps.set(self.steps.get() + i64::from(prepared.reset_status(StatementStatus::VmStep)));
        rows
    }
}

impl Sql for Sqlite {
    fn run(&self, statement: &str, parameters: &[Value]) -> Result<Vec<Row>, SqlError> {
        if let Some(left) = self.fail_after.get() {
            if left == 0 {
                return Err(SqlError("failed on purpose".into()));
            }
            self.fail_after.set(Some(left - 1));
        }
        self.statements.borrow_mut().push(statement.to_owned());
        self.rows(statement, parameters)
    }

    fn atomically<T, E: From<SqlError>>(&self, body: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
        let savepoint = format!("s{}", self.depth.get());
        let run = |statement: String| {
            self.connection.execute_batch(&statement).map_err(|error| E::from(SqlError(error.to_string())))
        };
        run(format!("SAVEPOINT {savepoint}"))?;
        self.depth.set(self.depth.get() + 1);
        let result = body();
        self.depth.set(self.depth.get() - 1);
        if result.is_err() {
            run(format!("ROLLBACK TO {savepoint}"))?;
        }
        run(format!("RELEASE {savepoint}"))?;
        result
    }
}

/// What a command brought: its answer, if it was carried out now, and what the caller gets.
#[derive(Debug)]
pub struct Executed {
    pub answer: Option<Answer>,
    pub committed: Committed,
}

pub fn pepper(id: u8) -> Pepper {
    Pepper::parse(&format!("{id}:{}", format!("{id}{id}").repeat(32))).unwrap()
}

/// One shard with its own clock and its own randomness.
pub struct Shard {
    pub sql: Sqlite,
    pub peppers: Peppers,
    pub signing: SigningKeys,
    /// The deployment's scope catalogue.
    pub catalogue: Catalogue,
    pub now: Cell<u64>,
    /// The longest life of keys that the deployment allows.
    pub max_key_days: Cell<Option<u32>>,
    /// What is kept with the answers to commands.
    pub effective_at: Cell<Option<UnixMillis>>,
    nonces: Cell<u64>,
}

pub const SLOT: u8 = 3;

impl Shard {
    pub fn new() -> Self {
        Shard::on(Sqlite::new())
    }

    /// A shard that finds this database.
    pub fn on(sql: Sqlite) -> Self {
        schema::migrate(&sql, EPOCH).unwrap();
        Shard {
            sql,
            peppers: Peppers::new(pepper(1), None).unwrap(),
            signing: signing(),
            catalogue: Catalogue::default(),
            now: Cell::new(1_800_000_000_000),
            max_key_days: Cell::new(None),
            effective_at: Cell::new(None),
            nonces: Cell::new(0),
        }
    }

    pub fn now(&self) -> UnixMillis {
        UnixMillis::from_millis(self.now.get())
    }

    pub fn advance(&self, millis: u64) {
        self.now.set(self.now.get() + millis);
    }

    /// Carries out a command, each with a nonce and an id of its own.
    pub fn execute(&self, command: Command) -> Result<Executed, Failure> {
        self.order(self.order_of(command))
    }

    /// An order with an id that no other has.
    pub fn order_of(&self, command: Command) -> Order {
        let id = CommandId::new(&format!("command {}", self.nonces.get()), true, &[format!("{command:?}").as_bytes()]);
        Order {
            command,
            id,
            caller: Caller::Root,
            actor: Some("u-1".into()),
            precondition: Precondition::Any,
            wait: false,
            taken_elsewhere: false,
        }
    }

    pub fn order(&self, order: Order) -> Result<Executed, Failure> {
        self.nonces.set(self.nonces.get() + 1);
        let mut nonce = [7; 32];
        nonce[..8].copy_from_slice(&self.nonces.get().to_be_bytes());
        let circumstances = Circumstances {
            slot: SLOT,
            peppers: &self.peppers,
            catalogue: &self.catalogue,
            max_key_days: self.max_key_days.get(),
            now: self.now(),
            nonce,
        };
        let mut seen = None;
        let committed = command::execute(&self.sql, &order, &circumstances, |answer| {
            seen = Some(answer.clone());
            StoredAnswer {
                status: 200,
                version: 1,
                body: format!("answer to {}", self.nonces.get()),
                effective_at: self.effective_at.get(),
            }
        })?;
        Ok(Executed { answer: seen, committed })
    }

    pub fn refused(&self, command: Command) -> Refusal {
        match self.execute(command) {
            Err(Failure::Refused(refusal)) => refusal,
            other => panic!("not refused: {other:?}"),
        }
    }

    pub fn account(&self, new: NewAccount) -> AccountRecord {
        match self.execute(Command::CreateAccount(new)).unwrap().answer.unwrap() {
            Answer::Created(record) => record,
            other => panic!("no account: {other:?}"),
        }
    }

    pub fn issue(&self, account: AccountRef, key: NewKey) -> (KeyRecord, KeyText) {
        self.issued(Command::IssueKey { account, key })
    }

    pub fn issue_credential(&self, account: AccountRef, credential: NewCredential) -> (KeyRecord, KeyText) {
        self.issued(Command::IssueCredential { account, credential })
    }

    fn issued(&self, command: Command) -> (KeyRecord, KeyText) {
        match self.execute(command).unwrap().answer.unwrap() {
            Answer::Issued { record, text, .. } => (*record, text),
            other => panic!("no key: {other:?}"),
        }
    }

    pub fn key(&self, command: Command) -> KeyRecord {
        match self.execute(command).unwrap().answer.unwrap() {
            Answer::Key(record) => *record,
            other => panic!("no key: {other:?}"),
        }
    }

    pub fn ask(&self, query: Query) -> Option<Found> {
        query::answer(&self.sql, SLOT, &query, self.now()).unwrap()
    }

    pub fn condition(&self) -> Condition {
        query::condition(&self.sql).unwrap()
    }

    /// Answers a sync. Should it show that the database was set back, a new epoch is drawn.
    pub fn sync(&self, request: &SyncRequest, granted: Terms) -> Answered {
        self.nonces.set(self.nonces.get() + 1);
        let epoch = format!("{:032x}", self.nonces.get());
        sync::answer(&self.sql, &self.signing, SLOT, request, granted, &epoch).unwrap()
    }

    /// The signed copies of a key and an account, as they are now.
    pub fn copies(&self, digest: &Digest, account: AccountRef) -> (Option<String>, Option<String>) {
        let want = Want { digest: *digest, account: account.number, refresh: false };
        let request = SyncRequest { wants: vec![want], ..SyncRequest::default() };
        let text = self.sync(&request, Terms { lease_ms: 0, grace_ms: 0 }).text;
        let answer = SyncAnswer::parse(&text).unwrap();
        let [(about, grant)] = answer.grants[..] else { panic!("{text}") };
        let [(whose, account)] = answer.accounts[..] else { panic!("{text}") };
        assert_eq!((about, whose), (*digest, want.account));
        (grant.map(str::to_owned), account.map(str::to_owned))
    }

    /// The numbers of one row, such as the counters of `meta`.
    pub fn numbers(&self, statement: &str) -> Vec<i64> {
        let rows = self.sql.run(statement, &[]).unwrap();
        let number = |value: &Value| match value {
            Value::Integer(number) => *number,
            other => panic!("no number: {other:?}"),
        };
        rows.iter().flatten().map(number).collect()
    }
}

pub fn signing() -> SigningKeys {
    SigningKeys::new(NumberedSecret::parse(&format!("2:{}", "22".repeat(32))).unwrap(), None).unwrap()
}

pub fn new_account(name: &str) -> NewAccount {
    NewAccount {
        name: name.into(),
        external_id: None,
        brand: Brand::default(),
        max_active_keys: None,
        api_access: ApiAccess { live: Access::Active, test: Access::Active },
        features: Vec::new(),
        default_scopes: ScopeSet::parse(["contacts:read"]).unwrap(),
        settings: Settings::default(),
    }
}

pub fn new_credential(role: Role) -> NewCredential {
    NewCredential { name: None, role, scopes: None, workspaces: None, not_before: None, expires_at: None }
}

pub fn new_key() -> NewKey {
    NewKey {
        name: Some("deploy".into()),
        environment: Environment::Live,
        scopes: None,
        access_level: None,
        not_before: None,
        expires_at: None,
        workspaces: None,
        fields: Fields::default(),
        allowed_ips: None,
        labels: Labels::default(),
    }
}
