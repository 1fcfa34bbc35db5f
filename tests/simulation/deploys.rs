//! Deploys: code and secrets that take the place of others one isolate and one object after the other, so that both are
//! there for a while.

use std::rc::Rc;

use keygate::{
    authority::copy::SigningKeys,
    credential::{NumberedSecret, Pepper, Peppers},
};

use super::{
    acts::Act,
    coverage::Point,
    rng::{MS, Micros},
    world::{Event, World},
};

/// The code and the secrets of one deployment.
#[derive(Clone)]
pub struct Deploy {
    pub number: u32,
    stage: usize,
    /// The version of syncs and copies that it reads and writes, and no other: the worst that a deploy could be.
    pub wire: Wire,
    pub peppers: Rc<Peppers>,
    pub signing: Rc<SigningKeys>,
}

/// Pepper and signing key, each rotated in three steps: known everywhere, used, the old one gone.
const STAGES: usize = 5;

/// The pepper that is gone in the end.
pub const OLD_PEPPER: u8 = 1;

impl Deploy {
    pub fn first() -> Self {
        Deploy::at(0, 0, Wire::One)
    }

    fn at(number: u32, stage: usize, wire: Wire) -> Self {
        let secret = |id: u8| format!("{id}:{}", format!("{id}{id}").repeat(32));
        let [old, new] = [OLD_PEPPER, 2].map(|id| Pepper::parse(&secret(id)).unwrap());
        let signing = |id| NumberedSecret::parse(&secret(id)).unwrap();
        let peppers = match stage {
            0 => Peppers::new(old, None),
            1 => Peppers::new(old, Some(new)),
            2 | 3 => Peppers::new(new, Some(old)),
            _ => Peppers::new(new, None),
        };
        let signing = match stage {
            0 => SigningKeys::new(signing(3), None),
            1 => SigningKeys::new(signing(3), Some(signing(4))),
            2 => SigningKeys::new(signing(4), Some(signing(3))),
            _ => SigningKeys::new(signing(4), None),
        };
        Deploy { number, stage, wire, peppers: Rc::new(peppers.unwrap()), signing: Rc::new(signing.unwrap()) }
    }

    /// True if keys of the old pepper are none any more.
    pub fn forgot_old_pepper(&self) -> bool {
        self.stage + 1 == STAGES
    }
}

/// A version of syncs and copies. The second is made up: it looks like the first and means something else, its leases
/// being in microseconds, so that whoever took it for the first would decide for too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wire {
    One,
    Two,
}

const ONE: &str = "sync 1 v1";
const TWO: &str = "sync 2 v1";
/// What is in no version.
const OTHER: &str = "sync 3 v1";

impl Wire {
    /// A question in this version.
    pub fn question(self, text: String) -> String {
        if self == Wire::Two { text.replacen(ONE, TWO, 1) } else { text }
    }

    /// An answer in this version.
    pub fn answer(self, text: String) -> String {
        if self == Wire::Two { with_lease(&text.replacen(ONE, TWO, 1), |lease| lease * 1_000) } else { text }
    }

    /// A question as this version's code reads it, in terms of the real one. The second's reads both, and answers in its
    /// own.
    pub fn read_question(self, text: &str) -> String {
        match self {
            Wire::One => text.to_owned(),
            Wire::Two => text.replacen(TWO, ONE, 1),
        }
    }

    /// The same of an answer.
    pub fn read_answer(self, text: &str) -> String {
        match self {
            Wire::One => text.to_owned(),
            Wire::Two if text.starts_with(TWO) => with_lease(&text.replacen(TWO, ONE, 1), |lease| lease / 1_000),
            Wire::Two => text.replacen(ONE, OTHER, 1),
        }
    }

    /// True if this version's code must read it.
    pub fn is_mine(self, text: &str) -> bool {
        text.starts_with(if self == Wire::One { ONE } else { TWO })
    }

    /// A copy in this version.
    pub fn copy(self, text: &str) -> Rc<str> {
        if self == Wire::Two { text.replacen("v1.", "v2.", 1).into() } else { text.into() }
    }

    /// A copy as this version's code reads it.
    pub fn read_copy(self, text: &Rc<str>) -> Rc<str> {
        match self {
            Wire::One => text.clone(),
            Wire::Two if text.starts_with("v2.") => text.replacen("v2.", "v1.", 1).into(),
            Wire::Two => text.replacen("v1.", "v3.", 1).into(),
        }
    }
}

/// An answer with another lease, which is the eighth word.
fn with_lease(text: &str, change: impl Fn(u64) -> u64) -> String {
    let (first, rest) = text.split_once('\n').unwrap_or((text, ""));
    let words: Vec<String> = first
        .split(' ')
        .enumerate()
        .map(|(at, word)| if at == 7 { change(word.parse().unwrap()).to_string() } else { word.to_owned() })
        .collect();
    format!("{}\n{rest}", words.join(" "))
}

impl World {
    /// The next step of the rotation of secrets; not before all is of the last one.
    pub fn rotate(&mut self) {
        let Deploy { stage, wire, .. } = self.deploy;
        if stage + 1 < STAGES && !self.is_deploying() {
            self.met(
                [Point::DeployedPepper, Point::DeployedSigning, Point::DeployedNoOldSigning]
                    .get(stage)
                    .copied()
                    .unwrap_or(Point::DeployedNoOldPepper),
            );
            let lasts = 3 * self.knobs.lease_ms / 2 * MS;
            self.deploy(stage + 1, wire, lasts);
        }
    }

    /// Code that speaks another version, or the last one again.
    pub fn change_wire(&mut self) {
        let Deploy { stage, wire, .. } = self.deploy;
        if !self.is_deploying() {
            self.met(Point::DeployedWire);
            let lasts = self.rng.range(1, 6) * self.knobs.lease_ms * MS;
            self.deploy(stage, if wire == Wire::One { Wire::Two } else { Wire::One }, lasts);
        }
    }

    fn is_deploying(&self) -> bool {
        let number = self.deploy.number;
        let instances = self.shards.iter().flat_map(|shard| &shard.instances).filter(|instance| instance.alive);
        let isolates = self.isolates.iter().filter(|isolate| isolate.alive).map(|isolate| isolate.deploy.number);
        isolates.chain(instances.map(|instance| instance.deploy.number)).any(|other| other < number)
    }

    fn deploy(&mut self, stage: usize, wire: Wire, lasts: Micros) {
        self.deploy = Deploy::at(self.deploy.number + 1, stage, wire);
        self.tell(|world| format!("deploy {} begins: secrets {stage}, version {wire:?}", world.deploy.number));
        for isolate in self.living() {
            let at: Micros = self.rng.range(0, lasts);
            self.after(at, Event::Act(Act::UpdateIsolate { isolate }));
        }
        for shard in 0..self.shards.len() {
            let at: Micros = self.rng.range(0, lasts);
            self.after(at, Event::Act(Act::UpdateObject { shard }));
        }
    }

    pub fn update_isolate(&mut self, isolate: usize) {
        if self.isolates[isolate].alive && self.isolates[isolate].deploy.number < self.deploy.number {
            self.evict(isolate);
            self.bear_isolate();
        }
    }

    pub fn update_object(&mut self, shard: usize) {
        for instance in 0..self.shards[shard].instances.len() {
            if self.shards[shard].instances[instance].deploy.number < self.deploy.number {
                self.kill(shard, instance, "its code is updated");
            }
        }
    }

    /// Everything is of the last deploy.
    pub fn finish_deploy(&mut self) {
        for isolate in self.living() {
            self.update_isolate(isolate);
        }
        (0..self.shards.len()).for_each(|shard| self.update_object(shard));
    }
}
