//! Why a key was refused, as it is counted.

use super::decide::{Denial, TokenFault};

/// Why a genuine key was refused. The order and the names stand in databases and on the wire: append only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Revoked.
    KeyRevoked,
    /// Disabled.
    KeyDisabled,
    /// Its time has not begun.
    KeyNotYetValid,
    /// Its time is over.
    KeyExpired,
    /// A key of another environment was demanded.
    WrongEnvironment,
    /// Used from where it may not be.
    AddressForbidden,
    /// Its account may not use the API.
    AccountInactive,
    /// Its account does not have what was demanded.
    FeatureDisabled,
    /// No workspace was named, and one was needed.
    WorkspaceRequired,
    /// A workspace was named that it may not use.
    WorkspaceForbidden,
    /// It lacks a scope.
    InsufficientScope,
}

impl Reason {
    /// How many there are.
    pub const COUNT: usize = 11;

    /// All of them, in their order.
    pub const ALL: [Reason; Self::COUNT] = [
        Reason::KeyRevoked,
        Reason::KeyDisabled,
        Reason::KeyNotYetValid,
        Reason::KeyExpired,
        Reason::WrongEnvironment,
        Reason::AddressForbidden,
        Reason::AccountInactive,
        Reason::FeatureDisabled,
        Reason::WorkspaceRequired,
        Reason::WorkspaceForbidden,
        Reason::InsufficientScope,
    ];

    /// The one at this place in the order, from 0.
    #[must_use]
    pub fn at(place: usize) -> Option<Self> {
        Self::ALL.get(place).copied()
    }

    /// The name: the `code` of the problem where there is one for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Reason::KeyRevoked => "key_revoked",
            Reason::KeyDisabled => "key_disabled",
            Reason::KeyNotYetValid => "key_not_yet_valid",
            Reason::KeyExpired => "key_expired",
            Reason::WrongEnvironment => "wrong_environment",
            Reason::AddressForbidden => "ip_not_allowed",
            Reason::AccountInactive => "account_inactive",
            Reason::FeatureDisabled => "feature_disabled",
            Reason::WorkspaceRequired => "workspace_required",
            Reason::WorkspaceForbidden => "workspace_forbidden",
            Reason::InsufficientScope => "insufficient_scope",
        }
    }

    /// The one with this name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.as_str() == name)
    }
}

impl Denial {
    /// As what it is counted; none where it says nothing of the use of an API key.
    #[must_use]
    pub fn reason(&self) -> Option<Reason> {
        Some(match self {
            Denial::InvalidToken { fault, .. } => match fault {
                TokenFault::Revoked => Reason::KeyRevoked,
                TokenFault::Disabled => Reason::KeyDisabled,
                TokenFault::NotYetValid => Reason::KeyNotYetValid,
                TokenFault::Expired => Reason::KeyExpired,
                TokenFault::WrongEnvironment => Reason::WrongEnvironment,
                TokenFault::ForeignAccount | TokenFault::AdminCredential => return None,
            },
            Denial::AddressForbidden => Reason::AddressForbidden,
            Denial::AccountInactive(_) => Reason::AccountInactive,
            Denial::FeatureDisabled => Reason::FeatureDisabled,
            Denial::WorkspaceRequired => Reason::WorkspaceRequired,
            Denial::WorkspaceForbidden => Reason::WorkspaceForbidden,
            Denial::InsufficientScope { .. } => Reason::InsufficientScope,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_its_place_and_its_name() {
        for (place, reason) in Reason::ALL.into_iter().enumerate() {
            assert_eq!((reason as usize, Reason::at(place)), (place, Some(reason)));
            assert_eq!(Reason::parse(reason.as_str()), Some(reason));
        }
        assert_eq!((Reason::at(Reason::COUNT), Reason::parse("")), (None, None));
    }
}
