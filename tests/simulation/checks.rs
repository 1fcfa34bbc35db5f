//! What must hold of every verdict, every answer and every put, against the truth.

use keygate::{
    authority::{
        copy::{AccountCopy, GrantCopy},
        lease::Leases,
        outbox::KvKey,
        sql::Value,
    },
    credential::Digest,
    edge::Verdict,
    policy::{AccountFault, Address, Decision, Denial, KeyStatus, TokenFault, UnixMillis, decide},
};

use super::{
    coverage::Point,
    disk::Write,
    edge::{INSIDE, Request, UNKNOWN},
    rng::{BASE_MS, MS, Micros},
    world::{World, short},
};

impl World {
    /// The verdict on a request, at the time by which its isolate goes.
    pub fn judge(&mut self, request: &Request, verdict: &Verdict, shown: u64) {
        let Request { isolate, shard, subject, began, .. } = *request;
        self.tell(|_| {
            let key = if subject == UNKNOWN { "an unknown key".into() } else { format!("key {subject}") };
            let strict = if request.demand.strict { ", strictly" } else { "" };
            format!("isolate {isolate}: {key}{strict}: {}", outcome(verdict))
        });
        let (decision, in_grace) = match verdict {
            Verdict::Undetermined => {
                if self.expects_verdicts {
                    self.violate("L2", format!("isolate {isolate} cannot decide about key {subject}"));
                }
                return self.met(Point::Undetermined);
            }
            Verdict::Unknown => return self.judge_unknown(request),
            Verdict::Decided(decision) => (decision, false),
            Verdict::InGrace(decision) => (decision, true),
        };
        let allowed = matches!(decision, Decision::Allow(_));
        self.count(request, decision, in_grace, shown);
        if subject == UNKNOWN {
            return self.violate("I5", format!("isolate {isolate} decides about a key that was never issued"));
        }
        let lens = &self.isolates[isolate].lenses[shard];
        let end = if in_grace { lens.grace_end } else { lens.lease_end };
        if shown >= end || in_grace && request.demand.strict {
            let detail = format!("isolate {isolate} decides about key {subject} at {shown}, its lease ended at {end}");
            return self.violate("I10", detail);
        }
        match decision {
            Decision::Allow(_) => self.truth.keys[subject].accepted += 1,
            Decision::Deny(denial) => self.truth.keys[subject].refused += u64::from(denial.reason().is_some()),
        }
        if self.is_excused(shard) {
            return;
        }
        self.judge_for_good(request, decision, shown);
        let (now, durable) = (self.now, self.shards[shard].disk.durable);
        let mut from = now.saturating_sub(self.bound(shard, in_grace));
        if request.demand.strict {
            // A superseded instance may answer for a tenth of a lease after its last durable write: each, if several follow
            // each other in that time.
            let since = began.saturating_sub(self.bound(shard, false) / 10 + 50 * MS);
            let superseded = self.shards[shard].superseded.iter().copied().find(|at| *at >= since);
            from = from.max(superseded.map_or(began, |at| at.min(began)));
        }
        let key = &self.truth.keys[subject];
        let tenant = &self.truth.tenants[key.tenant];
        let platforms = self.truth.platform_since(shard, from, now, durable);
        let at = UnixMillis::from_millis(shown);
        let mut fits = None;
        for (back, grant) in key.history.since(key.history.floor(from, now)).enumerate() {
            for (also, account) in tenant.history.since(tenant.history.floor(from, now)).enumerate() {
                let is_durable = grant.flush < durable && account.flush < durable;
                for (older, platform) in platforms.iter().enumerate() {
                    let decided = || decide(&grant.is, &account.is, platform, &request.demand, request.address, at);
                    if is_durable && fits.is_none() && decided() == *decision {
                        fits = Some(back + also + older);
                    }
                }
            }
        }
        let revoked = key.history.last().is_some_and(|state| state.is.status == KeyStatus::Revoked);
        match fits {
            Some(0) => {}
            Some(_) if allowed => {
                self.met(Point::AllowedStale);
                if revoked {
                    self.met(Point::AllowedAfterRevokeWithinB);
                }
            }
            Some(_) => self.met(Point::DeniedStale),
            None => {
                let ever = |from: [Micros; 2]| {
                    let grants = key.history.since(from[0]).filter(|grant| grant.flush < durable);
                    { grants }.any(|grant| {
                        let mut accounts = tenant.history.since(from[1]).filter(|account| account.flush < durable);
                        accounts.any(|account| {
                            let platforms = self.truth.platform_since(shard, from[1], now, durable);
                            let decided = |on: &[String]| {
                                decide(&grant.is, &account.is, on, &request.demand, request.address, at)
                            };
                            { platforms }.into_iter().any(|on| decided(on) == *decision)
                        })
                    })
                };
                let invariant = match (allowed, revoked) {
                    _ if ever([from; 2]) => "I2",
                    (true, _) if !ever([0; 2]) => "I5",
                    (true, true) => "I1",
                    (true, false) => "I4",
                    (false, _) => "I11",
                };
                let states: Vec<_> = key.history.states.iter().map(|state| (state.at, state.is.status)).collect();
                let accounts: Vec<_> = tenant.history.states.iter().map(|state| (state.at, &state.is)).collect();
                let detail = format!(
                    "isolate {isolate} says of key {subject}: {}, which was not so since {from}; the key: {states:?}, \
                     floors {:?}; its account: {accounts:?}, floors {:?}; the platform: {platforms:?}",
                    outcome(verdict),
                    key.history.floors,
                    tenant.history.floors,
                );
                self.violate(invariant, detail);
            }
        }
    }

    fn judge_for_good(&mut self, request: &Request, decision: &Decision, shown: u64) {
        let Request { isolate, shard, subject, .. } = *request;
        match decision {
            Decision::Deny(Denial::InvalidToken { fault: TokenFault::Revoked, .. }) => {
                self.isolates[isolate].refused.insert(subject);
            }
            Decision::Allow(principal) => {
                if self.truth.keys[subject].recognised.account != principal.account {
                    self.violate("I17", format!("key {subject} is accepted as another account's"));
                }
                let limited =
                    self.truth.keys[subject].history.last().is_some_and(|state| state.is.allowed_ips.is_some());
                if limited && request.address != Address::parse(INSIDE) {
                    self.violate("I4", format!("isolate {isolate} accepts key {subject} from elsewhere"));
                }
                if self.isolates[isolate].refused.contains(&subject) && !self.shards[shard].ever_rewound {
                    self.violate("I3", format!("isolate {isolate} accepts key {subject} again"));
                }
                let error = self.isolates[isolate].clock.error_ms(self.now).unsigned_abs();
                let truly = BASE_MS + self.now / MS;
                if let Some(end) = principal.expires_at.map(UnixMillis::as_millis)
                    && (shown >= end || truly >= end + error + 42)
                {
                    self.violate("I6", format!("isolate {isolate} accepts key {subject}, which ended at {end}"));
                }
            }
            Decision::Deny(_) => {}
        }
    }

    fn judge_unknown(&mut self, request: &Request) {
        self.met(Point::Unknown);
        let Request { isolate, shard, subject, .. } = *request;
        if subject == UNKNOWN || self.is_excused(shard) {
            return;
        }
        let key = &self.truth.keys[subject];
        if key.history.states.first().is_some_and(|state| state.flush < self.shards[shard].disk.durable) {
            self.violate("I11", format!("isolate {isolate} takes key {subject} for unknown"));
        }
    }

    /// True while what was set back has not been noticed, or could not have been everywhere.
    fn is_excused(&self, shard: usize) -> bool {
        match self.shards[shard].rewound {
            None => false,
            Some(None) => true,
            Some(Some((noticed, _))) => self.now < noticed + self.bound(shard, true) + 5_000 * MS,
        }
    }

    fn count(&mut self, request: &Request, decision: &Decision, in_grace: bool, shown: u64) {
        let lens = &self.isolates[request.isolate].lenses[request.shard];
        let left = lens.lease_end.saturating_sub(shown);
        let allowed = matches!(decision, Decision::Allow(_));
        if allowed && !in_grace && left <= 100 {
            self.met(Point::AllowedInLast100Ms);
        }
        match decision {
            Decision::Allow(_) if in_grace => self.met(Point::AllowedInGrace),
            Decision::Deny(_) if in_grace => self.met(Point::DeniedInGrace),
            Decision::Allow(_) | Decision::Deny(_) => {}
        }
        if request.demand.strict {
            self.met(if allowed { Point::StrictAllowed } else { Point::StrictDenied });
        }
        if allowed && request.subject != UNKNOWN {
            let states = &self.truth.keys[request.subject].history.states;
            if matches!(decision, Decision::Allow(principal) if principal.workspace.is_some()) {
                self.coverage.met(Point::AllowedInWorkspace);
            }
            if states.iter().any(|state| state.is.status == KeyStatus::Disabled) {
                self.met(Point::AllowedAfterWidening);
            }
            let tenant = &self.truth.tenants[self.truth.keys[request.subject].tenant];
            let own = tenant.history.states.iter().any(|state| !state.is.features.is_empty());
            if request.demand.feature.is_some() && !own {
                self.met(Point::AllowedByPlatform);
            }
            let superseded = self.shards[request.shard].superseded.last();
            if superseded.is_some_and(|at| at + self.bound(request.shard, false) > self.now) {
                self.met(Point::AcceptFromSuperseded);
            }
        }
        if let Decision::Deny(denial) = decision {
            self.met(match denial {
                Denial::InvalidToken { fault: TokenFault::Revoked, .. } => Point::DeniedRevoked,
                Denial::InvalidToken { fault: TokenFault::Disabled, .. } => Point::DeniedDisabled,
                Denial::InvalidToken { fault: TokenFault::Expired, .. } => Point::DeniedExpired,
                Denial::InvalidToken { fault: TokenFault::NotYetValid, .. } => Point::DeniedNotYet,
                Denial::InvalidToken { .. } => Point::DeniedEnvironment,
                Denial::AccountInactive(AccountFault::Suspended) => Point::DeniedSuspended,
                Denial::AccountInactive(_) => Point::DeniedNoAccess,
                Denial::InsufficientScope { .. } => Point::DeniedScope,
                Denial::AddressForbidden => Point::DeniedAddress,
                Denial::WorkspaceRequired => Point::DeniedNoWorkspace,
                Denial::WorkspaceForbidden => Point::DeniedWorkspace,
                Denial::FeatureDisabled => Point::DeniedFeature,
            });
        }
    }

    /// A lease until `end` that is given away now. That of a superseded instance ends when its last durable write is a lease
    /// old.
    pub fn check_grant(&mut self, shard: usize, number: usize, end: Micros) {
        let instance = &self.shards[shard].instances[number];
        if !instance.superseded {
            return;
        }
        let durable = instance.durable_issued.iter().rev().find(|(upto, _)| *upto <= instance.released);
        let written_at = durable.map_or(0, |(_, at)| *at);
        let longest = instance.leases.as_ref().map(Leases::terms).map_or(0, |terms| terms.lease_ms);
        let limit = written_at + longest * MS + longest + 50 * MS;
        if end > limit {
            let detail = format!("the superseded instance {number} of slot {shard} grants {} µs too much", end - limit);
            self.violate("I16", detail);
        }
    }

    /// A put that leaves: it must say what was committed.
    pub fn check_put(&mut self, shard: usize, number: usize, id: u64) {
        let instance = &self.shards[shard].instances[number];
        let Some((name, value, as_of)) = instance.sent.get(&id) else { return };
        let (durable, signing) = (self.shards[shard].disk.durable, &instance.deploy.signing);
        let right = if let Some(hex) = name.strip_prefix("grant:") {
            let digest = Digest::parse_hex(hex).unwrap();
            let copy = GrantCopy::verify(signing, &digest, value).unwrap();
            let key = self.truth.keys.iter().find(|key| key.digest == digest);
            let states = key.map_or(&[][..], |key| &key.history.states);
            let state = states.iter().rev().find(|state| state.as_of <= copy.as_of);
            state.is_some_and(|state| state.is == copy.grant && state.flush < durable && copy.as_of == *as_of)
        } else {
            let tenant = self.truth.tenants.iter().find(|tenant| KvKey::account(tenant.id).text() == *name);
            let states = tenant.map_or(&[][..], |tenant| &tenant.history.states);
            let state = states.iter().rev().find(|state| state.as_of <= *as_of);
            let copy = tenant.map(|tenant| AccountCopy::verify(signing, tenant.id, value).unwrap());
            state.zip(copy).is_some_and(|(state, copy)| state.is == copy.account && state.flush < durable)
        };
        if !right {
            self.violate("I7", format!("KV is told of {} what was not committed: {value}", short(name)));
        }
    }

    /// What must hold after each turn of the current instance.
    pub fn check_turn(&mut self, shard: usize, number: usize) {
        let place = &self.shards[shard];
        let instance = &place.instances[number];
        if instance.superseded || !instance.open || place.alarm_taken || !instance.alarms.is_empty() {
            return;
        }
        if place.disk.alarm().is_none()
            && instance.sql.number(
                "SELECT (SELECT count(*) FROM outbox) + (SELECT count(*) FROM sweeps)
                    + (SELECT count(*) FROM plans WHERE state IN ('running', 'planning'))",
            ) > 0
        {
            self.violate("S1", format!("slot {shard} has something for KV or a plan to execute, and no alarm"));
        }
    }

    /// A row leaves the outbox only when KV has said that it has as much.
    pub fn check_deletions(&mut self, number: usize, writes: &[Write]) {
        for write in writes {
            let Write::Statement(statement, parameters) = write else { continue };
            let [Value::Text(name), Value::Integer(as_of)] = &parameters[..] else { continue };
            if !statement.starts_with("DELETE FROM outbox") {
                continue;
            }
            if self.kv.acknowledged(name).is_none_or(|acknowledged| acknowledged < as_of.unsigned_abs()) {
                let detail = format!("instance {number} drops {} as of {as_of}, which KV does not have", short(name));
                return self.violate("S3", detail);
            }
        }
    }

    /// An isolate knew more than the database: a new epoch has begun.
    pub fn rewind_noticed(&mut self, shard: usize) {
        let flush = self.shards[shard].disk.flushes.len() - 1;
        if self.shards[shard].rewound.is_none() {
            return self.violate("I9", format!("an isolate knows more of slot {shard} than was ever durable"));
        }
        self.met(Point::RewindNoticed);
        self.tell(|_| format!("slot {shard}: it is noticed that its storage was set back"));
        self.shards[shard].rewound = Some(Some((self.now, flush)));
    }
}

fn outcome(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Decided(Decision::Allow(_)) => "allowed".into(),
        Verdict::InGrace(Decision::Allow(_)) => "allowed in grace".into(),
        Verdict::Decided(Decision::Deny(denial)) => format!("denied, {denial:?}"),
        Verdict::InGrace(Decision::Deny(denial)) => format!("denied in grace, {denial:?}"),
        Verdict::Unknown => "unknown".into(),
        Verdict::Undetermined => "undetermined".into(),
    }
}
