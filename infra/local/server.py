"""uvicorn, with the few things that API Gateway does otherwise."""

import asyncio
import contextlib
import logging
import signal
import socket
import struct
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import h11
import uvicorn
from starlette.types import ASGIApp, Scope
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from infra.local.limits import Limits

_ABORT = "infra.local.abort"
_LINGER_S = 0.3
_SHUTDOWN_S = 2


def listen(host: str, port: int) -> socket.socket:
    """Give a listening socket whose connections send at once.

    asyncio leaves Nagle's algorithm on for sockets made by `socket.create_server`; with uvicorn's two writes an
    answer that costs every request 40 ms. Connections inherit the option.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.create_server((host, port), family=family)
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listening


class Server(uvicorn.Server):
    """A server that ends on SIGINT or SIGTERM without raising them again.

    `on_ready` is called when it listens, `on_ending` awaited before open requests get their last moment.
    """

    def __init__(
        self, config: uvicorn.Config, on_ready: Callable[[], None], on_ending: Callable[[], Awaitable[None]]
    ) -> None:
        super().__init__(config)
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
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._stop)
        yield

    def _stop(self) -> None:
        self.should_exit = True


class Embedded:
    """A server of the same process on a port of its own, for what only workers ask."""

    def __init__(self, application: ASGIApp) -> None:
        self._socket = listen("127.0.0.1", 0)
        self._server = uvicorn.Server(_embedded(application))

    @property
    def address(self) -> str:
        """`host:port`"""
        host, port = self._socket.getsockname()
        return f"{host}:{port}"

    async def start(self) -> None:
        self._server.config.load()
        self._server.lifespan = self._server.config.lifespan_class(self._server.config)
        await self._server.startup(sockets=[self._socket])

    def stop(self) -> None:
        """Close the port. A request that is being answered gets its answer."""
        for server in self._server.servers:
            server.close()
        for connection in list(self._server.server_state.connections):
            connection.shutdown()


def _embedded(application: ASGIApp) -> uvicorn.Config:
    return uvicorn.Config(
        application,
        http="h11",
        ws="none",
        lifespan="off",
        log_config=None,
        log_level=logging.ERROR,
        access_log=False,
        server_header=False,
        date_header=False,
    )


def abort(scope: Scope) -> None:
    """Reset the TCP connection of a WebSocket."""
    scope["extensions"][_ABORT]["abort"]()


def config(application: ASGIApp, limits: Limits) -> uvicorn.Config:
    return uvicorn.Config(
        application,
        http=_Http,
        ws=_WebSocket,
        # Of a message and of a frame: `websockets` takes both.
        ws_max_size=(limits.message_bytes, limits.frame_bytes),  # type: ignore[arg-type]
        ws_ping_interval=None,
        ws_per_message_deflate=False,
        lifespan="off",
        log_config=None,
        log_level="error",
        proxy_headers=False,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=_SHUTDOWN_S,
    )


class _Http(H11Protocol):
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
        """Close as uvicorn does, but read on for a moment.

        A socket that is closed while its client still sends is reset, and the client never sees the 1009.
        """
        if self.close_sent:
            return
        transport, self.transport = self.transport, _Unclosable(self.transport)  # type: ignore[assignment]
        super().handle_parser_exception()
        self.transport = transport
        if self.read_paused:
            self.read_paused = False
            transport.resume_reading()
        self.close_timer = self.loop.call_later(_LINGER_S, transport.close)


class _Unclosable:
    """A transport that only writes."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self.write: Callable[[bytes], Any] = transport.write

    def close(self) -> None:
        """Leave it open."""
