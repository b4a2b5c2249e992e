//! The machine: ports, limits, names, and variables that lead loopback astray.
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::path::Path;

use super::Finding;
use crate::platform::{self, Limit};

/// Linux' own default: enough for some thousands of guests with an instance each.
const ENOUGH_MAPS: u64 = 65_530;

/// Files that some hundreds of guests and connections need.
const ENOUGH_FILES: u64 = 4096;

/// A guest's memory is reserved before it is used: 4 GiB each.
const ENOUGH_ADDRESS_SPACE: u64 = 64 << 30;

/// Variables that name a proxy.
const PROXIES: [&str; 6] =
    ["http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"];

/// What is wrong with the machine and the environment.
pub(super) fn check(_root: &Path) -> Vec<Finding> {
    let mut findings: Vec<Finding> = platform::limits().iter().map(limit).collect();
    let set = |name: &&str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let proxies: Vec<&str> = PROXIES.iter().filter(|name| set(name)).copied().collect();
    let exempt = ["no_proxy", "NO_PROXY"].map(|name| std::env::var(name).unwrap_or_default());
    findings.push(proxy(&proxies, &exempt.join(",")));
    findings
}

fn limit(limit: &Limit) -> Finding {
    const LIMITS: &str = "limits";
    let (enough, fix) = match limit.name {
        "vm.max_map_count" => (ENOUGH_MAPS, "sudo sysctl -w vm.max_map_count=262144"),
        "Max open files" => (ENOUGH_FILES, "ulimit -n 65536 in the shell that starts podium"),
        _ => (ENOUGH_ADDRESS_SPACE, "ulimit -v unlimited in the shell that starts podium"),
    };
    match limit.value {
        Some(value) if value < enough => {
            let why = format!(
                "{} is {value}: fewer guests run at once than the node promises",
                limit.name
            );
            Finding::warning(LIMITS, why, fix)
        }
        Some(value) => Finding::ok(LIMITS, format!("{} is {value}", limit.name)),
        None => Finding::ok(LIMITS, format!("{} is unlimited", limit.name)),
    }
}

/// A proxy is not to be asked for what is on this machine.
fn proxy(proxies: &[&str], exempt: &str) -> Finding {
    const PROXY: &str = "proxy";
    if proxies.is_empty() {
        return Finding::ok(PROXY, "no variable names a proxy");
    }
    let exempt: Vec<&str> = exempt.split(',').map(str::trim).collect();
    let has = |name: &str| {
        exempt.iter().any(|entry| *entry == "*" || entry.trim_start_matches('.') == name)
    };
    let missing: Vec<&str> =
        ["localhost", "127.0.0.1"].into_iter().filter(|name| !has(name)).collect();
    if missing.is_empty() {
        return Finding::ok(PROXY, format!("{} set, with this machine exempt", proxies.join(", ")));
    }
    Finding::warning(
        PROXY,
        format!(
            "{} set, and NO_PROXY lacks {}: curl and kubectl may ask the proxy for this machine",
            proxies.join(", "),
            missing.join(", ")
        ),
        "export NO_PROXY=\"$NO_PROXY,localhost,127.0.0.1,.localhost\"",
    )
}

/// Whether ports are free that `podium up` will want.
pub(super) fn ports(wanted: &[(String, SocketAddr)]) -> Vec<Finding> {
    wanted.iter().map(|(flag, address)| port_is_free(flag, *address)).collect()
}

fn port_is_free(flag: &str, address: SocketAddr) -> Finding {
    const PORTS: &str = "ports";
    let port = address.port();
    match TcpListener::bind(address) {
        Ok(_) => Finding::ok(PORTS, format!("{port} is free")),
        Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => {
            let holder =
                platform::listener(port).map_or_else(String::new, |who| format!(" by {who}"));
            let fix = format!("stop it, or start with `podium up {flag} 127.0.0.1:0`");
            Finding::error(PORTS, format!("{port} is in use{holder}"), fix)
        }
        Err(error) => {
            let fix = format!("choose another with `podium up {flag} HOST:PORT`");
            Finding::error(PORTS, format!("{port} cannot be used: {error}"), fix)
        }
    }
}

/// Whether names below `localhost` lead to this machine, as they should everywhere (RFC 6761);
/// `gateway` is the address where it is asked for Services by such names.
pub(super) async fn names(gateway: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    for name in ["localhost", "podium-doctor.localhost"] {
        let found = tokio::net::lookup_host((name, 80)).await;
        let found = found.ok().and_then(|mut addresses| addresses.next());
        findings.push(resolved(name, found.map(|address| address.ip()), gateway));
    }
    findings
}

fn resolved(name: &str, found: Option<IpAddr>, gateway: &str) -> Finding {
    const NAMES: &str = "names";
    match found {
        Some(ip) if ip.is_loopback() => Finding::ok(NAMES, format!("{name} is {ip}")),
        Some(ip) => {
            let fix = format!("make {name} 127.0.0.1 in the hosts file");
            Finding::error(NAMES, format!("{name} is {ip}, not this machine"), fix)
        }
        None if name == "localhost" => {
            let fix = "add the line `127.0.0.1 localhost` to the hosts file";
            Finding::error(NAMES, "localhost is no address here", fix)
        }
        // curl and browsers know these names without asking anybody.
        None => Finding::ok(
            NAMES,
            format!(
                "*.localhost is known to curl and browsers, not to this system: other programs ask http://{gateway}/ with the header `Host: NAME.localhost`"
            ),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::doctor::Level;

    #[test]
    fn a_proxy_that_this_machine_is_not_exempt_from_is_found() {
        assert_eq!(proxy(&[], "").level, Level::Ok);
        assert_eq!(proxy(&["HTTP_PROXY"], "localhost,127.0.0.1").level, Level::Ok);
        assert_eq!(proxy(&["HTTP_PROXY"], "*").level, Level::Ok);
        let found = proxy(&["HTTP_PROXY"], ".localhost");
        assert!(found.level == Level::Warning && found.message.contains("127.0.0.1"), "{found:?}");
    }

    #[test]
    fn a_port_in_use_is_found_with_a_way_out() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let found = port_is_free("--api-addr", address);
        assert_eq!(found.level, Level::Error, "{found:?}");
        assert!(found.fix.unwrap().contains("--api-addr"));
        drop(listener);
        assert_eq!(port_is_free("--api-addr", address).level, Level::Ok);
    }

    #[test]
    fn a_name_matters_only_where_it_leads_astray() {
        let of = |name, ip: Option<&str>| {
            resolved(name, ip.map(|ip| ip.parse().unwrap()), "127.0.0.1:18080")
        };
        assert_eq!(of("a.localhost", Some("::1")).level, Level::Ok);
        assert_eq!(of("a.localhost", Some("192.0.2.1")).level, Level::Error);
        assert_eq!(of("localhost", None).level, Level::Error);
        let unknown = of("a.localhost", None);
        assert_eq!(unknown.level, Level::Ok);
        assert!(unknown.message.contains("http://127.0.0.1:18080/"), "{unknown:?}");
    }

    #[test]
    fn low_limits_are_warned_of() {
        let low = limit(&Limit { name: "vm.max_map_count", value: Some(1000) });
        assert_eq!(low.level, Level::Warning);
        assert_eq!(limit(&Limit { name: "Max address space", value: None }).level, Level::Ok);
    }
}
