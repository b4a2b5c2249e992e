//! The world beyond the cluster, over real sockets.
//!
//! Open by default, as in Kubernetes, with one exception that containers get
//! from their network namespace and a process does not: nothing on the host
//! itself is in reach, neither its loopback nor its own addresses, nor
//! link-local ones, where clouds keep credentials.
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::ConnectError;

/// How long a connection may take to come about; Linux gives up after about as long.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(127);
/// How long a name may take, with the resolver's retries.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(10);
/// Lookups at once on this node: each holds a thread of the blocking pool.
const LOOKUPS: usize = 32;

static LOOKUP_SLOTS: Semaphore = Semaphore::const_new(LOOKUPS);

/// Whether a Pod may go there at all.
pub(super) fn is_permitted(ip: IpAddr) -> bool {
    let IpAddr::V4(ip) = ip else { return false };
    !is_special(ip) && !is_own(ip)
}

/// Opens a connection, whatever the address: ask [`is_permitted`] before.
pub(super) async fn connect(to: SocketAddr) -> Result<TcpStream, ConnectError> {
    let stream = timeout(CONNECT_TIMEOUT, TcpStream::connect(to))
        .await
        .map_err(|_| ConnectError::TimedOut(to))?
        .map_err(|source| match source.kind() {
            std::io::ErrorKind::ConnectionRefused => ConnectError::Refused(to),
            _ => ConnectError::Outside { to, source },
        })?;
    stream.set_nodelay(true).map_err(|source| ConnectError::Outside { to, source })?;
    Ok(stream)
}

/// The IPv4 addresses of a name, from the host's resolver; empty if there is none.
pub(super) async fn lookup(name: &str) -> Vec<IpAddr> {
    let Ok(_slot) = LOOKUP_SLOTS.acquire().await else { return Vec::new() };
    match timeout(LOOKUP_TIMEOUT, tokio::net::lookup_host((name, 0))).await {
        Ok(Ok(found)) => found.map(|address| address.ip()).filter(IpAddr::is_ipv4).collect(),
        Ok(Err(error)) => {
            tracing::debug!(name, %error, "name not resolved");
            Vec::new()
        }
        Err(_) => {
            tracing::debug!(name, "name lookup timed out");
            Vec::new()
        }
    }
}

fn is_special(ip: Ipv4Addr) -> bool {
    // 0.0.0.0/8 is "this host" and reaches the loopback on Linux.
    ip.octets()[0] == 0
        || ip.is_loopback()
        || ip.is_link_local()
        || ip.is_multicast()
        || ip.is_broadcast()
}

/// Whether the host has this address: then it is also the one it would send from.
/// Connecting a datagram socket asks the routing table and sends nothing.
fn is_own(ip: Ipv4Addr) -> bool {
    const DISCARD: u16 = 9;
    let source = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).and_then(|socket| {
        socket.connect((ip, DISCARD))?;
        socket.local_addr()
    });
    source.is_ok_and(|source| source.ip() == IpAddr::V4(ip))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_itself_is_out_of_reach() {
        for ip in [
            "127.0.0.1",
            "127.9.9.9",
            "0.0.0.0",
            "0.1.2.3",
            "169.254.169.254",
            "224.0.0.1",
            "255.255.255.255",
            "::1",
            "fe80::1",
        ] {
            assert!(!is_permitted(ip.parse().unwrap()), "{ip}");
        }
        assert!(is_own(Ipv4Addr::LOCALHOST));
    }

    #[test]
    fn other_hosts_are_in_reach() {
        for ip in ["192.0.2.1", "8.8.8.8"] {
            assert!(is_permitted(ip.parse().unwrap()), "{ip}");
        }
    }
}
