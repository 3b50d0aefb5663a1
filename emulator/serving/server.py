"""uvicorn, with the few things that API Gateway does otherwise."""

import asyncio
import contextlib
import errno
import logging
import signal
import socket
import ssl
import struct
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from typing import Any

import h11
import uvicorn
from starlette.convertors import PathConvertor, register_url_convertor
from starlette.types import ASGIApp, Scope
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from uvicorn.server import ServerState

from emulator.limits import Limits
from emulator.serving.guard import Guard, Names

_ABORT = "emulator.abort"
_LINGER_S = 0.3
_SHUTDOWN_S = 2
# How a TLS handshake begins, and no request does. Source: RFC 8446, 5.1.
_TLS_HANDSHAKE = b"\x16"
# What passes when others let go of theirs. Source: accept(2).
_EXHAUSTED = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
_EXHAUSTED_PAUSE_S = 0.5


class _AnyPath(PathConvertor):
    """A path of any characters: Starlette's own convertor takes none with line ends."""

    regex = "(?s:.*)"


register_url_convertor("any", _AnyPath())


def listen(host: str, port: int) -> socket.socket:
    """Return a listening socket whose connections send at once."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.create_server((host, port), family=family)
    # asyncio leaves Nagle's algorithm on for sockets made by `socket.create_server`: with uvicorn's two writes an
    # answer that costs every request 40 ms. Connections inherit the option.
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listening


class Listening(uvicorn.Server):
    """A server of HTTP and, with a certificate, HTTPS on one port. A client that does not go on is let go."""

    def __init__(self, config: uvicorn.Config, limits: Limits, tls: ssl.SSLContext | None = None) -> None:
        super().__init__(config)
        self._limits = limits
        self._tls = tls
        self._accepting: list[asyncio.Task[None]] = []
        self._meeting: set[asyncio.Task[None]] = set()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        self.servers = []
        for listening in sockets or ():
            listening.settimeout(0)
            self._accepting.append(asyncio.create_task(self._accept(listening)))
        self.started = True

    def stop_accepting(self) -> None:
        for task in [*self._accepting, *self._meeting]:
            task.cancel()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self.stop_accepting()
        await super().shutdown(sockets)

    async def _accept(self, listening: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                connected, _ = await loop.sock_accept(listening)
            except OSError as error:  # ECONNABORTED: the client left the queue before it was served.
                if error.errno not in (*_EXHAUSTED, errno.ECONNABORTED):
                    raise
                await asyncio.sleep(_EXHAUSTED_PAUSE_S)
                continue
            task = asyncio.create_task(self._meet(connected))
            self._meeting.add(task)
            task.add_done_callback(self._meeting.discard)

    async def _meet(self, connected: socket.socket) -> None:
        """Find out whether a client wants TLS, and hand its connection over."""
        loop, limit_s = asyncio.get_running_loop(), self._limits.headers_s
        protocol = partial(_Http, self.config, self.server_state, limit_s)
        try:
            async with asyncio.timeout(limit_s):
                tls = {}
                if await _first_byte(connected) == _TLS_HANDSHAKE and self._tls is not None:
                    tls = {"ssl_handshake_timeout": limit_s, "ssl_shutdown_timeout": _SHUTDOWN_S}
                await loop.connect_accepted_socket(protocol, connected, ssl=self._tls if tls else None, **tls)
        except OSError:  # It has gone, speaks no TLS that we know, or was silent for too long.
            connected.close()
        except asyncio.CancelledError:  # The server ends, and nobody else knows of this socket yet.
            connected.close()
            raise


async def _first_byte(connected: socket.socket) -> bytes:
    """Return the first byte of a connection, which stays there to be read."""
    # `sock_recv` would take it away: asyncio has no way to peek.
    loop, readable = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(connected, readable.set)
    try:
        while True:
            await readable.wait()
            # A socket may be reported as readable and then have nothing. Source: select(2), BUGS.
            with contextlib.suppress(BlockingIOError):
                return connected.recv(1, socket.MSG_PEEK)
            readable.clear()
    finally:
        loop.remove_reader(connected)


class Server(Listening):
    """A server that ends on SIGINT or SIGTERM without raising them again.

    `on_ready` is called when it listens, `on_ending` awaited before open requests get their last moment.
    """

    def __init__(
        self,
        config: uvicorn.Config,
        limits: Limits,
        tls: ssl.SSLContext,
        on_ready: Callable[[], None],
        on_ending: Callable[[], Awaitable[None]],
    ) -> None:
        super().__init__(config, limits, tls)
        self._on_ready = on_ready
        self._on_ending = on_ending

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._on_ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await self._on_ending()
        await super().shutdown(sockets)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        # In the loop's own way: uvicorn's would raise each signal again when it has stopped serving.
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._stop)
        yield

    def _stop(self) -> None:
        self.should_exit = True


class Embedded:
    """A server of the same process on a port of its own, for what only workers ask: browsers are refused."""

    def __init__(self, application: ASGIApp, limits: Limits) -> None:
        self._socket = listen("127.0.0.1", 0)
        configuration = uvicorn.Config(
            Guard(application, Names(self.address), (), browsers=False),
            ws="none",
            lifespan="off",
            log_config=None,
            log_level=logging.ERROR,
            proxy_headers=False,
            access_log=False,
            server_header=False,
            date_header=False,
        )
        self._server = Listening(configuration, limits)

    @property
    def address(self) -> str:
        """`host:port`"""
        host, port = self._socket.getsockname()
        return f"{host}:{port}"

    async def start(self) -> None:
        # What `serve` does, but for taking the process's signals, which are the gateway's.
        self._server.config.load()
        await self._server.startup(sockets=[self._socket])

    def stop(self) -> None:
        """Close the port. A request that is being answered gets its answer."""
        self._server.stop_accepting()
        self._socket.close()
        for connection in list(self._server.server_state.connections):
            connection.shutdown()


def abort(scope: Scope) -> None:
    """Reset the TCP connection of a WebSocket."""
    scope["extensions"][_ABORT]["abort"]()


def config(application: ASGIApp, limits: Limits) -> uvicorn.Config:
    return uvicorn.Config(
        application,
        ws=_WebSocket,
        # Of a message and of a frame: `websockets` takes both.
        ws_max_size=(limits.message_bytes, limits.frame_bytes),  # type: ignore[arg-type]
        ws_ping_interval=None,
        ws_per_message_deflate=False,
        lifespan="off",
        log_config=None,
        log_level="error",
        # uvicorn would believe what a client on this machine says of how it came.
        proxy_headers=False,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=_SHUTDOWN_S,
    )


class _Http(H11Protocol):
    """A connection whose client has `headers_s` for the headers of a request."""

    def __init__(self, config: uvicorn.Config, state: ServerState, headers_s: float) -> None:
        super().__init__(config, state, {})
        self._headers_s = headers_s
        self._expecting: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._expect()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        # h11 leaves IDLE when the headers are whole, and comes back to it for the next request.
        if self.conn.their_state is not h11.IDLE:
            self._expect_nothing()
        elif self._expecting is None:
            self._expect()

    def connection_lost(self, exc: Exception | None) -> None:
        self._expect_nothing()
        super().connection_lost(exc)

    def _expect(self) -> None:
        self._expecting = self.loop.call_later(self._headers_s, self.timeout_keep_alive_handler)

    def _expect_nothing(self) -> None:
        if self._expecting is not None:
            self._expecting.cancel()
            self._expecting = None

    def handle_websocket_upgrade(self, event: h11.Request) -> None:
        """Keep the case of header names: API Gateway hands them on as the client wrote them."""
        self.headers = list(event.headers.raw_items())
        super().handle_websocket_upgrade(event)


class _WebSocket(WebSocketsSansIOProtocol):
    async def run_asgi(self) -> None:
        self.scope["extensions"][_ABORT] = {"abort": self._abort}  # type: ignore[index,typeddict-item,unused-ignore]
        await super().run_asgi()

    def _abort(self) -> None:
        # Lingering for no time makes the close a reset. Source: socket(7), SO_LINGER.
        connected = self.transport.get_extra_info("socket")
        connected.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.transport.abort()

    def handle_parser_exception(self) -> None:
        """Close as uvicorn does, but read on for a moment."""
        if self.close_sent:
            return
        # A socket that is closed while its client still sends is reset, and the client never sees the 1009.
        transport, self.transport = self.transport, _Unclosable(self.transport)  # type: ignore[assignment]
        super().handle_parser_exception()
        self.transport = transport
        if self.read_paused:  # for an application that was slow to take messages; none will be taken now
            self.read_paused = False
            transport.resume_reading()
        self.close_timer = self.loop.call_later(_LINGER_S, transport.close)


class _Unclosable:
    """A transport that only writes."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self.write: Callable[[bytes], Any] = transport.write

    def close(self) -> None:
        """Leave the transport open."""
