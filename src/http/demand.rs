//! What requests say of what they demand, read strictly.

use crate::{
    credential::WorkspaceId,
    policy::{Demand, FEATURE, is_feature, parse_demand},
};

use super::{
    parameters::Parameters,
    problem::{Problem, WORKSPACE_HEADER},
    values::{ENVIRONMENTS, environment_text},
};

/// Reads the workspace that a request names. `header`: all values of X-Workspace-ID, as a repeated header arrives.
///
/// # Errors
/// 400 for anything but one workspace id.
pub fn named_workspace(header: Option<&str>) -> Result<Option<WorkspaceId>, Problem> {
    let Some(text) = header else { return Ok(None) };
    let id = WorkspaceId::parse(text);
    let expected = "X-Workspace-ID must be one workspace id: ws_ and 16 lower-case hexadecimal digits.";
    id.map(Some).ok_or_else(|| Problem::field(WORKSPACE_HEADER, expected))
}

/// Reads the demand of a verify request from its query and X-Workspace-ID.
///
/// # Errors
/// 400 that names the parameter or header.
pub fn demand_of_query(query: &str, workspace: Option<&str>) -> Result<Demand, Problem> {
    let mut parameters = Parameters::parse(query);
    let scopes = parameters.all("scope");
    let feature = parameters.once("feature")?;
    let required = parameters.once("workspace")?;
    let environment = parameters.once("environment")?;
    parameters.finish(&["scope", "feature", "workspace", "environment"])?;
    let wrong = |name: &str, expected: &str| Problem::field(name, format!("The parameter {name} must be {expected}."));
    if feature.as_deref().is_some_and(|feature| !is_feature(feature)) {
        return Err(wrong("feature", FEATURE));
    }
    if required.as_deref().is_some_and(|word| word != "required") {
        return Err(wrong("workspace", "\"required\", or left out where none is needed"));
    }
    let environment = match environment {
        Some(word) => Some(environment_text(&word).ok_or_else(|| wrong("environment", ENVIRONMENTS))?),
        None => None,
    };
    let scopes =
        parse_demand(scopes.iter().map(String::as_str)).map_err(|error| Problem::field("scope", error.to_string()))?;
    Ok(Demand {
        scopes: scopes.into(),
        environment,
        workspace_required: required.is_some(),
        workspace: named_workspace(workspace)?,
        feature: feature.map(Into::into),
        ..Demand::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::credential::Environment;

    #[test]
    fn a_verify_request_can_demand_all_that_a_route_can() {
        let query = "scope=a:b+c:d&feature=beta&workspace=required&environment=test&scope=e:f";
        let demand = demand_of_query(query, Some("ws_0101010101010101")).unwrap();
        assert_eq!(demand.scopes.iter().map(ToString::to_string).collect::<Vec<_>>(), ["a:b", "c:d", "e:f"]);
        assert_eq!(demand.feature.as_deref(), Some("beta"));
        assert!(demand.workspace_required);
        assert_eq!(demand.workspace, Some(WorkspaceId::from_bytes([1; 8])));
        assert_eq!(demand.environment, Some(Environment::Test));
        assert_eq!(demand_of_query("", None).unwrap(), Demand::default());
    }

    #[test]
    fn what_cannot_be_understood_is_named() {
        for (query, header, field) in [
            ("scope=", None, "scope"),
            ("feature=", None, "feature"),
            ("feature=Beta", None, "feature"),
            ("feature=a&feature=b", None, "feature"),
            ("workspace=", None, "workspace"),
            ("workspace=ws_0101010101010101", None, "workspace"),
            ("environment=admin", None, "environment"),
            ("environment=", None, "environment"),
            ("strict=true", None, "strict"),
            ("", Some(""), "X-Workspace-ID"),
            ("", Some("ws_01010101010101FF"), "X-Workspace-ID"),
            ("", Some("ws_0101010101010101, ws_0101010101010101"), "X-Workspace-ID"),
        ] {
            let reply = demand_of_query(query, header).unwrap_err().reply();
            assert_eq!(reply.status, 400);
            assert!(reply.body.contains(&format!("\"field\":\"{field}\"")), "{query} {header:?}: {}", reply.body);
        }
    }
}
