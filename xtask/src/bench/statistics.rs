//! What a handful of measurements say.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The middle of some measurements, and the quarter below and above.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Spread {
    /// As many are below as above.
    pub median: f64,
    /// A quarter is below.
    pub low: f64,
    /// A quarter is above.
    pub high: f64,
    /// Of how many.
    pub measurements: usize,
}

impl Spread {
    /// Of some measurements; none of none.
    pub fn of(measurements: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut sorted: Vec<f64> = measurements.into_iter().collect();
        sorted.sort_by(f64::total_cmp);
        // Between two measurements, what lies between them.
        let at = |share: f64| {
            let place = (sorted.len().max(1) - 1) as f64 * share;
            let (below, above) = (
                sorted.get(place.floor() as usize)?,
                sorted.get(place.ceil() as usize)?,
            );
            Some(rounded(below + (above - below) * place.fract()))
        };
        Some(Self {
            median: at(0.5)?,
            low: at(0.25)?,
            high: at(0.75)?,
            measurements: sorted.len(),
        })
    }

    /// Whether every part of it is a number.
    pub fn is_finite(&self) -> bool {
        [self.median, self.low, self.high]
            .iter()
            .all(|part| part.is_finite())
    }
}

/// To six digits: nobody measures more, and they read back as they are written.
fn rounded(figure: f64) -> f64 {
    let read = format!("{figure:.5e}").parse().unwrap_or(figure);
    // No sum of nothing is negative.
    read + 0.0
}

impl fmt::Display for Spread {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = match self.median.abs() {
            0.0 => 0,
            size if size < 0.1 => 3,
            size if size < 10.0 => 2,
            size if size < 100.0 => 1,
            _ => 0,
        };
        write!(out, "{:.digits$}", self.median)?;
        if self.measurements > 1 {
            write!(out, " ({:.digits$} to {:.digits$})", self.low, self.high)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_and_its_quarters() {
        let spread = Spread::of([5.0, 1.0, 4.0, 2.0, 3.0]).expect("some");
        assert_eq!((spread.low, spread.median, spread.high), (2.0, 3.0, 4.0));
        assert_eq!(spread.to_string(), "3.00 (2.00 to 4.00)");
        let spread = Spread::of([1.0, 2.0, 200.0]).expect("some");
        assert_eq!(spread.to_string(), "2.00 (1.50 to 101.00)");
        assert_eq!(
            Spread::of([120.4]).map(|one| one.to_string()).as_deref(),
            Some("120")
        );
        assert_eq!(Spread::of([1.0 / 3.0]).map(|one| one.median), Some(0.333_333));
        assert_eq!(
            Spread::of([-0.0]).map(|one| one.to_string()).as_deref(),
            Some("0")
        );
        assert_eq!(Spread::of([]), None);
    }
}
