//! KV as it may be at its worst: each location sees what it likes of what was ever there, for as long as it likes; puts
//! get lost, come late, come twice, or succeed and say that they failed; and somebody else writes to it, too.

use std::{collections::BTreeMap, rc::Rc};

use super::rng::{MS, Micros, Rng, SECOND};

/// What stands under a name; none = nothing.
pub type Text = Option<Rc<str>>;

#[derive(Default)]
pub struct Kv {
    names: BTreeMap<String, Name>,
    /// What each location has cached, a miss included, and until when.
    cached: BTreeMap<(usize, String), (Text, Micros)>,
    /// Nothing works until then.
    pub outage_until: Micros,
    /// Puts get lost until then.
    pub stuck_until: Micros,
    /// Every value that was ever put, for replays and swaps.
    pub ever: Vec<(String, Rc<str>)>,
}

#[derive(Default)]
struct Name {
    history: Vec<Rc<str>>,
    written_at: Option<Micros>,
    /// The newest sequence of a put that was said to have succeeded.
    acknowledged: Option<u64>,
    /// Somebody else wrote here, or an old put came late: what stands here proves nothing.
    tampered: bool,
}

/// How one put goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    Stored,
    Lost,
    AppliedButFailed,
    Late,
    Twice,
    TooSoon,
    Outage,
}

impl Kv {
    /// What a location is given.
    pub fn read(&mut self, rng: &mut Rng, location: usize, name: &str, faults: bool, now: Micros) -> (Text, bool) {
        let at = (location, name.to_owned());
        if let Some((value, until)) = self.cached.get(&at)
            && now < *until
        {
            return (value.clone(), true);
        }
        let history = self.names.get(name).map_or(&[][..], |name| &name.history);
        let value = if faults && rng.chance(200) {
            let back = rng.index(history.len() + 1);
            back.checked_sub(1).map(|at| history[at].clone())
        } else {
            history.last().cloned()
        };
        let lasts = match rng.below(10) {
            0 if faults => u64::MAX / 2,
            1..4 if faults => rng.range(SECOND, 600 * SECOND),
            4..8 => rng.range(MS, 60 * SECOND),
            _ => 0,
        };
        self.cached.insert(at, (value.clone(), now + lasts));
        (value, false)
    }

    /// How a put that arrives now goes.
    pub fn fate(&mut self, rng: &mut Rng, name: &str, faults: bool, now: Micros) -> Fate {
        if now < self.outage_until {
            return Fate::Outage;
        }
        if self.names.get(name).and_then(|name| name.written_at).is_some_and(|at| at + SECOND > now) {
            return Fate::TooSoon;
        }
        if !faults {
            return Fate::Stored;
        }
        if now < self.stuck_until {
            return Fate::Lost;
        }
        match rng.below(20) {
            0 => Fate::Lost,
            1 => Fate::AppliedButFailed,
            2 => Fate::Late,
            3 => Fate::Twice,
            _ => Fate::Stored,
        }
    }

    pub fn apply(&mut self, name: &str, value: &Rc<str>, late: bool, now: Micros) {
        let place = self.names.entry(name.to_owned()).or_default();
        place.history.push(value.clone());
        place.written_at = Some(now);
        place.tampered |= late;
        self.ever.push((name.to_owned(), value.clone()));
    }

    /// A put was said to have succeeded.
    pub fn acknowledge(&mut self, name: &str, as_of: u64) {
        let place = self.names.entry(name.to_owned()).or_default();
        place.acknowledged = place.acknowledged.max(Some(as_of));
    }

    pub fn acknowledged(&self, name: &str) -> Option<u64> {
        self.names.get(name)?.acknowledged
    }

    /// The adversary's: anything that was ever anywhere, in any place, or nothing like it.
    pub fn tamper(&mut self, rng: &mut Rng) -> Option<String> {
        if self.ever.is_empty() {
            return None;
        }
        let (name, _) = rng.pick(&self.ever).clone();
        let (_, value) = rng.pick(&self.ever).clone();
        let value = match rng.below(5) {
            0 => flip(rng, &value),
            1 => value[..rng.index(value.len())].into(),
            _ => value,
        };
        let place = self.names.entry(name.clone()).or_default();
        place.history.push(value);
        place.tampered = true;
        self.cached.retain(|(_, other), _| *other != name);
        Some(name)
    }

    /// What stands there now, unless somebody tampered with it.
    pub fn honest(&self, name: &str) -> Option<&Rc<str>> {
        self.names.get(name).filter(|place| !place.tampered)?.history.last()
    }

    /// True if an old put or somebody else has written there.
    pub fn is_tampered(&self, name: &str) -> bool {
        self.names.get(name).is_some_and(|place| place.tampered)
    }
}

/// Another digit or letter somewhere, which may make a record say something else.
fn flip(rng: &mut Rng, text: &str) -> Rc<str> {
    if rng.chance(500) {
        let raised = text.replacen("\"disabled\"", "\"active\"", 1).replacen("\"revoked\"", "\"active\"", 1);
        return raised.replacen("contacts:read", "*", 1).into();
    }
    let mut bytes = text.as_bytes().to_vec();
    let at = rng.index(bytes.len());
    bytes[at] = if bytes[at] == b'1' { b'2' } else { b'1' };
    String::from_utf8_lossy(&bytes).into()
}
