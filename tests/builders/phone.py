"""A client of the wire protocol that keeps what it hears, for tests to look at."""

import asyncio
import base64
import hashlib
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Self

from websockets.asyncio.client import ClientConnection, connect
from websockets.typing import Subprotocol

from tests.builders.contract import faults_of_frame
from tests.builders.patience import PATIENCE_S

Frame = dict[str, Any]
ENDS = ("complete", "error")


@dataclass
class Phone:
    """One socket. ``frames`` are all it has heard; ``arrived_s`` is when (monotonic), ``sizes_bytes`` how long."""

    socket: ClientConnection
    frames: list[Frame] = field(default_factory=list)
    arrived_s: list[float] = field(default_factory=list)
    sizes_bytes: list[int] = field(default_factory=list)

    @classmethod
    @asynccontextmanager
    async def connected(cls, url: str, key: str | None = None, **options: Any) -> AsyncIterator[Self]:
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        async with connect(
            url, additional_headers=headers, max_size=None, open_timeout=PATIENCE_S, **options
        ) as socket:
            yield cls(socket)

    @classmethod
    @asynccontextmanager
    async def browser(cls, url: str, key: str, origin: str) -> AsyncIterator[Self]:
        """As a page connects: no headers of its own, the key as a subprotocol."""
        bearer = base64.urlsafe_b64encode(key.encode()).decode().rstrip("=")
        offers = [Subprotocol("chatrelay.v1"), Subprotocol(f"bearer.{bearer}")]
        async with connect(url, origin=origin, subprotocols=offers, open_timeout=PATIENCE_S) as socket:  # type: ignore[arg-type]
            yield cls(socket)

    async def say(self, frame: Frame | str | bytes) -> None:
        await self.socket.send(json.dumps(frame) if isinstance(frame, dict) else frame)

    async def ask(self, content: str, *, id: str, conversation: str, **fields: Any) -> list[Frame]:  # noqa: A002
        """Sends a message; every frame from then on until its reply has ended."""
        await self.say({"action": "send", "id": id, "conversation": conversation, "content": content, **fields})
        return await self.hear_until(lambda frame: frame.get("type") in ENDS)

    async def hear(self) -> Frame:
        async with asyncio.timeout(PATIENCE_S):
            text = await self.socket.recv(decode=False)
        self.sizes_bytes.append(len(text))
        self.arrived_s.append(time.monotonic())
        frame: Frame = json.loads(text)
        assert faults_of_frame(frame) == [], frame
        self.frames.append(frame)
        return frame

    async def hear_until(self, last: Callable[[Frame], bool]) -> list[Frame]:
        heard = [await self.hear()]
        while not last(heard[-1]):
            heard.append(await self.hear())
        return heard


def assembled(frames: list[Frame], since: int = 0, *, kind: str | None = None) -> str:
    """The log from offset `since` on, or what is of one kind in it; each frame must begin where the last one ended."""
    text = ""
    for frame in frames:
        if "part" in frame:
            assert frame["offset"] == since, "a gap or a repeat"
            since += utf16_length(frame["content"])
            text += frame["content"] if kind in (None, frame["type"]) else ""
    return text


def trimmed(frames: list[Frame], has: str = "") -> str:
    """The log as a client keeps it that `has` its beginning: that is trimmed from a frame that begins earlier."""
    units = has.encode("utf-16-le")
    for frame in frames:
        if "part" in frame:
            position, begins = len(units) // 2, frame["offset"]
            assert begins <= position, "a gap"
            units += frame["content"].encode("utf-16-le")[2 * (position - begins) :]
    return units.decode("utf-16-le")


def proves(last: Frame, log: str) -> bool:
    """Whether length and hash of a reply's last frame are those of `log`."""
    return bool(last["length"] == utf16_length(log) and last["sha256"] == hashlib.sha256(log.encode()).hexdigest())


def utf16_length(text: str) -> int:
    return len(text.encode("utf-16-le")) // 2
