//! What depends on nothing but a text or two is worked out once in a history, however often it is asked for.

use std::{cell::RefCell, collections::HashMap, rc::Rc};

use keygate::{
    credential::Peppers,
    edge::{Presented, present},
};
use serde_json::Value as Json;
use sha2::{Digest as _, Sha256};

#[derive(Default)]
pub struct Memo {
    presented: HashMap<String, Vec<(Rc<Peppers>, Presented)>>,
    audited: RefCell<HashMap<String, Rc<Audited>>>,
}

/// An entry of the audit: what its text says, and the hash of that.
pub struct Audited {
    pub number: Option<u64>,
    pub previous: Option<String>,
    pub hash: String,
}

impl Memo {
    /// What a key's text is where these peppers are known.
    pub fn present(&mut self, text: &str, peppers: &Rc<Peppers>) -> Presented {
        let known = self.presented.entry(text.to_owned()).or_default();
        if let Some((_, presented)) = known.iter().find(|(other, _)| Rc::ptr_eq(other, peppers)) {
            return *presented;
        }
        let presented = present(Some(&format!("Bearer {text}")), peppers);
        known.push((peppers.clone(), presented));
        presented
    }

    /// An entry of the audit.
    pub fn audited(&self, text: &str) -> Rc<Audited> {
        if let Some(known) = self.audited.borrow().get(text) {
            return known.clone();
        }
        let entry = Rc::new(Audited::of(text));
        self.audited.borrow_mut().insert(text.to_owned(), entry.clone());
        entry
    }
}

impl Audited {
    fn of(text: &str) -> Self {
        let json: Json = serde_json::from_str(text).unwrap_or_default();
        Audited {
            number: json["number"].as_u64(),
            previous: json["previous"].as_str().map(str::to_owned),
            hash: hex::encode(Sha256::digest(text.as_bytes())),
        }
    }
}
