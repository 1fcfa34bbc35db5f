//! All keys of an environment, revoked at once.
//!
//! However many keys there are, it is one change of their account: those issued up to a sequence are revoked. Whoever
//! decides about a key knows its account, so it counts everywhere as fast as any other change. Only what nobody decides
//! by, the copies of the keys in KV, must be told one by one: a sweep does that, a few at a time and behind all else.

use crate::{
    credential::{AccountRef, Digest, Environment},
    json::ToJson,
    planted::planted,
    policy::UnixMillis,
};

use super::{
    accounts,
    audit::{self, Change},
    command::{Answer, Failure, Work},
    feed::{self, FeedSubject},
    keys, meta,
    outbox::{self, KvKey},
    record::{Revoked, RevokedAll},
    sql::{Columns, Sql, SqlError, Value, at_most_one},
};

/// Revokes all keys that `environments` of an account have now. Repeating it is a success; where no key was left, it
/// changes no date, but has the feed and the mirror say it again.
pub(super) fn revoke<S: Sql>(
    work: &Work<'_, S>,
    account: AccountRef,
    environments: &[Environment],
) -> Result<(Answer, Vec<KvKey>), Failure> {
    let sql = work.sql;
    let owner = accounts::named(sql, account)?;
    let sequence = meta::next_sequence(sql)?;
    let now = Revoked { sequence, at: work.now() };
    let mut revoked_all = owner.revoked_all;
    for environment in environments.iter().copied() {
        let upto = owner.revoked_all.upto(environment);
        if owner.revoked_all.of(environment).is_none() || keys::any_left(sql, account, environment, upto)? {
            *revoked_all.of_mut(environment) = Some(now);
            begin_sweep(sql, account, environment, upto, sequence)?;
        }
    }
    if revoked_all != owner.revoked_all {
        store(sql, account, revoked_all)?;
        let names: Vec<&str> = environments.iter().map(|environment| environment.as_str()).collect();
        let change = Change {
            account,
            sequence,
            action: "key.revoke_all",
            subject: account.to_string(),
            before: None,
            after: vec![("environments", names.to_json())],
        };
        audit::append(sql, work.by(), change)?;
    }
    if !planted!(RevokeAllNotInFeed) {
        feed::record(sql, &FeedSubject::account(account), sequence)?;
    }
    let answer = Answer::AllRevoked { account, environments: environments.to_vec(), revoked_all };
    Ok((answer, vec![KvKey::account(account)]))
}

/// Has a few more keys put into KV that were revoked with all others, if not much else waits there.
///
/// # Errors
/// Trouble with SQLite; then nothing was moved.
pub fn sweep(sql: &impl Sql, now: UnixMillis) -> Result<(), SqlError> {
    let Some(mut row) = at_most_one(sql.run("SELECT account, environment, next, upto FROM sweeps LIMIT 1", &[])?)?
    else {
        return Ok(());
    };
    if outbox::is_long(sql)? {
        return Ok(());
    }
    let place: [Value; 2] = [row.number()?.into(), row.text()?.into()];
    let (next, upto) = (row.number()?, row.number()?);
    sql.atomically(|| {
        let [account, environment] = place.clone();
        // Those that were revoked alone have had their turn.
        let found = sql.run(
            "SELECT issued, digest FROM keys WHERE account = ?1 AND environment = ?2 AND status <> 'revoked'
                AND issued BETWEEN ?3 AND ?4 ORDER BY issued LIMIT ?5",
            &[account.clone(), environment.clone(), next.into(), upto.into(), outbox::SHORT.into()],
        )?;
        let mut last = upto;
        for row in found {
            let mut row = Columns::of(row);
            last = row.number()?;
            outbox::enqueue_swept(sql, &KvKey::grant(&row.parsed("digest", Digest::parse_hex)?), now)?;
        }
        if last < upto {
            sql.run(
                "UPDATE sweeps SET next = ?3 WHERE account = ?1 AND environment = ?2",
                &[account, environment, last.saturating_add(1).into()],
            )?;
        } else {
            sql.run("DELETE FROM sweeps WHERE account = ?1 AND environment = ?2", &place)?;
        }
        Ok(())
    })
}

fn store(sql: &impl Sql, account: AccountRef, revoked_all: RevokedAll) -> Result<(), SqlError> {
    let RevokedAll { live, test, admin } = revoked_all;
    let columns = [live, test, admin].into_iter().flat_map(|revoked| {
        let at = revoked.map(|revoked| revoked.at.as_millis());
        [revoked.map_or(0, |revoked| revoked.sequence).into(), at.into()]
    });
    sql.run(
        "UPDATE accounts SET revoked_live = ?2, revoked_live_at = ?3, revoked_test = ?4, revoked_test_at = ?5,
            revoked_admin = ?6, revoked_admin_at = ?7
         WHERE number = ?1",
        &[Value::from(account.number)].into_iter().chain(columns).collect::<Vec<_>>(),
    )?;
    Ok(())
}

/// Keys issued up to `swept` have had their turn, or are about to in a sweep that now goes further.
fn begin_sweep(
    sql: &impl Sql,
    account: AccountRef,
    environment: Environment,
    swept: u64,
    upto: u64,
) -> Result<(), SqlError> {
    sql.run(
        "INSERT INTO sweeps (account, environment, next, upto) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT (account, environment) DO UPDATE SET upto = excluded.upto",
        &[account.number.into(), environment.as_str().into(), swept.saturating_add(1).into(), upto.into()],
    )?;
    Ok(())
}
