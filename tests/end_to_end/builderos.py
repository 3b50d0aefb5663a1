"""The existing iOS app's behaviour, copied from its public source: what it sends, what it waits for, what it shows.

Its rendering loses text when two frames come less than 100 ms apart. That is copied too: the relay has to live with it.
"""

import asyncio
import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Self

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

CONNECT_S = 5.0
AUTHENTICATION_S = 5.0
READY_S = {"claude": 15.0, "codex": 5.0}
RECONNECT_S = 2.0
PING_S = 25.0
RENDER_S = 0.1
CHAT_TYPE = {"claude": "jarvis", "codex": "codex"}


class AppError(Exception):
    """What the app shows instead of a chat."""


@dataclass
class App:
    """One chat tab. `saved` are the replies that it has kept, `errors` the sentences it has shown."""

    base_url: str
    key: str
    agent: str = "claude"
    session: str = "tab-1"
    sends_configuration: bool = True
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
        await asyncio.wait_for(self.ready.wait(), 40)
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
        await asyncio.wait_for(self.ended.wait(), 60)
        return self.saved[-1] if self.saved else self.errors[-1]

    async def _live(self) -> None:
        """Reconnects two seconds after any close, for ever."""
        while True:
            with suppress(ConnectionClosed):
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
        answer = str(await asyncio.wait_for(socket.recv(), AUTHENTICATION_S))
        if answer != "authenticated":
            raise AppError(answer)
        if self.sends_configuration:
            # It waits for `ready` only after this: one that came before is forgotten.
            await asyncio.sleep(0.5)
            await socket.send(json.dumps({"working_directory": "/Users/me/project"}))
            await _forget(socket)
        await asyncio.wait_for(self._hear_ready(socket), READY_S[self.agent])

    async def _hear_ready(self, socket: ClientConnection) -> None:
        while True:
            text = str(await socket.recv())
            if "working_directory" not in text and (self.decode(text) or {}).get("type") == "ready":
                return

    def decode(self, text: str) -> dict[str, Any] | None:
        """A frame as the app's decoder takes it; None, and an error on the screen, if it does not."""
        frame = json.loads(text)
        strings = all(isinstance(frame.get(name), str) for name in ("type", "content", "timestamp"))
        usage = frame.get("usage") or {}
        counted = ("input_tokens", "cached_input_tokens", "output_tokens")
        if strings and all(isinstance(usage.get(name, 0), int | None) for name in counted):
            return dict(frame)
        self.errors.append("Error: Invalid message format")
        return None

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
        self._update = asyncio.create_task(self._show(text))

    async def _show(self, text: str) -> None:
        await asyncio.sleep(RENDER_S)
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
            await asyncio.wait_for(socket.recv(), 0.001)
