//! How a history ends: everything that was broken is whole again, and then all must come right by itself.

use keygate::policy::Demand;

use super::{
    admin::{Subject, Wish},
    coverage::Point,
    linear::is_linearizable,
    rng::{Micros, SECOND},
    world::World,
};

/// The longest pause of the outbox, and what its puts take.
const CONVERGES: Micros = 200 * SECOND;

impl World {
    /// The whole history of a seed.
    pub fn live(&mut self) {
        while self.stimuli_left > 0 && self.violation.is_none() {
            let now = self.now;
            self.run(Some(now + 10 * SECOND));
        }
        self.heal();
        for shard in 0..self.shards.len() {
            self.without_kv(shard);
        }
        self.all_is_decided();
        self.pass(CONVERGES);
        self.kv_is_right();
        self.in_the_end();
    }

    fn pass(&mut self, length: Micros) {
        self.run(Some(self.now + length));
    }

    fn heal(&mut self) {
        self.healed = true;
        self.tell(|_| "from here on everything is well".into());
        self.kv.outage_until = 0;
        self.shards.iter_mut().for_each(|shard| shard.unreachable_until = 0);
        self.finish_deploy();
        let longest = (0..self.shards.len()).map(|shard| self.bound(shard, true)).max().unwrap_or(0);
        self.pass(2 * longest + 10 * SECOND);
        for shard in 0..self.shards.len() {
            for instance in 0..self.shards[shard].instances.len() {
                if self.shards[shard].instances[instance].superseded {
                    self.kill(shard, instance, "it is gone at last");
                }
            }
        }
    }

    /// While KV is down, keys can be issued, work, and can be revoked.
    fn without_kv(&mut self, shard: usize) {
        self.kv.outage_until = self.now + 30 * SECOND;
        let created = self.create_account(shard);
        self.pass(6 * SECOND);
        let Some(tenant) = self.subject_of(created) else {
            return self.violate("L4", "no account can be created while KV is down".into());
        };
        let Subject::Tenant(tenant) = tenant else { return };
        let issued = self.issue(shard, tenant);
        self.pass(6 * SECOND);
        let Some(Subject::Key(key)) = self.subject_of(issued) else {
            return self.violate("L4", "no key can be issued while KV is down".into());
        };
        self.expects_verdicts = true;
        self.ask_everywhere(key);
        self.pass(6 * SECOND);
        self.expects_verdicts = false;
        let (account, id) = (self.truth.keys[key].recognised.account, self.truth.keys[key].id);
        let command = keygate::authority::command::Command::RevokeKey { account, key: id };
        let revoked = self.want(shard, Wish::Command(command), None, false);
        self.pass(6 * SECOND);
        if self.admin.ops[revoked].acknowledged.is_none() {
            self.violate("L3", "no key can be revoked while KV is down".into());
        }
        self.kv.outage_until = 0;
    }

    fn subject_of(&self, op: usize) -> Option<Subject> {
        let op = &self.admin.ops[op];
        op.acknowledged.as_ref().and_then(|_| op.commits.first()?.subject)
    }

    fn ask_everywhere(&mut self, key: usize) {
        let text = self.truth.keys[key].text.clone();
        for isolate in self.living() {
            self.present(isolate, key, &text, Demand::default());
        }
    }

    /// Every key is decided about, everywhere, by what is so now.
    fn all_is_decided(&mut self) {
        let longest = (0..self.shards.len()).map(|shard| self.bound(shard, true)).max().unwrap_or(0);
        self.pass(2 * longest + 6 * SECOND);
        self.expects_verdicts = true;
        for key in self.held() {
            self.ask_everywhere(key);
            self.pass(6 * SECOND);
        }
        self.expects_verdicts = false;
        let under_way = self.flights.len() + self.requests.len();
        if under_way > 0 {
            self.violate("L5", format!("{under_way} requests and syncs do not end"));
        }
    }

    /// KV has everything, and has it right.
    fn kv_is_right(&mut self) {
        for shard in 0..self.shards.len() {
            let Some(current) = self.shards[shard].current else { continue };
            let left = "SELECT (SELECT count(*) FROM outbox) + (SELECT count(*) FROM sweeps)
                + (SELECT count(*) FROM plans WHERE state IN ('running', 'planning'))";
            let left = self.shards[shard].instances[current].sql.number(left);
            if left > 0 {
                return self.violate(
                    "L1",
                    format!("slot {shard} has {left} copies that KV never got, or plans that are never done"),
                );
            }
        }
        let mut wrong = None;
        // Of credentials KV never hears.
        for key in self.truth.keys.iter().filter(|key| !key.is_credential()) {
            let name = keygate::authority::outbox::KvKey::grant(&key.digest).text();
            let Some(state) = key.history.last() else { continue };
            if self.shards[key.shard].ever_rewound || self.kv.is_tampered(&name) {
                continue;
            }
            let status = format!("\"status\":\"{}\"", state.is.status.as_str());
            if self.kv.honest(&name).is_none_or(|text| !text.contains(&status)) {
                wrong = Some(format!("{name} is not {status}: {:?}", self.kv.honest(&name)));
            }
        }
        if let Some(wrong) = wrong {
            self.violate("L1", wrong);
        }
    }

    fn in_the_end(&mut self) {
        if self.violation.is_some() {
            return;
        }
        for shard in 0..self.shards.len() {
            if let Some(current) = self.shards[shard].current {
                self.check_database(shard, current);
            }
            if let Some(None) = self.shards[shard].rewound {
                self.met(Point::RewindUnnoticed);
            }
        }
        self.check_secrecy();
        let keys = (0..self.truth.keys.len()).map(Subject::Key);
        for subject in keys.chain((0..self.truth.tenants.len()).map(Subject::Tenant)).collect::<Vec<_>>() {
            let shard = match subject {
                Subject::Key(key) => self.truth.keys[key].shard,
                Subject::Tenant(tenant) => self.truth.tenants[tenant].shard,
            };
            if self.shards[shard].ever_rewound {
                continue;
            }
            let mut history = self.admin.history(subject);
            history.extend(self.readings.iter().filter(|(other, _)| *other == subject).map(|(_, entry)| entry.clone()));
            if history.iter().any(|entry| entry.respond == Micros::MAX) {
                self.met(Point::CommittedUnanswered);
            }
            if history.len() <= 64 && !is_linearizable(&history) {
                self.violate("I12", format!("{subject:?}: {history:?}"));
            }
        }
    }
}
