//! A slot's Authority: the code of `keygate::authority` on SQLite, and around it what the Durable Object does between
//! its events (`src/cloudflare/object.rs`, which only runs on Cloudflare's runtime).

use std::collections::HashMap;
use std::rc::Rc;

use keygate::{
    authority::{
        admins::Caller,
        command::{self, Answer, Circumstances, Command, NewAccount, NewKey, Order, Precondition},
        copy::SigningKeys,
        journal::{self, CommandId, StoredAnswer},
        lease::{Leases, Terms},
        outbox::{self, Courier, KvKey, Put},
        schema, sync,
        sync::SyncRequest,
        usage::Tally,
    },
    credential::{AccountRef, Brand, Environment, KeyId, NumberedSecret, Pepper, Peppers, PresentedKey, RecognisedKey},
    policy::{Access, ApiAccess, Catalogue, Fields, ScopeSet, UnixMillis},
};

use super::database::Counted;

/// The slot that is looked at.
pub const SLOT: u8 = 0;

/// When the last account was made.
pub const BEGINNING_MS: u64 = 1_800_000_000_000;

/// As in the object: an alarm that should have rung so long ago is lost.
const ALARM_LOST_MS: u64 = 5_000;

/// As in the object: how soon an alarm rings again that left work behind.
const ALARM_AGAIN_MS: u64 = 10;

/// A key and whose it is.
#[derive(Clone, Copy)]
pub struct Key {
    pub recognised: RecognisedKey,
    pub id: KeyId,
}

/// The database of one slot with accounts and keys, and KV with a copy of each.
pub struct Population {
    pub sql: Counted,
    pub signing: SigningKeys,
    pub keys: Vec<Key>,
    pub copies: HashMap<KvKey, Rc<str>>,
    peppers: Peppers,
}

impl Population {
    pub fn new(accounts: usize, keys: usize) -> Self {
        let secret = |id: u8| format!("{id}:{}", format!("{id}{id}").repeat(32));
        let sql = Counted::new();
        sql.begin();
        schema::migrate(&sql, &"0e".repeat(16)).unwrap();
        let mut population = Population {
            sql,
            signing: SigningKeys::new(NumberedSecret::parse(&secret(2)).unwrap(), None).unwrap(),
            keys: Vec::new(),
            copies: HashMap::new(),
            peppers: Peppers::new(Pepper::parse(&secret(1)).unwrap(), None).unwrap(),
        };
        // Each command has a minute of its own: what it leaves behind does not meet the next one's.
        let begun = BEGINNING_MS - (accounts + keys + 1) as u64 * 61_000;
        let time = |number: usize| UnixMillis::from_millis(begun + number as u64 * 61_000);
        let (mut courier, mut holders) = (Courier::default(), Vec::new());
        for number in 0..accounts + keys {
            let command = if number < accounts { new_account(number) } else { new_key(holders[number % accounts]) };
            let (answer, _) = population.carry_out(command, number as u64, time(number)).unwrap();
            match answer {
                Answer::Created(record) => holders.push(record.id),
                Answer::Issued { record, text, .. } => {
                    let recognised = population.recognise(text.expose());
                    population.keys.push(Key { recognised, id: record.id() });
                }
                _ => {}
            }
            for put in courier.take_due(&population.sql, &population.signing, SLOT, time(number)).unwrap() {
                courier.finished(&population.sql, &put, true, time(number)).unwrap();
                population.copies.insert(put.kv_key, put.value.into());
            }
        }
        while journal::next_due(&population.sql).unwrap().is_some() {
            journal::forget(&population.sql, UnixMillis::MAX, 10_000).unwrap();
        }
        population.sql.mark();
        population
    }

    fn recognise(&self, text: &str) -> RecognisedKey {
        self.peppers.recognise(&PresentedKey::parse(text).unwrap()).unwrap()
    }

    fn carry_out(&self, command: Command, number: u64, now: UnixMillis) -> Option<(Answer, Vec<KvKey>)> {
        let id = CommandId::new(&format!("command {number}"), true, &[b"request"]);
        let (actor, caller) = (Some("u-1".into()), Caller::Root);
        let precondition = Precondition::Any;
        let order = Order { command, id, caller, actor, precondition, wait: false, taken_elsewhere: false };
        let mut nonce = [7; 32];
        nonce[..8].copy_from_slice(&number.to_be_bytes());
        let circumstances = Circumstances {
            slot: SLOT,
            peppers: &self.peppers,
            catalogue: Catalogue::compiled(),
            max_key_days: None,
            now,
            nonce,
        };
        let mut seen = None;
        let committed = command::execute(&self.sql, &order, &circumstances, |answer| {
            seen = Some(answer.clone());
            StoredAnswer { status: 200, version: 1, body: "{}".into(), effective_at: None }
        });
        let outdated = committed.ok()?.outdated;
        journal::settle_mirrored(&self.sql, &caller.name(), &order.id, true).unwrap();
        Some((seen?, outdated))
    }
}

fn new_account(number: usize) -> Command {
    Command::CreateAccount(NewAccount {
        name: format!("Account {number}"),
        external_id: Some(format!("customer-{number}")),
        brand: Brand::default(),
        max_active_keys: None,
        api_access: ApiAccess { live: Access::Active, test: Access::Active },
        features: Vec::new(),
        default_scopes: ScopeSet::parse(["contacts:read"]).unwrap(),
        settings: keygate::authority::settings::Settings::default(),
    })
}

/// A key of `account`.
pub fn new_key(account: AccountRef) -> Command {
    let scopes = Some(ScopeSet::parse(["contacts:*", "reports:read"]).unwrap());
    let environment = Environment::Live;
    Command::IssueKey {
        account,
        key: NewKey {
            name: Some("billing".into()),
            environment,
            scopes,
            access_level: None,
            not_before: None,
            expires_at: None,
            workspaces: None,
            fields: Fields::default(),
            allowed_ips: None,
            labels: keygate::authority::labels::Labels::default(),
        },
    }
}

/// What a sync brought.
pub struct Answered {
    pub text: String,
    /// The database was written, and the answer waits until that is durable.
    pub wrote: bool,
}

/// One instance of the Durable Object.
pub struct Object<'p> {
    population: &'p Population,
    leases: Leases,
    tally: Tally,
    courier: Courier,
    pub alarm_at: Option<UnixMillis>,
    pub alarms_set: u64,
    commands: u64,
}

impl<'p> Object<'p> {
    pub fn new(population: &'p Population, lease_ms: u64, now: UnixMillis) -> Self {
        let mut leases = Leases::begin(&population.sql, Terms { lease_ms, grace_ms: 0 }, now).unwrap();
        leases.born(now);
        let (tally, courier) = (Tally::default(), Courier::default());
        Object { population, leases, tally, courier, alarm_at: None, alarms_set: 0, commands: 1 << 32 }
    }

    pub fn sync(&mut self, request: &SyncRequest, now: UnixMillis) -> Answered {
        let sql = &self.population.sql;
        let before = (self.rows_written(), self.alarms_set);
        self.tally.take(sql, &request.uses, now).unwrap();
        self.ensure_alarm(now);
        let granted = Terms { lease_ms: self.leases.grant(sql, now).unwrap(), ..self.leases.terms() };
        let epoch = "0f".repeat(16);
        let answered = sync::answer(sql, &self.population.signing, SLOT, request, granted, &epoch).unwrap();
        for kv_key in &answered.refresh {
            self.courier.refresh(sql, kv_key, now).unwrap();
        }
        if !answered.refresh.is_empty() {
            self.ensure_alarm(now);
        }
        Answered { text: answered.text, wrote: before != (self.rows_written(), self.alarms_set) }
    }

    /// Carries out a command; its answer, and the puts that it begins. None if it was refused.
    pub fn command(&mut self, command: Command, now: UnixMillis) -> Option<(Answer, Vec<Put>)> {
        self.commands += 1;
        let (answer, _) = self.population.carry_out(command, self.commands, now)?;
        self.leases.wrote(now);
        self.ensure_alarm(now);
        Some((answer, self.deliver(now)))
    }

    /// The alarm rings; the puts that it begins.
    pub fn alarm(&mut self, now: UnixMillis) -> Vec<Put> {
        self.alarm_at = None;
        self.arm(now.saturating_add_millis(ALARM_LOST_MS));
        journal::forget(&self.population.sql, now, 1_000).unwrap();
        self.tally.write_due(&self.population.sql, now).unwrap();
        let puts = self.deliver(now);
        self.alarm_at = None;
        if puts.is_empty() {
            self.ensure_alarm(now)
        } else {
            self.arm(now.saturating_add_millis(ALARM_AGAIN_MS))
        }
        puts
    }

    /// A put came back.
    pub fn finished(&mut self, put: &Put, now: UnixMillis) {
        self.courier.finished(&self.population.sql, put, true, now).unwrap();
    }

    /// The key that a command issued.
    pub fn issued(&self, answer: &Answer) -> Option<Key> {
        match answer {
            Answer::Issued { record, text, .. } => {
                Some(Key { recognised: self.population.recognise(text.expose()), id: record.id() })
            }
            _ => None,
        }
    }

    fn rows_written(&self) -> u64 {
        self.population.sql.rows_written()
    }

    fn deliver(&mut self, now: UnixMillis) -> Vec<Put> {
        self.courier.take_due(&self.population.sql, &self.population.signing, SLOT, now).unwrap()
    }

    fn ensure_alarm(&mut self, now: UnixMillis) {
        let sql = &self.population.sql;
        let dues = [outbox::next_due(sql).unwrap(), journal::next_due(sql).unwrap(), self.tally.next_due()];
        let Some(due) = dues.into_iter().flatten().min() else { return };
        let lost = self.alarm_at.is_none_or(|at| at.saturating_add_millis(ALARM_LOST_MS) < now);
        let wanted = due.max(now.saturating_add_millis(outbox::PUT_INTERVAL_MS));
        if lost || self.alarm_at.is_some_and(|at| at > wanted) {
            self.arm(wanted);
        }
    }

    fn arm(&mut self, at: UnixMillis) {
        self.alarm_at = Some(at);
        self.alarms_set += 1;
    }
}
