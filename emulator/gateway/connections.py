"""Open connections, and the `@connections` API that posts to them.

Source: https://docs.aws.amazon.com/apigateway/latest/developerguide/apigateway-how-to-call-websocket-api-connections.html
"""

import asyncio
import datetime
import enum
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.websockets import WebSocket, WebSocketDisconnect

from emulator import log
from emulator.gateway import events, ids
from emulator.limits import Limits
from emulator.services.signature import Credentials, Refused, check
from emulator.serving import server


class Gone(Exception):
    """The connection is not open yet, or no more."""


class BufferFull(Exception):
    """The client has too much unread."""


class State(enum.Enum):
    CONNECTING = "connecting"
    OPEN = "open"
    CLOSED = "closed"


_MOVES = {State.CONNECTING: {State.OPEN, State.CLOSED}, State.OPEN: {State.CLOSED}, State.CLOSED: set()}


@dataclass(frozen=True)
class _Close:
    code: int
    reason: str
    abrupt: bool


class Connection:
    """One client's WebSocket. `socket` is what its events say about it."""

    def __init__(self, socket: events.Socket, limits: Limits) -> None:
        self.socket = socket
        self.state = State.CONNECTING
        self.last_active_ms = socket.connected_ms
        self._limits = limits
        self._opened_s = self._active_s = _now_s()
        self._outgoing: asyncio.Queue[str | _Close] = asyncio.Queue()
        self._unread_bytes = 0

    @property
    def id(self) -> str:
        return self.socket.connection_id

    def move(self, state: State) -> None:
        if state not in _MOVES[self.state]:
            raise RuntimeError(f"A connection cannot go from {self.state.value} to {state.value}.")
        self.state = state

    def open(self) -> None:
        self.move(State.OPEN)
        self._opened_s = self._active_s = _now_s()

    def touch(self) -> None:
        self._active_s, self.last_active_ms = _now_s(), ids.now_ms()

    def post(self, text: str, size: int) -> None:
        """Queue a frame of `size` bytes. Raise Gone, BufferFull."""
        if self.state is not State.OPEN:
            raise Gone(self.id)
        if self._unread_bytes + size > self._limits.client_buffer_bytes:
            raise BufferFull(self.id)
        self._unread_bytes += size
        self._outgoing.put_nowait(text)
        self.touch()

    def close(self, code: int, reason: str, *, abrupt: bool = False) -> None:
        """Close from the gateway's side, after what was posted before. Do nothing if the connection is closed already.

        `abrupt`: reset the TCP connection instead, without a close frame.
        """
        if self.state is State.OPEN:
            self.move(State.CLOSED)
            self._outgoing.put_nowait(_Close(code, reason, abrupt))

    async def write_to(self, websocket: WebSocket) -> None:
        """Send what is posted, in order, as fast as the client reads it, until the socket is gone."""
        try:
            while isinstance(item := await self._outgoing.get(), str):
                # Waits while the socket's buffers are full, so a client that does not read keeps its bytes unread.
                await websocket.send_text(item)
                self._unread_bytes -= len(item.encode())
            if item.abrupt:
                server.abort(websocket.scope)
            else:
                await websocket.close(item.code, item.reason)
        except WebSocketDisconnect:  # Whoever reads from it hears that, too, and ends the connection.
            return

    async def expire(self) -> None:
        """Close the connection when nothing came or went for too long, or when it is too old."""
        while True:
            # Anew after each sleep: traffic has moved the end meanwhile.
            ends_s = min(self._active_s + self._limits.idle_s, self._opened_s + self._limits.life_s)
            left_s = ends_s - _now_s()
            if left_s <= 0:
                break
            await asyncio.sleep(left_s)
        self.close(1001, "Going away")


def _now_s() -> float:
    """Return the time by the loop's clock, the one that sleeps go by."""
    return asyncio.get_running_loop().time()


class Connections:
    """All open connections, by id."""

    def __init__(self) -> None:
        self._by_id: dict[str, Connection] = {}

    def add(self, connection: Connection) -> None:
        self._by_id[connection.id] = connection

    def remove(self, connection: Connection) -> None:
        self._by_id.pop(connection.id, None)

    def find(self, connection_id: str, stage: str) -> Connection:
        """Return an open connection of this stage. Raise Gone."""
        connection = self._by_id.get(connection_id)
        if connection is None or connection.socket.stage != stage or connection.state is not State.OPEN:
            raise Gone(connection_id)
        return connection


async def post(connection: Connection, text: str, size: int) -> Response:
    """Queue a frame for a connection and return the answer to the post. Raise Gone, BufferFull."""
    connection.post(text, size)
    log.frame(connection.id, log.OUT, "post", size)
    return Response()


Post = Callable[[Connection, str, int], Awaitable[Response]]
"""Handles a post of so many bytes as `post` does."""


class ConnectionsApi:
    """`/{stage}/@connections/{id}`, for boto3's `apigatewaymanagementapi` client. Posts are handled by `post`."""

    def __init__(
        self,
        connections: Connections,
        stages: frozenset[str],
        limits: Limits,
        credentials: Credentials,
        post: Post = post,
    ) -> None:
        self._connections = connections
        self._stages = stages
        self._limits = limits
        self._credentials = credentials
        self._post = post

    async def answer(self, request: Request) -> Response:
        stage, connection_id = request.path_params["stage"], request.path_params["connection_id"]
        if stage not in self._stages:
            return error(403, "ForbiddenException", "Forbidden")
        try:
            await check(request, "execute-api", self._credentials)
        except Refused as refused:
            return error(403, f"{refused.code}Exception", str(refused))
        if not ids.CONNECTION_ID.match(connection_id):
            return error(400, "BadRequestException", f"Invalid connectionId: {connection_id}")
        try:
            return await self._answer(request, self._connections.find(connection_id, stage))
        except Gone:
            log.connection(connection_id, f"{request.method} refused: gone")
            return Response(status_code=410, headers={"x-amzn-ErrorType": "GoneException"})
        except BufferFull:
            # The same answer as for AWS's rate limit.
            log.connection(connection_id, "post refused: its client does not read")
            return error(429, "LimitExceededException", "Too Many Requests")

    async def _answer(self, request: Request, connection: Connection) -> Response:
        if request.method == "GET":
            return JSONResponse(
                {
                    "connectedAt": _iso(connection.socket.connected_ms),
                    "identity": events.identity(connection.socket.caller),
                    "lastActiveAt": _iso(connection.last_active_ms),
                }
            )
        if request.method == "DELETE":
            connection.close(1000, "Connection Closed Normally")
            return Response(status_code=204)
        data = await request.body()
        if len(data) > self._limits.message_bytes:
            return error(413, "PayloadTooLargeException", "Message too long")
        return await self._post(connection, data.decode(errors="replace"), len(data))


def _iso(time_ms: int) -> str:
    moment = datetime.datetime.fromtimestamp(time_ms / 1000, datetime.UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def error(status: int, kind: str, message: str) -> Response:
    return JSONResponse({"message": message}, status_code=status, headers={"x-amzn-ErrorType": kind})
