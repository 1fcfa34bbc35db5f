//! `If-Match` and `Idempotency-Key`: on what condition a command is carried out, and what makes it the same one.

use crate::authority::{command::Precondition, journal::CommandId};

use super::{
    super::problem::{Code, Problem},
    request::Facts,
};

/// The fewest characters of an `Idempotency-Key`: 22 of base62 are 131 bits, so that the secret of an issued key, which
/// derives from it, cannot be guessed by whoever has the database.
pub const IDEMPOTENCY_KEY_MIN: usize = 22;

/// The most characters of an `Idempotency-Key`.
pub const IDEMPOTENCY_KEY_MAX: usize = 255;

/// Reads `If-Match` (RFC 9110 §13.1.1), which a change needs. Weak tags never match (§8.8.3.2).
pub(super) fn if_match(header: Option<&str>) -> Result<Precondition, Problem> {
    let Some(header) = header else {
        return Err(Problem::new(
            Code::PreconditionRequired,
            "A change needs the header If-Match with the ETag that you read, or * for whatever it is now.",
        )
        .about("If-Match"));
    };
    if header.trim_matches(BLANK) == "*" {
        return Ok(Precondition::Any);
    }
    let mut versions = Vec::new();
    let mut rest = header.trim_matches(BLANK);
    loop {
        let (weak, tag) = match rest.strip_prefix("W/") {
            Some(tag) => (true, tag),
            None => (false, rest),
        };
        let (opaque, after) = tag.strip_prefix('"').and_then(|tag| tag.split_once('"')).ok_or_else(wrong_if_match)?;
        // `etagc`: what is visible, and what lies beyond ASCII; the quote has ended the tag already.
        if !opaque.chars().all(|character| character.is_ascii_graphic() || !character.is_ascii()) {
            return Err(wrong_if_match());
        }
        // Tags are compared character by character: another spelling of the number is another tag, and matches nothing.
        if let Some(version) = opaque.parse::<u64>().ok().filter(|version| !weak && version.to_string() == opaque) {
            versions.push(version);
        }
        let after = after.trim_start_matches(BLANK);
        if after.is_empty() {
            return Ok(Precondition::Versions(versions));
        }
        rest = after.strip_prefix(',').ok_or_else(wrong_if_match)?.trim_start_matches(BLANK);
    }
}

/// The white space of HTTP fields.
const BLANK: [char; 2] = [' ', '\t'];

fn wrong_if_match() -> Problem {
    Problem::field("If-Match", "If-Match must be the ETag that you read, such as \"12\", or *.")
}

/// The command id of a request: the caller's `Idempotency-Key`, or else the Worker's own.
pub(super) fn command_id(facts: &Facts<'_>) -> Result<CommandId, Problem> {
    let request = [facts.method.as_bytes(), facts.path.as_bytes(), facts.query.as_bytes(), facts.body];
    let Some(key) = facts.idempotency_key else { return Ok(CommandId::new(facts.command_id, false, &request)) };
    let fits = (IDEMPOTENCY_KEY_MIN..=IDEMPOTENCY_KEY_MAX).contains(&key.len())
        && key.bytes().all(|byte| byte.is_ascii_graphic());
    if !fits {
        return Err(Problem::field(
            "Idempotency-Key",
            format!(
                "Idempotency-Key must be {IDEMPOTENCY_KEY_MIN} to {IDEMPOTENCY_KEY_MAX} visible ASCII characters, and \
                 hard to guess."
            ),
        ));
    }
    // No id of the Worker's can be a caller's.
    Ok(CommandId::new(&format!("chosen {key}"), true, &request))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn if_match_takes_one_tag_several_or_a_star() {
        assert_eq!(if_match(Some("*")), Ok(Precondition::Any));
        assert_eq!(if_match(Some("\"12\"")), Ok(Precondition::Versions(vec![12])));
        assert_eq!(if_match(Some("\"1\", \"x\" ,\"3\"")), Ok(Precondition::Versions(vec![1, 3])));
    }

    #[test]
    fn a_weak_tag_and_another_spelling_match_nothing() {
        for header in ["W/\"12\"", "\"012\"", "\"+12\"", "\"a,b\"", "\"\""] {
            assert_eq!(if_match(Some(header)), Ok(Precondition::Versions(Vec::new())), "{header}");
        }
    }

    #[test]
    fn a_change_without_if_match_is_428_and_a_malformed_one_is_400() {
        assert_eq!(if_match(None).map_err(|problem| problem.reply().status), Err(428));
        for header in ["", "12", "\"12", "12\"", "\"1\"2\"", "*, \"1\"", "w/\"1\"", "\"1 2\"", "\"1\",", ",\"1\""] {
            assert_eq!(if_match(Some(header)).map_err(|problem| problem.reply().status), Err(400), "{header}");
        }
    }
}
