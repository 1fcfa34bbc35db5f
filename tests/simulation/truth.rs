//! What was so, and from when on: the measure of every verdict. It is told of commits by the simulation of the object,
//! and forgets those that a crash undid.

use std::rc::Rc;

use keygate::{
    authority::{
        command::Committed,
        record::{AccountRecord, KeyRecord},
    },
    credential::{AccountRef, Digest, KeyId, RecognisedKey},
    policy::{Account, Grant},
};

use super::rng::Micros;

/// One state of a key or an account.
#[derive(Clone, Debug)]
pub struct State<T> {
    /// When the command was carried out.
    pub at: Micros,
    /// The number of the flush that holds it.
    pub flush: usize,
    pub version: u64,
    pub name: Option<String>,
    pub is: T,
}

/// A key or an account through time.
#[derive(Debug)]
pub struct Timeline<T> {
    pub states: Vec<State<T>>,
    /// Somebody waited for what was committed at the first instant, and was told at the second that it counts everywhere.
    pub floors: Vec<(Micros, Micros)>,
}

impl<T: PartialEq> Timeline<T> {
    fn new() -> Self {
        Timeline { states: Vec::new(), floors: Vec::new() }
    }

    /// What it is now; none = it does not exist.
    pub fn last(&self) -> Option<&State<T>> {
        self.states.last()
    }

    /// What was so at some time from `from` on, latest first.
    pub fn since(&self, from: Micros) -> impl Iterator<Item = &State<T>> {
        let mut over = false;
        self.states.iter().rev().take_while(move |state| {
            let seen = !over;
            over = state.at <= from;
            seen
        })
    }

    /// The earliest instant whose truth may still be used by what begins at `began`, when it was `from` otherwise.
    pub fn floor(&self, from: Micros, began: Micros) -> Micros {
        let waited = self.floors.iter().filter(|(_, returned)| *returned < began).map(|(committed, _)| *committed);
        waited.fold(from, Micros::max)
    }

    fn undo(&mut self, flushes: usize) -> bool {
        let before = self.states.len();
        self.states.retain(|state| state.flush < flushes);
        before != self.states.len()
    }
}

#[derive(Debug)]
pub struct Tenant {
    pub shard: usize,
    pub id: AccountRef,
    pub history: Timeline<Account>,
    /// The entries that its audit must have, by the flush that brought each.
    pub audited: Vec<usize>,
}

#[derive(Debug)]
pub struct Key {
    pub shard: usize,
    pub tenant: usize,
    pub digest: Digest,
    pub id: KeyId,
    pub recognised: RecognisedKey,
    /// What its holder presents.
    pub text: Rc<str>,
    pub history: Timeline<Grant>,
    /// When its holder got it; none = nobody has it.
    pub handed_out_at: Option<Micros>,
    /// How often it was accepted.
    pub accepted: u64,
}

#[derive(Default)]
pub struct Truth {
    pub tenants: Vec<Tenant>,
    pub keys: Vec<Key>,
}

/// Where and when something was committed.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    pub shard: usize,
    pub at: Micros,
    pub flush: usize,
}

impl Truth {
    pub fn tenant(&self, id: AccountRef) -> Option<usize> {
        self.tenants.iter().position(|tenant| tenant.id == id)
    }

    pub fn key(&self, id: KeyId) -> Option<usize> {
        self.keys.iter().position(|key| key.id == id)
    }

    /// An account as a command left it. Its number.
    pub fn account(&mut self, record: &AccountRecord, place: Place) -> usize {
        let which = self.tenant(record.id).unwrap_or_else(|| {
            let (shard, history) = (place.shard, Timeline::new());
            self.tenants.push(Tenant { shard, id: record.id, history, audited: Vec::new() });
            self.tenants.len() - 1
        });
        let tenant = &mut self.tenants[which];
        if tenant.history.last().is_none_or(|state| state.version < record.version) {
            let (version, name, is) = (record.version, Some(record.name.clone()), record.account());
            tenant.history.states.push(State { at: place.at, flush: place.flush, version, name, is });
            tenant.audited.push(place.flush);
        }
        which
    }

    /// A key as a command left it; with its text where it is new.
    pub fn grant(
        &mut self,
        record: &KeyRecord,
        committed: &Committed,
        recognised: impl FnOnce(&str) -> RecognisedKey,
        place: Place,
    ) -> Option<usize> {
        let tenant = self.tenant(record.account)?;
        let which = match (self.key(record.id()), &committed.text) {
            (Some(which), _) => which,
            (None, None) => return None,
            (None, Some(text)) => {
                self.keys.push(Key {
                    shard: place.shard,
                    tenant,
                    digest: record.digest,
                    id: record.id(),
                    recognised: recognised(text.expose()),
                    text: text.expose().into(),
                    history: Timeline::new(),
                    handed_out_at: None,
                    accepted: 0,
                });
                self.keys.len() - 1
            }
        };
        let key = &mut self.keys[which];
        if key.history.last().is_none_or(|state| state.version < record.version) {
            let (version, name, is) = (record.version, record.name.clone(), record.grant());
            key.history.states.push(State { at: place.at, flush: place.flush, version, name, is });
            self.tenants[tenant].audited.push(place.flush);
        }
        Some(which)
    }

    /// Only the first so many flushes of a shard have ever been. True if anything else was known.
    pub fn undo(&mut self, shard: usize, flushes: usize) -> bool {
        let mut undone = false;
        for tenant in self.tenants.iter_mut().filter(|tenant| tenant.shard == shard) {
            undone |= tenant.history.undo(flushes);
            tenant.audited.retain(|flush| *flush < flushes);
        }
        for key in self.keys.iter_mut().filter(|key| key.shard == shard) {
            undone |= key.history.undo(flushes);
        }
        undone
    }
}
