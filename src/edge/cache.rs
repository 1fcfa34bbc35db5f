//! Copies that an isolate has at hand, decoded once, bounded in number and bytes.

use std::{
    collections::HashMap,
    hash::{BuildHasherDefault, Hasher},
    rc::Rc,
};

use crate::{
    authority::sync::Subject,
    credential::Digest,
    policy::{Account, Grant, UnixMillis},
};

/// A map by [`Subject`]. Its numbers come from a keyed hash or from the Authority's own draw, so nobody can choose them
/// to collide, and one multiplication spreads them well enough.
pub(super) type BySubject<T> = HashMap<u64, T, BuildHasherDefault<Spread>>;

/// Copies of grants and accounts.
///
/// There are two generations: what is used moves to the younger one, and when that is full the older one goes as a whole.
/// So what goes has not been used for as long as it took to fill a generation.
#[derive(Debug)]
pub(super) struct Cache {
    young: BySubject<Entry>,
    old: BySubject<Entry>,
    young_bytes: usize,
    limit: Limit,
    /// Digests that the Authority does not know, apart from the copies: however many there are, no copy goes for them.
    unknown: Vec<(Digest, UnixMillis)>,
    next_unknown: usize,
}

/// How much each of the two generations may hold.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limit {
    pub(super) entries: usize,
    pub(super) bytes: usize,
}

#[derive(Debug)]
struct Entry {
    as_of: u64,
    bytes: usize,
    copy: Copy,
}

/// A copy that was believable when it came.
#[derive(Clone, Debug)]
pub(super) enum Copy {
    Grant(Digest, Rc<Grant>),
    Account(Rc<Account>),
}

/// Digests that are remembered as unknown; the oldest makes room. Each costs one question to the Authority per lease.
const UNKNOWN_MAX: usize = 256;

/// What an entry takes beside the text it was decoded from.
const ENTRY_BYTES: usize = 200;

impl Cache {
    pub(super) fn new(limit: Limit) -> Self {
        Cache {
            young: BySubject::default(),
            old: BySubject::default(),
            young_bytes: 0,
            limit,
            unknown: Vec::new(),
            next_unknown: 0,
        }
    }

    /// The grant of a key.
    pub(super) fn grant(&mut self, digest: &Digest) -> Option<Rc<Grant>> {
        match self.find(Subject::key(digest))? {
            // A subject holds less than a digest.
            Copy::Grant(whose, grant) if whose == digest => Some(grant.clone()),
            _ => None,
        }
    }

    /// An account, by its number.
    pub(super) fn account(&mut self, number: u32) -> Option<Rc<Account>> {
        match self.find(Subject::account(number))? {
            Copy::Account(account) => Some(account.clone()),
            Copy::Grant(..) => None,
        }
    }

    /// Keeps a copy that was read at sequence `as_of` from so many bytes of text; a later one stays.
    pub(super) fn keep(&mut self, subject: Subject, as_of: u64, text_bytes: usize, copy: Copy) {
        let subject = subject.number();
        let earlier = self.young.remove(&subject);
        self.young_bytes = self.young_bytes.saturating_sub(earlier.as_ref().map_or(0, |entry| entry.bytes));
        let entry = match earlier.or_else(|| self.old.remove(&subject)) {
            Some(later) if later.as_of > as_of => later,
            _ => Entry { as_of, bytes: text_bytes.saturating_add(ENTRY_BYTES), copy },
        };
        self.put(subject, entry);
    }

    /// Drops the copy of a subject that changed at sequence `changed_at`, unless it was read since.
    pub(super) fn drop_older(&mut self, subject: Subject, changed_at: u64) {
        let subject = subject.number();
        let outdated = |entry: Option<&Entry>| entry.is_some_and(|entry| entry.as_of < changed_at);
        if outdated(self.old.get(&subject)) {
            self.old.remove(&subject);
        }
        if outdated(self.young.get(&subject)) {
            let bytes = self.young.remove(&subject).map_or(0, |entry| entry.bytes);
            self.young_bytes = self.young_bytes.saturating_sub(bytes);
        }
    }

    /// Drops every copy that was read before sequence `since`, and which digests are unknown.
    pub(super) fn drop_before(&mut self, since: u64) {
        for generation in [&mut self.young, &mut self.old] {
            generation.retain(|_, entry| entry.as_of >= since);
        }
        self.young_bytes = self.young.values().map(|entry| entry.bytes).sum();
        self.forget_unknown();
    }

    /// Notes that the Authority does not know a digest, until `until`.
    pub(super) fn keep_unknown(&mut self, digest: Digest, until: UnixMillis) {
        let place = self.next_unknown;
        self.next_unknown = (place + 1) % UNKNOWN_MAX;
        match self.unknown.get_mut(place) {
            Some(slot) => *slot = (digest, until),
            None => self.unknown.push((digest, until)),
        }
    }

    /// Forgets which digests are unknown.
    pub(super) fn forget_unknown(&mut self) {
        (self.unknown, self.next_unknown) = (Vec::new(), 0);
    }

    /// True when the Authority has lately said that there is no such key.
    pub(super) fn is_unknown(&self, digest: &Digest, now: UnixMillis) -> bool {
        self.unknown.iter().any(|(unknown, until)| now < *until && unknown == digest)
    }

    fn find(&mut self, subject: Subject) -> Option<&Copy> {
        let subject = subject.number();
        if !self.young.contains_key(&subject) {
            let entry = self.old.remove(&subject)?;
            self.put(subject, entry);
        }
        self.young.get(&subject).map(|entry| &entry.copy)
    }

    fn put(&mut self, subject: u64, entry: Entry) {
        if self.young.len() >= self.limit.entries || self.young_bytes.saturating_add(entry.bytes) > self.limit.bytes {
            self.old = std::mem::take(&mut self.young);
            self.young_bytes = 0;
        }
        self.young_bytes = self.young_bytes.saturating_add(entry.bytes);
        self.young.insert(subject, entry);
    }
}

/// The hash of [`BySubject`].
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Spread(u64);

impl Hasher for Spread {
    fn write(&mut self, bytes: &[u8]) {
        // Not used: the keys are `u64`.
        bytes.iter().for_each(|byte| self.write_u64(self.0 ^ u64::from(*byte)));
    }

    fn write_u64(&mut self, number: u64) {
        // 2⁶⁴ divided by the golden ratio, odd: moves the low bits of small numbers to where the map looks.
        self.0 = number.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(32);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}
