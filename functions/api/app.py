"""The HTTP API: health and status as the existing app and its monitors ask for them; files; long messages."""

import base64
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any
from urllib.parse import unquote

from aws_lambda_powertools import Logger
from aws_lambda_powertools.event_handler import APIGatewayHttpResolver, Response
from aws_lambda_powertools.event_handler.content_types import APPLICATION_JSON

import chatrelay
from chatrelay import protocol, uploads
from chatrelay.attachments import PATH
from chatrelay.errors import Forbidden, InvalidMessage, Told, TooLarge, Unauthorized
from chatrelay.identity import credential, lower_case
from chatrelay.protocol import AGENTS
from chatrelay.push import registration
from chatrelay.wiring import Wiring

logger = Logger()
wiring = Wiring()
app = APIGatewayHttpResolver()

STATUS = {
    InvalidMessage: HTTPStatus.BAD_REQUEST,
    Unauthorized: HTTPStatus.UNAUTHORIZED,
    Forbidden: HTTPStatus.FORBIDDEN,
    TooLarge: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
}


@logger.inject_lambda_context
def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Answers one request (payload format 2.0)."""
    return app.resolve(event, context)


@app.get("/api/health")
def health() -> dict[str, Any]:
    """For monitors: needs no credentials."""
    connections = {agent: wiring.connections.how_many(agent) for agent in AGENTS}
    return {"status": "ok", "version": chatrelay.__version__, "timestamp": _now(), "connections": connections}


@app.get("/api/status")
def status() -> dict[str, Any]:
    """For the app's settings screen: 401 for a key that is wrong, 200 without one."""
    key = credential(lower_case(app.current_event.headers))
    if key is not None and wiring.keys.user_of(key) is None:
        raise Unauthorized("Invalid API key")
    return {"status": "running", "version": chatrelay.__version__, "health": "ok", "timestamp": _now()}


@app.post("/api/conversations/<conversation>/messages")
def message(conversation: str) -> tuple[dict[str, Any], int]:
    """202: the message is kept, and its reply streams over the user's sockets that show the conversation."""
    user = _user()
    event = app.current_event
    send = protocol.parse_posted(event.decoded_body, conversation=unquote(conversation), agent=protocol.AGENTS[0])
    if send.attachments:
        send = wiring.files.checked(user, send)
    reply = wiring.reception.keep(user, send, event.request_context.time_epoch)
    return {"id": send.id, "conversation": send.conversation, "reply": reply}, HTTPStatus.ACCEPTED


@app.post("/api/notifications/register")
def register() -> dict[str, Any]:
    """The device gets a push for every reply of its user from now on."""
    user = _user()
    wiring.devices.register(user, registration.parse(protocol.json_object(app.current_event.decoded_body)))
    return {"success": True, "message": "Device registered"}


@app.delete("/api/notifications/<device>")
def unregister(device: str) -> dict[str, Any]:
    """The device gets none any more. Twice does no harm."""
    wiring.devices.delete(_user(), registration.device_id(unquote(device)))
    return {"success": True, "message": "Device removed"}


@app.post("/api/files/upload")
def upload() -> dict[str, Any]:
    """A file as the app posts it (multipart ``file``; ``type`` is not listened to), up to what a function can take."""
    user = _user()
    event = app.current_event
    posted = uploads.parse_upload(_body(), event.headers.get("content-type", ""))
    file = wiring.files.keep(user, posted.filename, posted.mime_type, posted.content)
    return {"url": _url(file), "filename": posted.filename, "size": len(posted.content)}


@app.post("/api/files")
def form() -> dict[str, Any]:
    """The form with which a larger file is posted to S3 itself, and the url to quote in a message."""
    user = _user()
    asked = uploads.parse_asked(protocol.json_object(app.current_event.decoded_body))
    given = wiring.files.form(user, asked.filename, asked.mime_type, asked.size)
    return {"url": _url(given.id), "filename": asked.filename, "upload": {"url": given.url, "fields": given.fields}}


@app.get("/api/files/<file>")
def download(file: str) -> Response[str]:
    """302 to where the user's own file can be had for a minute."""
    address = wiring.files.address(_user(), file)
    return Response(HTTPStatus.FOUND, headers={"location": address, "cache-control": "no-store"})


@app.exception_handler(Told)  # type: ignore[untyped-decorator]  # Powertools leaves it untyped
def told(problem: Told) -> Response[dict[str, str]]:
    """The body that the app expects."""
    status = next(status for kind, status in STATUS.items() if isinstance(problem, kind))
    body = {"error": str(problem), "code": problem.code}
    return Response(status_code=status, content_type=APPLICATION_JSON, body=body)


def _user() -> str:
    key = credential(lower_case(app.current_event.headers))
    user = None if key is None else wiring.keys.user_of(key)
    if user is None:
        raise Unauthorized("Invalid API key")
    return user


def _body() -> bytes:
    event = app.current_event
    body = event.body or ""
    return base64.b64decode(body) if event.is_base64_encoded else body.encode()


def _url(file: str) -> str:
    """On the host that was asked; the host of a url means nothing when it comes back in a message."""
    headers = lower_case(app.current_event.headers)
    return f"{headers.get('x-forwarded-proto', 'https')}://{headers['host']}{PATH}{file}"


def _now() -> str:
    return datetime.now(UTC).isoformat()
