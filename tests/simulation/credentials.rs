//! Administrators who are not the operator: admin credentials and the sessions that they mint. Whoever acts with one that
//! was revoked, disabled, or is over, or whose account or role does not reach that far, changes nothing.

use keygate::{
    authority::{
        admins::Caller,
        command::{AccountChange, Command, Edit, NewCredential, NewSession, WorkspaceChange},
    },
    credential::{AccountRef, Environment},
    policy::{KeyStatus, Role, UnixMillis},
};

use super::{
    admin::Wish,
    coverage::Point,
    rng::{BASE_MS, MS},
    world::World,
};

/// So many credentials and sessions there are at most.
const CREDENTIALS_MAX: usize = 6;

impl World {
    /// What the operator alone orders otherwise is now ordered by one of these, if the account has any: also by those that
    /// do not work any more.
    pub fn by_somebody_else(&mut self, number: usize) {
        let Some(op) = self.admin.ops.get(number).filter(|op| !op.borrowed) else { return };
        let Wish::Command(command) = &op.wish else { return };
        let Some(account) = account_of(command) else { return };
        let theirs: Vec<usize> = self.credentials(account);
        if !theirs.is_empty() && self.rng.chance(300) {
            let digest = self.truth.keys[*self.rng.pick(&theirs)].digest;
            self.admin.ops[number].caller = Caller::Credential(digest);
        }
    }

    /// What has to do with who administers, and what accounts ask for themselves.
    pub fn administer_accounts(&mut self, shard: usize, tenant: usize) {
        let account = self.truth.tenants[tenant].id;
        let now = BASE_MS + self.now / MS;
        let theirs = self.credentials(account);
        let room = theirs.len() < CREDENTIALS_MAX;
        let command = match self.rng.below(12) {
            0..4 if room => {
                let ends = self.rng.chance(300);
                let end = self.rng.range(1_000, 8 * self.knobs.lease_ms);
                let credential = NewCredential {
                    name: None,
                    role: if self.rng.chance(200) { Role::Viewer } else { Role::Admin },
                    scopes: None,
                    workspaces: None,
                    not_before: None,
                    expires_at: ends.then(|| UnixMillis::from_millis(now + end)),
                };
                Command::IssueCredential { account, credential }
            }
            0..6 if room => {
                let session = NewSession { actor: "alice".into(), role: None, scopes: None, workspaces: None };
                Command::MintSession { account, session }
            }
            0..8 if !theirs.is_empty() => {
                let key = self.truth.keys[*self.rng.pick(&theirs)].id;
                Command::RevokeKey { account, key }
            }
            8 => Command::RequestAccess { account, environment: Environment::Live, note: None },
            9 => {
                let name = Edit::Set(format!("account {}", self.number()));
                let external_id = format!("slot-{shard}-{}", self.rng.below(3));
                Command::PutAccount { external_id, change: AccountChange { name, ..AccountChange::default() } }
            }
            _ => {
                let active = self.workspaces_of(tenant);
                if active.is_empty() {
                    return;
                }
                let name = Edit::Set(format!("workspace {}", self.number()));
                let change = WorkspaceChange { name };
                Command::ChangeWorkspace { account, workspace: *self.rng.pick(&active), change }
            }
        };
        self.want(shard, Wish::Command(command), None, false);
    }

    /// All that were ever given to somebody.
    fn credentials(&self, account: AccountRef) -> Vec<usize> {
        let of = |at: &usize| {
            let key = &self.truth.keys[*at];
            key.is_credential() && key.recognised.account == account && key.handed_out_at.is_some()
        };
        (0..self.truth.keys.len()).filter(of).collect()
    }

    /// A command was carried out: whoever ordered it was allowed to.
    pub fn check_caller(&mut self, shard: usize, number: usize, attempt: u64) {
        let op = self.admin.op_of(attempt);
        let Caller::Credential(first) = op.caller else { return };
        let Wish::Command(command) = &op.wish else { return };
        let account = account_of(command);
        let mints = matches!(command, Command::MintSession { .. });
        let passes_on = mints || matches!(command, Command::IssueCredential { .. });
        let now = self.instance_now(shard, number);
        let mut fault = None;
        let mut next = Some(first);
        while let Some(digest) = next.take() {
            let key = self.truth.keys.iter().find(|key| key.digest == digest);
            let Some((key, state)) = key.and_then(|key| Some((key, key.history.last()?))) else {
                fault = Some("that nobody has");
                break;
            };
            let is = &state.is;
            if is.status != KeyStatus::Active || is.expires_at.is_some_and(|end| end <= now) {
                fault = Some("that does not work any more");
            }
            let held = key.administration.as_ref();
            // Viewers may mint sessions, which are viewers'.
            if Some(is.account) != account || held.is_none_or(|held| held.role != Role::Admin && !mints) {
                fault = Some("that does not reach so far");
            }
            if passes_on && key.digest == first && held.is_some_and(|held| held.session.is_some()) {
                fault = Some("that passes nothing on");
            }
            next = key.administration.as_ref().and_then(|held| held.session.as_ref()?.parent);
        }
        self.met(Point::CommandByCredential);
        if let Some(fault) = fault.filter(|_| !self.shards[shard].ever_rewound) {
            let command = self.admin.command(attempt);
            self.violate("rights", format!("{command} was carried out for a credential {fault}"));
        }
    }
}

fn account_of(command: &Command) -> Option<AccountRef> {
    match command {
        Command::ChangeAccount { account, .. }
        | Command::RequestAccess { account, .. }
        | Command::IssueKey { account, .. }
        | Command::IssueCredential { account, .. }
        | Command::MintSession { account, .. }
        | Command::ChangeKey { account, .. }
        | Command::RotateKey { account, .. }
        | Command::ConfirmRotation { account, .. }
        | Command::CancelRotation { account, .. }
        | Command::RevokeKey { account, .. }
        | Command::RevokeAllKeys { account, .. }
        | Command::PlanRevocation { account, .. }
        | Command::ExecutePlan { account, .. }
        | Command::CancelPlan { account, .. }
        | Command::CreateWorkspace { account, .. }
        | Command::ChangeWorkspace { account, .. }
        | Command::ArchiveWorkspace { account, .. } => Some(*account),
        Command::CreateAccount(_) | Command::PutAccount { .. } | Command::SetPlatform { .. } => None,
    }
}
