//! The exported functions, and who answers what.

use std::rc::Rc;

use js_sys::Array;
use wasm_bindgen::{JsValue, prelude::wasm_bindgen};
use web_sys::Request;

use crate::{
    credential::{Environment, RecognisedKey},
    edge::{Presented, Step, Verdict, Verification, present},
    http::{self, Endpoint, GRACE, Parameters, Problem, Reply},
    policy::{CanonicalPath, Decision, Demand, Denial, PathError, RouteTable, Rule},
};

use super::{
    admin,
    config::{Config, ConfigFault, Upstreams, config, prefix},
    convert, demands,
    env::Env,
    health,
    mirror::{self, Mirrored},
    prepared::{self, Form},
    upstream,
    verifier::{self, Context, Read, Surroundings},
};

/// Every request enters here, with what most are decided by: each of these texts would otherwise be a call out of here and
/// back. Gives a `Response`, a `Request` to be sent upstream, or a promise of either; what needs no I/O is answered without
/// a promise. Or the names of copies in KV: then it is to be called again with these, in `mirrored`.
///
/// # Errors
/// None that a caller could mend: the entry answers any with 503.
#[wasm_bindgen]
pub fn decide(
    request: Request,
    env: Env,
    context: Context,
    url: &str,
    authorization: Option<String>,
    workspace: Option<String>,
    mirrored: Option<Array>,
) -> Result<JsValue, JsValue> {
    #[cfg(feature = "trap")]
    super::trap::in_sync(&request);
    let (path, query) = convert::path_and_query(url);
    let prefix = prefix(&env);
    let endpoint = Endpoint::of(&prefix, path);
    // These two say nothing that needs a secret, and so work without any.
    if endpoint == Endpoint::Health {
        return health::answer(&request, &env, query);
    }
    if endpoint == Endpoint::OpenApi {
        return answer(&http::openapi(&request.method(), &prefix, query));
    }
    let config = config(&env);
    let settings = match config.as_ref() {
        Ok(settings) => settings,
        Err(fault) => return answer(&fault.problem().reply()),
    };
    match endpoint {
        Endpoint::Admin(path) => admin::answer(&request, &env, config.clone(), settings, path, query),
        Endpoint::Health | Endpoint::OpenApi | Endpoint::Nothing => answer(&Problem::not_found().reply()),
        Endpoint::Verify | Endpoint::Whoami | Endpoint::Workspaces | Endpoint::Rotate | Endpoint::Api => {
            let route = match endpoint {
                Endpoint::Api => {
                    CanonicalPath::parse(path).map(|path| RouteTable::compiled().find(&request.method(), path))
                }
                _ => Ok(None),
            };
            if let Ok(Some(rule)) = route
                && rule.demand().is_none()
            {
                return public(&request, settings);
            }
            let key = match present(authorization.as_deref(), &settings.peppers) {
                Presented::Missing => return answer(&Problem::missing_credential().reply()),
                Presented::Malformed(fault) => return answer(&Problem::malformed_credential(fault).reply()),
                Presented::Forged => return Ok(prepared::invalid_token()?.into()),
                Presented::Recognised(key) => key,
            };
            let environment = settings.upstreams.as_ref().and_then(Upstreams::environment);
            let (form, demand) = match read(endpoint, &request, route, query, workspace.as_deref(), environment) {
                Ok(understood) => understood,
                Err(problem) => return answer(&problem.reply()),
            };
            let read = mirrored.as_ref().map(Mirrored::of);
            verify(request, env, context, config.clone(), Verification::new(key, demand), form, read)
        }
    }
}

/// A route that is open to everyone: whatever credential comes with the request is neither looked at nor sent on.
fn public(request: &Request, settings: &Config) -> Result<JsValue, JsValue> {
    match &settings.upstreams {
        Some(upstreams) => Ok(upstream::request(request, &upstreams.live, None, false)?.into()),
        None => answer(&http::public_stand_in()),
    }
}

/// Answers at once where what the isolate knows is enough.
fn verify(
    request: Request,
    env: Env,
    context: Context,
    config: Rc<Result<Config, ConfigFault>>,
    mut verification: Verification,
    form: Form,
    read: Read,
) -> Result<JsValue, JsValue> {
    let Ok(settings) = config.as_ref() else { return Err(JsValue::UNDEFINED) };
    let around = Surroundings { env: &env, context: &context, request: &request, settings };
    let step = verifier::begin(&around, &mut verification, &read);
    #[cfg(feature = "trap")]
    let at_once = !super::trap::is_async(&request);
    #[cfg(not(feature = "trap"))]
    let at_once = true;
    let step = match step {
        Step::Done(verdict) if at_once => {
            verifier::finish(&around, &verification, &verdict);
            return finish(verdict, verification.key(), form, &around);
        }
        Step::ReadMirror(missing) => return Ok(mirror::names(verification.key(), missing).into()),
        step => step,
    };
    Ok(convert::promise(async move {
        let Ok(settings) = config.as_ref() else { return Err(JsValue::UNDEFINED) };
        #[cfg(feature = "trap")]
        super::trap::in_async(&request).await;
        let around = Surroundings { env: &env, context: &context, request: &request, settings };
        let verdict = match verifier::go_on(&around, &mut verification, step, &read).await {
            Ok(verdict) => verdict,
            Err(missing) => return Ok(mirror::names(verification.key(), missing).into()),
        };
        verifier::finish(&around, &verification, &verdict);
        finish(verdict, verification.key(), form, &around)
    })
    .into())
}

/// Makes a trap of this instance known to the entry, which then ends every wait for it. And takes room, of which nothing
/// is touched yet: what an instance has at its start is enough for all that comes later.
#[wasm_bindgen]
pub fn arm() {
    wasm_bindgen::handler::set_on_abort(trapped);
    drop(std::hint::black_box(Vec::<u8>::with_capacity(ROOM)));
}

/// Bytes. With hundreds of keys at hand the heap takes about 0.7 MB, and the largest sync (256 uses and 256 counts, about 50
/// KB of text, which grows by doubling) on top of that; where the Authority runs in the same instance, as it does locally,
/// so does what it makes of it.
const ROOM: usize = 1024 * 1024;

#[wasm_bindgen]
extern "C" {
    #[wasm_bindgen(js_name = __keygate_trapped)]
    fn report_trap();
}

fn trapped() {
    report_trap();
}

/// What the request asks for, and what its key must be good for.
fn read(
    endpoint: Endpoint<'_>,
    request: &Request,
    route: Result<Option<&Rule>, PathError>,
    query: &str,
    workspace: Option<&str>,
    environment: Option<Environment>,
) -> Result<(Form, Rc<Demand>), Problem> {
    match endpoint {
        Endpoint::Verify => Ok((Form::Verdict, demands::of_query(query, workspace)?)),
        Endpoint::Whoami | Endpoint::Workspaces => {
            if !["GET", "HEAD"].contains(&request.method().as_str()) {
                return Err(Problem::method_not_allowed("GET, HEAD"));
            }
            Parameters::parse(query).finish(&[])?;
            let form = if endpoint == Endpoint::Whoami { Form::Whoami } else { Form::Workspaces };
            Ok((form, Demand { describe: true, ..Demand::default() }.into()))
        }
        Endpoint::Rotate => {
            if request.method() != "POST" {
                return Err(Problem::method_not_allowed("POST"));
            }
            Parameters::parse(query).finish(&[])?;
            // Of what is as it was seconds ago, no key is made.
            Ok((Form::Rotate, Demand { strict: true, ..Demand::default() }.into()))
        }
        _ => {
            let rule = route.map_err(|error| Problem::field("path", error.to_string()))?;
            // Also where no route is, so that one whose feature is off looks the same.
            let workspace = http::named_workspace(workspace)?;
            let Some(demand) = rule.and_then(Rule::demand) else {
                // It takes the keys that a rule without an environment takes.
                return Ok((Form::NoRoute, Demand { environment, ..Demand::default() }.into()));
            };
            let environment = demand.environment.or(environment);
            Ok((Form::Api, Demand { workspace, environment, ..demand.clone() }.into()))
        }
    }
}

fn finish(verdict: Verdict, key: &RecognisedKey, form: Form, around: &Surroundings<'_>) -> Result<JsValue, JsValue> {
    let Surroundings { request, settings, .. } = around;
    let (decision, in_grace) = match verdict {
        Verdict::Decided(decision) => (decision, false),
        Verdict::InGrace(decision) => (decision, true),
        Verdict::Unknown => return Ok(prepared::invalid_token()?.into()),
        Verdict::Undetermined => return answer(&Problem::indeterminate().reply()),
    };
    if form == Form::Api
        && let Decision::Allow(principal) = &decision
        && let Some(upstreams) = &settings.upstreams
    {
        let upstream = upstreams.of(principal.environment);
        return Ok(upstream::request(request, upstream, Some(principal), in_grace)?.into());
    }
    if form == Form::Rotate
        && let Decision::Allow(_) = &decision
    {
        return Ok(admin::rotate_own(request, around.env, key).into());
    }
    Ok(prepared::answer(&key.digest, form, in_grace, decision, |decision| reply(decision, form, in_grace))?.into())
}

/// What the decision sounds like.
fn reply(decision: &Decision, form: Form, in_grace: bool) -> Reply {
    let reply = match (decision, form) {
        (Decision::Deny(denial), _) => {
            let reply = Problem::denial(denial).reply();
            // Marked as where no route is, which it must not differ from.
            return if *denial == Denial::FeatureDisabled { marked(reply, in_grace) } else { reply };
        }
        (Decision::Allow(principal), Form::Verdict) => http::verified(principal),
        (Decision::Allow(principal), Form::Whoami) => http::whoami(principal),
        (Decision::Allow(principal), Form::Workspaces) => http::workspaces(principal),
        (Decision::Allow(principal), Form::Api) => http::stand_in(principal),
        (Decision::Allow(_), Form::NoRoute | Form::Rotate) => Problem::not_found().reply(),
    };
    marked(reply, in_grace)
}

fn marked(reply: Reply, in_grace: bool) -> Reply {
    if in_grace { reply.with(GRACE.0, GRACE.1) } else { reply }
}

fn answer(reply: &Reply) -> Result<JsValue, JsValue> {
    Ok(convert::response(reply)?.into())
}
