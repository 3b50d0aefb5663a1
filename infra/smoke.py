"""Walks through a deployment and says what is wrong: ``python -m infra.smoke URL``, with a key in CHATRELAY_KEY.

It talks as a phone does, a few messages in a conversation of its own that it deletes; the model's service asks some
cents for them. One of them is answered for half a minute.
"""

import argparse
import asyncio
import hashlib
import json
import os
import sys
import time
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import httpx
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException

from chatrelay.domain.text import pasted

Frame = dict[str, Any]

KEY = "CHATRELAY_KEY"
PATIENCE_S = 15.0
HANDSHAKE_S = 30.0  # API Gateway itself gives a function 29 s
MODEL_FACTOR = 4  # a model that thinks is silent for longer than a function
HOLD_S = 32.0  # API Gateway gives up a function that it waits for after 29 s
ENDS = ("complete", "error")
OK_ONLY = "Answer with the word ok and nothing else. "
SHORT = "Answer in one sentence of ten to twenty words: what is a relay?"
LONG = "Count from 1 to 400 in digits, one number a line, and write nothing else."
HELD = "Count from 1 to 3000 in digits, one number a line, and write nothing else."
# What a template that makes JSON of a message may break.
BODIES = {
    "an apostrophe": "it's",
    "a backslash before an apostrophe": "it\\'s \\\\' \\",
    "an emoji": "👩‍👩‍👧‍👦 🇩🇪",
    "the line separator U+2028": "a\u2028b\u2029c",
    "quotes, a tab and a line end": '"quoted"\t</script>\r\n',
}

WHERE = "Give the output HttpUrl of the stack, or AppUrl where CloudFront is in front."
LOGS = "The exception is in the stack's log group: aws logs tail <the output LogGroup> --since 10m"
NEEDS_FUNCTION = "Deploy with MessageInvocation=function: this account needs the small function that hands messages on."
SILENT = f"A reply has begun and does not end: the model is silent. {LOGS}"


class Wrong(Exception):
    """The deployment does not work. The message tells the operator what does not, and what to do."""


@dataclass
class Socket:
    """One connection, and how long it waits for a frame."""

    connection: ClientConnection
    patience_s: float
    sizes_bytes: list[int] = field(default_factory=list)

    async def say(self, **frame: Any) -> None:
        with _open():
            await self.connection.send(json.dumps(frame, ensure_ascii=False))

    async def hear(self, patience_s: float | None = None) -> Frame | None:
        """Return the next frame; None if none comes in time. Raise ``Wrong`` if the connection is closed."""
        try:
            with _open():
                async with asyncio.timeout(patience_s or self.patience_s):
                    text = await self.connection.recv(decode=False)
        except TimeoutError:
            return None
        self.sizes_bytes.append(len(text))
        frame: Frame = json.loads(text)
        return frame


@dataclass(frozen=True)
class Reply:
    """What came of a reply. `log` is all of what a client shows, `first_s` the wait for it."""

    id: str
    log: str
    end: Frame
    first_s: float


class Walk:
    """The stations, in the order in which they build on each other. Each raises ``Wrong``."""

    def __init__(self, url: str, key: str, agent: str, patience_s: float, hold_s: float) -> None:
        self._http = httpx.AsyncClient(base_url=url, timeout=patience_s)
        self._key = {"X-API-Key": key}
        self._authorization = {"Authorization": f"Bearer {key}"}
        self._agent = agent
        self._patience_s = patience_s
        self._hold_s = hold_s
        self._limit_bytes = 0
        self._conversation = f"smoke-{uuid.uuid4().hex[:12]}"
        self._at = f"/api/conversations/{self._conversation}"

    async def all(self) -> bool:
        """Visit all stations. Return whether everything could be seen."""
        async with self._http:
            await self._health()
            websocket = await self._status()
            try:
                async with self._connected(websocket) as socket:
                    await self._greeting(socket)
                    reply = await self._reply(socket)
                async with self._connected(websocket) as socket:
                    await self._greeting(socket)
                    await self._resume(socket, reply)
                    await self._cancel(socket)
                    for number, (what, body) in enumerate(BODIES.items()):
                        await self._body(socket, f"body-{number}", what, OK_ONLY + body)
                    async with self._connected(websocket) as other:
                        await self._longest(socket, other)
                    was_held = await self._held(socket)
                    await self._pong(socket)
                    return was_held
            finally:
                with suppress(httpx.HTTPError):  # What the walk has found is what counts.
                    await self._http.delete(self._at, headers=self._key)

    def _say(self, what: str, mark: str = "ok") -> None:
        print(f"{mark}  {what}", flush=True)

    # --- the HTTP API ---

    async def _health(self) -> None:
        health = await self._asked("GET", "/api/health")
        if health.status_code >= httpx.codes.INTERNAL_SERVER_ERROR:
            raise Wrong(f"The function behind the HTTP API fails with status {health.status_code}. {LOGS}")
        if _object(health).get("status") != "ok":
            raise Wrong(f"What answers at {health.url} is not Chat Relay (status {health.status_code}). {WHERE}")
        self._say(f"health: version {_object(health)['version']}")

    async def _status(self) -> str:
        """Return where the WebSocket API is."""
        status = await self._asked("GET", "/api/status", headers=self._key)
        if status.status_code == httpx.codes.UNAUTHORIZED:
            make = "python -m infra.operator keys create <user>"
            raise Wrong(f"The key in {KEY} is none of this deployment's. Make one: {make}")
        websocket = _object(status).get("websocket")
        if not isinstance(websocket, str):
            raise Wrong(
                "The deployment does not say where its WebSocket is. Deploy this version of the template first."
            )
        self._say(f"key: taken; the WebSocket is {websocket}")
        return websocket

    async def _asked(self, method: str, path: str, **request: Any) -> httpx.Response:
        try:
            return await self._http.request(method, path, **request)
        except httpx.HTTPError as problem:
            reason = str(problem) or type(problem).__name__
            raise Wrong(f"Nothing answers at {self._http.base_url.join(path)}: {reason}. {WHERE}") from problem

    # --- the WebSocket API ---

    @asynccontextmanager
    async def _connected(self, url: str) -> AsyncIterator[Socket]:
        asked = f"{url}?agent={self._agent}"
        try:
            connection = await connect(
                asked,
                additional_headers=self._authorization,
                open_timeout=HANDSHAKE_S,
                ping_interval=None,
                max_size=None,
            )
        except InvalidStatus as refusal:
            status = refusal.response.status_code
            raise Wrong(
                f"The WebSocket API refuses a handshake with status {status}, and the HTTP API takes the same key. "
                f"AuthorizerFunction or ConnectFunction fails. {LOGS}"
            ) from refusal
        except (OSError, TimeoutError, WebSocketException) as problem:
            reason = str(problem) or type(problem).__name__
            raise Wrong(f"Nothing answers at {url}: {reason}. Is the stack deployed to its end?") from problem
        async with connection:
            yield Socket(connection, self._patience_s)

    async def _greeting(self, socket: Socket) -> None:
        await socket.say(action="hello", conversation=self._conversation)
        ready = await socket.hear()
        if ready is None:
            raise Wrong(
                "A handshake is taken and `hello` is never answered: the functions cannot post to the socket. "
                f"Look for PostToConnection, and for PostPolicy and MANAGEMENT_ENDPOINT. {LOGS}"
            )
        if ready.get("type") != "ready":
            raise Wrong(f"`hello` is answered by {_shown(ready)}: ControlFunction fails. {LOGS}")
        self._limit_bytes = int(ready["limits"]["frame_bytes"])
        self._say(f"handshake: ready as {ready['user']}")

    async def _pong(self, socket: Socket) -> None:
        await socket.say(action="ping")
        pong = await socket.hear()
        if pong is None or pong.get("type") != "pong" or not str(pong.get("timestamp")).isdecimal():
            raise Wrong(
                f"`ping` is answered by {_shown(pong)} and not by `pong` and its time: PingRoute does not answer by "
                "itself. Chat works without it, if clients take no missing pong for a dead socket. Deploy once more; "
                "if it stays, look at the error of route ping in the log with AccessLogs=all, and report it."
            )
        self._say("ping: answered by API Gateway")

    async def _reply(self, socket: Socket) -> Reply:
        """Return a reply that came over the socket. Where none comes, another way says which part does not work."""
        began_s = time.monotonic()
        await self._send(socket, "reply", SHORT)
        first = await self._hear(socket)
        if first is None:
            raise Wrong(await self._why_silent(socket, began_s))
        reply = await self._heard(socket, first)
        self._say(f"reply: {len(reply.log)} characters, the first after {reply.first_s:.1f} s, proved by their hash")
        return reply

    async def _why_silent(self, socket: Socket, began_s: float) -> str:
        """Return why nobody has answered."""
        # Over HTTP it is a function that calls `message`, and not API Gateway.
        message = {"id": "http", "content": SHORT, "agent": self._agent}
        posted = await self._asked("POST", f"{self._at}/messages", headers=self._key, json=message)
        answered: set[str] = set()
        if posted.status_code == httpx.codes.ACCEPTED:
            while "reply" not in answered and (frame := await self._hear(socket)) is not None:
                answered.add(frame.get("id", ""))
        if "reply" in answered:
            return (
                f"A message is answered, but only after {time.monotonic() - began_s:.0f} s. Look at the throttles of "
                "`message`, and at its Init Duration in the log; if this was its first start, try again."
            )
        if "http" in answered:
            return f"API Gateway takes messages, and none of them reaches `message`. {NEEDS_FUNCTION}"
        return (
            "Messages are taken and nobody answers: `message` is throttled or fails before it can say so. Look at its "
            f"throttles (a new account runs ten functions at once; ask AWS for 1,000) and errors. {LOGS}"
        )

    async def _resume(self, socket: Socket, reply: Reply) -> None:
        half = len(reply.log) // 2
        offset = _utf16_length(reply.log[:half])
        await socket.say(action="resume", reply=reply.id, offset=offset)
        rest = await self._log_until_end(socket, await self._hear(socket), since=offset)
        if rest is None or rest.log != reply.log[half:]:
            raise Wrong(f"A resume from offset {offset} does not bring the rest of the reply. {LOGS}")
        self._say(f"resume: the rest from offset {offset} on, over another socket")

    async def _cancel(self, socket: Socket) -> None:
        await self._send(socket, "cancel", LONG)
        frame = typing = await self._hear(socket)
        # Until its first text, so that what is cancelled is a reply that is being written.
        while frame is not None and frame["type"] not in ("message", *ENDS):
            frame = await self._hear_model(socket)
        if typing is None or frame is None or frame["type"] != "message":
            raise Wrong(f"A second message is answered by {_shown(frame)}. {LOGS}")
        began_s = time.monotonic()
        await socket.say(action="cancel", reply=typing["reply"])
        ended = await self._log_until_end(socket, frame)
        if ended is None or ended.end.get("stop_reason") != "cancelled":
            raise Wrong(f"A cancelled reply ends with {_shown(ended.end if ended else None)}. {LOGS}")
        self._say(f"cancel: heard after {time.monotonic() - began_s:.1f} s")

    async def _longest(self, socket: Socket, other: Socket) -> None:
        """Send a frame as long as frames may be, and see it come out: another device of the user's is told it."""
        await self._greeting(other)
        frame = {"action": "send", "id": "longest", "conversation": self._conversation, "agent": self._agent}
        room_bytes = self._limit_bytes - len(json.dumps({**frame, "content": OK_ONLY}))
        await self._body(socket, "longest", f"{self._limit_bytes} bytes", OK_ONLY + "x" * room_bytes)
        told: Frame | None = {}
        while told is not None and told.get("type") != "user":
            told = await other.hear()
        if told is None:
            raise Wrong(f"Another device is not told a message of {self._limit_bytes} bytes. {LOGS}")
        self._say(f"devices: another one is told it in a frame of {max(other.sizes_bytes)} bytes")

    async def _body(self, socket: Socket, message: str, what: str, content: str) -> None:
        """Send a message, and see that it is kept as it was sent."""
        await self._send(socket, message, content)
        first = await self._hear(socket, f"A message with {what}")
        if first is None:
            raise Wrong(f"A message with {what} is answered by silence. {NEEDS_FUNCTION}")
        await self._heard(socket, first)
        page = _object(await self._asked("GET", f"{self._at}/messages", headers=self._key))
        kept = {turn["id"]: turn["content"] for turn in page.get("turns", [])}.get(message)
        if kept != content:
            raise Wrong(f"A message with {what} is kept as {kept!r:.80}. {NEEDS_FUNCTION}")
        self._say(f"body: {what}")

    async def _held(self, socket: Socket) -> bool:
        """See a reply last longer than API Gateway waits for a function. Return False if it ended before."""
        began_s = time.monotonic()
        await self._send(socket, "held", HELD)
        frame = typing = await self._hear(socket)
        while frame is not None and frame["type"] not in ENDS and time.monotonic() - began_s < self._hold_s:
            frame = await self._hear_model(socket)
        lasted_s = time.monotonic() - began_s
        if typing is None or frame is None:
            raise Wrong(SILENT)
        if was_held := frame["type"] not in ENDS:
            await socket.say(action="cancel", reply=typing["reply"])
        while frame is not None and frame["type"] not in ENDS:
            frame = await self._hear_model(socket)
        _require_success(frame)
        if was_held:
            self._say(f"long: a reply is written for {lasted_s:.0f} s, and API Gateway waits for no end of it")
        else:
            self._say(f"long: the reply ended after {lasted_s:.0f} s; one over 29 s was not seen", "note")
        return was_held

    async def _hear(self, socket: Socket, what: str = "A message", patience_s: float | None = None) -> Frame | None:
        """Return the next frame of what is sent because of a message; None if none comes in time."""
        frame = await socket.hear(patience_s)
        # API Gateway's own frames have no type.
        if frame is not None and "type" not in frame:
            raise Wrong(f"{what} is answered by API Gateway itself: {_shown(frame)}. {NEEDS_FUNCTION}")
        return frame

    async def _hear_model(self, socket: Socket) -> Frame | None:
        return await self._hear(socket, patience_s=MODEL_FACTOR * self._patience_s)

    async def _send(self, socket: Socket, message: str, content: str) -> None:
        await socket.say(action="send", id=message, conversation=self._conversation, content=content, agent=self._agent)

    async def _heard(self, socket: Socket, first: Frame) -> Reply:
        """Return a reply that comes to its end and proves itself."""
        reply = await self._log_until_end(socket, first)
        if reply is None:
            raise Wrong(SILENT)
        _require_success(reply.end)
        if reply.end["sha256"] != hashlib.sha256(reply.log.encode()).hexdigest():
            raise Wrong("Frames of a reply are lost on the way: they are not what its hash says. " + LOGS)
        return reply

    async def _log_until_end(self, socket: Socket, frame: Frame | None, since: int = 0) -> Reply | None:
        """Return what comes from offset `since` on until the reply's end; None if it does not end."""
        began_s = first_s = time.monotonic()
        log = reply = ""
        while frame is not None:
            reply = frame.get("reply") or reply
            if frame["type"] in ENDS:
                return Reply(reply, log, frame, first_s - began_s)
            if "part" in frame:
                first_s = first_s if log else time.monotonic()
                if frame["offset"] != since + _utf16_length(log):
                    raise Wrong(f"Frames of a reply are lost on the way, before offset {frame['offset']}. {LOGS}")
                log += frame["content"]
            frame = await self._hear_model(socket)
        return None


@contextmanager
def _open() -> Iterator[None]:
    """Guard what needs a connection. Raise ``Wrong`` if it is closed."""
    try:
        yield
    except ConnectionClosed as closed:
        code = closed.rcvd.code if closed.rcvd else 1006  # lost without a close frame. Source: RFC 6455, 7.4.1
        raise Wrong(f"The WebSocket was closed with code {code}. {LOGS}") from closed


def _require_success(end: Frame | None) -> None:
    """Raise ``Wrong`` for the end of a reply that failed."""
    if end is None:
        raise Wrong(SILENT)
    if end["type"] == "error":
        raise Wrong(
            f"The reply fails with {end['code']}: {end['content']} The service's own words and its request id: "
            "aws logs tail <the output LogGroup> --since 10m --filter-pattern '\"reply failed\"'"
        )


def _object(answer: httpx.Response) -> dict[str, Any]:
    """Return an answer's JSON object; an empty one if it has none."""
    try:
        told = answer.json()
    except ValueError:
        return {}
    return told if isinstance(told, dict) else {}


def _shown(frame: Frame | None) -> str:
    return "silence" if frame is None else json.dumps(frame)[:200]


def _utf16_length(text: str) -> int:
    return len(text.encode("utf-16-le")) // 2  # offsets count UTF-16's units, as JavaScript and Java do


def main(arguments: list[str] | None = None) -> int:
    """Walk through a deployment. Return the exit status: 0 if everything works, else 1."""
    parser = argparse.ArgumentParser(prog="python -m infra.smoke", description=__doc__)
    parser.add_argument("url", help="the stack's output HttpUrl, or AppUrl")
    parser.add_argument("--agent", default="claude", choices=["claude", "codex"], help="(default: %(default)s)")
    parser.add_argument(
        "--patience-s", type=float, default=PATIENCE_S, help="how long to wait for a frame (default: %(default)g)"
    )
    parser.add_argument(
        "--hold-s", type=float, default=HOLD_S, help="how long one reply is to last (default: %(default)g)"
    )
    options = parser.parse_args(arguments)
    key = pasted(os.environ.get(KEY, ""))
    if not key:
        print(f"infra.smoke: there is no key in {KEY}: {KEY}=crk_… make smoke URL=…", file=sys.stderr)
        return 1
    try:
        walk = Walk(options.url, key, options.agent, options.patience_s, options.hold_s)
        all_seen = asyncio.run(walk.all())
    except httpx.InvalidURL as problem:
        print(f"NOT OK  {options.url} is no address: {problem}. {WHERE}")
        return 1
    except Wrong as wrong:
        print(f"NOT OK  {wrong}")
        return 1
    print("Everything works. MessageInvocation can stay as it is." if all_seen else "Everything else works.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
