//! The house rules that a compiler does not check: who may import whom, and who may name the runtime.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, clippy::string_slice)]

use std::{
    fs,
    path::{Path, PathBuf},
};

/// Each folder may import from those before it.
const ORDER: [&str; 7] = ["json", "credential", "policy", "authority", "edge", "http", "cloudflare"];

/// What only `cloudflare` may name.
const RUNTIME: [&str; 6] = ["worker", "wasm_bindgen", "wasm_bindgen_futures", "js_sys", "web_sys", "getrandom"];

#[test]
fn folders_import_only_to_the_left() {
    let mut seen = 0;
    for (place, folder) in ORDER.iter().enumerate() {
        for (path, text) in sources(folder) {
            for imported in crate_imports(&text) {
                let Some(target) = ORDER.iter().position(|name| *name == imported) else { continue };
                seen += 1;
                assert!(
                    target <= place,
                    "{} imports {imported}, which stands to the right of {folder}",
                    path.display()
                );
            }
        }
    }
    assert!(seen > 20, "the test found only {seen} imports: it no longer understands them");
}

#[test]
fn only_cloudflare_names_the_runtime() {
    for folder in ORDER.iter().filter(|folder| **folder != "cloudflare") {
        for (path, text) in sources(folder) {
            for name in RUNTIME {
                let named = code(&text).any(|line| names(line, name));
                assert!(!named, "{} names {name}", path.display());
            }
        }
    }
    let named = sources("cloudflare").iter().any(|(_, text)| code(text).any(|line| names(line, "wasm_bindgen")));
    assert!(named, "the test no longer recognises a name");
}

#[test]
fn every_folder_is_in_the_order() {
    for entry in fs::read_dir(root().join("src")).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_dir() {
            assert!(ORDER.contains(&entry.file_name().to_str().unwrap()), "{:?} has no place", entry.file_name());
        }
    }
}

#[test]
fn no_file_outgrows_its_subject() {
    for folder in ORDER {
        for (path, text) in sources(folder) {
            let lines = text.lines().count();
            assert!(lines <= 500, "{} has {lines} lines", path.display());
        }
    }
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn sources(folder: &str) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    collect(&root().join("src").join(folder), &mut found);
    assert!(!found.is_empty(), "there is no src/{folder}");
    found
}

fn collect(folder: &Path, found: &mut Vec<(PathBuf, String)>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).unwrap();
            found.push((path, text));
        }
    }
}

/// The lines that are not comments.
fn code(text: &str) -> impl Iterator<Item = &str> {
    text.lines().map(str::trim_start).filter(|line| !line.starts_with("//"))
}

/// The first segments behind `crate::`, also in `use crate::{a::b, c::d};`.
fn crate_imports(text: &str) -> Vec<String> {
    let code: String = code(text).collect::<Vec<_>>().join("\n");
    let mut imports = Vec::new();
    for (start, _) in code.match_indices("crate::") {
        let rest = &code[start + "crate::".len()..];
        if let Some(group) = rest.strip_prefix('{') {
            let mut depth = 0;
            let mut name = String::new();
            for character in group.chars() {
                match character {
                    '{' => depth += 1,
                    '}' if depth == 0 => break,
                    '}' => depth -= 1,
                    ',' if depth == 0 => imports.push(first(&std::mem::take(&mut name))),
                    _ if depth == 0 => name.push(character),
                    _ => {}
                }
            }
            imports.push(first(&name));
        } else {
            imports.push(first(rest));
        }
    }
    imports
}

fn first(path: &str) -> String {
    path.trim_start().chars().take_while(|character| character.is_alphanumeric() || *character == '_').collect()
}

fn names(line: &str, name: &str) -> bool {
    line.match_indices(name).any(|(start, _)| {
        let before = line[..start].chars().next_back();
        let after = line[start + name.len()..].starts_with("::");
        after && !before.is_some_and(|character| character.is_alphanumeric() || character == '_')
    })
}
