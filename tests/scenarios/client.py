"""A client as a careful author would write it, that counts what it should never see.

It connects again after every close, takes up its reply by offset, trims what it has, drops what an older writer sends,
and sends its message with the same id until that has been accepted. A device without a message of its own reads along.
"""

import asyncio
import hashlib
import json
import time
from dataclasses import dataclass, field
from random import Random
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import WebSocketException

Frame = dict[str, Any]
QUIET_S = 2.0
"""After so long a silence the client asks again: its question or the answer may be lost. Too early does no harm."""
PAUSE_S = 0.1
"""Before another try of what was refused."""


@dataclass
class Assembly:
    """One reply as this client has it. `ends` are all the different ends that were told."""

    id: str
    epoch: int
    units: bytes = b""
    ends: set[str] = field(default_factory=set)

    @property
    def length(self) -> int:
        """In UTF-16 code units."""
        return len(self.units) // 2

    @property
    def text(self) -> str:
        return self.units.decode("utf-16-le")

    @property
    def end(self) -> Frame | None:
        return json.loads(next(iter(self.ends))) if self.ends else None

    def place(self, frame: Frame) -> bool:
        """False if the frame begins beyond what is here. Raises ``ContradictionError``."""
        has, content = self.units[2 * frame["offset"] :], frame["content"].encode("utf-16-le")
        if frame["offset"] > self.length:
            return False
        if content[: len(has)] != has[: len(content)]:
            raise ContradictionError(self.id)
        self.units += content[len(has) :]
        return True

    def proved_by(self, complete: Frame) -> bool:
        """Whether length and hash are those of the text."""
        sha256 = hashlib.sha256(self.text.encode()).hexdigest()
        return bool(complete["length"] == self.length and complete["sha256"] == sha256)


class ContradictionError(Exception):
    """Other words than before at the same place of a reply."""


class Client:
    """One device. `content` is None if it only reads along; `cancel_at` is the length at which it has enough."""

    def __init__(
        self,
        url: str,
        key: str,
        conversation: str,
        message_id: str,
        content: str | None,
        random: Random,
    ) -> None:
        self.replies: dict[str, Assembly] = {}
        self.current: Assembly | None = None
        self.worst_resume_s = 0.0
        self.connects = 0
        self.contradictions = 0
        self.rivals = 0
        self.refusal: Frame | None = None
        self.ended_s: float | None = None
        self.cancel_at: int | None = None
        self.greeted = asyncio.Event()
        self._url, self._key = url, key
        self._conversation, self._id, self._content = conversation, message_id, content
        self._random = random
        self._resumed_s: float | None = None

    async def follow(self) -> None:
        """Until the message has its whole answer, however many sockets that takes."""
        while not self._done():
            self.connects += 1
            headers = {"Authorization": f"Bearer {self._key}"}
            try:
                async with connect(self._url, additional_headers=headers, max_size=None, ping_interval=None) as socket:
                    await self._converse(socket)
            except (OSError, WebSocketException):  # refused, cut or closed
                await asyncio.sleep(self._random.uniform(PAUSE_S / 2, PAUSE_S))

    def _done(self) -> bool:
        return self.ended_s is not None or self.refusal is not None

    async def _converse(self, socket: ClientConnection) -> None:
        self._resumed_s = None
        await self._say(socket, action="hello", conversation=self._conversation)
        while not self._done():
            try:
                frame = json.loads(await asyncio.wait_for(socket.recv(), QUIET_S))
            except TimeoutError:
                await self._ask(socket)
            else:
                await self._heed(socket, frame)

    async def _say(self, socket: ClientConnection, **frame: Any) -> None:
        await socket.send(json.dumps(frame))

    async def _ask(self, socket: ClientConnection) -> None:
        """For whatever is missing: the reply, or its beginning."""
        if self.current is not None and not self.current.ends:
            await self._resume(socket, self.current)
        elif self._content is not None:
            await self._say(socket, action="send", id=self._id, conversation=self._conversation, content=self._content)
        else:
            await self._say(socket, action="resume", conversation=self._conversation, offset=0)

    async def _resume(self, socket: ClientConnection, reply: Assembly) -> None:
        self._resumed_s = self._resumed_s or time.monotonic()
        await self._say(socket, action="resume", reply=reply.id, offset=reply.length)

    async def _heed(self, socket: ClientConnection, frame: Frame) -> None:
        match frame.get("type"):
            case "ready":
                self.greeted.set()
                await self._ask(socket)
            case "error":
                await self._error(socket, frame)
            case "typing" | "resumed" | "message" | "complete":
                if self._takes_up(frame):
                    await self._progress(socket, frame)
            case None:  # API Gateway's own words: it could not reach a function
                await self._try_again(socket)

    def _takes_up(self, frame: Frame) -> bool:
        """Whether the frame is of the newest reply, which it may introduce."""
        current = self.current
        if current is None or frame["epoch"] > current.epoch:
            self.current = self.replies.setdefault(frame["reply"], Assembly(frame["reply"], frame["epoch"]))
            return True
        if frame["epoch"] == current.epoch and frame["reply"] != current.id:
            self.rivals += 1
        return bool(frame["reply"] == current.id)

    async def _progress(self, socket: ClientConnection, frame: Frame) -> None:
        assert self.current is not None
        if self._resumed_s is not None and frame["type"] != "typing":
            self.worst_resume_s = max(self.worst_resume_s, time.monotonic() - self._resumed_s)
            self._resumed_s = None
        if frame["type"] == "message":
            await self._text(socket, self.current, frame)
        elif frame["type"] == "complete":
            await self._complete(socket, self.current, frame)

    async def _text(self, socket: ClientConnection, reply: Assembly, frame: Frame) -> None:
        try:
            if not reply.place(frame):
                await self._resume(socket, reply)
        except ContradictionError:
            self.contradictions += 1
        if self.cancel_at is not None and reply.length >= self.cancel_at:
            self.cancel_at = None
            await self._say(socket, action="cancel", reply=reply.id)

    async def _complete(self, socket: ClientConnection, reply: Assembly, frame: Frame) -> None:
        if reply.length < frame["length"]:
            await self._resume(socket, reply)
            return
        reply.ends.add(_told(frame))
        self.ended_s = time.monotonic()

    async def _error(self, socket: ClientConnection, frame: Frame) -> None:
        if frame.get("reply") is not None:
            if self._takes_up(frame):
                await self._broken_off(socket, self.replies[frame["reply"]], frame)
        elif frame["retryable"]:
            await self._try_again(socket)
        elif frame["code"] == "forbidden" and self._content is None:
            self.current = None  # a newer reply has taken its place, or there is none yet: silence lets us ask again
        elif frame["code"] == "forbidden" and self.current is not None:
            self.current.ends.add("replaced")
            await self._try_again(socket)
        else:
            self.refusal = frame

    async def _broken_off(self, socket: ClientConnection, reply: Assembly, frame: Frame) -> None:
        reply.ends.add(_told(frame))
        if not frame["retryable"]:
            self.refusal = frame
        elif self._content is not None:
            await self._try_again(socket)

    async def _try_again(self, socket: ClientConnection) -> None:
        await asyncio.sleep(PAUSE_S)
        await self._ask(socket)


def _told(frame: Frame) -> str:
    return json.dumps({name: value for name, value in frame.items() if name != "timestamp"}, sort_keys=True)
