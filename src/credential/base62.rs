//! Base62 with the alphabet `0-9A-Za-z`: fixed lengths, one text per value.
//!
//! 46 digits could say more than 34 bytes hold, and 6 digits more than 32 bits. What is too large is refused rather
//! than wrapped, so a value has exactly one text.

/// Digits that hold the payload of a key: 62⁴⁵ < 2²⁷² < 62⁴⁶.
pub const PAYLOAD_DIGITS: usize = 46;
/// Bytes of the payload of a key.
pub const PAYLOAD_BYTES: usize = 34;
/// Digits that hold a CRC-32: 62⁵ < 2³² < 62⁶.
pub const CHECKSUM_DIGITS: usize = 6;

/// Why a text is not the base62 form of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Base62Error {
    /// A byte outside `0-9A-Za-z`.
    Alphabet,
    /// The digits encode a number that its bytes cannot hold.
    Range,
}

/// Encodes 34 big-endian bytes, zero padded.
pub fn encode_payload(bytes: &[u8; PAYLOAD_BYTES]) -> [u8; PAYLOAD_DIGITS] {
    let mut limbs = limbs_of(bytes);
    let mut digits = [b'0'; PAYLOAD_DIGITS];
    for chunk in digits.rchunks_mut(CHUNK_DIGITS) {
        write_digits(chunk, divide(&mut limbs));
    }
    digits
}

/// Decodes 46 digits to 34 big-endian bytes.
///
/// # Errors
/// [`Base62Error::Alphabet`] for a byte that is no digit, [`Base62Error::Range`] for a number of 2²⁷² or more.
pub fn decode_payload(digits: &[u8; PAYLOAD_DIGITS]) -> Result<[u8; PAYLOAD_BYTES], Base62Error> {
    let mut limbs = [0; LIMBS];
    for (done, chunk) in digits.rchunks(CHUNK_DIGITS).rev().enumerate() {
        // A chunk is less than 2³², so `done` chunks fill at most `done` limbs: the others are still zero.
        let reached = limbs.iter_mut().take(done.saturating_add(1));
        multiply_add(reached, read_digits(chunk)?);
    }
    let [low @ .., high] = limbs;
    let high = u16::try_from(high).map_err(|_| Base62Error::Range)?;

    let mut bytes = [0; PAYLOAD_BYTES];
    let (top, words) = bytes.as_rchunks_mut();
    top.copy_from_slice(&high.to_be_bytes());
    for (word, limb) in words.iter_mut().rev().zip(low) {
        *word = limb.to_be_bytes();
    }
    Ok(bytes)
}

/// Encodes a checksum, zero padded.
pub fn encode_checksum(value: u32) -> [u8; CHECKSUM_DIGITS] {
    let mut digits = [b'0'; CHECKSUM_DIGITS];
    write_digits(&mut digits, value);
    digits
}

/// Decodes the six digits of a checksum.
///
/// # Errors
/// [`Base62Error::Alphabet`] for a byte that is no digit, [`Base62Error::Range`] for a number of 2³² or more.
pub fn decode_checksum(digits: &[u8; CHECKSUM_DIGITS]) -> Result<u32, Base62Error> {
    u32::try_from(read_digits(digits)?).map_err(|_| Base62Error::Range)
}

// The payload is worked on as little-endian 32-bit limbs, five digits at a time (62⁵ < 2³²): every product fits
// into 64 bits, which WASM multiplies in one instruction (a 128-bit product would be a function call).
const LIMBS: usize = 9;
const CHUNK_DIGITS: usize = 5;
const CHUNK: u64 = 62_u64.pow(CHUNK_DIGITS as u32);
const NO_DIGIT: u8 = u8::MAX;
/// The value of each byte as a digit.
static VALUES: [u8; 256] = values();

#[expect(clippy::indexing_slicing, reason = "evaluated at compile time: an index out of range would not build")]
const fn values() -> [u8; 256] {
    let mut values = [NO_DIGIT; 256];
    let mut value = 0;
    while value < 62 {
        values[digit(value) as usize] = value;
        value += 1;
    }
    values
}

const fn digit(value: u8) -> u8 {
    match value {
        0..10 => b'0' + value,
        10..36 => b'A' + (value - 10),
        _ => b'a' + (value - 36),
    }
}

/// At most ten digits: more would not fit.
fn read_digits(digits: &[u8]) -> Result<u64, Base62Error> {
    digits.iter().try_fold(0, |number, byte| match VALUES.get(usize::from(*byte)) {
        Some(&value) if value != NO_DIGIT => Ok(number * 62 + u64::from(value)),
        _ => Err(Base62Error::Alphabet),
    })
}

fn write_digits(digits: &mut [u8], mut number: u32) {
    for byte in digits.iter_mut().rev() {
        *byte = digit((number % 62) as u8);
        number /= 62;
    }
}

/// limbs = limbs × 62⁵ + addend
fn multiply_add<'a>(limbs: impl Iterator<Item = &'a mut u32>, addend: u64) {
    let mut carry = addend;
    for limb in limbs {
        carry += u64::from(*limb) * CHUNK;
        *limb = carry as u32;
        carry >>= 32;
    }
}

/// limbs = limbs ÷ 62⁵; gives the remainder.
fn divide(limbs: &mut [u32; LIMBS]) -> u32 {
    let mut remainder = 0;
    for limb in limbs.iter_mut().rev() {
        let dividend = (remainder << 32) | u64::from(*limb);
        *limb = (dividend / CHUNK) as u32;
        remainder = dividend % CHUNK;
    }
    remainder as u32
}

fn limbs_of(bytes: &[u8; PAYLOAD_BYTES]) -> [u32; LIMBS] {
    let (top, words) = bytes.as_rchunks();
    let high = top.iter().fold(0, |high, byte| (high << 8) | u32::from(*byte));
    let low = words.iter().rev().map(|word| u32::from_be_bytes(*word));
    let mut limbs = [0; LIMBS];
    for (limb, value) in limbs.iter_mut().zip(low.chain([high])) {
        *limb = value;
    }
    limbs
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The digits of 2²⁷² − 1, the largest payload, worked out by another program.
    const LARGEST: &[u8; PAYLOAD_DIGITS] = b"Ggxee075YVMzo1ImHyGKskvfo88SjeTIf9cosNbrxYu6k3";

    #[test]
    fn the_smallest_and_the_largest_payload_have_their_known_digits() {
        assert_eq!(encode_payload(&[0; 34]), [b'0'; 46]);
        assert_eq!(&encode_payload(&[0xff; 34]), LARGEST);
        assert_eq!(decode_payload(&[b'0'; 46]), Ok([0; 34]));
        assert_eq!(decode_payload(LARGEST), Ok([0xff; 34]));
    }

    #[test]
    fn each_byte_of_the_payload_survives_a_round_trip() {
        for at in 0..PAYLOAD_BYTES {
            for value in [1, 0x7f, 0x80, 0xff] {
                let mut bytes = [0; PAYLOAD_BYTES];
                bytes[at] = value;
                assert_eq!(decode_payload(&encode_payload(&bytes)), Ok(bytes), "{at}");
            }
        }
    }

    #[test]
    fn a_payload_one_above_the_largest_is_refused() {
        let mut digits = *LARGEST;
        let last = digits.last_mut().unwrap();
        assert!(*last < b'z');
        *last = digit(VALUES[usize::from(*last)] + 1);
        assert_eq!(decode_payload(&digits), Err(Base62Error::Range));
        assert_eq!(decode_payload(&[b'z'; 46]), Err(Base62Error::Range));
    }

    #[test]
    fn a_checksum_above_32_bits_is_refused_and_the_largest_below_is_not() {
        assert_eq!(decode_checksum(b"4gfFC3"), Ok(u32::MAX));
        assert_eq!(encode_checksum(u32::MAX), *b"4gfFC3");
        assert_eq!(decode_checksum(b"4gfFC4"), Err(Base62Error::Range));
        assert_eq!(decode_checksum(b"zzzzzz"), Err(Base62Error::Range));
        assert_eq!(encode_checksum(61), *b"00000z");
    }

    #[test]
    fn every_byte_that_is_no_digit_is_refused_in_every_place() {
        for byte in (0..=u8::MAX).filter(|byte| !byte.is_ascii_alphanumeric()) {
            for at in 0..PAYLOAD_DIGITS {
                let mut digits = [b'0'; PAYLOAD_DIGITS];
                digits[at] = byte;
                assert_eq!(decode_payload(&digits), Err(Base62Error::Alphabet));
            }
            for at in 0..CHECKSUM_DIGITS {
                let mut digits = [b'0'; CHECKSUM_DIGITS];
                digits[at] = byte;
                assert_eq!(decode_checksum(&digits), Err(Base62Error::Alphabet));
            }
        }
    }

    #[test]
    fn the_alphabet_is_digits_then_upper_case_then_lower_case() {
        let alphabet: Vec<u8> = (0..62).map(digit).collect();
        assert_eq!(alphabet, b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz");
    }
}
