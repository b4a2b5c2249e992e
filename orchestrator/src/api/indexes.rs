//! Completion indexes of a Job, written as Kubernetes writes them: `1,3-5,7`.
use std::collections::BTreeSet;
use std::fmt;

/// A set of indexes that is short however many there are: its runs in order, first and last of each.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Indexes(Vec<(i32, i32)>);

impl Indexes {
    /// Reads a text strictly: indexes below `completions`, in order.
    pub fn parse(text: &str, completions: i32) -> Result<Self, String> {
        let mut runs: Vec<(i32, i32)> = Vec::new();
        for part in text.split(',').filter(|_| !text.is_empty()) {
            let (first, last) = run(part, completions)?;
            if let Some((_, previous)) = runs.last()
                && *previous >= first
            {
                let why = format!("non-increasing order, previous: {previous}, current: {first}");
                return Err(why);
            }
            runs.push((first, last));
        }
        Ok(Self(runs).merged())
    }

    /// Reads what a status says of a Job that may have shrunk since: indexes from `completions` on are left out.
    pub fn below(text: &str, completions: i32) -> Self {
        let runs = text.split(',').filter_map(|part| {
            let (first, last) = run(part, i32::MAX).ok()?;
            (first < completions).then_some((first, last.min(completions - 1)))
        });
        Self(runs.collect()).merged()
    }

    /// These and `more`.
    #[must_use]
    pub fn with(&self, more: impl IntoIterator<Item = i32>) -> Self {
        let more: BTreeSet<i32> = more.into_iter().collect();
        let mut runs = self.0.clone();
        runs.extend(more.into_iter().map(|index| (index, index)));
        runs.sort_unstable();
        Self(runs).merged()
    }

    /// How many there are.
    pub fn len(&self) -> i32 {
        self.0.iter().map(|(first, last)| last - first + 1).sum()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Each of them, in order.
    pub fn iter(&self) -> impl Iterator<Item = i32> {
        self.0.iter().flat_map(|(first, last)| *first..=*last)
    }

    /// Whether `index` is one of them.
    pub fn contains(&self, index: i32) -> bool {
        let at = self.0.partition_point(|(_, last)| *last < index);
        self.0.get(at).is_some_and(|(first, _)| *first <= index)
    }

    /// How many are in both.
    pub fn shared(&self, other: &Self) -> i32 {
        let overlap = |a: &(i32, i32), b: &(i32, i32)| (a.1.min(b.1) - a.0.max(b.0) + 1).max(0);
        let (mut mine, mut theirs) = (self.0.iter().peekable(), other.0.iter().peekable());
        let mut shared = 0;
        while let (Some(a), Some(b)) = (mine.peek(), theirs.peek()) {
            shared += overlap(a, b);
            if a.1 < b.1 {
                mine.next();
            } else {
                theirs.next();
            }
        }
        shared
    }

    /// The lowest index in both.
    pub fn first_shared(&self, other: &Self) -> Option<i32> {
        let starts = self.0.iter().chain(&other.0).map(|(first, _)| *first);
        starts.filter(|index| self.contains(*index) && other.contains(*index)).min()
    }

    /// The first `count` indexes below `completions` that are not among these.
    pub fn missing(&self, count: usize, completions: i32) -> Vec<i32> {
        let mut missing = Vec::new();
        let mut next = 0;
        for (first, last) in self.0.iter().chain([&(completions, completions)]) {
            let room = count - missing.len();
            missing.extend((next..(*first).min(completions)).take(room));
            next = last.saturating_add(1);
        }
        missing
    }

    /// Runs that touch are one.
    fn merged(self) -> Self {
        let mut merged: Vec<(i32, i32)> = Vec::new();
        for (first, last) in self.0 {
            match merged.last_mut() {
                Some(run) if first <= run.1.saturating_add(1) => run.1 = run.1.max(last),
                _ => merged.push((first, last)),
            }
        }
        Self(merged)
    }
}

impl fmt::Display for Indexes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, (first, last)) in self.0.iter().enumerate() {
            if number > 0 {
                write!(f, ",")?;
            }
            match last - first {
                0 => write!(f, "{first}")?,
                1 => write!(f, "{first},{last}")?,
                _ => write!(f, "{first}-{last}")?,
            }
        }
        Ok(())
    }
}

fn run(text: &str, completions: i32) -> Result<(i32, i32), String> {
    let number = |text: &str| {
        let unreadable = || format!("cannot convert string to integer for index: {text:?}");
        let number = text.parse::<i32>().ok().filter(|n| *n >= 0).ok_or_else(unreadable)?;
        if number >= completions {
            return Err(format!("too large index: {text:?}"));
        }
        Ok(number)
    };
    let parts: Vec<&str> = text.split('-').collect();
    match parts[..] {
        [one] => number(one).map(|one| (one, one)),
        [first, last] => {
            let (first, last) = (number(first)?, number(last)?);
            if first >= last {
                return Err(format!("non-increasing order, previous: {first}, current: {last}"));
            }
            Ok((first, last))
        }
        _ => Err(format!(
            "the fragment {text:?} violates the requirement that an index interval can have at most two parts separated by '-'"
        )),
    }
}

#[cfg(test)]
mod tests {
    use rand::rngs::StdRng;
    use rand::{Rng, SeedableRng};

    use super::*;

    #[test]
    fn texts_are_read_strictly_for_a_spec_and_leniently_for_a_status() {
        let parsed = Indexes::parse("0,2-4,6", 7).unwrap();
        assert_eq!((parsed.len(), parsed.to_string().as_str()), (5, "0,2-4,6"));
        assert_eq!(Indexes::parse("", 7), Ok(Indexes::default()));
        for (text, why) in [
            ("0,a", "cannot convert string to integer for index: \"a\""),
            ("7", "too large index: \"7\""),
            ("2,2", "non-increasing order, previous: 2, current: 2"),
            ("4-2", "non-increasing order, previous: 4, current: 2"),
            ("1-2-3", "the fragment \"1-2-3\" violates"),
        ] {
            let error = Indexes::parse(text, 7).unwrap_err();
            assert!(error.starts_with(why), "{text}: {error}");
        }
        assert_eq!(Indexes::below("0-4,6,9", 4).to_string(), "0-3");
        assert_eq!(Indexes::below("", 4), Indexes::default());
    }

    #[test]
    fn it_behaves_as_a_set_of_numbers() {
        let mut random = StdRng::seed_from_u64(7);
        for _ in 0..500 {
            let mut numbers = || -> BTreeSet<i32> {
                (0..random.random_range(0..12)).map(|_| random.random_range(0..20)).collect()
            };
            let (one, other) = (numbers(), numbers());
            let (a, b) = (
                Indexes::default().with(one.iter().copied()),
                Indexes::default().with(other.iter().copied()),
            );
            let both: BTreeSet<i32> = one.union(&other).copied().collect();
            let joined = a.with(other.iter().copied());
            assert_eq!(joined, Indexes::default().with(both.iter().copied()));
            assert_eq!(joined.len() as usize, both.len());
            assert_eq!(Indexes::parse(&joined.to_string(), 20), Ok(joined.clone()));
            assert_eq!(a.shared(&b) as usize, one.intersection(&other).count(), "{a} {b}");
            assert_eq!(a.first_shared(&b), one.intersection(&other).copied().next(), "{a} {b}");
            assert!((0..20).all(|n| a.contains(n) == one.contains(&n)));
            let missing: Vec<i32> = (0..20).filter(|n| !one.contains(n)).take(5).collect();
            assert_eq!(a.missing(5, 20), missing);
        }
    }
}
