//! From the events' monotonic time to the wall clock's.

use std::fmt::Write as _;

/// The distance between the two clocks, taken once when a run starts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Clock {
    /// Nanoseconds to add to a monotonic time to get nanoseconds since 1970.
    pub offset: i64,
}

const SECOND: u64 = 1_000_000_000;

impl Clock {
    /// Nanoseconds since 1970 of a monotonic time.
    pub fn unix(self, monotonic: u64) -> u64 {
        monotonic.saturating_add_signed(self.offset)
    }

    /// The same in seconds.
    pub fn unix_seconds(self, monotonic: u64) -> f64 {
        self.unix(monotonic) as f64 / SECOND as f64
    }

    /// The same as RFC 3339 in UTC, to the microsecond.
    pub fn rfc3339(self, monotonic: u64) -> String {
        let unix = self.unix(monotonic);
        let (seconds, micros) = (unix / SECOND, unix % SECOND / 1_000);
        let (year, month, day) = date(seconds / 86_400);
        let of_day = seconds % 86_400;
        let mut out = String::new();
        let _ = write!(
            out,
            "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}.{micros:06}Z",
            of_day / 3_600,
            of_day / 60 % 60,
            of_day % 60
        );
        out
    }
}

/// Year, month and day that lie `days` after 1970-01-01. Nanoseconds in 64 bits end in 2554, so the loop over years is short.
fn date(mut days: u64) -> (u64, u64, u64) {
    let leap = |year: u64| year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let mut year = 1970;
    loop {
        let length = if leap(year) { 366 } else { 365 };
        if days < length {
            break;
        }
        days -= length;
        year += 1;
    }
    let february = if leap(year) { 29 } else { 28 };
    let mut month = 1;
    for length in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31] {
        if days < length {
            break;
        }
        days -= length;
        month += 1;
    }
    (year, month, days + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_instants() {
        let at = |seconds: u64| Clock::default().rfc3339(seconds * SECOND + 123_456_789);
        assert_eq!(at(0), "1970-01-01T00:00:00.123456Z");
        assert_eq!(at(951_782_399), "2000-02-28T23:59:59.123456Z");
        assert_eq!(at(951_782_400), "2000-02-29T00:00:00.123456Z");
        assert_eq!(at(1_000_000_000), "2001-09-09T01:46:40.123456Z");
        assert_eq!(at(4_107_542_400), "2100-03-01T00:00:00.123456Z");
        assert_eq!(at(1_798_761_599), "2026-12-31T23:59:59.123456Z");
    }

    #[test]
    fn hostile_times_do_not_overflow() {
        assert_eq!(
            Clock { offset: i64::MAX }.rfc3339(u64::MAX),
            "2554-07-21T23:34:33.709551Z"
        );
        assert_eq!(
            Clock { offset: i64::MIN }.rfc3339(5),
            "1970-01-01T00:00:00.000000Z"
        );
    }
}
