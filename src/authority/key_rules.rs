//! What an account's settings demand of its keys: their names, and where their scopes come from.

use crate::{
    credential::Environment,
    json::quoted,
    policy::{Catalogue, ScopeSet, UnixMillis},
};

use super::{
    command::{Failure, NewKey, Refusal},
    record::AccountRecord,
    settings::{NamePolicy, unknown_scope},
    sql::{Sql, SqlError},
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

/// Whether another key has the name that is neither revoked nor expired. Revoked ones with that name are not looked at,
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
        "SELECT 1 FROM keys WHERE account = ?1 AND environment = ?2 AND name = ?3 AND status <> 'revoked'
            AND issued > ?4 AND (expires_at IS NULL OR expires_at > ?5) LIMIT 1",
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
