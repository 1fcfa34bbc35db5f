//! Rotation: a key gets a successor with a new secret, and both work until the overlap is over.
//!
//! While the overlap runs, the old key has an end, which the edge knows as its `expires_at`: nothing has to happen then for
//! it to stop. What it had before is kept, for a rotation that is cancelled. A key that has a successor counts neither
//! against the limit of its account nor as the holder of its name; so that there are never more than two of a kind, a key
//! is rotated with an overlap only when the one before it no longer works.
//!
//! The overlap begins with the rotation, or with the first use of the successor. Of that the Authority hears with the
//! syncs, as of every use: within seconds where caches reach it, or later, and if the only word of it is lost, with the
//! next use that is told.

use crate::{
    credential::{AccountRef, Digest, Environment, KeyId},
    policy::{EffectiveStatus, KeyStatus, UnixMillis},
};

use super::{
    accounts,
    audit::{By, Members},
    command::{Answer, Edit, Failure, NewRotation, OverlapFrom, Refusal, Work},
    key_rules, keys, meta, mint,
    outbox::{self, KvKey},
    record::KeyRecord,
    sql::{Sql, SqlError, at_most_one},
    usage::Use,
};

/// Gives a key a successor.
pub(super) fn rotate<S: Sql>(
    work: &Work<'_, S>,
    account: AccountRef,
    id: KeyId,
    new: &NewRotation,
) -> Result<(Answer, Vec<KvKey>), Failure> {
    let (sql, now) = (work.sql, work.now());
    let mut old = keys::named(sql, account, id)?;
    work.order.precondition.check(old.version)?;
    let owner = accounts::named(sql, account)?;
    refuse_ended(&old, now)?;
    if new.overlap_ms > 0 || new.overlap_from == OverlapFrom::FirstUse {
        refuse_third(sql, &old, now)?;
    }
    key_rules::refuse_inactive(&owner, old.environment)?;
    if let Some(scopes) = &new.scopes {
        key_rules::refuse_unknown_scopes(scopes, &owner, work.circumstances.catalogue)?;
    }
    let scopes = new.scopes.as_ref().unwrap_or(&old.scopes);
    let fields = match &new.fields {
        Some(fields) => fields.clone(),
        // A list for what the successor does not reach goes with the scope that reached it.
        None => old.fields.for_resources(scopes.as_slice()),
    };
    let workspaces = new.workspaces.over(&old.workspaces);
    key_rules::refuse_unreached_fields(&fields, scopes)?;
    if new.workspaces.is_set() {
        key_rules::refuse_foreign_workspaces(&owner, workspaces.as_deref())?;
    }
    work.admin.refuse_beyond_own(None, scopes, workspaces.as_deref())?;
    let expires_at = match &new.expires_at {
        Edit::Set(end) => key_rules::end_of(work, &owner, *end)?,
        // As long a life again, or as long as a life may be.
        Edit::Keep => {
            let again = |end: UnixMillis| {
                let life = end.saturating_millis_since(old.not_before.unwrap_or(old.created_at));
                now.saturating_add_millis(life)
            };
            let longest = key_rules::end_of(work, &owner, None)?;
            old.expires_at.map(again).into_iter().chain(longest).min()
        }
    };
    let mint::New { record: mut successor, text, mint } = mint::mint_new(work, &owner, old.environment)?;
    successor.name = old.name.clone();
    successor.scopes = scopes.clone();
    successor.not_before = old.not_before.filter(|start| now < *start);
    successor.expires_at = expires_at;
    successor.workspaces = workspaces.clone();
    successor.fields = fields;
    successor.allowed_ips = new.allowed_ips.over(&old.allowed_ips).clone();
    successor.labels = old.labels.clone();
    successor.access_level = old.access_level.clone();
    successor.rotated_from = Some(old.digest);
    successor.rotation_days = old.rotation_days;
    let described = old.described();
    old.version = successor.version;
    old.rotated_to = Some(successor.digest);
    match new.overlap_from {
        OverlapFrom::Rotation => begin_overlap(&mut old, new.overlap_ms, now, now),
        OverlapFrom::FirstUse => old.waiting_overlap_ms = Some(new.overlap_ms),
    }
    keys::insert(sql, &successor)?;
    keys::note(sql, work.by(), &successor, "key.issue", None)?;
    store(sql, work.by(), &old, "key.rotate", described)?;
    let outdated = vec![KvKey::grant(&old.digest), KvKey::grant(&successor.digest)];
    Ok((Answer::Rotated { record: successor, text, mint, old }, outdated))
}

/// The key works for `overlap_ms` from `begin` on, or no longer at all. Nothing lengthens its life.
fn begin_overlap(old: &mut KeyRecord, overlap_ms: u64, begin: UnixMillis, now: UnixMillis) {
    old.waiting_overlap_ms = None;
    if overlap_ms == 0 {
        old.status = KeyStatus::Revoked;
        old.revoked_at = Some(now);
    } else {
        let end = begin.saturating_add_millis(overlap_ms);
        old.unrotated_expires_at = old.expires_at;
        old.expires_at = Some(old.expires_at.map_or(end, |earlier| earlier.min(end)));
    }
}

/// Takes notice of uses: where a successor is among them whose predecessor waits for that, its overlap begins with that
/// use. The keys whose overlap has begun.
///
/// # Errors
/// Trouble with SQLite; then nothing has begun.
pub fn used(sql: &impl Sql, slot: u8, uses: &[Use], now: UnixMillis) -> Result<Vec<KeyRecord>, SqlError> {
    if uses.is_empty() || !anyone_waits(sql)? {
        return Ok(Vec::new());
    }
    let mut begun = Vec::new();
    for used in uses {
        let rows = sql.run(
            "SELECT digest FROM keys WHERE waiting_overlap_ms IS NOT NULL AND rotated_to = ?1",
            &[used.digest.to_hex().into()],
        )?;
        let Some(mut row) = at_most_one(rows)? else { continue };
        let digest = row.parsed("digest", Digest::parse_hex)?;
        let Some(mut old) = keys::get_by_digest_alone(sql, slot, &digest)? else { continue };
        let Some(overlap_ms) = old.waiting_overlap_ms else { continue };
        if old.status == KeyStatus::Revoked {
            // Alone or with all others: there is nothing left to end, and nothing to say.
            sql.run("UPDATE keys SET waiting_overlap_ms = NULL WHERE digest = ?1", &[digest.to_hex().into()])?;
            continue;
        }
        let first_use = UnixMillis::from_millis(now.as_millis().saturating_sub(used.age_ms));
        let described = old.described();
        sql.atomically(|| {
            begin_overlap(&mut old, overlap_ms, first_use, now);
            old.version = meta::next_sequence(sql)?;
            // Who began it is who used the successor.
            let by = KeyId::of(&used.digest).to_string();
            store(sql, By { credential: &by, actor: None, now }, &old, "key.overlap", described)?;
            outbox::enqueue(sql, &KvKey::grant(&old.digest), now)
        })?;
        begun.push(old);
    }
    Ok(begun)
}

fn anyone_waits(sql: &impl Sql) -> Result<bool, SqlError> {
    Ok(!sql.run("SELECT 1 FROM keys WHERE waiting_overlap_ms IS NOT NULL LIMIT 1", &[])?.is_empty())
}

/// Ends the overlap now. Repeating it is a success.
pub(super) fn confirm<S: Sql>(
    work: &Work<'_, S>,
    account: AccountRef,
    id: KeyId,
) -> Result<(Answer, Vec<KvKey>), Failure> {
    let sql = work.sql;
    let mut old = keys::named(sql, account, id)?;
    if old.rotated_to.is_none() {
        return Err(not_rotated().into());
    }
    if old.status != KeyStatus::Revoked {
        let described = old.described();
        begin_overlap(&mut old, 0, work.now(), work.now());
        old.version = meta::next_sequence(sql)?;
        store(sql, work.by(), &old, "key.confirm", described)?;
    }
    let outdated = vec![KvKey::grant(&old.digest)];
    Ok((Answer::Key(old), outdated))
}

/// Drops the successor: the old key goes on as if there had been none.
pub(super) fn cancel<S: Sql>(
    work: &Work<'_, S>,
    account: AccountRef,
    id: KeyId,
) -> Result<(Answer, Vec<KvKey>), Failure> {
    let (sql, now) = (work.sql, work.now());
    let mut old = keys::named(sql, account, id)?;
    let successor = old.rotated_to.ok_or_else(not_rotated)?;
    if matches!(old.status_at(now), EffectiveStatus::Expired | EffectiveStatus::Revoked) {
        return Err(conflict("The key no longer works; its successor takes its place.").into());
    }
    let mut successor = keys::get_by_digest(sql, account, &successor)?.map(Box::new).ok_or(Refusal::NotFound)?;
    if successor.rotated_to.is_some() {
        return Err(conflict("The successor of the key has been rotated itself; cancel that first.").into());
    }
    let sequence = meta::next_sequence(sql)?;
    let described = old.described();
    if old.waiting_overlap_ms.take().is_none() {
        old.expires_at = old.unrotated_expires_at.take();
    }
    old.rotated_to = None;
    old.version = sequence;
    store(sql, work.by(), &old, "key.cancel", described)?;
    if successor.status != KeyStatus::Revoked {
        keys::end(sql, work.by(), &mut successor, sequence)?;
        keys::tell(sql, &successor, sequence)?;
    }
    let outdated = vec![KvKey::grant(&old.digest), KvKey::grant(&successor.digest)];
    Ok((Answer::Unrotated { record: old, successor }, outdated))
}

/// Stores a key that has changed, and has everybody told.
fn store(
    sql: &impl Sql,
    by: By<'_>,
    record: &KeyRecord,
    action: &'static str,
    described: Members,
) -> Result<(), SqlError> {
    keys::store(sql, by, record, action, described)?;
    keys::tell(sql, record, record.version)
}

/// Refuses what has nothing to go on with.
fn refuse_ended(old: &KeyRecord, now: UnixMillis) -> Result<(), Refusal> {
    if old.environment == Environment::Admin {
        return Err(conflict("Admin credentials are not rotated: issue another, and revoke this one."));
    }
    match old.status_at(now) {
        EffectiveStatus::Revoked => Err(conflict("The key is revoked, which is final; issue a new one.")),
        EffectiveStatus::Expired => Err(conflict("The key has expired; issue a new one.")),
        EffectiveStatus::Disabled => Err(conflict("The key is disabled; enable it first, or issue a new one.")),
        EffectiveStatus::Active | EffectiveStatus::NotYetValid if old.rotated_to.is_some() => {
            Err(conflict("The key has a successor already; confirm or cancel that first."))
        }
        EffectiveStatus::Active | EffectiveStatus::NotYetValid => Ok(()),
    }
}

/// Refuses to have three keys in place of one at the same time.
fn refuse_third(sql: &impl Sql, key: &KeyRecord, now: UnixMillis) -> Result<(), Failure> {
    let Some(before) = &key.rotated_from else { return Ok(()) };
    let Some(before) = keys::get_by_digest(sql, key.account, before)? else { return Ok(()) };
    let works = matches!(before.status_at(now), EffectiveStatus::Active | EffectiveStatus::NotYetValid);
    if works && before.rotated_to == Some(key.digest) {
        let detail = format!(
            "The key {} that this one succeeds still works; confirm that rotation first, or rotate with overlap 0.",
            before.id()
        );
        return Err(conflict(&detail).into());
    }
    Ok(())
}

fn not_rotated() -> Refusal {
    conflict("The key has no successor; rotate it first.")
}

fn conflict(detail: &str) -> Refusal {
    Refusal::Conflict { field: None, detail: detail.into() }
}
