"""Whether a request is signed, as AWS wants it. The signature itself is not checked: there are no keys to check it by.

It keeps web pages out: a browser sends no such header to another origin without asking first.
"""

from starlette.requests import Request


def is_signed(request: Request, service: str) -> bool:
    """Whether `request` carries a signature (version 4) for `service`, `execute-api`, `lambda` or `s3`."""
    credential = request.headers.get("Authorization", "")
    return credential.startswith("AWS4-HMAC-SHA256") and f"/{service}/aws4_request" in credential
