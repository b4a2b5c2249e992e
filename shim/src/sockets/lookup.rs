//! `wasi:sockets/network`, `instance-network` and `ip-name-lookup`.
use std::collections::VecDeque;
use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;

use futures::FutureExt;
use wasmtime::component::Resource;
use wasmtime_wasi::async_trait;
use wasmtime_wasi::p2::bindings::io::error::Error as IoError;
use wasmtime_wasi::p2::{DynPollable, Pollable, subscribe};

use super::interfaces::network::{ErrorCode, IpAddress};
use super::interfaces::{instance_network, ip_name_lookup, network};
use super::{NetCtxView, SocketError, SocketResult};
use crate::network::SocketPermit;

/// The network a guest is handed: its Pod's.
#[derive(Debug)]
pub struct Network;

/// The addresses of a name, one after the other.
pub struct ResolveAddresses {
    state: State,
    _permit: SocketPermit,
}

enum State {
    Asking(Pin<Box<dyn Future<Output = Vec<IpAddr>> + Send>>),
    Known(VecDeque<IpAddr>),
    /// The name has no address; told once.
    Unknown,
}

impl State {
    fn known(addresses: Vec<IpAddr>) -> Self {
        if addresses.is_empty() { Self::Unknown } else { Self::Known(addresses.into()) }
    }
}

#[async_trait]
impl Pollable for ResolveAddresses {
    async fn ready(&mut self) {
        if let State::Asking(question) = &mut self.state {
            self.state = State::known(question.await);
        }
    }
}

impl network::Host for NetCtxView<'_> {
    fn network_error_code(
        &mut self,
        _error: Resource<IoError>,
    ) -> wasmtime::Result<Option<ErrorCode>> {
        // A pipe knows no errors but its end.
        Ok(None)
    }

    fn convert_error_code(&mut self, error: SocketError) -> wasmtime::Result<ErrorCode> {
        match error {
            SocketError::Code(code) => Ok(code),
            SocketError::Trap(error) => Err(error),
        }
    }
}

impl network::HostNetwork for NetCtxView<'_> {
    fn drop(&mut self, network: Resource<Network>) -> wasmtime::Result<()> {
        self.table.delete(network)?;
        Ok(())
    }
}

impl instance_network::Host for NetCtxView<'_> {
    fn instance_network(&mut self) -> wasmtime::Result<Resource<Network>> {
        Ok(self.table.push(Network)?)
    }
}

impl ip_name_lookup::Host for NetCtxView<'_> {
    fn resolve_addresses(
        &mut self,
        _network: Resource<Network>,
        name: String,
    ) -> SocketResult<Resource<ResolveAddresses>> {
        if name.is_empty() || name.contains(|c: char| c.is_whitespace() || c.is_control()) {
            return Err(ErrorCode::InvalidArgument.into());
        }
        let pod = self.ctx.pod.clone();
        let permit = pod.socket_permit().ok_or(ErrorCode::TemporaryResolverFailure)?;
        let mut question = Box::pin(async move { pod.resolve(&name).await });
        // A name of the cluster is known at once.
        let state = match question.as_mut().now_or_never() {
            Some(addresses) => State::known(addresses),
            None => State::Asking(question),
        };
        Ok(self.table.push(ResolveAddresses { state, _permit: permit })?)
    }
}

impl ip_name_lookup::HostResolveAddressStream for NetCtxView<'_> {
    fn resolve_next_address(
        &mut self,
        stream: Resource<ResolveAddresses>,
    ) -> SocketResult<Option<IpAddress>> {
        let stream = self.table.get_mut(&stream)?;
        if let State::Asking(question) = &mut stream.state {
            let addresses = question.now_or_never().ok_or(ErrorCode::WouldBlock)?;
            stream.state = State::known(addresses);
        }
        match &mut stream.state {
            State::Known(addresses) => Ok(addresses.pop_front().map(|address| match address {
                IpAddr::V4(ip) => {
                    let [a, b, c, d] = ip.octets();
                    IpAddress::Ipv4((a, b, c, d))
                }
                IpAddr::V6(ip) => {
                    let [a, b, c, d, e, f, g, h] = ip.segments();
                    IpAddress::Ipv6((a, b, c, d, e, f, g, h))
                }
            })),
            State::Unknown => Err(ErrorCode::NameUnresolvable.into()),
            State::Asking(_) => Err(ErrorCode::WouldBlock.into()),
        }
    }

    fn subscribe(
        &mut self,
        stream: Resource<ResolveAddresses>,
    ) -> wasmtime::Result<Resource<DynPollable>> {
        subscribe(self.table, stream)
    }

    fn drop(&mut self, stream: Resource<ResolveAddresses>) -> wasmtime::Result<()> {
        self.table.delete(stream)?;
        Ok(())
    }
}
