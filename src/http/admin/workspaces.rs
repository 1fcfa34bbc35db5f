//! Requests about the workspaces of an account.

use crate::{
    authority::{
        command::{Command, Precondition, WorkspaceChange},
        query::Query,
        workspaces::WorkspaceFilter,
    },
    credential::{AccountRef, WorkspaceId},
};

use super::{
    super::{parameters::Parameters, problem::Problem, values},
    request::{AdminRequest, Facts, ask, change, choice, edit, order, page},
};

/// Understands a request; `rest` is the path behind `…/workspaces`.
pub(super) fn parse(
    facts: &Facts<'_>,
    account: AccountRef,
    method: &str,
    rest: &[&str],
) -> Result<AdminRequest, Problem> {
    let [id, rest @ ..] = rest else {
        return match method {
            "GET" => list(facts, account),
            "POST" => order(facts, Precondition::Any, true, &|mut members| {
                let name = members.required("name", values::name)?;
                members.finish()?;
                Ok(Command::CreateWorkspace { account, name })
            }),
            _ => Err(Problem::method_not_allowed("GET, POST")),
        };
    };
    let workspace = WorkspaceId::parse(id).ok_or_else(Problem::not_found)?;
    match (method, rest) {
        ("GET", []) => ask(facts, Query::Workspace(account, workspace)),
        ("PATCH", []) => change(facts, &|mut members| {
            let change = WorkspaceChange { name: edit(members.optional("name", values::name)) };
            members.finish()?;
            Ok(Command::ChangeWorkspace { account, workspace, change })
        }),
        (_, []) => Err(Problem::method_not_allowed("GET, PATCH")),
        ("POST", ["archive"]) => order(facts, Precondition::Any, true, &|members| {
            members.finish()?;
            Ok(Command::ArchiveWorkspace { account, workspace })
        }),
        (_, ["archive"]) => Err(Problem::method_not_allowed("POST")),
        _ => Err(Problem::not_found()),
    }
}

fn list(facts: &Facts<'_>, account: AccountRef) -> Result<AdminRequest, Problem> {
    let mut parameters = Parameters::parse(facts.query);
    let page = page(facts, &mut parameters)?;
    let filter = choice(&mut parameters, "status", "\"active\" or \"archived\"", WorkspaceFilter::parse)?;
    parameters.finish(&["limit", "cursor", "status"])?;
    Ok(AdminRequest::Ask(Query::Workspaces(account, filter.unwrap_or_default(), page)))
}
