//! The environment, and the start of a WASM instance: what `worker` would bring, without the rest of it. That crate
//! exports classes for R2, containers and streams, which end up in every Worker, used or not.

use js_sys::Error;
use wasm_bindgen::{JsValue, prelude::wasm_bindgen};
use web_sys::console;

// The state that the glue of worker-build and the entry share with each instance; it outlives them.
#[wasm_bindgen(inline_js = "
export const state = globalThis.__worker_init_state = { criticalError: false, instanceId: 0 };
")]
extern "C" {
    type InitState;
    #[wasm_bindgen(thread_local_v2, js_name = state)]
    static INIT_STATE: InitState;
    #[wasm_bindgen(method, setter, js_name = criticalError)]
    fn set_critical_error(this: &InitState, critical: bool);
    #[wasm_bindgen(method, getter, js_name = instanceId)]
    fn instance_id(this: &InitState) -> u32;
    #[wasm_bindgen(method, setter, js_name = instanceId)]
    fn set_instance_id(this: &InitState, id: u32);
}

#[wasm_bindgen]
extern "C" {
    /// Secrets, variables and bindings, as the runtime hands them over.
    #[derive(Clone, Debug)]
    pub type Env;
}

/// Runs once per instance, before anything else of it: a panic gets into the log, and the instance a number.
#[wasm_bindgen(start, private)]
fn start() {
    std::panic::set_hook(Box::new(|panic| {
        console::error_2(&"Critical".into(), &Error::new(&format!("Rust panic: {panic}")));
        INIT_STATE.with(|state| state.set_critical_error(true));
    }));
    INIT_STATE.with(|state| state.set_instance_id(state.instance_id().wrapping_add(1)));
}

/// For the glue of worker-build, which asks by this name.
#[wasm_bindgen(js_name = __worker_init_state)]
pub fn init_state() -> JsValue {
    INIT_STATE.with(|state| state.into())
}

#[cfg(target_arch = "wasm32")]
#[global_allocator]
static ALLOCATOR: talc::wasm::WasmDynamicTalc = talc::wasm::new_wasm_dynamic_allocator();
