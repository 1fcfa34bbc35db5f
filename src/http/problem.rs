//! Errors on the wire: RFC 9457 problem details with a stable `code`, and the challenges of RFC 6750.
//!
//! Inside, a denial says exactly what was wrong. Outside, everything about the credential itself is one constant 401,
//! so that nobody learns whether a key exists, was revoked or never was.

use std::borrow::Cow;

use crate::{
    authority::command::Refusal,
    credential::{BearerFault, joined},
    json::ObjectWriter,
    policy::{Access, AccountFault, Denial, Scope, TokenFault, WORKSPACES_MAX},
};

use super::reply::Reply;

/// What programs may rely on. Never renamed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    /// 401: no bearer credential.
    MissingCredential,
    /// 400: not a request that can be understood.
    InvalidRequest,
    /// 401: the credential is not valid, whatever the reason.
    InvalidToken,
    /// 401: the key was revoked. Said only where its account has it so; the same for the next two.
    KeyRevoked,
    /// 401: the time of the key is over.
    KeyExpired,
    /// 401: the key is disabled.
    KeyDisabled,
    /// 400: a workspace is needed, and none is named.
    WorkspaceRequired,
    /// 403: the workspace is not one of the key's.
    WorkspaceForbidden,
    /// 403: the key may not be used from this address.
    IpNotAllowed,
    /// 403: the key does not have a scope that is needed.
    InsufficientScope,
    /// 403: the admin credential's role does not reach as far.
    InsufficientRole,
    /// 403: the account is suspended, or not active in the key's environment.
    AccountInactive,
    /// 404: there is nothing here, for this caller.
    NotFound,
    /// 405: not with this method.
    MethodNotAllowed,
    /// 409: it contradicts what is there.
    Conflict,
    /// 409: the account has as many keys, or workspaces, as it may.
    LimitReached,
    /// 412: the account or key has changed since it was read.
    PreconditionFailed,
    /// 413: the body is too long.
    PayloadTooLarge,
    /// 415: the body is not JSON.
    UnsupportedMediaType,
    /// 422: another request has had this `Idempotency-Key`.
    IdempotencyConflict,
    /// 428: a change must say which version it is meant for.
    PreconditionRequired,
    /// 503: nobody could say; try again.
    Indeterminate,
    /// 503: a secret or a setting is missing or malformed.
    Misconfigured,
    /// 502: the API behind Keygate did not answer.
    UpstreamUnreachable,
}

impl Code {
    /// The code on the wire, and the status and title that belong to it.
    #[must_use]
    pub fn parts(self) -> (&'static str, u16, &'static str) {
        match self {
            Code::MissingCredential => ("missing_credential", 401, "Unauthorized"),
            Code::InvalidRequest => ("invalid_request", 400, "Bad Request"),
            Code::InvalidToken => ("invalid_token", 401, "Unauthorized"),
            Code::KeyRevoked => ("key_revoked", 401, "Unauthorized"),
            Code::KeyExpired => ("key_expired", 401, "Unauthorized"),
            Code::KeyDisabled => ("key_disabled", 401, "Unauthorized"),
            Code::WorkspaceRequired => ("workspace_required", 400, "Bad Request"),
            Code::WorkspaceForbidden => ("workspace_forbidden", 403, "Forbidden"),
            Code::IpNotAllowed => ("ip_not_allowed", 403, "Forbidden"),
            Code::InsufficientScope => ("insufficient_scope", 403, "Forbidden"),
            Code::InsufficientRole => ("insufficient_role", 403, "Forbidden"),
            Code::AccountInactive => ("account_inactive", 403, "Forbidden"),
            Code::NotFound => ("not_found", 404, "Not Found"),
            Code::MethodNotAllowed => ("method_not_allowed", 405, "Method Not Allowed"),
            Code::Conflict => ("conflict", 409, "Conflict"),
            Code::LimitReached => ("limit_reached", 409, "Conflict"),
            Code::PreconditionFailed => ("precondition_failed", 412, "Precondition Failed"),
            Code::PayloadTooLarge => ("payload_too_large", 413, "Content Too Large"),
            Code::UnsupportedMediaType => ("unsupported_media_type", 415, "Unsupported Media Type"),
            Code::IdempotencyConflict => ("idempotency_conflict", 422, "Unprocessable Content"),
            Code::PreconditionRequired => ("precondition_required", 428, "Precondition Required"),
            Code::Indeterminate => ("indeterminate", 503, "Service Unavailable"),
            Code::Misconfigured => ("misconfigured", 503, "Service Unavailable"),
            Code::UpstreamUnreachable => ("upstream_unreachable", 502, "Bad Gateway"),
        }
    }
}

/// One error, ready to be said. Boxed: it travels through many results, and would be copied in each.
#[derive(Clone, Debug, PartialEq)]
pub struct Problem(Box<Parts>);

#[derive(Clone, Debug, PartialEq)]
struct Parts {
    code: Code,
    detail: Cow<'static, str>,
    field: Option<String>,
    challenge: Option<String>,
    allow: Option<&'static str>,
    missing_scopes: Option<Vec<String>>,
}

impl Problem {
    /// An error with a sentence for people.
    #[must_use]
    pub fn new(code: Code, detail: impl Into<Cow<'static, str>>) -> Self {
        let detail = detail.into();
        Problem(Box::new(Parts { code, detail, field: None, challenge: None, allow: None, missing_scopes: None }))
    }

    /// A 400 about one member, parameter or header of the request.
    #[must_use]
    pub fn field(field: impl Into<String>, detail: impl Into<Cow<'static, str>>) -> Self {
        Problem::new(Code::InvalidRequest, detail).about(field)
    }

    /// The same, about one member, parameter or header of the request.
    #[must_use]
    pub fn about(mut self, field: impl Into<String>) -> Self {
        self.0.field = Some(field.into());
        self
    }

    /// The same, with a challenge.
    fn challenging(mut self, challenge: impl Into<String>) -> Self {
        self.0.challenge = Some(challenge.into());
        self
    }

    /// No bearer credential: a challenge without an error (RFC 6750 §3.1).
    #[must_use]
    pub fn missing_credential() -> Self {
        let detail = "This needs an API key, sent as the header Authorization: Bearer <key>.";
        Problem::new(Code::MissingCredential, detail).challenging(REALM)
    }

    /// The constant 401.
    #[must_use]
    pub fn invalid_token() -> Self {
        Problem::refused_token(Code::InvalidToken, "The credential is not valid.")
    }

    fn refused_token(code: Code, detail: &'static str) -> Self {
        Problem::new(code, detail).challenging(format!("{REALM}, error=\"invalid_token\""))
    }

    /// An Authorization header that is not exactly one bearer token.
    #[must_use]
    pub fn malformed_credential(fault: BearerFault) -> Self {
        Problem::field("Authorization", fault.to_string()).challenging(format!("{REALM}, error=\"invalid_request\""))
    }

    /// Nothing here.
    #[must_use]
    pub fn not_found() -> Self {
        Problem::new(Code::NotFound, "There is nothing here.")
    }

    /// Nobody could say whether the credential is valid.
    #[must_use]
    pub fn indeterminate() -> Self {
        Problem::new(
            Code::Indeterminate,
            "Keygate cannot decide right now. Nothing is known to be wrong with the request; try again.",
        )
    }

    /// Not with this method; `allow` lists those that would be right.
    #[must_use]
    pub fn method_not_allowed(allow: &'static str) -> Self {
        let mut problem = Problem::new(Code::MethodNotAllowed, format!("This answers to {allow} only."));
        problem.0.allow = Some(allow);
        problem
    }

    /// A denial of a key holder's request.
    #[must_use]
    pub fn denial(denial: &Denial) -> Self {
        match denial {
            Denial::InvalidToken { fault: TokenFault::Revoked, explain: true } => {
                Problem::refused_token(Code::KeyRevoked, "This key was revoked.")
            }
            Denial::InvalidToken { fault: TokenFault::Expired, explain: true } => {
                Problem::refused_token(Code::KeyExpired, "This key has expired.")
            }
            Denial::InvalidToken { fault: TokenFault::Disabled, explain: true } => {
                Problem::refused_token(Code::KeyDisabled, "This key is disabled.")
            }
            Denial::InvalidToken { .. } => Problem::invalid_token(),
            // As where no route is: what an account does not have, it does not see.
            Denial::FeatureDisabled => Problem::not_found(),
            Denial::WorkspaceRequired => Problem::new(
                Code::WorkspaceRequired,
                "This needs the header X-Workspace-ID with one of the key's workspaces.",
            )
            .about(WORKSPACE_HEADER),
            Denial::WorkspaceForbidden => {
                Problem::new(Code::WorkspaceForbidden, "The key may not use the workspace that X-Workspace-ID names.")
                    .about(WORKSPACE_HEADER)
            }
            Denial::AddressForbidden => Problem::new(
                Code::IpNotAllowed,
                "The key may not be used from the address that this request comes from.",
            ),
            Denial::AccountInactive(fault) => Problem::new(
                Code::AccountInactive,
                match fault {
                    AccountFault::Suspended => "The account of this key is suspended; ask its operator.",
                    AccountFault::NoAccess { access: Access::Requested, .. } => {
                        "The account of this key is not active in the key's environment yet; wait until its operator \
                         approves what was asked for."
                    }
                    AccountFault::NoAccess { .. } => {
                        "The account of this key is not active in the key's environment; its administrator can ask for \
                         that with POST access-requests."
                    }
                },
            ),
            Denial::InsufficientScope { required, missing } => {
                Problem::insufficient_scope("This needs the scopes", required, missing)
            }
        }
    }

    fn insufficient_scope(needs: &str, required: &[Scope], missing: &[Scope]) -> Self {
        let all = joined(required.iter().map(Scope::as_str), " ");
        let missing = missing.iter().map(|scope| scope.as_str().to_owned()).collect();
        let mut problem = Problem::new(Code::InsufficientScope, format!("{needs}: {all}."))
            .challenging(format!("{REALM}, error=\"insufficient_scope\", scope=\"{all}\""));
        problem.0.missing_scopes = Some(missing);
        problem
    }

    /// A refusal of an administrator's command.
    #[must_use]
    pub fn refusal(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Unauthenticated => Problem::invalid_token(),
            Refusal::InsufficientRole { detail } => Problem::new(Code::InsufficientRole, detail),
            Refusal::ScopesBeyondOwn { wanted, missing } => Problem::insufficient_scope(
                "Nobody grants scopes that they do not hold, and this would grant",
                wanted.as_slice(),
                &missing,
            ),
            Refusal::WorkspacesBeyondOwn { missing } => Problem::new(
                Code::InsufficientScope,
                format!("Nobody grants workspaces that they do not hold; this credential does not hold: {missing}."),
            )
            .about("workspaces")
            .challenging(format!("{REALM}, error=\"insufficient_scope\"")),
            Refusal::Invalid { field, detail } => Problem::field(field, detail),
            Refusal::NotFound => Problem::not_found(),
            Refusal::Conflict { field, detail } => {
                let mut problem = Problem::new(Code::Conflict, detail);
                problem.0.field = field;
                problem
            }
            Refusal::LimitReached { limit, environment } => Problem::new(
                Code::LimitReached,
                format!(
                    "The account already has {limit} keys in the {} environment, which is its max_active_keys. Revoke \
                     one, or have the limit raised.",
                    environment.as_str()
                ),
            ),
            Refusal::WorkspaceLimitReached => Problem::new(
                Code::LimitReached,
                format!("The account already has {WORKSPACES_MAX} workspaces in use. Archive one first."),
            ),
            Refusal::AccountInactive { detail } => Problem::new(Code::AccountInactive, detail),
            Refusal::PreconditionFailed { version } => Problem::new(
                Code::PreconditionFailed,
                format!("It has changed since you read it; its ETag is now \"{version}\". Read it again first."),
            )
            .about("If-Match"),
            Refusal::IdempotencyConflict => Problem::new(
                Code::IdempotencyConflict,
                "Another request was made with this Idempotency-Key within the last 24 hours. Use a new one.",
            )
            .about("Idempotency-Key"),
        }
    }

    /// What goes out.
    #[must_use]
    pub fn reply(&self) -> Reply {
        let parts = &*self.0;
        let (code, status, title) = parts.code.parts();
        // The members of RFC 9457 §3.1, and ours.
        let body = ObjectWriter::new()
            .text("type", &format!("urn:keygate:problem:{code}"))
            .text("title", title)
            .number("status", status.into())
            .text("detail", &parts.detail)
            .text("code", code)
            .if_any("field", parts.field.as_deref())
            .if_any("missing_scopes", parts.missing_scopes.clone())
            .end();
        let mut reply = Reply { headers: Vec::new(), ..Reply::of_json(status, body) }
            .with("cache-control", "no-store")
            .with("content-type", "application/problem+json");
        if let Some(challenge) = &parts.challenge {
            reply = reply.with("www-authenticate", challenge.clone());
        }
        if let Some(allow) = parts.allow {
            reply = reply.with("allow", allow);
        }
        if parts.code == Code::Indeterminate {
            reply = reply.with("retry-after", RETRY_AFTER_SECONDS);
        }
        reply
    }
}

/// The challenge that every refusal of a credential begins with.
const REALM: &str = "Bearer realm=\"keygate\"";

/// The header in which a request names its workspace.
pub const WORKSPACE_HEADER: &str = "X-Workspace-ID";

/// How long to wait after a 503. An Authority that is being replaced is back within a second or two.
const RETRY_AFTER_SECONDS: &str = "1";
