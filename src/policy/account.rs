//! Accounts: the tenants that own keys.

use crate::credential::{AccountRef, Environment, WorkspaceId};

/// What a decision must know of the account that owns a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// Which account.
    pub id: AccountRef,
    /// Whether its keys work at all.
    pub status: AccountStatus,
    /// Whether its keys work in each environment.
    pub api_access: ApiAccess,
    /// Feature flags, in the order they were given.
    pub features: Vec<String>,
    /// The workspaces that are not archived, at most [`WORKSPACES_MAX`].
    pub workspaces: Vec<Workspace>,
    /// Up to where all of its keys are revoked.
    pub revoked_before: RevokedBefore,
    /// Whether the holder of a genuine key learns that it was revoked, has expired or is disabled.
    pub explain_refusals: bool,
}

/// The most workspaces of one account that are not archived. Bounds its copy.
pub const WORKSPACES_MAX: usize = 100;

/// A part of an account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Workspace {
    /// Which one.
    pub id: WorkspaceId,
    /// For people to read.
    pub name: String,
}

/// For each environment the sequence up to which all keys are revoked: those that were issued at or before it. However
/// many keys there are, revoking them all is one change of the account. 0 = never.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RevokedBefore {
    /// For `live` keys.
    pub live: u64,
    /// For `test` keys.
    pub test: u64,
}

impl RevokedBefore {
    /// The sequence for one environment. Admin credentials are revoked one by one.
    pub const fn of(self, environment: Environment) -> u64 {
        match environment {
            Environment::Live => self.live,
            Environment::Test => self.test,
            Environment::Admin => 0,
        }
    }

    /// Whether a key of `environment` that was issued at `issued_at` is among those that are revoked.
    pub const fn revokes(self, environment: Environment, issued_at: u64) -> bool {
        let before = self.of(environment);
        before > 0 && issued_at <= before
    }
}

impl Account {
    /// Why keys of `environment` can be neither used nor issued now; `None` where they can.
    pub fn fault_in(&self, environment: Environment) -> Option<AccountFault> {
        if self.status == AccountStatus::Suspended {
            return Some(AccountFault::Suspended);
        }
        match self.api_access.of(environment) {
            Access::Active => None,
            access => Some(AccountFault::NoAccess { environment, access }),
        }
    }
}

/// The state of a whole account.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AccountStatus {
    /// Its keys work.
    Active,
    /// None of its keys works until it is active again.
    Suspended,
}

impl AccountStatus {
    /// The status with this word.
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Active, Self::Suspended].into_iter().find(|status| status.as_str() == word)
    }

    /// The word on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Suspended => "suspended",
        }
    }
}

/// Access to the API, for each environment that keys are issued in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ApiAccess {
    /// For `live` keys.
    pub live: Access,
    /// For `test` keys.
    pub test: Access,
}

impl ApiAccess {
    /// The access of one environment. Admin credentials are no API keys: their access is off.
    pub const fn of(self, environment: Environment) -> Access {
        match environment {
            Environment::Live => self.live,
            Environment::Test => self.test,
            Environment::Admin => Access::Off,
        }
    }
}

/// How far the activation of an account in one environment has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Access {
    /// Not asked for, or withdrawn.
    Off,
    /// Asked for, not yet approved.
    Requested,
    /// Approved: keys can be issued and used.
    Active,
}

impl Access {
    /// The access with this word.
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Off, Self::Requested, Self::Active].into_iter().find(|access| access.as_str() == word)
    }

    /// The word on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Requested => "requested",
            Self::Active => "active",
        }
    }
}

/// Why an account may not use the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccountFault {
    /// The account is suspended.
    Suspended,
    /// The account is active, but has no access in this environment.
    NoAccess {
        /// The environment of the key.
        environment: Environment,
        /// [`Access::Off`] or [`Access::Requested`].
        access: Access,
    },
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::{self, ToJson};

    fn account(status: AccountStatus, live: Access, test: Access) -> Account {
        let id = AccountRef { slot: 0, number: 0x12 };
        Account {
            id,
            status,
            api_access: ApiAccess { live, test },
            features: vec!["beta".to_owned()],
            workspaces: Vec::new(),
            revoked_before: RevokedBefore::default(),
            explain_refusals: false,
        }
    }

    #[test]
    fn suspension_comes_before_access_and_environments_are_separate() {
        use Environment::{Admin, Live, Test};
        let suspended = account(AccountStatus::Suspended, Access::Off, Access::Active);
        let requested = account(AccountStatus::Active, Access::Requested, Access::Active);
        let no_access = |environment, access| Some(AccountFault::NoAccess { environment, access });
        assert_eq!(suspended.fault_in(Live), Some(AccountFault::Suspended));
        assert_eq!(suspended.fault_in(Test), Some(AccountFault::Suspended));
        assert_eq!(requested.fault_in(Live), no_access(Live, Access::Requested));
        assert_eq!(requested.fault_in(Test), None);
        assert_eq!(requested.fault_in(Admin), no_access(Admin, Access::Off));
    }

    /// The stored form. A change here needs a new version of the copies.
    #[test]
    fn stored_form_is_unchanged() {
        let stored = r#"{"id":"acct_0000000012","status":"active","api_access":{"live":"off","test":"requested"},"features":["beta"]}"#;
        let account = account(AccountStatus::Active, Access::Off, Access::Requested);
        assert_eq!(account.to_json(), stored);
        assert_eq!(json::read(stored), Some(account.clone()));
        let more = r#"["beta"],"workspaces":[{"id":"ws_0000000000000001","name":"Büro"}],"revoked_before":{"live":7,"test":0},"explain_refusals":true}"#;
        let stored_more = stored.replace("[\"beta\"]}", more);
        let with_more = Account {
            workspaces: vec![Workspace {
                id: WorkspaceId::from_bytes([0, 0, 0, 0, 0, 0, 0, 1]),
                name: "Büro".to_owned(),
            }],
            revoked_before: RevokedBefore { live: 7, test: 0 },
            explain_refusals: true,
            ..account
        };
        assert_eq!(with_more.to_json(), stored_more);
        assert_eq!(json::read(&stored_more), Some(with_more));
        let more = stored.replace("\"status\"", "\"plan\":1,\"status\"");
        assert!(json::read::<Account>(&more).is_none());
        let more = stored.replace("\"live\"", "\"beta\":\"off\",\"live\"");
        assert!(json::read::<Account>(&more).is_none());
    }
}
