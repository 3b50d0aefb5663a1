"""What stands in for the push services of Apple and Google: takes every push, and shows what would have gone out.

`POST /3/device/{token}` is Apple's, `POST /v1/projects/{project}/messages:send` and `/token` are Google's; `GET /` has
all pushes so far, each with its platform, token and payload, for this machine only. `GET /events?token=` tells whoever
knows a token of those to it from now on, as server-sent events.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from emulator.serving.loopback import is_of_this_machine


class PushServices:
    """The push services as an ASGI application."""

    def __init__(self) -> None:
        self.pushes: list[dict[str, Any]] = []
        self._ended = False
        self._news = asyncio.Condition()
        self._app = Starlette(
            routes=[
                Route("/", self._show),
                Route("/events", self._tell),
                Route("/3/device/{token}", self._apple, methods=["POST"]),
                Route("/token", self._let_in, methods=["POST"]),
                Route("/v1/projects/{project}/messages:send", self._google, methods=["POST"]),
            ]
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._app(scope, receive, send)

    async def end(self) -> None:
        """End the streams of events, which would never end by themselves."""
        async with self._news:
            self._ended = True
            self._news.notify_all()

    async def _show(self, request: Request) -> Response:
        return JSONResponse(self.pushes) if is_of_this_machine(request) else Response(status_code=403)

    async def _tell(self, request: Request) -> Response:
        # A browser that connects again says which event was its last. Source: HTML, "Server-sent events".
        sent, token = request.headers.get("last-event-id", f"{len(self.pushes)}"), request.query_params.get("token")
        if token is None or not (sent.isascii() and sent.isdecimal()):
            return Response(status_code=400)
        events = self._events(token, int(sent))
        return StreamingResponse(events, media_type="text/event-stream", headers={"cache-control": "no-store"})

    async def _events(self, token: str, sent: int) -> AsyncIterator[str]:
        """Yield the pushes to `token` but for the first `sent` of all. An event's id is how many there were with it."""
        # An id without data is no event, and is remembered: whoever is cut off before the first push misses none.
        yield f"id: {sent}\n\n"
        while not self._ended:
            for push in self.pushes[sent:]:
                sent += 1
                if push["token"] == token:
                    yield f"id: {sent}\ndata: {json.dumps(push)}\n\n"
            async with self._news:
                await self._news.wait_for(lambda: self._ended or len(self.pushes) > sent)  # noqa: B023

    async def _apple(self, request: Request) -> Response:
        payload = await _json(request)
        if not isinstance(payload, dict):
            return Response(status_code=400)
        await self._take("ios", request.path_params["token"], payload)
        return Response()

    async def _google(self, request: Request) -> Response:
        match await _json(request):
            case {"message": {"token": str(token), **message}}:
                await self._take("android", token, {f"{name}": value for name, value in message.items()})
                return JSONResponse({"name": f"projects/local/messages/{len(self.pushes)}"})
            case _:
                return Response(status_code=400)

    async def _let_in(self, _: Request) -> Response:
        return JSONResponse({"access_token": "local", "expires_in": 3600})

    async def _take(self, platform: str, token: str, payload: dict[str, Any]) -> None:
        async with self._news:
            self.pushes.append({"platform": platform, "token": token, "payload": payload})
            self._news.notify_all()


async def _json(request: Request) -> Any:
    """Return what is posted; None if it is no JSON."""
    try:
        return await request.json()
    except (ValueError, RecursionError):
        return None


def apple_key() -> str:
    """Return a key as Apple gives one out."""
    return _pem(ec.generate_private_key(ec.SECP256R1()))


def google_account(token_url: str) -> str:
    """Return a service account as Google gives one out."""
    key = _pem(rsa.generate_private_key(65537, 2048))
    who = {"project_id": "local", "client_email": "local", "private_key_id": "local"}
    return json.dumps({**who, "private_key": key, "token_uri": token_url})


def _pem(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> str:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
