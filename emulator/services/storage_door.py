"""S3 at the emulator's own address."""

import asyncio
import datetime
import re
from collections.abc import Mapping, Sequence
from typing import Any
from xml.sax.saxutils import escape

from botocore.exceptions import ClientError
from starlette.requests import Request
from starlette.responses import Response

from emulator.account import REGION
from emulator.services import post_policy
from emulator.services.forwarder import Forwarder
from emulator.services.services import Services
from emulator.services.signature import Received, Refused, Scope, verify
from emulator.serving.guard import named

STORAGE = "/s3"
_BUCKET = re.compile(rf"{STORAGE}/([a-z0-9][a-z0-9.-]+)(/.*)?", re.DOTALL)


class StorageDoor:
    """S3 at the gateway's own address: what functions sign for a client is of use on the client's machine, too.

    It leads to the buckets that there are, for what this run has signed for S3: in the headers, in the address, or in
    a form.
    """

    def __init__(self, services: Services) -> None:
        self._client = services.client("s3")
        self._credentials = services.credentials
        self._forwarder = Forwarder(services, STORAGE)
        self._origins: Mapping[str, Sequence[str]] = {}

    async def look(self) -> None:
        """Find the buckets, and the origins that their CORS rules name."""
        self._origins = await asyncio.to_thread(
            lambda: {
                bucket["Name"]: _origins(self._client, bucket["Name"])
                for bucket in self._client.list_buckets()["Buckets"]
            }
        )

    async def stop(self) -> None:
        await self._forwarder.stop()

    def lets_in(self, origin: str) -> bool:
        """Whether a bucket's rules name an origin. Which answers its pages may read, the bucket says each time."""
        return any(named(origins)(origin) for origins in self._origins.values())

    async def answer(self, request: Request) -> Response:
        received = await Received.of(request)
        match = _BUCKET.fullmatch(received.path)
        # By this header moto would take the request for another service's.
        if match is None or received.header("x-amz-target"):
            return _error(403, "AccessDenied", "There is nothing but buckets here.")
        bucket = match.group(1)
        if bucket not in self._origins:  # It may be newer than the last look.
            await self.look()
        if bucket not in self._origins:
            return _error(404, "NoSuchBucket", "The template declares no such bucket.")
        try:
            scope = self._verified(received, bucket)
        except Refused as refused:
            return _error(403, refused.code, str(refused))
        response = await self._forwarder.answer(received, scope)
        # What users keep there is shown, and never run: it would be of the playground's own origin.
        response.headers.update({"content-security-policy": "sandbox", "x-content-type-options": "nosniff"})
        return response

    def _verified(self, received: Received, bucket: str) -> Scope:
        """Return the scope that a request is good for. Raise Refused."""
        now = datetime.datetime.now(datetime.UTC)
        own = Scope(self._credentials.access_key, f"{now:%Y%m%d}", REGION, "s3")
        if received.method == "OPTIONS":  # Browsers sign no preflight.
            return own
        if post_policy.is_form(received):
            post_policy.verify(received, bucket, self._credentials, now)
            return own
        return verify(received, "s3", self._credentials, now)


def _origins(client: Any, bucket: str) -> tuple[str, ...]:
    try:
        rules = client.get_bucket_cors(Bucket=bucket)["CORSRules"]
    except ClientError:  # It has none.
        return ()
    return tuple(origin for rule in rules for origin in rule["AllowedOrigins"])


def _error(status: int, code: str, message: str) -> Response:
    text = f"<Error><Code>{code}</Code><Message>{escape(message)}</Message></Error>"
    return Response(text, status, media_type="application/xml")
