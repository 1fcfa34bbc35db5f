//! Which keys a list shows.

use crate::{
    credential::Environment,
    policy::{EffectiveStatus, UnixMillis},
};

use super::record::KeyRecord;

/// Which keys of an account a list shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeyFilter {
    /// Only keys of this environment; none = all but admin credentials.
    pub environment: Option<Environment>,
    /// Only keys that are this now.
    pub status: Option<ListedStatus>,
    /// Only keys minted with the pepper of this id.
    pub pepper: Option<u8>,
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
        match record.grant().status_at(now) {
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

    /// What SQL demands before and after the condition of being revoked with all others; ?4 is the time, used in any case.
    pub(super) fn condition(self) -> [&'static str; 2] {
        match self {
            ListedStatus::Active => ["NOT ", " AND status = 'active' AND (expires_at IS NULL OR expires_at > ?4)"],
            ListedStatus::Disabled => ["NOT ", " AND status = 'disabled' AND ?4 IS NOT NULL"],
            ListedStatus::Expired => ["NOT ", " AND status = 'active' AND expires_at <= ?4"],
            ListedStatus::Revoked => ["(", " OR status = 'revoked') AND ?4 IS NOT NULL"],
        }
    }
}
