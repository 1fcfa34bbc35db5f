//! Signed copies: what is believed was signed by us, for that place, in those bytes; and a decision follows from
//! copies only if they agree.

use keygate::{
    authority::copy::{AccountCopy, CopyFault, GrantCopy},
    credential::{AccountRef, Digest},
    edge::{Evidence, Missing, Step, Verdict, Verification, View},
    policy::{AccountStatus, Address, Decision, Demand, KeyStatus, MAX_SCOPES, Principal, Scope, UnixMillis},
};

use super::{
    fixture::{EPOCH, KEY, NOW, SIGNING, sign},
    message::leased,
};

/// The input is what lies in KV where a grant and an account belong, one a line: either the whole signed text, or only
/// its JSON, to which the right MAC is then put.
pub fn check(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let (grant, account) = text.split_once('\n').unwrap_or((text, text));
    for text in [grant, account] {
        as_it_is::<GrantCopy>(text);
        as_it_is::<AccountCopy>(text);
    }
    let texts = (signed::<GrantCopy>(grant), signed::<AccountCopy>(account));
    decided(&texts.0, &texts.1);
}

/// The two kinds of copies, at the places where the fixture's key looks for them.
trait Copy: Sized + PartialEq + std::fmt::Debug {
    const MEMBERS: [&str; 3];
    fn place() -> String;
    fn verify(text: &str) -> Result<Self, CopyFault>;
    fn verify_elsewhere(text: &str) -> Result<Self, CopyFault>;
    fn resign(&self) -> Option<String>;
    fn within_limits(&self) -> bool;
}

impl Copy for GrantCopy {
    const MEMBERS: [&str; 3] = ["epoch", "as_of", "grant"];

    fn place() -> String {
        format!("grant:{}", KEY.digest.to_hex())
    }

    fn verify(text: &str) -> Result<Self, CopyFault> {
        GrantCopy::verify(&SIGNING, &KEY.digest, text)
    }

    fn verify_elsewhere(text: &str) -> Result<Self, CopyFault> {
        GrantCopy::verify(&SIGNING, &Digest::from_bytes([7; 24]), text)
    }

    fn resign(&self) -> Option<String> {
        self.sign(&SIGNING, &KEY.digest).ok()
    }

    fn within_limits(&self) -> bool {
        let Self { grant, .. } = self;
        let times = [grant.not_before, grant.expires_at].into_iter().flatten();
        grant.scopes.len() <= MAX_SCOPES && times.max().is_none_or(|time| time <= UnixMillis::MAX)
    }
}

impl Copy for AccountCopy {
    const MEMBERS: [&str; 3] = ["epoch", "as_of", "account"];

    fn place() -> String {
        format!("account:{}.{}", KEY.account.slot, KEY.account.number)
    }

    fn verify(text: &str) -> Result<Self, CopyFault> {
        AccountCopy::verify(&SIGNING, KEY.account, text)
    }

    fn verify_elsewhere(text: &str) -> Result<Self, CopyFault> {
        AccountCopy::verify(&SIGNING, AccountRef { slot: KEY.account.slot, number: KEY.account.number + 1 }, text)
    }

    /// A copy is signed for the account that it speaks of.
    fn resign(&self) -> Option<String> {
        self.sign(&SIGNING).ok().filter(|_| self.account.id == KEY.account)
    }

    fn within_limits(&self) -> bool {
        true
    }
}

/// Nobody but us can have made what is believed: it is what we would have signed, letter by letter.
fn as_it_is<C: Copy>(text: &str) {
    match C::verify(text) {
        Err(CopyFault::Form | CopyFault::UnknownSigningKey | CopyFault::Mac) => {}
        Ok(_) | Err(CopyFault::Content) => {
            let json = text.splitn(4, '.').nth(3).unwrap();
            assert_eq!(text, sign(&C::place(), json));
        }
    }
}

/// Puts the right MAC to `json`: then the content alone decides. Returns the signed text.
fn signed<C: Copy>(json: &str) -> String {
    let text = sign(&C::place(), json);
    assert_eq!(C::verify_elsewhere(&text), Err(CopyFault::Mac));
    match C::verify(&text) {
        Ok(copy) => {
            let value: serde_json::Value = serde_json::from_str(json).unwrap();
            // `serde` also reads the members from a list in their order.
            let complete = value.as_object().map_or(value.as_array().map_or(0, Vec::len) == 3, |members| {
                members.len() == 3 && C::MEMBERS.iter().all(|name| members.contains_key(*name))
            });
            assert!(complete, "{json}");
            assert!(copy.within_limits(), "{json}");
            if let Some(again) = copy.resign() {
                assert_eq!(C::verify(&again).as_ref(), Ok(&copy), "{json}");
            }
        }
        Err(fault) => assert_eq!(fault, CopyFault::Content, "{json}"),
    }
    tampered::<C>(&text);
    text
}

/// One other bit, at a place that depends on the text, and the copy is worth nothing.
fn tampered<C: Copy>(text: &str) {
    let sum: usize = text.bytes().map(usize::from).sum();
    let mut bytes = text.as_bytes().to_vec();
    let at = sum % bytes.len();
    bytes[at] ^= 1 << (sum % 7);
    if let Ok(tampered) = std::str::from_utf8(&bytes) {
        assert!(C::verify(tampered).is_err(), "{tampered:?} instead of {text:?}");
    }
}

/// The decision on these copies is the same whoever brought them, and it allows nothing that they do not.
fn decided(grant: &str, account: &str) {
    let both = Evidence { grant: Some(grant), account: Some(account) };
    let step = mirrored(Some(both));
    if !account.contains('\n') {
        assert_eq!(answered(grant, account), step);
    }
    match step {
        Some(Verdict::Decided(decision)) => {
            let (grant, account) = (GrantCopy::verify_here(grant), AccountCopy::verify_here(account));
            for (epoch, as_of) in [(&grant.epoch, grant.as_of), (&account.epoch, account.as_of)] {
                assert!(epoch == EPOCH && as_of >= LOW);
            }
            if let Decision::Allow(principal) = decision {
                allowed(&principal, &grant, &account);
            }
        }
        Some(verdict) => panic!("copies alone cannot say {verdict:?}"),
        None => {}
    }
    // Half of the evidence decides nothing.
    let halves = [Evidence { grant: None, ..both }, Evidence { account: None, ..both }, Evidence::default()];
    for half in halves.into_iter().map(Some).chain([None]) {
        assert_eq!(mirrored(half), None);
    }
    assert_eq!(answered(grant, "-"), None);
    assert_eq!(answered("-", "-"), Some(Verdict::Unknown));
}

/// A copy that was read earlier cannot be judged.
const LOW: u64 = 42;

fn verification() -> Verification {
    let scopes = vec![Scope::parse("contacts:read").unwrap()].into();
    let mut verification = Verification::new(*KEY, Demand { scopes, ..Demand::default() });
    verification.comes_from(Address::parse(ADDRESS));
    verification
}

/// Where the request comes from.
const ADDRESS: &str = "192.0.2.7";

/// The verdict when KV has this; none = the Authority is to say.
fn mirrored(evidence: Option<Evidence<'_>>) -> Option<Verdict> {
    let (mut view, mut verification) = (leased(), verification());
    assert_eq!(verification.next(&mut view, NOW), Step::ReadMirror(Missing::Both));
    match verification.mirror_read(&mut view, &SIGNING, evidence, NOW) {
        Step::Done(verdict) => Some(verdict),
        Step::Sync(call) => {
            let want = call.request.wants[0];
            assert!(want.digest == KEY.digest && want.account == KEY.account.number);
            None
        }
        step => panic!("{step:?}"),
    }
}

/// The verdict when the Authority sends this; none = one has to look further.
fn answered(grant: &str, account: &str) -> Option<Verdict> {
    let (mut view, mut verification) = (View::new(KEY.account.slot, 1, 0), verification());
    let Step::Sync(call) = verification.next(&mut view, NOW) else { panic!("no sync") };
    let (digest, number) = (KEY.digest.to_hex(), KEY.account.number);
    let answer =
        format!("sync 1 v1 {EPOCH} 42 0 {LOW} 5000 0 reset\ngrant {digest} {grant}\naccount {number} {account}\nend");
    assert!(view.answered(&call, &answer, &SIGNING, NOW));
    match verification.next(&mut view, NOW) {
        Step::Done(verdict) => Some(verdict),
        Step::ReadMirror(_) => None,
        step => panic!("{step:?}"),
    }
}

/// What unwraps a copy that was already believed.
trait Here: Copy {
    fn verify_here(text: &str) -> Self {
        Self::verify(text).unwrap()
    }
}

impl<C: Copy> Here for C {}

fn allowed(principal: &Principal, grant: &GrantCopy, account: &AccountCopy) {
    assert_eq!(grant.epoch, account.epoch);
    let (grant, account) = (&grant.grant, &account.account);
    assert!(principal.account == KEY.account && grant.account == KEY.account && account.id == KEY.account);
    assert!(principal.environment == KEY.environment && grant.environment == KEY.environment);
    assert!(principal.key_id == grant.id && principal.scopes == grant.scopes);
    assert!(grant.status == KeyStatus::Active && account.status == AccountStatus::Active);
    assert!(grant.not_before.is_none_or(|start| start <= NOW) && grant.expires_at.is_none_or(|end| NOW < end));
    assert!(grant.scopes.covers(&Scope::parse("contacts:read").unwrap()));
    assert!(grant.allowed_ips.as_ref().is_none_or(|allowed| allowed.contain(Address::parse(ADDRESS))));
}
