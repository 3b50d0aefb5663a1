"""``$connect``: stores the connection, and warms the function that will answer its first message."""

from typing import Any

from aws_lambda_powertools import Logger

from chatrelay.domain.errors import InvalidMessage, RateLimited, Unauthorized, Unavailable
from chatrelay.domain.identity import Identity
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
    """Return 200 to open the socket, with our subprotocol if the client offered it.

    Return 400 for an unknown agent, 401 if the client's credential is not good any more, and 429 if its user may have
    no socket.
    """
    try:
        agent = agent_in(event.get("queryStringParameters") or {}, "agent", AGENTS[0])
    except InvalidMessage:
        return {"statusCode": 400}
    opened = event["requestContext"]
    known = opened.get("authorizer", {})
    connection = Connection(
        id=opened["connectionId"],
        agent=agent,
        dialect=VERSION_1 if "user" in known else BUILDEROS,  # only the existing app brings its key as a frame
        connected_at=int(opened["connectedAt"]) // 1000,
        identity=_identity(known),
        good_until=_number(known, "good_until"),
        frames_per_minute=_number(known, "frames_per_minute"),
    )
    try:
        wiring.store.connections.open(connection, _number(known, "sockets"))
    except Unauthorized:  # it was revoked since the authorizer looked
        return {"statusCode": 401}
    except RateLimited:
        return {"statusCode": 429}
    if connection.user is not None:  # a client without a key must not start a large function: `control` wakes it
        try:
            wiring.workers.warm()
        except Unavailable as problem:  # the socket opens all the same
            logger.warning("could not warm the message function", error=str(problem))
    if speaks_version_1(handshake_headers(event)):
        return {"statusCode": 200, "headers": {"Sec-WebSocket-Protocol": SUBPROTOCOL}}
    return {"statusCode": 200}


def _identity(known: dict[str, Any]) -> Identity | None:
    """Return who connects, from the context of the authorizer's policy; None for a pending connection."""
    if "user" not in known:
        return None
    return Identity(known["user"], known["credential"], int(known["issued_at"]), _number(known, "token_until"))


def _number(known: dict[str, Any], name: str) -> int | None:
    return int(known[name]) if name in known else None  # API Gateway may have made a text of it
