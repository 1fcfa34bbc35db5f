//! Who a key stands for, on the wire.

use crate::{
    credential::joined,
    json::ObjectWriter,
    policy::{Principal, UnixMillis, Workspace},
};

use super::reply::Reply;

/// The identity headers, in the order in which they are sent; those of workspace, features and fields only where there
/// is any. The values are ASCII without control characters: ids, an environment, and names, whose alphabets are narrower
/// still.
#[must_use]
pub fn identity_headers(principal: &Principal) -> Vec<(&'static str, String)> {
    let mut headers = Vec::with_capacity(7);
    headers.push(("x-keygate-key-id", principal.key_id.to_string()));
    headers.push(("x-keygate-account-id", principal.account.to_string()));
    headers.push(("x-keygate-environment", principal.environment.as_str().to_owned()));
    headers.push(("x-keygate-scopes", principal.scopes.to_string()));
    if let Some(id) = principal.workspace {
        headers.push(("x-keygate-workspace-id", id.to_string()));
    }
    if !principal.features.is_empty() {
        headers.push(("x-keygate-features", joined(&principal.features, " ")));
    }
    if !principal.fields.is_empty() {
        headers.push(("x-keygate-fields", principal.fields.to_string()));
    }
    headers
}

/// The header of what was decided by outage grace, on evidence that is older than the lease allows.
pub const GRACE: (&str, &str) = ("x-keygate-grace", "1");

/// True for the name of a header that only Keygate may set, in any case and also with `_`, which some servers read as `-`.
#[must_use]
pub fn is_identity_header(name: &str) -> bool {
    const PREFIX: &[u8] = b"x-keygate-";
    name.as_bytes()
        .get(..PREFIX.len())
        .is_some_and(|start| start.iter().zip(PREFIX).all(|(is, wanted)| fold(*is) == *wanted))
}

fn fold(byte: u8) -> u8 {
    if byte == b'_' { b'-' } else { byte.to_ascii_lowercase() }
}

/// 200 for a proxy that asked: identity headers, no body.
#[must_use]
pub fn verified(principal: &Principal) -> Reply {
    with_identity(Reply::empty(200), principal)
}

/// 200 for a key holder who asked who they are.
#[must_use]
pub fn whoami(principal: &Principal) -> Reply {
    described(principal, Some(&principal.workspaces))
}

/// 200 for a key holder who asked where the key may be used.
#[must_use]
pub fn workspaces(principal: &Principal) -> Reply {
    Reply::of_json(200, ObjectWriter::new().value("data", &principal.workspaces.to_vec()).end())
}

/// The answer to a request of a public route when there is no API behind Keygate.
#[must_use]
pub fn public_stand_in() -> Reply {
    Reply::of_json(200, "{\"public\":true}")
}

/// `workspaces`: all that the key may use; none where they were not asked for.
fn described(principal: &Principal, workspaces: Option<&[Workspace]>) -> Reply {
    let json = ObjectWriter::new()
        .text("key_id", &principal.key_id.to_string())
        .text("account_id", &principal.account.to_string())
        .text("environment", principal.environment.as_str())
        .value("scopes", &principal.scopes)
        .value("features", &principal.features)
        .value("fields", &principal.fields)
        .if_any("workspace_id", principal.workspace)
        .if_any("workspaces", workspaces.map(<[Workspace]>::to_vec))
        .value("expires_at", &principal.expires_at.map(UnixMillis::to_rfc3339))
        .end();
    Reply::of_json(200, json)
}

/// Who made the request and with what rights, with identity headers: the answer to an API request when there is no API behind Keygate.
#[must_use]
pub fn stand_in(principal: &Principal) -> Reply {
    with_identity(described(principal, None), principal)
}

fn with_identity(reply: Reply, principal: &Principal) -> Reply {
    identity_headers(principal).into_iter().fold(reply, |reply, (name, value)| reply.with(name, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identity_headers_are_recognised_however_they_are_spelled() {
        for name in ["x-keygate-key-id", "X-KEYGATE-Scopes", "X_Keygate_Key_Id", "x-keygate_", "X-keygate-anything"] {
            assert!(is_identity_header(name), "{name}");
        }
        for name in ["x-keygat", "x-keygatex", "keygate-key-id", "authorization", ""] {
            assert!(!is_identity_header(name), "{name}");
        }
    }
}
