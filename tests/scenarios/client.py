"""A client as a careful author would write it, that counts what it should never see.

It connects again after every close, takes up its replies by offset, trims what it has, drops what an older writer of a
reply sends, and sends each of its messages with the same id until that has been accepted. A device without messages of
its own reads along: it wants the answer to every message of the conversation.
"""

import asyncio
import hashlib
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from random import Random
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import WebSocketException

from tests.builders.contract import faults_of_frame

Frame = dict[str, Any]
QUIET_S = 2.0
"""After so long a silence the client asks again: its question or the answer may be lost. Too early does no harm."""
PAUSE_S = 0.1
"""Before another try of what was refused."""
REPLACED = '{"type": "replaced"}'
"""The end of a reply, to a client that hears of it no more."""


@dataclass
class Assembly:
    """One reply as this client has it. `ends` are all the different ends that were told; `message` what it answers."""

    id: str
    epoch: int = 0
    message: str | None = None
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
    def proof(self) -> Frame | None:
        """The `complete` frame, if there was one. Whoever thought that the reply was replaced may have heard more."""
        ends = map(json.loads, self.ends)
        return next((end for end in ends if end["type"] == "complete"), None)

    @property
    def is_whole(self) -> bool:
        return self.proof is not None

    def is_current(self, frame: Frame) -> bool:
        """Whether a frame comes from the reply's present writer, which it may itself introduce."""
        if frame["epoch"] < self.epoch:
            return False
        self.epoch = frame["epoch"]
        return True

    def key(self, frame: Frame) -> bool:
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


class Device:
    """What all devices of a user do alike: they connect and connect again, and put replies together.

    `wanted` are the ids of the messages whose answers the device must have, `only` the one that the conversation has if
    it has no other, and `index` what each reply answers, as far as a history would tell.
    """

    def __init__(
        self,
        url: str,
        key: str,
        conversation: str,
        wanted: frozenset[str],
        only: str | None,
        index: dict[str, str],
        random: Random,
    ) -> None:
        self.replies: dict[str, Assembly] = {}
        self.current: dict[str, Assembly] = {}
        """The reply to each message, the newest one that is known."""
        self.said: dict[str, set[str]] = {}
        """The messages of others, by id, in every wording that was told."""
        self.typed_s: dict[str, float] = {}
        """When each message was first known to be accepted, by id."""
        self.waited: set[str] = set()
        """The messages that were accepted before it was their turn."""
        self.resumes_s: list[float] = []
        self.connects = 0
        self.contradictions = 0
        self.apologies = 0
        """Errors that were nobody's but the relay's."""
        self.breaches: list[str] = []
        """What was not as the published contract says."""
        self.rivals = 0
        self.refusal: Frame | None = None
        self.ended_s: float | None = None
        self.quiet_s = QUIET_S
        self.wanted = wanted
        self.greeted = asyncio.Event()
        self.begun = asyncio.Event()
        """Some text is there."""
        self._url, self._key = url, key
        self._conversation = conversation
        self._only = only
        self._index = index
        self._random = random
        self._epochs: dict[int, str] = {}
        self._resumed_s: dict[str, float] = {}

    async def follow(self) -> None:
        """Until every message has its whole answer, however many sockets that takes."""
        while not self._done():
            self.connects += 1
            headers = {"Authorization": f"Bearer {self._key}"}
            try:
                async with connect(self._url, additional_headers=headers, max_size=None, ping_interval=None) as socket:
                    await self._converse(socket)
            except (OSError, WebSocketException):  # refused, cut or closed
                await asyncio.sleep(self._random.uniform(PAUSE_S / 2, PAUSE_S))
        self.ended_s = time.monotonic()

    def _done(self) -> bool:
        whole = {message for message, reply in self.current.items() if reply.is_whole}
        return self.refusal is not None or self.wanted <= whole

    async def _converse(self, socket: ClientConnection) -> None:
        self._resumed_s.clear()
        await self._say(socket, action="hello", conversation=self._conversation)
        while not self._done():
            try:
                async with asyncio.timeout(self.quiet_s):
                    frame = json.loads(await socket.recv())
            except TimeoutError:
                await self._ask(socket)
            else:
                self.breaches += faults_of_frame(frame)
                await self._heed(socket, frame)

    async def _say(self, socket: ClientConnection, **frame: Any) -> None:
        await socket.send(json.dumps(frame))

    async def _ask(self, socket: ClientConnection) -> None:
        """For whatever is missing."""
        for reply in self.current.values():
            if not reply.ends:
                await self._resume(socket, reply)

    async def _resume(self, socket: ClientConnection, reply: Assembly) -> None:
        self._resumed_s.setdefault(reply.id, time.monotonic())
        await self._say(socket, action="resume", reply=reply.id, offset=reply.length)

    async def _heed(self, socket: ClientConnection, frame: Frame) -> None:
        match frame.get("type"):
            case "ready":
                self.greeted.set()
                await self._ask(socket)
            case "error" if "length" not in frame:
                await self._refused(socket, frame)
            case None:  # API Gateway's own words: it could not reach a function
                await self._try_again(socket)
            case _ if "reply" in frame:
                reply = self._reply_of(frame)
                if reply is not None:
                    await self._progress(socket, reply, frame)

    def _reply_of(self, frame: Frame) -> Assembly | None:
        """The reply that a frame belongs to, and may introduce; None if an older writer of it sent the frame."""
        reply = self.replies.setdefault(frame["reply"], Assembly(frame["reply"]))
        if not reply.is_current(frame):
            return None
        if frame["epoch"] and self._epochs.setdefault(frame["epoch"], reply.id) != reply.id:
            self.rivals += 1
        reply.message = reply.message or self._answered_by(frame)
        if reply.message is not None:
            self._take_up(reply, reply.message)
        return reply

    def _answered_by(self, frame: Frame) -> str | None:
        """The message that a reply answers, if the frame says so or there is only one."""
        return frame.get("id", self._only)

    def _take_up(self, reply: Assembly, message: str) -> None:
        self._index[reply.id] = message
        self.typed_s.setdefault(message, time.monotonic())
        current = self.current.setdefault(message, reply)
        is_new = reply is not current and not reply.ends and not current.is_whole
        if is_new and (current.ends or reply.epoch == 0 or reply.epoch > current.epoch):
            self.current[message] = reply

    async def _progress(self, socket: ClientConnection, reply: Assembly, frame: Frame) -> None:
        self._time(reply, frame)
        match frame["type"]:
            case "typing" if reply.epoch == 0:
                await self._waits(socket, reply)
            case "user":
                self.said.setdefault(frame["id"], set()).add(frame["content"])
            case _ if "part" in frame:
                await self._piece(socket, reply, frame)
            case "complete":
                await self._complete(socket, reply, frame)
            case "error":
                reply.ends.add(_told(frame))
                await self._broken_off(socket, frame)

    def _time(self, reply: Assembly, frame: Frame) -> None:
        """How long a resume took. A reply whose turn has not come answers it with `typing`, and has nothing yet."""
        if reply.id not in self._resumed_s or frame["type"] == "user" or (frame["type"] == "typing" and reply.epoch):
            return
        took_s = time.monotonic() - self._resumed_s.pop(reply.id)
        if frame["type"] != "typing":
            self.resumes_s.append(took_s)

    async def _piece(self, socket: ClientConnection, reply: Assembly, frame: Frame) -> None:
        try:
            if not reply.key(frame):
                await self._resume(socket, reply)
        except ContradictionError:
            self.contradictions += 1
        if reply.length:
            self.begun.set()

    async def _complete(self, socket: ClientConnection, reply: Assembly, frame: Frame) -> None:
        if reply.length < frame["length"]:
            await self._resume(socket, reply)
        else:
            reply.ends.add(_told(frame))

    async def _waits(self, _: ClientConnection, reply: Assembly) -> None:
        """Another reply has to end first."""
        if reply.message is not None:
            self.waited.add(reply.message)

    async def _broken_off(self, socket: ClientConnection, frame: Frame) -> None:
        """A reply has ended, and not well."""

    async def _refused(self, socket: ClientConnection, frame: Frame) -> None:
        self.apologies += frame["code"] == "internal"
        if frame["retryable"]:
            await self._try_again(socket)
        elif frame["code"] == "forbidden":
            await self._replaced(socket)
        else:
            self.refusal = frame

    async def _replaced(self, _: ClientConnection) -> None:
        """A reply that was asked for is not there, or a newer one has taken its place: nobody says which."""
        for reply in self.current.values():
            if not reply.ends:
                reply.ends.add(REPLACED)

    async def _try_again(self, socket: ClientConnection) -> None:
        await asyncio.sleep(PAUSE_S)
        await self._ask(socket)


class Sender(Device):
    """A device with messages of its own, by id.

    `instead` are the frames that replace something, by the id of the message that they bring or have answered anew:
    they are said until that is accepted. `cancel_at` is the length of a reply at which its user has enough,
    `takes_back` how many messages the user takes back because they have to wait.
    """

    def __init__(self, messages: Mapping[str, str], *device: Any, instead: Mapping[str, Frame] | None = None) -> None:
        super().__init__(*device)
        self.cancel_at: int | None = None
        self.takes_back = 0
        self.cancelled_s: dict[str, float] = {}
        """When the model was to be stopped, by reply."""
        self._messages = messages
        self._instead = instead or {}

    async def _ask(self, socket: ClientConnection) -> None:
        await super()._ask(socket)
        for message, content in self._messages.items():
            reply = self.current.get(message)
            if reply is None and message in self._instead:
                await self._say(socket, **self._instead[message])
            elif reply is None or (reply.ends and not reply.is_whole):
                await self._say(socket, action="send", id=message, conversation=self._conversation, content=content)

    async def _piece(self, socket: ClientConnection, reply: Assembly, frame: Frame) -> None:
        await super()._piece(socket, reply, frame)
        if self.cancel_at is not None and reply.length >= self.cancel_at:
            self.cancel_at = None
            await self._cancel(socket, reply)

    async def _waits(self, socket: ClientConnection, reply: Assembly) -> None:
        await super()._waits(socket, reply)
        if self.takes_back > len(self.cancelled_s) and not reply.ends:
            await self._cancel(socket, reply)

    async def _cancel(self, socket: ClientConnection, reply: Assembly) -> None:
        self.cancelled_s[reply.id] = time.monotonic()
        await self._say(socket, action="cancel", reply=reply.id)

    async def _broken_off(self, socket: ClientConnection, frame: Frame) -> None:
        if frame["retryable"]:
            await self._try_again(socket)
        else:
            self.refusal = frame

    async def _replaced(self, socket: ClientConnection) -> None:
        await super()._replaced(socket)
        await self._try_again(socket)


class Reader(Device):
    """A device that only reads along."""

    async def _ask(self, socket: ClientConnection) -> None:
        """What it has never heard of, the history tells; what is newest, nobody has to."""
        await super()._ask(socket)
        newest = {message: reply for reply, message in self._index.items()}
        for reply in set(newest.values()) - set(self.replies):
            await self._say(socket, action="resume", reply=reply, offset=0)
        if all(reply.ends for reply in self.current.values()):
            await self._say(socket, action="resume", conversation=self._conversation, offset=0)

    def _answered_by(self, frame: Frame) -> str | None:
        return super()._answered_by(frame) or self._index.get(frame["reply"])


def _told(frame: Frame) -> str:
    return json.dumps({name: value for name, value in frame.items() if name != "timestamp"}, sort_keys=True)
