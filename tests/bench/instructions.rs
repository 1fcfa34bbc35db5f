//! What a request costs in the core, natively: `scripts/bench --instructions` counts the instructions of each function in
//! `measured` under valgrind, which gives the same number every time. Called with the name of one, this program calls it
//! [`TIMES`] times; called without, it prints the names and how often.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a program for developers"
)]

#[path = "../authority/support.rs"]
#[allow(dead_code, unused_imports, reason = "the tests of the Authority use the rest")]
mod support;

use keygate::{
    authority::{copy::SigningKeys, lease::Terms},
    credential::{AccountRef, Brand, Environment, Pepper, Peppers, RecognisedKey},
    edge::{Presented, Step, Verdict, Verification, View, present},
    policy::{Decision, Demand, Principal, UnixMillis},
};
use support::{Shard, new_account, new_key};

/// How often a function is called.
const TIMES: u32 = 200;

/// What is asked of everyone.
const QUERY: &str = "scope=contacts:read";

/// Everything that the functions need.
struct Bench {
    peppers: Peppers,
    signing: SigningKeys,
    header: String,
    forged: String,
    key: RecognisedKey,
    account: AccountRef,
    grant_copy: String,
    account_copy: String,
    view: View,
    demand: Demand,
    principal: Principal,
    now: UnixMillis,
}

/// One function each, never inlined, so that their instructions can be told from those of the others.
mod measured {
    use std::hint::black_box;

    use keygate::{
        authority::copy::{AccountCopy, GrantCopy},
        edge::{Presented, Verification, present},
        http::{self, Problem},
    };

    use super::{Bench, QUERY};

    /// Header, alphabet, checksum and MAC of a genuine key.
    #[inline(never)]
    pub fn recognise(bench: &mut Bench) {
        black_box(present(black_box(Some(&bench.header)), &bench.peppers));
    }

    /// The same for a key whose MAC is a guess, with the refusal.
    #[inline(never)]
    pub fn refuse_forged(bench: &mut Bench) {
        let presented = present(black_box(Some(&bench.forged)), &bench.peppers);
        assert_eq!(black_box(presented), Presented::Forged);
        black_box(Problem::invalid_token().reply());
    }

    /// The MACs and the JSON of both copies of a key that is new to an isolate.
    #[inline(never)]
    pub fn believe_copies(bench: &mut Bench) {
        black_box(GrantCopy::verify(&bench.signing, &bench.key.digest, black_box(&bench.grant_copy))).unwrap();
        black_box(AccountCopy::verify(&bench.signing, bench.account, black_box(&bench.account_copy))).unwrap();
    }

    /// What the query asks for.
    #[inline(never)]
    pub fn read_demand(_: &mut Bench) {
        black_box(http::demand_of_query(black_box(QUERY), None)).unwrap();
    }

    /// A decision by what an isolate has at hand.
    #[inline(never)]
    pub fn decide(bench: &mut Bench) {
        black_box(Verification::new(bench.key, bench.demand.clone()).next(&mut bench.view, bench.now));
    }

    /// The answer to an accepted request.
    #[inline(never)]
    pub fn encode(bench: &mut Bench) {
        black_box(http::verified(black_box(&bench.principal)));
    }
}

/// A name, and what is counted by it.
type Function = (&'static str, fn(&mut Bench));

const MEASURED: [Function; 6] = [
    ("recognise", measured::recognise),
    ("refuse_forged", measured::refuse_forged),
    ("believe_copies", measured::believe_copies),
    ("read_demand", measured::read_demand),
    ("decide", measured::decide),
    ("encode", measured::encode),
];

impl Bench {
    fn new() -> Self {
        let shard = Shard::new();
        let account = shard.account(new_account("Acme")).id;
        let (record, text) = shard.issue(account, new_key());
        let peppers = Peppers::new(support::pepper(1), None).unwrap();
        let header = format!("Bearer {}", text.expose());
        let Presented::Recognised(key) = present(Some(&header), &peppers) else { panic!("a genuine key") };
        let (grant_copy, account_copy) = shard.copies(&key.digest, account);
        let demand = keygate::http::demand_of_query(QUERY, None).unwrap();
        let now = shard.now();

        let mut view = View::new(support::SLOT, 1, 7);
        let first = Verification::new(key, demand.clone()).next(&mut view, now);
        let Step::Sync(call) = first else { panic!("no sync: {first:?}") };
        let answer = shard.sync(&call.request, Terms { lease_ms: 5_000, grace_ms: 0 }).text;
        assert!(view.answered(&call, &answer, &support::signing(), now));
        let then = Verification::new(key, demand.clone()).next(&mut view, now);
        let Step::Done(Verdict::Decided(Decision::Allow(principal))) = then else { panic!("not allowed: {then:?}") };
        assert_eq!(principal.key_id, record.id());

        Bench {
            peppers,
            signing: support::signing(),
            header,
            forged: forge(account),
            key,
            account,
            grant_copy: grant_copy.unwrap(),
            account_copy: account_copy.unwrap(),
            view,
            demand,
            principal,
            now,
        }
    }
}

/// A key of a pepper with the same number that is not configured.
fn forge(account: AccountRef) -> String {
    let other = Pepper::parse(&format!("1:{}", "77".repeat(32))).unwrap();
    let minted = other.mint(&Brand::default(), Environment::Live, account, [9; 20]);
    format!("Bearer {}", minted.text.expose())
}

fn main() {
    let wanted = std::env::args().nth(1).filter(|name| !name.starts_with('-'));
    let Some(wanted) = wanted else {
        for (name, _) in MEASURED {
            println!("{name} {TIMES}");
        }
        return;
    };
    let (_, function) = MEASURED.into_iter().find(|(name, _)| *name == wanted).expect("one of the names");
    let mut bench = Bench::new();
    for _ in 0..TIMES {
        function(&mut bench);
    }
}
