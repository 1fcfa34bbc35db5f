//! Who a key stands for, on the wire.

use crate::{
    json::ObjectWriter,
    policy::{Principal, UnixMillis},
};

use super::reply::Reply;

/// The identity headers, in the order in which they are sent. The values are ASCII without control characters: ids,
/// an environment, and scopes, whose alphabet is narrower still.
#[must_use]
pub fn identity_headers(principal: &Principal) -> [(&'static str, String); 4] {
    [
        ("x-keygate-key-id", principal.key_id.to_string()),
        ("x-keygate-account-id", principal.account.to_string()),
        ("x-keygate-environment", principal.environment.as_str().to_owned()),
        ("x-keygate-scopes", principal.scopes.to_string()),
    ]
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
    let json = ObjectWriter::new()
        .text("key_id", &principal.key_id.to_string())
        .text("account_id", &principal.account.to_string())
        .text("environment", principal.environment.as_str())
        .value("scopes", &principal.scopes)
        .value("features", &principal.features)
        .value("expires_at", &principal.expires_at.map(UnixMillis::to_rfc3339))
        .end();
    Reply::of_json(200, json)
}

/// The same with identity headers: the answer to an API request when there is no API behind Keygate.
#[must_use]
pub fn stand_in(principal: &Principal) -> Reply {
    with_identity(whoami(principal), principal)
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
