//! Which part of Keygate a path belongs to.

/// Where a request goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Endpoint<'a> {
    /// The verdict on a key, for whoever asks.
    Verify,
    /// The principal behind a key, as JSON.
    Whoami,
    /// The workspaces that a key may use, as JSON.
    Workspaces,
    /// A successor for the key that the request brings.
    Rotate,
    /// Whether this Worker runs at all.
    Health,
    /// The description of this API, for programs.
    OpenApi,
    /// The admin API; what follows is the path behind `admin/v1/`.
    Admin(&'a str),
    /// Under our prefix, but nothing.
    Nothing,
    /// The API that Keygate stands in front of.
    Api,
}

impl<'a> Endpoint<'a> {
    /// Sorts a path. `prefix` begins with a slash and ends without one.
    #[must_use]
    pub fn of(prefix: &str, path: &'a str) -> Self {
        let Some(rest) = path.strip_prefix(prefix) else { return Endpoint::Api };
        match rest {
            "/verify" => Endpoint::Verify,
            "/whoami" => Endpoint::Whoami,
            "/workspaces" => Endpoint::Workspaces,
            "/rotate" => Endpoint::Rotate,
            "/healthz" => Endpoint::Health,
            "/openapi.json" => Endpoint::OpenApi,
            "" => Endpoint::Nothing,
            _ => match rest.strip_prefix("/admin/v1/") {
                Some(admin) => Endpoint::Admin(admin),
                None if rest.starts_with('/') => Endpoint::Nothing,
                None => Endpoint::Api,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_segments_of_the_prefix_are_ours() {
        assert_eq!(Endpoint::of("/_keygate", "/_keygate/verify"), Endpoint::Verify);
        assert_eq!(Endpoint::of("/_keygate", "/_keygate"), Endpoint::Nothing);
        assert_eq!(Endpoint::of("/_keygate", "/_keygate/verify/x"), Endpoint::Nothing);
        assert_eq!(Endpoint::of("/_keygate", "/_keygates"), Endpoint::Api);
        assert_eq!(Endpoint::of("/_keygate", "/_keygate/admin/v1/accounts"), Endpoint::Admin("accounts"));
        assert_eq!(Endpoint::of("/_keygate", "/_keygate/admin/v2/accounts"), Endpoint::Nothing);
        assert_eq!(Endpoint::of("/_keygate", "/x/_keygate/verify"), Endpoint::Api);
    }
}
