//! Accounts and keys as the Authority keeps them, for administrators to read.

use crate::{
    credential::{AccountRef, Brand, Digest, Environment, KeyId, WorkspaceId},
    json::ToJson,
    policy::{
        Account, AccountStatus, AllowedIps, ApiAccess, EffectiveStatus, Fields, Grant, KeyStatus, RevokedBefore, Role,
        ScopeSet, UnixMillis, Workspace,
    },
};

use super::{
    audit::{AuditHead, Members, add_some, in_order},
    due::OverKeys,
    labels::Labels,
    scopes_used::ScopesLastUsed,
    settings::Settings,
};

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
    /// What it is configured with besides.
    pub settings: Settings,
    /// When it was created.
    pub created_at: UnixMillis,
    /// By whom, in the caller's own product.
    pub created_by: Option<String>,
    /// The newest entry of its audit.
    pub audit_head: AuditHead,
    /// Whether all keys that it had were revoked, and when.
    pub revoked_all: RevokedAll,
    /// Its workspaces that are not archived.
    pub workspaces: Vec<Workspace>,
    /// How many of its keys are due for a successor, up to [`DUE_COUNTED`](super::due::DUE_COUNTED); none where that was
    /// not looked for, or there is no policy.
    pub keys_due: Option<u64>,
}

/// For each environment, the last time that all keys there were at that time were revoked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RevokedAll {
    /// Of `live`.
    pub live: Option<Revoked>,
    /// Of `test`.
    pub test: Option<Revoked>,
    /// Of admin credentials.
    pub admin: Option<Revoked>,
}

/// All keys issued up to a sequence were revoked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Revoked {
    /// Up to which sequence.
    pub sequence: u64,
    /// When.
    pub at: UnixMillis,
}

impl RevokedAll {
    /// Of one environment.
    #[must_use]
    pub fn of(self, environment: Environment) -> Option<Revoked> {
        match environment {
            Environment::Live => self.live,
            Environment::Test => self.test,
            Environment::Admin => self.admin,
        }
    }

    /// The same, to be set.
    pub(super) fn of_mut(&mut self, environment: Environment) -> &mut Option<Revoked> {
        match environment {
            Environment::Live => &mut self.live,
            Environment::Test => &mut self.test,
            Environment::Admin => &mut self.admin,
        }
    }

    /// The sequence up to which all keys of `environment` are revoked; 0 = never.
    #[must_use]
    pub fn upto(self, environment: Environment) -> u64 {
        self.of(environment).map_or(0, |revoked| revoked.sequence)
    }
}

impl AccountRecord {
    /// What the audit says of it, each member as JSON text.
    pub(super) fn described(&self) -> Members {
        let mut members = vec![
            ("api_access", self.api_access.to_json()),
            ("brand", self.brand.as_str().to_json()),
            ("default_scopes", self.default_scopes.to_json()),
            ("external_id", self.external_id.to_json()),
            ("features", self.features.to_json()),
            ("max_active_keys", self.max_active_keys.map(u64::from).to_json()),
            ("name", self.name.to_json()),
            ("status", self.status.as_str().to_json()),
        ];
        self.settings.describe(&mut members);
        in_order(members)
    }

    /// What the edge needs to know of it.
    #[must_use]
    pub fn account(&self) -> Account {
        Account {
            id: self.id,
            status: self.status,
            api_access: self.api_access,
            features: self.features.clone(),
            workspaces: self.workspaces.clone(),
            revoked_before: RevokedBefore {
                live: self.revoked_all.upto(Environment::Live),
                test: self.revoked_all.upto(Environment::Test),
            },
            explain_refusals: self.settings.explain_refusals,
        }
    }
}

/// A workspace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkspaceRecord {
    /// Which one.
    pub id: WorkspaceId,
    /// Whose it is.
    pub account: AccountRef,
    /// The sequence it was created at.
    pub created: u64,
    /// The sequence of its last change.
    pub version: u64,
    /// For people to read.
    pub name: String,
    /// When it was created.
    pub created_at: UnixMillis,
    /// By whom, in the caller's own product.
    pub created_by: Option<String>,
    /// When it was archived; none = it is in use.
    pub archived_at: Option<UnixMillis>,
}

impl WorkspaceRecord {
    /// What the audit says of it, each member as JSON text.
    pub(super) fn described(&self) -> Members {
        vec![("name", self.name.to_json()), ("status", self.status().to_json())]
    }

    /// `active` or `archived`.
    #[must_use]
    pub fn status(&self) -> &'static str {
        if self.archived_at.is_none() { "active" } else { "archived" }
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
    /// The same by scope; none where that was not looked for.
    pub scopes_last_used: Option<Box<ScopesLastUsed>>,
    /// When it was revoked.
    pub revoked_at: Option<UnixMillis>,
    /// The workspaces it is limited to; none = all of its account.
    pub workspaces: Option<Vec<WorkspaceId>>,
    /// The fields of resources that it is limited to.
    pub fields: Fields,
    /// The addresses it may be used from; none = all.
    pub allowed_ips: Option<AllowedIps>,
    /// What is noted of it.
    pub labels: Labels,
    /// The access level of the account that it was issued with.
    pub access_level: Option<String>,
    /// What makes it an admin credential; none for API keys.
    pub admin: Option<Administration>,
    /// The key that it succeeds.
    pub rotated_from: Option<Digest>,
    /// The key that succeeds it.
    pub rotated_to: Option<Digest>,
    /// When it would have expired without a successor.
    pub unrotated_expires_at: Option<UnixMillis>,
    /// How long the key works on once its successor is used, in milliseconds; none = that does not matter any more.
    pub waiting_overlap_ms: Option<u64>,
    /// After how many days its account has it succeeded.
    pub rotation_days: Option<u32>,
}

/// What an admin credential has on top of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Administration {
    /// How much it administers.
    pub role: Role,
    /// Set for a session.
    pub session: Option<Session>,
}

/// An admin credential for a short time, that somebody else's program holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// Who acts with it, in the caller's own product.
    pub actor: String,
    /// The credential that it was made with, and that it ends with; none = the root token.
    pub parent: Option<Digest>,
}

impl KeyRecord {
    /// What the audit says of it, each member as JSON text: everything but what the text of the key could be guessed from.
    pub(super) fn described(&self) -> Members {
        let instant = |at: Option<UnixMillis>| at.map(UnixMillis::to_rfc3339).to_json();
        let mut members = vec![
            ("access_level", self.access_level.to_json()),
            ("environment", self.environment.as_str().to_json()),
            ("expires_at", instant(self.expires_at)),
            ("name", self.name.to_json()),
            ("not_before", instant(self.not_before)),
            ("scopes", self.scopes.to_json()),
            ("status", self.status.as_str().to_json()),
        ];
        let admin = self.admin.as_ref();
        let session = admin.and_then(|admin| admin.session.as_ref());
        let key_id = |digest: Option<Digest>| digest.map(|digest| KeyId::of(&digest).to_string().to_json());
        let mut some = [
            ("fields", (!self.fields.is_empty()).then(|| self.fields.to_json())),
            ("workspaces", self.workspaces.as_ref().map(ToJson::to_json)),
            ("allowed_ips", self.allowed_ips.as_ref().map(ToJson::to_json)),
            ("overlap_from_first_use_ms", self.waiting_overlap_ms.map(|overlap| overlap.to_json())),
            ("rotated_from", key_id(self.rotated_from)),
            ("rotated_to", key_id(self.rotated_to)),
            ("role", admin.map(|admin| admin.role.as_str().to_json())),
            ("actor", session.map(|session| session.actor.to_json())),
        ];
        add_some(&mut members, &mut some);
        self.labels.describe(&mut members);
        in_order(members)
    }

    /// The record as it counts with what its account says about all of its keys: a key that was among them is as
    /// revoked as one that was revoked alone. Its version stays: nobody has changed this key.
    #[must_use]
    pub(super) fn under(mut self, over: OverKeys) -> Self {
        self.rotation_days = over.rotation_days;
        if let Some(revoked) = over.revoked_all.of(self.environment)
            && self.issued <= revoked.sequence
            && self.status != KeyStatus::Revoked
        {
            self.status = KeyStatus::Revoked;
            self.revoked_at = Some(revoked.at);
        }
        self
    }

    /// The id by which administrators name it.
    #[must_use]
    pub fn id(&self) -> KeyId {
        KeyId::of(&self.digest)
    }

    /// What the edge would find at `now`.
    #[must_use]
    pub fn status_at(&self, now: UnixMillis) -> EffectiveStatus {
        EffectiveStatus::at(now, self.status, self.not_before, self.expires_at)
    }

    /// What the edge needs to know of it.
    #[must_use]
    pub fn grant(&self) -> Grant {
        Grant {
            id: self.id(),
            account: self.account,
            environment: self.environment,
            scopes: self.scopes.clone(),
            workspaces: self.workspaces.clone(),
            fields: self.fields.clone(),
            allowed_ips: self.allowed_ips.clone(),
            status: self.status,
            not_before: self.not_before,
            expires_at: self.expires_at,
            issued_at: self.issued,
        }
    }
}
