//! Requests about plans to revoke keys, and what is shown of them; which keys are stale; and filters, which plans and
//! lists have in common.

use crate::{
    authority::{
        KeyFilter,
        command::Command,
        plans::PlanRecord,
        query::{Page, Query},
        stale::StaleKeys,
    },
    credential::{AccountRef, PlanId},
    json::{Json, ObjectWriter, ToJson},
    policy::UnixMillis,
};

use super::{
    super::{json::Members, parameters::Parameters, problem::Problem},
    request::{AdminRequest, Facts, Needs, ask, bare, behind_id, choice, nothing, page, plain},
};

/// The longest that a report looks back, in days.
pub const UNUSED_DAYS_MAX: u32 = 3_650;

const UNUSED_DAYS_DEFAULT: u32 = 90;

/// Bytes of a filter as JSON: eight times what any that finds something needs.
const FILTER_BYTES_MAX: usize = 8 * 1_024;

/// Understands a request about one plan; `rest` is the path behind `…/keys/plans/`.
pub(super) fn parse(facts: &Facts<'_>, account: AccountRef, rest: &str) -> Result<AdminRequest, Problem> {
    let (id, rest) = behind_id(rest);
    let plan = PlanId::parse(id).ok_or_else(Problem::not_found)?;
    match (facts.method, rest) {
        ("GET", "") => ask(facts, Query::Plan(account, plan)),
        ("GET", "/keys") => listed(facts, &|page| Query::PlanKeys(account, plan, page)),
        ("POST", "/execute") => bare(facts, Needs::Nothing, &|| Command::ExecutePlan { account, plan }),
        ("POST", "/cancel") => bare(facts, Needs::Nothing, &|| Command::CancelPlan { account, plan }),
        _ => nothing(rest, &[("", "GET"), ("/keys", "GET"), ("/execute", "POST"), ("/cancel", "POST")]),
    }
}

pub(super) fn new(mut members: Members<'_>, account: AccountRef) -> Result<Command, Problem> {
    let pairs = members.required("filter", pairs)?;
    members.finish()?;
    let filter = filter_of(pairs).map_err(|problem| problem.about("filter"))?;
    Ok(Command::PlanRevocation { account, filter })
}

pub(super) fn listed(facts: &Facts<'_>, query: &dyn Fn(Page) -> Query) -> Result<AdminRequest, Problem> {
    let mut parameters = Parameters::parse(facts.query);
    let page = page(facts, &mut parameters)?;
    parameters.finish(&["limit", "cursor"])?;
    Ok(AdminRequest::Ask(Box::new(query(page))))
}

/// A request for the keys that nobody seems to need.
pub(super) fn stale(facts: &Facts<'_>, account: AccountRef) -> Result<AdminRequest, Problem> {
    let mut parameters = Parameters::parse(facts.query);
    let days = choice(&mut parameters, "unused_days", "a whole number from 1 to 3650", |text| {
        plain(text).filter(|days| (1..=UNUSED_DAYS_MAX).contains(days))
    })?;
    parameters.finish(&["unused_days"])?;
    Ok(AdminRequest::Ask(Box::new(Query::StaleKeys(account, days.unwrap_or(UNUSED_DAYS_DEFAULT)))))
}

/// The parameters of a list of keys: where it begins, and those of its filter. Behind them, that of an export.
const PARAMETERS: [&str; 17] = [
    "limit",
    "cursor",
    "environment",
    "status",
    "pepper",
    "scope",
    "workspace",
    "owner",
    "tag",
    "name_contains",
    "created_by",
    "unused_since",
    "never_used",
    "expires_before",
    "due",
    "created_before",
    "format",
];

const IN_PARTS: usize = 2;

/// The parameters of a list of keys.
pub(super) const LISTED: &[&str] = PARAMETERS.split_at(PARAMETERS.len() - 1).0;

/// Those of all keys at once.
pub(super) const EXPORTED: &[&str] = PARAMETERS.split_at(IN_PARTS).1;

/// Those of a filter alone, and the members of one.
const FILTERED: &[&str] = LISTED.split_at(IN_PARTS).1;

/// Takes what a filter consists of.
pub(super) fn filter(parameters: &mut Parameters) -> Result<KeyFilter, Problem> {
    let mut filter = KeyFilter::default();
    for name in FILTERED {
        if let Some(text) = parameters.once(name)? {
            let refused = |expected| Problem::field(*name, format!("{name} must be {expected}."));
            filter.narrow(name, &text).map_err(refused)?;
        }
    }
    Ok(filter)
}

/// The filter of a plan, where the same stands as members of an object.
fn filter_of(pairs: Vec<(String, String)>) -> Result<KeyFilter, Problem> {
    let mut parameters = Parameters::of(pairs);
    let filter = filter(&mut parameters)?;
    parameters.finish(FILTERED)?;
    Ok(filter)
}

fn pairs(value: Json<'_>) -> Result<Vec<(String, String)>, String> {
    let expected = || {
        "an object with the members that a list of keys takes as parameters, such as {\"tag\":\"billing\"}, of at most 8 KB"
            .to_owned()
    };
    let mut pairs = Vec::new();
    let mut bytes = 0_usize;
    for (name, value) in value.object().ok_or_else(expected)?.into_members() {
        let value = match (&*name, value) {
            ("pepper", number) => number.whole_value().ok_or_else(expected)?.to_string(),
            ("never_used" | "due", Json::Bool(true)) => "true".to_owned(),
            ("never_used" | "due", _) => return Err(expected()),
            (_, value) => value.text().ok_or_else(expected)?.into_owned(),
        };
        bytes = bytes.saturating_add(name.len()).saturating_add(value.len());
        pairs.push((name.into_owned(), value));
    }
    if bytes > FILTER_BYTES_MAX { Err(expected()) } else { Ok(pairs) }
}

/// What is shown of a plan.
pub(super) fn view(record: &PlanRecord) -> ObjectWriter {
    let PlanRecord { counts, revoked, skipped, .. } = record;
    let by_environment =
        ObjectWriter::new().number("live", counts.live).number("test", counts.total.saturating_sub(counts.live)).end();
    let by_status = ObjectWriter::new()
        .number("active", counts.total.saturating_sub(counts.disabled).saturating_sub(counts.expired))
        .number("disabled", counts.disabled)
        .number("expired", counts.expired)
        .end();
    let all = ObjectWriter::new()
        .number("total", counts.total)
        .raw("by_environment", &by_environment)
        .raw("by_status", &by_status)
        .end();
    let progress = ObjectWriter::new()
        .number("revoked", *revoked)
        .number("skipped", *skipped)
        .number("remaining", counts.total.saturating_sub(*revoked).saturating_sub(*skipped))
        .end();
    let mut view = ObjectWriter::new();
    view.text("id", &record.id.to_string())
        .text("account_id", &record.account.to_string())
        .text("state", record.state.as_str())
        .raw("filter", &record.filter)
        .raw("counts", &all)
        .value("truncated", &record.truncated)
        .raw("progress", &progress)
        .number("sequence", record.sequence)
        .text("created_at", &record.created_at.to_rfc3339())
        .value("created_by", &record.created_by)
        .text("expires_at", &record.expires_at().to_rfc3339())
        .value("started_at", &record.started_at.map(UnixMillis::to_rfc3339))
        .value("finished_at", &record.finished_at.map(UnixMillis::to_rfc3339));
    view
}

/// What is shown of the keys that nobody seems to need: of each kind how many, and the filter that shows exactly them.
pub(super) fn stale_view(report: &StaleKeys) -> String {
    let since = report.since().to_rfc3339();
    let mut view = ObjectWriter::new();
    view.number("unused_days", report.unused_days.into())
        .text("as_of", &report.as_of.to_rfc3339())
        .text("unused_since", &since);
    let since = since.as_str();
    let active = |how: &str, value: &dyn ToJson| {
        ObjectWriter::new().text("status", "active").value(how, value).text("created_before", since).end()
    };
    for (name, count, filter) in [
        ("never_used", report.never_used, active("never_used", &true)),
        ("unused", report.unused, active("unused_since", &since)),
        ("expired", report.expired, ObjectWriter::new().text("status", "expired").end()),
    ] {
        let kind =
            ObjectWriter::new().number("count", count).value("at_least", &report.at_least).raw("filter", &filter).end();
        view.raw(name, &kind);
    }
    view.end()
}
