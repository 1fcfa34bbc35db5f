//! How often a key was used and refused, as JSON and as a picture.

use std::fmt::Write;

use crate::{
    authority::{
        query::Query,
        usage_picture::{Counts, Per, UsagePicture},
    },
    credential::{AccountRef, KeyId},
    json::ObjectWriter,
    policy::Reason,
};

use super::{
    super::{parameters::Parameters, problem::Problem, reply::Reply},
    request::{AdminRequest, Facts},
};

/// The width of the picture, in CSS pixels. It is 96 high: the bars, and below them a line of text.
const WIDTH: u64 = 480;

/// Where the bars stand.
const GROUND: u64 = 78;

/// The height of the highest bar. Each of its two parts is rounded up, so that no call is invisible.
const BAR: u64 = 74;

pub(super) fn parse(
    facts: &Facts<'_>,
    account: AccountRef,
    key: KeyId,
    as_picture: bool,
) -> Result<AdminRequest, Problem> {
    let mut parameters = Parameters::parse(facts.query);
    let per = match parameters.once("per")?.as_deref() {
        None | Some("hour") => Per::Hour,
        Some("day") => Per::Day,
        Some(_) => return Err(Problem::field("per", "per must be \"hour\" or \"day\".")),
    };
    parameters.finish(&["per"])?;
    let query = Box::new(Query::Usage(account, key, per));
    Ok(if as_picture { AdminRequest::Draw(query) } else { AdminRequest::Ask(query) })
}

pub(super) fn as_json(picture: &UsagePicture) -> Reply {
    let begin = |place| picture.begin(place).to_rfc3339();
    let mut buckets = String::new();
    for (place, part) in picture.parts.iter().enumerate() {
        buckets.push(if place == 0 { '[' } else { ',' });
        let mut json = ObjectWriter::new();
        json.text("at", &begin(place));
        write_counts(&mut json, part);
        buckets.push_str(&json.end());
    }
    buckets.push(']');
    let mut json = ObjectWriter::new();
    json.text("key_id", &KeyId::of(&picture.digest).to_string());
    json.text("per", picture.per.as_str());
    json.text("from", &begin(0));
    json.text("to", &begin(picture.parts.len()));
    write_counts(&mut json, &picture.sum());
    json.raw("buckets", &buckets);
    Reply::of_json(200, json.end())
}

fn write_counts(json: &mut ObjectWriter, counts: &Counts) {
    let mut refused = ObjectWriter::new();
    for reason in &Reason::ALL {
        let count = counts.refused(*reason);
        if count > 0 {
            refused.number(reason.as_str(), count);
        }
    }
    json.number("allowed", counts.allowed());
    json.raw("refused", &refused.end());
}

/// An SVG that stands for itself: it loads nothing, and does nothing. Its colours can be told apart on white and on black,
/// also by those who see no red.
pub(super) fn as_svg(picture: &UsagePicture) -> Reply {
    Reply::empty(200)
        .with("content-type", "image/svg+xml")
        .with("content-security-policy", "default-src 'none'; style-src 'unsafe-inline'")
        .with("x-content-type-options", "nosniff")
        .with_body(svg(picture))
}

/// No name that anyone chose is in it, and nothing that would have to be escaped.
fn svg(picture: &UsagePicture) -> String {
    let (mut peak, sum, mut reasons) = (0, picture.sum(), String::new());
    for part in &picture.parts {
        peak = peak.max(part.allowed().saturating_add(part.refused_in_all()));
    }
    for reason in &Reason::ALL {
        let count = sum.refused(*reason);
        if count > 0 {
            // Writing to a `String` does not fail.
            let _ = write!(reasons, " {} {count}.", reason.as_str());
        }
    }
    let height = |count: u64| count.saturating_mul(BAR).div_ceil(peak.max(1)).min(BAR);
    let (mut allowed, mut refused) = (String::new(), String::new());
    let mut left = 0;
    for (place, part) in (1_u64..).zip(&picture.parts) {
        let right = place.saturating_mul(WIDTH) / picture.per.parts();
        let (lower, upper) = (height(part.allowed()), height(part.refused_in_all()));
        bar(&mut allowed, left, right, GROUND, lower);
        bar(&mut refused, left, right, GROUND.saturating_sub(lower), upper);
        left = right;
    }
    let (per, parts) = (picture.per.as_str(), picture.parts.len());
    let (key, all, bad) = (KeyId::of(&picture.digest), sum.allowed(), sum.refused_in_all());
    let to = picture.begin(parts).to_rfc3339();
    let (day, hour) = (to.get(..10).unwrap_or(""), to.get(11..16).unwrap_or(""));
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"480\" height=\"96\" role=\"img\" aria-labelledby=\"t d\">\
         <title id=\"t\">{key}, {parts} {per}s to {day} {hour} UTC</title>\
         <desc id=\"d\">At least {all} calls allowed, {bad} refused.{reasons} Peak: {peak} in one {per}.</desc>\
         <style>text{{font:11px system-ui,sans-serif;fill:#767676}}.a{{fill:#2f81f7}}.r{{fill:#d9622b}}</style>\
         <path fill=\"#767676\" d=\"M0 78h480v1H0z\"/>\
         <path class=\"a\" d=\"{allowed}\"/><path class=\"r\" d=\"{refused}\"/>\
         <text y=\"92\">{parts} {per}s to {day} {hour} UTC</text>\
         <text x=\"480\" y=\"92\" text-anchor=\"end\"><tspan class=\"a\">{all} allowed</tspan>, \
         <tspan class=\"r\">{bad} refused</tspan>, peak {peak}</text></svg>"
    )
}

/// Adds a bar, if it has any height.
fn bar(path: &mut String, left: u64, right: u64, bottom: u64, height: u64) {
    if height > 0 {
        let _ = write!(path, "M{left} {bottom}v-{height}H{}v{height}z", right.saturating_sub(1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{credential::Digest, policy::UnixMillis};

    const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors/usage.svg");

    fn picture(per: Per) -> UsagePicture {
        UsagePicture::new(Digest::from_bytes([0xc0; 24]), per, UnixMillis::from_millis(1_800_000_000_000))
    }

    /// Two days of a key: more by day than by night, a scope that somebody lacks, and in the end it is revoked.
    fn example() -> UsagePicture {
        let mut picture = picture(Per::Hour);
        for (place, hour) in (0..48_u64).enumerate() {
            let from_noon = (hour + 9).rem_euclid(24).abs_diff(12);
            let at = picture.begin(place);
            picture.add(at, None, if hour < 44 { 900 / (from_noon + 3) - 30 + hour * 7 % 13 } else { 0 });
            picture.add(
                at,
                Some(Reason::InsufficientScope),
                if (20..24).contains(&hour) { 20 * (hour - 18) } else { 0 },
            );
            picture.add(at, Some(Reason::KeyRevoked), if hour >= 44 { 130 / (hour - 42) } else { 0 });
        }
        picture
    }

    #[test]
    fn the_picture_in_the_readme_is_one_of_ours() {
        let made = svg(&example());
        if std::env::var_os("KEYGATE_WRITE_PICTURE").is_some() {
            std::fs::write(FILE, &made).unwrap();
        }
        let hint = "tests/vectors/usage.svg is out of date: KEYGATE_WRITE_PICTURE=1 cargo nextest run --lib picture";
        assert!(std::fs::read_to_string(FILE).unwrap() == made, "{hint}");
    }

    /// The texts between the tags, and the names of the elements; panics where it is not well-formed.
    fn read(xml: &str) -> (Vec<String>, Vec<String>) {
        let (mut texts, mut names, mut open) = (Vec::new(), Vec::new(), Vec::new());
        for part in xml.strip_prefix('<').unwrap().split('<') {
            let (tag, text) = part.split_once('>').unwrap();
            assert!(!text.contains(['>', '&', '"']), "{text}");
            texts.push(text.to_owned());
            if let Some(name) = tag.strip_prefix('/') {
                assert_eq!(open.pop().as_deref(), Some(name));
                continue;
            }
            let is_whole = tag.ends_with('/');
            let tag = tag.trim_end_matches('/');
            let (name, attributes) = tag.split_once(' ').unwrap_or((tag, ""));
            let mut quoted = attributes.split('"');
            let last = quoted.next_back().unwrap_or("");
            assert_eq!(last, "", "{tag}");
            for (place, piece) in quoted.enumerate() {
                assert!(!piece.contains('&') && (place % 2 == 1 || piece.ends_with('=')), "{tag}");
            }
            names.push(name.to_owned());
            if !is_whole {
                open.push(name.to_owned());
            }
        }
        assert!(open.is_empty());
        (texts, names)
    }

    #[test]
    fn every_picture_is_well_formed_loads_nothing_and_says_in_words_what_it_shows() {
        let mut most = picture(Per::Day);
        for reason in Reason::ALL.into_iter() {
            most.add(most.from, Some(reason), u64::MAX);
        }
        most.add(most.begin(89), None, u64::MAX);
        for (picture, says) in [
            (picture(Per::Hour), "48 hours to 2027-01-15 09:00 UTC"),
            (picture(Per::Day), "90 days to 2027-01-16 00:00 UTC, At least 0 calls allowed, 0 refused. Peak: 0 in"),
            (example(), "insufficient_scope 280., key_revoked"),
            (most, "key_revoked 18446744073709551615"),
        ] {
            let xml = svg(&picture);
            let (texts, names) = read(&xml);
            let says = says.split(", ").all(|part| texts.concat().contains(part));
            assert!(says, "{texts:?}");
            let known = ["svg", "title", "desc", "style", "path", "text", "tspan"];
            assert!(names.iter().all(|name| known.contains(&name.as_str())), "{names:?}");
            assert_eq!(xml.matches("://").count(), 1, "the name space");
            assert!(!xml.contains("url(") && !xml.contains("href") && !xml.contains("@import"));
        }
    }

    /// Of each bar in the path of a class: left edge, bottom, height.
    fn bars(xml: &str, class: char) -> Vec<(u64, u64, u64)> {
        let (_, path) = xml.split_once(&format!("<path class=\"{class}\" d=\"")).unwrap();
        let path = path.split('"').next().unwrap();
        let numbers = |bar: &str| {
            let mut numbers = bar.split(|c: char| !c.is_ascii_digit()).filter(|part| !part.is_empty());
            let mut next = || numbers.next().unwrap().parse().unwrap();
            (next(), next(), next())
        };
        path.split('M').skip(1).map(numbers).collect()
    }

    #[test]
    fn refusals_stand_on_uses_and_a_single_call_can_be_seen() {
        let mut picture = picture(Per::Hour);
        for (place, allowed, refused) in [(0, 1_000_000, 1), (1, 1, 1_000_000), (47, 500_000, 500_000)] {
            picture.add(picture.begin(place), None, allowed);
            picture.add(picture.begin(place), Some(Reason::KeyExpired), refused);
        }
        let xml = svg(&picture);
        assert_eq!(bars(&xml, 'a'), [(0, 78, 74), (10, 78, 1), (470, 78, 37)]);
        assert_eq!(bars(&xml, 'r'), [(0, 4, 1), (10, 77, 74), (470, 41, 37)]);
        let highest =
            [bars(&xml, 'a'), bars(&xml, 'r')].concat().into_iter().map(|(_, bottom, height)| bottom - height);
        assert!(highest.min().unwrap() >= 3, "nothing is cut off");
    }

    #[test]
    fn numbers_and_picture_show_the_same() {
        let picture = example();
        let json: serde_json::Value = serde_json::from_str(&as_json(&picture).body).unwrap();
        let buckets = json["buckets"].as_array().unwrap();
        assert_eq!(
            (buckets.len(), json["per"].as_str(), json["from"].as_str()),
            (48, Some("hour"), Some("2027-01-13T09:00:00.000Z"))
        );
        assert_eq!(
            (buckets[47]["at"].as_str(), json["to"].as_str()),
            (Some("2027-01-15T08:00:00.000Z"), Some("2027-01-15T09:00:00.000Z"))
        );
        let sum: u64 = buckets.iter().map(|bucket| bucket["allowed"].as_u64().unwrap()).sum();
        assert_eq!(json["allowed"], sum);
        assert_eq!(json["refused"]["insufficient_scope"], 280);
        assert_eq!(buckets[0]["refused"], serde_json::json!({}));
        assert_eq!(bars(&svg(&picture), 'a').len(), buckets.iter().filter(|bucket| bucket["allowed"] != 0).count());
    }
}
