//! `wasi:sockets` 0.2 and outgoing `wasi:http` over the pod network.
//!
//! wasmtime-wasi's own sockets are the operating system's. These replace all
//! seven interfaces with the switch's, so that an unmodified guest listens on
//! its Pod's address and finds Services by name without a socket of the host.
//!
//! In a linker: `wasmtime_wasi::p2::add_to_linker_async`, then
//! `allow_shadowing(true)`, then [`add_to_linker`].
use wasmtime::component::{HasData, Linker, ResourceTable};

use crate::network::PodNet;

mod http;
mod lookup;
mod streams;
mod tcp;
mod tls;
mod udp;

pub use self::http::{HttpHooks, Neighbours};

/// The bindings of the interfaces that are ours.
#[expect(missing_docs, reason = "generated")]
pub mod bindings {
    wasmtime::component::bindgen!({
        path: "wit",
        world: "podium:shim/sockets",
        imports: { default: trappable },
        trappable_error_type: { "wasi:sockets/network.error-code" => crate::sockets::SocketError },
        with: {
            "wasi:io": wasmtime_wasi::p2::bindings::io,
            "wasi:clocks": wasmtime_wasi::p2::bindings::clocks,
            "wasi:sockets/network.network": crate::sockets::Network,
            "wasi:sockets/tcp.tcp-socket": crate::sockets::TcpSocket,
            "wasi:sockets/udp.udp-socket": crate::sockets::UdpSocket,
            "wasi:sockets/udp.incoming-datagram-stream": crate::sockets::IncomingDatagrams,
            "wasi:sockets/udp.outgoing-datagram-stream": crate::sockets::OutgoingDatagrams,
            "wasi:sockets/ip-name-lookup.resolve-address-stream": crate::sockets::ResolveAddresses,
        },
        require_store_data_send: true,
    });
}

use self::bindings::wasi::sockets as interfaces;
use self::interfaces::network::{ErrorCode, IpSocketAddress, Ipv4SocketAddress};
pub use self::lookup::{Network, ResolveAddresses};
pub use self::tcp::TcpSocket;
pub use self::udp::{IncomingDatagrams, OutgoingDatagrams, UdpSocket};

/// What the sockets of one store need: its Pod's place on the network.
#[derive(Debug, Clone)]
pub struct NetCtx {
    pod: PodNet,
}

impl NetCtx {
    /// Sockets of this Pod.
    pub fn new(pod: PodNet) -> Self {
        Self { pod }
    }

    /// The Pod.
    pub fn pod(&self) -> &PodNet {
        &self.pod
    }
}

/// A store's data that has sockets.
pub trait NetView: Send {
    /// The parts of it that sockets use.
    fn net(&mut self) -> NetCtxView<'_>;
}

/// The parts of a store's data that sockets use.
pub struct NetCtxView<'a> {
    /// The Pod.
    pub ctx: &'a mut NetCtx,
    /// Where sockets are kept.
    pub table: &'a mut ResourceTable,
}

/// Tells the bindings that [`NetCtxView`] has the state.
struct Sockets;

impl HasData for Sockets {
    type Data<'a> = NetCtxView<'a>;
}

/// Adds `wasi:sockets` to a linker that allows shadowing.
pub fn add_to_linker<T: NetView + 'static>(linker: &mut Linker<T>) -> wasmtime::Result<()> {
    let options = interfaces::network::LinkOptions::default();
    interfaces::network::add_to_linker::<T, Sockets>(linker, &options, T::net)?;
    interfaces::instance_network::add_to_linker::<T, Sockets>(linker, T::net)?;
    interfaces::tcp::add_to_linker::<T, Sockets>(linker, T::net)?;
    interfaces::tcp_create_socket::add_to_linker::<T, Sockets>(linker, T::net)?;
    interfaces::udp::add_to_linker::<T, Sockets>(linker, T::net)?;
    interfaces::udp_create_socket::add_to_linker::<T, Sockets>(linker, T::net)?;
    interfaces::ip_name_lookup::add_to_linker::<T, Sockets>(linker, T::net)?;
    Ok(())
}

/// Why a call on a socket failed.
#[derive(Debug)]
pub enum SocketError {
    /// The guest is told.
    Code(ErrorCode),
    /// The guest has broken the rules of its handles and ends.
    Trap(wasmtime::Error),
}

/// What calls on sockets answer.
type SocketResult<T> = Result<T, SocketError>;

impl From<ErrorCode> for SocketError {
    fn from(code: ErrorCode) -> Self {
        Self::Code(code)
    }
}

impl From<wasmtime::component::ResourceTableError> for SocketError {
    fn from(error: wasmtime::component::ResourceTableError) -> Self {
        Self::Trap(error.into())
    }
}

impl From<crate::network::ConnectError> for SocketError {
    fn from(error: crate::network::ConnectError) -> Self {
        use crate::network::ConnectError;
        Self::Code(match error {
            ConnectError::Refused(_) => ErrorCode::ConnectionRefused,
            ConnectError::Denied(_) | ConnectError::Detached => ErrorCode::AccessDenied,
            ConnectError::Unreachable(_) | ConnectError::Outside { .. } => {
                ErrorCode::RemoteUnreachable
            }
            ConnectError::TimedOut(_) => ErrorCode::Timeout,
            ConnectError::TooLarge(_) => ErrorCode::DatagramTooLarge,
        })
    }
}

impl From<crate::network::NetworkError> for SocketError {
    fn from(error: crate::network::NetworkError) -> Self {
        use crate::network::NetworkError;
        Self::Code(match error {
            NetworkError::PortInUse(_) | NetworkError::NoPortLeft => ErrorCode::AddressInUse,
            NetworkError::Detached | NetworkError::Attach(_) => ErrorCode::AccessDenied,
        })
    }
}

/// The pod network is IPv4.
fn to_std(address: IpSocketAddress) -> SocketResult<std::net::SocketAddr> {
    match address {
        IpSocketAddress::Ipv4(Ipv4SocketAddress { port, address: (a, b, c, d) }) => {
            Ok((std::net::Ipv4Addr::new(a, b, c, d), port).into())
        }
        IpSocketAddress::Ipv6(_) => Err(ErrorCode::InvalidArgument.into()),
    }
}

fn from_std(address: std::net::SocketAddr) -> SocketResult<IpSocketAddress> {
    match address {
        std::net::SocketAddr::V4(address) => {
            let [a, b, c, d] = address.ip().octets();
            let address = Ipv4SocketAddress { port: address.port(), address: (a, b, c, d) };
            Ok(IpSocketAddress::Ipv4(address))
        }
        std::net::SocketAddr::V6(_) => Err(ErrorCode::NotSupported.into()),
    }
}

/// A guest may bind any address, its loopback and its own.
fn is_bindable(pod: &PodNet, address: std::net::SocketAddr) -> bool {
    let ip = address.ip();
    ip.is_unspecified() || ip.is_loopback() || ip == pod.ip()
}

#[cfg(test)]
mod tests;
