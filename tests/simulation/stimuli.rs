//! What comes from outside: requests, administrators, and trouble.

use std::borrow::Cow;

use keygate::{
    authority::{
        KeyFilter,
        command::{AccountChange, Command, Edit, KeyChange, NewAccount, NewKey, NewRotation, OverlapFrom},
        query::Query,
    },
    credential::{AccountRef, Brand, Digest, Environment, RecognisedKey, WorkspaceId},
    policy::{Access, AccountStatus, AllowedIps, ApiAccess, Demand, Fields, Scope, ScopeSet, UnixMillis},
};

use super::{
    admin::{Subject, Wish},
    coverage::Point,
    edge::{BLOCK, UNKNOWN},
    knobs::{FAULTS, Fault},
    rng::{BASE_MS, MS, Micros, Rng, SECOND},
    world::{Event, World},
};

const KEYS_MAX: usize = 8;
const TENANTS_MAX: usize = 3;

impl World {
    pub fn stimulus(&mut self) {
        if self.stimuli_left == 0 {
            return;
        }
        let number = self.knobs.stimuli - self.stimuli_left;
        self.stimuli_left -= 1;
        // Whatever chance has been asked for until now, from here on it is the same again.
        self.rng = Rng::new(self.seed.wrapping_mul(1_000_003).wrapping_add(number.into()));
        let pace = self.knobs.pace;
        let pause = match self.rng.below(30) {
            0 => pace * self.rng.range(5, 60),
            1..5 => 0,
            _ => self.rng.range(0, 2 * pace),
        };
        self.after(pause, Event::Stimulus);
        if self.knobs.left_out.contains(&number) {
            return;
        }
        if self.rng.chance(80) {
            return self.lure();
        }
        match self.rng.below(100) {
            0..15 => self.administer(),
            15..30 => self.trouble(),
            30..34 => (0..8).for_each(|_| self.request()),
            _ => self.request(),
        }
    }

    pub fn living(&self) -> Vec<usize> {
        (0..self.isolates.len()).filter(|at| self.isolates[*at].alive).collect()
    }

    /// API keys that somebody holds.
    pub fn held(&self) -> Vec<usize> {
        let is_held = |at: &usize| {
            let key = &self.truth.keys[*at];
            key.handed_out_at.is_some() && !key.is_credential()
        };
        (0..self.truth.keys.len()).filter(is_held).collect()
    }

    fn request(&mut self) {
        let living: Vec<usize> =
            self.living().into_iter().filter(|isolate| !self.lures.is_spared(*isolate, self.now)).collect();
        if living.is_empty() {
            return;
        }
        let isolate = *self.rng.pick(&living);
        let held = self.held();
        let demand = self.demand();
        let kind = self.rng.below(100);
        if held.is_empty() || kind < 5 {
            return self.request_unknown(isolate, demand);
        }
        // The first keys are used most.
        let subject = held[self.rng.index(held.len()).min(self.rng.index(held.len()))];
        let text = self.truth.keys[subject].text.clone();
        if kind < 8 {
            let mut forged = text.to_string();
            let last = forged.pop();
            forged.push(if last == Some('a') { 'b' } else { 'a' });
            return self.present(isolate, UNKNOWN, &forged, demand);
        }
        if self.isolates[isolate].asked_at + 3 * self.knobs.lease_ms * MS < self.now {
            self.met(Point::LongIdle);
        }
        let demand = self.in_workspace(subject, demand);
        self.present(isolate, subject, &text, demand);
    }

    /// Sometimes a request names a workspace, or needs one.
    fn in_workspace(&mut self, subject: usize, demand: Demand) -> Demand {
        let tenant = &self.truth.tenants[self.truth.keys[subject].tenant];
        let ever = tenant.history.states.iter().flat_map(|state| &state.is.workspaces).map(|workspace| workspace.id);
        let ever: Vec<WorkspaceId> = ever.collect();
        if ever.is_empty() && !self.rng.chance(20) {
            return demand;
        }
        match self.rng.below(6) {
            0 => Demand { workspace_required: true, ..demand },
            1 if !ever.is_empty() => Demand { workspace: Some(*self.rng.pick(&ever)), ..demand },
            _ => demand,
        }
    }

    fn demand(&mut self) -> Demand {
        let scopes = match self.rng.below(10) {
            0 => vec!["contacts:write"],
            1..4 => vec!["contacts:read", "jobs:read"],
            4..8 => vec!["contacts:read"],
            _ => vec![],
        };
        let environment = match self.rng.below(12) {
            0 => Some(Environment::Test),
            1 => Some(Environment::Live),
            _ => None,
        };
        let scopes = Cow::Owned(scopes.into_iter().map(|scope| Scope::parse(scope).unwrap()).collect());
        let feature = self.rng.chance(150).then_some(Cow::Borrowed("beta"));
        Demand { scopes, environment, strict: self.rng.chance(70), feature, ..Demand::default() }
    }

    /// A genuine text, as far as anybody can tell, of a key that was never issued.
    fn request_unknown(&mut self, isolate: usize, demand: Demand) {
        let shard = self.rng.index(self.shards.len());
        let mut digest = [0xee; 24];
        digest[0] = self.rng.below(3) as u8;
        let number =
            self.truth.tenants.iter().find(|tenant| tenant.shard == shard).map_or(7, |tenant| tenant.id.number);
        let key = RecognisedKey {
            digest: Digest::from_bytes(digest),
            account: AccountRef { slot: self.shards[shard].slot, number },
            brand: Brand::default(),
            environment: Environment::Live,
            pepper_id: 1,
        };
        self.begin(isolate, shard, UNKNOWN, key, demand);
    }

    pub fn administer(&mut self) {
        let shard = self.rng.index(self.shards.len());
        let tenants: Vec<usize> = (0..self.truth.tenants.len())
            .filter(|at| self.truth.tenants[*at].shard == shard && self.truth.tenants[*at].history.last().is_some())
            .collect();
        let held: Vec<usize> = self.held().into_iter().filter(|key| self.truth.keys[*key].shard == shard).collect();
        if tenants.is_empty() {
            self.create_account(shard);
            return;
        }
        let tenant = *self.rng.pick(&tenants);
        if held.is_empty() {
            self.issue(shard, tenant);
            return;
        }
        let key = *self.rng.pick(&held);
        let number = self.admin.ops.len();
        self.administer_something(shard, tenant, key);
        self.by_somebody_else(number);
    }

    fn administer_something(&mut self, shard: usize, tenant: usize, key: usize) {
        match self.rng.below(124) {
            0..4 if self.truth.tenants.len() < TENANTS_MAX => {
                self.create_account(shard);
            }
            0..22 if self.truth.keys.len() < KEYS_MAX => {
                self.issue(shard, tenant);
            }
            0..42 => {
                let disabled = self.rng.chance(500);
                self.change_key(shard, key, KeyChange { disabled: Edit::Set(disabled), ..KeyChange::default() });
            }
            42..46 => {
                let name = format!("name {}", self.number());
                self.change_key(shard, key, KeyChange { name: Edit::Set(Some(name)), ..KeyChange::default() });
            }
            46..58 => {
                let (account, id) = (self.truth.keys[key].recognised.account, self.truth.keys[key].id);
                let wait = self.rng.chance(400);
                self.want(shard, Wish::Command(Command::RevokeKey { account, key: id }), None, wait);
            }
            58..70 => {
                let suspended = self.rng.chance(500);
                let status = if suspended { AccountStatus::Suspended } else { AccountStatus::Active };
                self.change_account(shard, tenant, AccountChange { status: Edit::Set(status), ..Default::default() });
            }
            70..76 => {
                let live = if self.rng.chance(600) { Access::Active } else { Access::Off };
                let access = ApiAccess { live, test: Access::Active };
                let change = AccountChange { api_access: Edit::Set(access), ..Default::default() };
                self.change_account(shard, tenant, change);
            }
            76..80 => {
                let features = if self.rng.chance(500) { vec!["beta".into()] } else { Vec::new() };
                self.change_account(
                    shard,
                    tenant,
                    AccountChange { features: Edit::Set(features), ..Default::default() },
                );
            }
            80..85 => self.read_something(shard, tenant, key),
            85..88 => {
                let (on, wait) = (self.rng.chance(500), self.rng.chance(300));
                self.set_platform(shard, on, wait);
            }
            88..91 => self.revoke_all(shard, tenant),
            91..95 => self.change_workspaces(shard, tenant),
            95..103 => self.administer_accounts(shard, tenant),
            108..116 => self.succeed(shard, key),
            116..124 => self.plan(shard, tenant),
            _ => self.replay(),
        }
    }

    pub fn create_account(&mut self, shard: usize) -> usize {
        let command = Command::CreateAccount(NewAccount {
            name: format!("account {}", self.number()),
            external_id: None,
            brand: Brand::default(),
            max_active_keys: None,
            api_access: ApiAccess { live: Access::Active, test: Access::Active },
            features: Vec::new(),
            default_scopes: ScopeSet::parse(["contacts:read", "jobs:*"]).unwrap(),
            settings: keygate::authority::settings::Settings::default(),
        });
        self.want(shard, Wish::Command(command), None, false)
    }

    pub fn issue(&mut self, shard: usize, tenant: usize) -> usize {
        let now = BASE_MS + self.now / MS;
        let lease = self.knobs.lease_ms;
        let limit = |chance: bool, after: u64| chance.then(|| UnixMillis::from_millis(now + after));
        let (ends, begins) = (self.rng.chance(200), self.rng.chance(100));
        let (end, begin) = (self.rng.range(lease, 8 * lease), self.rng.range(0, 2 * lease));
        let key = NewKey {
            name: None,
            environment: if self.rng.chance(200) { Environment::Test } else { Environment::Live },
            scopes: None,
            access_level: None,
            not_before: limit(begins && !self.healed, begin),
            expires_at: limit(ends && !self.healed, end),
            workspaces: self.some_workspaces(tenant),
            fields: Fields::default(),
            allowed_ips: (!self.healed && self.rng.chance(150)).then(|| AllowedIps::parse([BLOCK]).unwrap()),
            labels: keygate::authority::labels::Labels::default(),
        };
        let account = self.truth.tenants[tenant].id;
        self.want(shard, Wish::Command(Command::IssueKey { account, key }), None, false)
    }

    /// A successor for a key, or the end of one of the two.
    fn succeed(&mut self, shard: usize, key: usize) {
        let place = &self.truth.keys[key];
        let (account, id) = (place.recognised.account, place.id);
        let version = place.history.last().map_or(1, |state| state.version);
        let wait = self.rng.chance(400);
        let (command, condition) = match self.rng.below(4) {
            0 => (Command::ConfirmRotation { account, key: id }, None),
            1 => (Command::CancelRotation { account, key: id }, None),
            _ if self.truth.keys.len() >= KEYS_MAX => return,
            _ => {
                let lease = self.knobs.lease_ms;
                let overlap_ms = if self.rng.chance(300) { 0 } else { self.rng.range(lease / 4, 6 * lease) };
                let overlap_from = if self.rng.chance(300) { OverlapFrom::FirstUse } else { OverlapFrom::Rotation };
                let rotation = NewRotation { overlap_ms, overlap_from, ..NewRotation::default() };
                (Command::RotateKey { account, key: id, rotation }, self.condition(version))
            }
        };
        self.want(shard, Wish::Command(command), condition, wait);
    }

    pub fn revoke_all(&mut self, shard: usize, tenant: usize) {
        let environments = match self.rng.below(3) {
            0 => vec![Environment::Live],
            1 => vec![Environment::Test],
            _ => vec![Environment::Live, Environment::Test],
        };
        let account = self.truth.tenants[tenant].id;
        let wait = self.rng.chance(400);
        self.want(shard, Wish::Command(Command::RevokeAllKeys { account, environments }), None, wait);
    }

    /// A plan to revoke some keys, or what is to become of one.
    fn plan(&mut self, shard: usize, tenant: usize) {
        let place = &self.truth.tenants[tenant];
        let account = place.id;
        let last = place.plans.last().map(|(plan, ..)| *plan);
        let command = match last.filter(|_| self.rng.chance(700)) {
            Some(plan) if self.rng.chance(250) => Command::CancelPlan { account, plan },
            Some(plan) => Command::ExecutePlan { account, plan },
            None => {
                let environment = if self.rng.chance(300) { Environment::Test } else { Environment::Live };
                let filter = KeyFilter { environment: Some(environment), ..KeyFilter::default() };
                Command::PlanRevocation { account, filter }
            }
        };
        self.want(shard, Wish::Command(command), None, false);
    }

    pub fn workspaces_of(&self, tenant: usize) -> Vec<WorkspaceId> {
        let last = self.truth.tenants[tenant].history.last();
        last.map_or_else(Vec::new, |state| state.is.workspaces.iter().map(|workspace| workspace.id).collect())
    }

    /// Of a key that is limited to one, sometimes.
    fn some_workspaces(&mut self, tenant: usize) -> Option<Vec<WorkspaceId>> {
        let active = self.workspaces_of(tenant);
        (!active.is_empty() && !self.healed && self.rng.chance(400)).then(|| vec![*self.rng.pick(&active)])
    }

    fn change_workspaces(&mut self, shard: usize, tenant: usize) {
        let account = self.truth.tenants[tenant].id;
        let active = self.workspaces_of(tenant);
        let wait = self.rng.chance(300);
        let command = if active.is_empty() || active.len() < 3 && self.rng.chance(500) {
            Command::CreateWorkspace { account, name: format!("workspace {}", self.number()) }
        } else {
            Command::ArchiveWorkspace { account, workspace: *self.rng.pick(&active) }
        };
        self.want(shard, Wish::Command(command), None, wait);
    }

    /// Sometimes only on the condition that it is what the administrator takes it for, and sometimes it is not.
    fn condition(&mut self, version: u64) -> Option<Vec<u64>> {
        let stale = self.rng.chance(200);
        self.rng.chance(400).then(|| vec![if stale { version.saturating_sub(1) } else { version }])
    }

    fn change_key(&mut self, shard: usize, key: usize, change: KeyChange) {
        let place = &self.truth.keys[key];
        let (account, id) = (place.recognised.account, place.id);
        let version = place.history.last().map_or(1, |state| state.version);
        let condition = self.condition(version);
        let wait = self.rng.chance(300);
        self.want(shard, Wish::Command(Command::ChangeKey { account, key: id, change }), condition, wait);
    }

    fn change_account(&mut self, shard: usize, tenant: usize, change: AccountChange) {
        let place = &self.truth.tenants[tenant];
        let account = place.id;
        let version = place.history.last().map_or(1, |state| state.version);
        let condition = self.condition(version);
        let wait = self.rng.chance(300);
        self.want(shard, Wish::Command(Command::ChangeAccount { account, change }), condition, wait);
    }

    /// A feature is switched on or off for every account.
    pub fn set_platform(&mut self, shard: usize, on: bool, wait: bool) {
        let features = if on { vec!["beta".into()] } else { Vec::new() };
        self.want(shard, Wish::Command(Command::SetPlatform { features }), None, wait);
    }

    fn read_something(&mut self, shard: usize, tenant: usize, key: usize) {
        let account = self.truth.keys[key].recognised.account;
        let (query, subject) = if self.rng.chance(600) {
            (Query::Key(account, self.truth.keys[key].id), Subject::Key(key))
        } else {
            (Query::Account(self.truth.tenants[tenant].id), Subject::Tenant(tenant))
        };
        self.want(shard, Wish::Read(query, Some(subject)), None, false);
    }

    /// A command is ordered again, though it was answered.
    fn replay(&mut self) {
        let number = self.rng.index(self.admin.ops.len());
        if self.rng.chance(300) {
            return self.misuse(number);
        }
        let op = &mut self.admin.ops[number];
        // After a day it would be a new command.
        let recent = op.first_sent.is_some_and(|sent| sent + 20 * 60 * 60 * SECOND > self.now);
        if recent && op.over && matches!(op.wish, Wish::Command(_)) && op.repeat() {
            self.met(Point::ReplayAfterRestart);
            self.attempt(number);
        }
    }

    fn trouble(&mut self) {
        let fault = *self.rng.pick(&FAULTS);
        if !self.has(fault) {
            return;
        }
        let shard = self.rng.index(self.shards.len());
        let lease = self.knobs.lease_ms * MS;
        match fault {
            Fault::Crash => {
                if let Some(current) = self.shards[shard].current {
                    self.met(Point::CrashIdle);
                    self.kill(shard, current, "its machine ends");
                }
            }
            Fault::Supersede => self.supersede(shard),
            Fault::Rewind => {
                let keep = self.rng.range(2, self.shards[shard].disk.durable.max(2) as u64) as usize;
                self.rewind(shard, keep);
            }
            Fault::Kv => {
                let lasts = self.rng.range(lease / 10, 3 * lease);
                self.tell(|_| "KV is down".into());
                self.kv.outage_until = self.now + lasts;
            }
            Fault::Adversary => {
                for _ in 0..self.rng.range(1, 6) {
                    if let Some(name) = self.kv.tamper(&mut self.rng) {
                        self.met(Point::KvTampered);
                        self.tell(|_| format!("KV: somebody writes to {}", super::world::short(&name)));
                    }
                }
            }
            Fault::Outage => {
                let lasts = self.rng.range(lease / 10, 3 * lease);
                self.tell(|_| format!("slot {shard} cannot be reached"));
                self.shards[shard].unreachable_until = self.now + lasts;
            }
            Fault::Clock => self.clock_trouble(),
            Fault::Evict => {
                let living = self.living();
                let isolate = *self.rng.pick(&living);
                self.evict(isolate);
                self.bear_isolate();
            }
            Fault::Rotate => self.rotate(),
            Fault::Skew => self.change_wire(),
            Fault::Terms => self.change_terms(shard),
            Fault::Sleep => self.sleep(),
            Fault::Network | Fault::Stall | Fault::Alarm => {}
        }
    }

    fn clock_trouble(&mut self) {
        let living = self.living();
        let isolate = *self.rng.pick(&living);
        self.set_clock_back(isolate);
    }

    pub fn rewind(&mut self, shard: usize, keep: usize) {
        let durable = self.shards[shard].disk.durable;
        if self.shards[shard].ever_rewound || durable < 4 {
            return;
        }
        self.met(Point::Rewound);
        if let Some(current) = self.shards[shard].current {
            self.kill(shard, current, "its storage is set back");
        }
        self.shards[shard].ever_rewound = true;
        self.shards[shard].rewound = Some(None);
        let old: Vec<usize> = (0..self.shards[shard].instances.len()).filter(|at| self.is_alive(shard, *at)).collect();
        for instance in old {
            self.kill(shard, instance, "its storage is set back");
        }
        self.set_back(shard, keep);
        self.tell(|_| format!("slot {shard}: its storage is as of flush {keep} again"));
    }

    fn change_terms(&mut self, shard: usize) {
        let lease_ms = *self.rng.pick(&[1_000, 2_000, 5_000, 20_000]);
        let grace_ms = if self.rng.chance(300) { 5_000 } else { self.knobs.grace_ms };
        self.terms = keygate::authority::lease::Terms { lease_ms, grace_ms };
        self.met(Point::TermsChanged);
        if let Some(current) = self.shards[shard].current {
            self.kill(shard, current, "its configuration changes");
        }
    }

    fn sleep(&mut self) {
        self.knobs.faults.retain(|fault| *fault != Fault::Sleep);
        self.met(Point::LongSleep);
        self.tell(|_| "nothing happens for more than a day".into());
        let day: Micros = 25 * 60 * 60 * SECOND;
        let left = std::mem::replace(&mut self.stimuli_left, 0);
        self.run(Some(self.now + day));
        self.stimuli_left = left;
        self.after(0, Event::Stimulus);
    }
}
