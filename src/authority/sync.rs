//! Sync: the one question that the edge asks the Authority.
//!
//! An isolate says what it knows (epoch, sequence, position in the feed) and which copies it wants; it is told every
//! change that it has not seen yet, how long it may now decide by itself, and the copies. The same message carries how
//! often keys were used and refused. Both directions are lines of text, each a word and its values with one space between
//! them, read strictly: what is not understood is no answer. The first line names the version of all this; a version is
//! sent a deploy after it can be read. The last line is `end`, so that an answer cut short is none.

use std::fmt::Write;

use crate::{
    credential::{AccountRef, Digest, decode_lower_hex, joined},
    json::all,
    planted::planted,
    policy::{Reason, is_feature},
};

use super::{
    accounts,
    copy::{AccountCopy, GrantCopy, SigningKeys},
    feed, keys,
    lease::{self, Terms},
    meta::Moment,
    outbox::KvKey,
    platform, scopes_used,
    sql::{INTEGER_MAX, Sql, SqlError},
    usage::{Counted, Use},
};

/// Copies that one question may want: what waits while four questions are under way, and still a short answer.
pub const WANTS_MAX: usize = 32;

/// Keys whose use one question tells, at most.
pub const USES_MAX: usize = 256;

/// Counts that it tells besides, at most: with the uses, 36 KB.
pub const COUNTED_MAX: usize = 256;

/// What an isolate asks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SyncRequest {
    /// What it knows; none = nothing.
    pub known: Option<Known>,
    /// The copies it needs, at most [`WANTS_MAX`].
    pub wants: Vec<Want>,
    /// The keys that were used since it said so last, at most [`USES_MAX`].
    pub uses: Vec<Use>,
    /// What else keys were counted for, at most [`COUNTED_MAX`].
    pub counted: Vec<Counted>,
    /// Requests it decided by outage grace since it said so last.
    pub graced: u64,
}

/// How far an isolate has come in a shard's history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    /// The shard's epoch, 32 hex digits.
    pub epoch: String,
    /// The highest sequence it has been told.
    pub sequence: u64,
    /// Its position in the feed.
    pub cursor: u64,
}

/// A key whose copies are needed, and those of its account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Want {
    /// The key.
    pub digest: Digest,
    /// The number of the account that its text names.
    pub account: u32,
    /// KV answered, but with nothing that could be believed: it is to be put there again.
    pub refresh: bool,
}

/// What the Authority says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyncAnswer<'t> {
    /// Where the shard's history stands now. Later than what was asked from, or equal.
    pub now: Known,
    /// The feed is complete for every later sequence; a copy that is older than this cannot be judged by it.
    pub low: u64,
    /// How long, from sending the question, the isolate may decide by itself.
    pub lease_ms: u64,
    /// How much longer while the Authority cannot be reached.
    pub grace_ms: u64,
    /// What the isolate knew is void; the changes are the whole feed.
    pub reset: bool,
    /// The features that are on for every account.
    pub features: Vec<&'t str>,
    /// Subjects that changed, each with the sequence of its last change.
    pub changes: Vec<(Subject, u64)>,
    /// For each wanted key its signed [`GrantCopy`]; none = there is no such key.
    pub grants: Vec<(Digest, Option<&'t str>)>,
    /// For each wanted account its signed [`AccountCopy`]; none = there is no such account.
    pub accounts: Vec<(u32, Option<&'t str>)>,
}

/// A key or an account of one shard, or the platform, in one number, as isolates note it. Of a digest it holds 63 bits: two keys that
/// share them, which do not exist, would only be read anew together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Subject(u64);

const IS_KEY: u64 = 1 << 63;
const PLATFORM: u64 = 1 << 62;

impl Subject {
    /// The key with this digest.
    #[must_use]
    pub fn key(digest: &Digest) -> Self {
        let [a, b, c, d, e, f, g, h, ..] = *digest.as_bytes();
        Subject(u64::from_be_bytes([a, b, c, d, e, f, g, h]) | IS_KEY)
    }

    /// The account with this number.
    #[must_use]
    pub fn account(number: u32) -> Self {
        Subject(number.into())
    }

    /// Reads a subject as the feed stores it.
    fn parse(text: &str) -> Option<Self> {
        if text == feed::PLATFORM {
            return Some(Subject(PLATFORM));
        }
        match text.split_once(':')? {
            ("key", prefix) => Some(Subject(u64::from_be_bytes(decode_lower_hex(prefix)?) | IS_KEY)),
            ("account", text) => Some(Subject(u32::try_from(number(text)?).ok()?.into())),
            _ => None,
        }
    }

    /// The number.
    #[must_use]
    pub fn number(self) -> u64 {
        self.0
    }
}

const FIRST_LINE: &str = "sync 1 v1";
const LAST_LINE: &str = "end";
const NONE: &str = "-";

impl SyncRequest {
    /// The text that is sent.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = FIRST_LINE.to_owned();
        if let Some(Known { epoch, sequence, cursor }) = &self.known {
            line(&mut text, format_args!("known {epoch} {sequence} {cursor}"));
        }
        for want in &self.wants {
            let refresh = if want.refresh { " refresh" } else { "" };
            line(&mut text, format_args!("want {} {}{refresh}", want.digest.to_hex(), want.account));
        }
        for Use { digest, count, age_ms, scopes } in &self.uses {
            line(&mut text, format_args!("used {} {count} {age_ms} {scopes:x}", digest.to_hex()));
        }
        for Counted { digest, reason, count, age_ms } in &self.counted {
            let reason = reason.map_or(NONE, Reason::as_str);
            line(&mut text, format_args!("counted {} {count} {age_ms} {reason}", digest.to_hex()));
        }
        if self.graced > 0 {
            line(&mut text, format_args!("graced {}", self.graced));
        }
        line(&mut text, format_args!("{LAST_LINE}"));
        text
    }

    /// Reads a question. None = it is not understood.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut request = SyncRequest::default();
        let mut lines = text.split('\n');
        if lines.next() != Some(FIRST_LINE) || lines.next_back() != Some(LAST_LINE) {
            return None;
        }
        for line in lines {
            let mut words = line.split(' ');
            match words.next()? {
                "known" if request.known.is_none() => request.known = Some(known(&mut words)?),
                "want" if request.wants.len() < WANTS_MAX => {
                    let digest = Digest::parse_hex(words.next()?)?;
                    let account = u32::try_from(number(words.next()?)?).ok()?;
                    let refresh = match words.next() {
                        None => false,
                        Some("refresh") => true,
                        Some(_) => return None,
                    };
                    request.wants.push(Want { digest, account, refresh });
                }
                word @ ("used" | "counted") => {
                    let digest = Digest::parse_hex(words.next()?)?;
                    let count = u32::try_from(number(words.next()?)?).ok()?;
                    let age_ms = number(words.next()?)?;
                    let last = words.next()?;
                    if word == "used" {
                        request.uses.push(Use { digest, count, age_ms, scopes: scopes_used::parse(last)? });
                    } else {
                        let reason = if last == NONE { None } else { Some(Reason::parse(last)?) };
                        request.counted.push(Counted { digest, reason, count, age_ms });
                    }
                    if request.uses.len() > USES_MAX || request.counted.len() > COUNTED_MAX {
                        return None;
                    }
                }
                "graced" if request.graced == 0 => request.graced = number(words.next()?)?,
                _ => return None,
            }
            if words.next().is_some() {
                return None;
            }
        }
        Some(request)
    }
}

impl<'t> SyncAnswer<'t> {
    /// Reads an answer. None = it is not understood, and counts as no answer.
    #[must_use]
    pub fn parse(text: &'t str) -> Option<Self> {
        let mut lines = text.split('\n');
        let first = lines.next()?;
        let rest =
            if planted!(AnyVersion) { first.get(FIRST_LINE.len()..)? } else { first.strip_prefix(FIRST_LINE)? };
        let mut words = rest.strip_prefix(' ')?.split(' ');
        if lines.next_back() != Some(LAST_LINE) {
            return None;
        }
        let mut answer = SyncAnswer {
            now: known(&mut words)?,
            low: number(words.next()?)?,
            lease_ms: number(words.next()?)?,
            grace_ms: number(words.next()?)?,
            reset: match words.next()? {
                "reset" => true,
                "on" => false,
                _ => return None,
            },
            features: Vec::new(),
            changes: Vec::new(),
            grants: Vec::new(),
            accounts: Vec::new(),
        };
        if words.next().is_some() {
            return None;
        }
        for line in lines {
            // A copy may hold spaces.
            let (word, rest) = line.split_once(' ')?;
            match word {
                "grant" => {
                    let (digest, copy) = rest.split_once(' ')?;
                    answer.grants.push((Digest::parse_hex(digest)?, some(copy)));
                }
                "account" => {
                    let (account, copy) = rest.split_once(' ')?;
                    answer.accounts.push((u32::try_from(number(account)?).ok()?, some(copy)));
                }
                "features" if answer.features.is_empty() => {
                    answer.features = all(rest.split(' ').map(|name| is_feature(name).then_some(name)))?;
                }
                subject => answer.changes.push((Subject::parse(subject)?, number(rest)?)),
            }
        }
        Some(answer)
    }
}

fn line(text: &mut String, line: std::fmt::Arguments<'_>) {
    text.push('\n');
    // Writing to a `String` does not fail.
    let _ = text.write_fmt(line);
}

fn known<'t>(words: &mut impl Iterator<Item = &'t str>) -> Option<Known> {
    let epoch = words.next()?;
    decode_lower_hex::<16>(epoch)?;
    Some(Known { epoch: epoch.to_owned(), sequence: number(words.next()?)?, cursor: number(words.next()?)? })
}

/// A number as it is written: no sign, no leading zero, and far from any overflow.
fn number(text: &str) -> Option<u64> {
    let plain = text == "0" || !text.starts_with(['0', '+']);
    text.parse().ok().filter(|number| plain && *number <= INTEGER_MAX.unsigned_abs() >> 1)
}

fn some(copy: &str) -> Option<&str> {
    (copy != NONE).then_some(copy)
}

/// An answer, and what it showed of KV.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answered {
    /// The text for the isolate, a [`SyncAnswer`].
    pub text: String,
    /// Copies that KV should have, and that somebody did not find there.
    pub refresh: Vec<KvKey>,
}

/// Answers `request` with what is so now, and grants `granted`. `epoch` becomes the shard's epoch if the question proves that the database
/// was set back: 32 hex digits, random.
///
/// # Errors
/// Trouble with SQLite.
pub fn answer(
    sql: &impl Sql,
    signing: &SigningKeys,
    slot: u8,
    request: &SyncRequest,
    granted: Terms,
    epoch: &str,
) -> Result<Answered, SqlError> {
    let mut state = feed::state(sql)?;
    if let Some(known) = &request.known
        && known.epoch == state.epoch
        && (known.sequence > state.sequence || known.cursor > state.position)
        && !planted!(RewindUnnoticed)
    {
        feed::begin_anew(sql, known, epoch)?;
        state = feed::state(sql)?;
    }
    let position = request
        .known
        .as_ref()
        .filter(|known| known.epoch == state.epoch && known.cursor >= state.cut)
        .map(|known| known.cursor);
    let Terms { lease_ms, grace_ms } = granted;
    let mut text = format!(
        "{FIRST_LINE} {} {} {} {} {lease_ms} {grace_ms} {}",
        state.epoch,
        state.sequence,
        state.position,
        state.low,
        if position.is_some() { "on" } else { "reset" },
    );
    let features = platform::features(sql)?;
    if !features.is_empty() {
        line(&mut text, format_args!("features {}", joined(features, " ")));
    }
    if let Some(changes) = feed::after(sql, position.unwrap_or(0))? {
        line(&mut text, format_args!("{changes}"));
    }
    let moment = Moment { epoch: state.epoch, sequence: state.sequence };
    let mut refresh = Vec::new();
    for (place, want) in request.wants.iter().enumerate() {
        let account = AccountRef { slot, number: want.account };
        let grant = keys::get_by_digest(sql, account, &want.digest)?;
        let grant = grant.map(|record| GrantCopy::of(&record, &moment).sign(signing, &want.digest)).transpose()?;
        if grant.is_none() && !planted!(UnknownUnconfirmed) {
            // A superseded instance reads a database that lacks what was issued since. Its writes never become durable, and
            // what was answered after one never goes out.
            lease::confirm(sql)?;
        }
        line(&mut text, format_args!("grant {} {}", want.digest.to_hex(), grant.as_deref().unwrap_or(NONE)));
        if want.refresh && grant.is_some() {
            refresh.extend([KvKey::grant(&want.digest), KvKey::account(account)]);
        }
        // Keys of one account often come together.
        if request.wants.iter().take(place).any(|earlier| earlier.account == want.account) {
            continue;
        }
        let holder = accounts::get(sql, account)?;
        let holder = holder.map(|record| AccountCopy::of(&record, &moment).sign(signing)).transpose()?;
        line(&mut text, format_args!("account {} {}", want.account, holder.as_deref().unwrap_or(NONE)));
    }
    line(&mut text, format_args!("{LAST_LINE}"));
    Ok(Answered { text, refresh })
}
