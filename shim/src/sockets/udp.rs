//! `wasi:sockets/udp` and `udp-create-socket`, within the cluster.
use std::future::poll_fn;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use wasmtime::component::Resource;
use wasmtime_wasi::async_trait;
use wasmtime_wasi::p2::{DynPollable, Pollable, subscribe};

use super::interfaces::network::{ErrorCode, IpAddressFamily, IpSocketAddress};
use super::interfaces::udp::{self, IncomingDatagram, OutgoingDatagram};
use super::interfaces::udp_create_socket;
use super::lookup::Network;
use super::{NetCtxView, SocketResult, from_std, is_bindable, to_std};
use crate::network::{SocketPermit, datagram};

/// Datagrams sent in one call; more are left to the next.
const SEND_PERMIT: u64 = 64;

/// A UDP socket of a guest.
pub struct UdpSocket {
    state: State,
    remote: Option<SocketAddr>,
    hop_limit: u8,
    _permit: SocketPermit,
}

enum State {
    Unbound,
    Binding(Arc<datagram::UdpSocket>),
    Bound(Arc<datagram::UdpSocket>),
}

/// Datagrams that came in.
pub struct IncomingDatagrams {
    socket: Arc<datagram::UdpSocket>,
    remote: Option<SocketAddr>,
}

/// Datagrams that go out.
pub struct OutgoingDatagrams {
    socket: Arc<datagram::UdpSocket>,
    remote: Option<SocketAddr>,
}

#[async_trait]
impl Pollable for UdpSocket {
    async fn ready(&mut self) {
        // Binding is done at once.
    }
}

#[async_trait]
impl Pollable for IncomingDatagrams {
    async fn ready(&mut self) {
        poll_fn(|context| self.socket.poll_ready(context)).await;
    }
}

#[async_trait]
impl Pollable for OutgoingDatagrams {
    async fn ready(&mut self) {
        // A datagram that finds no room is lost, so there always is some.
    }
}

impl udp_create_socket::Host for NetCtxView<'_> {
    fn create_udp_socket(&mut self, family: IpAddressFamily) -> SocketResult<Resource<UdpSocket>> {
        match family {
            IpAddressFamily::Ipv4 => {
                let permit = self.ctx.pod.socket_permit().ok_or(ErrorCode::NewSocketLimit)?;
                let socket = UdpSocket {
                    state: State::Unbound,
                    remote: None,
                    hop_limit: 64,
                    _permit: permit,
                };
                Ok(self.table.push(socket)?)
            }
            IpAddressFamily::Ipv6 => Err(ErrorCode::NotSupported.into()),
        }
    }
}

impl udp::Host for NetCtxView<'_> {}

impl udp::HostUdpSocket for NetCtxView<'_> {
    fn start_bind(
        &mut self,
        socket: Resource<UdpSocket>,
        _network: Resource<Network>,
        address: IpSocketAddress,
    ) -> SocketResult<()> {
        let address = to_std(address)?;
        let socket = self.table.get_mut(&socket)?;
        if !matches!(socket.state, State::Unbound) {
            return Err(ErrorCode::InvalidState.into());
        }
        if !is_bindable(&self.ctx.pod, address) {
            return Err(ErrorCode::AddressNotBindable.into());
        }
        socket.state = State::Binding(Arc::new(self.ctx.pod.bind_udp(address)?));
        Ok(())
    }

    fn finish_bind(&mut self, socket: Resource<UdpSocket>) -> SocketResult<()> {
        let socket = self.table.get_mut(&socket)?;
        let State::Binding(bound) = &socket.state else {
            return Err(ErrorCode::NotInProgress.into());
        };
        socket.state = State::Bound(bound.clone());
        Ok(())
    }

    fn stream(
        &mut self,
        this: Resource<UdpSocket>,
        remote: Option<IpSocketAddress>,
    ) -> SocketResult<(Resource<IncomingDatagrams>, Resource<OutgoingDatagrams>)> {
        let remote = remote.map(to_std).transpose()?;
        if remote.is_some_and(|remote| remote.port() == 0 || remote.ip().is_unspecified()) {
            return Err(ErrorCode::InvalidArgument.into());
        }
        let socket = self.table.get_mut(&this)?;
        let State::Bound(bound) = &socket.state else {
            return Err(ErrorCode::InvalidState.into());
        };
        let bound = bound.clone();
        socket.remote = remote;
        let incoming = IncomingDatagrams { socket: bound.clone(), remote };
        let outgoing = OutgoingDatagrams { socket: bound, remote };
        Ok((self.table.push_child(incoming, &this)?, self.table.push_child(outgoing, &this)?))
    }

    fn local_address(&mut self, socket: Resource<UdpSocket>) -> SocketResult<IpSocketAddress> {
        match &self.table.get(&socket)?.state {
            State::Bound(bound) => from_std(bound.local_addr()),
            State::Unbound | State::Binding(_) => Err(ErrorCode::InvalidState.into()),
        }
    }

    fn remote_address(&mut self, socket: Resource<UdpSocket>) -> SocketResult<IpSocketAddress> {
        from_std(self.table.get(&socket)?.remote.ok_or(ErrorCode::InvalidState)?)
    }

    fn address_family(
        &mut self,
        _socket: Resource<UdpSocket>,
    ) -> wasmtime::Result<IpAddressFamily> {
        Ok(IpAddressFamily::Ipv4)
    }

    fn unicast_hop_limit(&mut self, socket: Resource<UdpSocket>) -> SocketResult<u8> {
        Ok(self.table.get(&socket)?.hop_limit)
    }

    fn set_unicast_hop_limit(
        &mut self,
        socket: Resource<UdpSocket>,
        value: u8,
    ) -> SocketResult<()> {
        if value == 0 {
            return Err(ErrorCode::InvalidArgument.into());
        }
        self.table.get_mut(&socket)?.hop_limit = value;
        Ok(())
    }

    fn receive_buffer_size(&mut self, socket: Resource<UdpSocket>) -> SocketResult<u64> {
        self.table.get(&socket)?;
        Ok(datagram::QUEUED_BYTES as u64)
    }

    fn set_receive_buffer_size(
        &mut self,
        socket: Resource<UdpSocket>,
        value: u64,
    ) -> SocketResult<()> {
        // The size is a wish: a queue's is fixed.
        self.table.get(&socket)?;
        if value == 0 { Err(ErrorCode::InvalidArgument.into()) } else { Ok(()) }
    }

    fn send_buffer_size(&mut self, socket: Resource<UdpSocket>) -> SocketResult<u64> {
        self.receive_buffer_size(socket)
    }

    fn set_send_buffer_size(
        &mut self,
        socket: Resource<UdpSocket>,
        value: u64,
    ) -> SocketResult<()> {
        self.set_receive_buffer_size(socket, value)
    }

    fn subscribe(
        &mut self,
        socket: Resource<UdpSocket>,
    ) -> wasmtime::Result<Resource<DynPollable>> {
        subscribe(self.table, socket)
    }

    fn drop(&mut self, socket: Resource<UdpSocket>) -> wasmtime::Result<()> {
        self.table.delete(socket)?;
        Ok(())
    }
}

impl udp::HostIncomingDatagramStream for NetCtxView<'_> {
    fn receive(
        &mut self,
        stream: Resource<IncomingDatagrams>,
        most: u64,
    ) -> SocketResult<Vec<IncomingDatagram>> {
        let stream = self.table.get(&stream)?;
        let mut received = Vec::new();
        while (received.len() as u64) < most {
            let Some(datagram) = stream.socket.try_recv() else { break };
            if stream.remote.is_none_or(|remote| remote == datagram.from) {
                received.push(IncomingDatagram {
                    data: datagram.data.into(),
                    remote_address: from_std(datagram.from)?,
                });
            }
        }
        Ok(received)
    }

    fn subscribe(
        &mut self,
        stream: Resource<IncomingDatagrams>,
    ) -> wasmtime::Result<Resource<DynPollable>> {
        subscribe(self.table, stream)
    }

    fn drop(&mut self, stream: Resource<IncomingDatagrams>) -> wasmtime::Result<()> {
        self.table.delete(stream)?;
        Ok(())
    }
}

impl udp::HostOutgoingDatagramStream for NetCtxView<'_> {
    fn check_send(&mut self, stream: Resource<OutgoingDatagrams>) -> SocketResult<u64> {
        self.table.get(&stream)?;
        Ok(SEND_PERMIT)
    }

    fn send(
        &mut self,
        stream: Resource<OutgoingDatagrams>,
        datagrams: Vec<OutgoingDatagram>,
    ) -> SocketResult<u64> {
        let stream = self.table.get(&stream)?;
        let mut sent = 0;
        for datagram in datagrams.into_iter().take(SEND_PERMIT as usize) {
            let to = match (datagram.remote_address.map(to_std).transpose()?, stream.remote) {
                (Some(to), Some(remote)) if to != remote => {
                    return Err(ErrorCode::InvalidArgument.into());
                }
                (Some(to), _) | (None, Some(to)) => to,
                (None, None) => return Err(ErrorCode::InvalidArgument.into()),
            };
            match stream.socket.send(Bytes::from(datagram.data), to) {
                Ok(()) => sent += 1,
                // What was sent before is told; the guest meets the error in its next call.
                Err(_) if sent > 0 => break,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(sent)
    }

    fn subscribe(
        &mut self,
        stream: Resource<OutgoingDatagrams>,
    ) -> wasmtime::Result<Resource<DynPollable>> {
        subscribe(self.table, stream)
    }

    fn drop(&mut self, stream: Resource<OutgoingDatagrams>) -> wasmtime::Result<()> {
        self.table.delete(stream)?;
        Ok(())
    }
}
