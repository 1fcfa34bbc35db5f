//! Commands: what may change, and what the Authority says to it.
//!
//! A command runs inside one transaction: its preconditions, its change, the feed row and the outbox rows count
//! together or not at all. It is a pure function of the database, its own text, the time and a nonce; a refusal is a
//! value and leaves no trace.

use crate::{
    credential::{AccountRef, Environment, KeyId, KeyText, Peppers, PlanId, SecretKey, WorkspaceId},
    json::quoted,
    planted::planted,
    policy::{Catalogue, Scope, ScopeSet, UnixMillis},
};

pub use super::order::{Order, Precondition};
pub use super::properties::{
    AccountChange, Edit, KeyChange, NewAccount, NewCredential, NewKey, NewRotation, NewSession, OverlapFrom,
    WorkspaceChange,
};
use super::{
    accounts,
    admins::{self, Admin},
    audit::By,
    credentials, feed,
    journal::{self, Kept, Mint, StoredAnswer},
    key_filter::KeyFilter,
    keys, mint,
    outbox::{self, KvKey},
    plans::{self, PlanRecord, PlanState},
    platform,
    record::{AccountRecord, KeyRecord, RevokedAll, WorkspaceRecord},
    revoke_all, rotation,
    sql::{Sql, SqlError},
    workspaces,
};

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
    /// The account with an external id: changed where there is one, created where there is none.
    PutAccount {
        /// The id in the caller's own product.
        external_id: String,
        /// What changes; in a new account, what is not named here is as by default. The name must be.
        change: AccountChange,
    },
    /// An account asks to be active in an environment.
    RequestAccess {
        /// Which account.
        account: AccountRef,
        /// `Live` or `Test`.
        environment: Environment,
        /// What it says to whoever decides.
        note: Option<String>,
    },
    /// A new key.
    IssueKey {
        /// Whose key.
        account: AccountRef,
        /// Its properties.
        key: NewKey,
    },
    /// A new admin credential.
    IssueCredential {
        /// What it administers.
        account: AccountRef,
        /// Its properties.
        credential: NewCredential,
    },
    /// A new session: an admin credential for a short time.
    MintSession {
        /// What it administers.
        account: AccountRef,
        /// Its properties.
        session: NewSession,
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
    /// A successor for a key.
    RotateKey {
        /// Whose key.
        account: AccountRef,
        /// Which key.
        key: KeyId,
        /// The properties of the successor.
        rotation: NewRotation,
    },
    /// The end of a key that has a successor.
    ConfirmRotation {
        /// Whose key.
        account: AccountRef,
        /// The old key.
        key: KeyId,
    },
    /// The end of a successor: the old key goes on.
    CancelRotation {
        /// Whose key.
        account: AccountRef,
        /// The old key.
        key: KeyId,
    },
    /// The end of a key, for good.
    RevokeKey {
        /// Whose key.
        account: AccountRef,
        /// Which key.
        key: KeyId,
    },
    /// The end of all keys that there are now, for good.
    RevokeAllKeys {
        /// Whose keys.
        account: AccountRef,
        /// Of which environments, each once.
        environments: Vec<Environment>,
    },
    /// A plan to revoke the keys that a filter finds now.
    PlanRevocation {
        /// Whose keys.
        account: AccountRef,
        /// Which of them.
        filter: KeyFilter,
    },
    /// The end of all keys of a plan, for good.
    ExecutePlan {
        /// Whose plan.
        account: AccountRef,
        /// Which plan.
        plan: PlanId,
    },
    /// The end of a plan: what it has not revoked yet goes on.
    CancelPlan {
        /// Whose plan.
        account: AccountRef,
        /// Which plan.
        plan: PlanId,
    },
    /// A new workspace.
    CreateWorkspace {
        /// Whose workspace.
        account: AccountRef,
        /// For people to read.
        name: String,
    },
    /// Another name.
    ChangeWorkspace {
        /// Whose workspace.
        account: AccountRef,
        /// Which workspace.
        workspace: WorkspaceId,
        /// What changes.
        change: WorkspaceChange,
    },
    /// The end of a workspace, for good: no key can name it any more.
    ArchiveWorkspace {
        /// Whose workspace.
        account: AccountRef,
        /// Which workspace.
        workspace: WorkspaceId,
    },
    /// Which features are on for every account.
    SetPlatform {
        /// All of them, in order.
        features: Vec<String>,
    },
}

/// What a command brought.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// The account as it is now.
    Account(AccountRecord),
    /// A new account.
    Created(AccountRecord),
    /// The key as it is now.
    Key(Box<KeyRecord>),
    /// The features that are on for every account, as they are now.
    Platform(Vec<String>),
    /// A new key, with the text that nobody will see again.
    Issued {
        /// Its record.
        record: Box<KeyRecord>,
        /// The key itself.
        text: KeyText,
        /// How it was minted.
        mint: Mint,
    },
    /// A new key in place of another.
    Rotated {
        /// Its record.
        record: Box<KeyRecord>,
        /// The key itself.
        text: KeyText,
        /// How it was minted.
        mint: Mint,
        /// The other, as it is now.
        old: Box<KeyRecord>,
    },
    /// A key whose successor was dropped.
    Unrotated {
        /// The key as it is now.
        record: Box<KeyRecord>,
        /// The successor as it is now.
        successor: Box<KeyRecord>,
    },
    /// All keys that there were are revoked.
    AllRevoked {
        /// Whose keys.
        account: AccountRef,
        /// Of which environments.
        environments: Vec<Environment>,
        /// What is so now of all of them.
        revoked_all: RevokedAll,
    },
    /// A new plan.
    Planned(PlanRecord),
    /// The plan as it is now.
    Plan(PlanRecord),
    /// The workspace as it is now.
    Workspace(WorkspaceRecord),
    /// A workspace that there was not before.
    WorkspaceCreated(WorkspaceRecord),
}

/// Why a command was not carried out. Nothing changed.
#[derive(Clone, Debug, PartialEq)]
pub enum Refusal {
    /// The credential is unknown, or no longer works.
    Unauthenticated,
    /// The credential's role does not reach as far.
    InsufficientRole {
        /// What is needed.
        detail: String,
    },
    /// Nobody grants scopes that they do not hold.
    ScopesBeyondOwn {
        /// All that were to be granted.
        wanted: ScopeSet,
        /// Those that are not held.
        missing: Vec<Scope>,
    },
    /// Nobody grants workspaces that they do not hold.
    WorkspacesBeyondOwn {
        /// Those that are not held, in words.
        missing: String,
    },
    /// A value that cannot be, as things are.
    Invalid {
        /// The member or header.
        field: String,
        /// What would be right.
        detail: String,
    },
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
    /// The account has as many workspaces as it may.
    WorkspaceLimitReached,
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
            detail: format!("Another account has the external_id {}; it must be unique.", quoted(external_id)),
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
    /// The deployment's scope catalogue.
    pub catalogue: &'a Catalogue,
    /// For how many days keys may live at most; none = for ever.
    pub max_key_days: Option<u32>,
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
    pub(super) admin: &'a Admin,
}

impl<S: Sql> Work<'_, S> {
    pub(super) fn now(&self) -> UnixMillis {
        self.circumstances.now
    }

    pub(super) fn by(&self) -> By<'_> {
        By { credential: &self.admin.name, actor: self.actor(), now: self.now() }
    }

    /// Who, in the caller's own product: for a session, always the same.
    fn actor(&self) -> Option<&str> {
        self.admin.session().map(|session| session.actor.as_str()).or(self.order.actor.as_deref())
    }

    /// Who is said to have made something new.
    pub(super) fn created_by(&self) -> Option<String> {
        let credential = self.admin.record().map(|record| record.id().to_string());
        self.actor().map(str::to_owned).or(credential)
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
        let Circumstances { slot, now, .. } = *circumstances;
        // Before anything else: who may no longer order it, does not have it answered again either.
        let admin = admins::authorise(sql, slot, order.caller, order.actor.as_deref(), &order.command, now)?;
        if let Some(kept) = journal::find(sql, &admin.name, &order.id, now)?
            && !planted!(RepeatedIsNew)
        {
            return repeat(kept, order, circumstances);
        }
        let work = Work { sql, order, circumstances, admin: &admin };
        // One `?` for all: each would move what they give.
        let done = match &order.command {
            Command::CreateAccount(account) => accounts::create(&work, account),
            Command::ChangeAccount { account, change } => accounts::change(&work, *account, change),
            Command::PutAccount { external_id, change } => accounts::put(&work, external_id, change),
            Command::RequestAccess { account, environment, note } => {
                accounts::request_access(&work, *account, *environment, note.as_deref())
            }
            Command::IssueKey { account, key } => keys::issue(&work, *account, key),
            Command::IssueCredential { account, credential } => credentials::issue(&work, *account, credential),
            Command::MintSession { account, session } => credentials::mint_session(&work, *account, session),
            Command::ChangeKey { account, key, change } => keys::change(&work, *account, *key, change),
            Command::RotateKey { account, key, rotation: new } => rotation::rotate(&work, *account, *key, new),
            Command::ConfirmRotation { account, key } => rotation::confirm(&work, *account, *key),
            Command::CancelRotation { account, key } => rotation::cancel(&work, *account, *key),
            Command::RevokeKey { account, key } => keys::revoke(&work, *account, *key),
            Command::RevokeAllKeys { account, environments } => revoke_all::revoke(&work, *account, environments),
            Command::PlanRevocation { account, filter } => plans::create(&work, *account, filter),
            Command::ExecutePlan { account, plan } => plans::order(&work, *account, *plan, PlanState::Running),
            Command::CancelPlan { account, plan } => plans::order(&work, *account, *plan, PlanState::Cancelled),
            Command::CreateWorkspace { account, name } => workspaces::create(&work, *account, name),
            Command::ChangeWorkspace { account, workspace, change } => {
                workspaces::change(&work, *account, *workspace, change)
            }
            Command::ArchiveWorkspace { account, workspace } => workspaces::archive(&work, *account, *workspace),
            Command::SetPlatform { features } => platform::set(&work, features),
        };
        let (answer, outdated) = done?;
        for kv_key in &outdated {
            outbox::enqueue(sql, kv_key, now)?;
        }
        let rendered = render(&answer);
        let (text, mint) = match answer {
            Answer::Issued { text, mint, .. } | Answer::Rotated { text, mint, .. } => (Some(text), Some(mint)),
            Answer::Account(_)
            | Answer::Created(_)
            | Answer::Key(_)
            | Answer::Unrotated { .. }
            | Answer::AllRevoked { .. }
            | Answer::Planned(_)
            | Answer::Plan(_)
            | Answer::Platform(_)
            | Answer::Workspace(_)
            | Answer::WorkspaceCreated(_) => (None, None),
        };
        let mint = mint.as_ref().map(|mint| (&circumstances.nonce, mint));
        journal::keep(sql, &admin.name, &order.id, &rendered, mint, &outdated, now)?;
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
        Some((nonce, mint)) => Some(mint::mint_again(nonce, &order.id, mint, circumstances.peppers)?),
    };
    let Kept { answer, outdated, mirrored, .. } = kept;
    Ok(Committed { answer, text, outdated, wrote: false, mirrored_before: mirrored })
}
