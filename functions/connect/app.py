"""``$connect``: stores the connection, and warms the function that will answer its first message."""

from typing import Any

from aws_lambda_powertools import Logger

from chatrelay.domain.errors import InvalidMessage, Unavailable
from chatrelay.store.connections import Connection
from chatrelay.wire.dialects import BUILDEROS, VERSION_1
from chatrelay.wire.fields import agent_in
from chatrelay.wire.identity import handshake_headers, speaks_version_1
from chatrelay.wire.limits import AGENTS, SUBPROTOCOL
from chatrelay.wiring import Wiring

logger = Logger()
wiring = Wiring()


@logger.inject_lambda_context
def handler(event: dict[str, Any], context: object) -> dict[str, Any]:
    """Return 200 to open the socket, with our subprotocol if the client offered it; 400 for an unknown agent."""
    try:
        agent = agent_in(event.get("queryStringParameters") or {}, "agent", AGENTS[0])
    except InvalidMessage:
        return {"statusCode": 400}
    connection = _connection(event["requestContext"], agent)
    wiring.store.connections.open(connection)
    if connection.user is not None:
        _warm_message()
    if speaks_version_1(handshake_headers(event)):
        return {"statusCode": 200, "headers": {"Sec-WebSocket-Protocol": SUBPROTOCOL}}
    return {"statusCode": 200}


def _connection(context: dict[str, Any], agent: str) -> Connection:
    """Return the connection. Without a user it is pending, and authenticates as the existing app does."""
    user = context.get("authorizer", {}).get("user")
    return Connection(
        id=context["connectionId"],
        agent=agent,
        dialect=VERSION_1 if user else BUILDEROS,
        connected_at=int(context["connectedAt"]) // 1000,
        user=user,
    )


def _warm_message() -> None:
    """Begin a cold start now, before the first message. The socket opens even if this fails.

    A pending connection warms nothing, because a client without a key must not start a large function; ``control``
    does so once the key has come.
    """
    try:
        wiring.workers.warm()
    except Unavailable as problem:
        logger.warning("could not warm the message function", error=str(problem))
