//! What was so, and from when on: the measure of every verdict. It is told of commits by the simulation of the object,
//! and forgets those that a crash undid.

use std::{collections::BTreeMap, rc::Rc};

use keygate::{
    authority::{
        command::Committed,
        plans::{PlanRecord, PlanState},
        record::{AccountRecord, Administration, KeyRecord, RevokedAll, WorkspaceRecord},
    },
    credential::{AccountRef, Digest, Environment, KeyId, PlanId, RecognisedKey},
    policy::{Account, Grant, KeyStatus, RevokedBefore, Workspace},
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
    /// The sequence from which on it was so: the version's, or that of a change that is not the subject's own.
    pub as_of: u64,
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
    /// Its plans, what was ordered of each, and the flush that brought it.
    pub plans: Vec<(PlanId, PlanState, usize)>,
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
    /// How often it was refused, on evidence.
    pub refused: u64,
    /// What makes it an admin credential.
    pub administration: Option<Administration>,
}

impl Key {
    /// True for what administers, and is no API key.
    pub fn is_credential(&self) -> bool {
        self.administration.is_some()
    }
}

#[derive(Default)]
pub struct Truth {
    pub tenants: Vec<Tenant>,
    pub keys: Vec<Key>,
    /// The features that are on for every account, by shard. Before the first state there is none.
    pub platforms: BTreeMap<usize, Timeline<Vec<String>>>,
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
            self.tenants.push(Tenant { shard, id: record.id, history, audited: Vec::new(), plans: Vec::new() });
            self.tenants.len() - 1
        });
        let tenant = &mut self.tenants[which];
        if tenant.history.last().is_none_or(|state| state.version < record.version) {
            let (version, name, is) = (record.version, Some(record.name.clone()), record.account());
            tenant.history.states.push(State { at: place.at, flush: place.flush, version, as_of: version, name, is });
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
                    refused: 0,
                    administration: record.admin.clone(),
                });
                self.keys.len() - 1
            }
        };
        let key = &mut self.keys[which];
        if key.history.last().is_none_or(|state| state.version < record.version) {
            let (version, name, is) = (record.version, record.name.clone(), record.grant());
            key.history.states.push(State { at: place.at, flush: place.flush, version, as_of: version, name, is });
            self.tenants[tenant].audited.push(place.flush);
        }
        Some(which)
    }

    /// All keys of an account were revoked, in some environments: the account, and those of its keys for which that is new.
    pub fn revoke_all(
        &mut self,
        account: AccountRef,
        environments: &[Environment],
        revoked_all: RevokedAll,
        place: Place,
    ) -> Option<(usize, Vec<usize>)> {
        let which = self.tenant(account)?;
        let upto = |environment| revoked_all.of(environment).map_or(0, |revoked| revoked.sequence);
        let now = RevokedBefore { live: upto(Environment::Live), test: upto(Environment::Test) };
        let tenant = &mut self.tenants[which];
        let last = tenant.history.last()?.clone();
        if last.is.revoked_before == now {
            return Some((which, Vec::new()));
        }
        let as_of = environments.iter().map(|environment| upto(*environment)).max()?;
        let is = Account { revoked_before: now, ..last.is };
        tenant.history.states.push(State { at: place.at, flush: place.flush, as_of, is, ..last });
        tenant.audited.push(place.flush);
        let mut gone = Vec::new();
        for (number, key) in self.keys.iter_mut().enumerate().filter(|(_, key)| key.tenant == which) {
            let Some(last) = key.history.last().cloned() else { continue };
            if last.is.status != KeyStatus::Revoked && now.revokes(last.is.environment, last.is.issued_at) {
                let is = Grant { status: KeyStatus::Revoked, ..last.is };
                key.history.states.push(State { at: place.at, flush: place.flush, as_of, is, ..last });
                gone.push(number);
            }
        }
        Some((which, gone))
    }

    /// A workspace as a command left it. The account's number.
    pub fn workspace(&mut self, record: &WorkspaceRecord, place: Place) -> Option<usize> {
        let which = self.tenant(record.account)?;
        let tenant = &mut self.tenants[which];
        let last = tenant.history.last()?.clone();
        let mut workspaces = last.is.workspaces.clone();
        let now = record.archived_at.is_none().then(|| Workspace { id: record.id, name: record.name.clone() });
        match (workspaces.iter().position(|workspace| workspace.id == record.id), now) {
            (Some(at), Some(now)) => workspaces[at] = now,
            (Some(at), None) => drop(workspaces.remove(at)),
            (None, Some(now)) => workspaces.push(now),
            (None, None) => {}
        }
        if workspaces != last.is.workspaces {
            let is = Account { workspaces, ..last.is };
            let as_of = record.version;
            tenant.history.states.push(State { at: place.at, flush: place.flush, as_of, is, ..last });
            tenant.audited.push(place.flush);
        }
        Some(which)
    }

    /// A plan as a command left it. What was ordered, where that is new.
    pub fn plan(&mut self, record: &PlanRecord, place: Place) -> Option<PlanState> {
        let which = self.tenant(record.account)?;
        let tenant = &mut self.tenants[which];
        let known = tenant.plans.iter().rev().find(|(id, ..)| *id == record.id).map(|(_, state, _)| *state);
        if known == Some(record.state) || record.state == PlanState::Done {
            return None;
        }
        tenant.plans.push((record.id, record.state, place.flush));
        if !matches!(record.state, PlanState::Planned | PlanState::Planning) {
            tenant.audited.push(place.flush);
        }
        Some(record.state)
    }

    /// A key as it was left by what is no command of its own. Its number.
    pub fn ended(&mut self, record: &KeyRecord, place: Place) -> Option<usize> {
        let which = self.key(record.id())?;
        let key = &mut self.keys[which];
        let (version, name, is) = (record.version, record.name.clone(), record.grant());
        key.history.states.push(State { at: place.at, flush: place.flush, version, as_of: version, name, is });
        self.tenants[key.tenant].audited.push(place.flush);
        Some(which)
    }

    /// The features of a shard's platform as a command left them.
    pub fn platform(&mut self, features: &[String], place: Place) {
        let history = self.platforms.entry(place.shard).or_insert_with(Timeline::new);
        if history.last().map_or(&[][..], |state| &state.is) != features {
            let version = history.states.len() as u64;
            let Place { at, flush, .. } = place;
            history.states.push(State { at, flush, version, as_of: version, name: None, is: features.to_vec() });
        }
    }

    /// The features of a shard's platform that may count for what begins at `now`, if `from` is how far back that is
    /// otherwise; latest first, and only what is durable.
    pub fn platform_since(&self, shard: usize, from: Micros, now: Micros, durable: usize) -> Vec<&[String]> {
        let Some(history) = self.platforms.get(&shard) else { return vec![&[]] };
        let floor = history.floor(from, now);
        let states = history.since(floor).filter(|state| state.flush < durable);
        let mut since: Vec<&[String]> = states.map(|state| &state.is[..]).collect();
        if history.states.first().is_none_or(|first| first.at > floor) {
            since.push(&[]);
        }
        since
    }

    /// Only the first so many flushes of a shard have ever been. True if anything else was known.
    pub fn undo(&mut self, shard: usize, flushes: usize) -> bool {
        let mut undone = false;
        for tenant in self.tenants.iter_mut().filter(|tenant| tenant.shard == shard) {
            undone |= tenant.history.undo(flushes);
            tenant.audited.retain(|flush| *flush < flushes);
            tenant.plans.retain(|(.., flush)| *flush < flushes);
        }
        for key in self.keys.iter_mut().filter(|key| key.shard == shard) {
            undone |= key.history.undo(flushes);
        }
        if let Some(history) = self.platforms.get_mut(&shard) {
            undone |= history.undo(flushes);
        }
        undone
    }
}
