//! A relay: what an object between the isolates of a region and the Authority would do. It is not built; this is what
//! it would have to be, small enough to count what it brings.
//!
//! It holds a lease from the Authority, counted from its own sending, as an isolate's is; it keeps the changes that it
//! was told, and copies as the Authority signed them. An isolate's sync is answered from that, for as long as what is
//! left of the relay's lease: an isolate counts from its own sending, which was before that moment, so nothing is
//! decided later than if the relay itself had decided. What it has no copy of, it asks the Authority for.

use std::collections::HashMap;
use std::fmt::Write;
use std::rc::Rc;

use keygate::{
    authority::{
        sync::{Known, Subject, SyncAnswer, SyncRequest, USES_MAX, Want},
        usage::Use,
    },
    credential::Digest,
    policy::UnixMillis,
};

#[derive(Default)]
pub struct Relay {
    known: Option<Known>,
    low: u64,
    until: Option<UnixMillis>,
    /// In the order they were learnt: the relay's cursor then, the subject, the sequence.
    changes: Vec<(u64, u64, u64)>,
    changed_at: HashMap<u64, u64>,
    grants: HashMap<Digest, Rc<str>>,
    accounts: HashMap<u32, Rc<str>>,
    /// What was used, how often, when last, and by which scopes.
    uses: HashMap<Digest, (u32, u64, u128)>,
}

impl Relay {
    /// Takes what an isolate tells. What it wants and is not at hand; none = it can be answered now.
    pub fn take(&mut self, request: &SyncRequest, now: UnixMillis) -> Option<Vec<Want>> {
        for Use { digest, count, age_ms, scopes } in &request.uses {
            let at = now.as_millis() - age_ms;
            let (sum, last, all) = self.uses.entry(*digest).or_insert((0, at, 0));
            (*sum, *last, *all) = (*sum + count, at.max(*last), *all | scopes);
        }
        let missing = |want: &&Want| {
            !(self.grants.contains_key(&want.digest) && self.accounts.contains_key(&want.account)) || want.refresh
        };
        let missing: Vec<Want> = request.wants.iter().filter(missing).copied().collect();
        (!missing.is_empty() || self.until.is_none_or(|until| until <= now)).then_some(missing)
    }

    /// The uses that wait.
    pub fn waiting(&self) -> usize {
        self.uses.len()
    }

    /// A question of its own to the Authority.
    pub fn question(&mut self, wants: Vec<Want>, now: UnixMillis) -> SyncRequest {
        // In an order that does not depend on the map.
        let mut digests: Vec<Digest> = self.uses.keys().copied().collect();
        digests.sort_unstable();
        digests.truncate(USES_MAX);
        let told = digests.into_iter().map(|digest| {
            let (count, at, scopes) = self.uses.remove(&digest).unwrap();
            Use { digest, count, age_ms: now.as_millis() - at, scopes }
        });
        SyncRequest { known: self.known.clone(), wants, uses: told.collect(), ..SyncRequest::default() }
    }

    /// The Authority has answered what was asked at `sent_at`.
    pub fn answered(&mut self, text: &str, sent_at: UnixMillis) {
        let answer = SyncAnswer::parse(text).unwrap();
        let earlier = self.known.as_ref().map_or(0, |known| known.cursor);
        let cursor = answer.now.cursor.max(earlier);
        for (subject, sequence) in &answer.changes {
            let changed_at = self.changed_at.entry(subject.number()).or_insert(0);
            if *sequence > *changed_at {
                *changed_at = *sequence;
                self.changes.push((cursor, subject.number(), *sequence));
                self.drop_copies(*subject);
            }
        }
        let as_of = answer.now.sequence;
        self.low = self.low.max(answer.low);
        let sequence = self.known.as_ref().map_or(0, |known| known.sequence).max(as_of);
        self.known = Some(Known { epoch: answer.now.epoch, sequence, cursor });
        self.until = self.until.max(Some(sent_at.saturating_add_millis(answer.lease_ms)));
        let is_new = |subject: Subject| self.changed_at.get(&subject.number()).is_none_or(|at| *at <= as_of);
        for (digest, copy) in answer.grants {
            if let Some(text) = copy.filter(|_| is_new(Subject::key(&digest))) {
                self.grants.insert(digest, text.into());
            }
        }
        for (number, copy) in answer.accounts {
            if let Some(text) = copy.filter(|_| is_new(Subject::account(number))) {
                self.accounts.insert(number, text.into());
            }
        }
    }

    fn drop_copies(&mut self, subject: Subject) {
        match u32::try_from(subject.number()) {
            Ok(number) => drop(self.accounts.remove(&number)),
            Err(_) => self.grants.retain(|digest, _| Subject::key(digest) != subject),
        }
    }

    /// What is said to an isolate; none while there is no lease to give.
    pub fn answer(&self, request: &SyncRequest, now: UnixMillis) -> Option<String> {
        let known = self.known.as_ref()?;
        let left_ms = self.until?.saturating_millis_since(now);
        if left_ms == 0 {
            return None;
        }
        let theirs = request.known.as_ref().filter(|theirs| theirs.epoch == known.epoch).map(|theirs| theirs.cursor);
        let mut text = format!(
            "sync 1 v1 {} {} {} {} {left_ms} 0 {}",
            known.epoch,
            known.sequence,
            known.cursor,
            self.low,
            if theirs.is_some() { "on" } else { "reset" }
        );
        let from = self.changes.partition_point(|(cursor, ..)| *cursor <= theirs.unwrap_or(0));
        for (_, subject, sequence) in &self.changes[from..] {
            let named = u32::try_from(*subject).map(|number| format!("account:{number}"));
            write!(text, "\n{} {sequence}", named.unwrap_or_else(|_| format!("key:{subject:016x}"))).unwrap();
        }
        for Want { digest, account, .. } in &request.wants {
            write!(text, "\ngrant {} {}", digest.to_hex(), self.grants.get(digest).map_or("-", |copy| copy)).unwrap();
            write!(text, "\naccount {account} {}", self.accounts.get(account).map_or("-", |copy| copy)).unwrap();
        }
        text.push_str("\nend");
        Some(text)
    }
}
