//! The secrets and places that the inputs in the corpus belong to.

use std::sync::LazyLock;

use keygate::{
    authority::copy::SigningKeys,
    credential::{AccountRef, Brand, Digest, Environment, NumberedSecret, Pepper, Peppers, RecognisedKey},
    policy::UnixMillis,
};

/// The peppers 0 and 15 of `tests/vectors/keys.json`.
pub static PEPPERS: LazyLock<Peppers> = LazyLock::new(|| {
    let pepper = |text| Pepper::parse(text).unwrap();
    let first = pepper("0:063dd3569a93fc46874619207adf7a06af1479a1024c55ce617e603eab469b00");
    let second = pepper(
        "15:31d5d4f42ed9b2898c4ec0265ba505a3b65c2e725ef5e2fa6dffa1eebe4cd836\
         6c1343b5f428aa65daeabf571f1ef61808970418ec37ce54ea4d9ce631646859",
    );
    Peppers::new(first, Some(second)).unwrap()
});

/// The secret that signed the copies in `tests/vectors`, and the number they call it by.
static SECRET: LazyLock<NumberedSecret> = LazyLock::new(|| secret(2, "22"));

/// The same, as the verifier has it, with another beside it.
pub static SIGNING: LazyLock<SigningKeys> =
    LazyLock::new(|| SigningKeys::new(SECRET.clone(), Some(secret(3, "33"))).unwrap());

/// The key whose copies they are.
pub static KEY: LazyLock<RecognisedKey> = LazyLock::new(|| RecognisedKey {
    digest: Digest::from_bytes(std::array::from_fn(|at| u8::try_from(at).unwrap())),
    account: AccountRef { slot: 3, number: 0x0102_0304 },
    brand: Brand::default(),
    environment: Environment::Live,
    pepper_id: 0,
});

/// When everything happens.
pub const NOW: UnixMillis = UnixMillis::from_millis(1_800_000_000_000);

/// The epoch of the copies in `tests/vectors`; they were read at sequence 42.
pub const EPOCH: &str = "000102030405060708090a0b0c0d0e0f";

/// A copy with the MAC that it should have, worked out from the description of the format and not by the code that
/// verifies it.
pub fn sign(kv_key: &str, json: &str) -> String {
    let mac = SECRET.key.mac(&[format!("v1\n{kv_key}\n{json}").as_bytes()]);
    format!("v1.{}.{}.{json}", SECRET.id, hex::encode(mac))
}

fn secret(id: u8, byte: &str) -> NumberedSecret {
    NumberedSecret::parse(&format!("{id}:{}", byte.repeat(32))).unwrap()
}
