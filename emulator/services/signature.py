"""AWS's Signature Version 4, verified and made with botocore's own signers.

Source: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv.html
"""

import base64
import datetime
import hashlib
import hmac
import json
import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote, urlsplit

from botocore.auth import S3SigV4Auth, SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.compat import HTTPHeaders
from botocore.credentials import ReadOnlyCredentials
from starlette.requests import Request

from emulator.account import REGION

Pairs = Sequence[tuple[str, str]]

ALGORITHM = "AWS4-HMAC-SHA256"
UNSIGNED = "UNSIGNED-PAYLOAD"
_CONTENT = "x-amz-content-sha256"
# What only says of a body what it is: boto3 leaves checksums unsigned at times.
_OF_BODY = (_CONTENT, "x-amz-checksum-", "x-amz-sdk-checksum-algorithm")
# A request has to arrive within five minutes, a presigned address within a week. Source: the page above.
_SKEW = datetime.timedelta(minutes=5)
_LONGEST = datetime.timedelta(days=7)
_TIMESTAMP = "%Y%m%dT%H%M%SZ"
_AUTHORIZATION = re.compile(rf"{ALGORITHM} Credential=(\S+?), ?SignedHeaders=(\S+?), ?Signature=([0-9a-f]{{64}})")
_QUERY = ("X-Amz-Algorithm", "X-Amz-Credential", "X-Amz-Date", "X-Amz-Expires", "X-Amz-SignedHeaders")
QUERY_OF_SIGNATURE = frozenset({*_QUERY, "X-Amz-Signature", "X-Amz-Security-Token"})
# The bodies of S3's chunked uploads: their chunks are signed or carry a checksum, which moto reads.
_STREAMING = "STREAMING-"
_CURE = "Sign with the credentials of this run: the gateway names their file when it starts."
# The first part is the run's; the digits tell its workers apart while there is a fault plan.
_WORKER_DIGITS = 8


class Refused(Exception):
    """The request is not signed as it must be. `code` is AWS's word for it."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True)
class Credentials:
    """The key pair and the session token that everything in one run is signed with."""

    access_key: str
    secret_key: str = field(repr=False)
    token: str = field(repr=False)

    @classmethod
    def new(cls) -> "Credentials":
        mark = "".join(secrets.choice("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567") for _ in range(_WORKER_DIGITS))
        # ASIA begins the keys that have a session token. Source: IAM's user guide, "Unique identifiers".
        return cls(f"ASIA{mark}{0:0{_WORKER_DIGITS}}", secrets.token_urlsafe(30), secrets.token_urlsafe(30))

    @classmethod
    def of(cls, variables: Mapping[str, str]) -> "Credentials":
        """Read credentials from an environment."""
        names = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
        return cls(*(variables[name] for name in names))

    @property
    def variables(self) -> dict[str, str]:
        """The environment that every SDK reads."""
        return {
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
            "AWS_SESSION_TOKEN": self.token,
        }

    def access_key_of_worker(self, number: int) -> str:
        return f"{self.access_key[:-_WORKER_DIGITS]}{number:0{_WORKER_DIGITS}}"

    def owns(self, access_key: str) -> bool:
        """Whether a key is the run's own, or a worker's."""
        return same(access_key[:-_WORKER_DIGITS], self.access_key[:-_WORKER_DIGITS])


@dataclass(frozen=True)
class Received:
    """A request as it came. `path` and `query` are still encoded; headers that came twice are there twice."""

    method: str
    path: str
    query: str
    headers: Pairs
    body: bytes

    @classmethod
    async def of(cls, request: Request) -> "Received":
        return cls(
            request.method,
            request.scope["raw_path"].decode("latin-1"),
            request.scope["query_string"].decode("latin-1"),
            [(name.decode("latin-1"), value.decode("latin-1")) for name, value in request.headers.raw],
            await request.body(),
        )

    def header(self, name: str) -> str:
        return next((value for key, value in self.headers if key.lower() == name), "")

    @property
    def query_items(self) -> list[tuple[str, str]]:
        pairs = (pair.partition("=") for pair in self.query.split("&") if pair)
        return [(unquote(name), unquote(value)) for name, _, value in pairs]


@dataclass(frozen=True)
class Scope:
    """What a signature is good for, as `ASIA…/20261127/us-east-1/s3/aws4_request`."""

    access_key: str
    date: str
    region: str
    service: str

    @classmethod
    def parsed(cls, text: str) -> "Scope":
        match text.split("/"):
            case [access_key, date, region, service, "aws4_request"]:
                return cls(access_key, date, region, service)
        raise Refused("IncompleteSignature", "The credential has no scope of Signature Version 4.")


@dataclass(frozen=True)
class _Claim:
    """What a request says of its own signature. `payload`: the hash of its body, or a word for that there is none."""

    scope: Scope
    time: str
    lasts: datetime.timedelta
    headers: frozenset[str]
    token: str
    payload: str
    signature: str


async def check(request: Request, service: str, credentials: Credentials) -> None:
    """Check that a request is signed for `service`, now and by this run. Raise Refused."""
    verify(await Received.of(request), service, credentials, datetime.datetime.now(datetime.UTC))


def verify(received: Received, service: str | None, credentials: Credentials, now: datetime.datetime) -> Scope:
    """Check the signature in the headers, or in the query of a presigned address. Raise Refused.

    `service`: None for any and in any Region, as at the services' own port.
    """
    query = dict(received.query_items)
    if received.header("authorization"):
        claim = _of_headers(received)
    elif "X-Amz-Signature" in query:
        claim = _of_query(query)
    else:
        raise Refused("MissingAuthenticationToken", f"The request is not signed. {_CURE}")
    _check_scope(claim.scope, service, claim.time, claim.token, credentials)
    _check_age(claim, now)
    # AWS wants it signed: what was signed for another address would be good here otherwise.
    if "host" not in claim.headers:
        raise Refused("SignatureDoesNotMatch", "The header Host has to be signed.")
    if claim.scope.service == "s3":
        # By these a request would do more than was signed: read another object, or change who may read this.
        names = {name.lower() for name, _ in received.headers} - claim.headers
        unsigned = [name for name in sorted(names) if name.startswith("x-amz-") and not name.startswith(_OF_BODY)]
        if unsigned:
            raise Refused("AccessDenied", f"These headers have to be signed: {', '.join(unsigned)}.")
    headers = [(name.lower(), value) for name, value in received.headers if name.lower() in claim.headers]
    items = [(name, value) for name, value in received.query_items if name != "X-Amz-Signature"]
    request = _request(received, headers, items)
    request.context["timestamp"] = claim.time
    signer = _signer(claim.scope, claim.payload, credentials)
    canonical = signer.string_to_sign(request, signer.canonical_request(request))
    if not same(signer.signature(canonical, request), claim.signature):
        raise Refused("SignatureDoesNotMatch", "The request was signed with another key, or changed afterwards.")
    return claim.scope


def verify_policy(form: Mapping[str, str], credentials: Credentials, now: datetime.datetime) -> Mapping[str, Any]:
    """Check the signature of a form for S3, whose fields have names in small letters. Return its policy. Raise Refused.

    Source: https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-authentication-HTTPPOST.html
    """
    try:
        names = ("x-amz-credential", "x-amz-date", "x-amz-signature", "policy")
        credential, time, signature, encoded = (form[name] for name in names)
    except KeyError as error:
        raise Refused("AccessDenied", "The form has no signed policy.") from error
    scope = Scope.parsed(credential)
    _check_scope(scope, "s3", time, form.get("x-amz-security-token", ""), credentials)
    request = AWSRequest()
    request.context["timestamp"] = time
    if not same(_signer(scope, UNSIGNED, credentials).signature(encoded, request), signature):
        raise Refused("SignatureDoesNotMatch", "The form was signed with another key, or changed afterwards.")
    # Only now, when the policy is known to be this run's own: nobody else has it parse anything.
    try:
        policy = json.loads(base64.b64decode(encoded, validate=True))
        expired = datetime.datetime.fromisoformat(policy["expiration"]) < now
    except (KeyError, TypeError, ValueError) as error:
        raise Refused("AccessDenied", "The form's policy cannot be read.") from error
    if expired:
        raise Refused("AccessDenied", "The form's policy has expired.")
    return dict(policy)


def sign(received: Received, url: str, scope: Scope, credentials: Credentials) -> dict[str, str]:
    """Return the headers that sign for `url`, without its query, what was verified as signed for another one."""
    payload = received.header(_CONTENT)
    if not payload:
        payload = UNSIGNED if scope.service == "s3" else hashlib.sha256(received.body).hexdigest()
    headers = [("Host", urlsplit(url).netloc), ("X-Amz-Content-SHA256", payload)]
    request = _request(received, headers, received.query_items, url)
    _signer(scope, payload, credentials).add_auth(request)
    return dict(request.headers.items())


def same(one: str, other: str) -> bool:
    """Compare two texts in a time that tells nothing of where they differ."""
    return hmac.compare_digest(one.encode(), other.encode())


def _of_headers(received: Received) -> _Claim:
    match = _AUTHORIZATION.fullmatch(received.header("authorization"))
    if not match:
        raise Refused("IncompleteSignature", f"The header Authorization is none of {ALGORITHM}.")
    credential, names, signature = match.groups()
    scope = Scope.parsed(credential)
    payload = received.header(_CONTENT)
    if payload != UNSIGNED and not payload.startswith(_STREAMING):  # With these, there is no hash to compare.
        found = hashlib.sha256(received.body).hexdigest()
        if payload and not same(payload, found):
            raise Refused("XAmzContentSHA256Mismatch", "The body is not the one that was signed.")
        payload = found
    return _Claim(
        scope=scope,
        time=received.header("x-amz-date"),
        lasts=_SKEW,
        headers=frozenset(names.split(";")),
        token=received.header("x-amz-security-token"),
        payload=payload,
        signature=signature,
    )


def _of_query(query: Mapping[str, str]) -> _Claim:
    try:
        algorithm, credential, time, seconds, names = (query[name] for name in _QUERY)
        lasts = datetime.timedelta(seconds=int(seconds))
    except (KeyError, ValueError, OverflowError) as error:
        raise Refused("AuthorizationQueryParametersError", "The address is not whole.") from error
    if algorithm != ALGORITHM or not datetime.timedelta() < lasts <= _LONGEST:
        raise Refused("AuthorizationQueryParametersError", f"The address wants {ALGORITHM} and up to seven days.")
    token, signature = query.get("X-Amz-Security-Token", ""), query["X-Amz-Signature"]
    return _Claim(Scope.parsed(credential), time, lasts, frozenset(names.split(";")), token, UNSIGNED, signature)


def _check_scope(scope: Scope, service: str | None, time: str, token: str, credentials: Credentials) -> None:
    if not (credentials.owns(scope.access_key) and same(token, credentials.token)):
        raise Refused("InvalidClientTokenId", f"The access key or the session token is not of this run. {_CURE}")
    if service is not None and (scope.service, scope.region) != (service, REGION):
        raise Refused("SignatureDoesNotMatch", f"The request has to be signed for {service} in {REGION}.")
    if scope.date != time[:8]:
        raise Refused("SignatureDoesNotMatch", "The credential is of another day than the request.")


def _check_age(claim: _Claim, now: datetime.datetime) -> None:
    try:
        signed = datetime.datetime.strptime(claim.time, _TIMESTAMP).replace(tzinfo=datetime.UTC)
    except ValueError as error:
        raise Refused("IncompleteSignature", "X-Amz-Date is missing, or is no such time.") from error
    # Not the other way round: neither end of time can be moved on.
    if not -_SKEW <= now - signed <= claim.lasts:
        raise Refused("SignatureDoesNotMatch", "The signature has expired, or is of the future.")


def _request(received: Received, headers: Pairs, query: Pairs, url: str = "") -> AWSRequest:
    request = AWSRequest(received.method, url or f"http://host{received.path}", params=query)  # type: ignore[arg-type] # pairs are taken, too
    for name, value in headers:
        request.headers[name] = value  # One more, if it is there.
    return request


def _signer(scope: Scope, payload: str, credentials: Credentials) -> "_Signer":
    signer = _S3Signer if scope.service == "s3" else _Signer
    known = ReadOnlyCredentials(scope.access_key, credentials.secret_key, credentials.token)
    made = signer(known, scope.service, scope.region)
    made.hash = payload
    return made


class _Signer(SigV4Auth):
    """A signer of all headers that a request has, and of a known `hash` of its body: both are the client's choice."""

    hash: str

    def headers_to_sign(self, request: AWSRequest) -> HTTPHeaders:
        headers = HTTPHeaders()
        for name, value in request.headers.items():
            headers[name.lower()] = value
        return headers

    def payload(self, _: AWSRequest) -> str:
        return self.hash


class _S3Signer(_Signer, S3SigV4Auth):
    """A signer for S3, whose paths are signed as they are."""
