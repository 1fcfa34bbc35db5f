//! A command, who ordered it and on what condition.

use crate::planted::planted;

use super::{
    admins::Caller,
    command::{Command, Refusal},
    journal::CommandId,
};

/// A command with who ordered it, and on what condition.
#[derive(Clone, Debug, PartialEq)]
pub struct Order {
    /// What to do.
    pub command: Command,
    /// What makes a repeated order the same one.
    pub id: CommandId,
    /// The credential that ordered it.
    pub caller: Caller,
    /// Who, in the caller's own product (`X-Keygate-Actor`).
    pub actor: Option<String>,
    /// Which versions of the account or key it is meant for.
    pub precondition: Precondition,
    /// It is answered once it counts everywhere.
    pub wait: bool,
    /// An account of another shard has the external id that it sets.
    pub taken_elsewhere: bool,
}

/// Which versions of an account or key may be changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Precondition {
    /// Whatever it is now.
    #[default]
    Any,
    /// Only one of these.
    Versions(Vec<u64>),
}

impl Precondition {
    /// Refuses another version.
    pub(super) fn check(&self, version: u64) -> Result<(), Refusal> {
        match self {
            Precondition::Versions(wanted) if !wanted.contains(&version) && !planted!(ConditionIgnored) => {
                Err(Refusal::PreconditionFailed { version })
            }
            Precondition::Any | Precondition::Versions(_) => Ok(()),
        }
    }
}
