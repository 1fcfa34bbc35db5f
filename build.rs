//! Compiles the route table: reads `routes.toml`, checks it, and writes it as Rust for `src/policy/route.rs` to include.
//!
//! A wrong table stops the build with one line that names file, line and what would be right. The environment variable
//! `KEYGATE_ROUTES` names another file, relative to the package.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "this is how a build script talks to cargo and to people"
)]

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

#[path = "src/policy"]
#[allow(dead_code, reason = "the crate uses what the build script does not")]
mod policy {
    pub mod methods;
    pub mod pattern;
    pub mod route_source;
    pub mod scope;
}

use policy::route_source::{self, RuleEnvironment, RuleSource};

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
    for file in ["build.rs", "methods.rs", "pattern.rs", "route_source.rs", "scope.rs"] {
        let folder = if file == "build.rs" { "" } else { "src/policy/" };
        println!("cargo:rerun-if-changed={folder}{file}");
    }
    println!("cargo:rerun-if-env-changed=KEYGATE_ROUTES");
    let name = variable("KEYGATE_ROUTES").unwrap_or_else(|_| "routes.toml".to_owned());
    let file = Path::new(&variable("CARGO_MANIFEST_DIR")?).join(&name);
    println!("cargo:rerun-if-changed={}", file.display());
    println!("cargo:rustc-env=KEYGATE_ROUTES_FILE={}", file.display()); // for a test

    let text = std::fs::read_to_string(&file).map_err(|error| format!("{name}: {error}"))?;
    let rules = route_source::parse(&text).map_err(|error| format!("{name}:{error}"))?;
    let output = PathBuf::from(variable("OUT_DIR")?).join("routes.rs");
    std::fs::write(&output, as_rust(&rules)).map_err(|error| format!("{}: {error}", output.display()))
}

fn variable(name: &str) -> Result<String, String> {
    std::env::var(name).map_err(|error| format!("{name}: {error}"))
}

/// Plain data in statics: nothing is parsed or allocated when the Worker starts.
fn as_rust(rules: &[RuleSource]) -> String {
    let mut statics = String::new();
    let mut elements = String::new();
    for (index, rule) in rules.iter().enumerate() {
        let scopes: String =
            rule.scopes.iter().map(|scope| format!("Scope::compiled({:?}), ", scope.as_str())).collect();
        let environment = match rule.environment {
            None => "None",
            Some(RuleEnvironment::Live) => "Some(Environment::Live)",
            Some(RuleEnvironment::Test) => "Some(Environment::Test)",
        };
        // Writing to a `String` cannot fail.
        let _ = writeln!(statics, "static SCOPES_{index}: [Scope; {}] = [{scopes}];", rule.scopes.len());
        let _ = writeln!(
            elements,
            "    Rule {{ methods: Methods::from_bits({}), pattern: Pattern::compiled({:?}), demand: Demand {{ scopes: Cow::Borrowed(&SCOPES_{index}), environment: {environment}, strict: {} }} }},",
            rule.methods.bits(),
            rule.pattern.as_str(),
            rule.strict,
        );
    }
    format!("{statics}pub static RULES: [Rule; {}] = [\n{elements}];\n", rules.len())
}
