//! Names of accounts, keys, workspaces and plans. Names are public: knowing one gives no access.

use std::fmt;

use super::digest::Digest;
use super::text_form::decode_lower_hex;

/// An account: the slot of the shard that holds it, and its random number there.
///
/// As text: `acct_`, two hexadecimal digits of slot, eight of number, all lower case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AccountRef {
    /// Which shard is the account's authority.
    pub slot: u8,
    /// The account's number in its slot.
    pub number: u32,
}

impl AccountRef {
    /// Reads `acct_` and ten lower-case hexadecimal digits, nothing else.
    pub fn parse(text: &str) -> Option<Self> {
        let [slot, number @ ..] = decode_lower_hex::<5>(text.strip_prefix("acct_")?)?;
        Some(Self { slot, number: u32::from_be_bytes(number) })
    }
}

impl fmt::Display for AccountRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "acct_{:02x}{:08x}", self.slot, self.number)
    }
}

/// The public name of a key: the first ten bytes of its digest. So a name is as good as an index for finding the record
/// in any store that is ordered by digest, and it says as little about the key as the digest does.
///
/// As text: `key_` and twenty lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyId([u8; 10]);

impl KeyId {
    /// The name of the key with this digest.
    pub const fn of(digest: &Digest) -> Self {
        let [a, b, c, d, e, f, g, h, i, j, ..] = *digest.as_bytes();
        Self([a, b, c, d, e, f, g, h, i, j])
    }

    /// The twenty hexadecimal digits with which the digest of the key begins.
    pub fn digest_prefix_hex(&self) -> String {
        hex::encode(self.0)
    }

    /// Reads `key_` and twenty lower-case hexadecimal digits, nothing else.
    pub fn parse(text: &str) -> Option<Self> {
        decode_lower_hex(text.strip_prefix("key_")?).map(Self)
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("key_")?;
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyId({self})")
    }
}

/// A workspace: a part of an account that keys can be limited to. Random.
///
/// As text: `ws_` and sixteen lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WorkspaceId([u8; 8]);

impl WorkspaceId {
    /// The workspace with this number.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 8]) -> Self {
        Self(bytes)
    }

    /// Reads `ws_` and sixteen lower-case hexadecimal digits, nothing else.
    pub fn parse(text: &str) -> Option<Self> {
        decode_lower_hex(text.strip_prefix("ws_")?).map(Self)
    }
}

impl fmt::Display for WorkspaceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ws_")?;
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for WorkspaceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "WorkspaceId({self})")
    }
}

/// A plan to revoke keys. Random.
///
/// As text: `plan_` and sixteen lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PlanId([u8; 8]);

impl PlanId {
    /// The plan with this number.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 8]) -> Self {
        Self(bytes)
    }

    /// Reads `plan_` and sixteen lower-case hexadecimal digits, nothing else.
    pub fn parse(text: &str) -> Option<Self> {
        decode_lower_hex(text.strip_prefix("plan_")?).map(Self)
    }
}

impl fmt::Display for PlanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("plan_")?;
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for PlanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PlanId({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ACCOUNT: AccountRef = AccountRef { slot: 0x0a, number: 0x00c0_ffee };
    const KEY: KeyId = KeyId([0, 1, 2, 3, 4, 5, 6, 7, 0xfe, 0xff]);

    #[test]
    fn an_account_is_written_with_its_slot_and_number() {
        assert_eq!(ACCOUNT.to_string(), "acct_0a00c0ffee");
        assert_eq!(AccountRef::parse("acct_0a00c0ffee"), Some(ACCOUNT));
    }

    #[test]
    fn a_key_id_is_written_as_twenty_digits() {
        assert_eq!(KEY.to_string(), "key_0001020304050607feff");
        assert_eq!(KeyId::parse("key_0001020304050607feff"), Some(KEY));
    }

    #[test]
    fn a_workspace_id_has_exactly_one_spelling() {
        let id = WorkspaceId::from_bytes([0, 1, 2, 3, 4, 5, 0xfe, 0xff]);
        assert_eq!(id.to_string(), "ws_000102030405feff");
        assert_eq!(WorkspaceId::parse("ws_000102030405feff"), Some(id));
        for bad in ["", "ws_", "ws_000102030405FEFF", "ws_000102030405fef", "ws_000102030405feff0", "000102030405feff"]
        {
            assert_eq!(WorkspaceId::parse(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn a_plan_id_has_exactly_one_spelling() {
        let id = PlanId::from_bytes([0, 1, 2, 3, 4, 5, 0xfe, 0xff]);
        assert_eq!(id.to_string(), "plan_000102030405feff");
        assert_eq!(PlanId::parse("plan_000102030405feff"), Some(id));
        for bad in ["", "plan_", "plan_000102030405FEFF", "plan_000102030405fef", "ws_000102030405feff"] {
            assert_eq!(PlanId::parse(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn an_account_id_has_exactly_one_spelling() {
        for bad in [
            "",
            "acct_",
            "0a00c0ffee",
            "acct_0A00C0FFEE",
            "ACCT_0a00c0ffee",
            "acct_0a00c0ffe",
            "acct_0a00c0ffee0",
            "acct_0a00c0ffee00",
            "acct_0a00c0ffeg",
            "key_0a00c0ffee",
            " acct_0a00c0ffee",
            "acct_0a00c0ffee\n",
            "acct_0a00c0ffé",
        ] {
            assert_eq!(AccountRef::parse(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn a_key_id_has_exactly_one_spelling() {
        for bad in [
            "",
            "key_",
            "key_0001020304050607FEFF",
            "key_0001020304050607fef",
            "key_0001020304050607feff00",
            "acct_0001020304050607feff",
            "0001020304050607feff",
        ] {
            assert_eq!(KeyId::parse(bad), None, "{bad:?}");
        }
    }
}
