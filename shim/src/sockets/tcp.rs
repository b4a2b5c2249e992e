//! `wasi:sockets/tcp` and `tcp-create-socket`.
//!
//! A socket goes Unbound → Binding → Bound → (Connecting → Connected | Listen
//! started → Listening), or Unbound → Connecting; a failed connection leaves it
//! Closed. The streams of a connection are its children in the table.
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;

use futures::FutureExt;
use wasmtime::component::Resource;
use wasmtime_wasi::async_trait;
use wasmtime_wasi::p2::{DynInputStream, DynOutputStream, DynPollable, Pollable, subscribe};

use super::interfaces::network::{ErrorCode, IpAddressFamily, IpSocketAddress};
use super::interfaces::tcp::{self, ShutdownType};
use super::interfaces::tcp_create_socket;
use super::lookup::Network;
use super::streams::{Input, Output};
use super::{NetCtxView, SocketResult, from_std, is_bindable, to_std};
use crate::network::pipe::{self, Shutdown};
use crate::network::{ConnectError, MAX_BACKLOG, SocketPermit, Stream, TcpListener};

/// Linux' backlog where a program does not say.
const DEFAULT_BACKLOG: usize = 128;

/// A TCP socket of a guest.
pub struct TcpSocket {
    state: State,
    /// Where it is bound, as the guest sees it.
    local: Option<SocketAddr>,
    remote: Option<SocketAddr>,
    options: Options,
    _permit: SocketPermit,
}

type Connecting = Pin<Box<dyn Future<Output = Result<Stream, ConnectError>> + Send>>;

enum State {
    Unbound,
    Binding,
    Bound,
    Connecting(Connecting),
    ConnectEnded(Result<Stream, ConnectError>),
    Connected(Shutdown),
    ListenStarted(TcpListener),
    Listening { listener: TcpListener, next: Option<Stream> },
    Closed,
}

/// What a guest has set. A pipe needs none of it, so it is only told back.
#[derive(Clone)]
struct Options {
    backlog: usize,
    keep_alive: bool,
    keep_alive_idle_time: u64,
    keep_alive_interval: u64,
    keep_alive_count: u32,
    hop_limit: u8,
}

impl Default for Options {
    /// Linux' defaults; times in nanoseconds.
    fn default() -> Self {
        Self {
            backlog: DEFAULT_BACKLOG,
            keep_alive: false,
            keep_alive_idle_time: 7_200_000_000_000,
            keep_alive_interval: 75_000_000_000,
            keep_alive_count: 9,
            hop_limit: 64,
        }
    }
}

#[async_trait]
impl Pollable for TcpSocket {
    async fn ready(&mut self) {
        match &mut self.state {
            State::Connecting(connecting) => {
                self.state = State::ConnectEnded(connecting.await);
            }
            State::Listening { listener, next } if next.is_none() => {
                *next = listener.accept().await;
            }
            _ => {}
        }
    }
}

impl TcpSocket {
    fn new(permit: SocketPermit) -> Self {
        Self {
            state: State::Unbound,
            local: None,
            remote: None,
            options: Options::default(),
            _permit: permit,
        }
    }

    fn connected(stream: &Stream, options: Options, permit: SocketPermit) -> Self {
        Self {
            state: State::Connected(stream.shutdown_handle()),
            local: Some(stream.local_addr()),
            remote: Some(stream.peer_addr()),
            options,
            _permit: permit,
        }
    }
}

impl NetCtxView<'_> {
    fn streams(
        &mut self,
        stream: Stream,
        socket: &Resource<TcpSocket>,
    ) -> SocketResult<(Resource<DynInputStream>, Resource<DynOutputStream>)> {
        let (reader, writer) = stream.into_split();
        let input: DynInputStream = Box::new(Input(reader));
        let output: DynOutputStream = Box::new(Output(writer));
        Ok((self.table.push_child(input, socket)?, self.table.push_child(output, socket)?))
    }
}

impl tcp_create_socket::Host for NetCtxView<'_> {
    fn create_tcp_socket(&mut self, family: IpAddressFamily) -> SocketResult<Resource<TcpSocket>> {
        match family {
            IpAddressFamily::Ipv4 => {
                let permit = self.ctx.pod.socket_permit().ok_or(ErrorCode::NewSocketLimit)?;
                Ok(self.table.push(TcpSocket::new(permit))?)
            }
            IpAddressFamily::Ipv6 => Err(ErrorCode::NotSupported.into()),
        }
    }
}

impl tcp::Host for NetCtxView<'_> {}

impl tcp::HostTcpSocket for NetCtxView<'_> {
    fn start_bind(
        &mut self,
        socket: Resource<TcpSocket>,
        _network: Resource<Network>,
        address: IpSocketAddress,
    ) -> SocketResult<()> {
        let mut address = to_std(address)?;
        let socket = self.table.get_mut(&socket)?;
        if !matches!(socket.state, State::Unbound) {
            return Err(ErrorCode::InvalidState.into());
        }
        let pod = &self.ctx.pod;
        if !is_bindable(pod, address) {
            return Err(ErrorCode::AddressNotBindable.into());
        }
        match address.port() {
            0 => address.set_port(pod.ephemeral_port()),
            port if pod.is_listening(port) => return Err(ErrorCode::AddressInUse.into()),
            _ => {}
        }
        socket.local = Some(address);
        socket.state = State::Binding;
        Ok(())
    }

    fn finish_bind(&mut self, socket: Resource<TcpSocket>) -> SocketResult<()> {
        let socket = self.table.get_mut(&socket)?;
        if !matches!(socket.state, State::Binding) {
            return Err(ErrorCode::NotInProgress.into());
        }
        socket.state = State::Bound;
        Ok(())
    }

    fn start_connect(
        &mut self,
        socket: Resource<TcpSocket>,
        _network: Resource<Network>,
        address: IpSocketAddress,
    ) -> SocketResult<()> {
        let to = to_std(address)?;
        if to.port() == 0 || to.ip().is_unspecified() || to.ip().is_multicast() {
            return Err(ErrorCode::InvalidArgument.into());
        }
        let pod = self.ctx.pod.clone();
        let socket = self.table.get_mut(&socket)?;
        if !matches!(socket.state, State::Unbound | State::Bound) {
            return Err(ErrorCode::InvalidState.into());
        }
        let port = socket.local.map_or_else(|| pod.ephemeral_port(), |local| local.port());
        let from = SocketAddr::new(pod.ip(), port);
        socket.local = Some(from);
        socket.remote = Some(to);
        let mut connecting: Connecting = Box::pin(async move { pod.connect_from(from, to).await });
        // Within the cluster it is done at once.
        socket.state = match connecting.as_mut().now_or_never() {
            Some(ended) => State::ConnectEnded(ended),
            None => State::Connecting(connecting),
        };
        Ok(())
    }

    fn finish_connect(
        &mut self,
        this: Resource<TcpSocket>,
    ) -> SocketResult<(Resource<DynInputStream>, Resource<DynOutputStream>)> {
        let socket = self.table.get_mut(&this)?;
        let ended = match std::mem::replace(&mut socket.state, State::Closed) {
            State::ConnectEnded(ended) => ended,
            State::Connecting(mut connecting) => match connecting.as_mut().now_or_never() {
                Some(ended) => ended,
                None => {
                    socket.state = State::Connecting(connecting);
                    return Err(ErrorCode::WouldBlock.into());
                }
            },
            other => {
                socket.state = other;
                return Err(ErrorCode::NotInProgress.into());
            }
        };
        let stream = ended?;
        socket.state = State::Connected(stream.shutdown_handle());
        self.streams(stream, &this)
    }

    fn start_listen(&mut self, socket: Resource<TcpSocket>) -> SocketResult<()> {
        let pod = self.ctx.pod.clone();
        let socket = self.table.get_mut(&socket)?;
        let (State::Bound, Some(local)) = (&socket.state, socket.local) else {
            return Err(ErrorCode::InvalidState.into());
        };
        socket.state = State::ListenStarted(pod.listen_tcp(local, socket.options.backlog)?);
        Ok(())
    }

    fn finish_listen(&mut self, socket: Resource<TcpSocket>) -> SocketResult<()> {
        let socket = self.table.get_mut(&socket)?;
        match std::mem::replace(&mut socket.state, State::Closed) {
            State::ListenStarted(listener) => {
                socket.state = State::Listening { listener, next: None };
                Ok(())
            }
            other => {
                socket.state = other;
                Err(ErrorCode::NotInProgress.into())
            }
        }
    }

    fn accept(
        &mut self,
        socket: Resource<TcpSocket>,
    ) -> SocketResult<(Resource<TcpSocket>, Resource<DynInputStream>, Resource<DynOutputStream>)>
    {
        let socket = self.table.get_mut(&socket)?;
        let State::Listening { listener, next } = &mut socket.state else {
            return Err(ErrorCode::InvalidState.into());
        };
        let stream = next.take().or_else(|| listener.try_accept()).ok_or(ErrorCode::WouldBlock)?;
        let Some(permit) = self.ctx.pod.socket_permit() else {
            *next = Some(stream);
            return Err(ErrorCode::NewSocketLimit.into());
        };
        let accepted = TcpSocket::connected(&stream, socket.options.clone(), permit);
        let accepted = self.table.push(accepted)?;
        let (input, output) = self.streams(stream, &accepted)?;
        Ok((accepted, input, output))
    }

    fn local_address(&mut self, socket: Resource<TcpSocket>) -> SocketResult<IpSocketAddress> {
        let socket = self.table.get(&socket)?;
        match (&socket.state, socket.local) {
            (State::Unbound | State::Binding | State::Closed, _) | (_, None) => {
                Err(ErrorCode::InvalidState.into())
            }
            (_, Some(local)) => from_std(local),
        }
    }

    fn remote_address(&mut self, socket: Resource<TcpSocket>) -> SocketResult<IpSocketAddress> {
        let socket = self.table.get(&socket)?;
        match (&socket.state, socket.remote) {
            (State::Connected(_), Some(remote)) => from_std(remote),
            _ => Err(ErrorCode::InvalidState.into()),
        }
    }

    fn is_listening(&mut self, socket: Resource<TcpSocket>) -> wasmtime::Result<bool> {
        Ok(matches!(self.table.get(&socket)?.state, State::Listening { .. }))
    }

    fn address_family(
        &mut self,
        _socket: Resource<TcpSocket>,
    ) -> wasmtime::Result<IpAddressFamily> {
        Ok(IpAddressFamily::Ipv4)
    }

    fn set_listen_backlog_size(
        &mut self,
        socket: Resource<TcpSocket>,
        value: u64,
    ) -> SocketResult<()> {
        let socket = self.table.get_mut(&socket)?;
        match socket.state {
            State::Unbound | State::Binding | State::Bound => {
                let wanted = usize::try_from(positive(value)?).unwrap_or(MAX_BACKLOG);
                socket.options.backlog = wanted.min(MAX_BACKLOG);
                Ok(())
            }
            State::ListenStarted(_) | State::Listening { .. } => {
                Err(ErrorCode::NotSupported.into())
            }
            _ => Err(ErrorCode::InvalidState.into()),
        }
    }

    fn keep_alive_enabled(&mut self, socket: Resource<TcpSocket>) -> SocketResult<bool> {
        Ok(self.table.get(&socket)?.options.keep_alive)
    }

    fn set_keep_alive_enabled(
        &mut self,
        socket: Resource<TcpSocket>,
        value: bool,
    ) -> SocketResult<()> {
        self.table.get_mut(&socket)?.options.keep_alive = value;
        Ok(())
    }

    fn keep_alive_idle_time(&mut self, socket: Resource<TcpSocket>) -> SocketResult<u64> {
        Ok(self.table.get(&socket)?.options.keep_alive_idle_time)
    }

    fn set_keep_alive_idle_time(
        &mut self,
        socket: Resource<TcpSocket>,
        value: u64,
    ) -> SocketResult<()> {
        self.table.get_mut(&socket)?.options.keep_alive_idle_time = positive(value)?;
        Ok(())
    }

    fn keep_alive_interval(&mut self, socket: Resource<TcpSocket>) -> SocketResult<u64> {
        Ok(self.table.get(&socket)?.options.keep_alive_interval)
    }

    fn set_keep_alive_interval(
        &mut self,
        socket: Resource<TcpSocket>,
        value: u64,
    ) -> SocketResult<()> {
        self.table.get_mut(&socket)?.options.keep_alive_interval = positive(value)?;
        Ok(())
    }

    fn keep_alive_count(&mut self, socket: Resource<TcpSocket>) -> SocketResult<u32> {
        Ok(self.table.get(&socket)?.options.keep_alive_count)
    }

    fn set_keep_alive_count(
        &mut self,
        socket: Resource<TcpSocket>,
        value: u32,
    ) -> SocketResult<()> {
        self.table.get_mut(&socket)?.options.keep_alive_count = positive(value)?;
        Ok(())
    }

    fn hop_limit(&mut self, socket: Resource<TcpSocket>) -> SocketResult<u8> {
        Ok(self.table.get(&socket)?.options.hop_limit)
    }

    fn set_hop_limit(&mut self, socket: Resource<TcpSocket>, value: u8) -> SocketResult<()> {
        self.table.get_mut(&socket)?.options.hop_limit = positive(value)?;
        Ok(())
    }

    fn receive_buffer_size(&mut self, socket: Resource<TcpSocket>) -> SocketResult<u64> {
        self.table.get(&socket)?;
        Ok(pipe::CAPACITY as u64)
    }

    fn set_receive_buffer_size(
        &mut self,
        socket: Resource<TcpSocket>,
        value: u64,
    ) -> SocketResult<()> {
        // The size is a wish: a pipe's is fixed.
        self.table.get(&socket)?;
        positive(value).map(|_| ())
    }

    fn send_buffer_size(&mut self, socket: Resource<TcpSocket>) -> SocketResult<u64> {
        self.receive_buffer_size(socket)
    }

    fn set_send_buffer_size(
        &mut self,
        socket: Resource<TcpSocket>,
        value: u64,
    ) -> SocketResult<()> {
        self.set_receive_buffer_size(socket, value)
    }

    fn subscribe(
        &mut self,
        socket: Resource<TcpSocket>,
    ) -> wasmtime::Result<Resource<DynPollable>> {
        subscribe(self.table, socket)
    }

    fn shutdown(&mut self, socket: Resource<TcpSocket>, how: ShutdownType) -> SocketResult<()> {
        let State::Connected(shutdown) = &self.table.get(&socket)?.state else {
            return Err(ErrorCode::InvalidState.into());
        };
        if matches!(how, ShutdownType::Receive | ShutdownType::Both) {
            shutdown.read();
        }
        if matches!(how, ShutdownType::Send | ShutdownType::Both) {
            shutdown.write();
        }
        Ok(())
    }

    fn drop(&mut self, socket: Resource<TcpSocket>) -> wasmtime::Result<()> {
        self.table.delete(socket)?;
        Ok(())
    }
}

fn positive<N: Default + PartialEq>(value: N) -> SocketResult<N> {
    if value == N::default() { Err(ErrorCode::InvalidArgument.into()) } else { Ok(value) }
}
