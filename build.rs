//! Compiles the route table: reads `routes.toml`, checks it, and writes it as Rust for `src/policy/route.rs` to include.
//! And packs the description of the API for `src/http/openapi.rs`.
//!
//! A wrong table stops the build with one line that names file, line and what would be right. The environment variable
//! `KEYGATE_ROUTES` names another file, relative to the package.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "this is how a build script talks to cargo and to people"
)]

use std::collections::HashMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

#[path = "src/policy"]
#[allow(dead_code, reason = "the crate uses what the build script does not")]
mod policy {
    pub mod catalogue;
    pub mod catalogue_source;
    pub mod feature;
    pub mod methods;
    pub mod pattern;
    pub mod route_source;
    pub mod scope;
    pub mod source;
}

use policy::route_source::{self, DemandSource, RuleEnvironment, RuleSource, TableSource};

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("{message}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), String> {
    println!("cargo:rerun-if-changed=build.rs");
    let sources = ["catalogue", "catalogue_source", "feature", "methods", "pattern", "route_source", "scope", "source"];
    for file in sources {
        println!("cargo:rerun-if-changed=src/policy/{file}.rs");
    }
    println!("cargo:rerun-if-env-changed=KEYGATE_ROUTES");
    let name = variable("KEYGATE_ROUTES").unwrap_or_else(|_| "routes.toml".to_owned());
    let file = Path::new(&variable("CARGO_MANIFEST_DIR")?).join(&name);
    println!("cargo:rerun-if-changed={}", file.display());
    println!("cargo:rustc-env=KEYGATE_ROUTES_FILE={}", file.display()); // for a test

    let text = std::fs::read_to_string(&file).map_err(|error| format!("{name}: {error}"))?;
    let table = route_source::parse(&text).map_err(|error| format!("{name}:{error}"))?;
    write("routes.rs", &as_rust(&table))?;

    println!("cargo:rerun-if-changed={DESCRIPTION}");
    let description = std::fs::read_to_string(DESCRIPTION).map_err(|error| format!("{DESCRIPTION}: {error}"))?;
    let (phrases, packed) = pack(description);
    write("openapi.rs", &format!("const PHRASES: &[&str] = &{phrases:?};\nconst PACKED: &str = {packed:?};\n"))
}

fn write(name: &str, rust: &str) -> Result<(), String> {
    let output = PathBuf::from(variable("OUT_DIR")?).join(name);
    std::fs::write(&output, rust).map_err(|error| format!("{}: {error}", output.display()))
}

fn variable(name: &str) -> Result<String, String> {
    std::env::var(name).map_err(|error| format!("{name}: {error}"))
}

/// Plain data in statics: nothing is parsed or allocated when the Worker starts.
fn as_rust(table: &TableSource) -> String {
    let mut statics = String::new();
    let rules: String =
        table.rules.iter().enumerate().map(|(index, rule)| rule_as_rust(&mut statics, index, rule)).collect();
    let mut entries = String::new();
    for (index, entry) in table.catalogue.entries().iter().enumerate() {
        // Writing to a `String` cannot fail.
        let verbs: String = entry.verbs.iter().map(|verb| format!("Cow::Borrowed({verb:?}), ")).collect();
        let _ = writeln!(statics, "static VERBS_{index}: [Cow<'static, str>; {}] = [{verbs}];", entry.verbs.len());
        let _ = writeln!(
            entries,
            "    CatalogueEntry {{ resource: Cow::Borrowed({:?}), description: Cow::Borrowed({:?}), verbs: Cow::Borrowed(&VERBS_{index}) }},",
            entry.resource, entry.description,
        );
    }
    format!(
        "{statics}pub static RULES: [Rule; {}] = [\n{rules}];\npub static CATALOGUE: [CatalogueEntry; {}] = [\n{entries}];\n",
        table.rules.len(),
        table.catalogue.entries().len(),
    )
}

fn rule_as_rust(statics: &mut String, index: usize, rule: &RuleSource) -> String {
    let demand = match &rule.demand {
        None => "None".to_owned(),
        Some(demand) => {
            let scopes: String =
                demand.scopes.iter().map(|scope| format!("Scope::compiled({:?}), ", scope.as_str())).collect();
            let _ = writeln!(statics, "static SCOPES_{index}: [Scope; {}] = [{scopes}];", demand.scopes.len());
            format!("Some({})", demand_as_rust(index, demand))
        }
    };
    format!(
        "    Rule {{ line: {}, methods: Methods::from_bits({}), pattern: Pattern::compiled({:?}), demand: {demand} }},\n",
        rule.line,
        rule.methods.bits(),
        rule.pattern.as_str(),
    )
}

fn demand_as_rust(index: usize, demand: &DemandSource) -> String {
    let environment = match demand.environment {
        None => "None",
        Some(RuleEnvironment::Live) => "Some(Environment::Live)",
        Some(RuleEnvironment::Test) => "Some(Environment::Test)",
    };
    let feature =
        demand.feature.as_ref().map_or("None".to_owned(), |feature| format!("Some(Cow::Borrowed({feature:?}))"));
    format!(
        "Demand {{ scopes: Cow::Borrowed(&SCOPES_{index}), environment: {environment}, strict: {}, workspace_required: {}, workspace: None, feature: {feature}, describe: false }}",
        demand.strict, demand.workspace,
    )
}

const DESCRIPTION: &str = "src/http/openapi.json";

/// Puts the characters from U+0001 on, which are not in the text, in place of the phrases that save most, and gives these.
/// Later phrases may have earlier ones in them. That is a tenth of that text's part of the upload: gzip looks back no further
/// than 32 KB.
fn pack(mut text: String) -> (Vec<String>, String) {
    let mut phrases = Vec::new();
    for code in '\u{1}'..='\u{14}' {
        assert!(!text.contains(code), "{DESCRIPTION} has a character in it that JSON escapes, or more than one line");
        let Some(phrase) = dearest(&text).map(str::to_owned) else { break };
        text = text.replace(&phrase, code.encode_utf8(&mut [0; 4]));
        phrases.push(phrase);
    }
    (phrases, text)
}

/// What stands in a text again and again: so many of its tokens, which are strings and whatever is between them.
fn dearest(text: &str) -> Option<&str> {
    const TOKENS: [usize; 6] = [1, 2, 5, 12, 24, 32];
    let mut begins = vec![0];
    let mut quoted = false;
    for (at, character) in text.char_indices() {
        let quote = character == '"';
        if quote || !quoted {
            begins.push(if quote && quoted { at + 1 } else { at });
        }
        quoted ^= quote;
    }
    begins.dedup();
    let mut counts = HashMap::new();
    for length in TOKENS {
        for ends in begins.windows(length + 1) {
            if let [first, .., end] = ends
                && let Some(phrase) = text.get(*first..*end)
            {
                *counts.entry(phrase).or_insert(0) += 1;
            }
        }
    }
    let saved = |phrase: &str, count: usize| (count - 1) * (phrase.len() - 1);
    counts.into_iter().max_by_key(|(phrase, count)| (saved(phrase, *count), *phrase)).map(|(phrase, _)| phrase)
}
