//! Plans: keys to be revoked, found by a filter and written down before any is.
//!
//! A plan holds the keys themselves, not the filter: what is issued, relabelled or used later neither enters nor leaves
//! it. It looks for them as far as a page of a list may; where that is not all of the account, it goes on by the alarm, as
//! its execution does. Whoever has read it orders its execution, and exactly those keys are revoked, chunk by chunk: the module
//! [`super::plan_run`].

use crate::{
    credential::{AccountRef, Environment, PlanId},
    json::{ToJson, quoted},
    planted::walk,
    policy::{DAY_MS, UnixMillis},
};

use super::{
    accounts,
    audit::{self, Change},
    command::{Answer, Failure, Refusal, Work, derive},
    due,
    key_filter::{KeyFilter, ListedStatus, Part},
    keys, meta,
    outbox::KvKey,
    record::KeyRecord,
    sql::{Columns, Sql, SqlError, Value, Wide, at_most_one, each, narrow, only},
};

/// Keys of one plan: 10,000 rows, written in one statement, are some tenths of a second at most; revoking them takes 100
/// chunks.
pub const PLAN_KEYS_MAX: u32 = 10_000;

/// Keys that a plan looks at at a time, as a page of a list does; one more than it holds, so that one that everything fits
/// is made at once.
const PLAN_LOOK: u32 = PLAN_KEYS_MAX + 1;

/// Plans of one account that are yet to be executed, or are being.
pub const OPEN_PLANS_MAX: u32 = 20;

/// For how long a plan can be executed. What is older was not looked at for today's keys.
pub const PLAN_EXECUTABLE_MS: u64 = DAY_MS;

/// For how long a plan that has ended, however it did, can be read.
pub const PLAN_KEPT_MS: u64 = 7 * DAY_MS;

/// What has become of a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlanState {
    /// It is still looking for its keys.
    Planning,
    /// It can be executed.
    Planned,
    /// Its keys are being revoked.
    Running,
    /// All of its keys are revoked.
    Done,
    /// What was revoked until then stays revoked, the rest is left.
    Cancelled,
    /// It was not executed in time. Only ever read, never stored.
    Expired,
}

impl PlanState {
    /// All of them.
    pub const ALL: [PlanState; 6] = [
        PlanState::Planning,
        PlanState::Planned,
        PlanState::Running,
        PlanState::Done,
        PlanState::Cancelled,
        PlanState::Expired,
    ];

    /// The name on the wire and in the database.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            PlanState::Planning => "planning",
            PlanState::Planned => "planned",
            PlanState::Running => "running",
            PlanState::Done => "done",
            PlanState::Cancelled => "cancelled",
            PlanState::Expired => "expired",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        PlanState::ALL.into_iter().find(|state| state.as_str() == text)
    }
}

/// How many keys of which kind a plan has found, each as it was then. None of them was revoked, none is an admin credential.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PlanCounts {
    /// All of them.
    pub total: u64,
    /// Those of the environment `live`; the others are of `test`.
    pub live: u64,
    /// Those that were disabled.
    pub disabled: u64,
    /// Those whose time was over; the others were active.
    pub expired: u64,
}

/// A plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlanRecord {
    /// Which one.
    pub id: PlanId,
    /// Whose keys.
    pub account: AccountRef,
    /// The sequence it was made at: every key in it was issued before.
    pub sequence: u64,
    /// What the keys were found by, as JSON.
    pub filter: String,
    /// How many; while it is looking for them, how many so far.
    pub counts: PlanCounts,
    /// More keys were found than one plan holds; these are the newest.
    pub truncated: bool,
    /// What has become of it.
    pub state: PlanState,
    /// How many keys it has revoked.
    pub revoked: u64,
    /// How many keys were revoked already when their turn came.
    pub skipped: u64,
    /// When it was made.
    pub created_at: UnixMillis,
    /// By whom, in the caller's own product.
    pub created_by: Option<String>,
    /// When its execution was ordered.
    pub started_at: Option<UnixMillis>,
    /// When it was done or cancelled.
    pub finished_at: Option<UnixMillis>,
}

impl PlanRecord {
    /// Until when it can be executed.
    #[must_use]
    pub fn expires_at(&self) -> UnixMillis {
        self.created_at.saturating_add_millis(PLAN_EXECUTABLE_MS)
    }

    fn described(&self) -> audit::Members {
        vec![
            ("filter", self.filter.clone()),
            ("keys", self.counts.total.to_json()),
            ("state", quoted(self.state.as_str())),
        ]
    }
}

/// Writes down which keys a filter finds now that are not revoked, or the first of them.
pub(super) fn create<S: Sql>(
    work: &Work<'_, S>,
    account: AccountRef,
    filter: &KeyFilter,
) -> Result<(Answer, Vec<KvKey>), Failure> {
    let (sql, now) = (work.sql, work.now());
    accounts::named(sql, account)?;
    refuse_unfit(filter)?;
    refuse_too_many(sql, account, now)?;
    let [a, b, c, d, e, f, g, h, ..] = derive(&work.circumstances.nonce, &[b"plan id"])?;
    let id = PlanId::from_bytes([a, b, c, d, e, f, g, h]);
    let sequence = meta::next_sequence(sql)?;
    let step = look(sql, &Looking { account, sequence, made_at: now, next: sequence, found: 0 }, filter)?;
    // An id that is taken already is a constraint's to refuse.
    sql.run(
        "INSERT INTO plans (sequence, id, account, filter, total, live, disabled, expired, truncated, state, next,
            created_at, created_by, gone_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?12 + ?14)",
        &[
            sequence.into(),
            id.to_string().into(),
            account.number.into(),
            filter.to_json().into(),
            step.counts.total.into(),
            step.counts.live.into(),
            step.counts.disabled.into(),
            step.counts.expired.into(),
            step.truncated.into(),
            step.state().into(),
            step.next.unwrap_or(sequence).into(),
            now.as_millis().into(),
            work.created_by().into(),
            (PLAN_EXECUTABLE_MS + PLAN_KEPT_MS).into(),
        ],
    )?;
    let record = get(sql, account, id, now)?.ok_or(Refusal::NotFound)?;
    Ok((Answer::Planned(record), Vec::new()))
}

/// How far a plan has come that looks for its keys.
struct Looking {
    account: AccountRef,
    /// Its sequence.
    sequence: u64,
    /// As of when it looks.
    made_at: UnixMillis,
    /// Keys issued at that sequence and later have been looked at.
    next: u64,
    /// How many of them it has.
    found: u32,
}

/// What it has found in one step.
struct Step {
    counts: PlanCounts,
    /// There are more than it holds.
    truncated: bool,
    /// Where the next step begins; none = this was the last.
    next: Option<u64>,
}

impl Step {
    fn state(&self) -> &'static str {
        if self.next.is_some() { PlanState::Planning } else { PlanState::Planned }.as_str()
    }
}

/// Adds to a plan those of the next keys that it is about.
fn look(sql: &impl Sql, plan: &Looking, filter: &KeyFilter) -> Result<Step, SqlError> {
    let Looking { account, sequence, made_at, next, found } = *plan;
    let over = accounts::over_keys(sql, account.number)?;
    let due = if filter.due { due::due(sql, account, over, made_at)? } else { None };
    if filter.due && due.is_none() {
        // Where the account has no policy, nothing is due.
        return Ok(Step { counts: PlanCounts::default(), truncated: false, next: None });
    }
    // One more than it may hold shows that there are more.
    let limit = (PLAN_KEYS_MAX + 1).saturating_sub(found);
    let part = Part { before: next, limit, walk: walk(PLAN_LOOK), due, only_left: true };
    let selected = filter.select(sql, account, &part, over.revoked_all, made_at)?;
    let mut parameters = vec![Value::from(sequence)];
    parameters.extend_from_slice(&selected.parameters);
    sql.run(
        &format!("INSERT INTO plan_keys (of_plan, issued_at) SELECT ?, issued FROM {}", selected.from),
        &parameters,
    )?;
    let beyond = sql.run(
        "DELETE FROM plan_keys WHERE of_plan = ?1 AND issued_at =
            (SELECT issued_at FROM plan_keys WHERE of_plan = ?1 ORDER BY issued_at DESC LIMIT 1 OFFSET ?2) RETURNING 1",
        &[sequence.into(), PLAN_KEYS_MAX.into()],
    )?;
    let mut counted = only(sql.run(
        "SELECT count(*), coalesce(sum(environment = 'live'), 0), coalesce(sum(status = 'disabled'), 0),
            coalesce(sum(status = 'active' AND expires_at <= ?3), 0)
         FROM plan_keys CROSS JOIN keys ON account = ?2 AND issued = issued_at WHERE of_plan = ?1 AND issued_at < ?4",
        &[sequence.into(), account.number.into(), made_at.as_millis().into(), next.into()],
    )?)?;
    let counts = PlanCounts {
        total: counted.number()?,
        live: counted.number()?,
        disabled: counted.number()?,
        expired: counted.number()?,
    };
    let truncated = !beyond.is_empty();
    let next = if truncated { None } else { selected.beyond(sql)? };
    Ok(Step { counts, truncated, next })
}

/// Goes on with the plan that was made first, of those that look for their keys. False when there is none.
pub(super) fn go_on(sql: &impl Sql, slot: u8) -> Result<bool, SqlError> {
    let planning = sql.run(
        "SELECT filter, account, sequence, created_at, next, total FROM plans WHERE state = 'planning'
         ORDER BY sequence LIMIT 1",
        &[],
    )?;
    let Some(mut row) = at_most_one(planning)? else { return Ok(false) };
    let filter: KeyFilter = row.json()?;
    let plan = Looking {
        account: AccountRef { slot, number: narrow(row.number()?)? },
        sequence: row.number()?,
        made_at: UnixMillis::from_millis(row.number()?),
        next: row.number()?,
        found: narrow(row.number()?)?,
    };
    let step = look(sql, &plan, &filter)?;
    sql.run(
        "UPDATE plans SET total = total + ?2, live = live + ?3, disabled = disabled + ?4, expired = expired + ?5,
            truncated = ?6, state = ?7, next = ?8 WHERE sequence = ?1",
        &[
            plan.sequence.into(),
            step.counts.total.into(),
            step.counts.live.into(),
            step.counts.disabled.into(),
            step.counts.expired.into(),
            step.truncated.into(),
            step.state().into(),
            // From then on it says which keys have been revoked.
            step.next.unwrap_or(plan.sequence).into(),
        ],
    )?;
    Ok(true)
}

fn refuse_unfit(filter: &KeyFilter) -> Result<(), Refusal> {
    let detail = if *filter == KeyFilter::default() {
        "filter must have a member at least; POST keys/revoke-all revokes all keys."
    } else if filter.environment == Some(Environment::Admin) {
        "filter: environment must be \"live\" or \"test\"; admin credentials are in no plan."
    } else if filter.status == Some(ListedStatus::Revoked) {
        "filter: status must be \"active\", \"disabled\" or \"expired\"; what is revoked is in no plan."
    } else {
        return Ok(());
    };
    Err(Refusal::Invalid { field: "filter".into(), detail: detail.into() })
}

fn refuse_too_many(sql: &impl Sql, account: AccountRef, now: UnixMillis) -> Result<(), Failure> {
    let open = only(sql.run(
        "SELECT count(*) FROM plans WHERE account = ?1 AND finished_at IS NULL AND (state = 'running' OR created_at > ?2)",
        &[account.number.into(), now.as_millis().saturating_sub(PLAN_EXECUTABLE_MS).into()],
    )?)?
    .number()?;
    if open < OPEN_PLANS_MAX.into() {
        return Ok(());
    }
    let detail = format!("The account has {OPEN_PLANS_MAX} open plans already. Execute or cancel one of them first.");
    Err(Refusal::Conflict { field: None, detail }.into())
}

/// Has the keys of a plan revoked (`wanted`: `Running`), or ends it (`Cancelled`). Repeating it is a success that changes
/// nothing.
pub(super) fn order<S: Sql>(
    work: &Work<'_, S>,
    account: AccountRef,
    id: PlanId,
    wanted: PlanState,
) -> Result<(Answer, Vec<KvKey>), Failure> {
    use PlanState::{Cancelled, Done, Planned, Planning, Running};
    let (sql, now, by) = (work.sql, work.now(), work.by());
    let mut record = get(sql, account, id, now)?.ok_or(Refusal::NotFound)?;
    let action = match (record.state, wanted) {
        (Planning | Planned | Running, Cancelled) => "plan.cancel",
        (Planned, _) => "plan.execute",
        (Cancelled, Cancelled) | (Running | Done, Running) => return Ok((Answer::Plan(record), Vec::new())),
        (Planning, _) => {
            let detail =
                "The plan is planning: it is still looking for its keys. Execute it when it is planned.".into();
            return Err(Refusal::Conflict { field: None, detail }.into());
        }
        (over, _) => {
            let detail = format!("The plan is {}, which is final; make a new one.", over.as_str());
            return Err(Refusal::Conflict { field: None, detail }.into());
        }
    };
    record.state = wanted;
    let ends = wanted == Cancelled;
    *(if ends { &mut record.finished_at } else { &mut record.started_at }) = Some(now);
    sql.run(
        "UPDATE plans SET state = ?2, started_at = ?3, finished_at = ?4, gone_at = ?4 + ?5, credential = ?6, actor = ?7
         WHERE sequence = ?1",
        &[
            record.sequence.into(),
            wanted.as_str().into(),
            record.started_at.map(UnixMillis::as_millis).into(),
            record.finished_at.map(UnixMillis::as_millis).into(),
            PLAN_KEPT_MS.into(),
            by.credential.into(),
            by.actor.into(),
        ],
    )?;
    let change = Change {
        account,
        sequence: meta::next_sequence(sql)?,
        action,
        subject: id.to_string(),
        before: None,
        after: record.described(),
    };
    audit::append(sql, by, change)?;
    Ok((Answer::Plan(record), Vec::new()))
}

/// Reads one plan of an account; another account's is as unknown as none.
pub(super) fn get(
    sql: &impl Sql,
    account: AccountRef,
    id: PlanId,
    now: UnixMillis,
) -> Result<Option<PlanRecord>, SqlError> {
    let rows = sql.run(
        &format!("SELECT {COLUMNS} FROM plans WHERE id = ?1 AND account = ?2"),
        &[id.to_string().into(), account.number.into()],
    )?;
    at_most_one(rows)?.map(|row| read(row, account.slot, now)).transpose()
}

/// Reads up to `limit` plans of an account made before sequence `before`, newest first.
pub(super) fn list(
    sql: &impl Sql,
    account: AccountRef,
    before: u64,
    limit: u32,
    now: UnixMillis,
) -> Result<Vec<PlanRecord>, SqlError> {
    let rows = sql.run(
        &format!("SELECT {COLUMNS} FROM plans WHERE account = ?1 AND sequence < ?2 ORDER BY sequence DESC LIMIT ?3"),
        &[account.number.into(), before.into(), limit.into()],
    )?;
    each(rows, |row| read(row, account.slot, now))
}

/// Reads up to `limit` keys of a plan issued before sequence `before`, newest first, as they are now; none where there
/// is no such plan.
pub(super) fn keys_of(
    sql: &impl Sql,
    account: AccountRef,
    id: PlanId,
    before: u64,
    limit: u32,
    now: UnixMillis,
) -> Result<Option<Vec<KeyRecord>>, SqlError> {
    let Some(plan) = get(sql, account, id, now)? else { return Ok(None) };
    keys::of_plan(sql, account, plan.sequence, before, limit).map(Some)
}

const COLUMNS: &str =
    "id, state, account, sequence, filter, total, live, disabled, expired, truncated, revoked, skipped,
    created_at, created_by, started_at, finished_at";

fn read(row: Columns, slot: u8, now: UnixMillis) -> Result<PlanRecord, SqlError> {
    let mut record = Wide::read(row, |row| {
        Ok(PlanRecord {
            id: row.columns.parsed("plan id", PlanId::parse)?,
            state: row.columns.parsed("plan state", PlanState::parse)?,
            account: AccountRef { slot, number: row.narrow() },
            sequence: row.number(),
            filter: row.text(),
            counts: PlanCounts {
                total: row.number(),
                live: row.number(),
                disabled: row.number(),
                expired: row.number(),
            },
            truncated: row.number() != 0,
            revoked: row.number(),
            skipped: row.number(),
            created_at: row.instant(),
            created_by: row.optional_text(),
            started_at: row.optional_instant(),
            finished_at: row.optional_instant(),
        })
    })?;
    if record.state == PlanState::Planned && record.expires_at() <= now {
        record.state = PlanState::Expired;
    }
    Ok(record)
}
