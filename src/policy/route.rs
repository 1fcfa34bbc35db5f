//! The route table: what each request of the protected API demands.

use std::borrow::Cow;

use super::catalogue::{Catalogue, distance};
use super::demand::Demand;
use super::methods::Methods;
use super::path::CanonicalPath;
use super::pattern::Pattern;

/// Rules, of which the first that matches a request decides. A request that none matches is refused: the table says what
/// may pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteTable {
    rules: Cow<'static, [Rule]>,
}

impl RouteTable {
    /// The table of `routes.toml`, checked and compiled in by the build script.
    pub fn compiled() -> &'static Self {
        &COMPILED
    }

    /// A table made at run time. Unlike the build script, this does not check that each rule can be reached.
    pub fn new(rules: Vec<Rule>) -> Self {
        Self { rules: Cow::Owned(rules) }
    }

    /// The first rule that covers the request. `path` without the query. Allocates nothing.
    pub fn find(&self, method: &str, path: CanonicalPath<'_>) -> Option<&Rule> {
        let method = Methods::of_request(method);
        self.rules.iter().find(|rule| rule.methods.intersects(method) && rule.pattern.matches(path.as_str()))
    }

    /// For a request that no rule covers, the rule that was most likely meant: one with its path, or else the one whose
    /// pattern looks most like its path.
    pub fn nearest(&self, path: CanonicalPath<'_>) -> Option<&Rule> {
        let same = self.rules.iter().find(|rule| rule.pattern.matches(path.as_str()));
        same.or_else(|| self.rules.iter().min_by_key(|rule| distance(rule.pattern.as_str(), path.as_str())))
    }

    /// The rules, in file order.
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }
}

/// One rule: which requests it covers, and what it demands of their keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    line: u32,
    methods: Methods,
    pattern: Pattern,
    demand: Option<Demand>,
}

impl Rule {
    /// Covers requests with one of `methods` and a path that matches `pattern`.
    pub fn new(methods: Methods, pattern: Pattern, demand: Demand) -> Self {
        Self { line: 0, methods, pattern, demand: Some(demand) }
    }

    /// Lets such requests pass without looking at any credential.
    pub fn public(methods: Methods, pattern: Pattern) -> Self {
        Self { line: 0, methods, pattern, demand: None }
    }

    /// The same, as it stands in this line of the table.
    #[must_use]
    pub fn in_line(self, line: u32) -> Self {
        Self { line, ..self }
    }

    /// Where in the table it stands, counted from 1; 0 where it was made at run time.
    pub fn line(&self) -> u32 {
        self.line
    }

    /// Which methods it covers.
    pub fn methods(&self) -> Methods {
        self.methods
    }

    /// Which paths it covers.
    pub fn pattern(&self) -> &Pattern {
        &self.pattern
    }

    /// What it demands; `None`: it is public.
    pub fn demand(&self) -> Option<&Demand> {
        self.demand.as_ref()
    }
}

static COMPILED: RouteTable = RouteTable { rules: Cow::Borrowed(&compiled::RULES) };

static COMPILED_CATALOGUE: Catalogue = Catalogue::compiled_in(&compiled::CATALOGUE);

impl Catalogue {
    /// The catalogue of `routes.toml`, checked and compiled in by the build script.
    pub fn compiled() -> &'static Self {
        &COMPILED_CATALOGUE
    }
}

/// Written by the build script: `RULES` and `CATALOGUE`, and what they refer to.
#[allow(unused_imports, reason = "a table need not have an environment, or any rule")]
mod compiled {
    use std::borrow::Cow;

    use super::{Demand, Methods, Pattern, Rule};
    use crate::credential::Environment;
    use crate::policy::catalogue::CatalogueEntry;
    use crate::policy::scope::Scope;

    include!(concat!(env!("OUT_DIR"), "/routes.rs"));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::credential::Environment;
    use crate::policy::route_source::{self, RuleEnvironment, RuleSource};

    fn from_source(rule: RuleSource) -> Rule {
        let line = u32::try_from(rule.line).unwrap();
        let Some(demand) = rule.demand else { return Rule::public(rule.methods, rule.pattern).in_line(line) };
        let environment = demand.environment.map(|environment| match environment {
            RuleEnvironment::Live => Environment::Live,
            RuleEnvironment::Test => Environment::Test,
        });
        let demand = Demand {
            scopes: demand.scopes.into(),
            environment,
            strict: demand.strict,
            workspace_required: demand.workspace,
            feature: demand.feature.map(Cow::Owned),
            ..Demand::default()
        };
        Rule::new(rule.methods, rule.pattern, demand).in_line(line)
    }

    fn table(text: &str) -> RouteTable {
        RouteTable::new(route_source::parse(text).unwrap().rules.into_iter().map(from_source).collect())
    }

    fn found<'t>(table: &'t RouteTable, method: &str, path: &str) -> Option<&'t str> {
        table.find(method, CanonicalPath::parse(path).unwrap()).map(|rule| rule.pattern().as_str())
    }

    /// The build script and the parser agree on what the table says.
    #[test]
    fn the_compiled_table_is_the_text() {
        let text = include_str!(env!("KEYGATE_ROUTES_FILE"));
        assert_eq!(*RouteTable::compiled(), table(text));
        assert_eq!(*Catalogue::compiled(), route_source::parse(text).unwrap().catalogue);
    }

    #[test]
    fn the_first_match_wins() {
        let table = table(
            r#"
            [[route]]
            method = "GET"
            path = "/v1/contacts/export"
            scopes = ["contacts:download"]
            [[route]]
            method = "GET"
            path = "/v1/contacts/{id}"
            scopes = ["contacts:read"]
            environment = "live"
            [[route]]
            method = "DELETE"
            path = "/v1/contacts/{id}"
            scopes = ["contacts:delete"]
            strict = true
            [[route]]
            method = "*"
            path = "/v1/{rest...}"
            scopes = []
            "#,
        );
        assert_eq!(found(&table, "GET", "/v1/contacts/export"), Some("/v1/contacts/export"));
        assert_eq!(found(&table, "HEAD", "/v1/contacts/export"), Some("/v1/contacts/export"));
        assert_eq!(found(&table, "GET", "/v1/contacts/1"), Some("/v1/contacts/{id}"));
        assert_eq!(found(&table, "POST", "/v1/contacts/export"), Some("/v1/{rest...}"));
        assert_eq!(found(&table, "PROPFIND", "/v1/contacts/1"), Some("/v1/{rest...}"));
        assert_eq!(found(&table, "GET", "/v1"), None);
        assert_eq!(found(&table, "GET", "/v1/"), None);
        assert_eq!(found(&table, "GET", "/v2/contacts"), None);
        let demand = table.rules()[1].demand().unwrap();
        assert_eq!(demand.environment, Some(Environment::Live));
        assert_eq!(demand.scopes.iter().map(ToString::to_string).collect::<Vec<_>>(), ["contacts:read"]);
        assert_eq!(
            table.rules().iter().map(|rule| rule.demand().unwrap().strict).collect::<Vec<_>>(),
            [false, false, true, false]
        );
        assert_eq!(*table.rules()[3].demand().unwrap(), Demand::default());
    }

    #[test]
    fn an_empty_table_covers_nothing() {
        let table = RouteTable::new(Vec::new());
        assert_eq!(found(&table, "GET", "/"), None);
    }
}
