//! Which shard an admin request belongs to, and how lists go on from one shard to the next.

use sha2::{Digest as _, Sha256};

use crate::{authority::sql::INTEGER_MAX, credential::AccountRef, json::Json};

use super::super::{
    parameters::Parameters,
    problem::Problem,
    reply::Reply,
    values::{REFERENCE_BYTES_MAX, is_reference},
};

/// The shard that is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// The shard of an account.
    Slot(u8),
    /// Any shard that takes new accounts.
    NewAccount,
    /// The shard of the account with this external id, or, where there is none, any that takes new accounts.
    ExternalId(String),
    /// All shards, for it is one thing in all of them.
    Everywhere,
    /// All shards, one after the other, from this one on (none = the first).
    All(Option<u8>),
}

impl Place {
    /// Looks no further than it must: the shard itself understands the request.
    ///
    /// # Errors
    /// 404 for what no shard can have, 400 for a cursor that is none.
    pub fn of(method: &str, path: &str, query: &str) -> Result<Self, Problem> {
        match path.split_once('/') {
            Some(("accounts", rest)) => {
                if let Some(id) = rest.strip_prefix("by-external-id/").filter(|id| !id.contains('/')) {
                    return external_id_of(id).map(Place::ExternalId);
                }
                let id = rest.split_once('/').map_or(rest, |(id, _)| id);
                AccountRef::parse(id).map(|account| Place::Slot(account.slot)).ok_or_else(Problem::not_found)
            }
            None if path == "platform" => Ok(Place::Everywhere),
            None if path == "accounts" && method == "POST" => Ok(Place::NewAccount),
            None if path == "accounts" => {
                let Some(text) = Parameters::parse(query).once("cursor")? else { return Ok(Place::All(None)) };
                Cursor::parse(&text).map(|cursor| Place::All(Some(cursor.slot))).ok_or_else(wrong_cursor)
            }
            _ => Err(Problem::not_found()),
        }
    }
}

/// The external id in a segment of a path, where everything but letters and digits may be percent-encoded.
pub(super) fn external_id_of(segment: &str) -> Result<String, Problem> {
    percent_decoded(segment).filter(|id| is_reference(id)).ok_or_else(|| {
        Problem::field(
            "external_id",
            format!(
                "external_id must be 1 to {REFERENCE_BYTES_MAX} visible ASCII characters, percent-encoded in the path \
                 where a path needs it."
            ),
        )
    })
}

fn percent_decoded(text: &str) -> Option<String> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    let digit = |byte: Option<u8>| char::from(byte?).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'%' => digit(bytes.next())? << 4 | digit(bytes.next())?,
            byte => byte,
        });
    }
    String::from_utf8(decoded).ok()
}

/// Where the next page of a list begins. As text `<slot>-<sequence>`, or `<slot>-` for the newest of that slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cursor {
    pub(super) slot: u8,
    pub(super) before: Option<u64>,
}

impl Cursor {
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (slot, before) = text.split_once('-')?;
        let before = if before.is_empty() {
            None
        } else {
            Some(before.parse().ok().filter(|sequence| *sequence <= SEQUENCE_MAX)?)
        };
        let cursor = Cursor { slot: slot.parse().ok()?, before };
        (cursor.text() == text).then_some(cursor)
    }

    pub(super) fn text(self) -> String {
        let Cursor { slot, before } = self;
        before.map_or_else(|| format!("{slot}-"), |before| format!("{slot}-{before}"))
    }
}

/// The greatest sequence there can be.
const SEQUENCE_MAX: u64 = INTEGER_MAX.unsigned_abs();

/// The refusal of a cursor that no list has handed out.
#[must_use]
pub fn wrong_cursor() -> Problem {
    Problem::field("cursor", "cursor must be the next_cursor of an earlier page, unchanged.")
}

/// The query of a list that begins anew in another slot.
#[must_use]
pub fn query_for_slot(query: &str, slot: u8) -> String {
    let mut text = String::new();
    for part in query.split('&').filter(|part| !part.is_empty() && !names(part, "cursor")) {
        text.push_str(part);
        text.push('&');
    }
    text.push_str("cursor=");
    text.push_str(&Cursor { slot, before: None }.text());
    text
}

/// True for a list that is about one account, and so ends where that is found.
#[must_use]
pub fn asks_for_one(query: &str) -> bool {
    names(query, "external_id")
}

fn names(query: &str, parameter: &str) -> bool {
    form_urlencoded::parse(query.as_bytes()).any(|(name, _)| name == parameter)
}

/// The query that looks for the account with this external id.
#[must_use]
pub fn query_for_external_id(external_id: &str) -> String {
    let mut text = "external_id=".to_owned();
    text.extend(form_urlencoded::byte_serialize(external_id.as_bytes()));
    text
}

/// The external id that a request sets on an account, if it is such a request at all; whether it is right is the
/// shard's to say.
#[must_use]
pub fn external_id_in(method: &str, path: &str, body: &[u8]) -> Option<String> {
    let on_account = path.strip_prefix("accounts").is_some_and(|rest| rest.matches('/').count() <= 1);
    if !on_account || !matches!(method, "POST" | "PATCH") {
        return None;
    }
    let mut body = Json::parse(std::str::from_utf8(body).ok()?).ok()?.object()?;
    Some(body.take("external_id")?.text()?.into_owned())
}

/// A number that is the same for the same text, to choose a slot by.
#[must_use]
pub fn spread(text: &str) -> u8 {
    let [first, ..]: [u8; 32] = Sha256::digest(text.as_bytes()).into();
    first
}

/// One shard's page of accounts, before the caller sees it: the text that [`super::found`] writes.
#[derive(Debug)]
pub struct ShardPage {
    body: String,
}

impl ShardPage {
    /// Takes what a shard answered; none when it is not a page.
    #[must_use]
    pub fn parse(body: String) -> Option<Self> {
        (body.starts_with("{\"data\":[") && body.ends_with('}')).then_some(ShardPage { body })
    }

    /// True when the list is over in this shard before anything was found in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.body.starts_with("{\"data\":[]")
    }

    /// The page for the caller. Where the list ends in this shard, it goes on in `next_slot`.
    #[must_use]
    pub fn reply(self, next_slot: Option<u8>) -> Reply {
        let body = match (self.body.strip_suffix(END_OF_LIST), next_slot) {
            (Some(data), Some(slot)) => {
                let cursor = Cursor { slot, before: None }.text();
                format!("{data}\"next_cursor\":\"{cursor}\"}}")
            }
            _ => self.body,
        };
        Reply::of_json(200, body)
    }
}

/// How the last page of a list ends.
const END_OF_LIST: &str = "\"next_cursor\":null}";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_goes_to_the_shard_that_its_account_names() {
        assert_eq!(Place::of("PATCH", "accounts/acct_0700000001", ""), Ok(Place::Slot(7)));
        assert_eq!(Place::of("GET", "accounts/acct_ff00000001/keys/x", ""), Ok(Place::Slot(255)));
        assert_eq!(Place::of("POST", "accounts", ""), Ok(Place::NewAccount));
        assert_eq!(Place::of("PUT", "platform", ""), Ok(Place::Everywhere));
        assert_eq!(Place::of("GET", "accounts", "limit=3"), Ok(Place::All(None)));
        assert_eq!(Place::of("GET", "accounts", "cursor=3-77"), Ok(Place::All(Some(3))));
        for path in ["", "account", "accounts/", "accounts/x", "accounts/acct_0700000001x/keys", "keys"] {
            assert_eq!(Place::of("GET", path, "").map_err(|problem| problem.reply().status), Err(404), "{path}");
        }
        assert_eq!(Place::of("GET", "accounts", "cursor=x").map_err(|problem| problem.reply().status), Err(400));
    }

    #[test]
    fn an_external_id_in_a_path_is_decoded_and_has_a_shard_of_its_own() {
        for (path, id) in [
            ("accounts/by-external-id/cust-42", "cust-42"),
            ("accounts/by-external-id/a%2Fb%3fc%25+&=", "a/b?c%+&="),
            ("accounts/by-external-id/keys", "keys"),
        ] {
            assert_eq!(Place::of("PUT", path, ""), Ok(Place::ExternalId(id.into())), "{path}");
        }
        assert_eq!(Place::of("PUT", "accounts/by-external-id/a/b", "").map_err(|it| it.reply().status), Err(404));
        for path in ["", "%", "%2", "%2g", "%+1", "%20", "%c3%a9", "%ff"] {
            let place = Place::of("PUT", &format!("accounts/by-external-id/{path}"), "");
            assert_eq!(place.map_err(|problem| problem.reply().status), Err(400), "{path}");
        }
        let long = |length: usize| Place::of("PUT", &format!("accounts/by-external-id/{}", "%41".repeat(length)), "");
        assert!(long(REFERENCE_BYTES_MAX).is_ok() && long(REFERENCE_BYTES_MAX + 1).is_err());
    }

    #[test]
    fn a_cursor_has_one_spelling() {
        for text in ["0-", "0-1", "255-9007199254740991"] {
            assert_eq!(Cursor::parse(text).map(Cursor::text).as_deref(), Some(text));
        }
        for text in ["", "-", "0", "256-1", "00-1", "0-01", "0-+1", "0--1", "0-1 ", "0-9007199254740992"] {
            assert_eq!(Cursor::parse(text), None, "{text}");
        }
    }

    #[test]
    fn the_query_of_the_next_slot_keeps_everything_but_the_cursor() {
        assert_eq!(query_for_slot("limit=3&cursor=0-9&x=a%20b", 4), "limit=3&x=a%20b&cursor=4-");
        assert_eq!(query_for_slot("", 4), "cursor=4-");
    }

    #[test]
    fn a_list_goes_on_in_the_next_shard_only_where_one_ends() {
        let page = |body: &str| ShardPage::parse(body.to_owned()).unwrap();
        let body = |page: ShardPage, next| page.reply(next).body.into_owned();
        assert_eq!(body(page(r#"{"data":[1],"next_cursor":null}"#), Some(4)), r#"{"data":[1],"next_cursor":"4-"}"#);
        assert_eq!(body(page(r#"{"data":[1],"next_cursor":null}"#), None), r#"{"data":[1],"next_cursor":null}"#);
        assert_eq!(body(page(r#"{"data":[1],"next_cursor":"0-9"}"#), Some(4)), r#"{"data":[1],"next_cursor":"0-9"}"#);
    }
}
