//! KV: reading copies for a decision, putting them for the outbox.

use std::time::Duration;

use js_sys::{Array, JSON, Map, Object, Promise, Reflect};
use wasm_bindgen::{JsCast, JsValue, prelude::wasm_bindgen};
use wasm_bindgen_futures::JsFuture;

use crate::{
    authority::outbox::{KvKey, Put},
    credential::RecognisedKey,
};

use super::{config::KV_BINDING, env::Env, time::within};

#[wasm_bindgen]
extern "C" {
    /// `KVNamespace`.
    type Namespace;
    #[wasm_bindgen(method, catch, js_name = get)]
    fn get_many(this: &Namespace, names: &Array) -> Result<Promise, JsValue>;
    #[wasm_bindgen(method, catch)]
    fn put(this: &Namespace, name: &str, value: &str, options: &JsValue) -> Result<Promise, JsValue>;
}

/// How long a decision waits for KV before it asks the Authority. KV's own p99 is about 250 ms (Cloudflare changelog,
/// 2025-08-22).
const READ_DEADLINE: Duration = Duration::from_millis(500);

/// How long a put may take. One that takes longer counts as failed and is repeated, so that a KV that never answers
/// holds up no copy for good.
const PUT_DEADLINE: Duration = Duration::from_secs(5);

/// The two copies that decide about a key, as KV has them.
#[derive(Debug)]
pub(super) struct Mirrored {
    pub(super) grant: Option<String>,
    pub(super) account: Option<String>,
}

/// Reads both copies in one operation; none when KV fails or is slow.
pub(super) async fn read(env: &Env, key: &RecognisedKey) -> Option<Mirrored> {
    read_both(env, key).await.ok()
}

/// Puts one copy; true when KV says that it has it.
pub(super) async fn put(env: &Env, put: &Put) -> bool {
    put_one(env, put).await.is_ok()
}

async fn read_both(env: &Env, key: &RecognisedKey) -> Result<Mirrored, JsValue> {
    let [grant, account] =
        [KvKey::grant(&key.digest), KvKey::account(key.account)].map(|name| JsValue::from(name.text()));
    let reading = namespace(env)?.get_many(&Array::of2(&grant, &account))?;
    let found: Map = within(READ_DEADLINE, JsFuture::from(reading)).await.map_err(|_| JsValue::NULL)??.dyn_into()?;
    Ok(Mirrored { grant: found.get(&grant).as_string(), account: found.get(&account).as_string() })
}

async fn put_one(env: &Env, put: &Put) -> Result<(), JsValue> {
    let options = Object::new();
    Reflect::set(&options, &"metadata".into(), &JSON::parse(&put.metadata)?)?;
    let putting = namespace(env)?.put(&put.kv_key.text(), &put.value, &options)?;
    within(PUT_DEADLINE, JsFuture::from(putting)).await.map_err(|_| JsValue::NULL)??;
    Ok(())
}

fn namespace(env: &Env) -> Result<Namespace, JsValue> {
    Ok(Reflect::get(env.as_ref(), &KV_BINDING.into())?.unchecked_into())
}
