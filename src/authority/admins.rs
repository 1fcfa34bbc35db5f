//! Who may administer what.
//!
//! The operator holds the root token, a secret of the deployment: no record, so no command can take it away. Everybody
//! else who administers holds an admin credential, a key with a role, which belongs to one account. It is looked up in
//! the same turn, and for a command in the same transaction, as what it asks for is done; so one that was revoked fails
//! at its next call, and even a repeated command is not answered to it any more.
//!
//! What needs which role stands in [`need`] and [`need_of`], and nowhere else. Beyond its role, nobody grants what they
//! do not hold: [`Admin::refuse_beyond_own`].

use crate::{
    credential::{AccountRef, Digest, Environment, KeyId, WorkspaceId, joined},
    json::quoted,
    planted::planted,
    policy::{AccountStatus, EffectiveStatus, Role, Scope, ScopeSet, UnixMillis},
};

use super::{
    accounts,
    command::{AccountChange, Command, Edit, Failure, Refusal},
    key_rules, keys,
    query::{self, Found, Query},
    record::{AccountRecord, Administration, KeyRecord, Session},
    settings::SettingsChange,
    sql::Sql,
};

/// Whose request it is. What the credential may do, the Authority looks up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Caller {
    /// The operator, by the root token.
    Root,
    /// The holder of the admin credential with this digest, which was minted here: its MAC was right.
    Credential(Digest),
    /// The holder of the API key with this digest, which a cache has just asked the Authority about. It administers nothing
    /// but its own rotation.
    Holder(Digest),
}

impl Caller {
    /// The public name: `root`, or the credential's id.
    #[must_use]
    pub fn name(&self) -> String {
        match self {
            Caller::Root => ROOT.to_owned(),
            Caller::Credential(digest) | Caller::Holder(digest) => KeyId::of(digest).to_string(),
        }
    }

    /// How the Worker tells the Authority.
    #[must_use]
    pub fn text(&self) -> String {
        match self {
            Caller::Root => ROOT.to_owned(),
            Caller::Credential(digest) => digest.to_hex(),
            Caller::Holder(digest) => format!("{HOLDER}{}", digest.to_hex()),
        }
    }

    /// Reads what [`Caller::text`] writes.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        if text == ROOT {
            return Some(Caller::Root);
        }
        match text.strip_prefix(HOLDER) {
            Some(digest) => Digest::parse_hex(digest).map(Caller::Holder),
            None => Digest::parse_hex(text).map(Caller::Credential),
        }
    }
}

const ROOT: &str = "root";
const HOLDER: &str = "holder ";

/// Answers `query`, if the caller may ask it. `actor` is who asks, in the caller's own product.
///
/// # Errors
/// A refusal, or trouble with SQLite.
pub fn ask(
    sql: &impl Sql,
    slot: u8,
    caller: Caller,
    actor: Option<&str>,
    query: &Query,
    now: UnixMillis,
) -> Result<Option<Found>, Failure> {
    let admin = authenticate(sql, slot, caller, now)?;
    if let Caller::Holder(_) = caller {
        return Err(Refusal::NotFound.into());
    }
    admin.refuse_other_actor(actor)?;
    admin.refuse_without(need_of(query))?;
    Ok(query::answer(sql, slot, query, now)?)
}

/// Whether the caller administers anything at all: who does not is told nothing else, not even what is wrong with the
/// request.
///
/// # Errors
/// A refusal, or trouble with SQLite.
pub fn check(sql: &impl Sql, slot: u8, caller: Caller, now: UnixMillis) -> Result<(), Failure> {
    authenticate(sql, slot, caller, now).map(|_| ())
}

/// Who orders `command`, if they may.
pub(super) fn authorise(
    sql: &impl Sql,
    slot: u8,
    caller: Caller,
    actor: Option<&str>,
    command: &Command,
    now: UnixMillis,
) -> Result<Admin, Failure> {
    let admin = authenticate(sql, slot, caller, now)?;
    if let Caller::Holder(digest) = caller {
        return match command {
            Command::RotateKey { key, .. } if *key == KeyId::of(&digest) => Ok(admin),
            _ => Err(Refusal::NotFound.into()),
        };
    }
    admin.refuse_other_actor(actor)?;
    admin.refuse_without(need(command))?;
    if let Command::ChangeAccount { change, .. } = command {
        // Others issue keys with these, without naming scopes.
        if let Edit::Set(scopes) = &change.default_scopes {
            admin.refuse_scopes_beyond_own(scopes)?;
        }
        if let Edit::Set(levels) = &change.settings.access_levels {
            levels.iter().try_for_each(|level| admin.refuse_scopes_beyond_own(&level.scopes))?;
        }
    }
    Ok(admin)
}

/// Somebody who administers, as the database has it in this turn.
#[derive(Debug)]
pub(super) struct Admin {
    /// By the public name of the credential.
    pub(super) name: String,
    /// The credential; none = the operator, who holds everything.
    held: Option<(KeyRecord, Administration)>,
}

impl Admin {
    /// The role; operators count as admins of every account.
    pub(super) fn role(&self) -> Role {
        self.held.as_ref().map_or(Role::Admin, |(_, held)| held.role)
    }

    /// The credential's record; none = the operator.
    pub(super) fn record(&self) -> Option<&KeyRecord> {
        self.held.as_ref().map(|(record, _)| record)
    }

    /// The session, where the credential is one.
    pub(super) fn session(&self) -> Option<&Session> {
        self.held.as_ref().and_then(|(_, held)| held.session.as_ref())
    }

    /// Refuses a role, scopes or workspaces that this one does not hold. No workspaces = all.
    pub(super) fn refuse_beyond_own(
        &self,
        role: Option<Role>,
        scopes: &ScopeSet,
        workspaces: Option<&[WorkspaceId]>,
    ) -> Result<(), Refusal> {
        if role.is_some_and(|role| role > self.role()) {
            return Err(Refusal::InsufficientRole {
                detail: format!("A {} cannot grant a role beyond their own.", self.role().as_str()),
            });
        }
        self.refuse_scopes_beyond_own(scopes)?;
        let Some(own) = self.record().and_then(|record| record.workspaces.as_ref()) else { return Ok(()) };
        let missing = match workspaces {
            None => "all workspaces, unless some are named".to_owned(),
            Some(named) => {
                let foreign = named.iter().filter(|id| !own.contains(id)).map(ToString::to_string);
                joined(foreign, ", ")
            }
        };
        if missing.is_empty() { Ok(()) } else { Err(Refusal::WorkspacesBeyondOwn { missing }) }
    }

    fn refuse_scopes_beyond_own(&self, scopes: &ScopeSet) -> Result<(), Refusal> {
        let Some(record) = self.record() else { return Ok(()) };
        let missing: Vec<Scope> = record.scopes.missing(scopes.as_slice()).into_iter().cloned().collect();
        if missing.is_empty() {
            return Ok(());
        }
        Err(Refusal::ScopesBeyondOwn { wanted: scopes.clone(), missing })
    }

    /// A session acts for one actor, whoever holds it.
    fn refuse_other_actor(&self, actor: Option<&str>) -> Result<(), Refusal> {
        match (self.session(), actor) {
            (Some(session), Some(actor)) if session.actor != actor => Err(Refusal::Invalid {
                field: "X-Keygate-Actor".into(),
                detail: format!(
                    "This session acts for {}; leave X-Keygate-Actor out, or say the same.",
                    quoted(&session.actor)
                ),
            }),
            _ => Ok(()),
        }
    }

    fn refuse_without(&self, need: Need) -> Result<(), Refusal> {
        let Some((record, held)) = &self.held else { return Ok(()) };
        // First of all: another's account is as unknown as none.
        if need.account.is_some_and(|account| account != record.account) {
            return Err(Refusal::NotFound);
        }
        let needed = match need.level {
            Level::Role(role) if held.role >= role => None,
            Level::Role(role) => Some(format!("the role {}", role.as_str())),
            Level::Lasting(role) if held.role >= role && held.session.is_none() => None,
            Level::Lasting(role) => Some(format!("the role {} of a credential that is no session", role.as_str())),
            Level::Operator(what) => Some(format!("the operator's root token{what}")),
        };
        let Some(needed) = needed else { return Ok(()) };
        let session = if held.session.is_some() { ", in a session" } else { "" };
        Err(Refusal::InsufficientRole {
            detail: format!("This needs {needed}; this credential has the role {}{session}.", held.role.as_str()),
        })
    }
}

/// What a command or a question needs.
struct Need {
    /// The account that it is about.
    account: Option<AccountRef>,
    level: Level,
}

enum Level {
    /// This role or a greater one.
    Role(Role),
    /// The same, and no session: what it brings would outlive one.
    Lasting(Role),
    /// The root token. Which member of the request asks for that, in words.
    Operator(String),
}

impl Level {
    fn operator() -> Self {
        Level::Operator(String::new())
    }
}

/// What each command needs.
fn need(command: &Command) -> Need {
    let (account, level) = match command {
        Command::CreateAccount(_) | Command::PutAccount { .. } | Command::SetPlatform { .. } => {
            (None, Level::operator())
        }
        Command::ChangeAccount { account, change } => (Some(*account), need_of_change(change)),
        Command::RequestAccess { account, .. }
        | Command::IssueKey { account, .. }
        | Command::ChangeKey { account, .. }
        | Command::RotateKey { account, .. }
        | Command::ConfirmRotation { account, .. }
        | Command::CancelRotation { account, .. }
        | Command::RevokeKey { account, .. }
        | Command::RevokeAllKeys { account, .. }
        | Command::PlanRevocation { account, .. }
        | Command::ExecutePlan { account, .. }
        | Command::CancelPlan { account, .. }
        | Command::CreateWorkspace { account, .. }
        | Command::ChangeWorkspace { account, .. }
        | Command::ArchiveWorkspace { account, .. } => (Some(*account), Level::Role(Role::Admin)),
        Command::IssueCredential { account, .. } => (Some(*account), Level::Lasting(Role::Admin)),
        Command::MintSession { account, .. } => (Some(*account), Level::Lasting(Role::Viewer)),
    };
    Need { account, level }
}

/// Which members of an account its own admins may change. Each is named, so that a new one is decided about.
fn need_of_change(change: &AccountChange) -> Level {
    let AccountChange {
        name: _,
        default_scopes: _,
        external_id,
        brand,
        status,
        max_active_keys,
        api_access,
        features,
        settings,
    } = change;
    let SettingsChange {
        name_policy: _,
        access_levels: _,
        access_level_required: _,
        explain_refusals: _,
        max_key_days: _,
        rotation_days: _,
        holders_may_rotate: _,
        catalogue,
        plan,
    } = settings;
    let operators = [
        ("external_id", external_id.is_set()),
        ("brand", brand.is_set()),
        ("status", status.is_set()),
        ("max_active_keys", max_active_keys.is_set()),
        ("api_access", api_access.is_set()),
        ("features", features.is_set()),
        ("scopes", catalogue.is_set()),
        ("plan", plan.is_set()),
    ];
    match operators.iter().find(|(_, is_set)| *is_set) {
        Some((name, _)) => Level::Operator(format!(" to set {name}")),
        None => Level::Role(Role::Admin),
    }
}

/// What each question needs.
fn need_of(query: &Query) -> Need {
    let (account, level) = match query {
        Query::Accounts(..) | Query::Platform => (None, Level::operator()),
        Query::Account(account)
        | Query::Key(account, _)
        | Query::Usage(account, ..)
        | Query::KeyByDigest(account, _)
        | Query::Keys(account, ..)
        | Query::Plan(account, _)
        | Query::Plans(account, _)
        | Query::PlanKeys(account, ..)
        | Query::StaleKeys(account, _)
        | Query::Scopes(account)
        | Query::Workspace(account, _)
        | Query::Workspaces(account, ..)
        | Query::Audit(account, ..) => (Some(*account), Level::Role(Role::Viewer)),
    };
    Need { account, level }
}

fn authenticate(sql: &impl Sql, slot: u8, caller: Caller, now: UnixMillis) -> Result<Admin, Failure> {
    let name = caller.name();
    let digest = match caller {
        Caller::Root => return Ok(Admin { name, held: None }),
        Caller::Holder(digest) => return holder(sql, slot, &digest, name, now),
        Caller::Credential(digest) => digest,
    };
    let unknown = || Refusal::Unauthenticated;
    let record = keys::get_by_digest_alone(sql, slot, &digest)?.ok_or_else(unknown)?;
    let owner = accounts::get(sql, record.account)?.ok_or_else(unknown)?;
    let held = record.admin.clone().filter(|_| works(&record, now)).ok_or_else(unknown)?;
    if let Some(Session { parent: Some(parent), .. }) = &held.session {
        let parent = keys::get_by_digest(sql, record.account, parent)?.ok_or_else(unknown)?;
        if !works(&parent, now) {
            return Err(unknown().into());
        }
    }
    refuse_suspended(&owner)?;
    Ok(Admin { name, held: Some((record, held)) })
}

/// The holder of an API key that works now, where its account lets holders rotate: they grant what they hold, and nothing
/// else.
fn holder(sql: &impl Sql, slot: u8, digest: &Digest, name: String, now: UnixMillis) -> Result<Admin, Failure> {
    let unknown = || Refusal::Unauthenticated;
    let record = keys::get_by_digest_alone(sql, slot, digest)?.ok_or_else(unknown)?;
    let is_active = record.status_at(now) == EffectiveStatus::Active;
    if record.environment == Environment::Admin || !is_active {
        return Err(unknown().into());
    }
    let owner = accounts::get(sql, record.account)?.ok_or_else(unknown)?;
    key_rules::refuse_inactive(&owner, record.environment)?;
    if !owner.settings.holders_may_rotate {
        let detail = "The account does not let holders rotate their keys; its administrators can set holders_may_rotate, \
                      or rotate the key themselves.";
        return Err(Refusal::InsufficientRole { detail: detail.into() }.into());
    }
    Ok(Admin { name, held: Some((record, Administration { role: Role::Viewer, session: None })) })
}

/// A record is read with the revocation of all credentials at once already in its status.
fn works(record: &KeyRecord, now: UnixMillis) -> bool {
    let is_active = record.status_at(now) == EffectiveStatus::Active || planted!(RevokedCredentialWorks);
    record.environment == Environment::Admin && is_active
}

/// Refuses what a suspended account may not do, which is everything.
pub(super) fn refuse_suspended(owner: &AccountRecord) -> Result<(), Refusal> {
    match owner.status {
        AccountStatus::Active => Ok(()),
        AccountStatus::Suspended => Err(Refusal::AccountInactive {
            detail: "The account is suspended; an operator must set its status to \"active\" first.".into(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_caller_has_one_text_and_a_name_that_is_not_the_digest() {
        let digest = Digest::from_bytes([0xab; 24]);
        for caller in [Caller::Root, Caller::Credential(digest), Caller::Holder(digest)] {
            assert_eq!(Caller::parse(&caller.text()), Some(caller));
        }
        assert_eq!(Caller::Root.name(), "root");
        assert_eq!(Caller::Credential(digest).name(), "key_abababababababababab");
        for text in ["", "Root", "root ", "ab", &"AB".repeat(24)] {
            assert_eq!(Caller::parse(text), None, "{text}");
        }
    }
}
