//! What the machine has, and what it is called.
use std::path::Path;

use super::resources::Amount;
use crate::client::names;
use crate::platform;

/// Pods a node takes: each has its own address, idle functions cost next to nothing.
const PODS: usize = 10_000;
/// Memory where the system does not tell: a small board's.
const MEMORY: u64 = 1 << 30;

/// What a node offers to Pods.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capacity {
    /// Thousandths of a CPU.
    pub cpu: u64,
    /// Bytes of memory.
    pub memory: u64,
    /// Bytes of disk; `None` where the system does not tell.
    pub ephemeral_storage: Option<u64>,
    /// Pods.
    pub pods: usize,
}

impl Capacity {
    /// All that this machine has; the disk is the one that `data_dir` is on.
    pub fn of_machine(data_dir: &Path) -> Self {
        let cpus = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Self {
            cpu: cpus as u64 * 1000,
            memory: platform::total_memory().unwrap_or(MEMORY),
            ephemeral_storage: platform::disk_size(data_dir),
            pods: PODS,
        }
    }

    pub(super) fn amount(self) -> Amount {
        let signed = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
        Amount { cpu: signed(self.cpu), memory: signed(self.memory) }
    }
}

/// The name of this machine as a Node may have it; `node` where it has none.
pub fn node_name() -> String {
    platform::host_name().as_deref().and_then(valid_name).unwrap_or_else(|| "node".to_owned())
}

/// A host name in lower case, with `-` for what a Node's name may not have.
fn valid_name(host: &str) -> Option<String> {
    let allowed = |c: char| {
        let c = c.to_ascii_lowercase();
        if c.is_ascii_alphanumeric() || c == '.' { c } else { '-' }
    };
    let name: String = host.trim().chars().map(allowed).collect();
    let parts: Vec<_> = name.split('.').map(|part| part.trim_matches('-')).collect();
    let name = parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(".");
    (!name.is_empty() && names::dns_subdomain(&name).is_ok()).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_names_become_names_of_nodes() {
        for (host, wanted) in [
            ("web-1", Some("web-1")),
            ("Annas-MacBook.local", Some("annas-macbook.local")),
            ("my_host name", Some("my-host-name")),
            ("-odd-.-x", Some("odd.x")),
            ("___", None),
        ] {
            assert_eq!(valid_name(host).as_deref(), wanted, "{host}");
        }
    }

    #[test]
    fn a_machine_has_something() {
        let capacity = Capacity::of_machine(Path::new("."));
        assert!(capacity.cpu >= 1000 && capacity.memory > 64 << 20 && capacity.pods == 10_000);
    }
}
