//! Commands: what may change, and what the Authority says to it.
//!
//! A command runs inside one transaction: its preconditions, its change, the feed row and the outbox rows count
//! together or not at all. It is a pure function of the database, its own text, the time and a nonce; a refusal is a
//! value and leaves no trace.

use crate::{
    credential::{AccountRef, Brand, Environment, KeyId, KeyText, Pepper, SecretKey},
    policy::{AccountStatus, ApiAccess, ScopeSet, UnixMillis},
};

use super::{
    accounts, keys,
    outbox::{self, KvKey},
    record::{AccountRecord, KeyRecord},
    sql::{Sql, SqlError},
};

/// A command with who ordered it.
#[derive(Clone, Debug, PartialEq)]
pub struct Order {
    /// What to do.
    pub command: Command,
    /// Who, in the caller's own product (`X-Keygate-Actor`).
    pub actor: Option<String>,
}

/// Everything that changes accounts and keys.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    /// A new account in this slot.
    CreateAccount(NewAccount),
    /// Another name, status, limit, ….
    ChangeAccount {
        /// Which account.
        account: AccountRef,
        /// What changes.
        change: AccountChange,
    },
    /// A new key.
    IssueKey {
        /// Whose key.
        account: AccountRef,
        /// Its properties.
        key: NewKey,
    },
    /// Another name; disable or enable.
    ChangeKey {
        /// Whose key.
        account: AccountRef,
        /// Which key.
        key: KeyId,
        /// What changes.
        change: KeyChange,
    },
    /// The end of a key, for good.
    RevokeKey {
        /// Whose key.
        account: AccountRef,
        /// Which key.
        key: KeyId,
    },
}

/// The properties of a new account.
#[derive(Clone, Debug, PartialEq)]
pub struct NewAccount {
    /// For people to read.
    pub name: String,
    /// The id in the caller's own product; unique in the slot.
    pub external_id: Option<String>,
    /// What its keys begin with.
    pub brand: Brand,
    /// Keys per environment that are neither revoked nor expired; none = no limit.
    pub max_active_keys: Option<u32>,
    /// Whether keys may be issued and used, per environment.
    pub api_access: ApiAccess,
    /// Features switched on.
    pub features: Vec<String>,
    /// What a key gets that is issued without naming scopes.
    pub default_scopes: ScopeSet,
}

/// A member of a change: left alone, or set.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Edit<T> {
    /// Stays as it is.
    #[default]
    Keep,
    /// Becomes this.
    Set(T),
}

impl<T> Edit<T> {
    /// Puts the new value in place; true if that changed anything.
    pub fn apply(self, place: &mut T) -> bool
    where
        T: PartialEq,
    {
        match self {
            Edit::Set(value) if value != *place => {
                *place = value;
                true
            }
            Edit::Keep | Edit::Set(_) => false,
        }
    }
}

/// What changes in an account.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AccountChange {
    /// For people to read.
    pub name: Edit<String>,
    /// The id in the caller's own product.
    pub external_id: Edit<Option<String>>,
    /// What its keys begin with from now on.
    pub brand: Edit<Brand>,
    /// `Suspended` refuses every key of the account.
    pub status: Edit<AccountStatus>,
    /// The limit on keys; does not touch those that exist.
    pub max_active_keys: Edit<Option<u32>>,
    /// Issuing and using, per environment.
    pub api_access: Edit<ApiAccess>,
    /// Features switched on.
    pub features: Edit<Vec<String>>,
    /// What a key gets that is issued without naming scopes.
    pub default_scopes: Edit<ScopeSet>,
}

/// The properties of a new key.
#[derive(Clone, Debug, PartialEq)]
pub struct NewKey {
    /// For people to read.
    pub name: Option<String>,
    /// `Live` or `Test`.
    pub environment: Environment,
    /// What it may do; none = the account's default scopes.
    pub scopes: Option<ScopeSet>,
    /// Refused before this instant.
    pub not_before: Option<UnixMillis>,
    /// Refused from this instant on.
    pub expires_at: Option<UnixMillis>,
}

/// What changes in a key. Scopes never do.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct KeyChange {
    /// For people to read.
    pub name: Edit<Option<String>>,
    /// True refuses the key until it is enabled again.
    pub disabled: Edit<bool>,
}

/// What a command brought.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// The account as it is now.
    Account(AccountRecord),
    /// The key as it is now.
    Key(KeyRecord),
    /// A new key, with the text that nobody will see again.
    Issued {
        /// Its record.
        record: KeyRecord,
        /// The key itself.
        text: KeyText,
    },
}

/// Why a command was not carried out. Nothing changed.
#[derive(Clone, Debug, PartialEq)]
pub enum Refusal {
    /// No such account, or no such key in that account.
    NotFound,
    /// It contradicts what is there.
    Conflict {
        /// The member of the request that contradicts, if one does.
        field: Option<String>,
        /// What is there, and what would be right.
        detail: String,
    },
    /// The account has as many keys as it may.
    LimitReached {
        /// The limit.
        limit: u32,
        /// The environment it was reached in.
        environment: Environment,
    },
    /// The account is suspended, or not active in that environment.
    AccountInactive {
        /// Which of the two, and what would be right.
        detail: String,
    },
}

/// A command ended without an answer.
#[derive(Clone, Debug, PartialEq)]
pub enum Failure {
    /// The Authority says no.
    Refused(Refusal),
    /// It could not say.
    Trouble(SqlError),
}

impl From<SqlError> for Failure {
    fn from(error: SqlError) -> Self {
        Failure::Trouble(error)
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        Failure::Refused(refusal)
    }
}

/// A committed command.
#[derive(Clone, Debug, PartialEq)]
pub struct Committed {
    /// What it brought.
    pub answer: Answer,
    /// The copies in KV that are now behind.
    pub outdated: Vec<KvKey>,
}

/// What a command may use besides its own text.
pub struct Circumstances<'a> {
    /// The slot this Authority serves.
    pub slot: u8,
    /// Mints keys.
    pub pepper: &'a Pepper,
    /// The time of the command.
    pub now: UnixMillis,
    /// Where what is random in this command comes from.
    pub nonce: Nonce,
}

/// 32 random bytes, drawn for one command. Secrets and account numbers derive from them, so that a command is a pure
/// function of its arguments.
pub struct Nonce(SecretKey);

impl Nonce {
    /// Takes the random bytes.
    ///
    /// # Errors
    /// None: 32 bytes are a good key.
    pub fn new(bytes: [u8; 32]) -> Result<Self, SqlError> {
        SecretKey::new(&bytes).map(Nonce).map_err(|error| SqlError(error.to_string()))
    }

    /// 32 bytes for one purpose, unrelated to those for any other.
    pub(super) fn derive(&self, purpose: &[&[u8]]) -> [u8; 32] {
        self.0.mac(purpose)
    }
}

/// Carries out `order` in one transaction.
///
/// # Errors
/// A refusal, or trouble with SQLite; in both cases the database is as before.
pub fn execute<S: Sql>(sql: &S, order: &Order, circumstances: &Circumstances<'_>) -> Result<Committed, Failure> {
    sql.atomically(|| {
        let actor = order.actor.as_deref();
        let (answer, outdated) = match &order.command {
            Command::CreateAccount(account) => accounts::create(sql, account, actor, circumstances)?,
            Command::ChangeAccount { account, change } => accounts::change(sql, *account, change)?,
            Command::IssueKey { account, key } => keys::issue(sql, *account, key, actor, circumstances)?,
            Command::ChangeKey { account, key, change } => keys::change(sql, *account, *key, change)?,
            Command::RevokeKey { account, key } => keys::revoke(sql, *account, *key, circumstances.now)?,
        };
        for kv_key in &outdated {
            outbox::enqueue(sql, kv_key, outbox::Priority::Command, circumstances.now)?;
        }
        Ok(Committed { answer, outdated })
    })
}
