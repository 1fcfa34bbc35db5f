//! The admin API without a runtime: requests in, answers out. And what it says of itself when it is asked wrongly.

use std::cell::Cell;

use keygate::{
    authority::{
        admins::Caller,
        command::{self, Circumstances, Failure},
        lease::Terms,
        query::{self, Found, Query},
        schema,
    },
    credential::{Pepper, Peppers},
    http::{
        Problem, Reply,
        admin::{self, AdminRequest, Facts},
    },
    policy::{Catalogue, UnixMillis},
};
use serde_json::{Value, json};

use super::support::{EPOCH, SLOT, Sqlite};

/// A request of the admin API.
#[derive(Clone, Copy)]
pub struct Request<'a> {
    pub method: &'a str,
    /// Behind `/admin/v1/`.
    pub path: &'a str,
    pub query: &'a str,
    pub if_match: Option<&'a str>,
    pub idempotency_key: Option<&'a str>,
    pub actor: Option<&'a str>,
    pub caller: Caller,
    pub body: Option<&'a Value>,
}

impl<'a> Request<'a> {
    /// With all that every request may have.
    pub fn new(method: &'a str, path: &'a str) -> Self {
        Request {
            method,
            path,
            query: "",
            if_match: Some("*"),
            idempotency_key: None,
            actor: Some("alice"),
            caller: Caller::Root,
            body: None,
        }
    }
}

/// One shard and the code before it.
pub struct Api {
    sql: Sqlite,
    peppers: Peppers,
    requests: Cell<u8>,
}

impl Api {
    pub fn new() -> Self {
        let sql = Sqlite::new();
        schema::migrate(&sql, EPOCH).unwrap();
        let pepper = Pepper::parse(&format!("1:{}", "11".repeat(32))).unwrap();
        Api { sql, peppers: Peppers::new(pepper, None).unwrap(), requests: Cell::new(0) }
    }

    /// Whether a request is understood; nothing is done.
    pub fn parse(&self, request: Request<'_>) -> Result<AdminRequest, Problem> {
        let body = request.body.map(Value::to_string).unwrap_or_default();
        let facts = Facts {
            method: request.method,
            path: request.path,
            query: request.query,
            content_type: Some("application/json"),
            caller: request.caller,
            actor: request.actor,
            idempotency_key: request.idempotency_key,
            command_id: &format!("{:032x}", self.requests.get()),
            if_match: request.if_match,
            taken_elsewhere: false,
            body: body.as_bytes(),
            from: None,
            now: now(),
            slot: SLOT,
        };
        admin::parse(&facts, &self.peppers)
    }

    /// The answer to a request.
    pub fn send(&self, request: Request<'_>) -> Reply {
        self.requests.set(self.requests.get() + 1);
        match self.parse(request) {
            Err(problem) => problem.reply(),
            Ok(AdminRequest::Ask(query)) => self.answer(&query, &admin::found),
            Ok(AdminRequest::Draw(query)) => self.answer(&query, &admin::picture),
            Ok(AdminRequest::Export(query, export)) => {
                self.answer(&query, &|found, slot, now| admin::exported(found, export, slot, now))
            }
            Ok(AdminRequest::Do(order)) => {
                let nonce = [self.requests.get(); 32];
                let circumstances = Circumstances {
                    slot: SLOT,
                    peppers: &self.peppers,
                    catalogue: Catalogue::compiled(),
                    max_key_days: None,
                    now: now(),
                    nonce,
                };
                let render = |answer: &_| admin::stored(answer, now(), now());
                match command::execute(&self.sql, &order, &circumstances, render) {
                    Ok(done) => admin::complete(&done.answer, done.text.as_ref(), true),
                    Err(Failure::Refused(refusal)) => Problem::refusal(refusal).reply(),
                    Err(trouble) => panic!("{trouble:?}"),
                }
            }
        }
    }

    fn answer(&self, query: &Query, render: &dyn Fn(&Found, u8, UnixMillis) -> Reply) -> Reply {
        match query::answer(&self.sql, SLOT, query, now()).unwrap() {
            Some(found) => render(&found, SLOT, now()),
            None => Problem::not_found().reply(),
        }
    }

    /// The JSON of an answer that is a success.
    pub fn sent(&self, method: &str, path: &str, body: Option<Value>) -> Value {
        let reply = self.send(Request { body: body.as_ref(), ..Request::new(method, path) });
        assert!(reply.status < 300, "{method} {path}: {}", reply.body);
        serde_json::from_str(&reply.body).unwrap()
    }

    /// How the shard is, as `healthz?verbose` shows it.
    pub fn condition(&self) -> Value {
        let condition = query::condition(&self.sql).unwrap();
        let terms = Terms { lease_ms: 5_000, grace_ms: 0 };
        serde_json::from_str(&admin::condition(&condition, SLOT, terms, terms.bound_ms()).body).unwrap()
    }
}

fn now() -> UnixMillis {
    UnixMillis::from_millis(1_800_000_000_000)
}

/// A member of a request body.
#[derive(Debug, PartialEq)]
pub struct Member {
    pub name: String,
    pub required: bool,
    pub nullable: bool,
}

/// The members that the body of a request may have, in the words of the refusals. `example` gives a right value.
pub fn members(api: &Api, request: Request<'_>, example: impl Fn(&str) -> Value) -> Vec<Member> {
    let mut body = json!({ UNKNOWN: 1 });
    let mut required = Vec::new();
    let known = loop {
        let refusal = refusal(api.parse(Request { body: Some(&body), ..request }));
        let field = refusal["field"].as_str().unwrap();
        match refusal["detail"].as_str().unwrap() {
            detail if detail == format!("{field} is missing.") => {
                body[field] = example(field);
                required.push(field.to_owned());
            }
            detail => break listed(detail),
        }
    };
    body.as_object_mut().unwrap().remove(UNKNOWN);
    let nullable = |name: &str| {
        let mut body = body.clone();
        body[name] = Value::Null;
        understood(&api.parse(Request { body: Some(&body), ..request }))
    };
    known
        .into_iter()
        .map(|name| Member { required: required.contains(&name), nullable: nullable(&name), name })
        .collect()
}

/// The query parameters that a request may have, in the words of the refusal of another.
pub fn parameters(api: &Api, request: Request<'_>) -> Vec<String> {
    let query = format!("{UNKNOWN}=1");
    listed(refusal(api.parse(Request { query: &query, ..request }))["detail"].as_str().unwrap())
}

/// Whether a request got past everything that is said of its form. A text that is no key is well formed, and unknown.
pub fn understood(parsed: &Result<AdminRequest, Problem>) -> bool {
    parsed.as_ref().map_or_else(|problem| problem.reply().status == 404, |_| true)
}

/// How long a page is when nothing is said, and at most.
pub fn limits(api: &Api) -> (u32, u32) {
    let request = Request::new("GET", "accounts");
    let Ok(AdminRequest::Ask(query)) = api.parse(request) else { panic!("no list") };
    let query::Query::Accounts(_, page) = *query else { panic!("no list") };
    let refusal = refusal(api.parse(Request { query: "limit=0", ..request }));
    let (_, most) = refusal["detail"].as_str().unwrap().rsplit_once(' ').unwrap();
    (page.limit, most.trim_end_matches('.').parse().unwrap())
}

/// The refusal of a request, as JSON.
pub fn refusal(parsed: Result<AdminRequest, Problem>) -> Value {
    serde_json::from_str(&parsed.unwrap_err().reply().body).unwrap()
}

/// The methods of a path, in the words of the refusal of another; none where there is nothing at all.
pub fn methods(api: &Api, path: &str) -> Vec<String> {
    let reply = api.parse(Request::new("PROBE", path)).unwrap_err().reply();
    let allow = reply.headers.iter().find(|(name, _)| *name == "allow");
    allow.map(|(_, methods)| methods.split(", ").map(str::to_owned).collect()).unwrap_or_default()
}

/// A member and a parameter that nothing has.
pub const UNKNOWN: &str = "zzz";

/// `…; it takes a, b.` as a list.
fn listed(detail: &str) -> Vec<String> {
    let (_, list) = detail.split_once("it takes ").unwrap_or_else(|| panic!("no list: {detail}"));
    let names = list.trim_end_matches('.').split(", ").map(str::to_owned);
    names.filter(|name| name != "none").collect()
}
