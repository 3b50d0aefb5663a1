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
    """Return an IAM policy. Its context says who connects, unless the connection is pending (``FirstFrameAuth``).

    Raise ``Unauthorized`` for credentials that are wrong or missing.
    """
    headers = handshake_headers(event)
    if not origin_allowed(headers.get("origin"), wiring.handshake.allowed_origins):
        logger.warning("origin not allowed", origin=headers["origin"])
        return _policy("Deny", event["methodArn"], PENDING, {})
    found = credential(headers)
    if found is None and wiring.handshake.first_frame_auth:  # wrong credentials are never pending
        return _policy("Allow", event["methodArn"], PENDING, {})
    try:
        identity, account = wiring.admission.admit(found or "")
    except Unauthorized:
        raise Unauthorized("Unauthorized") from None  # API Gateway answers 401 to exactly this text
    known: dict[str, str | int | None] = {
        "user": identity.user,
        "credential": identity.credential,
        "issued_at": identity.issued_at,
        "token_until": identity.expires_at,
        "good_until": wiring.admission.good_until(identity),
        "sockets": account.limits.sockets,
        "frames_per_minute": account.limits.frames_per_minute,
    }
    # API Gateway takes no null here.
    return _policy(
        "Allow", event["methodArn"], identity.user, {name: each for name, each in known.items() if each is not None}
    )


def _policy(effect: str, resource: str, principal: str, context: dict[str, str | int]) -> dict[str, Any]:
    statement = {"Effect": effect, "Action": "execute-api:Invoke", "Resource": resource}
    document = {"Version": "2012-10-17", "Statement": [statement]}
    return {"principalId": principal, "policyDocument": document, "context": context}
