//! How often a key was used and refused lately, hour by hour or day by day (UTC). Every count is a lower bound.

use crate::{
    credential::Digest,
    policy::{DAY_MS, HOUR_MS, Reason, UnixMillis},
};

use super::{
    hours::Hours,
    sql::{Columns, Sql, SqlError},
};

/// What the parts of a picture are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Per {
    /// Hours, 48 with the current one.
    Hour,
    /// Days, 90 with the current one.
    Day,
}

impl Per {
    /// The name on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Per::Hour => "hour",
            Per::Day => "day",
        }
    }

    /// How many parts there are.
    #[must_use]
    pub fn parts(self) -> u64 {
        match self {
            Per::Hour => 48,
            Per::Day => 90,
        }
    }

    /// How long a part is, in milliseconds.
    #[must_use]
    pub fn millis(self) -> u64 {
        match self {
            Per::Hour => HOUR_MS,
            Per::Day => DAY_MS,
        }
    }
}

/// Calls of some time: how many were allowed, and for each reason how many were refused.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts([u64; 1 + Reason::COUNT]);

impl Counts {
    /// Adds so many; without a reason, they were allowed.
    pub fn add(&mut self, reason: Option<Reason>, count: u64) {
        if let Some(sum) = self.0.get_mut(reason.map_or(0, |reason| 1 + reason as usize)) {
            *sum = sum.saturating_add(count);
        }
    }

    /// How many were allowed.
    #[must_use]
    pub fn allowed(&self) -> u64 {
        let [allowed, ..] = self.0;
        allowed
    }

    /// How many were refused for a reason.
    #[must_use]
    pub fn refused(&self, reason: Reason) -> u64 {
        self.0.get(1 + reason as usize).copied().unwrap_or(0)
    }

    /// How many were refused, for whatever reason.
    #[must_use]
    pub fn refused_in_all(&self) -> u64 {
        let [_, refused @ ..] = &self.0;
        let mut sum = 0_u64;
        for count in refused {
            sum = sum.saturating_add(*count);
        }
        sum
    }
}

/// What is known of the calls with one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsagePicture {
    /// The key.
    pub digest: Digest,
    /// What the parts are.
    pub per: Per,
    /// When the first of them begins.
    pub from: UnixMillis,
    /// One after the other, the last one is that of now.
    pub parts: Vec<Counts>,
}

impl UsagePicture {
    /// Of a time without any calls, up to `now`.
    #[must_use]
    pub fn new(digest: Digest, per: Per, now: UnixMillis) -> Self {
        let mut parts = Vec::new();
        for _ in 0..per.parts() {
            parts.push(Counts::default());
        }
        let first = (now.as_millis() / per.millis()).saturating_sub(per.parts().saturating_sub(1));
        UsagePicture { digest, per, from: UnixMillis::from_millis(first.saturating_mul(per.millis())), parts }
    }

    /// What is written of a key.
    pub(super) fn read(sql: &impl Sql, digest: Digest, per: Per, now: UnixMillis) -> Result<Self, SqlError> {
        let mut picture = UsagePicture::new(digest, per, now);
        let rows = sql.run(
            "SELECT day, count, hours FROM usage WHERE digest = ?1 AND day >= ?2 AND day <= ?3",
            &[digest.to_hex().into(), picture.from.day().into(), now.day().into()],
        )?;
        for row in rows {
            let mut row = Columns::of(row);
            let (day, count) = (row.number()?, row.number()?);
            picture.add_day(day, count, &Hours::read(&row.text()?));
        }
        Ok(picture)
    }

    /// Adds a day: how often the key was used, and the same by hours with the refusals. Rows of old have no hours.
    pub(super) fn add_day(&mut self, day: u64, count: u64, hours: &Hours) {
        if self.per == Per::Day {
            self.add(UnixMillis::of_day(day), None, count);
        }
        for calls in hours.calls() {
            if self.per == Per::Hour || calls.reason.is_some() {
                self.add(calls.begin(day), calls.reason, calls.count);
            }
        }
    }

    /// Adds calls at `at`; what is not in the picture is left out.
    pub fn add(&mut self, at: UnixMillis, reason: Option<Reason>, count: u64) {
        let Some(since) = at.as_millis().checked_sub(self.from.as_millis()) else { return };
        let part = usize::try_from(since / self.per.millis()).ok().and_then(|place| self.parts.get_mut(place));
        if let Some(part) = part {
            part.add(reason, count);
        }
    }

    /// When the part at this place begins; where there is none any more, when the last one ends.
    #[must_use]
    pub fn begin(&self, place: usize) -> UnixMillis {
        let place = u64::try_from(place).unwrap_or(0);
        self.from.saturating_add_millis(self.per.millis().saturating_mul(place))
    }

    /// All parts together.
    #[must_use]
    pub fn sum(&self) -> Counts {
        let mut sum = Counts::default();
        for part in &self.parts {
            for (sum, count) in sum.0.iter_mut().zip(&part.0) {
                *sum = sum.saturating_add(*count);
            }
        }
        sum
    }
}
