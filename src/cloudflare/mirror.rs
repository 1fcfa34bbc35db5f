//! KV: which copies a decision needs, what the entry found there, and puts for the outbox.

use js_sys::{Array, Reflect};
use wasm_bindgen::JsValue;
use wasm_bindgen_futures::JsFuture;

use crate::{
    authority::outbox::{KvKey, Put},
    credential::RecognisedKey,
    edge::{Evidence, Missing},
};

use super::{
    config::KV_BINDING,
    env::Env,
    glue::{self, Limit},
};

/// How long a put may take, in milliseconds. One that takes longer counts as failed and is repeated, so that a KV that never answers
/// holds up no copy for good.
const PUT_DEADLINE_MS: u32 = 5_000;

/// What the entry found in KV.
#[derive(Debug, Default)]
pub(super) struct Mirrored {
    grant: Option<String>,
    account: Option<String>,
}

impl Mirrored {
    /// Reads the list of copies that were asked for, each a text or null; an empty one means that KV failed or was slow.
    pub(super) fn of(found: &Array) -> Option<Self> {
        let text = |at| found.get(at).as_string();
        (found.length() > 0).then(|| Mirrored { grant: text(0), account: text(1) })
    }

    pub(super) fn evidence(&self) -> Evidence<'_> {
        Evidence { grant: self.grant.as_deref(), account: self.account.as_deref() }
    }
}

/// The names of copies in KV, for the entry to read: first that of the grant, and a space between them.
pub(super) fn names(key: &RecognisedKey, missing: Missing) -> String {
    let grant = KvKey::grant(&key.digest).text();
    match missing {
        Missing::Grant => grant,
        Missing::Both => format!("{grant} {}", KvKey::account(key.account).text()),
    }
}

/// Puts one copy; true when KV says that it has it.
pub(super) async fn put(limit: &Limit, env: &Env, put: &Put) -> bool {
    put_one(limit, env, put).await.is_ok()
}

async fn put_one(limit: &Limit, env: &Env, put: &Put) -> Result<JsValue, JsValue> {
    let namespace = Reflect::get(env.as_ref(), &KV_BINDING.into())?;
    let name = put.kv_key.text();
    JsFuture::from(glue::put(limit, &namespace, &name, &put.value, &put.metadata, PUT_DEADLINE_MS)?).await
}
