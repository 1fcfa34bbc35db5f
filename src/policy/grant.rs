//! Grants: what a key may do.

use super::account::RevokedBefore;
use super::address::AllowedIps;
use super::fields::Fields;
use super::scope::ScopeSet;
use super::time::UnixMillis;
use crate::{
    credential::{AccountRef, Environment, KeyId, WorkspaceId},
    planted::planted,
};

/// What a key may do. It is found by the digest of the key; the key itself is in no grant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// The public name of the key.
    pub id: KeyId,
    /// The account that owns the key.
    pub account: AccountRef,
    /// Where the key works.
    pub environment: Environment,
    /// The rights of the key.
    pub scopes: ScopeSet,
    /// The workspaces it is limited to; `None`: all of its account.
    pub workspaces: Option<Vec<WorkspaceId>>,
    /// The fields of resources it is limited to.
    pub fields: Fields,
    /// The addresses it may be used from; `None`: all.
    pub allowed_ips: Option<AllowedIps>,
    /// What was last commanded for this key alone. What holds at a given time is [`Grant::effective_status`].
    pub status: KeyStatus,
    /// The first millisecond at which the key works; `None`: from its issue.
    pub not_before: Option<UnixMillis>,
    /// The first millisecond at which the key no longer works; `None`: it does not expire.
    pub expires_at: Option<UnixMillis>,
    /// The sequence of the command that issued the key.
    pub issued_at: u64,
}

impl Grant {
    /// What holds at `now`, where all keys issued up to `before` are revoked.
    pub fn effective_status(&self, before: RevokedBefore, now: UnixMillis) -> EffectiveStatus {
        if before.revokes(self.environment, self.issued_at) { EffectiveStatus::Revoked } else { self.status_at(now) }
    }

    /// What holds at `now` as far as the key alone is concerned: its account may have had all keys revoked. Where several things are wrong with the key, the one that is hardest to undo.
    pub fn status_at(&self, now: UnixMillis) -> EffectiveStatus {
        EffectiveStatus::at(now, self.status, self.not_before, self.expires_at)
    }
}

impl EffectiveStatus {
    /// The same of a key with this status and these bounds.
    pub fn at(
        now: UnixMillis,
        status: KeyStatus,
        not_before: Option<UnixMillis>,
        expires_at: Option<UnixMillis>,
    ) -> Self {
        match status {
            KeyStatus::Revoked => EffectiveStatus::Revoked,
            KeyStatus::Disabled => EffectiveStatus::Disabled,
            KeyStatus::Active if not_before.is_some_and(|first| now < first) => EffectiveStatus::NotYetValid,
            KeyStatus::Active if expires_at.is_some_and(|end| end <= now) && !planted!(ExpiryIgnored) => {
                EffectiveStatus::Expired
            }
            KeyStatus::Active => EffectiveStatus::Active,
        }
    }
}

/// The state that commands give a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum KeyStatus {
    /// Works, within its time.
    Active,
    /// Does not work until it is enabled again.
    Disabled,
    /// Never works again.
    Revoked,
}

impl KeyStatus {
    /// The status that storage calls by this word.
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Active, Self::Disabled, Self::Revoked].into_iter().find(|status| status.as_str() == word)
    }

    /// The word in storage.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Disabled => "disabled",
            Self::Revoked => "revoked",
        }
    }
}

/// The state of a key at some time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EffectiveStatus {
    /// Works.
    Active,
    /// Its time has not begun.
    NotYetValid,
    /// Its time is over.
    Expired,
    /// Disabled by command.
    Disabled,
    /// Revoked by command.
    Revoked,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::credential::Digest;
    use crate::json::{self, ToJson};

    fn grant(status: KeyStatus, not_before: Option<u64>, expires_at: Option<u64>) -> Grant {
        Grant {
            id: KeyId::of(&Digest::from_bytes([0xab; 24])),
            account: AccountRef { slot: 1, number: 0x0200_0003 },
            environment: Environment::Live,
            scopes: ScopeSet::parse(["contacts:read", "jobs:*"]).unwrap(),
            workspaces: None,
            fields: Fields::default(),
            allowed_ips: None,
            status,
            not_before: not_before.map(UnixMillis::from_millis),
            expires_at: expires_at.map(UnixMillis::from_millis),
            issued_at: 7,
        }
    }

    #[test]
    fn validity_includes_its_start_and_excludes_its_end() {
        use EffectiveStatus::{Active, Expired, NotYetValid};
        let bounded = grant(KeyStatus::Active, Some(10), Some(20));
        for (now, status) in
            [(0, NotYetValid), (9, NotYetValid), (10, Active), (19, Active), (20, Expired), (21, Expired)]
        {
            assert_eq!(bounded.status_at(UnixMillis::from_millis(now)), status, "{now}");
        }
        let unbounded = grant(KeyStatus::Active, None, None);
        assert_eq!(unbounded.status_at(UnixMillis::EPOCH), Active);
        assert_eq!(unbounded.status_at(UnixMillis::MAX), Active);
        assert_eq!(grant(KeyStatus::Active, None, Some(0)).status_at(UnixMillis::EPOCH), Expired);
    }

    #[test]
    fn commands_come_before_time() {
        for now in [0, 15, 25] {
            let now = UnixMillis::from_millis(now);
            assert_eq!(grant(KeyStatus::Revoked, Some(10), Some(20)).status_at(now), EffectiveStatus::Revoked);
            assert_eq!(grant(KeyStatus::Disabled, Some(10), Some(20)).status_at(now), EffectiveStatus::Disabled);
        }
    }

    #[test]
    fn all_keys_issued_up_to_a_sequence_are_revoked_in_that_environment_alone() {
        use EffectiveStatus::{Active, Revoked};
        let now = UnixMillis::EPOCH;
        let key = grant(KeyStatus::Active, None, None);
        for (live, test, status) in [(0, 0, Active), (6, 9, Active), (7, 0, Revoked), (8, 0, Revoked)] {
            assert_eq!(key.effective_status(RevokedBefore { live, test }, now), status, "{live} {test}");
        }
        let of_test = Grant { environment: Environment::Test, ..key.clone() };
        assert_eq!(of_test.effective_status(RevokedBefore { live: 9, test: 6 }, now), Active);
        assert_eq!(of_test.effective_status(RevokedBefore { live: 0, test: 7 }, now), Revoked);
        let disabled = grant(KeyStatus::Disabled, Some(10), Some(20));
        assert_eq!(disabled.effective_status(RevokedBefore { live: 7, test: 0 }, now), Revoked);
        let oldest = Grant { issued_at: 0, ..key };
        assert_eq!(oldest.effective_status(RevokedBefore::default(), now), Active, "0 is never");
    }

    /// The stored form. A change here needs a new version of the copies.
    #[test]
    fn stored_form_is_unchanged() {
        let short = r#"{"id":"key_abababababababababab","account":"acct_0102000003","environment":"live","scopes":["contacts:read","jobs:*"],"status":"disabled","issued_at":7}"#;
        let long = short.replace("\"issued_at\"", "\"not_before\":10,\"expires_at\":20,\"issued_at\"");
        let limits =
            r#","workspaces":["ws_0000000000000001"],"fields":{"contacts":["name","e-mail"],"jobs":["id"]},"status""#;
        let limited = short.replace(",\"status\"", limits);
        let limited_grant = Grant {
            workspaces: Some(vec![WorkspaceId::from_bytes([0, 0, 0, 0, 0, 0, 0, 1])]),
            fields: Fields::new([("jobs", vec!["id"]), ("contacts", vec!["name", "e-mail"])]).unwrap(),
            ..grant(KeyStatus::Disabled, None, None)
        };
        for (stored, grant) in [
            (short, grant(KeyStatus::Disabled, None, None)),
            (&long, grant(KeyStatus::Disabled, Some(10), Some(20))),
            (&limited, limited_grant),
        ] {
            assert_eq!(grant.to_json(), stored);
            assert_eq!(json::read(stored), Some(grant));
        }
        for (from, to) in [
            ("\"status\"", "\"addresses\":[],\"status\""),
            ("\"status\"", "\"workspaces\":[\"ws_1\"],\"status\""),
            ("\"status\"", "\"fields\":{\"contacts\":[]},\"status\""),
            ("\"disabled\"", "\"expired\""),
            ("\"live\"", "\"prod\""),
            ("\"jobs:*\"", "\"jobs\""),
            (",\"issued_at\":7", ""),
        ] {
            assert!(json::read::<Grant>(&short.replace(from, to)).is_none(), "{to}");
        }
    }
}
