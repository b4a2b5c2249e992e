//! Which nodes are together, by the value of a label.
use std::collections::HashMap;

/// What a node without the label has for a domain.
pub const NOWHERE: u32 = u32::MAX;

/// One label of nodes by which some term or constraint goes.
#[derive(Debug, Default)]
pub struct Topology {
    /// The label.
    pub key: String,
    numbers: HashMap<String, u32>,
    /// Per node, the number of its value.
    of: Vec<u32>,
}

impl Topology {
    pub(super) fn new(key: &str) -> Self {
        Self { key: key.to_owned(), ..Self::default() }
    }

    /// The domain of a node.
    pub fn of(&self, slot: usize) -> u32 {
        self.of.get(slot).copied().unwrap_or(NOWHERE)
    }

    /// As many domains as were ever seen; their numbers are smaller.
    pub fn domains(&self) -> usize {
        self.numbers.len()
    }

    /// Files a node under the value of its label; the domain it was in before.
    pub(super) fn set(&mut self, slot: usize, value: Option<&String>) -> u32 {
        if self.of.len() <= slot {
            self.of.resize(slot + 1, NOWHERE);
        }
        let next = u32::try_from(self.numbers.len()).unwrap_or(NOWHERE);
        let domain = match value {
            None => NOWHERE,
            Some(value) => match self.numbers.get(value) {
                Some(number) => *number,
                None => *self.numbers.entry(value.clone()).or_insert(next),
            },
        };
        std::mem::replace(&mut self.of[slot], domain)
    }
}
