//! The description of this API, for programs: OpenAPI 3.1.

use super::{
    parameters::Parameters,
    problem::Problem,
    reply::{Reply, with_first_replaced},
};

// `openapi.json`, packed by `build.rs`: made from the product itself by `tests/openapi`, which also fails when it is no
// longer what the product does.
include!(concat!(env!("OUT_DIR"), "/openapi.rs"));

/// Where the document says that everything is, as it stands in its text. The default of `KEYGATE_PREFIX`.
const SERVER: &str = "\"/_keygate\"";

/// The answer to `GET openapi.json`. `prefix` is where this Worker's routes are: letters, digits, `_`, `-` and slashes.
#[must_use]
pub fn openapi(method: &str, prefix: &str, query: &str) -> Reply {
    if method != "GET" && method != "HEAD" {
        return Problem::method_not_allowed("GET, HEAD").reply();
    }
    if let Err(problem) = Parameters::parse(query).finish(&[]) {
        return problem.reply();
    }
    let mut document = String::new();
    unpack(&mut document, PACKED);
    Reply::of_json(200, with_first_replaced(&document, SERVER, &format!("\"{prefix}\"")))
}

/// Appends `packed` with the phrases in place of what stands for them: U+0001 for the first, and so on.
fn unpack(text: &mut String, packed: &str) {
    for character in packed.chars() {
        match (character as usize).checked_sub(1).and_then(|code| PHRASES.get(code)) {
            Some(phrase) => unpack(text, phrase),
            None => text.push(character),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOCUMENT: &str = include_str!("openapi.json");

    #[test]
    fn the_document_names_the_prefix_once_and_follows_it() {
        assert_eq!(DOCUMENT.matches(SERVER).count(), 1);
        let reply = openapi("GET", "/keys/gate", "");
        let document: serde_json::Value = serde_json::from_str(&reply.body).unwrap();
        assert_eq!(document["servers"][0]["url"], "/keys/gate");
        assert_eq!(openapi("GET", "/_keygate", "").body, DOCUMENT);
    }

    #[test]
    fn it_is_read_and_nothing_else() {
        assert_eq!(openapi("HEAD", "/_keygate", "").status, 200);
        assert_eq!(openapi("POST", "/_keygate", "").status, 405);
        assert_eq!(openapi("GET", "/_keygate", "x=1").status, 400);
    }
}
