//! Numbers, by their digits.

/// The whole number that `written`, a JSON number, stands for; none for a fraction, below 0, or beyond `u64::MAX`.
pub(super) fn whole(written: &str) -> Option<u64> {
    let (mantissa, exponent) = written.split_once(['e', 'E']).unwrap_or((written, "0"));
    let (before, after) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let after = after.trim_end_matches('0');
    let mut digits = String::from(before.trim_start_matches('-'));
    digits.push_str(after);
    let digits = digits.trim_start_matches('0');
    let significant = digits.trim_end_matches('0');
    if significant.is_empty() {
        return Some(0);
    }
    // An exponent that does not fit is far from every whole number that does.
    let exponent: i64 = exponent.parse().ok()?;
    let moved = (digits.len() - significant.len()) as i64 - after.len() as i64;
    let zeros = u32::try_from(exponent.checked_add(moved)?).ok()?;
    if before.starts_with('-') {
        return None;
    }
    significant.parse::<u64>().ok()?.checked_mul(10_u64.checked_pow(zeros)?)
}
