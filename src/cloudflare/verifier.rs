//! The loop around the state machine of `edge`: reads KV, asks the Authority, keeps time. What requests share is one
//! [`View`] per slot, plain data of the isolate.

use std::cell::RefCell;

use js_sys::Promise;
use wasm_bindgen::{JsValue, prelude::wasm_bindgen};
use wasm_bindgen_futures::JsFuture;
use web_sys::Request;

use crate::{
    authority::copy::SigningKeys,
    edge::{Call, Missing, Step, TELL_AFTER_MS, Verdict, Verification, View},
    policy::{Address, Decision, UnixMillis},
};

use super::{
    config::{Config, config},
    convert,
    env::Env,
    log::log,
    mirror::Mirrored,
    stub,
    time::{now, pause},
};

#[wasm_bindgen]
extern "C" {
    /// `ExecutionContext`.
    #[derive(Clone, Debug)]
    pub type Context;
    #[wasm_bindgen(method, catch, js_name = waitUntil)]
    fn wait_until(this: &Context, work: &Promise) -> Result<(), JsValue>;
}

/// A request's surroundings.
pub(super) struct Surroundings<'a> {
    pub(super) env: &'a Env,
    pub(super) context: &'a Context,
    pub(super) request: &'a Request,
    pub(super) settings: &'a Config,
}

/// What KV has, as far as that is known: none = it was not asked yet; `Some(None)`: it failed.
pub(super) type Read = Option<Option<Mirrored>>;

/// Goes as far as it can without I/O.
pub(super) fn begin(around: &Surroundings<'_>, verification: &mut Verification, read: &Read) -> Step {
    let step = with_view(around.settings, verification.key().account.slot, |view| verification.next(view, now()));
    // A slot that is not configured holds nothing we could ask.
    at_hand(around, verification, step.unwrap_or(Step::Done(Verdict::Undetermined)), read)
}

/// Goes on from `step` to the verdict, or to where it needs copies from KV: then it is to begin anew, with what KV has.
///
/// # Errors
/// The copies that it needs.
pub(super) async fn go_on(
    around: &Surroundings<'_>,
    verification: &mut Verification,
    mut step: Step,
    read: &Read,
) -> Result<Verdict, Missing> {
    let Surroundings { env, settings, .. } = around;
    let slot = verification.key().account.slot;
    loop {
        let next = match step {
            Step::Done(verdict) => return Ok(verdict),
            Step::ReadMirror(missing) => return Err(missing),
            // Said at once, above.
            Step::ReadAddress => return Ok(Verdict::Undetermined),
            Step::Sync(call) => {
                // It goes on when this request's client goes away, for it is what others wait for, too.
                let syncing = behind(around, sync((*env).clone(), slot, *call));
                let _ = JsFuture::from(syncing).await;
                with_view(settings, slot, |view| verification.next(view, now()))
            }
            Step::Wait(millis) => {
                pause(millis).await;
                with_view(settings, slot, |view| verification.next(view, now()))
            }
        };
        step = at_hand(around, verification, next.unwrap_or(Step::Done(Verdict::Undetermined)), read);
    }
}

/// The step behind `step`, if what that asks for is at hand: what KV has where it was read before, and the address that the
/// request comes from. No client can set that one itself (Cloudflare, HTTP headers, `CF-Connecting-IP`).
fn at_hand(around: &Surroundings<'_>, verification: &mut Verification, mut step: Step, read: &Read) -> Step {
    let slot = verification.key().account.slot;
    loop {
        let next = match (step, read) {
            (Step::ReadMirror(_), Some(read)) => {
                let (evidence, signing) = (read.as_ref().map(Mirrored::evidence), &around.settings.signing);
                with_view(around.settings, slot, |view| verification.mirror_read(view, signing, evidence, now()))
            }
            (Step::ReadAddress, _) => {
                let header = convert::header(around.request, "cf-connecting-ip");
                verification.comes_from(header.as_deref().and_then(Address::parse));
                with_view(around.settings, slot, |view| verification.next(view, now()))
            }
            (step, _) => return step,
        };
        step = next.unwrap_or(Step::Done(Verdict::Undetermined));
    }
}

/// What is done behind the answer: the use or the refusal is noted, and the lease renewed when it is half over.
pub(super) fn finish(around: &Surroundings<'_>, verification: &Verification, verdict: &Verdict) {
    let (slot, digest) = (verification.key().account.slot, verification.key().digest);
    let in_grace = matches!(verdict, Verdict::InGrace(_));
    let due = with_view(around.settings, slot, |view| {
        let now = now();
        let tell = match verdict {
            Verdict::Decided(Decision::Allow(principal)) | Verdict::InGrace(Decision::Allow(principal)) => {
                view.used(&digest, principal.scopes_used, in_grace, now)
            }
            Verdict::Decided(Decision::Deny(denial)) | Verdict::InGrace(Decision::Deny(denial)) => {
                denial.reason().is_some_and(|reason| view.refused(&digest, reason, now))
            }
            Verdict::Unknown | Verdict::Undetermined => false,
        };
        (view.renewal(now), tell)
    });
    let Some((renewal, tell)) = due else { return };
    if let Some(call) = renewal {
        let _ = behind(around, sync(around.env.clone(), slot, call));
    }
    if tell {
        let env = around.env.clone();
        let _ = behind(around, async move {
            pause(TELL_AFTER_MS as u32).await;
            // The first sync after a failure tells nothing yet.
            for _ in 0..2 {
                let call = match config(&env).as_ref() {
                    Ok(settings) => with_view(settings, slot, |view| view.tell(now())).flatten(),
                    Err(_) => None,
                };
                let Some(call) = call else { break };
                let tells = call.tells();
                sync(env.clone(), slot, call).await;
                if tells {
                    break;
                }
            }
        });
    }
}

/// Has the runtime keep the request's context until `work` is done.
fn behind(around: &Surroundings<'_>, work: impl Future<Output = ()> + 'static) -> Promise {
    let promise = convert::promise(async move {
        work.await;
        Ok(JsValue::UNDEFINED)
    });
    if around.context.wait_until(&promise).is_err() {
        log("waitUntil was refused");
    }
    promise
}

/// Makes one sync, and notes how it ended.
async fn sync(env: Env, number: u8, call: Call) {
    let config = config(&env);
    let Ok(settings) = config.as_ref() else { return };
    let Some(slot) = settings.slots.get(number) else { return };
    let answer = stub::sync(&env, slot, &call).await;
    let understood =
        with_view(settings, number, |view| end(view, &call, answer.as_deref().ok(), &settings.signing, now()));
    match answer {
        Err(error) => log(&format!("authority: {}", error.0)),
        Ok(_) if understood != Some(true) => log("authority: its answer is not understood"),
        Ok(_) => {}
    }
}

fn end(view: &mut View, call: &Call, answer: Option<&str>, signing: &SigningKeys, now: UnixMillis) -> bool {
    match answer {
        Some(text) => view.answered(call, text, signing, now),
        None => {
            view.failed(call, now);
            true
        }
    }
}

/// Lets `body` work with what this isolate knows of a slot; none if there is no such slot.
fn with_view<T>(settings: &Config, slot: u8, body: impl FnOnce(&mut View) -> T) -> Option<T> {
    thread_local! {
        static VIEWS: RefCell<Vec<View>> = const { RefCell::new(Vec::new()) };
    }
    settings.slots.get(slot)?;
    VIEWS.with(|views| {
        let mut views = views.try_borrow_mut().ok()?;
        if let Some(view) = views.iter_mut().find(|view| view.slot() == slot) {
            return Some(body(view));
        }
        let mut seed = [0; 8];
        getrandom::fill(&mut seed).ok()?;
        views.push(View::new(slot, settings.slots.count(), u64::from_le_bytes(seed)));
        views.last_mut().map(body)
    })
}
