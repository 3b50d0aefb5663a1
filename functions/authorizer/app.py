"""``$connect``'s REQUEST authorizer: who connects?

Wrong credentials get 401; a browser from an origin that is not on the list gets 403.
"""

from typing import Any

from aws_lambda_powertools import Logger

from chatrelay.domain.errors import Unauthorized
from chatrelay.wire.identity import credential, handshake_headers, origin_allowed
from chatrelay.wiring import Wiring

PENDING = "pending"

logger = Logger()
wiring = Wiring()


@logger.inject_lambda_context
def handler(event: dict[str, Any], context: object) -> dict[str, Any]:
    """Return an IAM policy. Its context names the user, unless the connection is pending (``FirstFrameAuth``).

    Raise ``Unauthorized`` for credentials that are wrong or missing.
    """
    headers = handshake_headers(event)
    if not origin_allowed(headers.get("origin"), wiring.handshake.allowed_origins):
        logger.warning("origin not allowed", origin=headers["origin"])
        return _policy("Deny", event["methodArn"], PENDING, {})
    key = credential(headers)
    user = None if key is None else wiring.store.api_keys.user_of(key)
    is_pending = key is None and wiring.handshake.first_frame_auth  # wrong credentials are never pending
    if user is None and not is_pending:
        raise Unauthorized("Unauthorized")  # API Gateway answers 401 to exactly this text
    return _policy("Allow", event["methodArn"], user or PENDING, {} if user is None else {"user": user})


def _policy(effect: str, resource: str, principal: str, details: dict[str, str]) -> dict[str, Any]:
    statement = {"Effect": effect, "Action": "execute-api:Invoke", "Resource": resource}
    document = {"Version": "2012-10-17", "Statement": [statement]}
    return {"principalId": principal, "policyDocument": document, "context": details}
