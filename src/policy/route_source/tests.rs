use super::*;

/// A rule that is right, to put wrong ones after: its lines are 1 to 4.
const FIRST: &str = "[[route]]\nmethod = \"GET\"\npath = \"/v1/contacts/{id}\"\nscopes = [\"contacts:read\"]\n";

fn refusal(text: &str) -> Option<String> {
    parse(text).err().map(|error| error.to_string())
}

#[test]
fn reads_rules_in_file_order() {
    let text = r#"
# A comment.
[[route]]
method = ["PATCH", "DELETE"]
path = "/v1/contacts/{id}"
scopes = ["contacts:write", "*:*"]
strict = true

[[route]]
method = "*"
path = "/v1/{rest...}"
scopes = []
environment = "test"
strict = false

[[route]]
method = "GET"
path = "/v2"
scopes = []
"#;
    let rules = parse(text).unwrap().rules;
    let demands: Vec<&DemandSource> = rules.iter().map(|rule| rule.demand.as_ref().unwrap()).collect();
    assert_eq!(rules.len(), 3);
    assert_eq!(rules[0].line, 3);
    assert_eq!(rules[0].methods, Methods::parse(["DELETE", "PATCH"]).unwrap());
    assert_eq!(demands[0].scopes, [Scope::parse("contacts:write").unwrap(), Scope::parse("*").unwrap()]);
    assert_eq!(demands[0].environment, None);
    assert_eq!(demands.iter().map(|demand| demand.strict).collect::<Vec<_>>(), [true, false, false]);
    assert_eq!(rules[1].line, 9);
    assert_eq!(rules[1].methods, Methods::ALL);
    assert_eq!(rules[1].pattern.as_str(), "/v1/{rest...}");
    assert_eq!(demands[1].environment, Some(RuleEnvironment::Test));
    assert_eq!(parse(""), Ok(TableSource::default()));
    assert_eq!(parse(&FIRST.replace('\n', "\r\n")).unwrap().rules[0].line, 1);
}

#[test]
fn particular_rules_may_come_before_general_ones() {
    let rule = |method: &str, path: &str| format!("[[route]]\nmethod = {method}\npath = \"{path}\"\nscopes = []\n");
    let all: String = [
        rule("\"HEAD\"", "/v1/contacts"),
        rule("\"GET\"", "/v1/contacts"),
        rule("\"POST\"", "/v1/contacts"),
        rule("\"*\"", "/v1/contacts"),
        rule("\"GET\"", "/v1/me"),
        rule("\"GET\"", "/v1/{kind}"),
        rule("\"GET\"", "/v1/{rest...}"),
        rule("\"*\"", "/{rest...}"),
        rule("\"*\"", "/"),
    ]
    .concat();
    assert_eq!(parse(&all).map(|table| table.rules.len()), Ok(9));
}

#[test]
fn a_wrong_table_is_refused_with_its_line_and_what_would_be_right() {
    let rule = |method: &str, path: &str, more: &str| {
        format!("{FIRST}\n[[route]]\nmethod = {method}\npath = {path}\n{more}\n")
    };
    let get = |path: &str, more: &str| rule("\"GET\"", path, more);
    let a = "\"/a\"";
    let none = "scopes = []";
    for (text, error) in [
        // The file
        ("[route]\nmethod = \"GET\"".to_owned(), "1: expected `[[route]]`, with two brackets"),
        ("route = [\n  1,\n]".to_owned(), "2: expected `[[route]]` before each rule"),
        (
            format!("{FIRST}[[routes]]\n"),
            "5: unknown member `routes`; a route table holds `[[route]]` and `[[scope]]` only",
        ),
        (format!("{FIRST}path = \"/b\"\n"), "5: duplicate key"),
        (format!("{FIRST}[[route]\n"), "5: unclosed array table, expected `]`"),
        (get(a, "scopes = [\n"), "9: unclosed array, expected `]`"),
        // Members
        (
            get(a, "scope = [\"a:b\"]"),
            "9: unknown member `scope`; a route has `method`, `path`, `scopes` (or `resource` and `verb`) and, if need be, `workspace`, `feature`, `environment` and `strict`, or else `public`",
        ),
        (
            get(a, ""),
            "6: this route needs `scopes`, such as `scopes = [\"contacts:read\"]`, or `scopes = []` for any valid key",
        ),
        (format!("{FIRST}[[route]]\npath = \"/a\"\n"), "5: this route needs `method`, such as `method = \"GET\"`"),
        (
            format!("{FIRST}[[route]]\nmethod = \"GET\"\n"),
            "5: this route needs `path`, such as `path = \"/v1/contacts/{id}\"`",
        ),
        // Methods
        (
            rule("\"get\"", a, none),
            "7: `method`, \"get\": expected GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS or \"*\"",
        ),
        (
            rule("[\n\"GET\",\n\"PSOT\"]", a, none),
            "9: `method`, \"PSOT\": expected GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS or \"*\"",
        ),
        (rule("[\"GET\", \"GET\"]", a, none), "7: `method`, \"GET\": name each method once"),
        (
            rule("[\"GET\", \"*\"]", a, none),
            "7: `method`, \"*\": \"*\" stands for all methods; write nothing beside it",
        ),
        (rule("[]", a, none), "7: `method`: name at least one method, or \"*\" for all"),
        (rule("1", a, none), "7: `method`: expected a text such as \"GET\", or a list such as [\"GET\", \"POST\"]"),
        // Patterns
        (get("1", none), "8: `path`: expected a text such as \"/v1/contacts/{id}\""),
        (get("\"v1\"", none), "8: `path`, \"v1\", byte 0: expected `/`"),
        (
            get("\"/v1/{a...}/b\"", none),
            "8: `path`, \"/v1/{a...}/b\", byte 4: expected `{name...}` as the last segment only",
        ),
        (
            get("\"/v1/%63ontacts\"", none),
            "8: `path`, \"/v1/%63ontacts\", byte 4: expected no percent-escapes: a literal matches the bytes of the path",
        ),
        // Scopes
        (
            get(a, "scopes = \"a:b\""),
            "9: `scopes`: expected a list such as [\"contacts:read\"], or [] for any valid key",
        ),
        (get(a, "scopes = [1]"), "9: `scopes`: expected a list such as [\"contacts:read\"], or [] for any valid key"),
        (
            get(a, "scopes = [\n  \"a:b\",\n  \"contacts.read\",\n]"),
            "11: `scopes`, \"contacts.read\", byte 8: expected a lowercase letter, a digit, `_` or `-`",
        ),
        (get(a, "scopes = [\"a:b\", \"a:b\"]"), "9: `scopes`, \"a:b\": name each scope once"),
        // Environment
        (
            get(a, "scopes = []\nenvironment = \"admin\""),
            "10: `environment`: expected \"live\" or \"test\"; without it, both are accepted",
        ),
        // Strict
        (
            get(a, "scopes = []\nstrict = \"true\""),
            "10: `strict`: expected true or false, without quotes; without it, false",
        ),
        (get(a, "scopes = []\nstrict = 1"), "10: `strict`: expected true or false, without quotes; without it, false"),
        // Rules that are never reached
        (
            format!("{FIRST}{FIRST}"),
            "5: this route is never reached: the route in line 1 covers it; put the narrower one first",
        ),
        (
            get("\"/v1/contacts/me\"", "scopes = []\nenvironment = \"test\""),
            "6: this route is never reached: the route in line 1 covers it; put the narrower one first",
        ),
        (
            rule("\"HEAD\"", "\"/v1/contacts/{other}\"", none),
            "6: this route is never reached: the route in line 1 covers it; put the narrower one first",
        ),
        (
            rule("[\"POST\", \"GET\"]", "\"/v1/contacts/me\"", none),
            "6: GET of this route is never reached: the route in line 1 covers it; put the narrower one first, or leave out GET here",
        ),
        (
            "[[route]]\nmethod = \"*\"\npath = \"/v1/{rest...}\"\nscopes = []\n".to_owned() + FIRST,
            "5: this route is never reached: the route in line 1 covers it; put the narrower one first",
        ),
    ] {
        assert_eq!(refusal(&text), Some(error.to_owned()), "{text}");
    }
}

#[test]
fn a_rule_can_need_a_workspace_and_a_feature_or_nothing_at_all() {
    let text = r#"
[[route]]
method = "GET"
path = "/a"
resource = "contacts"
verb = ["read", "download"]
workspace = true
feature = "export-2"

[[route]]
method = "GET"
path = "/b"
resource = "contacts"
verb = "*"

[[route]]
method = "GET"
path = "/c"
public = true

[[route]]
method = "GET"
path = "/d"
scopes = []
workspace = false
public = false
"#;
    let rules = parse(text).unwrap().rules;
    let demand = |index: usize| rules[index].demand.as_ref();
    let scopes = |texts: &[&str]| texts.iter().map(|text| Scope::parse(text).unwrap()).collect::<Vec<_>>();
    let first = demand(0).unwrap();
    assert_eq!(first.scopes, scopes(&["contacts:read", "contacts:download"]));
    assert!(first.workspace);
    assert_eq!(first.feature.as_deref(), Some("export-2"));
    assert_eq!(demand(1).unwrap().scopes, scopes(&["contacts:*"]));
    assert_eq!(demand(2), None);
    let last = demand(3).unwrap();
    assert!(!last.workspace && last.feature.is_none() && last.scopes.is_empty());
}

#[test]
fn wrong_rights_workspaces_features_and_public_routes_are_refused_with_what_would_be_right() {
    const FLAG: &str = "expected true or false, without quotes; without it, false";
    const VERB: &str = "`verb`: expected a text such as \"read\", or a list such as [\"read\", \"download\"]";
    const TWICE: &str = "`scopes` beside `resource` or `verb`: they say the same; leave out one of the two";
    let beside = |name: &str| {
        format!(
            "`{name}` beside `public = true`: a public route is passed on without looking at any credential; leave out one of the two"
        )
    };
    for (members, line, message) in [
        ("resource = \"a\"", 4, "`resource` needs `verb` beside it, such as `verb = \"read\"`"),
        ("verb = \"read\"", 4, "`verb` needs `resource` beside it, such as `resource = \"contacts\"`"),
        ("resource = \"a\"\nverb = \"read\"\nscopes = []", 6, TWICE),
        ("verb = \"read\"\nscopes = []", 5, TWICE),
        ("resource = 1\nverb = \"read\"", 4, "`resource`: expected a text such as \"contacts\""),
        ("resource = \"A\"\nverb = \"read\"", 4, "`resource`, \"A\", byte 0: expected a lowercase letter or `*`"),
        ("resource = \"a\"\nverb = 1", 5, VERB),
        ("resource = \"a\"\nverb = []", 5, VERB),
        ("resource = \"a\"\nverb = [\"read\",\n1]", 6, VERB),
        ("resource = \"a\"\nverb = \"Read\"", 5, "`verb`, \"Read\": expected a lowercase letter or `*`"),
        ("resource = \"a\"\nverb = [\"x\",\n\"x\"]", 6, "`verb`, \"x\": name each scope once"),
        ("scopes = []\nworkspace = \"true\"", 5, &format!("`workspace`: {FLAG}")),
        ("scopes = []\nfeature = true", 5, &format!("`feature`: expected {FEATURE}")),
        ("scopes = []\nfeature = \"Beta\"", 5, &format!("`feature`: expected {FEATURE}")),
        ("public = 1", 4, &format!("`public`: {FLAG}")),
        ("public = true\nscopes = []", 5, &beside("scopes")),
        ("public = true\nstrict = false", 5, &beside("strict")),
        ("public = true\nfeature = \"beta\"", 5, &beside("feature")),
    ] {
        let text = format!("[[route]]\nmethod = \"GET\"\npath = \"/a\"\n{members}\n");
        assert_eq!(refusal(&text), Some(format!("{line}: {message}")), "{text}");
    }
}

#[test]
fn what_the_catalogue_does_not_have_cannot_be_demanded() {
    let catalogue = "[[scope]]\nresource = \"contacts\"\ndescription = \"People\"\nverbs = [\"read\", \"write\"]\n";
    let table = |rights: &str| format!("[[route]]\nmethod = \"GET\"\npath = \"/a\"\n{rights}\n{catalogue}");
    for (rights, error) in [
        (
            "scopes = [\"contacts:read\",\n\"contact:write\"]",
            "5: `scopes`, \"contact:write\": there is no scope `contact:write` in the catalogue; the nearest is `contacts:write`",
        ),
        (
            "resource = \"contacts\"\nverb = \"rite\"",
            "5: `verb`, \"rite\": there is no scope `contacts:rite` in the catalogue; the nearest is `contacts:write`",
        ),
    ] {
        assert_eq!(refusal(&table(rights)), Some(error.to_owned()));
    }
    for rights in ["scopes = [\"contacts:read\", \"*\"]", "scopes = []", "resource = \"contacts\"\nverb = \"*\""] {
        assert_eq!(refusal(&table(rights)), None, "{rights}");
    }
}
