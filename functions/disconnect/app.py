"""``$disconnect``: removes the connection. AWS calls this event best effort, so connections expire as well."""

from typing import Any

from aws_lambda_powertools import Logger

from chatrelay.wiring import Wiring

logger = Logger()
wiring = Wiring()


@logger.inject_lambda_context
def handler(event: dict[str, Any], context: object) -> dict[str, Any]:
    """Return 200 in any case: the client has gone."""
    wiring.store.connections.close(event["requestContext"]["connectionId"])
    return {"statusCode": 200}
