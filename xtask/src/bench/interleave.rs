//! The one way in which things are measured: all of them in turn, again and again, until the time is up.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use anyhow::Result;

use super::statistics::Spread;

/// How often everything is measured.
#[derive(Clone, Copy, Debug)]
pub struct Rounds {
    /// At least so often.
    pub least: usize,
    /// Then until so much time has passed.
    pub time: Duration,
    /// The first round warms up, and is not counted.
    pub warm: bool,
}

/// What a round has measured, by the way in which it was done.
pub struct Turns<W, T>(Vec<BTreeMap<W, T>>);

/// Measures every way in each round. Each round begins with another one, so that none always follows the same.
pub fn interleaved<W: Copy + Ord, T>(
    ways: &[W],
    rounds: Rounds,
    mut measure: impl FnMut(W) -> Result<T>,
) -> Result<Turns<W, T>> {
    let begin = Instant::now();
    let mut turns = Vec::new();
    let mut round = 0;
    while turns.len() < rounds.least || begin.elapsed() < rounds.time {
        let mut turn = BTreeMap::new();
        for number in 0..ways.len() {
            let way = ways[(round + number) % ways.len()];
            turn.insert(way, measure(way)?);
        }
        if round > 0 || !rounds.warm {
            turns.push(turn);
        }
        round += 1;
    }
    Ok(Turns(turns))
}

impl<W: Ord, T> Turns<W, T> {
    /// A figure that is made from all that one round has measured. A round in which it is no number does not count.
    pub fn each(&self, figure: impl Fn(&BTreeMap<W, T>) -> f64) -> Option<Spread> {
        Spread::of(self.0.iter().map(figure).filter(|figure| figure.is_finite()))
    }

    /// The sum of a figure over the rounds.
    pub fn sum(&self, figure: impl Fn(&BTreeMap<W, T>) -> f64) -> f64 {
        self.0.iter().map(figure).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_round_has_every_way_and_begins_with_another() {
        let mut order = Vec::new();
        let rounds = Rounds {
            least: 2,
            time: Duration::ZERO,
            warm: true,
        };
        let turns = interleaved(&["on", "off"], rounds, |way| {
            order.push(way);
            Ok(if way == "on" { 3.0 } else { 2.0 })
        });
        let turns = turns.expect("nothing fails");
        assert_eq!(order, ["on", "off", "off", "on", "on", "off"]);
        let ratio = turns.each(|turn| turn["on"] / turn["off"]).expect("two rounds");
        assert_eq!((ratio.median, ratio.measurements), (1.5, 2));
        assert_eq!(turns.each(|_| f64::NAN), None);
        assert!((turns.sum(|turn| turn["on"]) - 6.0).abs() < 1e-9);
    }
}
