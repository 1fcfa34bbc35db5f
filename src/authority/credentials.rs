//! Admin credentials and sessions: how they come into being. They are keys, and what else is done to keys is done to
//! them by the same commands; only KV never hears of them, for nobody but the Authority decides about them.

use crate::{
    credential::{AccountRef, Environment, WorkspaceId},
    policy::{Role, Scope, ScopeSet, UnixMillis},
};

use super::{
    accounts,
    admins::refuse_suspended,
    command::{Answer, Failure, NewCredential, NewSession, Work},
    key_rules, keys, mint,
    outbox::KvKey,
    record::{Administration, Session},
    sql::{Sql, SqlError},
};

/// For how long a session works.
pub const SESSION_MS: u64 = 15 * 60 * 1_000;

/// How long after its end a session can still be read.
const SESSION_KEPT_MS: u64 = 24 * 60 * 60 * 1_000;

/// Rows that minting a session removes at most, on top of its own work.
const REMOVED_PER_SESSION: u32 = 8;

/// Issues an admin credential.
pub(super) fn issue<S: Sql>(
    work: &Work<'_, S>,
    account: AccountRef,
    new: &NewCredential,
) -> Result<(Answer, Vec<KvKey>), Failure> {
    let draft = Draft {
        name: new.name.clone(),
        role: new.role,
        session: None,
        scopes: new.scopes.clone().map_or_else(everything, Ok)?,
        workspaces: new.workspaces.clone(),
        not_before: new.not_before,
        expires_at: new.expires_at,
    };
    add(work, account, draft, new.workspaces.as_deref(), "key.issue")
}

/// Mints a session: what is not said of it is as with the credential that mints it.
pub(super) fn mint_session<S: Sql>(
    work: &Work<'_, S>,
    account: AccountRef,
    new: &NewSession,
) -> Result<(Answer, Vec<KvKey>), Failure> {
    let parent = work.admin.record();
    let end = work.now().saturating_add_millis(SESSION_MS);
    let draft = Draft {
        name: None,
        role: new.role.unwrap_or(work.admin.role()),
        session: Some(Session { actor: new.actor.clone(), parent: parent.map(|parent| parent.digest) }),
        scopes: match (&new.scopes, parent) {
            (Some(scopes), _) => scopes.clone(),
            (None, Some(parent)) => parent.scopes.clone(),
            (None, None) => everything()?,
        },
        workspaces: new.workspaces.clone().or_else(|| parent.and_then(|parent| parent.workspaces.clone())),
        not_before: None,
        // It ends with its parent anyway, and should say so.
        expires_at: Some(parent.and_then(|parent| parent.expires_at).map_or(end, |last| last.min(end))),
    };
    forget(work.sql, work.now())?;
    add(work, account, draft, new.workspaces.as_deref(), "session.create")
}

struct Draft {
    name: Option<String>,
    role: Role,
    session: Option<Session>,
    scopes: ScopeSet,
    workspaces: Option<Vec<WorkspaceId>>,
    not_before: Option<UnixMillis>,
    expires_at: Option<UnixMillis>,
}

fn add<S: Sql>(
    work: &Work<'_, S>,
    account: AccountRef,
    draft: Draft,
    named: Option<&[WorkspaceId]>,
    action: &'static str,
) -> Result<(Answer, Vec<KvKey>), Failure> {
    let sql = work.sql;
    let owner = accounts::named(sql, account)?;
    refuse_suspended(&owner)?;
    work.admin.refuse_beyond_own(Some(draft.role), &draft.scopes, draft.workspaces.as_deref())?;
    // Those of a parent were checked with it, and may have been archived since.
    key_rules::refuse_foreign_workspaces(&owner, named)?;
    let mint::New { mut record, text, mint } = mint::mint_new(work, &owner, Environment::Admin)?;
    record.name = draft.name;
    record.scopes = draft.scopes;
    record.not_before = draft.not_before;
    record.expires_at = draft.expires_at;
    record.workspaces = draft.workspaces;
    record.admin = Some(Administration { role: draft.role, session: draft.session });
    keys::insert(sql, &record)?;
    keys::note(sql, work.by(), &record, action, None)?;
    Ok((Answer::Issued { record, text, mint }, Vec::new()))
}

fn everything() -> Result<ScopeSet, SqlError> {
    let all = Scope::parse("*").map_err(|error| SqlError(error.to_string()))?;
    ScopeSet::new([all]).map_err(|error| SqlError(error.to_string()))
}

/// Removes some sessions that ended more than a day ago. The audit keeps that there were.
fn forget(sql: &impl Sql, now: UnixMillis) -> Result<(), SqlError> {
    sql.run(
        "DELETE FROM keys WHERE digest IN
            (SELECT digest FROM keys WHERE parent IS NOT NULL AND expires_at <= ?1 ORDER BY expires_at LIMIT ?2)",
        &[now.as_millis().saturating_sub(SESSION_KEPT_MS).into(), REMOVED_PER_SESSION.into()],
    )?;
    Ok(())
}
