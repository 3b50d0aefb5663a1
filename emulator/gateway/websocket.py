"""WebSocket APIs: the handshake, messages and their routes, the end.

Source: https://docs.aws.amazon.com/apigateway/latest/developerguide/apigateway-websocket-api.html
"""

import asyncio
import contextlib
import json
import re
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qsl

from starlette.responses import JSONResponse
from starlette.websockets import WebSocket, WebSocketDisconnect

from emulator import log
from emulator.gateway import authorizers, events, ids, integrations
from emulator.gateway.connections import BufferFull, Connection, Connections, Gone, State
from emulator.gateway.integrations import IntegrationFailed, IntegrationTimedOut, NotServed
from emulator.lambda_.invoke import Invoker
from emulator.limits import Limits
from emulator.template.apis import Authorizer, Integration, Route, WebSocketApi

_SELECTION = re.compile(r"^\$\{?request\.body((?:\.\w+)+)\}?$")
_SUBPROTOCOL = "sec-websocket-protocol"


class Refused(Exception):
    """The handshake ends with an HTTP status instead of a connection."""

    def __init__(self, status: int, sentence: str = "") -> None:
        super().__init__(sentence or HTTPStatus(status).phrase)
        self.status = status


@dataclass(frozen=True)
class Handshake:
    """The client's request, as far as functions see it."""

    headers: events.Pairs
    query: events.Pairs
    caller: events.Caller


@dataclass(frozen=True)
class Closed:
    code: int
    reason: str


class Sockets:
    """An observer of sockets, which may close one or keep its end to itself. This one does neither."""

    def opened(self, connection: Connection) -> None:
        """Take note of a connection that reads and writes from now on."""

    def tells_end(self, connection: Connection) -> bool:  # noqa: ARG002 -- others decide by it
        """Take note of a connection that has ended. Return whether `$disconnect` hears of it."""
        return True


class WebSockets:
    """The endpoint of all WebSocket APIs. `apis` by stage; `domain` is what events call `domainName`."""

    def __init__(
        self,
        apis: Mapping[str, WebSocketApi],
        domain: str,
        invoker: Invoker,
        connections: Connections,
        limits: Limits,
        sockets: Sockets,
    ) -> None:
        self._apis = apis
        self._domain = domain
        self._invoker = invoker
        self._connections = connections
        self._limits = limits
        self._sockets = sockets
        self._tasks: set[asyncio.Task[None]] = set()

    async def serve(self, websocket: WebSocket) -> None:
        stage = websocket.scope["path"].removeprefix("/")
        api = self._apis.get(stage)
        if api is None:  # A path below a stage is none, either.
            await _refuse(websocket, Refused(403), ids.new_id())
            return
        handshake = _handshake(websocket)
        socket = events.Socket(
            api=api.id,
            stage=stage,
            stage_variables=api.stages[stage],
            domain=self._domain,
            connection_id=ids.new_id(),
            connected_ms=ids.now_ms(),
            caller=handshake.caller,
        )
        connection = Connection(socket, self._limits)
        try:
            connection, subprotocol = await self._handshake(api, connection, handshake)
        except Refused as refusal:
            log.connection(connection.id, f"refused: {refusal.status}")
            await _refuse(websocket, refusal, connection.id)
            return
        await self._converse(api, connection, websocket, subprotocol)

    async def _handshake(
        self, api: WebSocketApi, connection: Connection, handshake: Handshake
    ) -> tuple[Connection, str | None]:
        """Return the connection with what the authorizer said, and the subprotocol that `$connect` selects.

        Raise Refused.
        """
        route = api.routes.get("$connect")
        if route is None:
            return connection, None
        if route.authorizer is not None:
            context = await self._authorize(route.authorizer, connection.socket, handshake)
            connection = Connection(replace(connection.socket, authorizer=context), self._limits)
        event = events.connect(connection.socket, ids.new_event_ids(), handshake.headers, handshake.query)
        try:
            answer = await self._integrate(route.integration, connection.socket, event)
        except IntegrationTimedOut as error:
            raise Refused(504) from error
        except NotServed as reason:
            raise Refused(501, str(reason)) from reason
        except IntegrationFailed as error:
            raise Refused(502) from error
        if not route.integration.proxy:
            return connection, None
        if not 200 <= answer["statusCode"] < 300:
            raise Refused(answer["statusCode"])
        headers = answer.get("headers") or {}
        return connection, next((value for name, value in headers.items() if name.lower() == _SUBPROTOCOL), None)

    async def _authorize(self, authorizer: Authorizer, socket: events.Socket, handshake: Handshake) -> dict[str, Any]:
        # Without what identifies the client, API Gateway does not call the authorizer.
        if not all(_identity(source, handshake) for source in authorizer.identity_sources):
            raise Refused(401)
        event = events.authorization(socket, ids.new_event_ids(), handshake.headers, handshake.query)
        try:
            answered = await self._call(authorizer.function, json.dumps(event).encode())
            allowed = authorizers.allowed_by_policy(answered.value, events.method_arn(socket))
        except authorizers.Denied as denied:
            raise Refused(403) from denied
        except NotServed as reason:  # It is an IntegrationFailed, too, and says more.
            raise Refused(501, str(reason)) from reason
        except IntegrationFailed as failed:
            # By raising this one word a function says 401.
            raise Refused(401 if failed.error_message == "Unauthorized" else 500) from failed
        except (IntegrationTimedOut, authorizers.Malformed) as error:
            log.connection(socket.connection_id, f"authorizer: {error}")
            raise Refused(500) from error
        return {**allowed, "integrationLatency": answered.latency_ms}

    async def _converse(
        self, api: WebSocketApi, connection: Connection, websocket: WebSocket, subprotocol: str | None
    ) -> None:
        """Serve an accepted connection to its end, and tell `$disconnect`."""
        # Before the client hears of it: functions may post from the moment when `$connect` has returned.
        connection.open()
        self._connections.add(connection)
        log.connection(connection.id, f"open on {connection.socket.stage}")
        background = [asyncio.create_task(connection.expire())]
        try:
            await websocket.accept(subprotocol=subprotocol)
            # Not earlier: no frame may go out before the handshake's answer. Posts wait in the queue.
            background.append(asyncio.create_task(connection.write_to(websocket)))
            self._sockets.opened(connection)
            closed = await self._read(api, connection, websocket)
        except (WebSocketDisconnect, OSError):  # It left while `$connect` was running.
            closed = Closed(1006, "Connection closed abnormally")
        finally:
            self._connections.remove(connection)
            for task in background:
                task.cancel()
        if connection.state is State.OPEN:  # The client has closed it; `close` has moved it otherwise.
            connection.move(State.CLOSED)
        log.connection(connection.id, f"closed {closed.code} {closed.reason}")
        if self._sockets.tells_end(connection):
            self._begin(self._disconnect(api, connection, closed))

    async def _read(self, api: WebSocketApi, connection: Connection, websocket: WebSocket) -> Closed:
        while True:
            incoming = await websocket.receive()
            if incoming["type"] == "websocket.disconnect":
                reason = incoming.get("reason")
                # uvicorn says 1005 for a lost connection, too, but then without a reason.
                if reason is None:
                    return Closed(1006, "Connection closed abnormally")
                code = incoming.get("code") or 1005
                return Closed(code, reason or ("Client-side close frame status not set" if code == 1005 else ""))
            connection.touch()
            text = incoming.get("text")
            if text is None:  # API Gateway takes no binary frames.
                connection.close(1003, "Unsupported Data")
            elif connection.state is State.OPEN:
                # Not awaited: API Gateway does not wait for one message before it takes the next.
                self._begin(self._message(api, connection, text))

    async def _message(self, api: WebSocketApi, connection: Connection, text: str) -> None:
        event_ids = ids.new_event_ids()
        route = select_route(api, text)
        log.frame(connection.id, log.IN, route.key if route else "no route", len(text.encode()))
        if route is None:
            _send_error(connection, "Forbidden", event_ids)
            return
        event = events.message(connection.socket, event_ids, route.key, ids.new_id(), text)
        try:
            answer = await self._integrate(route.integration, connection.socket, event)
        except IntegrationTimedOut:
            _send_error(connection, "Endpoint request timed out", event_ids)
        except NotServed as reason:
            _send_error(connection, str(reason), event_ids)
        except IntegrationFailed:
            _send_error(connection, "Internal server error", event_ids)
        else:
            # Without a RouteResponse what the function answers reaches nobody.
            if route.replies and answer.get("body"):
                _send(connection, str(answer["body"]))

    async def _disconnect(self, api: WebSocketApi, connection: Connection, closed: Closed) -> None:
        route = api.routes.get("$disconnect")
        if route is None:
            return
        event = events.disconnect(connection.socket, ids.new_event_ids(), closed.code, closed.reason)
        try:
            await self._integrate(route.integration, connection.socket, event)
        # AWS promises no more than its best effort, and nobody is left to tell.
        except (IntegrationTimedOut, IntegrationFailed) as error:
            log.connection(connection.id, f"$disconnect: {type(error).__name__}")

    async def _integrate(
        self, integration: Integration, socket: events.Socket, event: Mapping[str, Any]
    ) -> dict[str, Any]:
        """Return the function's answer. Raise IntegrationFailed, IntegrationTimedOut."""
        integrations.serve(integration)
        if not integration.function:
            return {"body": integrations.mocked(integration, event, socket.stage_variables)}
        payload = integrations.request_of(integration, event, socket.stage_variables)
        if integration.event:
            integrations.send(self._invoker, integration.function, payload)
            return {}
        answered = await self._call(integration.function, payload, integration.timeout_s)
        if not integration.proxy:
            return {"body": json.dumps(answered.value)}
        if not isinstance(answered.value, dict) or not isinstance(answered.value.get("statusCode"), int):
            log.connection(socket.connection_id, "the function's answer has no statusCode")
            raise IntegrationFailed("no statusCode")
        return answered.value

    async def _call(self, function: str, payload: bytes, timeout_s: float | None = None) -> integrations.Answered:
        limit_s = self._limits.integration_timeout_s
        return await integrations.call(self._invoker, function, payload, min(timeout_s or limit_s, limit_s))

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)  # the loop itself has only a weak reference. Source: asyncio.create_task
        task.add_done_callback(self._tasks.discard)


def select_route(api: WebSocketApi, text: str) -> Route | None:
    """Return the route that a message selects. A client cannot select `$connect` or `$disconnect`."""
    selection = _SELECTION.match(api.selection)
    key: Any = None
    if selection:
        try:
            key = json.loads(text)
            for name in selection.group(1)[1:].split("."):
                key = key[name]
        except (ValueError, KeyError, TypeError, RecursionError):  # The last for a text of a thousand brackets.
            key = None
    if isinstance(key, str) and not key.startswith("$") and key in api.routes:
        return api.routes[key]
    return api.routes.get("$default")


def _send_error(connection: Connection, message: str, event_ids: events.EventIds) -> None:
    # The spaces are API Gateway's.
    words = json.dumps(message)
    text = f'{{"message": {words}, "connectionId":"{connection.id}", "requestId":"{event_ids.request_id}"}}'
    _send(connection, text)


def _send(connection: Connection, text: str) -> None:
    size = len(text.encode())
    try:
        connection.post(text, size)
    except (Gone, BufferFull):  # There is no other way to tell the client.
        return
    log.frame(connection.id, log.OUT, "gateway", size)


def _handshake(websocket: WebSocket) -> Handshake:
    # Latin-1 takes every byte, as headers may have had it. Source: RFC 9110, 5.5.
    headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in websocket.scope["headers"]]
    agents = [value for name, value in headers if name.lower() == "user-agent"]
    scheme = "https" if websocket.scope["scheme"] == "wss" else "http"
    caller = events.Caller(websocket.client.host if websocket.client else "", agents[0] if agents else None, scheme)
    query = parse_qsl(websocket.scope["query_string"].decode(), keep_blank_values=True)
    return Handshake(events.forwarded(headers, caller, ids.new_event_ids()), query, caller)


def _identity(source: str, handshake: Handshake) -> bool:
    """Whether the client sent what `route.request.header.Name` or `route.request.querystring.name` stands for."""
    kind, _, name = source.removeprefix("route.request.").partition(".")
    pairs = handshake.headers if kind == "header" else handshake.query
    return any(value for key, value in pairs if key.lower() == name.lower())


async def _refuse(websocket: WebSocket, refusal: Refused, connection_id: str) -> None:
    body = {"message": str(refusal), "connectionId": connection_id, "requestId": ids.new_event_ids().request_id}
    with contextlib.suppress(WebSocketDisconnect, OSError):  # A client that has left needs no answer.
        await websocket.send_denial_response(JSONResponse(body, status_code=refusal.status))
