//! IP addresses, and the blocks of them that a key may be used from.

use std::{fmt, net::IpAddr};

/// An IP address. One of IPv4 is the address of IPv6 that it is mapped to (RFC 4291 §2.5.5.2): in which of the two forms a
/// request is said to come makes no difference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Address(u128);

impl Address {
    /// Reads an address, without a port, brackets or a zone.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Some(Address(match text.parse().ok()? {
            IpAddr::V4(address) => address.to_ipv6_mapped().to_bits(),
            IpAddr::V6(address) => address.to_bits(),
        }))
    }
}

/// A block of addresses in CIDR notation (RFC 4632 §3.1, RFC 4291 §2.3).
#[derive(Clone, Debug)]
struct Block {
    text: String,
    first: u128,
    mask: u128,
}

/// The blocks that a key may be used from: at least one, and each once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AllowedIps(Vec<Block>);

/// Blocks of one key at most.
pub const BLOCKS_MAX: usize = 64;

impl AllowedIps {
    /// Reads blocks such as `192.0.2.0/24`, `2001:db8::/32` or a single address.
    ///
    /// # Errors
    /// What would be right.
    pub fn parse<'a>(texts: impl IntoIterator<Item = &'a str>) -> Result<Self, AllowedIpsError> {
        let mut blocks = Vec::new();
        for text in texts {
            let block = Block::parse(text).ok_or_else(|| AllowedIpsError::Block { text: text.to_owned() })?;
            if block.first & !block.mask != 0 {
                return Err(AllowedIpsError::Beyond { text: text.to_owned() });
            }
            if blocks.contains(&block) {
                return Err(AllowedIpsError::Repeated { text: text.to_owned() });
            }
            blocks.push(block);
        }
        if blocks.is_empty() || blocks.len() > BLOCKS_MAX {
            return Err(AllowedIpsError::Count);
        }
        Ok(AllowedIps(blocks))
    }

    /// True if the address lies in one of them. One that is not known lies in none.
    #[must_use]
    pub fn contain(&self, address: Option<Address>) -> bool {
        address.is_some_and(|Address(bits)| self.0.iter().any(|block| bits & block.mask == block.first))
    }

    /// The blocks, as they were written.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|block| block.text.as_str())
    }
}

impl Block {
    fn parse(text: &str) -> Option<Self> {
        let (address, length) = text.split_once('/').map_or((text, None), |(address, length)| (address, Some(length)));
        let Address(first) = Address::parse(address)?;
        // Of the mapped address, so many bits stand before those of IPv4.
        let before: u32 = if address.contains(':') { 0 } else { 96 };
        let bits = match length {
            None => 128,
            Some(digits) => {
                let length = digits.parse::<u32>().ok().filter(|length| length.to_string() == digits)?;
                before.checked_add(length).filter(|bits| *bits <= 128)?
            }
        };
        let mask = u128::MAX.checked_shl(128_u32.saturating_sub(bits)).unwrap_or(0);
        Some(Block { text: text.to_ascii_lowercase(), first, mask })
    }
}

/// The same addresses, however they are written.
impl PartialEq for Block {
    fn eq(&self, other: &Self) -> bool {
        (self.first, self.mask) == (other.first, other.mask)
    }
}

impl Eq for Block {}

/// Why blocks are not what a key can be limited to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AllowedIpsError {
    /// Not one to [`BLOCKS_MAX`] of them.
    Count,
    /// Not a block.
    Block {
        /// What it is instead.
        text: String,
    },
    /// An address within a block, and not its first.
    Beyond {
        /// Which one.
        text: String,
    },
    /// It stands there twice.
    Repeated {
        /// Which one.
        text: String,
    },
}

impl fmt::Display for AllowedIpsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Count => write!(f, "a list of 1 to {BLOCKS_MAX} blocks of addresses, or null for all addresses"),
            Self::Block { text } => write!(
                f,
                "a list of blocks of addresses such as \"192.0.2.0/24\" or \"2001:db8::/32\", or single addresses; \
                 \"{text}\" is none"
            ),
            Self::Beyond { text } => {
                write!(f, "a list of blocks of addresses, each by its first one; \"{text}\" has bits behind its length")
            }
            Self::Repeated { text } => write!(f, "a list of blocks of addresses, each once; \"{text}\" is there twice"),
        }
    }
}

impl std::error::Error for AllowedIpsError {}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(texts: &[&str]) -> Result<AllowedIps, AllowedIpsError> {
        AllowedIps::parse(texts.iter().copied())
    }

    #[test]
    fn a_block_contains_its_addresses_and_no_other() {
        for (block, inside, outside) in [
            ("192.0.2.0/24", &["192.0.2.0", "192.0.2.255"][..], &["192.0.1.255", "192.0.3.0", "::192.0.2.1"][..]),
            ("192.0.2.7", &["192.0.2.7"], &["192.0.2.6", "192.0.2.8"]),
            ("192.0.2.6/31", &["192.0.2.6", "192.0.2.7"], &["192.0.2.5", "192.0.2.8"]),
            ("0.0.0.0/0", &["0.0.0.0", "255.255.255.255"], &["::", "2001:db8::1"]),
            ("2001:db8::/32", &["2001:db8::", "2001:DB8:ffff::1"], &["2001:db7:ffff::", "2001:db9::"]),
            ("2001:db8::1", &["2001:db8:0:0::1"], &["2001:db8::2"]),
            ("::/0", &["::", "ffff::1", "192.0.2.1"], &[]),
        ] {
            let allowed = allowed(&[block]).unwrap();
            for text in inside {
                assert!(allowed.contain(Some(Address::parse(text).unwrap())), "{block} {text}");
            }
            for text in outside {
                assert!(!allowed.contain(Some(Address::parse(text).unwrap())), "{block} {text}");
            }
        }
    }

    #[test]
    fn an_address_of_ipv4_is_the_one_it_is_mapped_to() {
        let (four, six) = (allowed(&["192.0.2.0/24"]).unwrap(), allowed(&["::ffff:192.0.2.0/120"]).unwrap());
        assert_eq!(four, six);
        for text in ["192.0.2.1", "::ffff:192.0.2.1", "::ffff:c000:201"] {
            assert!(four.contain(Address::parse(text)) && six.contain(Address::parse(text)), "{text}");
        }
    }

    #[test]
    fn what_is_not_known_is_nowhere() {
        assert!(!allowed(&["0.0.0.0/0", "::/0"]).unwrap().contain(None));
        for text in [
            "",
            "192.0.2",
            "192.0.2.1:80",
            "[2001:db8::1]",
            "fe80::1%eth0",
            "192.0.2.1, 192.0.2.2",
            " 192.0.2.1",
            "192.0.2.01",
        ] {
            assert_eq!(Address::parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn what_is_no_block_is_named() {
        for text in [
            "",
            "192.0.2.0/33",
            "2001:db8::/129",
            "192.0.2.0/-1",
            "192.0.2.0/024",
            "192.0.2.0/",
            "192.0.2.0/24/24",
            "host",
            "/24",
        ] {
            assert_eq!(allowed(&["10.0.0.0/8", text]), Err(AllowedIpsError::Block { text: text.into() }));
        }
        for text in ["192.0.2.1/24", "2001:db8::1/64", "0.0.0.1/0"] {
            assert_eq!(allowed(&[text]), Err(AllowedIpsError::Beyond { text: text.into() }));
        }
        let twice = allowed(&["192.0.2.7/32", "192.0.2.7"]);
        assert_eq!(twice, Err(AllowedIpsError::Repeated { text: "192.0.2.7".into() }));
        assert_eq!(allowed(&[]), Err(AllowedIpsError::Count));
        let many: Vec<String> = (0..=BLOCKS_MAX).map(|n| format!("10.0.0.{n}")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        assert_eq!(allowed(&many), Err(AllowedIpsError::Count));
        assert_eq!(allowed(&many[1..]).unwrap().iter().collect::<Vec<_>>(), many[1..]);
    }
}
