"""``$disconnect``: forgets the connection. Best effort by AWS's own words, so connections also expire by themselves."""

from typing import Any

from aws_lambda_powertools import Logger

from chatrelay.wiring import Wiring

logger = Logger()
wiring = Wiring()


@logger.inject_lambda_context
def handler(event: dict[str, Any], context: object) -> dict[str, Any]:
    """Always 200: nobody is there any more to be told anything."""
    wiring.connections.close(event["requestContext"]["connectionId"])
    return {"statusCode": 200}
