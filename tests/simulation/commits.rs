//! What becomes of a command that was carried out: what is so from then on.

use keygate::{
    authority::{
        command::{Answer, Committed},
        plans::PlanState,
        record::KeyRecord,
    },
    credential::PresentedKey,
};

use super::{coverage::Point, truth::Place, world::World};

impl World {
    /// Notes what a command changed, unless nobody will ever hear of it.
    pub fn commit(&mut self, shard: usize, number: usize, attempt: u64, committed: &Committed, seen: Option<&Answer>) {
        if self.shards[shard].instances[number].superseded {
            return self.met(Point::SupersededCommand);
        }
        if !committed.wrote {
            self.tell(|_| format!("slot {shard}: attempt {attempt} was carried out before"));
            return self.met(Point::Repeated);
        }
        self.check_caller(shard, number, attempt);
        let place = Place { shard, at: self.now, flush: self.shards[shard].disk.flushes.len() - 1 };
        let mut beside = None;
        let key = match seen {
            Some(Answer::Account(record) | Answer::Created(record)) => {
                self.truth.account(record, place);
                None
            }
            Some(Answer::Key(record) | Answer::Issued { record, .. }) => {
                let peppers = self.deploy.peppers.clone();
                let recognise =
                    |text: &str| PresentedKey::parse(text).ok().and_then(|key| peppers.recognise(&key)).unwrap();
                self.truth.grant(record, committed, recognise, place)
            }
            Some(Answer::Rotated { record, old, .. }) => {
                let peppers = self.deploy.peppers.clone();
                let recognise =
                    |text: &str| PresentedKey::parse(text).ok().and_then(|key| peppers.recognise(&key)).unwrap();
                self.coverage.met(if old.revoked_at.is_some() { Point::RotatedAtOnce } else { Point::Rotated });
                let known = |_: &str| panic!("the old key is known");
                self.truth.grant(record, committed, recognise, place);
                self.truth.grant(old, committed, known, place)
            }
            Some(Answer::Unrotated { record, successor }) => {
                self.coverage.met(Point::RotationCancelled);
                let known = |_: &str| panic!("both keys are known");
                self.truth.grant(successor, committed, known, place);
                self.truth.grant(record, committed, known, place)
            }
            Some(Answer::AllRevoked { account, environments, revoked_all }) => {
                beside = self.truth.revoke_all(*account, environments, *revoked_all, place);
                let nothing_new = beside.as_ref().is_some_and(|(_, gone)| gone.is_empty());
                self.met(if nothing_new { Point::RevokedAllAgain } else { Point::RevokedAll });
                None
            }
            Some(Answer::Workspace(record) | Answer::WorkspaceCreated(record)) => {
                let archived = record.archived_at.is_some();
                beside = self.truth.workspace(record, place).map(|tenant| (tenant, Vec::new()));
                self.met(if archived { Point::WorkspaceArchived } else { Point::WorkspaceCreated });
                None
            }
            Some(Answer::Planned(record) | Answer::Plan(record)) => {
                if let Some(state) = self.truth.plan(record, place) {
                    self.met(match state {
                        PlanState::Planning => Point::PlanningInSteps,
                        PlanState::Running => Point::PlanExecuted,
                        PlanState::Cancelled => Point::PlanCancelled,
                        PlanState::Planned | PlanState::Done | PlanState::Expired => Point::Planned,
                    });
                }
                None
            }
            Some(Answer::Platform(features)) => {
                self.coverage.met(Point::PlatformSet);
                self.truth.platform(features, place);
                None
            }
            None => None,
        };
        self.tell(|world| {
            let what = world.admin.command(attempt);
            format!("slot {shard}: attempt {attempt} committed at flush {}: {what} (key {key:?})", place.flush)
        });
        let racing = self.flights.values().any(|flight| flight.shard == shard);
        self.committed(attempt, place, seen, beside);
        if racing && self.admin.is_revoke(attempt) {
            self.met(Point::RevokeRacesSync);
        }
        if self.admin.is_revoke(attempt) && self.requests.values().any(|request| Some(request.subject) == key) {
            self.met(Point::RevokeDuringRequest);
        }
    }

    /// Notes which keys changed without a command of their own, unless nobody will ever hear of it.
    pub fn ended(&mut self, shard: usize, number: usize, ended: &[KeyRecord]) {
        if self.shards[shard].instances[number].superseded {
            return;
        }
        let place = Place { shard, at: self.now, flush: self.shards[shard].disk.flushes.len() - 1 };
        for record in ended {
            let begun = record.rotated_to.is_some() && record.unrotated_expires_at != record.expires_at;
            self.met(if begun { Point::OverlapBegun } else { Point::RevokedByPlan });
            if let Some(key) = self.truth.ended(record, place) {
                self.tell(|_| format!("slot {shard}: key {key} is at its end, or near it, at flush {}", place.flush));
                self.admin.ended.push((place, key, record.version, record.status));
            }
        }
    }
}
