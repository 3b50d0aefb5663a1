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
    opened = event["requestContext"]
    user = opened.get("authorizer", {}).get("user")
    connection = Connection(
        id=opened["connectionId"],
        agent=agent,
        dialect=VERSION_1 if user else BUILDEROS,  # only the existing app brings its key as a frame
        connected_at=int(opened["connectedAt"]) // 1000,
        user=user,
    )
    wiring.store.connections.open(connection)
    if connection.user is not None:  # a client without a key must not start a large function: `control` wakes it
        try:
            wiring.workers.warm()
        except Unavailable as problem:  # the socket opens all the same
            logger.warning("could not warm the message function", error=str(problem))
    if speaks_version_1(handshake_headers(event)):
        return {"statusCode": 200, "headers": {"Sec-WebSocket-Protocol": SUBPROTOCOL}}
    return {"statusCode": 200}
