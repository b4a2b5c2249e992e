//! Names of the cluster: the resolver that every Pod sees.
//!
//! It answers what a cluster's DNS server would, without a server: the proxy
//! feeds it a table, and a Pod's search domains are tried as its `resolv.conf`
//! would have them. Names outside the cluster are left to the host's resolver.
use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};

use crate::cri::DnsConfig;

/// A name with fewer dots is tried under the search domains first (`options
/// ndots:5`, as the kubelet writes it).
const NDOTS: usize = 5;
/// Aliases followed before a name counts as unknown.
const ALIASES: usize = 8;
/// The longest name there can be (RFC 1035).
const LONGEST_NAME: usize = 253;
/// Search domains tried at most, as in Kubernetes.
const SEARCHES: usize = 32;

/// Every name of the cluster.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DnsTable {
    /// By name in full, in lower case, without the last dot.
    pub records: HashMap<String, Record>,
}

/// What a name stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Record {
    /// The ClusterIP, or every endpoint of a headless Service.
    Addresses(Vec<IpAddr>),
    /// Another name (`type: ExternalName`).
    Alias(String),
}

/// What is known of a name without asking anyone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Answer {
    /// Its addresses; none where it exists and has none now.
    Addresses(Vec<IpAddr>),
    /// Ask the host's resolver for these, in this order.
    Outside(Vec<String>),
    /// There is no such name.
    Unknown,
}

/// How one Pod resolves names.
#[derive(Debug)]
pub(super) struct PodNames {
    searches: Vec<String>,
    hosts: HashMap<String, Vec<IpAddr>>,
}

impl PodNames {
    /// The kubelet's `resolv.conf` and `/etc/hosts` for a Pod of this namespace.
    pub(super) fn new(dns: DnsConfig, namespace: &str, domain: &str) -> Self {
        let searches = if dns.searches.is_empty() {
            vec![format!("{namespace}.svc.{domain}"), format!("svc.{domain}"), domain.to_string()]
        } else {
            // The root, which is no domain to search in: names are looked up as they are.
            let named = dns.searches.iter().map(|search| normal(search)).filter(|s| !s.is_empty());
            named.take(SEARCHES).collect()
        };
        let mut hosts: HashMap<String, Vec<IpAddr>> =
            HashMap::from([("localhost".to_string(), vec![Ipv4Addr::LOCALHOST.into()])]);
        for (name, address) in dns.hosts {
            hosts.entry(normal(&name)).or_default().push(address);
        }
        Self { searches, hosts }
    }

    /// Looks a name up as a Pod's resolver does: literal, hosts, search domains, the name itself.
    pub(super) fn lookup(&self, table: &DnsTable, domain: &str, name: &str) -> Answer {
        if let Ok(address) = name.parse() {
            return Answer::Addresses(vec![address]);
        }
        let wanted = normal(name);
        if wanted.is_empty() || wanted.len() > LONGEST_NAME {
            return Answer::Unknown;
        }
        if let Some(addresses) = self.hosts.get(&wanted) {
            return Answer::Addresses(addresses.clone());
        }
        let mut outside = Vec::new();
        for candidate in self.candidates(name, wanted) {
            if table.records.contains_key(&candidate) {
                return follow(table, domain, candidate);
            }
            if !is_below(&candidate, domain) {
                outside.push(candidate);
            }
        }
        if outside.is_empty() { Answer::Unknown } else { Answer::Outside(outside) }
    }

    fn candidates(&self, written: &str, wanted: String) -> Vec<String> {
        if written.ends_with('.') {
            return vec![wanted];
        }
        let mut all: Vec<String> = self
            .searches
            .iter()
            .map(|search| format!("{wanted}.{search}"))
            .filter(|name| name.len() <= LONGEST_NAME)
            .collect();
        let dots = wanted.matches('.').count();
        all.insert(if dots < NDOTS { all.len() } else { 0 }, wanted);
        all
    }
}

fn follow(table: &DnsTable, domain: &str, mut name: String) -> Answer {
    for _ in 0..ALIASES {
        match table.records.get(&name) {
            Some(Record::Addresses(addresses)) => return Answer::Addresses(addresses.clone()),
            Some(Record::Alias(other)) => name = normal(other),
            None if is_below(&name, domain) => return Answer::Unknown,
            None => return Answer::Outside(vec![name]),
        }
    }
    Answer::Unknown
}

fn is_below(name: &str, domain: &str) -> bool {
    name.strip_suffix(domain).is_some_and(|before| before.is_empty() || before.ends_with('.'))
}

fn normal(name: &str) -> String {
    name.trim_end_matches('.').to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOMAIN: &str = "cluster.local";

    fn table() -> DnsTable {
        let address = |text: &str| Record::Addresses(vec![text.parse().unwrap()]);
        DnsTable {
            records: HashMap::from([
                ("hello.shop.svc.cluster.local".into(), address("10.43.0.9")),
                ("hello.other.svc.cluster.local".into(), address("10.43.0.10")),
                (
                    "db.shop.svc.cluster.local".into(),
                    Record::Addresses(vec![
                        "10.64.0.2".parse().unwrap(),
                        "10.64.0.3".parse().unwrap(),
                    ]),
                ),
                ("mail.shop.svc.cluster.local".into(), Record::Alias("mx.Example.com.".into())),
                (
                    "same.shop.svc.cluster.local".into(),
                    Record::Alias("hello.other.svc.cluster.local".into()),
                ),
                (
                    "loop.shop.svc.cluster.local".into(),
                    Record::Alias("loop.shop.svc.cluster.local".into()),
                ),
            ]),
        }
    }

    fn names() -> PodNames {
        let dns = DnsConfig {
            searches: Vec::new(),
            hosts: vec![("Legacy".into(), "192.0.2.7".parse().unwrap())],
        };
        PodNames::new(dns, "shop", DOMAIN)
    }

    fn lookup(name: &str) -> Answer {
        names().lookup(&table(), DOMAIN, name)
    }

    fn one(address: &str) -> Answer {
        Answer::Addresses(vec![address.parse().unwrap()])
    }

    #[test]
    fn a_service_is_found_by_each_of_its_names() {
        for name in [
            "hello",
            "HELLO",
            "hello.shop",
            "hello.shop.svc",
            "hello.shop.svc.cluster.local",
            "hello.shop.svc.cluster.local.",
        ] {
            assert_eq!(lookup(name), one("10.43.0.9"), "{name}");
        }
        assert_eq!(lookup("hello.other"), one("10.43.0.10"));
    }

    #[test]
    fn where_only_the_root_is_searched_names_are_full() {
        let dns = DnsConfig { searches: vec![".".into()], hosts: Vec::new() };
        let names = PodNames::new(dns, "shop", DOMAIN);
        let lookup = |name: &str| names.lookup(&table(), DOMAIN, name);
        assert_eq!(lookup("hello"), Answer::Outside(vec!["hello".into()]));
        assert_eq!(lookup("hello.shop.svc.cluster.local"), one("10.43.0.9"));
    }

    #[test]
    fn a_headless_service_answers_every_endpoint() {
        let Answer::Addresses(addresses) = lookup("db") else { panic!("db is unknown") };
        assert_eq!(addresses.len(), 2);
    }

    #[test]
    fn literals_hosts_and_localhost_need_no_table() {
        assert_eq!(lookup("192.0.2.1"), one("192.0.2.1"));
        assert_eq!(lookup("legacy"), one("192.0.2.7"));
        assert_eq!(lookup("localhost"), one("127.0.0.1"));
    }

    #[test]
    fn an_alias_leads_on_inside_and_outside() {
        assert_eq!(lookup("same"), one("10.43.0.10"));
        assert_eq!(lookup("mail"), Answer::Outside(vec!["mx.example.com".into()]));
        assert_eq!(lookup("loop.shop.svc.cluster.local"), Answer::Unknown);
    }

    #[test]
    fn only_names_outside_the_cluster_leave_it() {
        assert_eq!(lookup("example.com"), Answer::Outside(vec!["example.com".into()]));
        assert_eq!(lookup("nobody.shop.svc.cluster.local"), Answer::Unknown);
        assert_eq!(lookup("hello.shop.svc.cluster.local.x."), {
            Answer::Outside(vec!["hello.shop.svc.cluster.local.x".into()])
        });
        assert_eq!(lookup(""), Answer::Unknown);
        assert_eq!(lookup(&"a".repeat(300)), Answer::Unknown);
    }
}
