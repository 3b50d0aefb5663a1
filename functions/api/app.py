"""The HTTP API: health and status, as the existing app and its monitors ask for them."""

from datetime import UTC, datetime
from typing import Any

from aws_lambda_powertools import Logger
from aws_lambda_powertools.event_handler import APIGatewayHttpResolver, Response
from aws_lambda_powertools.event_handler.content_types import APPLICATION_JSON

import chatrelay
from chatrelay.errors import Unauthorized
from chatrelay.identity import credential, lower_case
from chatrelay.protocol import AGENTS
from chatrelay.wiring import Wiring

logger = Logger()
wiring = Wiring()
app = APIGatewayHttpResolver()


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


@app.exception_handler(Unauthorized)  # type: ignore[untyped-decorator]  # Powertools leaves it untyped
def unauthorized(problem: Unauthorized) -> Response[dict[str, str]]:
    """The body that the app expects."""
    body = {"error": str(problem), "code": problem.code}
    return Response(status_code=401, content_type=APPLICATION_JSON, body=body)


def _now() -> str:
    return datetime.now(UTC).isoformat()
