//! Which Pod has which address.
//!
//! A node takes /24 blocks of the Pod range as they fill, so that a small node
//! holds one block and a large one forty. An address that was given back rests
//! before it is given out again: rules and connections that still name the old
//! Pod must not reach a new one.
use std::collections::VecDeque;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::str::FromStr;
use std::time::{Duration, Instant};

/// How long an address rests; longer than rules take to reach every node.
pub const QUARANTINE: Duration = Duration::from_secs(10);

/// Addresses in a block.
const BLOCK: u32 = 256;
/// The first host number of a block that a Pod may have: 0 names the block and
/// 1 is the node's own address in it.
const FIRST_HOST: u32 = 2;
/// The last one: 255 is the block's broadcast address elsewhere.
const LAST_HOST: u32 = 254;

/// A range of IPv4 addresses, such as `10.64.0.0/10`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    first: u32,
    prefix: u8,
}

impl Range {
    /// The range of `prefix` leading bits that begins at `first`; `None` unless
    /// the prefix is 8 to 32 and the bits after it are zero.
    pub const fn new(first: Ipv4Addr, prefix: u8) -> Option<Self> {
        let first = first.to_bits();
        if prefix < 8 || prefix > 32 || first & !mask(prefix) != 0 {
            return None;
        }
        Some(Self { first, prefix })
    }

    /// Whether the address is in it.
    pub fn contains(&self, ip: IpAddr) -> bool {
        match ip {
            IpAddr::V4(ip) => ip.to_bits() & mask(self.prefix) == self.first,
            IpAddr::V6(_) => false,
        }
    }

    /// How many /24 blocks it holds.
    fn blocks(&self) -> u32 {
        if self.prefix >= 24 { 1 } else { 1 << (24 - self.prefix) }
    }
}

/// The text is not a range of IPv4 addresses.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a range of IPv4 addresses such as 10.64.0.0/10")]
pub struct RangeError(String);

impl FromStr for Range {
    type Err = RangeError;

    fn from_str(text: &str) -> Result<Self, RangeError> {
        let bad = || RangeError(text.to_string());
        let (first, prefix) = text.split_once('/').ok_or_else(bad)?;
        let first = first.parse().map_err(|_| bad())?;
        Self::new(first, prefix.parse().map_err(|_| bad())?).ok_or_else(bad)
    }
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", Ipv4Addr::from_bits(self.first), self.prefix)
    }
}

/// Every address of the range is taken or resting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no free address in the pod range {0}")]
pub struct Exhausted(Range);

/// Gives out the addresses of one node.
#[derive(Debug)]
pub(super) struct Addresses {
    range: Range,
    blocks: Vec<Block>,
    resting: VecDeque<(Instant, Ipv4Addr)>,
}

/// A /24 of the range, with a bit for each address that is taken or resting.
#[derive(Debug)]
struct Block {
    first: u32,
    used: [u64; 4],
    /// Where the search goes on, so that addresses are reused late.
    next: u32,
}

impl Addresses {
    pub(super) fn new(range: Range) -> Self {
        Self { range, blocks: vec![Block::new(range.first)], resting: VecDeque::new() }
    }

    /// The node's own address, from which the host dials.
    pub(super) fn node(&self) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.range.first + 1)
    }

    /// Takes `wanted` if it is free or resting, any free address otherwise.
    pub(super) fn allocate(
        &mut self,
        wanted: Option<Ipv4Addr>,
        now: Instant,
    ) -> Result<Ipv4Addr, Exhausted> {
        self.wake(now);
        if let Some(ip) = wanted.filter(|ip| self.take(*ip)) {
            return Ok(ip);
        }
        for block in &mut self.blocks {
            if let Some(ip) = block.take_next() {
                return Ok(ip);
            }
        }
        let range = self.range;
        self.add_free_block().and_then(Block::take_next).ok_or(Exhausted(range))
    }

    /// Puts an address to rest.
    pub(super) fn release(&mut self, ip: Ipv4Addr, now: Instant) {
        if !self.resting.iter().any(|(_, other)| *other == ip) {
            self.resting.push_back((now, ip));
        }
    }

    /// Frees what has rested long enough.
    fn wake(&mut self, now: Instant) {
        while let Some((since, ip)) = self.resting.front().copied() {
            if now.duration_since(since) < QUARANTINE {
                return;
            }
            self.resting.pop_front();
            if let Some(block) = self.blocks.iter_mut().find(|block| block.holds(ip)) {
                block.set(ip, false);
            }
        }
    }

    fn take(&mut self, ip: Ipv4Addr) -> bool {
        let host = ip.to_bits() % BLOCK;
        if !self.range.contains(ip.into()) || !(FIRST_HOST..=LAST_HOST).contains(&host) {
            return false;
        }
        if let Some(at) = self.resting.iter().position(|(_, other)| *other == ip) {
            self.resting.remove(at);
            return true;
        }
        let at = self.blocks.iter().position(|block| block.holds(ip)).unwrap_or_else(|| {
            self.blocks.push(Block::new(ip.to_bits() - host));
            self.blocks.len() - 1
        });
        let free = !self.blocks[at].is_used(ip);
        self.blocks[at].set(ip, true);
        free
    }

    fn add_free_block(&mut self) -> Option<&mut Block> {
        let taken: Vec<u32> = self.blocks.iter().map(|block| block.first).collect();
        let first = (0..self.range.blocks())
            .map(|number| self.range.first + number * BLOCK)
            .find(|first| !taken.contains(first))?;
        self.blocks.push(Block::new(first));
        self.blocks.last_mut()
    }
}

impl Block {
    fn new(first: u32) -> Self {
        Self { first, used: [0; 4], next: FIRST_HOST }
    }

    fn holds(&self, ip: Ipv4Addr) -> bool {
        ip.to_bits() & mask(24) == self.first
    }

    fn is_used(&self, ip: Ipv4Addr) -> bool {
        let host = ip.to_bits() % BLOCK;
        self.used[(host / 64) as usize] & (1 << (host % 64)) != 0
    }

    fn set(&mut self, ip: Ipv4Addr, used: bool) {
        let host = ip.to_bits() % BLOCK;
        let bit = 1 << (host % 64);
        let word = &mut self.used[(host / 64) as usize];
        *word = if used { *word | bit } else { *word & !bit };
    }

    fn take_next(&mut self) -> Option<Ipv4Addr> {
        let host = (self.next..=LAST_HOST)
            .chain(FIRST_HOST..self.next)
            .find(|host| !self.is_used(Ipv4Addr::from_bits(self.first + host)))?;
        self.next = if host == LAST_HOST { FIRST_HOST } else { host + 1 };
        let ip = Ipv4Addr::from_bits(self.first + host);
        self.set(ip, true);
        Some(ip)
    }
}

const fn mask(prefix: u8) -> u32 {
    if prefix == 0 { 0 } else { u32::MAX << (32 - prefix) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(range: &str) -> Addresses {
        Addresses::new(range.parse().unwrap())
    }

    #[test]
    fn a_range_is_read_and_written_as_cidr() {
        let range: Range = "10.64.0.0/10".parse().unwrap();
        assert_eq!(range.to_string(), "10.64.0.0/10");
        assert!(range.contains("10.127.255.255".parse().unwrap()));
        assert!(!range.contains("10.128.0.0".parse().unwrap()));
        for bad in ["10.64.0.1/10", "10.64.0.0", "10.64.0.0/33", "x/10", "::/10"] {
            assert!(bad.parse::<Range>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_second_block_is_taken_when_the_first_is_full() {
        let mut addresses = addresses("10.64.0.0/10");
        let now = Instant::now();
        let given: Vec<Ipv4Addr> =
            (0..300).map(|_| addresses.allocate(None, now).unwrap()).collect();
        let mut unique = given.clone();
        unique.sort();
        unique.dedup();
        assert_eq!(unique.len(), 300);
        assert_eq!(given[0], Ipv4Addr::new(10, 64, 0, 2));
        assert_eq!(given[253], Ipv4Addr::new(10, 64, 1, 2));
        assert!(!given.contains(&addresses.node()));
    }

    #[test]
    fn a_wanted_address_is_given_only_while_it_is_free() {
        let mut addresses = addresses("10.64.0.0/10");
        let now = Instant::now();
        let wanted = Ipv4Addr::new(10, 65, 3, 9);
        assert_eq!(addresses.allocate(Some(wanted), now), Ok(wanted));
        assert_ne!(addresses.allocate(Some(wanted), now), Ok(wanted));
        for foreign in [Ipv4Addr::new(192, 168, 0, 5), addresses.node()] {
            assert_ne!(addresses.allocate(Some(foreign), now), Ok(foreign));
        }
    }

    #[test]
    fn an_address_rests_before_it_is_used_again_unless_it_is_asked_for() {
        let mut addresses = addresses("10.64.0.0/24");
        let start = Instant::now();
        let all: Vec<Ipv4Addr> =
            (0..253).map(|_| addresses.allocate(None, start).unwrap()).collect();
        assert!(addresses.allocate(None, start).is_err());
        addresses.release(all[7], start);
        assert!(addresses.allocate(None, start + QUARANTINE / 2).is_err());
        assert_eq!(addresses.allocate(None, start + QUARANTINE), Ok(all[7]));
        addresses.release(all[9], start);
        assert_eq!(addresses.allocate(Some(all[9]), start), Ok(all[9]));
        assert!(addresses.allocate(None, start + QUARANTINE * 2).is_err());
    }
}
