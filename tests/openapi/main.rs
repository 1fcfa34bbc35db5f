//! The description of the API (src/http/openapi.json) is made here from what the product says of itself, and is held
//! against what it does: routes, members, parameters, bounds, codes.
//!
//! After a change of the API, `KEYGATE_WRITE_OPENAPI=1 cargo nextest run --test openapi` writes it anew.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, clippy::string_slice)]

#[allow(dead_code, reason = "the database is used, the rest of what the tests of the Authority need is not")]
#[path = "../authority/support.rs"]
mod support;

mod answered;
mod components;
mod document;
mod given;
mod values;
mod wire;

use std::{collections::BTreeSet, fs};

use keygate::http::{Endpoint, admin::AdminRequest};
use serde_json::{Value, json};

use values::example;
use wire::{Api, Request, UNKNOWN, refusal, understood};

#[test]
fn the_committed_document_is_what_the_product_says_of_itself() {
    let made = document::document().to_string();
    if std::env::var_os("KEYGATE_WRITE_OPENAPI").is_some() {
        fs::write(FILE, &made).unwrap();
    }
    let committed = fs::read_to_string(FILE).unwrap();
    let hint = "src/http/openapi.json is out of date: KEYGATE_WRITE_OPENAPI=1 cargo nextest run --test openapi";
    assert_eq!(
        serde_json::from_str::<Value>(&committed).unwrap(),
        serde_json::from_str::<Value>(&made).unwrap(),
        "{hint}"
    );
    assert_eq!(committed, made, "{hint}");
}

#[test]
fn it_has_every_route_of_the_admin_api_and_no_other() {
    let api = Api::new();
    let described: BTreeSet<(String, String)> =
        operations().into_iter().filter_map(|it| it.admin_path().map(|path| (path, it.method))).collect();
    // Every word that a path could have: those of the code, and ids.
    let source = [
        include_str!("../../src/http/admin/request.rs"),
        include_str!("../../src/http/admin/workspaces.rs"),
        include_str!("../../src/http/admin/plans.rs"),
    ]
    .concat();
    // In routes and prefixes; the words of a path stand between its slashes.
    let quoted = source.lines().flat_map(|line| line.split('"').skip(1).step_by(2));
    let routes = quoted.filter(|text| ["accounts", "platform"].contains(text) || text.contains('/'));
    let in_path =
        |word: &&str| !word.is_empty() && word.bytes().all(|byte| b".-".contains(&byte) || byte.is_ascii_lowercase());
    let mut words: BTreeSet<String> =
        routes.flat_map(|text| text.split('/').filter(in_path)).map(str::to_owned).collect();
    assert!(words.len() >= 5, "the test no longer recognises a route: {words:?}");
    words.extend(["{account_id}", "{key_id}", "{workspace_id}", "{plan_id}", "{external_id}"].map(str::to_owned));

    let mut found = BTreeSet::new();
    let mut paths = vec![String::new()];
    for _ in 0..6 {
        paths = paths
            .iter()
            .flat_map(|path| words.iter().map(move |word| format!("{path}/{word}")))
            .filter(|path| path.matches("_id}").count() <= 2)
            // Every word is an external id, and an external id is nothing else.
            .filter(|path| path.contains("/{external_id}") == path.contains("/by-external-id/"))
            .collect();
        for path in &paths {
            for method in wire::methods(&api, &document::concrete(&path[1..])) {
                found.insert((path[1..].to_owned(), method));
            }
        }
        // Behind anything else nothing is looked at: all of it would be minutes.
        let goes_on = |path: &str| path == "/accounts" || path == "/accounts/by-external-id";
        paths.retain(|path| goes_on(path) || path.starts_with("/accounts/{account_id}"));
    }
    assert_eq!(described, found);
}

#[test]
fn it_has_every_other_endpoint() {
    let source = include_str!("../../src/http/endpoint.rs");
    let (_, arms) = source.split_once("match rest {").unwrap();
    let arms = arms.split("mod tests").next().unwrap().lines().filter(|line| line.contains("=> Endpoint::"));
    let of_the_code: BTreeSet<&str> = arms
        .filter_map(|arm| arm.trim().strip_prefix('"')?.split('"').next())
        .filter(|path| !path.is_empty())
        .collect();
    let described: BTreeSet<String> =
        operations().into_iter().filter(|it| it.admin_path().is_none()).map(|it| it.path).collect();
    assert_eq!(described.iter().map(String::as_str).collect::<BTreeSet<_>>(), of_the_code);
    for path in described {
        let whole = format!("/_keygate{path}");
        assert!(!matches!(Endpoint::of("/_keygate", &whole), Endpoint::Nothing | Endpoint::Api), "{path}");
    }
}

#[test]
fn a_body_with_all_members_is_understood_and_each_required_one_is_needed() {
    let api = Api::new();
    for (it, schema) in bodies() {
        let body = example(&schema);
        it.with(|request| assert!(understood(&api.parse(Request { body: Some(&body), ..request })), "{it:?}"));
        let required = schema["required"].as_array().cloned().unwrap_or_default();
        for name in required.iter().map(|name| name.as_str().unwrap()) {
            let mut body = body.clone();
            body.as_object_mut().unwrap().remove(name);
            it.with(|request| {
                let refused = refusal(api.parse(Request { body: Some(&body), ..request }));
                assert_eq!(refused["detail"], format!("{name} is missing."), "{it:?}");
            });
        }
        // Those that are not required are not missed.
        let least: Value = body
            .as_object()
            .unwrap()
            .iter()
            .filter(|(name, _)| required.contains(&json!(name)))
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect();
        it.with(|request| assert!(understood(&api.parse(Request { body: Some(&least), ..request })), "{it:?}"));
    }
}

#[test]
fn a_member_that_the_document_does_not_have_is_refused_with_those_that_it_has() {
    let api = Api::new();
    for (it, schema) in bodies() {
        let mut body = example(&schema);
        body[UNKNOWN] = json!(1);
        it.with(|request| {
            let refused = refusal(api.parse(Request { body: Some(&body), ..request }));
            assert_eq!(refused["field"], UNKNOWN);
            let described: Vec<&String> = schema["properties"].as_object().unwrap().keys().collect();
            assert_eq!(named(&refused), described.into_iter().cloned().collect(), "{it:?}");
        });
    }
}

#[test]
fn null_is_understood_where_the_document_has_it_and_nowhere_else() {
    let api = Api::new();
    for (it, schema) in bodies() {
        for (name, of_member) in schema["properties"].as_object().unwrap() {
            let mut body = example(&schema);
            body[name] = Value::Null;
            let described = of_member["type"].as_array().is_some_and(|types| types.contains(&json!("null")));
            it.with(|request| {
                assert_eq!(
                    understood(&api.parse(Request { body: Some(&body), ..request })),
                    described,
                    "{name} of {it:?}"
                );
            });
        }
    }
}

#[test]
fn query_parameters_are_those_of_the_document_with_its_bounds() {
    let api = Api::new();
    for it in operations().iter().filter(|it| it.admin_path().is_some()) {
        let parameters = it.query_parameters();
        let body = it.body().map(|schema| example(&schema));
        let ask = |query: &str| it.with(|request| api.parse(Request { query, body: body.as_ref(), ..request }));
        let needed = parameters.iter().filter(|parameter| parameter["required"] == true);
        let needed: Vec<(&str, Value)> =
            needed.map(|parameter| (parameter["name"].as_str().unwrap(), example(&parameter["schema"]))).collect();
        for (name, _) in &needed {
            assert_eq!(refusal(ask(""))["field"], *name, "{it:?}");
        }
        let refused = refusal(ask(&format!("{UNKNOWN}=1")));
        assert_eq!(refused["field"], UNKNOWN, "{it:?}");
        let described: BTreeSet<String> = parameters.iter().map(|it| it["name"].as_str().unwrap().to_owned()).collect();
        assert_eq!(named(&refused), described, "{it:?}");
        for parameter in &parameters {
            let (name, schema) = (parameter["name"].as_str().unwrap(), &parameter["schema"]);
            let others: String = needed
                .iter()
                .filter(|(needed, _)| *needed != name)
                .map(|(needed, value)| format!("&{needed}={}", value.as_str().unwrap()))
                .collect();
            let fits = |value: &str| understood(&ask(&format!("{name}={value}{others}")));
            match schema["type"].as_str().unwrap() {
                "integer" => {
                    let (min, max) = (schema["minimum"].as_i64().unwrap(), schema["maximum"].as_i64().unwrap());
                    assert!(fits(&min.to_string()) && fits(&max.to_string()), "{name}");
                    assert!(!fits(&(min - 1).to_string()) && !fits(&(max + 1).to_string()), "{name}");
                }
                _ if schema["enum"].is_array() => {
                    let words = schema["enum"].as_array().unwrap();
                    assert!(words.iter().all(|word| fits(word.as_str().unwrap())), "{name}");
                    assert!(!fits(UNKNOWN), "{name}");
                }
                _ if name == "cursor" => assert!(fits(&format!("{}-", support::SLOT)) && !fits("x")),
                _ => assert!(fits(example(schema).as_str().unwrap()), "{name}"),
            }
        }
    }
}

#[test]
fn what_may_wait_says_when_it_counts_and_nothing_else_does() {
    let api = Api::new();
    let document = committed();
    let mut waiting = 0;
    for it in operations().iter().filter(|it| it.admin_path().is_some()) {
        let may_wait = it.query_parameters().iter().any(|parameter| parameter["name"] == "wait");
        let success = ["200", "201"].into_iter().find_map(|status| it.operation["responses"].get(status)).unwrap();
        // A picture says nothing.
        let answer = success["content"]["application/json"]["schema"]["$ref"].as_str().unwrap_or("#");
        let required = document.pointer(&format!("{}/required", &answer[1..])).cloned().unwrap_or_default();
        let says = required.as_array().is_some_and(|names| names.contains(&json!("effective_by")));
        assert_eq!(may_wait, says, "{it:?}");
        waiting += u32::from(may_wait);
        let body = it.body().map(|schema| example(&schema));
        let waits = |query: &str| {
            it.with(|request| match api.parse(Request { query, body: body.as_ref(), ..request }) {
                Ok(AdminRequest::Do(order)) => Some(order.wait),
                _ => None,
            })
        };
        if may_wait {
            assert_eq!((waits(""), waits("wait=effective")), (Some(false), Some(true)), "{it:?}");
            assert_eq!((waits("wait="), waits("wait=mirrored")), (None, None), "{it:?}");
        }
    }
    assert_eq!(waiting, 13);
}

#[test]
fn bounds_of_members_are_those_of_the_document() {
    let api = Api::new();
    for (it, schema) in bodies() {
        for (name, of_member) in schema["properties"].as_object().unwrap() {
            let fits = |value: Value| {
                let mut body = example(&schema);
                body[name] = value;
                it.with(|request| understood(&api.parse(Request { body: Some(&body), ..request })))
            };
            if let Some(max) = of_member["maxLength"].as_u64() {
                let of = |length: u64| json!("é".repeat(usize::try_from(length).unwrap()));
                assert!(fits(of(max)) && !fits(of(max + 1)), "{name} of {it:?}");
            }
            if let Some(max) = of_member["maximum"].as_u64() {
                let min = of_member["minimum"].as_i64().unwrap();
                assert!(
                    fits(json!(min)) && fits(json!(max)) && !fits(json!(min - 1)) && !fits(json!(max + 1)),
                    "{name}"
                );
            }
            if let Some(max) = of_member["maxItems"].as_u64() {
                let of = |length: u64| json!((0..length).map(|n| format!("f{n}")).collect::<Vec<_>>());
                assert!(fits(of(max)) && !fits(of(max + 1)), "{name} of {it:?}");
            }
            for word in of_member["enum"].as_array().into_iter().flatten().filter(|word| word.is_string()) {
                assert!(fits(word.clone()), "{name} of {it:?}");
            }
            // Nor is a word that is right elsewhere.
            if let Some(words) = of_member["enum"].as_array() {
                for word in ["live", "test", "admin", "viewer", "active", "suspended", "unique"].map(Value::from) {
                    assert!(words.contains(&word) || !fits(word.clone()), "{word} as {name} of {it:?}");
                }
            }
            if of_member["enum"].is_array() || of_member["format"].is_string() {
                assert!(!fits(json!(UNKNOWN)), "{name} of {it:?}");
            }
            // A pattern that ends in a number of repetitions is a bound, too.
            if let Some((start, most)) = of_member["pattern"].as_str().and_then(repetitions) {
                let of = |length: usize| json!(format!("{start}{}", "a".repeat(length)));
                assert!(fits(of(most)) && !fits(of(most + 1)), "{name} of {it:?}");
            }
        }
    }
}

#[test]
fn every_code_is_in_the_document() {
    let document = committed();
    let codes = components::codes();
    let names: Vec<&str> = codes.iter().map(|code| code.parts().0).collect();
    assert_eq!(document["components"]["schemas"]["Problem"]["properties"]["code"]["enum"], json!(names));
    for code in codes {
        let (name, status, title) = code.parts();
        let schema = &document["components"]["responses"][title.replace(' ', "")]["content"]["application/problem+json"]
            ["schema"];
        assert_eq!(schema["properties"]["status"]["const"], status);
        assert!(schema["properties"]["code"]["enum"].as_array().unwrap().contains(&json!(name)), "{name}");
    }
}

#[test]
fn operations_have_names_of_their_own_and_parameters_for_their_paths() {
    let mut names = BTreeSet::new();
    for it in operations() {
        assert!(names.insert(it.operation["operationId"].to_string()), "{it:?}");
        assert_eq!(it.path.contains("{account_id}"), it.parameters().iter().any(|it| it["name"] == "account_id"));
        assert_eq!(it.path.contains("{key_id}"), it.parameters().iter().any(|it| it["name"] == "key_id"));
        let named = it.parameters().iter().any(|it| it["name"] == "external_id" && it["in"] == "path");
        assert_eq!(it.path.contains("{external_id}"), named);
        assert_eq!(it.path.contains("{plan_id}"), it.parameters().iter().any(|it| it["name"] == "plan_id"));
        assert_eq!(it.path.contains("{workspace_id}"), it.parameters().iter().any(|it| it["name"] == "workspace_id"));
    }
}

/// An operation of the committed document.
#[derive(Clone, Debug)]
struct Described {
    method: String,
    path: String,
    operation: Value,
    shared: Vec<Value>,
}

impl Described {
    /// Behind `/admin/v1/`.
    fn admin_path(&self) -> Option<String> {
        self.path.strip_prefix("/admin/v1/").map(str::to_owned)
    }

    /// The schema of its body, or of the first kind that there is.
    fn body(&self) -> Option<Value> {
        self.kinds_of_body().into_iter().next()
    }

    fn kinds_of_body(&self) -> Vec<Value> {
        let schema = &self.operation["requestBody"]["content"]["application/json"]["schema"];
        let kinds = schema["oneOf"].as_array().cloned();
        kinds.unwrap_or_else(|| if schema.is_null() { Vec::new() } else { vec![schema.clone()] })
    }

    fn parameters(&self) -> Vec<Value> {
        let own = self.operation["parameters"].as_array().cloned().unwrap_or_default();
        self.shared.iter().cloned().chain(own).map(resolved).collect()
    }

    fn query_parameters(&self) -> Vec<Value> {
        self.parameters().into_iter().filter(|parameter| parameter["in"] == "query").collect()
    }

    fn with<T>(&self, run: impl FnOnce(Request<'_>) -> T) -> T {
        match self.admin_path() {
            Some(path) => run(Request::new(&self.method, &document::concrete(&path))),
            None => run(document::of_holder(&document::concrete(document::ROTATE))),
        }
    }
}

fn operations() -> Vec<Described> {
    let mut all = Vec::new();
    for (path, item) in committed()["paths"].as_object().unwrap() {
        let shared = item["parameters"].as_array().cloned().unwrap_or_default();
        for (method, operation) in item.as_object().unwrap().iter().filter(|(method, _)| *method != "parameters") {
            all.push(Described {
                method: method.to_uppercase(),
                path: path.clone(),
                operation: operation.clone(),
                shared: shared.clone(),
            });
        }
    }
    assert!(all.len() > 15);
    all
}

/// Every kind of body, with its operation.
fn bodies() -> Vec<(Described, Value)> {
    let kinds = |it: Described| it.kinds_of_body().into_iter().map(move |schema| (it.clone(), schema));
    operations().into_iter().flat_map(|it| kinds(it).collect::<Vec<_>>()).collect()
}

fn committed() -> Value {
    serde_json::from_str(&fs::read_to_string(FILE).unwrap()).unwrap()
}

/// What the Worker has in it.
const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/http/openapi.json");

fn resolved(part: Value) -> Value {
    match part["$ref"].as_str() {
        Some(reference) => committed().pointer(&reference[1..]).unwrap().clone(),
        None => part,
    }
}

/// The names that a refusal of an unknown one lists.
fn named(refusal: &Value) -> BTreeSet<String> {
    let (_, list) = refusal["detail"].as_str().unwrap().split_once("it takes ").unwrap();
    list.trim_end_matches('.').split(", ").filter(|name| *name != "none").map(str::to_owned).collect()
}

/// Of `^…[…]{n,m}$`, what a text must begin with, here nothing or a letter, and m.
fn repetitions(pattern: &str) -> Option<(&'static str, usize)> {
    let (before, most) = pattern.strip_suffix("}$")?.rsplit_once(',')?;
    let start = if before.starts_with("^[a-z][") { "a" } else { "" };
    Some((start, most.parse().ok()?))
}
