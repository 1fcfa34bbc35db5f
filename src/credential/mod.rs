//! What a caller presents, and how it is recognised without asking anyone.
//!
//! # An API key
//!
//! ```text
//! kg_live_0PfQ…(46 base62 digits)…x7Zk3Tq…(6 base62 digits)
//! └┬┘└─┬─┘ └──────────┬─────────┘    └──────────┬─────────┘
//! brand environment   34 bytes, big-endian      CRC-32 (IEEE) of everything before it
//! ```
//!
//! | bytes | what |
//! |---|---|
//! | 1 | header: high nibble the format (1), low nibble the id of the pepper it was minted with |
//! | 1 | slot: which shard holds the account |
//! | 4 | number of the account in its slot |
//! | 20 | secret, random |
//! | 8 | MAC |
//!
//! `HMAC-SHA-256(pepper, brand "_" environment "_" first 26 bytes)` gives both the MAC (its first 8 bytes) and the
//! [`Digest`] (the other 24), under which the key's record is stored. The text itself is stored nowhere. Neither
//! brand nor environment can contain `_` and the 26 bytes have a fixed length, so no two keys share a hashed message.
//!
//! # Why a forged key costs no I/O
//!
//! 1. [`PresentedKey::parse`] is pure: length, alphabet, checksum. It stops typing mistakes and proves nothing.
//! 2. [`Peppers::recognise`] recomputes the hash and compares the MAC. Without the pepper, a forger's text passes
//!    with probability 2⁻⁶⁴ each, and each try is a request; there is no way to test guesses offline.
//! 3. Only a [`RecognisedKey`] carries a digest and an account to ask for. Nothing can be read out of a
//!    [`PresentedKey`], so no look-up can begin before the MAC was right.
//!
//! So storage is asked only for keys that were really minted here (or for the 2⁻⁶⁴ that were not: the other 24
//! bytes of the hash then name no record, and the key is unknown).
//!
//! Every text has exactly one form: digits that encode a number too large for their bytes are refused, so the same
//! key cannot arrive spelled in two ways.
//!
//! # Secrets
//!
//! Key texts, peppers and the root token are types that print nothing and are compared in constant time. Time and
//! randomness are arguments; nothing here performs I/O, and recognising a key allocates nothing on the heap.

pub mod base62;
mod bearer;
mod brand;
mod checksum;
mod digest;
mod environment;
mod id;
mod key;
mod pepper;
mod secret;
mod text_form;
mod token;

pub use bearer::{Bearer, BearerFault};
pub use brand::{Brand, BrandError};
pub use checksum::crc32;
pub use digest::Digest;
pub use environment::{Environment, UnknownEnvironment};
pub use id::{AccountRef, KeyId, PlanId, WorkspaceId};
pub use key::{KeyText, KeyTextError, MintedKey, PresentedKey, RecognisedKey};
pub use pepper::{Pepper, Peppers};
pub use secret::{NumberedSecret, SecretError, SecretKey};
pub(crate) use text_form::{decode_lower_hex, joined};
pub use token::RootToken;
