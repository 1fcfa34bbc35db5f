//! Accounts: the commands on them, and how they lie in SQLite.

use crate::{
    credential::{AccountRef, Brand, Environment},
    json::ToJson,
    planted::planted,
    policy::{Access, AccountStatus, UnixMillis},
};

use super::{
    audit::{self, AuditHead, Change},
    command::{AccountChange, Answer, Edit, Failure, NewAccount, Refusal, Work, derive},
    due::OverKeys,
    feed::{self, FeedSubject},
    meta,
    outbox::KvKey,
    record::{AccountRecord, Revoked, RevokedAll},
    sql::{Columns, Sql, SqlError, Wide, at_most_one, each, narrow},
};

/// How many account numbers are tried. With 10⁶ accounts in a slot one is taken once in 4,300; eight in a row, never.
const NUMBER_ATTEMPTS: u8 = 8;

/// Creates an account.
pub(super) fn create<S: Sql>(work: &Work<'_, S>, new: &NewAccount) -> Result<(Answer, Vec<KvKey>), Failure> {
    let sql = work.sql;
    refuse_taken_external_id(work, new.external_id.as_deref(), None)?;
    new.settings.check(&new.default_scopes, work.circumstances.catalogue)?;
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
        settings: new.settings.clone(),
        created_at: work.now(),
        created_by: work.order.actor.clone(),
        audit_head: AuditHead { number: 0, hash: audit::NO_HASH.into() },
        revoked_all: RevokedAll::default(),
        workspaces: Vec::new(),
        keys_due: None,
    };
    sql.run(
        "INSERT INTO accounts (number, created, version, name, external_id, brand, status, max_active_keys,
            api_access, features, default_scopes, created_at, created_by, settings)
         VALUES (?1, ?2, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)",
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
            record.settings.to_json().into(),
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
    Ok((Answer::Created(record), vec![KvKey::account(id)]))
}

/// Changes an account.
pub(super) fn change<S: Sql>(
    work: &Work<'_, S>,
    id: AccountRef,
    change: &AccountChange,
) -> Result<(Answer, Vec<KvKey>), Failure> {
    let was = named(work.sql, id)?;
    work.order.precondition.check(was.version)?;
    let mut record = was.clone();
    let change = change.clone();
    change.name.apply(&mut record.name);
    change.external_id.apply(&mut record.external_id);
    change.brand.apply(&mut record.brand);
    change.status.apply(&mut record.status);
    change.max_active_keys.apply(&mut record.max_active_keys);
    change.api_access.apply(&mut record.api_access);
    change.features.apply(&mut record.features);
    change.default_scopes.apply(&mut record.default_scopes);
    change.settings.apply(&mut record.settings);
    if record.external_id != was.external_id {
        refuse_taken_external_id(work, record.external_id.as_deref(), Some(id))?;
    }
    // A deploy may have brought another catalogue: what stays as it is may stay.
    let (old, new) = (&was.settings, &record.settings);
    let same = old.access_levels == new.access_levels && old.catalogue == new.catalogue;
    if !same || record.default_scopes != was.default_scopes {
        record.settings.check(&record.default_scopes, work.circumstances.catalogue)?;
    }
    store_change(work, &was, record)
}

/// Changes the account with this external id, or creates one. Who asks has found out which shard has it.
pub(super) fn put<S: Sql>(
    work: &Work<'_, S>,
    external_id: &str,
    asked: &AccountChange,
) -> Result<(Answer, Vec<KvKey>), Failure> {
    let rows = work.sql.run("SELECT number FROM accounts WHERE external_id = ?1", &[external_id.into()])?;
    if let Some(mut row) = at_most_one(rows)? {
        let id = AccountRef { slot: work.circumstances.slot, number: narrow(row.number()?)? };
        return change(work, id, asked);
    }
    let Edit::Set(name) = &asked.name else {
        return Err(Refusal::Invalid { field: "name".into(), detail: "name is missing.".into() }.into());
    };
    create(work, &NewAccount::with(name.clone(), Some(external_id.to_owned()), asked.clone()))
}

/// Notes that an account asks to be active in an environment.
pub(super) fn request_access<S: Sql>(
    work: &Work<'_, S>,
    id: AccountRef,
    environment: Environment,
    note: Option<&str>,
) -> Result<(Answer, Vec<KvKey>), Failure> {
    let was = named(work.sql, id)?;
    let mut record = was.clone();
    let access = match environment {
        Environment::Live => &mut record.api_access.live,
        Environment::Test => &mut record.api_access.test,
        Environment::Admin => return Err(Refusal::NotFound.into()),
    };
    if *access == Access::Active {
        return Err(Refusal::Conflict {
            field: Some("environment".into()),
            detail: format!("The account is active in the {} environment already.", environment.as_str()),
        }
        .into());
    }
    *access = Access::Requested;
    record.settings.access_note = note.map(str::to_owned);
    store_change(work, &was, record)
}

/// Stores what an account has become. What its keys may do goes into the feed; what only people read does not.
fn store_change<S: Sql>(
    work: &Work<'_, S>,
    was: &AccountRecord,
    mut record: AccountRecord,
) -> Result<(Answer, Vec<KvKey>), Failure> {
    let (sql, id) = (work.sql, record.id);
    if record == *was {
        return Ok((Answer::Account(record), Vec::new()));
    }
    record.version = meta::next_sequence(sql)?;
    sql.run(
        "UPDATE accounts SET version = ?2, name = ?3, external_id = ?4, brand = ?5, status = ?6,
            max_active_keys = ?7, api_access = ?8, features = ?9, default_scopes = ?10, settings = ?11
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
            record.settings.to_json().into(),
        ],
    )?;
    let decides_otherwise = record.account() != was.account();
    if decides_otherwise && !planted!(AccountsNotInFeed) {
        feed::record(sql, &FeedSubject::account(id), record.version)?;
    }
    let renamed = record.name != was.name;
    let change = Change {
        account: id,
        sequence: record.version,
        action: "account.change",
        subject: id.to_string(),
        before: Some(was.described()),
        after: record.described(),
    };
    record.audit_head = audit::append(sql, work.by(), change)?;
    let outdated = if decides_otherwise || renamed { vec![KvKey::account(id)] } else { Vec::new() };
    Ok((Answer::Account(record), outdated))
}

/// Reads one account; another slot's is as unknown as none.
pub(super) fn get(sql: &impl Sql, id: AccountRef) -> Result<Option<AccountRecord>, SqlError> {
    let rows =
        sql.run(&format!("SELECT {COLUMNS}, {WORKSPACES} FROM accounts WHERE number = ?1"), &[id.number.into()])?;
    at_most_one(rows)?.map(|row| read(row, id.slot)).transpose()
}

/// The same for a command that cannot do without it.
pub(super) fn named(sql: &impl Sql, id: AccountRef) -> Result<AccountRecord, Failure> {
    get(sql, id)?.ok_or(Failure::Refused(Refusal::NotFound))
}

/// Reads up to `limit` accounts created before sequence `before`, newest first; without their workspaces, and each with
/// the sequence it was created at in the second list.
pub(super) fn list(
    sql: &impl Sql,
    slot: u8,
    external_id: Option<&str>,
    before: u64,
    limit: u32,
) -> Result<(Vec<AccountRecord>, Vec<u64>), SqlError> {
    // Two statements, so that each is answered by an index of its own.
    let condition = if external_id.is_some() { "external_id = ?3" } else { "?3 IS NULL" };
    let rows = sql.run(
        &format!(
            "SELECT created, {COLUMNS}, '[]' FROM accounts WHERE created < ?1 AND {condition} ORDER BY created DESC LIMIT ?2"
        ),
        &[before.into(), limit.into(), external_id.map(str::to_owned).into()],
    )?;
    let mut created = Vec::new();
    let listed = each(rows, |mut row| {
        created.push(row.number()?);
        read(row, slot)
    })?;
    Ok((listed, created))
}

const COLUMNS: &str = "brand, status, api_access, number, version, name, external_id, max_active_keys, features,
    default_scopes, created_at, created_by, audit_number, audit_hash,
    revoked_live, revoked_live_at, revoked_test, revoked_test_at, revoked_admin, revoked_admin_at, settings";

const WORKSPACES: &str = "(SELECT json_group_array(json_object('id', id, 'name', name)) FROM
    (SELECT id, name FROM workspaces WHERE account = accounts.number AND archived_at IS NULL ORDER BY created))";

fn read(row: Columns, slot: u8) -> Result<AccountRecord, SqlError> {
    Wide::read(row, |row| {
        Ok(AccountRecord {
            brand: row.columns.parsed("brand", Brand::from_key_text)?,
            status: row.columns.parsed("status", AccountStatus::parse)?,
            api_access: row.columns.json()?,
            id: AccountRef { slot, number: row.narrow() },
            version: row.number(),
            name: row.text(),
            external_id: row.optional_text(),
            max_active_keys: row.some(optional_narrow),
            features: row.json(),
            default_scopes: row.json(),
            created_at: row.instant(),
            created_by: row.optional_text(),
            audit_head: AuditHead { number: row.number(), hash: row.text() },
            revoked_all: row.some(read_revoked_all),
            settings: row.json(),
            workspaces: row.json(),
            keys_due: None,
        })
    })
}

fn optional_narrow(row: &mut Columns) -> Result<Option<u32>, SqlError> {
    row.optional_number()?.map(narrow).transpose()
}

/// Reads what an account says about all of its keys; nothing, where there is no such account.
pub(super) fn over_keys(sql: &impl Sql, number: u32) -> Result<OverKeys, SqlError> {
    let rows = sql.run(
        "SELECT revoked_live, revoked_live_at, revoked_test, revoked_test_at, revoked_admin, revoked_admin_at,
            json_extract(settings, '$.rotation_days')
         FROM accounts WHERE number = ?1",
        &[number.into()],
    )?;
    let Some(mut row) = at_most_one(rows)? else { return Ok(OverKeys::default()) };
    let revoked_all = read_revoked_all(&mut row)?;
    Ok(OverKeys { revoked_all, rotation_days: optional_narrow(&mut row)? })
}

fn read_revoked_all(row: &mut Columns) -> Result<RevokedAll, SqlError> {
    Ok(RevokedAll { live: revoked(row)?, test: revoked(row)?, admin: revoked(row)? })
}

fn revoked(row: &mut Columns) -> Result<Option<Revoked>, SqlError> {
    let (sequence, at) = (row.number()?, row.optional_number()?);
    Ok(at.map(|at| Revoked { sequence, at: UnixMillis::from_millis(at) }))
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
