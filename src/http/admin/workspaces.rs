//! Requests about the workspaces of an account.

use crate::{
    authority::{
        command::{Command, WorkspaceChange},
        query::Query,
        workspaces::WorkspaceFilter,
    },
    credential::{AccountRef, WorkspaceId},
};

use super::{
    super::{json::Members, parameters::Parameters, problem::Problem, values},
    request::{AdminRequest, Facts, Needs, ask, bare, behind_id, choice, nothing, order, page},
};

/// Understands a request about one workspace; `rest` is the path behind `…/workspaces/`.
pub(super) fn parse(facts: &Facts<'_>, account: AccountRef, rest: &str) -> Result<AdminRequest, Problem> {
    let (id, rest) = behind_id(rest);
    let workspace = WorkspaceId::parse(id).ok_or_else(Problem::not_found)?;
    match (facts.method, rest) {
        ("GET", "") => ask(facts, Query::Workspace(account, workspace)),
        ("PATCH", "") => order(facts, Needs::Version, &|members| change(members, account, workspace)),
        ("POST", "/archive") => bare(facts, Needs::Effect, &|| Command::ArchiveWorkspace { account, workspace }),
        _ => nothing(rest, &[("", "GET, PATCH"), ("/archive", "POST")]),
    }
}

pub(super) fn new(mut members: Members<'_>, account: AccountRef) -> Result<Command, Problem> {
    let name = members.required("name", values::name)?;
    members.finish()?;
    Ok(Command::CreateWorkspace { account, name })
}

fn change(mut members: Members<'_>, account: AccountRef, workspace: WorkspaceId) -> Result<Command, Problem> {
    let mut change = WorkspaceChange::default();
    members.edit("name", &mut change.name, values::name);
    members.finish()?;
    Ok(Command::ChangeWorkspace { account, workspace, change })
}

pub(super) fn list(facts: &Facts<'_>, account: AccountRef) -> Result<AdminRequest, Problem> {
    let mut parameters = Parameters::parse(facts.query);
    let page = page(facts, &mut parameters)?;
    let filter = choice(&mut parameters, "status", "\"active\" or \"archived\"", WorkspaceFilter::parse)?;
    parameters.finish(&["limit", "cursor", "status"])?;
    Ok(AdminRequest::Ask(Box::new(Query::Workspaces(account, filter.unwrap_or_default(), page))))
}
