//! Keys: the commands on them, and how they lie in SQLite.

use crate::{
    credential::{AccountRef, Digest, Environment, KeyId, KeyText, MintedKey, Pepper, Peppers, WorkspaceId},
    json::ToJson,
    planted::planted,
    policy::{Access, AccountFault, FieldsError, KeyStatus, Role, UnixMillis},
};

use super::{
    accounts::{self, narrow},
    audit::{self, Change, Members},
    command::{Answer, Edit, Failure, KeyChange, NewKey, Refusal, Work, derive},
    feed::{self, FeedSubject},
    journal::{CommandId, Mint},
    key_filter::{KeyFilter, ListedStatus},
    key_rules::{Naming, check_name, scopes_of},
    meta,
    outbox::KvKey,
    record::{AccountRecord, Administration, KeyRecord, Session},
    sql::{Columns, Row, Sql, SqlError, Value, at_most_one, each, from_json, only},
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
    let scopes = scopes_of(new, &owner, work.circumstances.catalogue)?;
    let naming = Naming { name: new.name.as_deref(), environment: new.environment };
    check_name(sql, &owner, &naming, work.now())?;
    refuse_beyond_limit(sql, &owner, new.environment, work.now())?;
    let unreached =
        |error: FieldsError| Refusal::Invalid { field: "fields".into(), detail: format!("fields: {error}.") };
    new.fields.check_reached(&scopes).map_err(unreached)?;
    refuse_foreign_workspaces(&owner, new.workspaces.as_deref())?;
    let (minted, mint) = mint_new(work, &owner, new.environment)?;
    let sequence = meta::next_sequence(sql)?;
    let record = KeyRecord {
        digest: minted.digest,
        account,
        issued: sequence,
        version: sequence,
        name: new.name.clone(),
        environment: new.environment,
        scopes,
        status: KeyStatus::Active,
        hint: minted.hint,
        pepper: mint.pepper,
        not_before: new.not_before,
        expires_at: new.expires_at,
        created_at: work.now(),
        created_by: work.created_by(),
        last_used_at: None,
        scopes_last_used: None,
        revoked_at: None,
        workspaces: new.workspaces.clone(),
        fields: new.fields.clone(),
        access_level: new.access_level.clone(),
        admin: None,
    };
    work.admin.refuse_beyond_own(None, &record.scopes, record.workspaces.as_deref())?;
    insert(sql, &record)?;
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
    if let Some(fixed) = change.fixed {
        return Err(Refusal::Conflict {
            field: Some(fixed.into()),
            detail: format!("{fixed} cannot be changed after issue: issue a new key."),
        }
        .into());
    }
    if record.status == KeyStatus::Revoked && !planted!(RevokedMayBeEnabled) {
        return Err(Refusal::Conflict {
            field: None,
            detail: "The key is revoked, which is final; issue a new one.".into(),
        }
        .into());
    }
    let change = change.clone();
    if let Edit::Set(name) = &change.name
        && *name != record.name
    {
        let owner = accounts::get(sql, account)?.ok_or(Refusal::NotFound)?;
        let naming = Naming { name: name.as_deref(), environment: record.environment };
        check_name(sql, &owner, &naming, work.now())?;
    }
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
    if switched && !forgotten && is_copied(&record) && !planted!(FeedOutsideTransaction) {
        feed::record(sql, &FeedSubject::key(&record.digest), record.version)?;
    }
    note(work, &record, "key.change", Some(described))?;
    let outdated = copies_of(&record);
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
    if is_copied(&record) && !planted!(FeedOutsideTransaction) {
        feed::record(sql, &FeedSubject::key(&record.digest), sequence)?;
    }
    let outdated = copies_of(&record);
    Ok((Answer::Key(record), outdated))
}

/// Nobody has copies of admin credentials: the Authority alone decides about them.
fn is_copied(record: &KeyRecord) -> bool {
    record.environment != Environment::Admin
}

fn copies_of(record: &KeyRecord) -> Vec<KvKey> {
    if is_copied(record) { vec![KvKey::grant(&record.digest)] } else { Vec::new() }
}

/// Mints the key of a repeated command again. Only who has the command id can: it is part of the secret.
pub(super) fn mint_again(nonce: &[u8; 32], id: &CommandId, mint: &Mint, peppers: &Peppers) -> Result<KeyText, Failure> {
    let pepper = peppers.by_id(mint.pepper).ok_or_else(|| Refusal::Conflict {
        field: Some("Idempotency-Key".into()),
        detail: "The key that this request issued was minted with a pepper that is no longer configured.".into(),
    })?;
    Ok(mint_with(pepper, nonce, id, mint)?.text)
}

/// Reads one key of an account; another account's key is as unknown as none, after the same work.
pub(super) fn get(sql: &impl Sql, account: AccountRef, id: KeyId) -> Result<Option<KeyRecord>, SqlError> {
    let [first, end] = digests_of(id);
    // With `+` no index of the account's keys is used, of which there may be many.
    let statement = format!("SELECT {COLUMNS} FROM keys WHERE digest >= ?1 AND digest < ?2 AND +account = ?3");
    let rows = sql.run(&statement, &[first, end, account.number.into()])?;
    one(sql, rows, account.slot)
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
    one(sql, rows, account.slot)
}

/// Reads one key by its digest, whoever owns it.
pub(super) fn get_by_digest_alone(sql: &impl Sql, slot: u8, digest: &Digest) -> Result<Option<KeyRecord>, SqlError> {
    let rows = sql.run(&format!("SELECT {COLUMNS} FROM keys WHERE digest = ?1"), &[digest.to_hex().into()])?;
    one(sql, rows, slot)
}

/// True where an environment of an account has a key that was issued after `upto` and is not revoked.
pub(super) fn any_left(
    sql: &impl Sql,
    account: AccountRef,
    environment: Environment,
    upto: u64,
) -> Result<bool, SqlError> {
    let left = sql.run(
        "SELECT 1 FROM keys WHERE account = ?1 AND environment = ?2 AND issued > ?3 AND status <> 'revoked' LIMIT 1",
        &[account.number.into(), environment.as_str().into(), upto.into()],
    )?;
    Ok(!left.is_empty())
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
    let revoked_all = accounts::revoked_all(sql, account.number)?;
    let [live, test, admin] = ENVIRONMENTS.map(|environment| revoked_all.upto(environment));
    // What was revoked with all others, however much that is, is not even looked at where it is not wanted.
    let after = match (filter.status, filter.environment) {
        (None | Some(ListedStatus::Revoked), _) => 0,
        (Some(_), Some(environment)) => revoked_all.upto(environment),
        (Some(_), None) => live.min(test).min(admin),
    };
    let [before_gone, after_gone] = filter.status.map_or(["(?4 IS NOT NULL OR ", ")"], ListedStatus::condition);
    let rows = sql.run(
        &format!(
            "SELECT {COLUMNS} FROM keys
             WHERE account = ?1 AND issued < ?2 AND issued > ?10
                AND CASE WHEN ?5 IS NULL THEN environment <> 'admin' ELSE environment = ?5 END
                AND (?6 IS NULL OR pepper = ?6)
                AND {before_gone}(issued <= CASE environment WHEN 'live' THEN ?7 WHEN 'test' THEN ?8 ELSE ?9 END)
                    {after_gone}
             ORDER BY issued DESC LIMIT ?3"
        ),
        &[
            account.number.into(),
            before.into(),
            limit.into(),
            now.as_millis().into(),
            filter.environment.map(Environment::as_str).into(),
            filter.pepper.map(u32::from).into(),
            live.into(),
            test.into(),
            admin.into(),
            after.into(),
        ],
    )?;
    each(rows, |row| Ok(read(row, account.slot)?.under(revoked_all)))
}

/// True where a key has this id, whoever owns it.
fn is_taken(sql: &impl Sql, id: KeyId) -> Result<bool, SqlError> {
    Ok(!sql.run("SELECT 1 FROM keys WHERE digest >= ?1 AND digest < ?2", &digests_of(id))?.is_empty())
}

/// Every digest that begins with the id is among these: 'g' is what follows the last hex digit.
fn digests_of(id: KeyId) -> [Value; 2] {
    let first = id.digest_prefix_hex();
    [first.as_str().into(), format!("{first}g").into()]
}

/// The key of a result that has at most one, as it counts now.
fn one(sql: &impl Sql, rows: Vec<Row>, slot: u8) -> Result<Option<KeyRecord>, SqlError> {
    let Some(row) = at_most_one(rows)? else { return Ok(None) };
    let record = read(row, slot)?;
    let revoked_all = accounts::revoked_all(sql, record.account.number)?;
    Ok(Some(record.under(revoked_all)))
}

const ENVIRONMENTS: [Environment; 3] = [Environment::Live, Environment::Test, Environment::Admin];

pub(super) fn insert(sql: &impl Sql, record: &KeyRecord) -> Result<(), SqlError> {
    let admin = record.admin.as_ref();
    let session = admin.and_then(|admin| admin.session.as_ref());
    let parent = session.map(|session| session.parent.map_or_else(|| ROOT.to_owned(), |digest| digest.to_hex()));
    sql.run(
        "INSERT INTO keys (digest, account, issued, version, name, environment, scopes, status, hint, pepper,
            not_before, expires_at, created_at, created_by, workspaces, fields, access_level, role, actor, parent)
         VALUES (?1, ?2, ?3, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19)",
        &[
            record.digest.to_hex().into(),
            record.account.number.into(),
            record.issued.into(),
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
            record.workspaces.as_ref().map(ToJson::to_json).into(),
            record.fields.to_json().into(),
            record.access_level.clone().into(),
            admin.map(|admin| admin.role.as_str()).into(),
            session.map(|session| session.actor.clone()).into(),
            parent.into(),
        ],
    )?;
    Ok(())
}

/// In place of the digest of a session's parent: the root token made it.
const ROOT: &str = "root";

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
    not_before, expires_at, created_at, created_by, revoked_at, workspaces, fields, access_level, role, actor, parent,
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
        workspaces: row.optional_text()?.map(|text| from_json(&text)).transpose()?,
        fields: row.json()?,
        access_level: row.optional_text()?,
        admin: administration(&mut row)?,
        last_used_at: row.optional_number()?.map(UnixMillis::from_millis),
        scopes_last_used: None,
    })
}

fn administration(row: &mut Columns) -> Result<Option<Administration>, SqlError> {
    let (role, actor, parent) = (row.optional_text()?, row.optional_text()?, row.optional_text()?);
    let Some(role) = role else { return Ok(None) };
    let wrong = || SqlError("a stored admin credential is not of its form".into());
    let role = Role::parse(&role).ok_or_else(wrong)?;
    let session = match (actor, parent) {
        (Some(actor), Some(parent)) if parent == ROOT => Some(Session { actor, parent: None }),
        (Some(actor), Some(parent)) => {
            Some(Session { actor, parent: Some(Digest::parse_hex(&parent).ok_or_else(wrong)?) })
        }
        _ => None,
    };
    Ok(Some(Administration { role, session }))
}

fn refuse_inactive(owner: &AccountRecord, environment: Environment) -> Result<(), Refusal> {
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
            AND issued > ?5 AND (expires_at IS NULL OR expires_at > ?3) LIMIT ?4)",
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

pub(super) fn mint_with(pepper: &Pepper, nonce: &[u8; 32], id: &CommandId, mint: &Mint) -> Result<MintedKey, SqlError> {
    let [secret @ .., _, _, _, _, _, _, _, _, _, _, _, _] = derive(nonce, &[b"key secret", id.secret_part()])?;
    Ok(pepper.mint(&mint.brand, mint.environment, mint.account, secret))
}

/// The text of a new key of `owner`, and how to make it again.
pub(super) fn mint_new<S: Sql>(
    work: &Work<'_, S>,
    owner: &AccountRecord,
    environment: Environment,
) -> Result<(MintedKey, Mint), SqlError> {
    let pepper = work.circumstances.peppers.minting();
    let mint = Mint { pepper: pepper.id(), brand: owner.brand, environment, account: owner.id };
    let minted = mint_with(pepper, &work.circumstances.nonce, &work.order.id, &mint)?;
    if is_taken(work.sql, KeyId::of(&minted.digest))? {
        return Err(SqlError("two keys would share an id".into()));
    }
    Ok((minted, mint))
}

/// Puts a change of a key into its account's audit.
pub(super) fn note<S: Sql>(
    work: &Work<'_, S>,
    record: &KeyRecord,
    action: &'static str,
    before: Option<Members>,
) -> Result<(), SqlError> {
    let change = Change {
        account: record.account,
        sequence: record.version,
        action,
        subject: record.id().to_string(),
        before,
        after: record.described(),
    };
    audit::append(work.sql, work.by(), change)?;
    Ok(())
}
