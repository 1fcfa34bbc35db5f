//! Minting: how new keys come into being, and the same ones again for a repeated command.

use crate::{
    credential::{Environment, KeyId, KeyText, MintedKey, Pepper, Peppers},
    policy::{Fields, KeyStatus, ScopeSet},
};

use super::{
    command::{Failure, Refusal, Work, derive},
    journal::{CommandId, Mint},
    keys::digests_of,
    labels::Labels,
    meta,
    record::{AccountRecord, KeyRecord},
    sql::{Sql, SqlError},
};

/// A key that is not stored yet.
pub(super) struct New {
    /// It may do nothing so far.
    pub(super) record: Box<KeyRecord>,
    /// What its holder gets.
    pub(super) text: KeyText,
    /// How to make it again.
    pub(super) mint: Mint,
}

/// A new key of `owner`.
pub(super) fn mint_new<S: Sql>(
    work: &Work<'_, S>,
    owner: &AccountRecord,
    environment: Environment,
) -> Result<New, SqlError> {
    let pepper = work.circumstances.peppers.minting();
    let mint = Mint { pepper: pepper.id(), brand: owner.brand, environment, account: owner.id };
    let minted = mint_with(pepper, &work.circumstances.nonce, &work.order.id, &mint)?;
    if is_taken(work.sql, KeyId::of(&minted.digest))? {
        return Err(SqlError("two keys would share an id".into()));
    }
    let sequence = meta::next_sequence(work.sql)?;
    let record = Box::new(KeyRecord {
        digest: minted.digest,
        account: owner.id,
        issued: sequence,
        version: sequence,
        name: None,
        environment,
        scopes: ScopeSet::default(),
        status: KeyStatus::Active,
        hint: minted.hint,
        pepper: mint.pepper,
        not_before: None,
        expires_at: None,
        created_at: work.now(),
        created_by: work.created_by(),
        last_used_at: None,
        scopes_last_used: None,
        revoked_at: None,
        workspaces: None,
        fields: Fields::default(),
        allowed_ips: None,
        labels: Labels::default(),
        access_level: None,
        admin: None,
        rotated_from: None,
        rotated_to: None,
        unrotated_expires_at: None,
        waiting_overlap_ms: None,
        rotation_days: None,
    });
    Ok(New { record, text: minted.text, mint })
}

/// Mints the key of a repeated command again. Only who has the command id can: it is part of the secret.
pub(super) fn mint_again(nonce: &[u8; 32], id: &CommandId, mint: &Mint, peppers: &Peppers) -> Result<KeyText, Failure> {
    let pepper = peppers.by_id(mint.pepper).ok_or_else(|| Refusal::Conflict {
        field: Some("Idempotency-Key".into()),
        detail: "The key that this request issued was minted with a pepper that is no longer configured.".into(),
    })?;
    Ok(mint_with(pepper, nonce, id, mint)?.text)
}

/// True where a key has this id, whoever owns it.
fn is_taken(sql: &impl Sql, id: KeyId) -> Result<bool, SqlError> {
    Ok(!sql.run("SELECT 1 FROM keys WHERE digest >= ?1 AND digest < ?2", &digests_of(id))?.is_empty())
}

fn mint_with(pepper: &Pepper, nonce: &[u8; 32], id: &CommandId, mint: &Mint) -> Result<MintedKey, SqlError> {
    let [secret @ .., _, _, _, _, _, _, _, _, _, _, _, _] = derive(nonce, &[b"key secret", id.secret_part()])?;
    Ok(pepper.mint(&mint.brand, mint.environment, mint.account, secret))
}
