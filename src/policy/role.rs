//! Roles: how much of an account an admin credential administers.

/// What an admin credential may do, the least first. Operators have no credential of this kind: theirs is the root token,
/// a secret of the deployment that no command can take away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Reads all of its account.
    Viewer,
    /// Also issues, changes and revokes.
    Admin,
}

impl Role {
    /// The role with this name.
    pub fn parse(name: &str) -> Option<Self> {
        [Self::Viewer, Self::Admin].into_iter().find(|role| role.as_str() == name)
    }

    /// The name on the wire and in storage.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Admin => "admin",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_admin_may_more_than_a_viewer_and_names_have_one_spelling() {
        assert!(Role::Admin > Role::Viewer);
        for role in [Role::Viewer, Role::Admin] {
            assert_eq!(Role::parse(role.as_str()), Some(role));
        }
        for name in ["", "Admin", "operator", "root"] {
            assert_eq!(Role::parse(name), None, "{name}");
        }
    }
}
