//! Copies: what the Authority says about a key or an account, signed, for anyone to carry.
//!
//! A copy is a text, `v1.<signing key id>.<MAC in hex>.<JSON>`. The MAC (HMAC-SHA-256 under `KEYGATE_SIGNING_KEY`)
//! covers the version, the KV key under which the copy belongs, and the exact bytes of the JSON; so a copy cannot be
//! edited, nor put in another's place. The JSON says as of which sequence of which epoch it was read. Whoever can
//! write to KV can lose a copy or bring back an old one, but cannot make one.

use crate::{
    credential::{AccountRef, Digest, NumberedSecret, SecretError, decode_lower_hex},
    json::{FromJson, Json, ObjectWriter, ToJson},
    planted::planted,
    policy::{Account, Grant},
};

use super::{
    meta::Moment,
    outbox::KvKey,
    record::{AccountRecord, KeyRecord},
    sql::SqlError,
};

/// The only version there is. Written a deploy after it can be read.
const VERSION: &str = "v1";

/// What a key may do, as of a sequence.
#[derive(Clone, Debug, PartialEq)]
pub struct GrantCopy {
    /// The shard's epoch, 32 hex digits.
    pub epoch: String,
    /// Every change of the grant up to this sequence is in it.
    pub as_of: u64,
    /// The grant.
    pub grant: Grant,
}

/// What an account allows, as of a sequence.
#[derive(Clone, Debug, PartialEq)]
pub struct AccountCopy {
    /// The shard's epoch, 32 hex digits.
    pub epoch: String,
    /// Every change of the account up to this sequence is in it.
    pub as_of: u64,
    /// The account.
    pub account: Account,
}

impl GrantCopy {
    /// The copy of `record`, read at `moment`.
    #[must_use]
    pub fn of(record: &KeyRecord, moment: &Moment) -> Self {
        GrantCopy { epoch: moment.epoch.clone(), as_of: moment.sequence, grant: record.grant() }
    }

    /// The signed text.
    ///
    /// # Errors
    /// None in practice: every grant is expressible as JSON.
    pub fn sign(&self, keys: &SigningKeys, digest: &Digest) -> Result<String, SqlError> {
        Ok(keys.sign(&KvKey::grant(digest), &write(&self.epoch, self.as_of, "grant", &self.grant)))
    }

    /// Reads the copy that was found where the grant of `digest` belongs.
    ///
    /// # Errors
    /// Why it is not believable.
    pub fn verify(keys: &SigningKeys, digest: &Digest, text: &str) -> Result<Self, CopyFault> {
        let (epoch, as_of, grant) =
            read(keys.verify(&KvKey::grant(digest), text)?, "grant").ok_or(CopyFault::Content)?;
        Ok(GrantCopy { epoch, as_of, grant })
    }
}

impl AccountCopy {
    /// The copy of `record`, read at `moment`.
    #[must_use]
    pub fn of(record: &AccountRecord, moment: &Moment) -> Self {
        AccountCopy { epoch: moment.epoch.clone(), as_of: moment.sequence, account: record.account() }
    }

    /// The signed text.
    ///
    /// # Errors
    /// None in practice: every account is expressible as JSON.
    pub fn sign(&self, keys: &SigningKeys) -> Result<String, SqlError> {
        Ok(keys.sign(&KvKey::account(self.account.id), &write(&self.epoch, self.as_of, "account", &self.account)))
    }

    /// Reads the copy that was found where the account `id` belongs.
    ///
    /// # Errors
    /// Why it is not believable.
    pub fn verify(keys: &SigningKeys, id: AccountRef, text: &str) -> Result<Self, CopyFault> {
        let (epoch, as_of, account) =
            read(keys.verify(&KvKey::account(id), text)?, "account").ok_or(CopyFault::Content)?;
        Ok(AccountCopy { epoch, as_of, account })
    }
}

/// Why a copy is not believable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CopyFault {
    /// Not `v1.<id>.<MAC>.<JSON>`, or of another version.
    Form,
    /// Signed with a key that is not configured.
    UnknownSigningKey,
    /// The MAC does not fit text and place.
    Mac,
    /// The signed JSON has a member or a value that this Keygate does not know.
    Content,
}

/// The keys that sign copies: the first signs, both verify. Rotated like peppers.
#[derive(Debug)]
pub struct SigningKeys {
    first: NumberedSecret,
    second: Option<NumberedSecret>,
}

impl SigningKeys {
    /// The signing keys of a deployment.
    ///
    /// # Errors
    /// [`SecretError::SameId`] where a copy could not say which of them it was signed with.
    pub fn new(first: NumberedSecret, second: Option<NumberedSecret>) -> Result<Self, SecretError> {
        match second {
            Some(second) if second.id == first.id => Err(SecretError::SameId { id: first.id }),
            second => Ok(SigningKeys { first, second }),
        }
    }

    fn sign(&self, kv_key: &KvKey, json: &str) -> String {
        let mac = with_message(kv_key, json, |message| self.first.key.mac(message));
        format!("{VERSION}.{}.{}.{json}", self.first.id, hex::encode(mac))
    }

    fn verify<'t>(&self, kv_key: &KvKey, text: &'t str) -> Result<&'t str, CopyFault> {
        let mut parts = text.splitn(4, '.');
        let (Some(VERSION), Some(id), Some(stated), Some(json)) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(CopyFault::Form);
        };
        // One copy, one text: the same MAC in capitals is another text.
        let mac = decode_lower_hex::<32>(stated).ok_or(CopyFault::Form)?;
        let secret = [Some(&self.first), self.second.as_ref()]
            .into_iter()
            .flatten()
            .find(|secret| secret.id.to_string() == id)
            .ok_or(CopyFault::UnknownSigningKey)?;
        let genuine = with_message(kv_key, json, |message| secret.key.verifies(message, &mac));
        if genuine || planted!(MacUnchecked) { Ok(json) } else { Err(CopyFault::Mac) }
    }
}

/// What is signed. Neither version nor KV key can contain a line feed, so no two different triples are the same bytes.
fn with_message<T>(kv_key: &KvKey, json: &str, body: impl FnOnce(&[&[u8]]) -> T) -> T {
    if planted!(CopiesOfOthersFit) {
        return body(&[json.as_bytes()]);
    }
    body(&[VERSION.as_bytes(), b"\n", kv_key.text().as_bytes(), b"\n", json.as_bytes()])
}

fn write(epoch: &str, as_of: u64, name: &str, of: &dyn ToJson) -> String {
    ObjectWriter::new().text("epoch", epoch).number("as_of", as_of).value(name, of).end()
}

fn read<T: FromJson>(json: &str, name: &str) -> Option<(String, u64, T)> {
    let mut members = Json::parse(json).ok()?.object()?;
    let epoch = members.take("epoch")?.text()?.into_owned();
    let as_of = members.take("as_of")?.whole()?;
    let of = T::from_json(members.take(name)?)?;
    members.end((epoch, as_of, of))
}
