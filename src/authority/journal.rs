//! Commands that were carried out, so that a repeated one is not carried out again.
//!
//! A command has an id: the caller's `Idempotency-Key`, or a random one that the Worker makes, which lets it repeat a
//! call whose answer was lost. The row counts in the command's own transaction. It holds hashes of the id and of the
//! request, the answer without its secret, and the nonce from which, together with the id itself, a key's secret
//! derives: the caller can have the same answer again for a day, and a copy of the database alone yields no key.

use sha2::{Digest as _, Sha256};

use crate::{
    credential::{AccountRef, Brand, Environment, joined},
    json::{FromJson, Json, ObjectWriter, ToJson, all},
    planted::planted,
    policy::{DAY_MS, UnixMillis},
};

use super::outbox::KvKey;
use super::sql::{Columns, Sql, SqlError, Wide, at_most_one, from_json};

/// How long a command can be repeated. Then its row goes, and with it the nonce.
pub const REPEATABLE_MS: u64 = DAY_MS;

/// Rows that one command removes at most, on top of its own work.
const REMOVED_PER_COMMAND: u32 = 8;

/// What makes two requests the same command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandId {
    /// The `Idempotency-Key`, or what stands for it. Secret: nothing stores it.
    text: String,
    /// The caller chose it, and may come back to it.
    chosen: bool,
    /// SHA-256 of method, path, query and body, hex.
    fingerprint: String,
}

impl CommandId {
    /// The id of a request.
    #[must_use]
    pub fn new(text: &str, chosen: bool, request: &[&[u8]]) -> Self {
        let mut hash = Sha256::new();
        for part in request {
            // The length before each part: no two different requests are the same bytes.
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        }
        CommandId { text: text.to_owned(), chosen, fingerprint: hex::encode(hash.finalize()) }
    }

    /// The bytes that a secret derives from besides the nonce.
    pub(super) fn secret_part(&self) -> &[u8] {
        self.text.as_bytes()
    }

    /// The stored form: ids of different credentials never meet.
    fn stored(&self, credential: &str) -> String {
        let mut hash = Sha256::new();
        hash.update(credential.as_bytes());
        hash.update(b"\n");
        hash.update(self.text.as_bytes());
        hex::encode(hash.finalize())
    }
}

/// An answer as it will be given, but for its secret and for whether KV has the change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredAnswer {
    /// The HTTP status.
    pub status: u16,
    /// The version behind the `ETag`; 0 = there is none.
    pub version: u64,
    /// The body with placeholders.
    pub body: String,
    /// When it counts everywhere, where a change may take its time for that.
    pub effective_at: Option<UnixMillis>,
}

/// How a key was minted, to mint it again for whoever has the command id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mint {
    /// The id of the pepper.
    pub pepper: u8,
    /// The brand that the account had then.
    pub brand: Brand,
    /// `Live` or `Test`.
    pub environment: Environment,
    /// Whose key.
    pub account: AccountRef,
}

impl ToJson for Mint {
    fn to_json(&self) -> String {
        ObjectWriter::new()
            .number("pepper", self.pepper.into())
            .text("brand", self.brand.as_str())
            .text("environment", self.environment.as_str())
            .text("account", &self.account.to_string())
            .end()
    }
}

impl FromJson for Mint {
    fn from_json(json: Json<'_>) -> Option<Self> {
        let mut members = json.object()?;
        Some(Mint {
            pepper: members.take("pepper")?.whole()?.try_into().ok()?,
            brand: members.parsed("brand", Brand::from_key_text)?,
            environment: members.parsed("environment", |word| word.parse().ok())?,
            account: members.parsed("account", AccountRef::parse)?,
        })
    }
}

/// A command that was carried out before.
pub(super) struct Kept {
    pub(super) same_request: bool,
    pub(super) answer: StoredAnswer,
    /// The nonce and how the key was minted, where one was.
    pub(super) mint: Option<([u8; 32], Mint)>,
    /// The copies that it made outdated.
    pub(super) outdated: Vec<KvKey>,
    /// What was answered of KV; none while nobody has been answered.
    pub(super) mirrored: Option<bool>,
}

/// Finds the command with this id, if it was carried out within the last day.
pub(super) fn find(
    sql: &impl Sql,
    credential: &str,
    id: &CommandId,
    now: UnixMillis,
) -> Result<Option<Kept>, SqlError> {
    let rows = sql.run(
        "SELECT fingerprint, status, version, body, nonce, mint, outdated, mirrored,
            effective_at
         FROM commands WHERE id = ?1 AND at > ?2",
        &[id.stored(credential).into(), expired(now).into()],
    )?;
    at_most_one(rows)?.map(|row| read(row, id)).transpose()
}

/// Keeps a command that is being carried out. The nonce is kept only where a secret depends on it.
pub(super) fn keep(
    sql: &impl Sql,
    credential: &str,
    id: &CommandId,
    answer: &StoredAnswer,
    mint: Option<(&[u8; 32], &Mint)>,
    outdated: &[KvKey],
    now: UnixMillis,
) -> Result<(), SqlError> {
    let outdated = joined(outdated.iter().map(KvKey::text), " ");
    let nonce = mint.map(|(nonce, _)| hex::encode(nonce));
    if planted!(CommandNotKept) {
        return Ok(());
    }
    let mint = mint.map(|(_, mint)| mint.to_json());
    // A row of the same id can only be older than a day here.
    sql.run(
        "INSERT INTO commands (id, fingerprint, status, version, body, nonce, mint, outdated, mirrored, at,
            effective_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, NULL, ?9, ?10)
         ON CONFLICT (id) DO UPDATE SET fingerprint = excluded.fingerprint, status = excluded.status,
            version = excluded.version, body = excluded.body, nonce = excluded.nonce, mint = excluded.mint,
            outdated = excluded.outdated, mirrored = NULL, at = excluded.at,
            effective_at = excluded.effective_at",
        &[
            id.stored(credential).into(),
            id.fingerprint.as_str().into(),
            u32::from(answer.status).into(),
            answer.version.into(),
            answer.body.as_str().into(),
            nonce.into(),
            mint.into(),
            outdated.into(),
            now.as_millis().into(),
            answer.effective_at.map(UnixMillis::as_millis).into(),
        ],
    )?;
    forget(sql, now, REMOVED_PER_COMMAND)
}

/// Settles what is answered of KV: what whoever comes first found, for all who repeat the command. Only ids that a
/// caller chose are worth the write.
///
/// # Errors
/// Trouble with SQLite.
pub fn settle_mirrored(sql: &impl Sql, credential: &str, id: &CommandId, found: bool) -> Result<bool, SqlError> {
    if !id.chosen {
        return Ok(found);
    }
    let id = id.stored(credential);
    sql.run(
        "UPDATE commands SET mirrored = ?2 WHERE id = ?1 AND mirrored IS NULL",
        &[id.as_str().into(), found.into()],
    )?;
    let settled = at_most_one(sql.run("SELECT mirrored FROM commands WHERE id = ?1", &[id.into()])?)?;
    Ok(settled.map(|mut row| row.number()).transpose()?.map_or(found, |mirrored| mirrored != 0))
}

/// Removes up to `limit` rows that are more than a day old.
///
/// # Errors
/// Trouble with SQLite.
pub fn forget(sql: &impl Sql, now: UnixMillis, limit: u32) -> Result<(), SqlError> {
    sql.run(
        "DELETE FROM commands WHERE id IN (SELECT id FROM commands WHERE at <= ?1 ORDER BY at LIMIT ?2)",
        &[expired(now).into(), limit.into()],
    )?;
    Ok(())
}

/// When the oldest row must go; none when there is none.
///
/// # Errors
/// Trouble with SQLite.
pub fn next_due(sql: &impl Sql) -> Result<Option<UnixMillis>, SqlError> {
    let oldest = at_most_one(sql.run("SELECT min(at) FROM commands", &[])?)?;
    let oldest = oldest.map(|mut row| row.optional_number()).transpose()?.flatten();
    Ok(oldest.map(|at| UnixMillis::from_millis(at).saturating_add_millis(REPEATABLE_MS)))
}

fn expired(now: UnixMillis) -> u64 {
    now.as_millis().saturating_sub(REPEATABLE_MS)
}

fn read(row: Columns, id: &CommandId) -> Result<Kept, SqlError> {
    Wide::read(row, |row| {
        let same_request = row.text() == id.fingerprint;
        let mut answer =
            StoredAnswer { status: row.narrow(), version: row.number(), body: row.text(), effective_at: None };
        let mint = row.some(read_mint);
        let outdated =
            row.some(|row| row.parsed("KV key", |keys| all(keys.split_ascii_whitespace().map(KvKey::parse))));
        let mirrored = row.optional_number().map(|mirrored| mirrored != 0);
        answer.effective_at = row.optional_instant();
        Ok(Kept { same_request, answer, mint, outdated, mirrored })
    })
}

fn read_mint(row: &mut Columns) -> Result<Option<([u8; 32], Mint)>, SqlError> {
    let (Some(nonce), Some(mint)) = (row.optional_text()?, row.optional_text()?) else { return Ok(None) };
    let mut bytes = [0; 32];
    hex::decode_to_slice(&nonce, &mut bytes).map_err(|_| SqlError("a nonce is not hexadecimal".into()))?;
    Ok(Some((bytes, from_json(&mint)?)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json;

    /// The stored form. Commands of the last day are repeated from it, also after a deploy.
    #[test]
    fn the_stored_form_of_a_mint_is_unchanged() {
        let stored = r#"{"pepper":3,"brand":"kg","environment":"test","account":"acct_0102000003"}"#;
        let mint = Mint {
            pepper: 3,
            brand: Brand::default(),
            environment: Environment::Test,
            account: AccountRef { slot: 1, number: 0x0200_0003 },
        };
        assert_eq!(mint.to_json(), stored);
        assert_eq!(json::read(stored), Some(mint));
        for wrong in [
            stored.replace("\"pepper\":3", "\"pepper\":256"),
            stored.replace("test", "prod"),
            stored.replace("\"kg\"", "1"),
        ] {
            assert_eq!(json::read::<Mint>(&wrong), None, "{wrong}");
        }
    }
}
