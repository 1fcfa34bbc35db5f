//! What an account demands of its keys: their names and number, where their scopes come from, and what they are limited to.

use crate::{
    credential::{Environment, WorkspaceId},
    json::quoted,
    policy::{Access, AccountFault, Catalogue, DAY_MS, Fields, FieldsError, ScopeSet, UnixMillis},
};

use super::{
    command::{Failure, NewKey, Refusal, Work},
    record::AccountRecord,
    settings::{NamePolicy, unknown_scope},
    sql::{Sql, SqlError, Value, only},
};

/// The scopes of a new key: those that were asked for, or else those of its access level, or else the account's defaults.
pub(super) fn scopes_of(new: &NewKey, owner: &AccountRecord, deployment: &Catalogue) -> Result<ScopeSet, Refusal> {
    let levels = &owner.settings.access_levels;
    let level = match &new.access_level {
        None if owner.settings.access_level_required => {
            return Err(refused("access_level", format!("access_level is missing; {levels}.")));
        }
        None => None,
        Some(name) => match levels.get(name) {
            Some(level) => Some(level),
            None => {
                return Err(refused("access_level", format!("There is no access level {}; {levels}.", quoted(name))));
            }
        },
    };
    let (scopes, field, place) = match (&new.scopes, level) {
        (Some(scopes), _) => (scopes, "scopes", "scopes"),
        (None, Some(level)) => (&level.scopes, "access_level", "access_level"),
        (None, None) => (&owner.default_scopes, "scopes", "the account's default_scopes"),
    };
    let catalogue = owner.settings.catalogue_or(deployment);
    catalogue.check(scopes).map_err(|unknown| unknown_scope(field, place, &unknown))?;
    Ok(scopes.clone())
}

/// When a key of `owner` ends that is issued now and is to end at `wanted`: where a longest life is set, and nothing is
/// wanted, at its end.
pub(super) fn end_of<S: Sql>(
    work: &Work<'_, S>,
    owner: &AccountRecord,
    wanted: Option<UnixMillis>,
) -> Result<Option<UnixMillis>, Refusal> {
    let limits = [work.circumstances.max_key_days, owner.settings.max_key_days];
    let Some(days) = limits.into_iter().flatten().min() else { return Ok(wanted) };
    let latest = work.now().saturating_add_millis(u64::from(days).saturating_mul(DAY_MS));
    match wanted {
        Some(end) if end > latest => Err(refused(
            "expires_at",
            format!("expires_at must lie at most {days} days ahead, which is the longest life of keys here."),
        )),
        Some(end) => Ok(Some(end)),
        None => Ok(Some(latest)),
    }
}

/// Refuses scopes that are in no catalogue.
pub(super) fn refuse_unknown_scopes(
    scopes: &ScopeSet,
    owner: &AccountRecord,
    deployment: &Catalogue,
) -> Result<(), Refusal> {
    let catalogue = owner.settings.catalogue_or(deployment);
    catalogue.check(scopes).map_err(|unknown| unknown_scope("scopes", "scopes", &unknown))
}

/// A name that a key is to have, and does not have yet.
pub(super) struct Naming<'a> {
    /// The name; none is one, too.
    pub(super) name: Option<&'a str>,
    /// Where the name must be unique.
    pub(super) environment: Environment,
}

/// Refuses a name that the account's policy does not have, at `now`.
pub(super) fn check_name(
    sql: &impl Sql,
    owner: &AccountRecord,
    naming: &Naming<'_>,
    now: UnixMillis,
) -> Result<(), Failure> {
    let policy = owner.settings.name_policy;
    if policy == NamePolicy::Optional {
        return Ok(());
    }
    let Some(name) = naming.name else {
        let detail = format!("name is missing; the account's name_policy is \"{}\".", policy.as_str());
        return Err(refused("name", detail).into());
    };
    if policy == NamePolicy::Unique && is_taken(sql, owner, naming, name, now)? {
        return Err(Refusal::Conflict {
            field: Some("name".into()),
            detail: format!(
                "Another active key of the {} environment has the name {}; the account's name_policy is \"unique\".",
                naming.environment.as_str(),
                quoted(name)
            ),
        }
        .into());
    }
    Ok(())
}

/// Whether another key has the name that is neither revoked nor expired, and has no successor. Revoked ones with that name are not looked at,
/// however many there are.
fn is_taken(
    sql: &impl Sql,
    owner: &AccountRecord,
    naming: &Naming<'_>,
    name: &str,
    now: UnixMillis,
) -> Result<bool, SqlError> {
    let revoked = owner.revoked_all.of(naming.environment).map_or(0, |revoked| revoked.sequence);
    let rows = sql.run(
        &format!(
            "SELECT 1 FROM keys WHERE account = ?1 AND environment = ?2 AND name = ?3 AND status <> 'revoked'
                AND issued > ?4 AND (expires_at IS NULL OR expires_at > ?5) AND {HAS_NO_SUCCESSOR} LIMIT 1"
        ),
        &[
            owner.id.number.into(),
            naming.environment.as_str().into(),
            name.into(),
            revoked.into(),
            now.as_millis().into(),
        ],
    )?;
    Ok(!rows.is_empty())
}

fn refused(field: &str, detail: String) -> Refusal {
    Refusal::Invalid { field: field.into(), detail }
}

/// Refuses where the account is suspended, or not active in the environment.
pub(super) fn refuse_inactive(owner: &AccountRecord, environment: Environment) -> Result<(), Refusal> {
    let detail = match owner.account().fault_in(environment) {
        None => return Ok(()),
        Some(AccountFault::Suspended) => {
            "The account is suspended; an operator must set its status to \"active\" first.".into()
        }
        Some(AccountFault::NoAccess { environment, access: Access::Requested }) => format!(
            "The account's api_access.{environment} is \"requested\"; wait until an operator approves it, which sets it \
             to \"active\"."
        ),
        Some(AccountFault::NoAccess { environment, access }) => format!(
            "The account's api_access.{environment} is \"{}\"; ask for it with POST accounts/{}/access-requests, and an \
             operator sets it to \"active\".",
            access.as_str(),
            owner.id
        ),
    };
    Err(Refusal::AccountInactive { detail })
}

/// Refuses fields of resources that no scope reaches.
pub(super) fn refuse_unreached_fields(fields: &Fields, scopes: &ScopeSet) -> Result<(), Refusal> {
    let unreached =
        |error: FieldsError| Refusal::Invalid { field: "fields".into(), detail: format!("fields: {error}.") };
    fields.check_reached(scopes).map_err(unreached)
}

/// Refuses to limit a key to what is no workspace in use of its account.
pub(super) fn refuse_foreign_workspaces(
    owner: &AccountRecord,
    workspaces: Option<&[WorkspaceId]>,
) -> Result<(), Refusal> {
    let active = |id: &WorkspaceId| owner.workspaces.iter().any(|workspace| workspace.id == *id);
    match workspaces.unwrap_or_default().iter().find(|id| !active(id)) {
        None => Ok(()),
        Some(id) => Err(Refusal::Invalid {
            field: "workspaces".into(),
            detail: format!("workspaces: {id} is not an active workspace of this account."),
        }),
    }
}

/// The key stands for itself: it has no successor, or none that is left. Otherwise whoever revokes a successor would have
/// a key that counts for nothing.
const HAS_NO_SUCCESSOR: &str = "(rotated_to IS NULL OR NOT EXISTS (SELECT 1 FROM keys AS successor
    WHERE successor.digest = keys.rotated_to AND successor.status <> 'revoked'))";

/// Refuses a key beyond the account's limit.
pub(super) fn refuse_beyond_limit(
    sql: &impl Sql,
    owner: &AccountRecord,
    environment: Environment,
    now: UnixMillis,
) -> Result<(), Failure> {
    let Some(limit) = owner.max_active_keys else { return Ok(()) };
    // Counting stops at the limit, so that its cost does not grow with the account.
    let count = only(sql.run(
        &format!(
            "SELECT count(*) FROM (SELECT 1 FROM keys WHERE account = ?1 AND environment = ?2 AND status <> 'revoked'
                AND issued > ?5 AND (expires_at IS NULL OR expires_at > ?3) AND {HAS_NO_SUCCESSOR} LIMIT ?4)"
        ),
        &[
            owner.id.number.into(),
            environment.as_str().into(),
            now.as_millis().into(),
            Value::from(limit),
            owner.revoked_all.upto(environment).into(),
        ],
    )?)?
    .number()?;
    if count >= u64::from(limit) { Err(Refusal::LimitReached { limit, environment }.into()) } else { Ok(()) }
}
