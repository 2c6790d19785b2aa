//! Numbers that are given out, and taken back when what they stand for is gone.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

/// How long a number rests before it is given out again: what the kernel side has sent may still name it.
const REST: Duration = Duration::from_secs(60);

/// Numbers from a first one up to, and without, an end.
#[derive(Debug)]
pub struct Numbers {
    next: u32,
    end: u32,
    back: VecDeque<(Instant, u32)>,
}

impl Numbers {
    /// None is given out yet.
    pub const fn new(first: u32, end: u32) -> Self {
        Self {
            next: first,
            end,
            back: VecDeque::new(),
        }
    }

    /// A number that stands for nothing; none when all are given out or rest.
    pub fn take(&mut self, now: Instant) -> Option<u32> {
        if let Some((since, number)) = self.back.front()
            && now.saturating_duration_since(*since) >= REST
        {
            let number = *number;
            self.back.pop_front();
            return Some(number);
        }
        let number = self.next;
        (number < self.end).then(|| {
            self.next += 1;
            number
        })
    }

    /// What these stood for is gone.
    pub fn give_back(&mut self, numbers: impl IntoIterator<Item = u32>, now: Instant) {
        self.back.extend(numbers.into_iter().map(|number| (now, number)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_rests_before_it_is_given_out_again() {
        let start = Instant::now();
        let mut numbers = Numbers::new(1, 3);
        assert_eq!(numbers.take(start), Some(1));
        assert_eq!(numbers.take(start), Some(2));
        assert_eq!(numbers.take(start), None);
        numbers.give_back([2, 1], start);
        assert_eq!(numbers.take(start + REST / 2), None);
        assert_eq!(numbers.take(start + REST), Some(2));
        assert_eq!(numbers.take(start + REST), Some(1));
        assert_eq!(numbers.take(start + REST), None);
    }
}
