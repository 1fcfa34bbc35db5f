//! Accounts and keys as the Authority keeps them, for administrators to read.

use crate::{
    credential::{AccountRef, Brand, Digest, Environment, KeyId},
    json::ToJson,
    policy::{Account, AccountStatus, ApiAccess, Grant, KeyStatus, ScopeSet, UnixMillis},
};

use super::audit::{AuditHead, Members};

/// An account.
#[derive(Clone, Debug, PartialEq)]
pub struct AccountRecord {
    /// Slot and number.
    pub id: AccountRef,
    /// The sequence of its last change.
    pub version: u64,
    /// For people to read.
    pub name: String,
    /// The id in the caller's own product.
    pub external_id: Option<String>,
    /// What its keys begin with.
    pub brand: Brand,
    /// Whether its keys count at all.
    pub status: AccountStatus,
    /// Keys per environment that are neither revoked nor expired; none = no limit.
    pub max_active_keys: Option<u32>,
    /// Issuing and using, per environment.
    pub api_access: ApiAccess,
    /// Features switched on.
    pub features: Vec<String>,
    /// What a key gets that is issued without naming scopes.
    pub default_scopes: ScopeSet,
    /// When it was created.
    pub created_at: UnixMillis,
    /// By whom, in the caller's own product.
    pub created_by: Option<String>,
    /// The newest entry of its audit.
    pub audit_head: AuditHead,
}

impl AccountRecord {
    /// What the audit says of it, each member as JSON text.
    pub(super) fn described(&self) -> Members {
        vec![
            ("api_access", self.api_access.to_json()),
            ("brand", self.brand.as_str().to_json()),
            ("default_scopes", self.default_scopes.to_json()),
            ("external_id", self.external_id.to_json()),
            ("features", self.features.to_json()),
            ("max_active_keys", self.max_active_keys.map(u64::from).to_json()),
            ("name", self.name.to_json()),
            ("status", self.status.as_str().to_json()),
        ]
    }

    /// What the edge needs to know of it.
    #[must_use]
    pub fn account(&self) -> Account {
        Account { id: self.id, status: self.status, api_access: self.api_access, features: self.features.clone() }
    }
}

/// A key. Its text is not in it: nobody has it but its holder.
#[derive(Clone, Debug, PartialEq)]
pub struct KeyRecord {
    /// What is stored instead of the key.
    pub digest: Digest,
    /// Whose it is.
    pub account: AccountRef,
    /// The sequence it was issued at.
    pub issued: u64,
    /// The sequence of its last change.
    pub version: u64,
    /// For people to read.
    pub name: Option<String>,
    /// `Live` or `Test`.
    pub environment: Environment,
    /// What it may do.
    pub scopes: ScopeSet,
    /// As set by administrators; expiry comes on top.
    pub status: KeyStatus,
    /// Beginning and end of the text, to recognise it by.
    pub hint: String,
    /// The id of the pepper it was minted with.
    pub pepper: u8,
    /// Refused before this instant.
    pub not_before: Option<UnixMillis>,
    /// Refused from this instant on.
    pub expires_at: Option<UnixMillis>,
    /// When it was issued.
    pub created_at: UnixMillis,
    /// By whom, in the caller's own product.
    pub created_by: Option<String>,
    /// When it was last used, as far as caches have told.
    pub last_used_at: Option<UnixMillis>,
    /// When it was revoked.
    pub revoked_at: Option<UnixMillis>,
}

impl KeyRecord {
    /// What the audit says of it, each member as JSON text: everything but what the text of the key could be guessed from.
    pub(super) fn described(&self) -> Members {
        let instant = |at: Option<UnixMillis>| at.map(UnixMillis::to_rfc3339).to_json();
        vec![
            ("environment", self.environment.as_str().to_json()),
            ("expires_at", instant(self.expires_at)),
            ("name", self.name.to_json()),
            ("not_before", instant(self.not_before)),
            ("scopes", self.scopes.to_json()),
            ("status", self.status.as_str().to_json()),
        ]
    }

    /// The id by which administrators name it.
    #[must_use]
    pub fn id(&self) -> KeyId {
        KeyId::of(&self.digest)
    }

    /// What the edge needs to know of it.
    #[must_use]
    pub fn grant(&self) -> Grant {
        Grant {
            id: self.id(),
            account: self.account,
            environment: self.environment,
            scopes: self.scopes.clone(),
            status: self.status,
            not_before: self.not_before,
            expires_at: self.expires_at,
            issued_at: self.issued,
        }
    }
}
