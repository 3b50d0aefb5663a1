"""The existing iOS app's behaviour, copied from its public source: what it sends, what it waits for, what it shows.

Its decoders refuse an answer that lacks a field, or has another type in it. Its rendering loses text when two frames
come less than 100 ms apart. Both are copied too: the relay has to live with them.
"""

import asyncio
import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from types import NoneType
from typing import Any, Self
from urllib.parse import quote
from uuid import uuid4

import httpx
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from tests.builders.deployments import Relay

AGENTS = ("claude", "codex")
CONNECT_S = 5.0
AUTHENTICATION_S = 5.0
READY_S = {"claude": 15.0, "codex": 5.0}
RECONNECT_S = 2.0
PING_S = 25.0
RENDER_S = 0.1
CHAT_TYPE = {"claude": "jarvis", "codex": "codex"}
REQUEST_S = 60.0

Fields = dict[str, type]
HEALTH: Fields = {"status": str, "version": str, "timestamp": str, "connections": dict}
CONNECTIONS: Fields = {"claude": int, "codex": int}
STATUS: Fields = {"status": str, "version": str, "health": str, "timestamp": str}
REGISTERED: Fields = {"success": bool, "message": str}
UPLOADED: Fields = {"url": str, "filename": str, "size": int}
CLOSED: Fields = {"ok": bool, "session_id": str, "message": str}
REFUSED: Fields = {"error": str}
FRAME: Fields = {"type": str, "content": str, "timestamp": str}


class AppError(Exception):
    """What the app shows instead of a chat, or of an answer."""


@dataclass
class App:
    """One chat tab. `saved` are the replies that it has kept, `errors` the sentences it has shown.

    `render_s`: the app renders so long after a frame, and forgets a text that was followed by another before that. A
    busy machine squeezes frames together as no network does; a copy that renders at once (0) does not mind.
    """

    base_url: str
    key: str
    agent: str = "claude"
    session: str = "tab-1"
    sends_configuration: bool = True
    render_s: float = RENDER_S
    shown: str = ""
    saved: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)
    connections: int = 0
    ready: asyncio.Event = field(default_factory=asyncio.Event)
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    socket: ClientConnection | None = None
    _update: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._life = asyncio.create_task(self._live())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._life.cancel()
        with suppress(asyncio.CancelledError):
            await self._life

    async def send(self, content: str, attachments: Sequence[dict[str, Any]] = ()) -> None:
        """Sends a message when the chat is ready."""
        async with asyncio.timeout(40):
            await self.ready.wait()
        self.ended.clear()
        message: dict[str, Any] = {
            "content": content,
            "session_id": self.session,
            "device_id": "iPhone",
            "chat_type": CHAT_TYPE[self.agent],
        }
        if attachments:
            message["attachments"] = list(attachments)
        assert self.socket is not None
        await self.socket.send(json.dumps(message))

    async def reply_to(self, content: str, attachments: Sequence[dict[str, Any]] = ()) -> str:
        """Sends a message; the reply as the app saves it, or an error as the app shows it."""
        await self.send(content, attachments)
        async with asyncio.timeout(60):
            await self.ended.wait()
        return self.saved[-1] if self.saved else self.errors[-1]

    # --- over HTTP ---

    async def health(self) -> dict[str, Any]:
        """Asked before there is a key."""
        health = await self._call("GET", "/api/health", HEALTH)
        decoded(health["connections"], CONNECTIONS)
        return health

    async def status(self) -> dict[str, Any]:
        return await self._call("GET", "/api/status", STATUS, headers=self._key)

    async def register(self, device_token: str) -> dict[str, Any]:
        body = {"device_token": device_token, "platform": "ios", "device_id": "iPhone"}
        return await self._call("POST", "/api/notifications/register", REGISTERED, headers=self._key, json=body)

    async def upload(self, filename: str, mime_type: str, content: bytes) -> dict[str, Any]:
        """The file as the app quotes it in a message."""
        posted = {"data": {"type": "image"}, "files": {"file": (filename, content, mime_type)}}
        uploaded = await self._call("POST", "/api/files/upload", UPLOADED, headers=self._key, **posted)
        return {"id": str(uuid4()).upper(), "mime_type": mime_type, "type": "image", **uploaded}

    async def download(self, url: str) -> bytes:
        """The bytes at a url that an upload gave."""
        async with httpx.AsyncClient(timeout=REQUEST_S, follow_redirects=True) as client:
            answer = await client.get(url, headers=self._key)
            return answer.raise_for_status().content

    async def close_session(self) -> dict[str, Any]:
        """The one call whose key is the whole ``Authorization``."""
        path = f"/api/{self.agent}/session/{quote(self.session, safe='')}/close"
        return await self._call("DELETE", path, CLOSED, headers={"Authorization": self.key})

    @property
    def _key(self) -> dict[str, str]:
        return {"X-API-Key": self.key}

    async def _call(self, method: str, path: str, fields: Fields, **request: Any) -> dict[str, Any]:
        async with httpx.AsyncClient(base_url=self.base_url, timeout=REQUEST_S) as client:
            answer = await client.request(method, path, **request)
        if answer.status_code != httpx.codes.OK:
            raise AppError(decoded(answer.json(), REFUSED)["error"])
        return decoded(answer.json(), fields)

    # --- over the socket ---

    async def _live(self) -> None:
        """Reconnects two seconds after any close, for ever; it closes when it has waited too long, too."""
        while True:
            with suppress(ConnectionClosed, TimeoutError):
                await self._connect()
            self.ready.clear()
            await asyncio.sleep(RECONNECT_S)

    async def _connect(self) -> None:
        url = f"{self.base_url.replace('http', 'ws', 1)}/api/{self.agent}/ws"
        async with connect(url, open_timeout=CONNECT_S, ping_interval=PING_S) as socket:
            self.socket = socket
            self.connections += 1
            try:
                await self._shake_hands(socket)
            except AppError as problem:
                self.errors.append(str(problem))
                self.ended.set()
                return
            self.ready.set()
            async for frame in socket:
                self.receive(str(frame))

    async def _shake_hands(self, socket: ClientConnection) -> None:
        await socket.send(self.key)
        async with asyncio.timeout(AUTHENTICATION_S):
            answer = str(await socket.recv())
        if answer != "authenticated":
            raise AppError(answer)
        if self.sends_configuration:
            # It waits for `ready` only after this: one that came before is forgotten.
            await asyncio.sleep(0.5)
            await socket.send(json.dumps({"working_directory": "/Users/me/project"}))
            await _forget(socket)
        async with asyncio.timeout(READY_S[self.agent]):
            await self._hear_ready(socket)

    async def _hear_ready(self, socket: ClientConnection) -> None:
        while True:
            text = str(await socket.recv())
            if "working_directory" not in text and (self.decode(text) or {}).get("type") == "ready":
                return

    def decode(self, text: str) -> dict[str, Any] | None:
        """A frame as the app's decoder takes it; None, and an error on the screen, if it does not."""
        try:
            frame = decoded(json.loads(text), FRAME)
            _decode_usage(frame.get("usage"))
        except AppError:
            self.errors.append("Error: Invalid message format")
            return None
        return frame

    def receive(self, text: str) -> None:
        """One frame of a chat that is ready."""
        frame = self.decode(text)
        match frame:
            case {"type": "message", "content": content}:
                self._render(self.shown + content)
            case {"type": "complete"}:
                self.saved.append(self.shown)
                self._finish()
            case {"type": "error", "content": content}:
                self.errors.append(content)
                self._finish()
            case {"type": kind}:
                self.unknown.append(kind)

    def _render(self, text: str) -> None:
        """Cancels the update that waits and schedules this one. What only the former had is lost."""
        if self._update is not None:
            self._update.cancel()
        if self.render_s:
            self._update = asyncio.create_task(self._show(text))
        else:
            self.shown = text

    async def _show(self, text: str) -> None:
        await asyncio.sleep(self.render_s)
        self.shown = text

    def _finish(self) -> None:
        self.shown = ""
        if self._update is not None:
            self._update.cancel()
        self.ended.set()


async def _forget(socket: ClientConnection) -> None:
    """Drops what has arrived and was not waited for."""
    with suppress(TimeoutError):
        while True:
            async with asyncio.timeout(0.001):
                await socket.recv()


def decoded(answer: Any, fields: Fields) -> dict[str, Any]:
    """An object with these fields of exactly these types, and whatever else. Raises ``AppError``."""
    if not isinstance(answer, dict):
        raise AppError("no object")
    for name, kind in fields.items():
        if type(answer.get(name)) is not kind:
            raise AppError(f"{name} is no {kind.__name__}")
    return answer


def _decode_usage(usage: Any) -> None:
    """An object or null, of integers or null as far as the app knows their names. Raises ``AppError``."""
    if usage is None:
        return
    if not isinstance(usage, dict):
        raise AppError("usage is no object")
    for name in ("input_tokens", "cached_input_tokens", "output_tokens"):
        if type(usage.get(name)) not in (int, NoneType):
            raise AppError(f"{name} is no integer")


def app(relay: Relay, **options: str | bool) -> App:
    """A copy that shows what it gets at once: how far apart that was sent, one test measures."""
    return App(f"http://{relay.address}", relay.key, render_s=0, **options)  # type: ignore[arg-type]
