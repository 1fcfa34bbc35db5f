//! Keys: the commands on them, and how they lie in SQLite.

use crate::{
    credential::{AccountRef, Digest, Environment, KeyId, KeyText, MintedKey, Pepper, Peppers},
    json::ToJson,
    planted::planted,
    policy::{AccountFault, EffectiveStatus, KeyStatus, UnixMillis},
};

use super::{
    accounts::{self, narrow},
    audit::{self, Change, Members},
    command::{Answer, Edit, Failure, KeyChange, NewKey, Refusal, Work, derive},
    feed::{self, FeedSubject},
    journal::{CommandId, Mint},
    meta,
    outbox::KvKey,
    record::{AccountRecord, KeyRecord},
    sql::{Columns, Sql, SqlError, Value, at_most_one, only},
};

/// Issues a key. No feed row: nothing older than a new key can exist anywhere.
pub(super) fn issue<S: Sql>(
    work: &Work<'_, S>,
    account: AccountRef,
    new: &NewKey,
) -> Result<(Answer, Vec<KvKey>), Failure> {
    let sql = work.sql;
    let owner = accounts::get(sql, account)?.ok_or(Refusal::NotFound)?;
    refuse_inactive(&owner, new.environment)?;
    refuse_beyond_limit(sql, &owner, new.environment, work.now())?;
    let pepper = work.circumstances.peppers.minting();
    let mint = Mint { pepper: pepper.id(), brand: owner.brand, environment: new.environment, account };
    let minted = mint_with(pepper, &work.circumstances.nonce, &work.order.id, &mint)?;
    if find(sql, account.slot, KeyId::of(&minted.digest))?.is_some() {
        return Err(Failure::Trouble(SqlError("two keys would share an id".into())));
    }
    let sequence = meta::next_sequence(sql)?;
    let record = KeyRecord {
        digest: minted.digest,
        account,
        issued: sequence,
        version: sequence,
        name: new.name.clone(),
        environment: new.environment,
        scopes: new.scopes.clone().unwrap_or(owner.default_scopes),
        status: KeyStatus::Active,
        hint: minted.hint,
        pepper: mint.pepper,
        not_before: new.not_before,
        expires_at: new.expires_at,
        created_at: work.now(),
        created_by: work.order.actor.clone(),
        last_used_at: None,
        revoked_at: None,
    };
    sql.run(
        "INSERT INTO keys (digest, account, issued, version, name, environment, scopes, status, hint, pepper,
            not_before, expires_at, created_at, created_by)
         VALUES (?1, ?2, ?3, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)",
        &[
            record.digest.to_hex().into(),
            account.number.into(),
            sequence.into(),
            record.name.clone().into(),
            record.environment.as_str().into(),
            record.scopes.to_json().into(),
            record.status.as_str().into(),
            record.hint.as_str().into(),
            u32::from(record.pepper).into(),
            record.not_before.map(UnixMillis::as_millis).into(),
            record.expires_at.map(UnixMillis::as_millis).into(),
            record.created_at.as_millis().into(),
            record.created_by.clone().into(),
        ],
    )?;
    note(work, &record, "key.issue", None)?;
    let outdated = vec![KvKey::grant(&record.digest)];
    Ok((Answer::Issued { record, text: minted.text, mint }, outdated))
}

/// Renames, disables or enables a key. A revoked one stays as it was.
pub(super) fn change<S: Sql>(
    work: &Work<'_, S>,
    account: AccountRef,
    id: KeyId,
    change: &KeyChange,
) -> Result<(Answer, Vec<KvKey>), Failure> {
    let sql = work.sql;
    let mut record = get(sql, account, id)?.ok_or(Refusal::NotFound)?;
    work.order.precondition.check(record.version)?;
    let described = record.described();
    if record.status == KeyStatus::Revoked && !planted!(RevokedMayBeEnabled) {
        return Err(Refusal::Conflict {
            field: None,
            detail: "The key is revoked, which is final; issue a new one.".into(),
        }
        .into());
    }
    let change = change.clone();
    let renamed = change.name.apply(&mut record.name);
    let status = match change.disabled {
        Edit::Keep => Edit::Keep,
        Edit::Set(true) => Edit::Set(KeyStatus::Disabled),
        Edit::Set(false) => Edit::Set(KeyStatus::Active),
    };
    let switched = status.apply(&mut record.status);
    if !(renamed || switched) {
        return Ok((Answer::Key(record), Vec::new()));
    }
    record.version = meta::next_sequence(sql)?;
    store_change(sql, &record)?;
    let forgotten = planted!(WideningNotInFeed) && record.status == KeyStatus::Active;
    if switched && !forgotten && !planted!(FeedOutsideTransaction) {
        feed::record(sql, &FeedSubject::key(&record.digest), record.version)?;
    }
    note(work, &record, "key.change", Some(described))?;
    let outdated = vec![KvKey::grant(&record.digest)];
    Ok((Answer::Key(record), outdated))
}

/// Revokes a key. Repeating it is a success that changes nothing of the key, but has the feed and the mirror say it again.
pub(super) fn revoke<S: Sql>(
    work: &Work<'_, S>,
    account: AccountRef,
    id: KeyId,
) -> Result<(Answer, Vec<KvKey>), Failure> {
    let sql = work.sql;
    let mut record = get(sql, account, id)?.ok_or(Refusal::NotFound)?;
    let sequence = meta::next_sequence(sql)?;
    if record.status != KeyStatus::Revoked {
        let described = record.described();
        record.status = KeyStatus::Revoked;
        record.revoked_at = Some(work.now());
        record.version = sequence;
        store_change(sql, &record)?;
        note(work, &record, "key.revoke", Some(described))?;
    }
    if !planted!(FeedOutsideTransaction) {
        feed::record(sql, &FeedSubject::key(&record.digest), sequence)?;
    }
    let outdated = vec![KvKey::grant(&record.digest)];
    Ok((Answer::Key(record), outdated))
}

/// Mints the key of a repeated command again. Only who has the command id can: it is part of the secret.
pub(super) fn mint_again(nonce: &[u8; 32], id: &CommandId, mint: &Mint, peppers: &Peppers) -> Result<KeyText, Failure> {
    let pepper = peppers.by_id(mint.pepper).ok_or_else(|| Refusal::Conflict {
        field: Some("Idempotency-Key".into()),
        detail: "The key that this request issued was minted with a pepper that is no longer configured.".into(),
    })?;
    Ok(mint_with(pepper, nonce, id, mint)?.text)
}

/// Reads one key of an account; another account's key is as unknown as none.
pub(super) fn get(sql: &impl Sql, account: AccountRef, id: KeyId) -> Result<Option<KeyRecord>, SqlError> {
    Ok(find(sql, account.slot, id)?.filter(|record| record.account == account))
}

/// Reads one key by its digest, if it belongs to that account.
pub(super) fn get_by_digest(
    sql: &impl Sql,
    account: AccountRef,
    digest: &Digest,
) -> Result<Option<KeyRecord>, SqlError> {
    let rows = sql.run(
        &format!("SELECT {COLUMNS} FROM keys WHERE digest = ?1 AND account = ?2"),
        &[digest.to_hex().into(), account.number.into()],
    )?;
    at_most_one(rows)?.map(|row| read(row, account.slot)).transpose()
}

/// Reads one key by its digest, whoever owns it.
pub(super) fn get_by_digest_alone(sql: &impl Sql, slot: u8, digest: &Digest) -> Result<Option<KeyRecord>, SqlError> {
    let rows = sql.run(&format!("SELECT {COLUMNS} FROM keys WHERE digest = ?1"), &[digest.to_hex().into()])?;
    at_most_one(rows)?.map(|row| read(row, slot)).transpose()
}

/// Which keys of an account a list shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeyFilter {
    /// Only keys of this environment.
    pub environment: Option<Environment>,
    /// Only keys that are this now.
    pub status: Option<ListedStatus>,
    /// Only keys minted with the pepper of this id.
    pub pepper: Option<u8>,
}

/// The four states that a list tells apart. A key that is not yet valid counts as active.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListedStatus {
    /// Neither of the others.
    Active,
    /// Disabled by an administrator.
    Disabled,
    /// Its time is over.
    Expired,
    /// Revoked, for good.
    Revoked,
}

impl ListedStatus {
    /// What `record` is at `now`.
    #[must_use]
    pub fn of(record: &KeyRecord, now: UnixMillis) -> Self {
        match record.grant().status_at(now) {
            EffectiveStatus::Active | EffectiveStatus::NotYetValid => ListedStatus::Active,
            EffectiveStatus::Disabled => ListedStatus::Disabled,
            EffectiveStatus::Expired => ListedStatus::Expired,
            EffectiveStatus::Revoked => ListedStatus::Revoked,
        }
    }

    /// The name on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            ListedStatus::Active => "active",
            ListedStatus::Disabled => "disabled",
            ListedStatus::Expired => "expired",
            ListedStatus::Revoked => "revoked",
        }
    }

    /// The state with this name.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [ListedStatus::Active, ListedStatus::Disabled, ListedStatus::Expired, ListedStatus::Revoked]
            .into_iter()
            .find(|status| status.as_str() == text)
    }

    fn condition(self) -> &'static str {
        match self {
            ListedStatus::Active => "status = 'active' AND (expires_at IS NULL OR expires_at > ?4)",
            ListedStatus::Disabled => "status = 'disabled' AND ?4 IS NOT NULL",
            ListedStatus::Expired => "status = 'active' AND expires_at <= ?4",
            ListedStatus::Revoked => "status = 'revoked' AND ?4 IS NOT NULL",
        }
    }
}

/// Reads up to `limit` keys of an account issued before sequence `before`, newest first.
pub(super) fn list(
    sql: &impl Sql,
    account: AccountRef,
    filter: KeyFilter,
    before: u64,
    limit: u32,
    now: UnixMillis,
) -> Result<Vec<KeyRecord>, SqlError> {
    let status = filter.status.map_or("?4 IS NOT NULL", ListedStatus::condition);
    let rows = sql.run(
        &format!(
            "SELECT {COLUMNS} FROM keys
             WHERE account = ?1 AND issued < ?2 AND (?5 IS NULL OR environment = ?5)
                AND (?6 IS NULL OR pepper = ?6) AND {status}
             ORDER BY issued DESC LIMIT ?3"
        ),
        &[
            account.number.into(),
            before.into(),
            limit.into(),
            now.as_millis().into(),
            filter.environment.map(Environment::as_str).into(),
            filter.pepper.map(u32::from).into(),
        ],
    )?;
    rows.into_iter().map(|row| read(Columns::of(row), account.slot)).collect()
}

fn find(sql: &impl Sql, slot: u8, id: KeyId) -> Result<Option<KeyRecord>, SqlError> {
    // Every digest that begins with the id; 'g' is what follows the last hex digit.
    let first = id.digest_prefix_hex();
    let rows = sql.run(
        &format!("SELECT {COLUMNS} FROM keys WHERE digest >= ?1 AND digest < ?2"),
        &[first.as_str().into(), format!("{first}g").into()],
    )?;
    at_most_one(rows)?.map(|row| read(row, slot)).transpose()
}

fn store_change(sql: &impl Sql, record: &KeyRecord) -> Result<(), SqlError> {
    sql.run(
        "UPDATE keys SET version = ?2, name = ?3, status = ?4, revoked_at = ?5 WHERE digest = ?1",
        &[
            record.digest.to_hex().into(),
            record.version.into(),
            record.name.clone().into(),
            record.status.as_str().into(),
            record.revoked_at.map(UnixMillis::as_millis).into(),
        ],
    )?;
    Ok(())
}

// The newest day has the newest use.
const COLUMNS: &str = "digest, account, issued, version, name, environment, scopes, status, hint, pepper,
    not_before, expires_at, created_at, created_by, revoked_at,
    (SELECT last_at FROM usage WHERE usage.digest = keys.digest ORDER BY day DESC LIMIT 1)";

fn read(mut row: Columns, slot: u8) -> Result<KeyRecord, SqlError> {
    Ok(KeyRecord {
        digest: row.parsed("digest", Digest::parse_hex)?,
        account: AccountRef { slot, number: narrow(row.number()?)? },
        issued: row.number()?,
        version: row.number()?,
        name: row.optional_text()?,
        environment: row.parsed("environment", |text| text.parse().ok())?,
        scopes: row.json()?,
        status: row.parsed("status", KeyStatus::parse)?,
        hint: row.text()?,
        pepper: narrow(row.number()?)?,
        not_before: row.optional_number()?.map(UnixMillis::from_millis),
        expires_at: row.optional_number()?.map(UnixMillis::from_millis),
        created_at: UnixMillis::from_millis(row.number()?),
        created_by: row.optional_text()?,
        revoked_at: row.optional_number()?.map(UnixMillis::from_millis),
        last_used_at: row.optional_number()?.map(UnixMillis::from_millis),
    })
}

fn refuse_inactive(owner: &AccountRecord, environment: Environment) -> Result<(), Refusal> {
    let detail = match owner.account().fault_in(environment) {
        None => return Ok(()),
        Some(AccountFault::Suspended) => {
            "The account is suspended; an operator must set its status to \"active\" first.".into()
        }
        Some(AccountFault::NoAccess { environment, access }) => format!(
            "The account's api_access.{environment} is {:?}; an operator must set it to \"active\" first.",
            access.as_str()
        ),
    };
    Err(Refusal::AccountInactive { detail })
}

fn refuse_beyond_limit(
    sql: &impl Sql,
    owner: &AccountRecord,
    environment: Environment,
    now: UnixMillis,
) -> Result<(), Failure> {
    let Some(limit) = owner.max_active_keys else { return Ok(()) };
    // Counting stops at the limit, so that its cost does not grow with the account.
    let count = only(sql.run(
        "SELECT count(*) FROM (SELECT 1 FROM keys WHERE account = ?1 AND environment = ?2 AND status <> 'revoked'
            AND (expires_at IS NULL OR expires_at > ?3) LIMIT ?4)",
        &[owner.id.number.into(), environment.as_str().into(), now.as_millis().into(), Value::from(limit)],
    )?)?
    .number()?;
    if count >= u64::from(limit) { Err(Refusal::LimitReached { limit, environment }.into()) } else { Ok(()) }
}

fn mint_with(pepper: &Pepper, nonce: &[u8; 32], id: &CommandId, mint: &Mint) -> Result<MintedKey, SqlError> {
    let [secret @ .., _, _, _, _, _, _, _, _, _, _, _, _] = derive(nonce, &[b"key secret", id.secret_part()])?;
    Ok(pepper.mint(&mint.brand, mint.environment, mint.account, secret))
}

/// Puts a change of a key into its account's audit.
fn note<S: Sql>(
    work: &Work<'_, S>,
    record: &KeyRecord,
    action: &'static str,
    before: Option<Members>,
) -> Result<(), SqlError> {
    let (before, after) = match before {
        None => (None, record.described()),
        Some(before) => {
            let (before, after) = audit::difference(before, record.described());
            (Some(before), after)
        }
    };
    let change = Change {
        account: record.account,
        sequence: record.version,
        action,
        subject: record.id().to_string(),
        before,
        after,
    };
    audit::append(work.sql, work.by(), change)?;
    Ok(())
}
