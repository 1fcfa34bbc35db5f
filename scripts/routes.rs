//! What `scripts/routes` prints: the route table as it is compiled in, and which of its rules a request hits.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "this is a program for people")]

use std::fmt::Write as _;
use std::process::ExitCode;

use keygate::policy::{CanonicalPath, Catalogue, RouteTable, Rule};

const USAGE: &str = "usage: scripts/routes check METHOD PATH | scripts/routes list";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let answer = match arguments[..] {
        ["check", method, path] => check(RouteTable::compiled(), method, path),
        ["list"] => Answer::Found(list(RouteTable::compiled(), Catalogue::compiled())),
        _ => Answer::Wrong(USAGE.to_owned()),
    };
    match answer {
        Answer::Found(text) => {
            println!("{text}");
            ExitCode::SUCCESS
        }
        Answer::NoRoute(text) => {
            println!("{text}");
            ExitCode::from(1)
        }
        Answer::Wrong(text) => {
            eprintln!("{text}");
            ExitCode::from(2)
        }
    }
}

#[derive(Debug, PartialEq)]
enum Answer {
    /// Exit code 0.
    Found(String),
    /// Exit code 1.
    NoRoute(String),
    /// Exit code 2.
    Wrong(String),
}

fn check(table: &RouteTable, method: &str, target: &str) -> Answer {
    let (path, _query) = target.split_once('?').unwrap_or((target, ""));
    let path = match CanonicalPath::parse(path) {
        Ok(path) => path,
        Err(error) => return Answer::Wrong(format!("400: {path:?}, {error}")),
    };
    match (table.find(method, path), table.nearest(path)) {
        (Some(rule), _) => Answer::Found(described(rule)),
        (None, Some(nearest)) => Answer::NoRoute(format!("no route: 404; the nearest is {}", head(nearest))),
        (None, None) => Answer::NoRoute("no route: 404; the table is empty".to_owned()),
    }
}

fn head(rule: &Rule) -> String {
    format!("line {}: {} {}", rule.line(), rule.methods(), rule.pattern())
}

fn described(rule: &Rule) -> String {
    let mut text = head(rule);
    // Writing to a `String` cannot fail.
    let mut line = |name: &str, value: &str| {
        let _ = write!(text, "\n  {name:<12} {value}");
    };
    let Some(demand) = rule.demand() else {
        line("public", "passed on without looking at any credential");
        return text;
    };
    let scopes = demand.scopes.iter().map(|scope| scope.as_str()).collect::<Vec<_>>().join(" ");
    line("scopes", if scopes.is_empty() { "none: any valid key" } else { &scopes });
    line("workspace", if demand.workspace_required { "needed" } else { "not needed" });
    line("feature", demand.feature.as_deref().unwrap_or("none"));
    line("environment", demand.environment.map_or("live and test", |environment| environment.as_str()));
    line("strict", if demand.strict { "yes: the Authority is asked in every request" } else { "no" });
    line("public", "no");
    text
}

fn list(table: &RouteTable, catalogue: &Catalogue) -> String {
    let routes = table.rules().iter().map(described);
    let scopes = catalogue.entries().iter().map(|entry| {
        format!("scope {}: {}\n  {:<12} {}", entry.resource, entry.description, "verbs", entry.verbs.join(" "))
    });
    let all: Vec<String> = routes.chain(scopes).collect();
    if all.is_empty() { "the table is empty: every request is answered 404".to_owned() } else { all.join("\n") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use keygate::policy::{Demand, Methods, Pattern, Scope};

    fn table() -> RouteTable {
        let parts = |method: &str, path: &str| (Methods::parse([method]).unwrap(), Pattern::parse(path).unwrap());
        let (methods, pattern) = parts("GET", "/v1/contacts/{id}");
        let demand = Demand {
            scopes: vec![Scope::parse("contacts:read").unwrap(), Scope::parse("notes:read").unwrap()].into(),
            environment: Some("test".parse().unwrap()),
            strict: true,
            workspace_required: true,
            feature: Some("beta".into()),
            ..Demand::default()
        };
        let all = Rule::new(methods, pattern, demand).in_line(3);
        let (methods, pattern) = parts("*", "/v1/me");
        let nothing = Rule::new(methods, pattern, Demand::default()).in_line(9);
        let (methods, pattern) = parts("POST", "/v1/hooks/{rest...}");
        RouteTable::new(vec![all, nothing, Rule::public(methods, pattern).in_line(12)])
    }

    #[test]
    fn the_rule_that_is_hit_is_explained_in_full() {
        let Answer::Found(text) = check(&table(), "HEAD", "/v1/contacts/1?q=2") else { panic!() };
        assert_eq!(
            text,
            "line 3: GET, HEAD /v1/contacts/{id}
  scopes       contacts:read notes:read
  workspace    needed
  feature      beta
  environment  test
  strict       yes: the Authority is asked in every request
  public       no"
        );
        let Answer::Found(text) = check(&table(), "PUT", "/v1/me") else { panic!() };
        assert!(
            text.contains("scopes       none: any valid key\n  workspace    not needed\n  feature      none"),
            "{text}"
        );
        let public = "line 12: POST /v1/hooks/{rest...}\n  public       passed on without looking at any credential";
        assert_eq!(check(&table(), "POST", "/v1/hooks/a/b"), Answer::Found(public.to_owned()));
    }

    #[test]
    fn where_no_rule_is_the_nearest_is_named() {
        let no_route = |text: &str| Answer::NoRoute(format!("no route: 404; the nearest is {text}"));
        assert_eq!(check(&table(), "PUT", "/v1/contacts/1"), no_route("line 3: GET, HEAD /v1/contacts/{id}"));
        assert_eq!(check(&table(), "GET", "/v1/mee"), no_route("line 9: * /v1/me"));
        let empty = RouteTable::new(Vec::new());
        assert_eq!(check(&empty, "GET", "/"), Answer::NoRoute("no route: 404; the table is empty".to_owned()));
    }

    #[test]
    fn a_path_that_is_answered_400_is_no_path() {
        let Answer::Wrong(text) = check(&table(), "GET", "/v1/../me") else { panic!() };
        assert!(text.starts_with("400: \"/v1/../me\", "), "{text}");
    }

    #[test]
    fn the_list_has_every_rule_in_its_order() {
        let text = list(&table(), &Catalogue::default());
        let heads: Vec<&str> = text.lines().filter(|line| line.starts_with("line ")).collect();
        assert_eq!(
            heads,
            ["line 3: GET, HEAD /v1/contacts/{id}", "line 9: * /v1/me", "line 12: POST /v1/hooks/{rest...}"]
        );
    }
}
