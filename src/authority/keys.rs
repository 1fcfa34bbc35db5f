//! Keys: the commands on them, and how they lie in SQLite.

use crate::{
    credential::{AccountRef, Digest, Environment, KeyId},
    json::ToJson,
    planted::planted,
    policy::{KeyStatus, Role, UnixMillis},
};

use super::{
    accounts,
    audit::{self, By, Change, Members},
    command::{Answer, Edit, Failure, KeyChange, NewKey, Refusal, Work},
    due,
    feed::{self, FeedSubject},
    key_filter::{KeyFilter, Part, WALK_MAX},
    key_rules::{
        Naming, check_name, end_of, refuse_beyond_limit, refuse_foreign_workspaces, refuse_inactive,
        refuse_unreached_fields, scopes_of,
    },
    labels::Labels,
    meta, mint,
    outbox::KvKey,
    query::Page,
    record::{Administration, KeyRecord, Session},
    sql::{Columns, Row, Sql, SqlError, Value, Wide, at_most_one, each},
};

/// Issues a key. No feed row: nothing older than a new key can exist anywhere.
pub(super) fn issue<S: Sql>(
    work: &Work<'_, S>,
    account: AccountRef,
    new: &NewKey,
) -> Result<(Answer, Vec<KvKey>), Failure> {
    let sql = work.sql;
    let owner = accounts::named(sql, account)?;
    refuse_inactive(&owner, new.environment)?;
    let scopes = scopes_of(new, &owner, work.circumstances.catalogue)?;
    let naming = Naming { name: new.name.as_deref(), environment: new.environment };
    check_name(sql, &owner, &naming, work.now())?;
    refuse_beyond_limit(sql, &owner, new.environment, work.now())?;
    refuse_unreached_fields(&new.fields, &scopes)?;
    refuse_foreign_workspaces(&owner, new.workspaces.as_deref())?;
    let expires_at = end_of(work, &owner, new.expires_at)?;
    let mint::New { mut record, text, mint } = mint::mint_new(work, &owner, new.environment)?;
    record.name = new.name.clone();
    record.scopes = scopes;
    record.not_before = new.not_before;
    record.expires_at = expires_at;
    record.workspaces = new.workspaces.clone();
    record.fields = new.fields.clone();
    record.allowed_ips = new.allowed_ips.clone();
    record.labels = new.labels.clone();
    record.access_level = new.access_level.clone();
    record.rotation_days = owner.settings.rotation_days;
    work.admin.refuse_beyond_own(None, &record.scopes, record.workspaces.as_deref())?;
    insert(sql, &record)?;
    note(sql, work.by(), &record, "key.issue", None)?;
    let outdated = vec![KvKey::grant(&record.digest)];
    Ok((Answer::Issued { record, text, mint }, outdated))
}

/// Renames, disables or enables a key. A revoked one stays as it was.
pub(super) fn change<S: Sql>(
    work: &Work<'_, S>,
    account: AccountRef,
    id: KeyId,
    change: &KeyChange,
) -> Result<(Answer, Vec<KvKey>), Failure> {
    let sql = work.sql;
    let mut record = named(sql, account, id)?;
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
    if let Edit::Set(name) = &change.name
        && *name != record.name
    {
        let owner = accounts::named(sql, account)?;
        let naming = Naming { name: name.as_deref(), environment: record.environment };
        check_name(sql, &owner, &naming, work.now())?;
    }
    let tags = record.labels.tags.clone();
    let noted = record.labels.change(change.labels.clone());
    let renamed = change.name.clone().apply(&mut record.name);
    let status = match change.disabled {
        Edit::Keep => Edit::Keep,
        Edit::Set(true) => Edit::Set(KeyStatus::Disabled),
        Edit::Set(false) => Edit::Set(KeyStatus::Active),
    };
    let switched = status.apply(&mut record.status);
    if !(renamed || switched || noted) {
        return Ok((Answer::Key(record), Vec::new()));
    }
    record.version = meta::next_sequence(sql)?;
    store_change(sql, &record)?;
    store_tags(sql, &record, &tags)?;
    let forgotten = planted!(WideningNotInFeed) && record.status == KeyStatus::Active;
    if switched && !forgotten && !planted!(FeedOutsideTransaction) {
        tell(sql, &record, record.version)?;
    }
    note(sql, work.by(), &record, "key.change", Some(described))?;
    let outdated = if renamed || switched { copies_of(&record) } else { Vec::new() };
    Ok((Answer::Key(record), outdated))
}

/// Revokes a key. Repeating it is a success that changes nothing of the key, but has the feed and the mirror say it again.
pub(super) fn revoke<S: Sql>(
    work: &Work<'_, S>,
    account: AccountRef,
    id: KeyId,
) -> Result<(Answer, Vec<KvKey>), Failure> {
    let sql = work.sql;
    let mut record = named(sql, account, id)?;
    let sequence = meta::next_sequence(sql)?;
    if record.status != KeyStatus::Revoked {
        end(sql, work.by(), &mut record, sequence)?;
    }
    if !planted!(FeedOutsideTransaction) {
        tell(sql, &record, sequence)?;
    }
    let outdated = copies_of(&record);
    Ok((Answer::Key(record), outdated))
}

/// Revokes a key that is not revoked; [`tell`] and the copy in KV apart.
pub(super) fn end(sql: &impl Sql, by: By<'_>, record: &mut KeyRecord, sequence: u64) -> Result<(), SqlError> {
    let described = record.described();
    record.status = KeyStatus::Revoked;
    record.revoked_at = Some(by.now);
    record.version = sequence;
    store(sql, by, record, "key.revoke", described)
}

/// Has every cache told that a key changed in command `sequence`, if there can be copies of it.
pub(super) fn tell(sql: &impl Sql, record: &KeyRecord, sequence: u64) -> Result<(), SqlError> {
    if is_copied(record) { feed::record(sql, &FeedSubject::key(&record.digest), sequence) } else { Ok(()) }
}

/// Stores a key that has changed, and what it was before in the audit; [`tell`] apart.
pub(super) fn store(
    sql: &impl Sql,
    by: By<'_>,
    record: &KeyRecord,
    action: &'static str,
    described: Members,
) -> Result<(), SqlError> {
    store_change(sql, record)?;
    note(sql, by, record, action, Some(described))
}

/// Nobody has copies of admin credentials: the Authority alone decides about them.
fn is_copied(record: &KeyRecord) -> bool {
    record.environment != Environment::Admin
}

fn copies_of(record: &KeyRecord) -> Vec<KvKey> {
    if is_copied(record) { vec![KvKey::grant(&record.digest)] } else { Vec::new() }
}

/// Reads one key of an account; another account's key is as unknown as none, after the same work.
pub(super) fn get(sql: &impl Sql, account: AccountRef, id: KeyId) -> Result<Option<KeyRecord>, SqlError> {
    let [first, end] = digests_of(id);
    // With `+` no index of the account's keys is used, of which there may be many.
    let statement = format!("SELECT {COLUMNS} FROM keys WHERE digest >= ?1 AND digest < ?2 AND +account = ?3");
    let rows = sql.run(&statement, &[first, end, account.number.into()])?;
    one(sql, rows, account.slot)
}

/// The same for a command that cannot do without it.
pub(super) fn named(sql: &impl Sql, account: AccountRef, id: KeyId) -> Result<Box<KeyRecord>, Failure> {
    get(sql, account, id)?.map(Box::new).ok_or(Failure::Refused(Refusal::NotFound))
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

/// Reads a page of the keys of an account, newest first, and where the next one begins.
pub(super) fn list(
    sql: &impl Sql,
    account: AccountRef,
    filter: &KeyFilter,
    page: Page,
    now: UnixMillis,
) -> Result<(Vec<KeyRecord>, Option<u64>), SqlError> {
    let over = accounts::over_keys(sql, account.number)?;
    let due = if filter.due { due::due(sql, account, over, now)? } else { None };
    if filter.due && due.is_none() {
        return Ok((Vec::new(), None));
    }
    let part = Part { before: page.start(), limit: page.rows(), walk: WALK_MAX, due, only_left: false };
    let selection = filter.select(sql, account, &part, over.revoked_all, now)?;
    let rows = sql.run(&format!("SELECT {COLUMNS} FROM {}", selection.from), &selection.parameters)?;
    let (listed, next) = page.cut(each(rows, |row| Ok(read(row, account.slot)?.under(over)))?, |key| key.issued);
    // Only a page that is not full may have come to the end of the walk.
    let next = if next.is_none() { selection.beyond(sql)? } else { next };
    Ok((listed, next))
}

/// Reads up to `limit` keys of a plan issued before sequence `before`, newest first.
pub(super) fn of_plan(
    sql: &impl Sql,
    account: AccountRef,
    plan: u64,
    before: u64,
    limit: u32,
) -> Result<Vec<KeyRecord>, SqlError> {
    let over = accounts::over_keys(sql, account.number)?;
    let statement = format!(
        "SELECT {COLUMNS} FROM plan_keys CROSS JOIN keys ON account = ?1 AND issued = issued_at
         WHERE of_plan = ?2 AND issued_at < ?3 ORDER BY issued_at DESC LIMIT ?4"
    );
    let rows = sql.run(&statement, &[account.number.into(), plan.into(), before.into(), limit.into()])?;
    each(rows, |row| Ok(read(row, account.slot)?.under(over)))
}

/// Every digest that begins with the id is among these: 'g' is what follows the last hex digit.
pub(super) fn digests_of(id: KeyId) -> [Value; 2] {
    let first = id.digest_prefix_hex();
    [first.as_str().into(), format!("{first}g").into()]
}

/// The key of a result that has at most one, as it counts now.
fn one(sql: &impl Sql, rows: Vec<Row>, slot: u8) -> Result<Option<KeyRecord>, SqlError> {
    let Some(row) = at_most_one(rows)? else { return Ok(None) };
    let record = read(row, slot)?;
    let over = accounts::over_keys(sql, record.account.number)?;
    Ok(Some(record.under(over)))
}

pub(super) fn insert(sql: &impl Sql, record: &KeyRecord) -> Result<(), SqlError> {
    let admin = record.admin.as_ref();
    let session = admin.and_then(|admin| admin.session.as_ref());
    let parent = session.map(|session| session.parent.map_or_else(|| ROOT.to_owned(), |digest| digest.to_hex()));
    sql.run(
        "INSERT INTO keys (digest, account, issued, version, name, environment, scopes, status, hint, pepper,
            not_before, expires_at, created_at, created_by, workspaces, fields, access_level, role, actor, parent,
            rotated_from, allowed_ips, description, owner, tags, metadata)
         VALUES (?1, ?2, ?3, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21, ?22, ?23, ?24,
            ?25)",
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
            record.rotated_from.map(|digest| digest.to_hex()).into(),
            record.allowed_ips.as_ref().map(ToJson::to_json).into(),
            record.labels.description.clone().into(),
            record.labels.owner.clone().into(),
            record.labels.tags.to_json().into(),
            record.labels.metadata.to_json().into(),
        ],
    )?;
    store_tags(sql, record, &[])
}

/// By which keys are found. `before`: those that are stored.
fn store_tags(sql: &impl Sql, record: &KeyRecord, before: &[String]) -> Result<(), SqlError> {
    let tags = &record.labels.tags;
    for gone in before.iter().filter(|tag| !tags.contains(tag)) {
        sql.run(
            "DELETE FROM key_tags WHERE of_account = ?1 AND tag = ?2 AND issued_at = ?3",
            &[record.account.number.into(), gone.as_str().into(), record.issued.into()],
        )?;
    }
    for new in tags.iter().filter(|tag| !before.contains(tag)) {
        sql.run(
            "INSERT INTO key_tags (of_account, tag, issued_at, key) VALUES (?1, ?2, ?3, ?4)",
            &[record.account.number.into(), new.as_str().into(), record.issued.into(), record.digest.to_hex().into()],
        )?;
    }
    Ok(())
}

/// In place of the digest of a session's parent: the root token made it.
const ROOT: &str = "root";

fn store_change(sql: &impl Sql, record: &KeyRecord) -> Result<(), SqlError> {
    sql.run(
        "UPDATE keys SET version = ?2, name = ?3, status = ?4, revoked_at = ?5, expires_at = ?6, rotated_to = ?7,
            unrotated_expires_at = ?8, waiting_overlap_ms = ?9, description = ?10, owner = ?11, tags = ?12, metadata = ?13
         WHERE digest = ?1",
        &[
            record.digest.to_hex().into(),
            record.version.into(),
            record.name.clone().into(),
            record.status.as_str().into(),
            record.revoked_at.map(UnixMillis::as_millis).into(),
            record.expires_at.map(UnixMillis::as_millis).into(),
            record.rotated_to.map(|digest| digest.to_hex()).into(),
            record.unrotated_expires_at.map(UnixMillis::as_millis).into(),
            record.waiting_overlap_ms.into(),
            record.labels.description.clone().into(),
            record.labels.owner.clone().into(),
            record.labels.tags.to_json().into(),
            record.labels.metadata.to_json().into(),
        ],
    )?;
    Ok(())
}

// The newest day has the newest use, unless the key was only refused on it.
const COLUMNS: &str = "digest, environment, status, account, issued, version, name, scopes, hint, pepper,
    not_before, expires_at, created_at, created_by, revoked_at, workspaces, fields, access_level, role, actor, parent,
    rotated_from, rotated_to, unrotated_expires_at, waiting_overlap_ms, allowed_ips,
    description, owner, tags, metadata,
    (SELECT last_at FROM usage WHERE usage.digest = keys.digest AND last_at > 0 ORDER BY day DESC LIMIT 1)";

fn read(row: Columns, slot: u8) -> Result<KeyRecord, SqlError> {
    Wide::read(row, |row| {
        Ok(KeyRecord {
            digest: row.columns.parsed("digest", Digest::parse_hex)?,
            environment: row.columns.parsed("environment", |text| text.parse().ok())?,
            status: row.columns.parsed("status", KeyStatus::parse)?,
            account: AccountRef { slot, number: row.narrow() },
            issued: row.number(),
            version: row.number(),
            name: row.optional_text(),
            scopes: row.json(),
            hint: row.text(),
            pepper: row.narrow(),
            not_before: row.optional_instant(),
            expires_at: row.optional_instant(),
            created_at: row.instant(),
            created_by: row.optional_text(),
            revoked_at: row.optional_instant(),
            workspaces: row.optional_json(),
            fields: row.json(),
            access_level: row.optional_text(),
            admin: row.some(administration),
            rotated_from: row.some(digest),
            rotated_to: row.some(digest),
            unrotated_expires_at: row.optional_instant(),
            waiting_overlap_ms: row.optional_number(),
            allowed_ips: row.optional_json(),
            labels: Labels {
                description: row.optional_text(),
                owner: row.optional_text(),
                tags: row.json(),
                metadata: row.json(),
            },
            last_used_at: row.optional_instant(),
            scopes_last_used: None,
            rotation_days: None,
        })
    })
}

fn digest(row: &mut Columns) -> Result<Option<Digest>, SqlError> {
    let wrong = || SqlError("a stored digest is not of its form".into());
    row.optional_text()?.map(|text| Digest::parse_hex(&text).ok_or_else(wrong)).transpose()
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

/// Puts a change of a key into its account's audit.
pub(super) fn note(
    sql: &impl Sql,
    by: By<'_>,
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
    audit::append(sql, by, change)?;
    Ok(())
}
