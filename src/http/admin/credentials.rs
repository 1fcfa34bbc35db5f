//! Requests for admin credentials and sessions.

use crate::{
    authority::command::{Command, NewCredential, NewSession},
    credential::AccountRef,
    policy::UnixMillis,
};

use super::super::{json::Members, problem::Problem, values};

/// The body of an issue in the environment `admin`, from which `environment` has been taken.
pub(super) fn new_credential(
    mut members: Members<'_>,
    account: AccountRef,
    now: UnixMillis,
) -> Result<Command, Problem> {
    let credential = NewCredential {
        role: members.required("role", values::role)?,
        name: members.nullable("name", values::name),
        scopes: members.optional("scopes", values::scopes),
        workspaces: members.nullable("workspaces", values::workspaces),
        not_before: members.nullable("not_before", values::instant),
        expires_at: members.nullable("expires_at", values::instant),
    };
    members.finish()?;
    values::check_validity(credential.not_before, credential.expires_at, now)?;
    Ok(Command::IssueCredential { account, credential })
}

/// The body of a new session.
pub(super) fn new_session(mut members: Members<'_>, account: AccountRef) -> Result<Command, Problem> {
    let session = NewSession {
        actor: members.required("actor", values::reference)?,
        role: members.optional("role", values::role),
        scopes: members.optional("scopes", values::scopes),
        workspaces: members.nullable("workspaces", values::workspaces),
    };
    members.finish()?;
    Ok(Command::MintSession { account, session })
}
