//! What is on for every account, as one answer of all shards: each has it for itself.

use crate::{
    json::{Json, ObjectWriter},
    policy::UnixMillis,
};

use super::super::{
    problem::{Code, Problem},
    reply::Reply,
};

/// The answers of the shards so far.
#[derive(Debug, Default)]
pub struct OfEverySlot {
    /// What is on in all of them; none = none has answered.
    features: Option<Vec<String>>,
    differ: bool,
    effective_by: Option<UnixMillis>,
}

impl OfEverySlot {
    /// Takes what one more shard answered: the text that this module writes. False if it is not of that form.
    #[must_use]
    pub fn take(&mut self, body: &str) -> bool {
        let Some((features, effective_by)) = read(body) else { return false };
        match &mut self.features {
            None => self.features = Some(features),
            Some(all) => {
                self.differ |= *all != features;
                all.retain(|feature| features.contains(feature));
            }
        }
        self.effective_by = self.effective_by.max(effective_by);
        true
    }

    /// What is on in all of them, whether they agree, and when the last of them counts everywhere.
    #[must_use]
    pub fn reply(self) -> Reply {
        let effective_by = self.effective_by.map(UnixMillis::to_rfc3339);
        let json =
            platform(&self.features.unwrap_or_default(), !self.differ).if_any("effective_by", effective_by).end();
        Reply::of_json(200, json)
    }
}

/// The refusal of a change that did not come to every slot.
#[must_use]
pub fn not_everywhere() -> Problem {
    Problem::new(
        Code::Indeterminate,
        "It is not known whether every slot has this list of features. Repeating the request is safe, and needed.",
    )
}

pub(super) fn platform(features: &[String], consistent: bool) -> ObjectWriter {
    let mut view = ObjectWriter::new();
    view.value("features", &features.to_vec()).value("consistent", &consistent);
    view
}

fn read(body: &str) -> Option<(Vec<String>, Option<UnixMillis>)> {
    let mut members = Json::parse(body).ok()?.object()?;
    let features = members.take("features")?.texts()?;
    let effective_by = match members.take("effective_by") {
        Some(instant) => Some(UnixMillis::parse_rfc3339(&instant.text()?).ok()?),
        None => None,
    };
    Some((features.into_iter().map(Into::into).collect(), effective_by))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(bodies: &[&str]) -> String {
        let mut all = OfEverySlot::default();
        assert!(bodies.iter().all(|body| all.take(body)));
        all.reply().body.into_owned()
    }

    #[test]
    fn slots_that_agree_are_one_answer_with_the_latest_instant() {
        let early = r#"{"features":["a","b"],"consistent":true,"effective_by":"2026-11-22T03:00:00.005Z"}"#;
        let late = r#"{"features":["a","b"],"consistent":true,"effective_by":"2026-11-22T03:00:01.000Z"}"#;
        assert_eq!(of(&[early, late]), of(&[late]));
        assert_eq!(of(&[late, early, early]), of(&[late]));
        assert!(of(&[late]).contains(r#""effective_by":"2026-11-22T03:00:01"#));
    }

    #[test]
    fn slots_that_differ_are_said_to_and_what_is_on_is_what_all_have() {
        let slots = [r#"{"features":["a","b"]}"#, r#"{"features":["b","c"]}"#, r#"{"features":["b"]}"#];
        assert_eq!(of(&slots), r#"{"features":["b"],"consistent":false}"#);
        assert_eq!(of(&slots[2..]), r#"{"features":["b"],"consistent":true}"#);
        assert_eq!(of(&[r#"{"features":["b"]}"#, r#"{"features":[]}"#]), r#"{"features":[],"consistent":false}"#);
    }

    #[test]
    fn an_answer_of_another_form_is_none() {
        for body in ["", "{}", "[]", r#"{"features":[1]}"#, r#"{"features":["a"],"effective_by":"soon"}"#] {
            assert!(!OfEverySlot::default().take(body), "{body}");
        }
    }
}
