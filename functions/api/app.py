"""The HTTP API: health and status for the app and its monitors; conversations; long messages; files; devices."""

import base64
import re
import time
from datetime import UTC, datetime
from http import HTTPStatus
from math import ceil
from typing import Any

from aws_lambda_powertools import Logger
from aws_lambda_powertools.event_handler import APIGatewayHttpResolver, Response
from aws_lambda_powertools.event_handler.content_types import APPLICATION_JSON

import chatrelay
from chatrelay.domain.attachments import PATH
from chatrelay.domain.errors import (
    ClientFacingError,
    Forbidden,
    Internal,
    InvalidMessage,
    NoSuchAddress,
    QuotaExceeded,
    RateLimited,
    TooLarge,
    Unauthorized,
    Unavailable,
)
from chatrelay.domain.identity import Identity
from chatrelay.domain.keys import ConversationKey
from chatrelay.domain.log import Log
from chatrelay.store.accounts import Account
from chatrelay.store.archive import Exchange
from chatrelay.wire import fields, inbound, outbound, registration, uploads
from chatrelay.wire.dialects import BUILDEROS
from chatrelay.wire.identity import credential, lower_case
from chatrelay.wire.limits import AGENTS
from chatrelay.wire.usage import parse_month, usage
from chatrelay.wiring import Wiring

logger = Logger()
wiring = Wiring()
app = APIGatewayHttpResolver()

CONVERSATION = re.escape("/api/conversations/{path+}")
"""A route of template.yaml, as a pattern of Powertools'."""
USED = ("model", "usage", "cost")
"""What the ``complete`` frame of a reply says of what the reply has used."""
STATUS = {  # the first that fits: `NoSuchAddress` is an `InvalidMessage`
    NoSuchAddress: HTTPStatus.NOT_FOUND,
    InvalidMessage: HTTPStatus.BAD_REQUEST,
    Unauthorized: HTTPStatus.UNAUTHORIZED,
    Forbidden: HTTPStatus.FORBIDDEN,
    TooLarge: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    RateLimited: HTTPStatus.TOO_MANY_REQUESTS,
    QuotaExceeded: HTTPStatus.TOO_MANY_REQUESTS,
}


@logger.inject_lambda_context
def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Answer one request (payload format 2.0)."""
    # API Gateway has found the route already, by names of any characters: Powertools' own patterns know fewer.
    return app.resolve({**event, "rawPath": event["routeKey"].partition(" ")[2]}, context)


@app.get("/api/health")
def health() -> dict[str, Any]:
    """Return the relay's health: for monitors, without credentials."""
    connections = {agent: wiring.store.connections.count(agent) for agent in AGENTS}
    return {"status": "ok", "version": chatrelay.__version__, "timestamp": _now(), "connections": connections}


@app.get("/api/status")
def status() -> dict[str, Any]:
    """Return where the WebSocket is, for the app's settings screen. Raise ``Unauthorized`` for a wrong key only."""
    key = _credential()
    if key is not None:
        wiring.admission.admit(key)
    told = {"version": chatrelay.__version__, "health": "ok", "websocket": wiring.websocket_url, "timestamp": _now()}
    return {"status": "running", **told}


@app.get("/api/conversations")
def conversations() -> dict[str, Any]:
    """Return the user's conversations, latest first, and the cursor of the next page."""
    page = wiring.store.archive.conversations(_user(), _cursor())
    found = [
        {"id": kept.conversation, "title": kept.title, "updated_at": _time(kept.updated_at_ms)} for kept in page.items
    ]
    return {"conversations": found, "next": page.next}


@app.get(CONVERSATION)
def messages() -> dict[str, Any]:
    """Return the latest turns in their order, the cursor of those before, and the reply that is being written."""
    key = _place(_named("path", "/messages"))
    # First, because this recovers a dead writer, whose reply the page then has as it has ended.
    active = wiring.resume.active(key)
    replaced = fields.given(app.current_event.query_string_parameters, "replaced") == "true"
    page = wiring.store.archive.exchanges(key, _cursor(), replaced=replaced)
    turns = [_turn(each) for each in page.items]
    return {"conversation": key.conversation, "active": active, "turns": turns, "next": page.next}


@app.delete(CONVERSATION)
def delete() -> dict[str, Any]:
    """Forget the conversation. A reply that is being written in the conversation ends unheard."""
    key = _place(_named("path"))
    wiring.store.archive.delete(key)
    return {"ok": True, "conversation": key.conversation}


@app.delete(re.escape("/api/claude/session/{path+}"))
@app.delete(re.escape("/api/codex/session/{path+}"))
def close() -> dict[str, Any]:
    """Unsubscribe the app, which shows the conversation no more. Nothing is forgotten."""
    key = _place(_named("path", "/close"))
    wiring.store.connections.unsubscribe(key, BUILDEROS)
    return {"ok": True, "session_id": key.conversation, "message": "Session closed"}


@app.post(CONVERSATION)
def message() -> tuple[dict[str, Any], int]:
    """Return 202: the message is kept, and its reply streams over the user's sockets that show the conversation."""
    user = _user()
    event = app.current_event
    named = _named("path", "/messages")
    send = inbound.parse_posted(_text(), conversation=named, agent=AGENTS[0])
    reply = wiring.acceptance.enqueue(user, send, event.request_context.time_epoch)
    return {"id": send.id, "conversation": send.conversation, "reply": reply}, HTTPStatus.ACCEPTED


@app.post("/api/notifications/register")
def register() -> dict[str, Any]:
    """Send the device a push for every reply of its user from now on."""
    identity, account = _admitted()
    wiring.store.devices.register(identity, registration.parse(fields.json_object(_text())), account.limits.devices)
    return {"success": True, "message": "Device registered"}


@app.delete(re.escape("/api/notifications/{path+}"))
def unregister() -> dict[str, Any]:
    """Send the device no pushes any more. Idempotent."""
    wiring.store.devices.delete(_user(), registration.device_id(_named("path")))
    return {"success": True, "message": "Device removed"}


@app.post("/api/files/upload")
def upload() -> dict[str, Any]:
    """Keep a file as the app posts it (multipart ``file``; ``type`` is ignored), up to what a function can take."""
    identity, account = _admitted()
    event = app.current_event
    posted = uploads.parse_upload(_body(), event.headers.get("content-type", ""))
    wiring.store.usages.add_file(identity.user, len(posted.content), account.limits)
    file = wiring.files.keep(identity.user, posted.filename, posted.mime_type, posted.content)
    return {"url": _url(file), "filename": posted.filename, "size": len(posted.content)}


@app.post("/api/files")
def form() -> dict[str, Any]:
    """Return the form with which a larger file is posted to S3 itself, and the url to quote in a message."""
    identity, account = _admitted()
    asked = uploads.parse_asked(fields.json_object(_text()))
    wiring.store.usages.add_file(identity.user, asked.size, account.limits)
    given = wiring.files.form(identity.user, asked.filename, asked.mime_type, asked.size)
    return {"url": _url(given.id), "filename": asked.filename, "upload": {"url": given.url, "fields": given.fields}}


@app.get(re.escape("/api/files/{file}"))
def download() -> Response[str]:
    """Return 302 to where the user's own file can be had for a minute."""
    address = wiring.files.address(_user(), _named("file"))
    return Response(HTTPStatus.FOUND, headers={"location": address, "cache-control": "no-store"})


@app.get("/api/usage")
def used() -> dict[str, Any]:
    """Return what the user has used this month, or the month that is asked for, and what is left of it."""
    identity, account = _admitted()
    now_s = time.time()
    month = parse_month(app.current_event.query_string_parameters or {}, now_s)
    return usage(wiring.store.usages.month(identity.user, month), account.limits, now_s)


@app.delete("/api/session")
def sign_out() -> dict[str, Any]:
    """Take the credential no more by which this request comes, nor any token of the same sign-in. Idempotent."""
    identity = wiring.admission.identify(_credential() or "")
    closed = wiring.revocation.end_session(identity)
    return {"ok": True, "closed": closed}


@app.exception_handler(ClientFacingError)  # type: ignore[untyped-decorator]  # Powertools leaves it untyped
def told(problem: ClientFacingError) -> Response[dict[str, str]]:
    """Return the body that the app expects."""
    status = next(status for kind, status in STATUS.items() if isinstance(problem, kind))
    body = {"error": str(problem), "code": problem.code}
    wait_s = problem.retry_after_s
    headers = {} if wait_s is None else {"retry-after": str(ceil(wait_s))}
    return Response(status, APPLICATION_JSON, body, headers=headers)


@app.exception_handler(Unavailable)  # type: ignore[untyped-decorator]  # Powertools leaves it untyped
def unavailable(problem: Unavailable) -> Response[dict[str, str]]:
    """Return 503. Whatever was kept is kept: the same request again finds it."""
    logger.error("a service could not be asked", exc_info=problem)
    wiring.telemetry.internal_error()
    body = {"error": "The relay is busy. Try again.", "code": Internal.code}
    return Response(HTTPStatus.SERVICE_UNAVAILABLE, APPLICATION_JSON, body, headers={"retry-after": "1"})


def _credential() -> str | None:
    return credential(lower_case(app.current_event.headers))


def _user() -> str:
    identity, _ = _admitted()
    return identity.user


def _admitted() -> tuple[Identity, Account]:
    # Not in an authorizer: the app shows the body of a 401, and an HTTP API's authorizer cannot give one.
    return wiring.admission.admit(_credential() or "")


def _body() -> bytes:
    event = app.current_event
    body = event.body or ""
    return base64.b64decode(body) if event.is_base64_encoded else body.encode()


def _text() -> str:
    """Return the body, where it is a text. Raise ``InvalidMessage``."""
    try:
        return _body().decode()
    except UnicodeDecodeError:
        raise InvalidMessage("body", "must be UTF-8") from None


def _url(file: str) -> str:
    """Return the file's url on the host that was asked. The host means nothing when the url comes back."""
    headers = lower_case(app.current_event.headers)
    host = headers.get("x-forwarded-host", headers["host"])  # as infra/edge.yaml has it
    return f"{headers.get('x-forwarded-proto', 'https')}://{host}{PATH}{file}"


def _named(parameter: str, ending: str = "") -> str:
    """Return the name in the path. Raise ``NoSuchAddress`` if the path does not end in `ending` behind the name."""
    # API Gateway has decoded the path once, so a name may have a slash in it.
    path = app.current_event.path_parameters[parameter]
    if not path.endswith(ending) or path == ending.removeprefix("/"):
        raise NoSuchAddress
    return path.removesuffix(ending)


def _place(conversation: str) -> ConversationKey:
    return ConversationKey(_user(), inbound.parse_conversation(conversation))


def _cursor() -> str | None:
    cursor: str | None = fields.given(app.current_event.query_string_parameters, "cursor")
    return cursor


def _turn(kept: Exchange) -> dict[str, Any]:
    ended_at = None if kept.ended_at_ms is None else _time(kept.ended_at_ms)
    log = Log() if ended_at is None else kept.reply.log  # before, what is stored is an earlier try's
    last = kept.reply.last
    error = None if last is None or last.type != "error" else {"content": last.content, **last.fields}
    used = {} if last is None else {name: last.fields[name] for name in USED if name in last.fields}
    return {
        "id": kept.message_id,
        "content": kept.content,
        "attachments": [outbound.described(attachment) for attachment in kept.attachments],
        "agent": kept.agent,
        "received_at": _time(kept.received_at_ms),
        "reply": {
            "id": kept.reply.stream.reply,
            "status": kept.status,
            "text": log.text,
            "parts": [{"type": part.kind, "content": part.content, **part.facts} for part in log.parts],
            "ended_at": ended_at,
            **used,
            **({} if error is None else {"error": error}),
        },
        **({"replaced": True} if kept.is_replaced else {}),
    }


def _time(since_1970_ms: int) -> str:
    return datetime.fromtimestamp(since_1970_ms / 1000, UTC).isoformat()


def _now() -> str:
    return datetime.now(UTC).isoformat()
