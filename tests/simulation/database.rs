//! What must hold of a database: it says what the truth says, whole, and its audit and its feed are complete.

use std::collections::{BTreeMap, BTreeSet};

use keygate::{
    authority::sql::{Row, Value},
    policy::{RevokedBefore, UnixMillis},
};

use super::{
    linear::key_status,
    rng::{BASE_MS, MS, SECOND},
    truth::Key,
    world::World,
};

/// A day, in milliseconds.
const DAY_MS: u64 = 24 * 60 * 60 * 1_000;

fn text(value: &Value) -> &str {
    match value {
        Value::Text(text) => text,
        _ => "",
    }
}

fn number(value: &Value) -> u64 {
    match value {
        Value::Integer(number) => number.unsigned_abs(),
        _ => 0,
    }
}

/// A key that was revoked with all others is revoked.
const KEYS: &str =
    "SELECT digest, CASE WHEN issued <= CASE environment WHEN 'live' THEN revoked_live WHEN 'test' THEN revoked_test ELSE revoked_admin END
        THEN 'revoked' ELSE keys.status END, keys.version, keys.name
    FROM keys JOIN accounts ON accounts.number = keys.account";

const ACCOUNTS: &str = "SELECT number, version, name, revoked_live, revoked_test,
        (SELECT count(*) FROM workspaces WHERE account = number AND archived_at IS NULL)
    FROM accounts";

impl World {
    /// Compares an instance's database with the truth. It must be the current one's.
    pub fn check_database(&mut self, shard: usize, instance: usize) {
        let sql = &self.shards[shard].instances[instance].sql;
        let faults = [
            self.compare_keys(shard, &sql.look(KEYS)),
            self.compare_accounts(shard, &sql.look(ACCOUNTS)),
            self.compare_feed(
                shard,
                &sql.look("SELECT subject, sequence FROM feed"),
                sql.number("SELECT feed_low FROM meta"),
            ),
            self.compare_usage(
                shard,
                &sql.look("SELECT digest, sum(count), group_concat(hours, ' ') FROM usage GROUP BY digest"),
            ),
            self.compare_audit(
                shard,
                &sql.look("SELECT account, number, text, hash FROM audit ORDER BY account, number"),
                &sql.look("SELECT number, audit_number, audit_hash FROM accounts"),
            ),
            self.compare_commands(shard, sql.number("SELECT count(*) FROM commands")),
        ];
        if let Some((invariant, detail)) = faults.into_iter().flatten().next() {
            self.violate(invariant, format!("slot {shard}, instance {instance}: {detail}"));
        }
    }

    fn compare_keys(&self, shard: usize, rows: &[Row]) -> Option<(&'static str, String)> {
        let keys = self.truth.keys.iter().filter(|key| key.shard == shard);
        let mut wanted = BTreeMap::new();
        for key in keys {
            if let Some(state) = key.history.last() {
                wanted.insert(key.digest.to_hex(), (state.is.status, state.version, state.name.clone()));
            }
        }
        for row in rows {
            let is = (text(&row[1]), number(&row[2]), text(&row[3]));
            let Some((status, version, name)) = wanted.remove(text(&row[0])) else {
                return Some(("I9", format!("there is a key that nobody issued: {row:?}")));
            };
            if is != (status.as_str(), version, name.as_deref().unwrap_or_default()) {
                return Some(("I9", format!("a key is {is:?} and not {}", key_status(status))));
            }
        }
        // A session that ended long ago goes.
        wanted
            .retain(|digest, _| !self.truth.keys.iter().any(|key| key.digest.to_hex() == *digest && self.is_over(key)));
        wanted.pop_first().map(|(digest, _)| ("I9", format!("key {digest} is gone")))
    }

    fn is_over(&self, key: &Key) -> bool {
        let ends_at = key.history.last().and_then(|state| state.is.expires_at).map_or(u64::MAX, UnixMillis::as_millis);
        let is_session = key.administration.as_ref().is_some_and(|held| held.session.is_some());
        is_session && ends_at + DAY_MS < BASE_MS + self.now / MS + 60_000
    }

    fn compare_accounts(&self, shard: usize, rows: &[Row]) -> Option<(&'static str, String)> {
        let tenants = self.truth.tenants.iter().filter(|tenant| tenant.shard == shard);
        let mut wanted = BTreeMap::new();
        for tenant in tenants {
            if let Some(state) = tenant.history.last() {
                let RevokedBefore { live, test } = state.is.revoked_before;
                let workspaces = state.is.workspaces.len() as u64;
                wanted
                    .insert(u64::from(tenant.id.number), (state.version, state.name.clone(), [live, test, workspaces]));
            }
        }
        for row in rows {
            let rights = [number(&row[3]), number(&row[4]), number(&row[5])];
            let is = (number(&row[1]), Some(text(&row[2]).to_owned()), rights);
            if wanted.remove(&number(&row[0])) != Some(is) {
                return Some(("I9", format!("an account is not as it should be: {row:?}")));
            }
        }
        wanted.pop_first().map(|(number, _)| ("I9", format!("account {number} is gone")))
    }

    /// Every change that decides otherwise is in the feed, or at most `low`.
    fn compare_feed(&self, shard: usize, rows: &[Row], low: u64) -> Option<(&'static str, String)> {
        let feed: BTreeMap<&str, u64> = rows.iter().map(|row| (text(&row[0]), number(&row[1]))).collect();
        let lacks =
            |subject: &str, version: u64| version > low && feed.get(subject).is_none_or(|sequence| *sequence < version);
        // About credentials the Authority alone decides.
        for key in self.truth.keys.iter().filter(|key| key.shard == shard && !key.is_credential()) {
            let subject = format!("key:{}", key.digest.prefix_hex());
            for pair in key.history.states.windows(2) {
                // What was revoked with all others is a change of the account.
                let own = pair[0].version < pair[1].version;
                if own && pair[0].is != pair[1].is && lacks(&subject, pair[1].version) {
                    return Some(("I21", format!("the feed lacks {subject} at {}", pair[1].version)));
                }
            }
        }
        for tenant in self.truth.tenants.iter().filter(|tenant| tenant.shard == shard) {
            let subject = format!("account:{}", tenant.id.number);
            for pair in tenant.history.states.windows(2) {
                if pair[0].is != pair[1].is && lacks(&subject, pair[1].as_of) {
                    return Some(("I21", format!("the feed lacks {subject} at {}", pair[1].as_of)));
                }
            }
        }
        None
    }

    /// Counts are lower bounds.
    fn compare_usage(&self, shard: usize, rows: &[Row]) -> Option<(&'static str, String)> {
        rows.iter().find_map(|row| {
            let key = self.truth.keys.iter().find(|key| key.shard == shard && key.digest.to_hex() == text(&row[0]))?;
            let counted = number(&row[1]);
            let accepted = key.accepted;
            if counted > accepted {
                return Some(("usage", format!("a key was used {accepted} times and counted {counted}")));
            }
            // `8+12 8k3`: the hour, how it ended, how often.
            let sum = |of_uses: bool| {
                let calls =
                    text(&row[2]).split(' ').filter(|calls| !calls.is_empty() && calls.contains('+') == of_uses);
                calls
                    .map(|calls| calls.rsplit(|c: char| !c.is_ascii_digit()).next().unwrap().parse::<u64>().unwrap())
                    .sum::<u64>()
            };
            let (by_hours, refused) = (sum(true), sum(false));
            if by_hours != counted || refused > key.refused {
                let detail = format!("{counted} uses are {by_hours} by hours; {refused} of {} refusals", key.refused);
                return Some(("usage", detail));
            }
            None
        })
    }

    fn compare_audit(&self, shard: usize, rows: &[Row], heads: &[Row]) -> Option<(&'static str, String)> {
        let mut chains: BTreeMap<u64, (u64, String)> = BTreeMap::new();
        for row in rows {
            let none = || (0, keygate::authority::audit::NO_HASH.to_owned());
            let (last, previous) = chains.entry(number(&row[0])).or_insert_with(none);
            let entry = self.memo.audited(text(&row[2]));
            let fits = number(&row[1]) == *last + 1
                && entry.previous.as_ref() == Some(previous)
                && entry.number == Some(*last + 1)
                && entry.hash == text(&row[3]);
            if !fits {
                return Some(("I15", format!("the chain breaks at {row:?}")));
            }
            (*last, *previous) = (*last + 1, entry.hash.clone());
        }
        for head in heads {
            let (last, hash) = chains.remove(&number(&head[0])).unwrap_or_default();
            let tenant = self
                .truth
                .tenants
                .iter()
                .find(|tenant| tenant.shard == shard && u64::from(tenant.id.number) == number(&head[0]));
            let changes = tenant.map_or(0, |tenant| tenant.audited.len() as u64);
            if (last, hash.as_str()) != (number(&head[1]), text(&head[2])) || last != changes {
                return Some(("I15", format!("{changes} changes, {last} entries, head {head:?}")));
            }
        }
        None
    }

    /// Each command that counts has its row, until that is a day old.
    fn compare_commands(&self, shard: usize, rows: u64) -> Option<(&'static str, String)> {
        let commits = self.admin.ops.iter().filter(|op| op.shard == shard).map(|op| op.commits.len() as u64);
        let commits: u64 = commits.sum();
        let young = self.now < 20 * 60 * 60 * SECOND;
        (young && rows != commits).then(|| ("I9", format!("{commits} commands were committed, {rows} are kept")))
    }

    /// No secret lies in any table, nor in KV.
    pub fn check_secrecy(&mut self) {
        let mut texts: BTreeSet<&str> = self.kv.ever.iter().map(|(_, value)| &**value).collect();
        for shard in &self.shards {
            for write in shard.disk.flushes.iter().flat_map(|flush| &flush.writes) {
                if let super::disk::Write::Statement(_, parameters) = write {
                    texts.extend(parameters.iter().map(text));
                }
            }
        }
        let texts = texts.into_iter().collect::<Vec<_>>().join("\n");
        let mut secrets = self.truth.keys.iter().map(|key| &key.text[key.text.len() - 40..]);
        let found = secrets.find(|secret| texts.contains(*secret)).map(str::to_owned);
        if let Some(secret) = found {
            self.violate("I20", format!("a key is stored: …{secret}"));
        }
    }
}
