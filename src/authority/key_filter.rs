//! Which keys a list shows.

use crate::{
    credential::{AccountRef, Environment, NumberedSecret, WorkspaceId},
    json::{FromJson, Json, ObjectWriter, ToJson, quoted},
    policy::{EffectiveStatus, Scope, UnixMillis},
};

use super::{
    due::{Due, MAY_BE_DUE},
    record::{KeyRecord, RevokedAll},
    sql::{Sql, SqlError, Value, at_most_one},
};

/// Keys that one page, or one step of a plan, looks at. What has no index of its own is looked for among the keys of the
/// account, one random look-up each and another one for its uses: 10,000 took 61 ms natively, of a lease of a second or
/// more, during which nobody is served a sync. A page of 100 is found that way wherever a hundredth of the keys are shown.
pub const WALK_MAX: u32 = 10_000;

/// Which keys of an account a list shows. Each member narrows it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct KeyFilter {
    /// Only keys of this environment; none = all but admin credentials.
    pub environment: Option<Environment>,
    /// Only keys that are this now.
    pub status: Option<ListedStatus>,
    /// Only keys minted with the pepper of this id.
    pub pepper: Option<u8>,
    /// Only keys that may do this.
    pub scope: Option<Scope>,
    /// Only keys that are limited to some workspaces, and this is one of them.
    pub workspace: Option<WorkspaceId>,
    /// Only keys of this owner.
    pub owner: Option<String>,
    /// Only keys with this tag.
    pub tag: Option<String>,
    /// Only keys in whose name this stands, in capital or small letters of ASCII.
    pub name_contains: Option<String>,
    /// Only keys that this one made.
    pub created_by: Option<String>,
    /// Only keys whose last use that is known of lies before this instant, or that were never used.
    pub unused_since: Option<UnixMillis>,
    /// Only keys of which no use is known.
    pub never_used: bool,
    /// Only keys that have not been revoked and end before this instant.
    pub expires_before: Option<UnixMillis>,
    /// Only keys that are due for a successor.
    pub due: bool,
    /// Only keys issued before this instant.
    pub created_before: Option<UnixMillis>,
}

/// Which part of a list.
pub(super) struct Part {
    /// Only keys issued before this sequence.
    pub(super) before: u64,
    /// At most so many.
    pub(super) limit: u32,
    /// Only keys among the next so many that have to be looked at.
    pub(super) walk: u32,
    /// Which keys are due, where only these are listed.
    pub(super) due: Option<Due>,
    /// Only keys that are not revoked.
    pub(super) only_left: bool,
}

/// A selection from `keys`, newest first.
pub(super) struct Selection {
    /// What stands behind `FROM`.
    pub(super) from: String,
    pub(super) parameters: Vec<Value>,
    /// What gives the first key that is not looked at any more; none = all are.
    beyond: Option<(String, Vec<Value>)>,
}

impl Selection {
    /// Before which sequence it goes on, where keys are left that were not looked at; of those that it gave, none is left
    /// out by its limit.
    pub(super) fn beyond(&self, sql: &impl Sql) -> Result<Option<u64>, SqlError> {
        let Some((statement, parameters)) = &self.beyond else { return Ok(None) };
        let first = at_most_one(sql.run(statement, parameters)?)?;
        first.map(|mut row| Ok(row.number()?.saturating_add(1))).transpose()
    }
}

impl KeyFilter {
    /// These keys of `account`.
    pub(super) fn select(
        &self,
        sql: &impl Sql,
        account: AccountRef,
        part: &Part,
        revoked_all: RevokedAll,
        now: UnixMillis,
    ) -> Result<Selection, SqlError> {
        let number = account.number;
        // One bound: of two, SQLite would walk from either.
        let before = part.due.map_or(part.before, |due| part.before.min(due.upto.saturating_add(1)));
        let only_left = part.only_left
            || part.due.is_some()
            || self.expires_before.is_some()
            || self.status.is_some_and(|status| status != ListedStatus::Revoked);
        let after = if only_left { self.left_after(revoked_all) } else { 0 };
        // Whichever is expected to leave least is walked through, in the order of the list.
        let mut walk = Conditions::default();
        let mut by_end = false;
        let (table, key, issued) = if let Some(tag) = &self.tag {
            walk.with("of_account = ?", number);
            walk.with("tag = ?", tag.as_str());
            ("key_tags", "key", "issued_at")
        } else {
            walk.with("account = ?", number);
            let table = if let Some(owner) = &self.owner {
                walk.with("owner = ?", owner.as_str());
                "keys INDEXED BY keys_by_owner"
            } else if let Some(maker) = &self.created_by {
                walk.with("created_by = ?", maker.as_str());
                "keys INDEXED BY keys_by_creator"
            } else if let Some(end) = self.expires_before
                && few_end(sql, number, end, part.walk)?
            {
                walk.with("expires_at < ?", end.as_millis());
                by_end = true;
                "keys INDEXED BY keys_by_end"
            } else if part.due.is_some() {
                walk.add(MAY_BE_DUE);
                "keys INDEXED BY keys_due"
            } else {
                "keys"
            };
            (table, "digest", "issued")
        };
        let mut conditions = Conditions::default();
        // The ends have an order of their own: all of them are looked at, and sorted.
        let (mut walk, order, beyond) = if by_end {
            conditions.with("issued < ? AND issued > ?", before);
            conditions.value(after);
            (walk, "ORDER BY issued DESC", None)
        } else {
            walk.with(&format!("{issued} < ?"), before);
            if only_left {
                walk.with(&format!("{issued} > ?"), after);
            }
            walk.text.push_str(&format!(" ORDER BY {issued} DESC LIMIT "));
            let beyond = format!("SELECT {issued} FROM {table} WHERE {}1 OFFSET ?", walk.text);
            walk.text.push('?');
            walk.value(part.walk);
            let parameters = walk.parameters.clone();
            (walk, "", Some((beyond, parameters)))
        };
        match self.environment {
            Some(environment) => conditions.with("environment = ?", environment.as_str()),
            None => conditions.add("environment <> 'admin'"),
        }
        if let Some(status) = self.status {
            add_status(&mut conditions, status, revoked_all, now);
        }
        if only_left {
            // Not those that were revoked with all others.
            conditions.add(&format!("NOT {GONE}"));
            conditions.values(upto(revoked_all));
            conditions.add("status <> 'revoked'");
        }
        if let Some(pepper) = self.pepper {
            conditions.with("pepper = ?", u32::from(pepper));
        }
        if let Some(owner) = &self.owner {
            conditions.with("owner = ?", owner.as_str());
        }
        if let Some(created_by) = &self.created_by {
            conditions.with("created_by = ?", created_by.as_str());
        }
        if let Some(end) = self.expires_before {
            conditions.with("expires_at < ?", end.as_millis());
        }
        if let Some(Due { issued_by, .. }) = part.due {
            conditions.add(MAY_BE_DUE);
            conditions.with("created_at <= ?", issued_by.as_millis());
            conditions.with("(expires_at IS NULL OR expires_at > ?)", now.as_millis());
        }
        if let Some(end) = self.created_before {
            conditions.with("created_at < ?", end.as_millis());
        }
        if let Some(scope) = &self.scope {
            // Neither a scope nor an id has anything in it that JSON would escape.
            conditions.add("(instr(scopes, ?) OR instr(scopes, ?) OR instr(scopes, ?) OR instr(scopes, ?))");
            for holder in scope.holders() {
                conditions.value(quoted(&holder));
            }
        }
        if let Some(workspace) = self.workspace {
            conditions.with("instr(workspaces, ?)", workspace.to_string());
        }
        if let Some(part) = &self.name_contains {
            conditions.with("instr(lower(name), ?)", part.to_ascii_lowercase());
        }
        if let Some(since) = self.unused_since {
            // 0 is no use, but a day of refusals alone.
            conditions.with(
                "NOT EXISTS (SELECT 1 FROM usage WHERE usage.digest = keys.digest AND last_at >= ?)",
                since.as_millis().max(1),
            );
        }
        if self.never_used {
            conditions.add("NOT EXISTS (SELECT 1 FROM usage WHERE usage.digest = keys.digest AND last_at > 0)");
        }
        conditions.parameters.push(part.limit.into());
        // What is walked through comes first, and in its order, as fast as the limit behind it needs it.
        let from = format!(
            "(SELECT {key} AS walked FROM {table} WHERE {}) CROSS JOIN keys ON digest = walked WHERE {} {order} LIMIT ?",
            walk.text, conditions.text
        );
        walk.parameters.extend(conditions.parameters);
        Ok(Selection { from, parameters: walk.parameters, beyond })
    }

    /// Every key issued up to here was revoked with all others. However many that are, they are not even looked at.
    fn left_after(&self, revoked_all: RevokedAll) -> u64 {
        let [live, test, _] = upto(revoked_all);
        match self.environment {
            Some(environment) => revoked_all.upto(environment),
            None => live.min(test),
        }
    }
}

fn add_status(conditions: &mut Conditions, status: ListedStatus, revoked_all: RevokedAll, now: UnixMillis) {
    match status {
        ListedStatus::Revoked => {
            conditions.add(&format!("({GONE} OR status = 'revoked')"));
            conditions.values(upto(revoked_all));
        }
        ListedStatus::Disabled => conditions.add("status = 'disabled'"),
        ListedStatus::Active => {
            conditions.with("status = 'active' AND (expires_at IS NULL OR expires_at > ?)", now.as_millis());
        }
        ListedStatus::Expired => conditions.with("status = 'active' AND expires_at <= ?", now.as_millis()),
    }
}

/// True where no more keys than that end before then.
fn few_end(sql: &impl Sql, account: u32, end: UnixMillis, few: u32) -> Result<bool, SqlError> {
    let more = sql.run(
        "SELECT 1 FROM keys INDEXED BY keys_by_end WHERE account = ?1 AND expires_at < ?2 LIMIT 1 OFFSET ?3",
        &[account.into(), end.as_millis().into(), few.into()],
    )?;
    Ok(more.is_empty())
}

/// With the values of [`upto`].
const GONE: &str = "issued <= CASE environment WHEN 'live' THEN ? WHEN 'test' THEN ? ELSE ? END";

fn upto(revoked_all: RevokedAll) -> [u64; 3] {
    [Environment::Live, Environment::Test, Environment::Admin].map(|environment| revoked_all.upto(environment))
}

/// As the members of a query, or of a plan.
impl ToJson for KeyFilter {
    fn to_json(&self) -> String {
        let instant = |at: Option<UnixMillis>| at.map(UnixMillis::to_rfc3339);
        ObjectWriter::new()
            .if_any("environment", self.environment.map(Environment::as_str))
            .if_any("status", self.status.map(ListedStatus::as_str))
            .if_any("pepper", self.pepper.map(u64::from))
            .if_any("scope", self.scope.as_ref().map(Scope::as_str))
            .if_any("workspace", self.workspace)
            .if_any("owner", self.owner.as_deref())
            .if_any("tag", self.tag.as_deref())
            .if_any("name_contains", self.name_contains.as_deref())
            .if_any("created_by", self.created_by.as_deref())
            .if_any("unused_since", instant(self.unused_since))
            .if_any("never_used", self.never_used.then_some(true))
            .if_any("expires_before", instant(self.expires_before))
            .if_any("due", self.due.then_some(true))
            .if_any("created_before", instant(self.created_before))
            .end()
    }
}

impl FromJson for KeyFilter {
    fn from_json(json: Json<'_>) -> Option<Self> {
        let mut filter = KeyFilter::default();
        for (name, value) in json.object()?.into_members() {
            let text = match value {
                Json::Bool(true) => "true".into(),
                Json::Number(written) => written.into(),
                other => other.text()?,
            };
            filter.narrow(&name, &text).ok()?;
        }
        Some(filter)
    }
}

impl KeyFilter {
    /// Narrows it by the member `name`, written as in a query.
    ///
    /// # Errors
    /// What would have to be written instead.
    pub fn narrow(&mut self, name: &str, text: &str) -> Result<(), &'static str> {
        let instant = || UnixMillis::parse_rfc3339(text).ok();
        let flag = || (text == "true").then_some(true);
        let (is_set, expected) = match name {
            "environment" => (set(&mut self.environment, text.parse().ok()), "\"live\", \"test\" or \"admin\""),
            "status" => (
                set(&mut self.status, ListedStatus::parse(text)),
                "\"active\", \"disabled\", \"expired\" or \"revoked\"",
            ),
            "pepper" => (set(&mut self.pepper, pepper(text)), "the id of a pepper, 0 to 15"),
            "scope" => (set(&mut self.scope, Scope::parse(text).ok()), "a scope, such as contacts:read"),
            "workspace" => (set(&mut self.workspace, WorkspaceId::parse(text)), "the id of a workspace"),
            "unused_since" => (set(&mut self.unused_since, instant()), INSTANT),
            "expires_before" => (set(&mut self.expires_before, instant()), INSTANT),
            "created_before" => (set(&mut self.created_before, instant()), INSTANT),
            "never_used" => (flag().map(|is| self.never_used = is).is_some(), "\"true\""),
            "due" => (flag().map(|is| self.due = is).is_some(), "\"true\""),
            _ => {
                let member = match name {
                    "owner" => &mut self.owner,
                    "tag" => &mut self.tag,
                    "name_contains" => &mut self.name_contains,
                    "created_by" => &mut self.created_by,
                    _ => return Err("a member of a filter"),
                };
                (set(member, Some(text.to_owned())), "")
            }
        };
        if is_set { Ok(()) } else { Err(expected) }
    }
}

const INSTANT: &str = "a time as in RFC 3339, such as 2027-01-31T00:00:00Z";

fn set<T>(member: &mut Option<T>, value: Option<T>) -> bool {
    let is = value.is_some();
    if is {
        *member = value;
    }
    is
}

/// Written the one way it is written everywhere: no sign, no leading zeros.
fn pepper(text: &str) -> Option<u8> {
    text.parse::<u8>().ok().filter(|id| *id <= NumberedSecret::MAX_ID && id.to_string() == text)
}

#[derive(Default)]
struct Conditions {
    text: String,
    parameters: Vec<Value>,
}

impl Conditions {
    /// Also this.
    fn add(&mut self, condition: &str) {
        if !self.text.is_empty() {
            self.text.push_str(" AND ");
        }
        self.text.push_str(condition);
    }

    /// Also this, with the value for its first question mark; the others' follow with [`Conditions::value`].
    fn with(&mut self, condition: &str, value: impl Into<Value>) {
        self.add_with(condition, value.into());
    }

    fn add_with(&mut self, condition: &str, value: Value) {
        self.add(condition);
        self.parameters.push(value);
    }

    fn value(&mut self, value: impl Into<Value>) {
        self.parameters.push(value.into());
    }

    fn values(&mut self, values: [u64; 3]) {
        for value in values {
            self.value(value);
        }
    }
}

/// The four states that a list tells apart. A key that is not yet valid counts as active.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListedStatus {
    /// Neither of the others.
    Active,
    /// Disabled by an administrator.
    Disabled,
    /// Its time is over.
    Expired,
    /// Revoked, for good.
    Revoked,
}

impl ListedStatus {
    /// What `record` is at `now`.
    #[must_use]
    pub fn of(record: &KeyRecord, now: UnixMillis) -> Self {
        match record.status_at(now) {
            EffectiveStatus::Active | EffectiveStatus::NotYetValid => ListedStatus::Active,
            EffectiveStatus::Disabled => ListedStatus::Disabled,
            EffectiveStatus::Expired => ListedStatus::Expired,
            EffectiveStatus::Revoked => ListedStatus::Revoked,
        }
    }

    /// The name on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            ListedStatus::Active => "active",
            ListedStatus::Disabled => "disabled",
            ListedStatus::Expired => "expired",
            ListedStatus::Revoked => "revoked",
        }
    }

    /// The state with this name.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [ListedStatus::Active, ListedStatus::Disabled, ListedStatus::Expired, ListedStatus::Revoked]
            .into_iter()
            .find(|status| status.as_str() == text)
    }
}
