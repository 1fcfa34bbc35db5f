//! The exported functions, and who answers what.

use std::rc::Rc;

use wasm_bindgen::{JsValue, prelude::wasm_bindgen};
use web_sys::Request;

use crate::{
    credential::Environment,
    edge::{Presented, Step, Verdict, Verification, present},
    http::{self, Endpoint, GRACE, Parameters, Problem, Reply, WORKSPACE_HEADER},
    policy::{CanonicalPath, Decision, Demand, Denial, PathError, RouteTable, Rule},
};

use super::{
    admin,
    config::{Config, ConfigFault, Upstreams, config, prefix},
    convert,
    env::Env,
    health, upstream,
    verifier::{self, Context, Surroundings},
};

/// Every request enters here. Gives a `Response`, a `Request` to be sent upstream, or a promise of either; what needs
/// no I/O is answered without a promise.
///
/// # Errors
/// None that a caller could mend: the entry answers any with 503.
#[wasm_bindgen]
pub fn fetch(request: Request, env: Env, context: Context) -> Result<JsValue, JsValue> {
    #[cfg(feature = "trap")]
    super::trap::in_sync(&request);
    let url = request.url();
    let (path, query) = convert::path_and_query(&url);
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
        Endpoint::Verify | Endpoint::Whoami | Endpoint::Workspaces | Endpoint::Api => {
            let method = request.method();
            let route = match endpoint {
                Endpoint::Api => CanonicalPath::parse(path).map(|path| RouteTable::compiled().find(&method, path)),
                _ => Ok(None),
            };
            if let Ok(Some(rule)) = route
                && rule.demand().is_none()
            {
                return public(&request, settings);
            }
            let authorization = convert::header(&request, "authorization");
            let key = match present(authorization.as_deref(), &settings.peppers) {
                Presented::Missing => return answer(&Problem::missing_credential().reply()),
                Presented::Malformed(fault) => return answer(&Problem::malformed_credential(fault).reply()),
                Presented::Forged => return answer(&Problem::invalid_token().reply()),
                Presented::Recognised(key) => key,
            };
            let environment = settings.upstreams.as_ref().and_then(Upstreams::environment);
            let call = match Call::read(endpoint, &request, &method, route, query, environment) {
                Ok(call) => call,
                Err(problem) => return answer(&problem.reply()),
            };
            decide(request, env, context, config.clone(), Verification::new(key, call.demand()), call)
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
fn decide(
    request: Request,
    env: Env,
    context: Context,
    config: Rc<Result<Config, ConfigFault>>,
    mut verification: Verification,
    call: Call,
) -> Result<JsValue, JsValue> {
    let Ok(settings) = config.as_ref() else { return Err(JsValue::UNDEFINED) };
    let around = Surroundings { env: &env, context: &context, settings };
    let step = verifier::begin(&around, &mut verification);
    #[cfg(feature = "trap")]
    let at_once = !super::trap::is_async(&request);
    #[cfg(not(feature = "trap"))]
    let at_once = true;
    let step = match step {
        Step::Done(verdict) if at_once => {
            verifier::finish(&around, &verification, &verdict);
            return finish(verdict, &call, &request, settings);
        }
        step => step,
    };
    Ok(convert::promise(async move {
        let Ok(settings) = config.as_ref() else { return Err(JsValue::UNDEFINED) };
        #[cfg(feature = "trap")]
        super::trap::in_async(&request).await;
        let around = Surroundings { env: &env, context: &context, settings };
        let verdict = verifier::go_on(&around, &mut verification, step).await;
        verifier::finish(&around, &verification, &verdict);
        finish(verdict, &call, &request, settings)
    })
    .into())
}

/// Makes a trap of this instance known to the entry, which then ends every wait for it.
#[wasm_bindgen]
pub fn arm() {
    wasm_bindgen::handler::set_on_abort(trapped);
}

#[wasm_bindgen]
extern "C" {
    #[wasm_bindgen(js_name = __keygate_trapped)]
    fn report_trap();
}

fn trapped() {
    report_trap();
}

/// What a key holder asks for.
enum Call {
    /// A verdict about this.
    Verify(Demand),
    /// Who am I?
    Whoami,
    /// Where may I use my key?
    Workspaces,
    /// The API, by a rule of the route table.
    Api(Demand),
    /// The API, but no rule covers it. It takes the keys that a rule without an environment takes.
    NoRoute(Option<Environment>),
}

impl Call {
    fn read(
        endpoint: Endpoint<'_>,
        request: &Request,
        method: &str,
        route: Result<Option<&Rule>, PathError>,
        query: &str,
        environment: Option<Environment>,
    ) -> Result<Self, Problem> {
        let workspace = || convert::header(request, WORKSPACE_HEADER);
        match endpoint {
            Endpoint::Verify => Ok(Call::Verify(http::demand_of_query(query, workspace().as_deref())?)),
            Endpoint::Whoami | Endpoint::Workspaces => {
                if method != "GET" && method != "HEAD" {
                    return Err(Problem::method_not_allowed("GET, HEAD"));
                }
                Parameters::parse(query).finish(&[])?;
                Ok(if endpoint == Endpoint::Whoami { Call::Whoami } else { Call::Workspaces })
            }
            _ => {
                let rule = route.map_err(|error| Problem::field("path", error.to_string()))?;
                // Also where no route is, so that one whose feature is off looks the same.
                let workspace = http::named_workspace(workspace().as_deref())?;
                let Some(demand) = rule.and_then(Rule::demand) else { return Ok(Call::NoRoute(environment)) };
                let environment = demand.environment.or(environment);
                Ok(Call::Api(Demand { workspace, environment, ..demand.clone() }))
            }
        }
    }

    fn demand(&self) -> Demand {
        match self {
            Call::Verify(demand) | Call::Api(demand) => demand.clone(),
            Call::Whoami | Call::Workspaces => Demand { describe: true, ..Demand::default() },
            Call::NoRoute(environment) => Demand { environment: *environment, ..Demand::default() },
        }
    }
}

fn finish(verdict: Verdict, call: &Call, request: &Request, settings: &Config) -> Result<JsValue, JsValue> {
    let (decision, in_grace) = match verdict {
        Verdict::Decided(decision) => (decision, false),
        Verdict::InGrace(decision) => (decision, true),
        Verdict::Unknown => return answer(&Problem::invalid_token().reply()),
        Verdict::Undetermined => return answer(&Problem::indeterminate().reply()),
    };
    let principal = match decision {
        Decision::Allow(principal) => principal,
        Decision::Deny(denial) => {
            let reply = Problem::denial(&denial).reply();
            // Marked as where no route is, which it must not differ from.
            return answer(&if denial == Denial::FeatureDisabled { marked(reply, in_grace) } else { reply });
        }
    };
    let reply = match (call, &settings.upstreams) {
        (Call::Verify(_), _) => http::verified(&principal),
        (Call::Whoami, _) => http::whoami(&principal),
        (Call::Workspaces, _) => http::workspaces(&principal),
        (Call::NoRoute(_), _) => Problem::not_found().reply(),
        (Call::Api(_), None) => http::stand_in(&principal),
        (Call::Api(_), Some(upstreams)) => {
            let upstream = upstreams.of(principal.environment);
            return Ok(upstream::request(request, upstream, Some(&principal), in_grace)?.into());
        }
    };
    answer(&marked(reply, in_grace))
}

fn marked(reply: Reply, in_grace: bool) -> Reply {
    if in_grace { reply.with(GRACE.0, GRACE.1) } else { reply }
}

fn answer(reply: &Reply) -> Result<JsValue, JsValue> {
    Ok(convert::response(reply)?.into())
}
