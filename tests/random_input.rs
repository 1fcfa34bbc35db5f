//! The properties of the fuzz targets, on the kept corpus and on random changes of it. `scripts/fuzz` looks further, with
//! coverage as its guide; this needs no nightly toolchain and always takes the same inputs.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    reason = "what is outside #[test] functions is test code too"
)]

#[path = "fuzz/properties/mod.rs"]
mod properties;

use std::{
    fs,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
};

use keygate::{
    authority::{
        copy::{AccountCopy, CopyFault, SigningKeys},
        sync::SyncAnswer,
    },
    credential::{AccountRef, NumberedSecret},
};
use properties::{TARGETS, Target};

#[test]
fn every_input_of_the_corpus_has_its_property() {
    for target in TARGETS {
        for (name, input) in corpus(target) {
            check(target, &input, &name);
        }
    }
}

#[test]
fn every_target_has_a_corpus_and_every_corpus_a_target() {
    let mut folders: Vec<String> = fs::read_dir(fuzz().join("corpus"))
        .unwrap()
        .map(|folder| folder.unwrap().file_name().into_string().unwrap())
        .collect();
    folders.sort();
    let mut names = TARGETS.map(|target| target.name.to_owned());
    names.sort();
    assert_eq!(folders, names);
    for target in TARGETS {
        assert!(corpus(target).len() >= 5, "the corpus of {} is all but empty", target.name);
        assert!(fuzz().join("targets").join(target.name).with_extension("rs").exists(), "{}", target.name);
    }
}

/// Found by random inputs, `copy`: the MAC was decoded without regard to case, so that one copy had many spellings.
#[test]
fn a_copy_whose_mac_is_spelled_in_capitals_is_no_copy() {
    let signing = NumberedSecret::parse(&format!("2:{}", "22".repeat(32))).unwrap();
    let signing = SigningKeys::new(signing, None).unwrap();
    let account = AccountRef { slot: 3, number: 0x0102_0304 };
    let genuine = include_str!("vectors/account-copy.txt").trim_end();
    assert!(AccountCopy::verify(&signing, account, genuine).is_ok());
    let mac = genuine.split('.').nth(2).unwrap();
    let capitals = genuine.replace(mac, &mac.to_uppercase());
    assert_eq!(AccountCopy::verify(&signing, account, &capitals), Err(CopyFault::Form));
}

/// Found by random inputs, `message`: an answer that did not speak of the grant at all was read as "there is no such key", on
/// which a good key is refused with 401. The property holds against every answer in the corpus; here is what it rests on.
#[test]
fn an_answer_that_does_not_speak_of_the_key_is_not_taken_for_one_that_it_is_unknown() {
    let first = "sync 1 v1 000102030405060708090a0b0c0d0e0f 42 0 0 5000 0 reset";
    let digest = "000102030405060708090a0b0c0d0e0f1011121314151617";
    for (lines, unknown) in [("", 0), ("account 16909060 -\n", 0), (&format!("grant {digest} -\n"), 1)] {
        let answer = format!("{first}\n{lines}end");
        properties::message::check(answer.as_bytes());
        let answer = SyncAnswer::parse(&answer).unwrap();
        assert_eq!(answer.grants.iter().filter(|(_, copy)| copy.is_none()).count(), unknown);
    }
    for silent in ["", "{}", "end", &format!("{first}\ngrant {digest}\nend"), &format!("{first}\ngrant {digest} -")] {
        assert_eq!(SyncAnswer::parse(silent), None, "{silent}");
    }
}

/// Found while writing the property `command`: `"012"` and `"+12"` were read as the number 12, but are other tags (RFC 9110 §8.8.3.2).
#[test]
fn an_if_match_that_spells_the_version_differently_does_not_match_it() {
    let input = |tag: &str| format!("PATCH accounts/acct_0000000001\nif-match: {tag}\n\n");
    for tag in ["\"012\"", "\"+12\"", "\"1\", \"012\"", "\"12\"", "W/\"12\""] {
        properties::command::check(input(tag).as_bytes());
    }
}

#[test]
fn key_texts() {
    random("key_text", 3_000);
}

#[test]
fn bearer_headers() {
    random("bearer", 3_000);
}

#[test]
fn scopes() {
    random("scope", 3_000);
}

#[test]
fn copies() {
    random("copy", 3_000);
}

#[test]
fn messages() {
    random("message", 3_000);
}

#[test]
fn paths_and_queries() {
    random("path", 3_000);
}

#[test]
fn admin_commands() {
    random("command", 3_000);
}

#[test]
fn json_texts() {
    random("json", 3_000);
}

/// Tries so many inputs: each one of the corpus, changed a few times.
fn random(name: &str, inputs: usize) {
    let target = *TARGETS.iter().find(|target| target.name == name).unwrap();
    let corpus: Vec<Vec<u8>> = corpus(target).into_iter().map(|(_, input)| input).collect();
    let dictionary = dictionary(target);
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    for number in 0..inputs {
        let mut input = corpus[random.below(corpus.len())].clone();
        for _ in 0..=random.below(4) {
            random.change(&mut input, &corpus, &dictionary);
        }
        check(target, &input, &format!("random input {number}"));
    }
}

fn check(target: Target, input: &[u8], what: &str) {
    if catch_unwind(AssertUnwindSafe(|| (target.check)(input))).is_err() {
        panic!("{what} of {} lacks its property (see above): b\"{}\"", target.name, input.escape_ascii());
    }
}

fn fuzz() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz")
}

/// The kept inputs with their names, always in the same order.
fn corpus(target: Target) -> Vec<(String, Vec<u8>)> {
    let mut paths: Vec<PathBuf> =
        fs::read_dir(fuzz().join("corpus").join(target.name)).unwrap().map(|file| file.unwrap().path()).collect();
    paths.sort();
    paths.into_iter().map(|path| (path.display().to_string(), fs::read(&path).unwrap())).collect()
}

/// The words of libFuzzer's dictionary for the target: lines `"word"`, with `\"`, `\\` and `\xAB` in them.
fn dictionary(target: Target) -> Vec<Vec<u8>> {
    let path = fuzz().join("dictionaries").join(target.name);
    let text = fs::read_to_string(path).unwrap();
    let words = text.lines().filter_map(|line| line.strip_prefix('"')?.strip_suffix('"'));
    words.map(unescape).collect()
}

fn unescape(word: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = word;
    while let Some((before, escape)) = rest.split_once('\\') {
        bytes.extend(before.bytes());
        rest = match escape.strip_prefix('x') {
            Some(digits) => {
                bytes.push(u8::from_str_radix(&digits[..2], 16).unwrap());
                &digits[2..]
            }
            None => {
                bytes.push(escape.as_bytes()[0]);
                &escape[1..]
            }
        };
    }
    bytes.extend(rest.bytes());
    bytes
}

/// Xorshift (Marsaglia 2003): the same numbers in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 16).unwrap() % limit
    }

    fn byte(&mut self) -> u8 {
        u8::try_from(self.below(256)).unwrap()
    }

    /// Makes one of the changes that libFuzzer makes, too.
    fn change(&mut self, input: &mut Vec<u8>, corpus: &[Vec<u8>], dictionary: &[Vec<u8>]) {
        let at = self.below(input.len() + 1);
        let end = at + self.below((input.len() - at).min(16) + 1);
        let inserted = match self.below(6) {
            0 => vec![self.byte()],
            1 => vec![b' ' + self.byte() % 95],
            2 => dictionary[self.below(dictionary.len())].clone(),
            3 => input[at..end].repeat(2),
            4 => {
                let other = &corpus[self.below(corpus.len())];
                other[self.below(other.len() + 1)..].to_vec()
            }
            _ => Vec::new(),
        };
        let end = if self.below(2) == 0 { at } else { end };
        input.splice(at..end, inserted);
    }
}
