//! Accounts: the commands on them, and how they lie in SQLite.

use crate::{
    credential::{AccountRef, Brand},
    json::ToJson,
    planted::planted,
    policy::{AccountStatus, UnixMillis},
};

use super::{
    audit::{self, AuditHead, Change},
    command::{AccountChange, Answer, Failure, NewAccount, Refusal, Work, derive},
    feed::{self, FeedSubject},
    meta,
    outbox::KvKey,
    record::AccountRecord,
    sql::{Columns, Sql, SqlError, at_most_one},
};

/// How many account numbers are tried. With 10⁶ accounts in a slot one is taken once in 4,300; eight in a row, never.
const NUMBER_ATTEMPTS: u8 = 8;

/// Creates an account.
pub(super) fn create<S: Sql>(work: &Work<'_, S>, new: &NewAccount) -> Result<(Answer, Vec<KvKey>), Failure> {
    let sql = work.sql;
    refuse_taken_external_id(work, new.external_id.as_deref(), None)?;
    let number = free_number(sql, &work.circumstances.nonce)?;
    let id = AccountRef { slot: work.circumstances.slot, number };
    let sequence = meta::next_sequence(sql)?;
    let mut record = AccountRecord {
        id,
        version: sequence,
        name: new.name.clone(),
        external_id: new.external_id.clone(),
        brand: new.brand,
        status: AccountStatus::Active,
        max_active_keys: new.max_active_keys,
        api_access: new.api_access,
        features: new.features.clone(),
        default_scopes: new.default_scopes.clone(),
        created_at: work.now(),
        created_by: work.order.actor.clone(),
        audit_head: AuditHead { number: 0, hash: audit::NO_HASH.into() },
    };
    sql.run(
        "INSERT INTO accounts (number, created, version, name, external_id, brand, status, max_active_keys,
            api_access, features, default_scopes, created_at, created_by)
         VALUES (?1, ?2, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)",
        &[
            id.number.into(),
            sequence.into(),
            record.name.as_str().into(),
            record.external_id.clone().into(),
            record.brand.as_str().into(),
            record.status.as_str().into(),
            record.max_active_keys.into(),
            record.api_access.to_json().into(),
            record.features.to_json().into(),
            record.default_scopes.to_json().into(),
            record.created_at.as_millis().into(),
            record.created_by.clone().into(),
        ],
    )?;
    let change = Change {
        account: id,
        sequence,
        action: "account.create",
        subject: id.to_string(),
        before: None,
        after: record.described(),
    };
    record.audit_head = audit::append(sql, work.by(), change)?;
    Ok((Answer::Account(record), vec![KvKey::account(id)]))
}

/// Changes an account. What its keys may do goes into the feed; what only people read does not.
pub(super) fn change<S: Sql>(
    work: &Work<'_, S>,
    id: AccountRef,
    change: &AccountChange,
) -> Result<(Answer, Vec<KvKey>), Failure> {
    let sql = work.sql;
    let mut record = get(sql, id)?.ok_or(Refusal::NotFound)?;
    work.order.precondition.check(record.version)?;
    let described = record.described();
    let before = record.account();
    let change = change.clone();
    let renamed = change.name.apply(&mut record.name);
    let identified = change.external_id.apply(&mut record.external_id);
    let other = [
        change.brand.apply(&mut record.brand),
        change.status.apply(&mut record.status),
        change.max_active_keys.apply(&mut record.max_active_keys),
        change.api_access.apply(&mut record.api_access),
        change.features.apply(&mut record.features),
        change.default_scopes.apply(&mut record.default_scopes),
    ];
    if identified {
        refuse_taken_external_id(work, record.external_id.as_deref(), Some(id))?;
    }
    if !(renamed || identified || other.contains(&true)) {
        return Ok((Answer::Account(record), Vec::new()));
    }
    record.version = meta::next_sequence(sql)?;
    sql.run(
        "UPDATE accounts SET version = ?2, name = ?3, external_id = ?4, brand = ?5, status = ?6,
            max_active_keys = ?7, api_access = ?8, features = ?9, default_scopes = ?10
         WHERE number = ?1",
        &[
            id.number.into(),
            record.version.into(),
            record.name.as_str().into(),
            record.external_id.clone().into(),
            record.brand.as_str().into(),
            record.status.as_str().into(),
            record.max_active_keys.into(),
            record.api_access.to_json().into(),
            record.features.to_json().into(),
            record.default_scopes.to_json().into(),
        ],
    )?;
    let decides_otherwise = record.account() != before;
    if decides_otherwise && !planted!(AccountsNotInFeed) {
        feed::record(sql, &FeedSubject::account(id), record.version)?;
    }
    let (before, after) = audit::difference(described, record.described());
    let change = Change {
        account: id,
        sequence: record.version,
        action: "account.change",
        subject: id.to_string(),
        before: Some(before),
        after,
    };
    record.audit_head = audit::append(sql, work.by(), change)?;
    let outdated = if decides_otherwise || renamed { vec![KvKey::account(id)] } else { Vec::new() };
    Ok((Answer::Account(record), outdated))
}

/// Reads one account; another slot's is as unknown as none.
pub(super) fn get(sql: &impl Sql, id: AccountRef) -> Result<Option<AccountRecord>, SqlError> {
    let rows = sql.run(&format!("SELECT {COLUMNS} FROM accounts WHERE number = ?1"), &[id.number.into()])?;
    at_most_one(rows)?.map(|row| read(row, id.slot)).transpose()
}

/// Reads up to `limit` accounts created before sequence `before`, newest first.
pub(super) fn list(
    sql: &impl Sql,
    slot: u8,
    external_id: Option<&str>,
    before: u64,
    limit: u32,
) -> Result<Vec<(u64, AccountRecord)>, SqlError> {
    // Two statements, so that each is answered by an index of its own.
    let condition = if external_id.is_some() { "external_id = ?3" } else { "?3 IS NULL" };
    let rows = sql.run(
        &format!(
            "SELECT created, {COLUMNS} FROM accounts WHERE created < ?1 AND {condition} ORDER BY created DESC LIMIT ?2"
        ),
        &[before.into(), limit.into(), external_id.map(str::to_owned).into()],
    )?;
    rows.into_iter()
        .map(|row| {
            let mut row = Columns::of(row);
            Ok((row.number()?, read(row, slot)?))
        })
        .collect()
}

const COLUMNS: &str = "number, version, name, external_id, brand, status, max_active_keys, api_access, features,
    default_scopes, created_at, created_by, audit_number, audit_hash";

fn read(mut row: Columns, slot: u8) -> Result<AccountRecord, SqlError> {
    Ok(AccountRecord {
        id: AccountRef { slot, number: narrow(row.number()?)? },
        version: row.number()?,
        name: row.text()?,
        external_id: row.optional_text()?,
        brand: row.parsed("brand", Brand::from_key_text)?,
        status: row.parsed("status", AccountStatus::parse)?,
        max_active_keys: row.optional_number()?.map(narrow).transpose()?,
        api_access: row.json()?,
        features: row.json()?,
        default_scopes: row.json()?,
        created_at: UnixMillis::from_millis(row.number()?),
        created_by: row.optional_text()?,
        audit_head: AuditHead { number: row.number()?, hash: row.text()? },
    })
}

pub(super) fn narrow<T: TryFrom<u64>>(number: u64) -> Result<T, SqlError> {
    T::try_from(number).map_err(|_| SqlError(format!("a stored number is out of range: {number}")))
}

fn refuse_taken_external_id<S: Sql>(
    work: &Work<'_, S>,
    external_id: Option<&str>,
    own: Option<AccountRef>,
) -> Result<(), Failure> {
    let Some(external_id) = external_id else { return Ok(()) };
    let taken = "SELECT 1 FROM accounts WHERE external_id = ?1 AND number IS NOT ?2";
    let own = own.map(|own| own.number);
    if work.order.taken_elsewhere || !work.sql.run(taken, &[external_id.into(), own.into()])?.is_empty() {
        return Err(Refusal::external_id_taken(external_id).into());
    }
    Ok(())
}

fn free_number(sql: &impl Sql, nonce: &[u8; 32]) -> Result<u32, Failure> {
    for attempt in 0..NUMBER_ATTEMPTS {
        let number = candidate(nonce, attempt)?;
        let taken = sql.run("SELECT 1 FROM accounts WHERE number = ?1", &[number.into()])?;
        if number != 0 && taken.is_empty() {
            return Ok(number);
        }
    }
    Err(Failure::Trouble(SqlError("no free account number was found".into())))
}

fn candidate(nonce: &[u8; 32], attempt: u8) -> Result<u32, SqlError> {
    let [a, b, c, d, ..] = derive(nonce, &[b"account number", &[attempt]])?;
    Ok(u32::from_be_bytes([a, b, c, d]))
}
