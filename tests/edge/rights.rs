//! From signed copies to what goes over the wire: fields, workspaces, features, and refusals that say why.

use proptest::prelude::*;

use keygate::{
    authority::copy::{AccountCopy, GrantCopy},
    credential::{Environment, WorkspaceId},
    edge::{Evidence, Missing, Step, Verdict, Verification},
    http::{Problem, Reply, identity_headers},
    policy::{
        Account, Address, AllowedIps, Decision, Demand, Fields, Grant, KeyStatus, Scope, ScopeSet, UnixMillis,
        Workspace,
    },
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
        self.decide_in(&mut Isolate::synced(&self.shard), demand)
    }

    fn decide_in(&self, isolate: &mut Isolate, demand: Demand) -> Decision {
        let mut verification = Verification::new(self.tenant.key, demand);
        match self.read_mirror(isolate, &mut verification) {
            Step::Done(Verdict::Decided(decision)) => decision,
            step => panic!("{step:?}"),
        }
    }

    /// What comes of the copies in KV.
    fn read_mirror(&self, isolate: &mut Isolate, verification: &mut Verification) -> Step {
        assert_eq!(verification.next(&mut isolate.view, self.shard.now()), Step::ReadMirror(Missing::Both));
        let grant = self.grant.sign(&self.shard.signing, &self.tenant.key.digest).unwrap();
        let account = self.account.sign(&self.shard.signing).unwrap();
        let evidence = Some(Evidence { grant: Some(&grant), account: Some(&account) });
        verification.mirror_read(&mut isolate.view, &self.shard.signing, evidence, self.shard.now())
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

fn some_scopes() -> impl Strategy<Value = Vec<Scope>> {
    let scope = prop::sample::select(vec!["contacts:read", "contacts:write", "jobs:read", "contacts:*", "*:read", "*"]);
    prop::collection::vec(scope, 0..3)
        .prop_map(|texts| texts.into_iter().map(|text| Scope::parse(text).unwrap()).collect())
}

fn some_workspaces() -> impl Strategy<Value = Vec<WorkspaceId>> {
    prop::sample::subsequence((1..4).map(|n| WorkspaceId::from_bytes([n; 8])).collect::<Vec<_>>(), 0..3)
}

prop_compose! {
    fn some_demand()(
        scopes in some_scopes(),
        environment in prop::option::of(prop::sample::select(vec![Environment::Live, Environment::Test])),
        workspace_required: bool,
        workspace in prop::option::weighted(0.3, 1..5_u8),
        feature in prop::option::weighted(0.3, prop::sample::select(vec!["beta", "exports"])),
        describe: bool,
    ) -> Demand {
        Demand {
            scopes: scopes.into(),
            environment,
            strict: false,
            workspace_required,
            workspace: workspace.map(|n| WorkspaceId::from_bytes([n; 8])),
            feature: feature.map(Into::into),
            describe,
        }
    }
}

proptest! {
    /// A request is answered at once where the isolate has what it takes, and otherwise after it has asked for it.
    #[test]
    fn what_is_decided_at_once_is_what_is_decided_the_full_way(
        status in prop::sample::select(vec![KeyStatus::Active, KeyStatus::Active, KeyStatus::Disabled, KeyStatus::Revoked]),
        times in prop::array::uniform2(prop::option::weighted(0.2, prop::sample::select(vec![UnixMillis::EPOCH, UnixMillis::MAX]))),
        held in some_scopes(),
        limits in prop::option::of(some_workspaces()),
        workspaces in some_workspaces(),
        (beta, explain_refusals, limited) in any::<(bool, bool, bool)>(),
        demand in some_demand(),
    ) {
        let case = Case::new(|grant, account| {
            grant.status = status;
            [grant.not_before, grant.expires_at] = times;
            grant.scopes = ScopeSet::parse(held.iter().map(Scope::as_str)).unwrap();
            grant.workspaces = limits.filter(|limits| !limits.is_empty());
            if limited {
                grant.fields = Fields::new([("contacts", vec!["name"])]).unwrap();
            }
            account.workspaces = workspaces.into_iter().map(|id| Workspace { id, name: "One".into() }).collect();
            account.features = if beta { vec!["beta".into()] } else { Vec::new() };
            account.explain_refusals = explain_refusals;
        });
        let mut isolate = Isolate::synced(&case.shard);
        let full_way = case.decide_in(&mut isolate, demand.clone());
        let at_once = Verification::new(case.tenant.key, demand).next(&mut isolate.view, case.shard.now());
        prop_assert_eq!(at_once, Step::Done(Verdict::Decided(full_way)));
    }
}

#[test]
fn where_a_request_comes_from_is_asked_for_only_where_it_matters() {
    let limited = Case::new(|grant, _| grant.allowed_ips = Some(AllowedIps::parse(["192.0.2.0/24"]).unwrap()));
    for (address, allowed) in [
        (Address::parse("192.0.2.7"), true),
        (Address::parse("::ffff:192.0.2.7"), true),
        (Address::parse("192.0.3.7"), false),
        (None, false),
    ] {
        let mut isolate = Isolate::synced(&limited.shard);
        let mut verification = Verification::new(limited.tenant.key, Demand::default());
        assert_eq!(limited.read_mirror(&mut isolate, &mut verification), Step::ReadAddress);
        verification.comes_from(address);
        let step = verification.next(&mut isolate.view, limited.shard.now());
        let Step::Done(Verdict::Decided(decision)) = step else { panic!("{step:?}") };
        assert_eq!(matches!(decision, Decision::Allow(_)), allowed, "{address:?}");
        if let Decision::Deny(denial) = &decision {
            let reply = Problem::denial(denial).reply();
            assert_eq!(reply.status, 403);
            assert!(reply.body.contains("\"code\":\"ip_not_allowed\""), "{}", reply.body);
        }
    }
}
