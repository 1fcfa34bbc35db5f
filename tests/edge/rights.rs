//! From signed copies to what goes over the wire: fields, workspaces, features, and refusals that say why.

use keygate::{
    authority::copy::{AccountCopy, GrantCopy},
    credential::WorkspaceId,
    edge::{Evidence, Step, Verdict, Verification},
    http::{Problem, Reply, identity_headers},
    policy::{Account, Decision, Demand, Fields, Grant, KeyStatus, Scope, ScopeSet, UnixMillis, Workspace},
};

use super::{
    isolate::{Isolate, Tenant, is_denied},
    support::Shard,
};

/// What comes of a key whose grant and account are these.
struct Case {
    shard: Shard,
    tenant: Tenant,
    grant: GrantCopy,
    account: AccountCopy,
}

const VIENNA: WorkspaceId = WorkspaceId::from_bytes([1; 8]);

impl Case {
    fn new(edit: impl FnOnce(&mut Grant, &mut Account)) -> Self {
        let shard = Shard::new();
        let tenant = Tenant::new(&shard, "Acme");
        let (grant, account) = tenant.copies(&shard);
        let mut grant = GrantCopy::verify(&shard.signing, &tenant.key.digest, &grant).unwrap();
        let mut account = AccountCopy::verify(&shard.signing, tenant.account, &account).unwrap();
        edit(&mut grant.grant, &mut account.account);
        Case { shard, tenant, grant, account }
    }

    fn decide(&self, demand: Demand) -> Decision {
        let mut isolate = Isolate::synced(&self.shard);
        let mut verification = Verification::new(self.tenant.key, demand);
        assert_eq!(verification.next(&mut isolate.view, self.shard.now()), Step::ReadMirror);
        let grant = self.grant.sign(&self.shard.signing, &self.tenant.key.digest).unwrap();
        let account = self.account.sign(&self.shard.signing).unwrap();
        let evidence = Some(Evidence { grant: Some(&grant), account: Some(&account) });
        match verification.mirror_read(&mut isolate.view, &self.shard.signing, evidence, self.shard.now()) {
            Step::Done(Verdict::Decided(decision)) => decision,
            step => panic!("{step:?}"),
        }
    }

    fn headers(&self, demand: Demand) -> Vec<(&'static str, String)> {
        match self.decide(demand) {
            Decision::Allow(principal) => identity_headers(&principal),
            Decision::Deny(denial) => panic!("{denial:?}"),
        }
    }

    fn refusal(&self) -> Reply {
        let decision = self.decide(Demand::default());
        assert!(is_denied(&Verdict::Decided(decision.clone())));
        let Decision::Deny(denial) = decision else { panic!("allowed") };
        Problem::denial(&denial).reply()
    }
}

fn of(scopes: &[&str]) -> Demand {
    let scopes = scopes.iter().map(|scope| Scope::parse(scope).unwrap()).collect::<Vec<_>>();
    Demand { scopes: scopes.into(), ..Demand::default() }
}

fn header(headers: &[(&'static str, String)], name: &str) -> Option<String> {
    headers.iter().find(|(given, _)| *given == name).map(|(_, value)| value.clone())
}

#[test]
fn the_upstream_is_given_the_fields_of_what_is_demanded_and_no_others() {
    let case = Case::new(|grant, _| {
        grant.scopes = ScopeSet::parse(["contacts:read", "jobs:read", "reports:read"]).unwrap();
        grant.fields = Fields::new([("contacts", vec!["name", "email"]), ("jobs", vec!["title"])]).unwrap();
    });
    for (scopes, fields) in [
        (&["contacts:read"][..], Some(r#"{"contacts":["name","email"]}"#)),
        (&["jobs:read"], Some(r#"{"jobs":["title"]}"#)),
        (&["contacts:read", "jobs:read"], Some(r#"{"contacts":["name","email"],"jobs":["title"]}"#)),
        (&["reports:read"], None),
        (&[], None),
    ] {
        assert_eq!(header(&case.headers(of(scopes)), "x-keygate-fields").as_deref(), fields, "{scopes:?}");
    }
}

#[test]
fn the_upstream_is_given_workspace_and_features_where_there_are_any() {
    let case = Case::new(|grant, account| {
        account.workspaces = vec![Workspace { id: VIENNA, name: "Vienna".into() }];
        account.features = vec!["beta".into(), "exports".into()];
        grant.workspaces = Some(vec![VIENNA]);
    });
    let headers = case.headers(Demand { workspace_required: true, ..Demand::default() });
    assert_eq!(header(&headers, "x-keygate-workspace-id").as_deref(), Some("ws_0101010101010101"));
    assert_eq!(header(&headers, "x-keygate-features").as_deref(), Some("beta exports"));
    let headers = Case::new(|_, _| ()).headers(Demand::default());
    for name in ["x-keygate-workspace-id", "x-keygate-features", "x-keygate-fields"] {
        assert_eq!(header(&headers, name), None, "{name}");
    }
}

#[test]
fn why_a_key_is_refused_its_holder_learns_only_where_the_account_has_it_so() {
    type Fault = fn(&mut Grant);
    let faults: [(Fault, &str); 3] = [
        (|grant| grant.status = KeyStatus::Revoked, "key_revoked"),
        (|grant| grant.status = KeyStatus::Disabled, "key_disabled"),
        (|grant| grant.expires_at = Some(UnixMillis::EPOCH), "key_expired"),
    ];
    let constant = Problem::invalid_token().reply();
    for (bring_about, code) in faults {
        let silent = Case::new(|grant, _| bring_about(grant)).refusal();
        assert_eq!(silent, constant, "{code}");
        let explained = Case::new(|grant, account| {
            bring_about(grant);
            account.explain_refusals = true;
        });
        let reply = explained.refusal();
        assert_eq!(reply.status, 401);
        assert!(reply.body.contains(&format!("\"code\":\"{code}\"")), "{}", reply.body);
    }
    let later = Case::new(|grant, account| {
        grant.not_before = Some(UnixMillis::MAX);
        account.explain_refusals = true;
    });
    assert_eq!(later.refusal(), constant, "not before its time: that it is genuine is not told");
}
