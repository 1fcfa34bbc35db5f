//! What commands say: the properties of what is new, and what changes in what is there.

use crate::{
    credential::{Brand, Environment, WorkspaceId},
    policy::{Access, AccountStatus, AllowedIps, ApiAccess, Fields, Role, ScopeSet, UnixMillis},
};

use super::{
    labels::{Labels, LabelsChange},
    settings::{Settings, SettingsChange},
};

/// The properties of a new account.
#[derive(Clone, Debug, PartialEq)]
pub struct NewAccount {
    /// For people to read.
    pub name: String,
    /// The id in the caller's own product; unique in the slot.
    pub external_id: Option<String>,
    /// What its keys begin with.
    pub brand: Brand,
    /// Keys per environment that are neither revoked nor expired; none = no limit.
    pub max_active_keys: Option<u32>,
    /// Whether keys may be issued and used, per environment.
    pub api_access: ApiAccess,
    /// Features switched on.
    pub features: Vec<String>,
    /// What a key gets that is issued without naming scopes.
    pub default_scopes: ScopeSet,
    /// What it is configured with besides.
    pub settings: Settings,
}

impl NewAccount {
    /// An account of this name, with what `change` sets, and by default where it sets nothing.
    #[must_use]
    pub fn with(name: String, external_id: Option<String>, change: AccountChange) -> Self {
        let mut settings = Settings::default();
        change.settings.apply(&mut settings);
        NewAccount {
            name,
            external_id,
            brand: change.brand.or(Brand::default()),
            max_active_keys: change.max_active_keys.or(None),
            api_access: change.api_access.or(ApiAccess { live: Access::Active, test: Access::Active }),
            features: change.features.or(Vec::new()),
            default_scopes: change.default_scopes.or(ScopeSet::default()),
            settings,
        }
    }
}

/// A member of a change: left alone, or set.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Edit<T> {
    /// Stays as it is.
    #[default]
    Keep,
    /// Becomes this.
    Set(T),
}

impl<T> Edit<T> {
    /// True unless the member is left alone.
    #[must_use]
    pub fn is_set(&self) -> bool {
        matches!(self, Edit::Set(_))
    }

    /// The same of a value that stays where it is.
    pub fn over<'a>(&'a self, value: &'a T) -> &'a T {
        match self {
            Edit::Set(value) => value,
            Edit::Keep => value,
        }
    }

    /// The new value, or else this one.
    pub fn or(self, value: T) -> T {
        match self {
            Edit::Set(value) => value,
            Edit::Keep => value,
        }
    }

    /// Puts the new value in place; true if that changed anything.
    pub fn apply(self, place: &mut T) -> bool
    where
        T: PartialEq,
    {
        match self {
            Edit::Set(value) if value != *place => {
                *place = value;
                true
            }
            Edit::Keep | Edit::Set(_) => false,
        }
    }
}

/// What changes in an account.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AccountChange {
    /// For people to read.
    pub name: Edit<String>,
    /// The id in the caller's own product.
    pub external_id: Edit<Option<String>>,
    /// What its keys begin with from now on.
    pub brand: Edit<Brand>,
    /// `Suspended` refuses every key of the account.
    pub status: Edit<AccountStatus>,
    /// The limit on keys; does not touch those that exist.
    pub max_active_keys: Edit<Option<u32>>,
    /// Issuing and using, per environment.
    pub api_access: Edit<ApiAccess>,
    /// Features switched on.
    pub features: Edit<Vec<String>>,
    /// What a key gets that is issued without naming scopes.
    pub default_scopes: Edit<ScopeSet>,
    /// What it is configured with besides.
    pub settings: SettingsChange,
}

/// The properties of a new key.
#[derive(Clone, Debug, PartialEq)]
pub struct NewKey {
    /// For people to read.
    pub name: Option<String>,
    /// `Live` or `Test`.
    pub environment: Environment,
    /// What it may do; none = what its access level says, or else the account's default scopes.
    pub scopes: Option<ScopeSet>,
    /// The access level of the account that it is issued with.
    pub access_level: Option<String>,
    /// Refused before this instant.
    pub not_before: Option<UnixMillis>,
    /// Refused from this instant on.
    pub expires_at: Option<UnixMillis>,
    /// The workspaces it is limited to; none = all of its account.
    pub workspaces: Option<Vec<WorkspaceId>>,
    /// The fields of resources that it is limited to.
    pub fields: Fields,
    /// The addresses it may be used from; none = all.
    pub allowed_ips: Option<AllowedIps>,
    /// What is noted of it.
    pub labels: Labels,
}

/// When the time of a key that has a successor begins to run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OverlapFrom {
    /// With the rotation.
    #[default]
    Rotation,
    /// With the first use of the successor, as far as caches tell; until then nothing changes for the old key.
    FirstUse,
}

impl OverlapFrom {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Rotation, Self::FirstUse];

    /// The word on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Rotation => "rotation",
            Self::FirstUse => "first_use",
        }
    }
}

/// The properties of a successor. What is not said is as with the key that it succeeds.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NewRotation {
    /// For how long both keys work, in milliseconds; 0 = the old one is revoked as soon as the overlap begins.
    pub overlap_ms: u64,
    /// When it begins.
    pub overlap_from: OverlapFrom,
    /// What it may do.
    pub scopes: Option<ScopeSet>,
    /// The workspaces it is limited to; none = all of its account.
    pub workspaces: Edit<Option<Vec<WorkspaceId>>>,
    /// The fields of resources that it is limited to.
    pub fields: Option<Fields>,
    /// The addresses it may be used from; none = all.
    pub allowed_ips: Edit<Option<AllowedIps>>,
    /// Refused from this instant on; if nothing is said, it has as long a life again.
    pub expires_at: Edit<Option<UnixMillis>>,
}

/// The properties of a new admin credential.
#[derive(Clone, Debug, PartialEq)]
pub struct NewCredential {
    /// For people to read.
    pub name: Option<String>,
    /// How much it administers.
    pub role: Role,
    /// What it may grant; none = everything.
    pub scopes: Option<ScopeSet>,
    /// The workspaces that it may grant; none = all.
    pub workspaces: Option<Vec<WorkspaceId>>,
    /// Refused before this instant.
    pub not_before: Option<UnixMillis>,
    /// Refused from this instant on.
    pub expires_at: Option<UnixMillis>,
}

/// The properties of a new session.
#[derive(Clone, Debug, PartialEq)]
pub struct NewSession {
    /// Who acts with it, in the caller's own product.
    pub actor: String,
    /// How much it administers; none = as much as who mints it.
    pub role: Option<Role>,
    /// What it may grant; none = as much as who mints it.
    pub scopes: Option<ScopeSet>,
    /// The workspaces that it may grant; none = those of who mints it.
    pub workspaces: Option<Vec<WorkspaceId>>,
}

/// What changes in a key. Scopes never do.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct KeyChange {
    /// For people to read.
    pub name: Edit<Option<String>>,
    /// True refuses the key until it is enabled again.
    pub disabled: Edit<bool>,
    /// What is noted of it.
    pub labels: LabelsChange,
    /// A member that was to be changed, and never is.
    pub fixed: Option<&'static str>,
}

/// What changes in a workspace.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct WorkspaceChange {
    /// For people to read.
    pub name: Edit<String>,
}
