//! All keys that a filter finds, in one answer: as NDJSON for programs, as CSV for people. The Worker asks for page after
//! page of it, and hands each on before it asks for the next.

use crate::{
    authority::query::{Found, Page, Query},
    credential::{AccountRef, joined},
    json::{Json, Object, ToJson},
    policy::UnixMillis,
};

use super::{
    super::{parameters::Parameters, problem::Problem, reply::Reply},
    plans, render,
    request::{AdminRequest, Facts, LIMIT_MAX},
};

/// The header by which the Authority says where the next page of an export begins, and is asked for that. What a caller
/// sends by this name goes nowhere.
pub const NEXT: &str = "x-keygate-next";

/// An export that was asked for, and how far it has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Export {
    /// Whose keys.
    pub account: AccountRef,
    /// How they are written.
    pub format: Format,
    /// The first page, with what stands above all.
    pub first: bool,
}

/// How keys are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// One JSON object a line, as a list shows it.
    Ndjson,
    /// RFC 4180, with a header line.
    Csv,
}

/// A page is the longest that a list has. So an export needs no more room than lists do: of usual keys that is what an
/// instance has from its start, and of the largest (6 KB each) 1.5 MB more, where pages of 500 would take 10 MB and be no
/// faster. And whatever else the Authority is asked waits no longer for it than for a list.
pub(super) fn parse(facts: &Facts<'_>, account: AccountRef) -> Result<AdminRequest, Problem> {
    let mut parameters = Parameters::parse(facts.query);
    let format = parameters.once("format")?;
    let filter = plans::filter(&mut parameters)?;
    parameters.finish(plans::EXPORTED)?;
    let format = match format.as_deref() {
        Some("ndjson") => Format::Ndjson,
        Some("csv") => Format::Csv,
        _ => return Err(Problem::field("format", "format must be \"ndjson\" or \"csv\".")),
    };
    let query = Query::Keys(account, filter, Page { before: facts.from, limit: LIMIT_MAX });
    Ok(AdminRequest::Export(Box::new(query), Export { account, format, first: facts.from.is_none() }))
}

/// One page of an export.
#[must_use]
pub fn exported(of: &Found, export: Export, slot: u8, now: UnixMillis) -> Reply {
    let Found::Keys(records, next) = of else { return render::found(of, slot, now) };
    let Export { account, format, first } = export;
    let csv = format == Format::Csv;
    let mut body = String::new();
    if csv && first {
        body.push_str(COLUMNS);
        body.push_str("\r\n");
    }
    for record in records {
        let json = render::key(record, now, None).end();
        if csv {
            // What is not understood here would be missing there.
            let Some(key) = Json::parse(&json).ok().and_then(Json::object) else {
                return Problem::indeterminate().reply();
            };
            write_row(&mut body, key);
        } else {
            body.push_str(&json);
            body.push('\n');
        }
    }
    let (media_type, name) =
        if csv { ("text/csv; charset=utf-8; header=present", "csv") } else { ("application/x-ndjson", "ndjson") };
    let reply = Reply::empty(200)
        .with("content-type", media_type)
        .with("content-disposition", format!("attachment; filename=\"{account}-keys.{name}\""))
        .with_body(body);
    match next {
        Some(next) => reply.with(NEXT, next.to_string()),
        None => reply,
    }
}

/// The columns of a CSV, by the names of the members. What a list does not show is in none.
const COLUMNS: &str = "id,account_id,name,environment,scopes,access_level,workspaces,fields,allowed_ips,description,\
    owner,tags,metadata,status,hint,not_before,expires_at,created_at,created_by,last_used_at,revoked_at,rotated_from,\
    rotated_to,rotation_due_at,overlap_from,role,actor,parent";

fn write_row(csv: &mut String, mut key: Object<'_>) {
    for (place, column) in COLUMNS.split(',').enumerate() {
        if place > 0 {
            csv.push(',');
        }
        match key.take(column) {
            None | Some(Json::Null) => {}
            Some(Json::Text(text)) => write_cell(csv, &text),
            // Of these, only tags can have spaces in them.
            Some(list @ Json::List(_)) if column != "tags" => {
                write_cell(csv, &joined(list.texts().unwrap_or_default(), " "));
            }
            Some(value) => write_cell(csv, &value.to_json()),
        }
    }
    csv.push_str("\r\n");
}

/// Spreadsheets take for a formula what begins like one, in quotes or not, and compute it for whoever opens the file: a name
/// that somebody chose must not be one (OWASP, "CSV injection"). Behind an apostrophe it is a text.
fn write_cell(csv: &mut String, text: &str) {
    let apostrophe = if text.starts_with(['=', '+', '-', '@', '\t', '\r']) { "'" } else { "" };
    let quote = if text.bytes().any(|byte| b",\"\r\n".contains(&byte)) { "\"" } else { "" };
    csv.push_str(quote);
    csv.push_str(apostrophe);
    csv.push_str(&joined(text.split('"'), "\"\""));
    csv.push_str(quote);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cell(text: &str) -> String {
        let mut csv = String::new();
        write_cell(&mut csv, text);
        csv
    }

    fn row(key: &str) -> String {
        let mut csv = String::new();
        write_row(&mut csv, Json::parse(key).unwrap().object().unwrap());
        csv
    }

    #[test]
    fn a_cell_is_quoted_where_it_must_be_and_quotes_in_it_are_doubled() {
        for (text, expected) in [
            ("plain", "plain"),
            ("", ""),
            (" with spaces ", " with spaces "),
            ("a;b|c", "a;b|c"),
            ("a,b", "\"a,b\""),
            ("say \"hi\"", "\"say \"\"hi\"\"\""),
            ("\"", "\"\"\"\""),
            ("two\nlines", "\"two\nlines\""),
            ("two\r\nlines", "\"two\r\nlines\""),
            ("é, 🔑", "\"é, 🔑\""),
        ] {
            assert_eq!(cell(text), expected, "{text:?}");
        }
    }

    #[test]
    fn what_begins_like_a_formula_is_text_also_in_quotes() {
        for text in ["=1+1", "+1", "-1", "@SUM(A1)", "=", "-"] {
            assert_eq!(cell(text), format!("'{text}"));
        }
        assert_eq!(cell("=HYPERLINK(\"https://x\", \"y\")"), "\"'=HYPERLINK(\"\"https://x\"\", \"\"y\"\")\"");
        assert_eq!(cell("\t=1"), "'\t=1");
        assert_eq!(cell("\r=1"), "\"'\r=1\"");
        for text in ["a=1", "1-1", " =1", "'=1", "*", "a@b", "{\"=\":1}"] {
            assert!(!cell(text).trim_start_matches('"').starts_with("'") || text.starts_with('\''), "{text}");
        }
    }

    #[test]
    fn a_row_has_every_column_in_its_place_whatever_the_key_has() {
        assert_eq!(row("{}"), format!("{}\r\n", ",".repeat(27)));
        let key = r#"{"parent":"root","tags":["a b","c"],"name":null,"id":"key_1","scopes":["a:b","*"],"workspaces":[],
            "fields":{"a":["x"]},"metadata":{},"unheard_of":"x"}"#;
        let expected =
            "key_1,,,,a:b *,,,\"{\"\"a\"\":[\"\"x\"\"]}\",,,,\"[\"\"a b\"\",\"\"c\"\"]\",{},,,,,,,,,,,,,,,root\r\n";
        assert_eq!(row(key), expected);
    }
}
