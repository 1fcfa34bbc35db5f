//! Commands: what may change, and what the Authority says to it.
//!
//! A command runs inside one transaction: its preconditions, its change, the feed row and the outbox rows count
//! together or not at all. It is a pure function of the database, its own text, the time and a nonce; a refusal is a
//! value and leaves no trace.

use crate::{
    credential::{AccountRef, Brand, Environment, KeyId, KeyText, Peppers, SecretKey},
    planted::planted,
    policy::{AccountStatus, ApiAccess, ScopeSet, UnixMillis},
};

use super::{
    accounts,
    audit::By,
    feed,
    journal::{self, CommandId, Kept, Mint, StoredAnswer},
    keys,
    outbox::{self, KvKey},
    record::{AccountRecord, KeyRecord},
    sql::{Sql, SqlError},
};

/// A command with who ordered it, and on what condition.
#[derive(Clone, Debug, PartialEq)]
pub struct Order {
    /// What to do.
    pub command: Command,
    /// What makes a repeated order the same one.
    pub id: CommandId,
    /// The credential that ordered it, by its public name.
    pub credential: &'static str,
    /// Who, in the caller's own product (`X-Keygate-Actor`).
    pub actor: Option<String>,
    /// Which versions of the account or key it is meant for.
    pub precondition: Precondition,
    /// It is answered once it counts everywhere.
    pub wait: bool,
    /// An account of another shard has the external id that it sets.
    pub taken_elsewhere: bool,
}

/// Which versions of an account or key may be changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Precondition {
    /// Whatever it is now.
    #[default]
    Any,
    /// Only one of these.
    Versions(Vec<u64>),
}

impl Precondition {
    /// Refuses another version.
    pub(super) fn check(&self, version: u64) -> Result<(), Refusal> {
        match self {
            Precondition::Versions(wanted) if !wanted.contains(&version) && !planted!(ConditionIgnored) => {
                Err(Refusal::PreconditionFailed { version })
            }
            Precondition::Any | Precondition::Versions(_) => Ok(()),
        }
    }
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
        /// How it was minted.
        mint: Mint,
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
    /// It is no longer what the caller took it for.
    PreconditionFailed {
        /// What it is now.
        version: u64,
    },
    /// Another request has had this command id.
    IdempotencyConflict,
}

impl Refusal {
    /// An external id that another account has, in this shard or another.
    #[must_use]
    pub fn external_id_taken(external_id: &str) -> Self {
        Refusal::Conflict {
            field: Some("external_id".into()),
            detail: format!("Another account has the external_id {external_id:?}; it must be unique."),
        }
    }
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

/// A command that counts, now or since it was ordered before.
#[derive(Clone, Debug, PartialEq)]
pub struct Committed {
    /// What is answered, with placeholders.
    pub answer: StoredAnswer,
    /// The new key's text, where one was issued.
    pub text: Option<KeyText>,
    /// The copies in KV that are now behind.
    pub outdated: Vec<KvKey>,
    /// It was carried out now, and so the database was written; false for a repeated one.
    pub wrote: bool,
    /// For a repeated command, what was answered of KV the first time.
    pub mirrored_before: Option<bool>,
}

/// What a command may use besides its own text.
pub struct Circumstances<'a> {
    /// The slot this Authority serves.
    pub slot: u8,
    /// The first mints keys; both can mint the key of a repeated command again.
    pub peppers: &'a Peppers,
    /// The time of the command.
    pub now: UnixMillis,
    /// 32 random bytes, of this command alone: what is random in it derives from them.
    pub nonce: [u8; 32],
}

/// What a command works with.
pub(super) struct Work<'a, S> {
    pub(super) sql: &'a S,
    pub(super) order: &'a Order,
    pub(super) circumstances: &'a Circumstances<'a>,
}

impl<S: Sql> Work<'_, S> {
    pub(super) fn now(&self) -> UnixMillis {
        self.circumstances.now
    }

    pub(super) fn by(&self) -> By<'_> {
        By { credential: self.order.credential, actor: self.order.actor.as_deref(), now: self.now() }
    }
}

/// 32 bytes for one purpose, unrelated to those for any other, from the nonce of a command.
pub(super) fn derive(nonce: &[u8; 32], purpose: &[&[u8]]) -> Result<[u8; 32], SqlError> {
    let key = SecretKey::new(nonce).map_err(|error| SqlError(error.to_string()))?;
    Ok(key.mac(purpose))
}

/// Carries out `order` in one transaction, or gives again what it brought when it was ordered before. `render` makes
/// the answer that is kept for that.
///
/// # Errors
/// A refusal, or trouble with SQLite; in both cases the database is as before.
pub fn execute<S: Sql>(
    sql: &S,
    order: &Order,
    circumstances: &Circumstances<'_>,
    render: impl FnOnce(&Answer) -> StoredAnswer,
) -> Result<Committed, Failure> {
    let committed: Result<Committed, Failure> = sql.atomically(|| {
        if let Some(kept) = journal::find(sql, order.credential, &order.id, circumstances.now)?
            && !planted!(RepeatedIsNew)
        {
            return repeat(kept, order, circumstances);
        }
        let work = Work { sql, order, circumstances };
        let (answer, outdated) = match &order.command {
            Command::CreateAccount(account) => accounts::create(&work, account)?,
            Command::ChangeAccount { account, change } => accounts::change(&work, *account, change)?,
            Command::IssueKey { account, key } => keys::issue(&work, *account, key)?,
            Command::ChangeKey { account, key, change } => keys::change(&work, *account, *key, change)?,
            Command::RevokeKey { account, key } => keys::revoke(&work, *account, *key)?,
        };
        for kv_key in &outdated {
            outbox::enqueue(sql, kv_key, circumstances.now)?;
        }
        let rendered = render(&answer);
        let (text, mint) = match answer {
            Answer::Issued { text, mint, .. } => (Some(text), Some(mint)),
            Answer::Account(_) | Answer::Key(_) => (None, None),
        };
        let mint = mint.as_ref().map(|mint| (&circumstances.nonce, mint));
        journal::keep(sql, order.credential, &order.id, &rendered, mint, &outdated, circumstances.now)?;
        Ok(Committed { answer: rendered, text, outdated, wrote: true, mirrored_before: None })
    });
    if planted!(FeedOutsideTransaction)
        && let Ok(Committed { outdated, answer, wrote: true, .. }) = &committed
    {
        for kv_key in outdated {
            if let KvKey::Grant(digest) = kv_key {
                feed::record(sql, &feed::FeedSubject::key(digest), answer.version)?;
            }
        }
    }
    committed
}

fn repeat(kept: Kept, order: &Order, circumstances: &Circumstances<'_>) -> Result<Committed, Failure> {
    if !kept.same_request {
        return Err(Refusal::IdempotencyConflict.into());
    }
    let text = match &kept.mint {
        None => None,
        Some((nonce, mint)) => Some(keys::mint_again(nonce, &order.id, mint, circumstances.peppers)?),
    };
    let Kept { answer, outdated, mirrored, .. } = kept;
    Ok(Committed { answer, text, outdated, wrote: false, mirrored_before: mirrored })
}
