//! Request targets: which paths are admitted, whose they are, and what a query says.

use keygate::{
    http::{Endpoint, Parameters, is_identity_header},
    policy::CanonicalPath,
};

/// The input is a request target, path and query.
pub fn check(input: &[u8]) {
    let Ok(target) = std::str::from_utf8(input) else { return };
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    match CanonicalPath::parse(path) {
        Ok(canonical) => {
            assert_eq!(canonical.as_str(), path);
            has_one_spelling(path);
            // It can be cut in front of a segment.
            for (at, _) in path.match_indices('/').skip(1).take(2) {
                assert!(CanonicalPath::parse(&path[..at]).is_ok() && CanonicalPath::parse(&path[at..]).is_ok());
            }
        }
        Err(error) => {
            assert!(error.at <= path.len() && !error.to_string().is_empty(), "{path:?}");
            assert!(path.is_char_boundary(error.at), "{path:?}: {error}");
            // What stands before the fault is not at fault.
            let before = &path[..error.at];
            let prefixes = ["", "a", "/a"].map(|rest| CanonicalPath::parse(&format!("{before}{rest}")).is_ok());
            assert!(error.at == 0 || prefixes.contains(&true) || before.contains('%'), "{path:?}: {error}");
        }
    }
    endpoint(path);
    parameters(query);
    header(path);
}

/// Whatever a server in the chain decodes, resolves or merges, it finds the same segments.
fn has_one_spelling(path: &str) {
    assert!(path.starts_with('/') && path.bytes().all(|byte| byte.is_ascii_graphic()), "{path:?}");
    assert!(!path.contains(['\\', ';', '?', '#']), "{path:?}");
    // RFC 3986 §6.2.2: the normal form is the path itself, but for the case of hexadecimal digits.
    assert!(normal(path).eq_ignore_ascii_case(path), "{path:?} is also {:?}", normal(path));
    let decoded = String::from_utf8(decode(path.as_bytes())).unwrap_or_else(|_| panic!("{path:?} is not UTF-8"));
    assert!(!decoded.contains(|character: char| character.is_ascii_control()), "{path:?}");
    // Decoding leaves no escape to be decoded again, and neither makes nor removes a segment.
    assert_eq!(decode(decoded.as_bytes()), decoded.as_bytes(), "{path:?}");
    let segments = |path: &str| path.split(['/', '\\']).count();
    assert_eq!(segments(path), segments(&decoded), "{path:?}");
    let last = segments(path) - 1;
    for (at, segment) in decoded.split('/').enumerate() {
        assert!(segment != "." && segment != ".." && !segment.contains(';'), "{path:?}");
        assert!(!segment.is_empty() || at == 0 || at == last, "{path:?}");
    }
}

/// Unreserved characters unescaped, dot segments and empty segments resolved.
fn normal(path: &str) -> String {
    let mut unescaped = String::new();
    let mut rest = path;
    while let Some(at) = rest.find('%') {
        let (before, escape) = rest.split_at(at);
        let byte = decode(&escape.as_bytes()[..3.min(escape.len())]);
        unescaped.push_str(before);
        match byte[..] {
            [byte] if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) => unescaped.push(char::from(byte)),
            _ => unescaped.push_str(&escape[..3]),
        }
        rest = &escape[3..];
    }
    unescaped.push_str(rest);
    let mut segments: Vec<&str> = Vec::new();
    let mut ends_open = true;
    for segment in unescaped.split('/').skip(1) {
        ends_open = matches!(segment, "" | "." | "..");
        match segment {
            "" | "." => {}
            ".." => _ = segments.pop(),
            _ => segments.push(segment),
        }
    }
    let slash = if ends_open && !segments.is_empty() { "/" } else { "" };
    format!("/{}{slash}", segments.join("/"))
}

/// Every escape replaced by its byte; what is no escape stays.
fn decode(text: &[u8]) -> Vec<u8> {
    let digit = |at: usize| text.get(at).and_then(|byte| char::from(*byte).to_digit(16));
    let mut decoded = Vec::new();
    let mut at = 0;
    while let Some(&byte) = text.get(at) {
        match (byte, digit(at + 1), digit(at + 2)) {
            (b'%', Some(high), Some(low)) => {
                decoded.push(u8::try_from(high * 16 + low).unwrap());
                at += 3;
            }
            _ => {
                decoded.push(byte);
                at += 1;
            }
        }
    }
    decoded
}

/// Only whole segments of the prefix are Keygate's own, and what is its own never reaches the API.
fn endpoint(path: &str) {
    let ours = path == "/_keygate" || path.starts_with("/_keygate/");
    match Endpoint::of("/_keygate", path) {
        Endpoint::Api => assert!(!ours, "{path:?}"),
        Endpoint::Admin(rest) => assert_eq!(path, format!("/_keygate/admin/v1/{rest}")),
        _ => assert!(ours, "{path:?}"),
    }
}

/// Taking a parameter takes all of its values and no others; what nobody took is complained about by name.
fn parameters(query: &str) {
    let pairs: Vec<(String, String)> = form_urlencoded::parse(query.as_bytes()).into_owned().collect();
    let mut parameters = Parameters::parse(query);
    let values = |name: &str| -> Vec<&str> {
        pairs.iter().filter(|(key, _)| key == name).map(|(_, value)| value.as_str()).collect()
    };
    assert_eq!(parameters.all("scope"), values("scope"));
    assert!(parameters.all("scope").is_empty());
    let limits = values("limit");
    match parameters.once("limit") {
        Ok(limit) => assert!(limits.len() <= 1 && limit.as_deref() == limits.first().copied()),
        Err(problem) => assert!(limits.len() > 1 && problem.reply().status == 400),
    }
    let left = pairs.iter().any(|(name, _)| name != "scope" && name != "limit");
    match parameters.finish(&["scope", "limit"]) {
        Ok(()) => assert!(!left, "{query:?}"),
        Err(problem) => assert!(left && problem.reply().status == 400, "{query:?}"),
    }
}

/// Names that some server would take for one of our headers, whatever it does to case and to `_`.
fn header(name: &str) {
    let folded = name.to_ascii_lowercase().replace('_', "-");
    assert_eq!(is_identity_header(name), folded.starts_with("x-keygate-"), "{name:?}");
}
