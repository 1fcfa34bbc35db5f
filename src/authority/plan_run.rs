//! What plans do by the alarm, between everything else: look for their keys, and revoke them, a chunk at a time.
//!
//! A chunk is one transaction: its keys are revoked, and the plan knows how far it has come, or neither. So whenever an
//! object ends, another one goes on where that one was. A key that was revoked by somebody else meanwhile is counted
//! and left as it is; one that was changed is revoked like the others, for the plan names keys.

use crate::{
    credential::AccountRef,
    planted::{chunk, planted},
    policy::{KeyStatus, UnixMillis},
};

use super::{
    audit::By,
    keys, meta, outbox,
    outbox::KvKey,
    plans::{self, PLAN_KEPT_MS},
    record::KeyRecord,
    sql::{Sql, SqlError, at_most_one, narrow},
};

/// Keys that one chunk revokes, at some ten statements each: a sync waits for a chunk at most, which takes 70 ms on a slow
/// machine (tests/workerd/plans.test.mjs), of a lease of a second or more.
pub const CHUNK: u32 = 100;

/// Keys of an old plan that one alarm forgets; it rings again while there are more.
const FORGOTTEN_PER_ALARM: u32 = 1_000;

/// Revokes the next keys of the plan that was ordered first, of those that are not done. Where there is none, a plan that has
/// not found all of its keys yet looks at the next ones. Gives the revoked keys as they are since; none when no plan has
/// anything to do.
///
/// # Errors
/// Trouble with SQLite; then nothing was done.
pub fn advance(sql: &impl Sql, slot: u8, now: UnixMillis) -> Result<Option<Vec<KeyRecord>>, SqlError> {
    sql.atomically(|| {
        let running = sql.run(
            "SELECT sequence, account, next, credential, actor FROM plans WHERE state = 'running'
             ORDER BY started_at LIMIT 1",
            &[],
        )?;
        let Some(mut plan) = at_most_one(running)? else {
            return Ok(plans::go_on(sql, slot)?.then(Vec::new));
        };
        let sequence = plan.number()?;
        let account = AccountRef { slot, number: narrow(plan.number()?)? };
        let next = plan.number()?;
        let (credential, actor) = (plan.text()?, plan.optional_text()?);
        let by = By { credential: &credential, actor: actor.as_deref(), now };
        let size = chunk(CHUNK);
        let found = keys::of_plan(sql, account, sequence, next, size)?;
        let looked_at = found.len();
        let mut last = next;
        let mut revoked = Vec::with_capacity(looked_at);
        for mut record in found {
            last = record.issued;
            if record.status == KeyStatus::Revoked {
                continue;
            }
            let revocation = meta::next_sequence(sql)?;
            keys::end(sql, by, &mut record, revocation)?;
            if !planted!(PlanNotInFeed) {
                keys::tell(sql, &record, revocation)?;
            }
            // The feed has said it: what is behind in KV decides nothing, and holds up no other change.
            outbox::enqueue_swept(sql, &KvKey::grant(&record.digest), now)?;
            revoked.push(record);
        }
        let skipped = looked_at.saturating_sub(revoked.len());
        sql.run(
            "UPDATE plans SET next = ?2, revoked = revoked + ?3, skipped = skipped + ?4 WHERE sequence = ?1",
            &[sequence.into(), last.into(), (revoked.len() as u64).into(), (skipped as u64).into()],
        )?;
        if looked_at < size as usize {
            sql.run(
                "UPDATE plans SET state = 'done', finished_at = ?2, gone_at = ?2 + ?3 WHERE sequence = ?1",
                &[sequence.into(), now.as_millis().into(), PLAN_KEPT_MS.into()],
            )?;
        }
        Ok(Some(revoked))
    })
}

/// Forgets, a part at a time, the plan whose time was over first.
///
/// # Errors
/// Trouble with SQLite; then nothing was forgotten.
pub fn forget(sql: &impl Sql, now: UnixMillis) -> Result<(), SqlError> {
    let over =
        sql.run("SELECT sequence FROM plans WHERE gone_at <= ?1 ORDER BY gone_at LIMIT 1", &[now.as_millis().into()])?;
    let Some(mut plan) = at_most_one(over)? else { return Ok(()) };
    let sequence = plan.number()?;
    sql.run(
        "DELETE FROM plan_keys WHERE of_plan = ?1
            AND issued_at IN (SELECT issued_at FROM plan_keys WHERE of_plan = ?1 ORDER BY issued_at LIMIT ?2)",
        &[sequence.into(), FORGOTTEN_PER_ALARM.into()],
    )?;
    sql.run(
        "DELETE FROM plans WHERE sequence = ?1 AND NOT EXISTS (SELECT 1 FROM plan_keys WHERE of_plan = ?1)",
        &[sequence.into()],
    )?;
    Ok(())
}
