"""Clients whose frames, calls and answers are kept, in the order in which each of them sends and sees them."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Self

import httpx
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from chatrelay.store.api_keys import ApiKeys
from chatrelay.store.table import Table
from tests.builders.contract import faults_of_answer, faults_of_frame
from tests.builders.deployments import Relay
from tests.builders.patience import PATIENCE_S
from tests.builders.phone import ENDS, Frame, Phone
from tests.system.normal_form import Entry

HEADERS = (
    "access-control-allow-credentials",
    "access-control-allow-headers",
    "access-control-allow-methods",
    "access-control-allow-origin",
    "access-control-expose-headers",
    "access-control-max-age",
    "cache-control",
    "content-disposition",
    "content-type",
    "location",
    "retry-after",
)
"""The headers of an answer that a client relies on."""


@dataclass
class RecordedPhone(Phone):
    """A phone that keeps what it says and hears. A bare text is heard as a frame of that type."""

    name: str = ""
    entries: list[Entry] = field(default_factory=list)
    speaks_version_1: bool = True

    async def say(self, frame: Frame | str | bytes) -> None:
        said = f"<{len(frame)} bytes>" if isinstance(frame, bytes) else frame
        self.entries.append({"phone": self.name, "says": said})
        await super().say(frame)

    async def hear(self) -> Frame:
        frame = await self._hear()
        self.entries.append({"phone": self.name, "hears": frame.get("bare", frame)})
        return frame

    async def _hear(self) -> Frame:
        async with asyncio.timeout(PATIENCE_S):
            text = str(await self.socket.recv())
        try:
            frame: Frame = json.loads(text)
        except ValueError:
            return {"type": text, "bare": text}
        assert not self.speaks_version_1 or faults_of_frame(frame) == [], frame
        return frame

    async def hear_end(self) -> Frame:
        """Hear until a reply ends; return its last frame."""
        return (await self.hear_until(lambda frame: frame["type"] in ENDS))[-1]

    async def hear_text(self, text: str) -> Frame:
        """Hear until the messages have said `text`; return the last of them."""
        said = ""
        while said != text:
            frame = await self.hear()
            said += frame["content"] if frame["type"] == "message" else ""
        return frame

    async def hear_closed(self) -> None:
        """Hear until the socket is closed."""
        with suppress(ConnectionClosed):
            while True:
                await self.hear()
        code, reason = self.socket.close_code, self.socket.close_reason
        self.entries.append({"phone": self.name, "closed": code, "reason": reason})

    async def hear_rest(self) -> None:
        """Hear what nobody has waited for: a frame too many is kept, and so it is seen."""
        await super().say({"action": "ping"})
        while (frame := await self._hear())["type"] != "pong":
            self.entries.append({"phone": self.name, "hears": frame})


class Recorder:
    """The clients of a user of the deployment, and of a stranger. Where no key is named, the user's is meant."""

    def __init__(self, relay: Relay, worker: dict[str, str], table: Table, scene: str) -> None:
        self.entries: list[Entry] = []
        self.relay = relay
        self.worker = worker
        self.table = table
        self.user, stranger = f"recorder-{scene}", f"stranger-{scene}"
        self.key, self.strangers_key = f"crk_{self.user}", f"crk_{stranger}"
        self._users = {self.key: self.user, self.strangers_key: stranger, "": "nobody"}
        self._http = httpx.AsyncClient(
            base_url=f"http://{relay.address}",
            timeout=PATIENCE_S,
            limits=httpx.Limits(keepalive_expiry=1),  # the server may close a connection that was idle for longer
        )
        for key in (self.key, self.strangers_key):
            ApiKeys(table).add(key, self._users[key])

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.aclose()

    # --- sockets ---

    @asynccontextmanager
    async def phone(
        self, name: str, path: str = "/v1", *, key: str | None = None, headers: Mapping[str, str] | None = None
    ) -> AsyncIterator[RecordedPhone]:
        """Connect with the user's key, or another one, or none if it is empty; or with just these `headers`."""
        bearer = {} if key == "" else {"Authorization": f"Bearer {self.key if key is None else key}"}
        connected = {"connects": path} | ({"as": self._whose(key)} if headers is None else {"headers": headers})
        url = f"ws://{self.relay.address}{path}"
        async with (
            connect(url, additional_headers=bearer if headers is None else headers, open_timeout=PATIENCE_S) as socket,
            self._kept(RecordedPhone(socket), name, connected) as phone,
        ):
            phone.speaks_version_1 = path.startswith("/v1")
            yield phone

    @asynccontextmanager
    async def browser(self, name: str, origin: str) -> AsyncIterator[RecordedPhone]:
        """Connect as a page does."""
        async with RecordedPhone.browser(self.relay.websocket, self.key, origin) as phone:
            connected = {"connects": "/v1", "origin": origin, "subprotocol": phone.socket.subprotocol}
            async with self._kept(phone, name, connected):
                yield phone

    @asynccontextmanager
    async def _kept(self, phone: RecordedPhone, name: str, connected: Entry) -> AsyncIterator[RecordedPhone]:
        """Keep what the phone does; at the end what nobody has waited for, too."""
        phone.name, phone.entries = name, self.entries
        self.entries.append({"phone": name, **connected})
        yield phone
        if phone.socket.close_code is None:
            await phone.hear_rest()

    async def knock(self, path: str = "/v1", **headers: str) -> None:
        """Try to connect, with just these headers, where that is refused."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        self.entries.append({"handshake": path, "headers": named})
        with pytest.raises(InvalidStatus) as refused:
            async with connect(f"ws://{self.relay.address}{path}", additional_headers=named, open_timeout=PATIENCE_S):
                pass
        self.entries.append({"answer": refused.value.response.status_code})

    # --- calls ---

    async def call(
        self, method: str, path: str, body: Any = None, *, key: str | None = None, **request: Any
    ) -> httpx.Response:
        """Ask the API with the user's key, or another one; an empty one is none. `body` is sent as JSON."""
        asked = {name: _shown(each) for name, each in request.items()} | ({} if body is None else {"body": body})
        self.entries.append({"calls": f"{method} {path}", "as": self._whose(key)} | asked)
        request["headers"] = self._credentials(key) | request.get("headers", {})
        answer = await self._http.request(method, path, json=body, **request)
        told = _body(answer)
        assert not isinstance(told, dict) or faults_of_answer(method, path, answer.status_code, told) == [], told
        headers = {name: answer.headers[name] for name in HEADERS if name in answer.headers}
        self.entries.append({"answer": answer.status_code, "headers": headers, "body": told})
        return answer

    async def idle(self, conversation: str) -> None:
        """Wait until no reply is being written: what comes next depends on that, and is not to depend on the time."""
        lease = f"CONVERSATION#{self.user}#{conversation}", "CONVERSATION#LEASE"
        async with asyncio.timeout(PATIENCE_S):
            while (self.table.get(*lease) or {}).get("reply") is not None:  # noqa: ASYNC110 -- no event tells of it
                await asyncio.sleep(0.1)

    async def heartbeat(self, reply: str) -> None:
        """Wait until the writer of `reply` has done with all that it was asked so far: it lets in who asks later."""
        async with Phone.connected(self.relay.websocket, self.key) as later:
            await later.say({"action": "resume", "reply": reply})
            await later.hear_until(lambda frame: frame["type"] == "resumed")

    async def pushes(self, token: str, count: int) -> None:
        """Keep the pushes to a phone once there are `count`, in the order of the replies: they may overtake."""
        replies = [entry["hears"]["reply"] for entry in self.entries if "reply" in entry.get("hears", {})]
        async with asyncio.timeout(PATIENCE_S):
            while len(found := await self._pushed(token, replies)) < count:  # noqa: ASYNC110 -- no event tells of it
                await asyncio.sleep(0.1)
        for payload in sorted(found, key=lambda push: replies.index(_reply(push))):
            self.entries.append({"pushed to": token, "payload": payload})

    async def _pushed(self, token: str, replies: Sequence[str]) -> list[dict[str, Any]]:
        """Return what was pushed to a phone of these replies: other tests may have a phone of the same token."""
        pushed = (await self._http.get("/pushes/")).json()
        return [each["payload"] for each in pushed if each["token"] == token and _reply(each["payload"]) in replies]

    def _credentials(self, key: str | None) -> dict[str, str]:
        return {} if key == "" else {"X-API-Key": self.key if key is None else key}

    def _whose(self, key: str | None) -> str:
        key = self.key if key is None else key
        return self._users.get(key, key)


def _shown(sent: Any) -> Any:
    """Return what is sent in a call, with sizes for bytes."""
    match sent:
        case bytes():
            return f"<{len(sent)} bytes>"
        case dict():
            return {name: _shown(each) for name, each in sent.items()}
        case tuple():
            return [_shown(each) for each in sent]
    return sent


def _reply(push: dict[str, Any]) -> str:
    """Return the reply that a push is about, at Apple's or at Google's."""
    return str(push["reply"] if "reply" in push else push["data"]["reply"])


def _body(answer: httpx.Response) -> Any:
    """Return the body: JSON or text where it is that."""
    try:
        return answer.json()
    except ValueError:
        return f"<{len(answer.content)} bytes>" if b"\0" in answer.content else answer.text
