//! Secrets and variables, parsed at the door.

use std::{cell::OnceCell, fmt, ops::RangeInclusive, rc::Rc};

use js_sys::Reflect;
use wasm_bindgen::JsValue;

use crate::{
    authority::{copy::SigningKeys, lease::Terms},
    credential::{Environment, NumberedSecret, Pepper, Peppers, RootToken, SecretError},
    http::{Code, Problem, admin::MAX_KEY_DAYS_MAX},
};

use super::env::Env;

/// What a deployment is told from outside.
#[derive(Debug)]
pub(super) struct Config {
    pub(super) peppers: Peppers,
    pub(super) signing: SigningKeys,
    pub(super) root: RootToken,
    pub(super) slots: Slots,
    pub(super) upstreams: Option<Upstreams>,
    pub(super) terms: Terms,
    /// For how many days keys may live at most; none = for ever.
    pub(super) max_key_days: Option<u32>,
}

/// The API behind Keygate.
#[derive(Debug)]
pub(super) struct Upstreams {
    /// Where requests with live keys go, and those that need none.
    pub(super) live: String,
    /// Where requests with test keys go; none = to `live`, but only by routes that are for test keys alone.
    pub(super) test: Option<String>,
}

/// A setting that is missing or not of its form. Nothing is decided until it is mended.
#[derive(Debug)]
pub(super) struct ConfigFault {
    name: &'static str,
    detail: String,
}

/// The shards that exist: which slots, and where each object is to be created.
#[derive(Debug)]
pub(super) struct Slots(Vec<Slot>);

/// One shard.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) number: u8,
    /// A Durable Object location hint, such as `weur`. It counts only when the object is created; objects never move.
    pub(super) location: Option<String>,
}

/// The binding of the KV namespace.
pub(super) const KV_BINDING: &str = "KEYGATE_KV";

/// The binding of the Durable Object class.
pub(super) const AUTHORITY_BINDING: &str = "KEYGATE_AUTHORITY";

/// The configuration of this isolate, parsed at its first request. The environment of an isolate never changes.
pub(super) fn config(env: &Env) -> Rc<Result<Config, ConfigFault>> {
    thread_local! {
        static CONFIG: OnceCell<Rc<Result<Config, ConfigFault>>> = const { OnceCell::new() };
    }
    CONFIG.with(|config| config.get_or_init(|| Rc::new(Config::read(env))).clone())
}

/// Where Keygate's own routes begin. Known even when nothing else is, so that `healthz` answers.
pub(super) fn prefix(env: &Env) -> Rc<str> {
    thread_local! {
        static PREFIX: OnceCell<Rc<str>> = const { OnceCell::new() };
    }
    PREFIX.with(|prefix| {
        prefix.get_or_init(|| text(env, PREFIX_NAME).as_deref().unwrap_or(PREFIX_DEFAULT).into()).clone()
    })
}

/// What this Worker's own settings say of leases. Known even when nothing else is.
pub(super) fn terms(env: &Env) -> Result<Terms, ConfigFault> {
    let lease = whole(env, LEASE_NAME, LEASE_DEFAULT, 1..=60).ok_or_else(|| ConfigFault {
        name: LEASE_NAME,
        detail: "must be a whole number of seconds from 1 to 60.".into(),
    })?;
    let grace = whole(env, GRACE_NAME, GRACE_DEFAULT, 0..=300).ok_or_else(|| ConfigFault {
        name: GRACE_NAME,
        detail: "must be a whole number of seconds from 0 to 300.".into(),
    })?;
    Ok(Terms { lease_ms: lease * 1_000, grace_ms: grace * 1_000 })
}

fn max_key_days(env: &Env) -> Result<Option<u32>, ConfigFault> {
    let days = whole(env, MAX_KEY_DAYS_NAME, 0, 0..=MAX_KEY_DAYS_MAX.into()).ok_or_else(|| ConfigFault {
        name: MAX_KEY_DAYS_NAME,
        detail: format!("must be a whole number of days from 1 to {MAX_KEY_DAYS_MAX}, or 0 for no limit."),
    })?;
    Ok(u32::try_from(days).ok().filter(|days| *days > 0))
}

impl Config {
    fn read(env: &Env) -> Result<Self, ConfigFault> {
        let first = required(env, "KEYGATE_PEPPER", Pepper::parse)?;
        let peppers = optional(env, "KEYGATE_PEPPER_2", Pepper::parse)?;
        let signing = required(env, "KEYGATE_SIGNING_KEY", NumberedSecret::parse)?;
        let signing_2 = optional(env, "KEYGATE_SIGNING_KEY_2", NumberedSecret::parse)?;
        check_prefix(env)?;
        Ok(Config {
            peppers: Peppers::new(first, peppers).map_err(|error| fault("KEYGATE_PEPPER_2", error))?,
            signing: SigningKeys::new(signing, signing_2).map_err(|error| fault("KEYGATE_SIGNING_KEY_2", error))?,
            root: required(env, "KEYGATE_ROOT_TOKEN", RootToken::parse)?,
            slots: Slots::parse(text(env, SLOTS_NAME).as_deref().unwrap_or(SLOTS_DEFAULT))?,
            upstreams: Upstreams::read(env)?,
            terms: terms(env)?,
            max_key_days: max_key_days(env)?,
        })
    }
}

impl Upstreams {
    fn read(env: &Env) -> Result<Option<Self>, ConfigFault> {
        let read = |name| text(env, name).map(|url| upstream(name, &url)).transpose();
        match (read(UPSTREAM_NAME)?, read(UPSTREAM_TEST_NAME)?) {
            (Some(live), test) => Ok(Some(Upstreams { live, test })),
            (None, None) => Ok(None),
            (None, Some(_)) => Err(ConfigFault {
                name: UPSTREAM_TEST_NAME,
                detail: "is set, but UPSTREAM is not, which is where requests with live keys go.".into(),
            }),
        }
    }

    /// What a request demands of the environment where its route demands nothing: a test key never reaches what is live.
    pub(super) fn environment(&self) -> Option<Environment> {
        if self.test.is_some() { None } else { Some(Environment::Live) }
    }

    /// Where requests with keys of this environment go.
    pub(super) fn of(&self, environment: Environment) -> &str {
        match &self.test {
            Some(test) if environment == Environment::Test => test,
            _ => &self.live,
        }
    }
}

impl fmt::Display for ConfigFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.name, self.detail)
    }
}

impl ConfigFault {
    /// What callers are told: which setting, and what would be right; never its value.
    pub(super) fn problem(&self) -> Problem {
        Problem::new(Code::Misconfigured, self.to_string())
    }
}

impl Slots {
    fn parse(text: &str) -> Result<Self, ConfigFault> {
        let wrong = || ConfigFault {
            name: SLOTS_NAME,
            detail: "must be a list such as \"0=weur 1=enam\": slots from 0 to 255, each once, each with or without a \
                location hint."
                .into(),
        };
        let mut slots: Vec<Slot> = Vec::new();
        for item in text.split_ascii_whitespace() {
            let (number, location) = match item.split_once('=') {
                Some((number, hint)) => (number, Some(hint)),
                None => (item, None),
            };
            let number = number.parse().map_err(|_| wrong())?;
            let named = location
                .is_none_or(|hint| !hint.is_empty() && hint.bytes().all(|b| b.is_ascii_lowercase() || b == b'-'));
            if !named || slots.iter().any(|slot| slot.number == number) {
                return Err(wrong());
            }
            slots.push(Slot { number, location: location.map(str::to_owned) });
        }
        if slots.is_empty() { Err(wrong()) } else { Ok(Slots(slots)) }
    }

    /// The slot with this number, if there is one.
    pub(super) fn get(&self, number: u8) -> Option<&Slot> {
        self.0.iter().find(|slot| slot.number == number)
    }

    /// All slots, in the order of the setting, from `first` on.
    pub(super) fn from(&self, first: Option<u8>) -> &[Slot] {
        let start = first.map_or(Some(0), |number| self.0.iter().position(|slot| slot.number == number));
        start.and_then(|start| self.0.get(start..)).unwrap_or_default()
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.0.len()
    }

    /// A slot for a new account: each is as likely as any other.
    pub(super) fn pick(&self, random: u8) -> Option<&Slot> {
        self.0.get(usize::from(random).checked_rem(self.0.len())?)
    }
}

const PREFIX_NAME: &str = "KEYGATE_PREFIX";
const PREFIX_DEFAULT: &str = "/_keygate";
const SLOTS_NAME: &str = "KEYGATE_SLOTS";
const SLOTS_DEFAULT: &str = "0";
const UPSTREAM_NAME: &str = "UPSTREAM";
const UPSTREAM_TEST_NAME: &str = "KEYGATE_UPSTREAM_TEST";
const LEASE_NAME: &str = "KEYGATE_LEASE_SECONDS";
const LEASE_DEFAULT: u64 = 5;
const GRACE_NAME: &str = "KEYGATE_OUTAGE_GRACE_SECONDS";
const GRACE_DEFAULT: u64 = 0;
const MAX_KEY_DAYS_NAME: &str = "KEYGATE_MAX_KEY_DAYS";

fn text(env: &Env, name: &str) -> Option<String> {
    Reflect::get(env.as_ref(), &JsValue::from_str(name)).ok()?.as_string().filter(|text| !text.is_empty())
}

fn required<T>(
    env: &Env,
    name: &'static str,
    parse: impl FnOnce(&str) -> Result<T, SecretError>,
) -> Result<T, ConfigFault> {
    let text = text(env, name).ok_or_else(|| ConfigFault {
        name,
        detail: "is missing. Set it with: wrangler secret put <name>, or in .dev.vars for local use.".into(),
    })?;
    parse(&text).map_err(|error| fault(name, error))
}

fn optional<T>(
    env: &Env,
    name: &'static str,
    parse: impl FnOnce(&str) -> Result<T, SecretError>,
) -> Result<Option<T>, ConfigFault> {
    text(env, name).map(|text| parse(&text).map_err(|error| fault(name, error))).transpose()
}

/// A whole number in `range`, without sign or leading zeros; none for anything else that is set.
fn whole(env: &Env, name: &str, default: u64, range: RangeInclusive<u64>) -> Option<u64> {
    let value = Reflect::get(env.as_ref(), &JsValue::from_str(name)).unwrap_or_default();
    let text = value.as_string();
    if value.is_undefined() || text.as_deref() == Some("") {
        return Some(default);
    }
    // A number in wrangler.toml may stand there without quotes; then it arrives as one.
    range.into_iter().find(|number| {
        text.as_ref().map_or_else(|| value.as_f64() == Some(*number as f64), |text| *text == number.to_string())
    })
}

fn fault(name: &'static str, error: SecretError) -> ConfigFault {
    ConfigFault { name, detail: format!("{error}.") }
}

fn check_prefix(env: &Env) -> Result<(), ConfigFault> {
    let prefix = prefix(env);
    let fits = prefix.len() > 1
        && prefix.starts_with('/')
        && !prefix.ends_with('/')
        && !prefix.as_bytes().windows(2).any(|pair| pair == b"//")
        && prefix.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/_-".contains(&byte));
    if fits {
        return Ok(());
    }
    Err(ConfigFault {
        name: PREFIX_NAME,
        detail:
            "must be a path such as \"/_keygate\": letters, digits, \"_\", \"-\" and single slashes, none at the end."
                .into(),
    })
}

fn upstream(name: &'static str, url: &str) -> Result<String, ConfigFault> {
    let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
    let fits = rest.is_some_and(|rest| {
        !rest.is_empty()
            && !rest.starts_with('/')
            && rest.bytes().all(|byte| byte.is_ascii_graphic() && !b"?#@".contains(&byte))
    });
    if fits {
        return Ok(url.trim_end_matches('/').to_owned());
    }
    Err(ConfigFault {
        name,
        detail: "must be a URL such as \"https://api.example.com/base\", without credentials, query or fragment."
            .into(),
    })
}
