"""An OpenID provider on loopback, over TLS: its documents, and the tokens that it signs."""

import base64
import json
import ssl
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from socket import create_server
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tests.builders.push_keys import APPLE, GOOGLE
from tests.builders.push_services import ADDRESS, Authority

DISCOVERY = "/.well-known/openid-configuration"
NOW_S = 1_800_000_000
PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey


@dataclass(frozen=True)
class SigningKey:
    """A private key, and what it signs with."""

    kid: str
    private: PrivateKey
    algorithm: str

    def jwk(self, **more: Any) -> dict[str, Any]:
        """The public key as most providers have it in their sets."""
        return {**jwk(self.private), "kid": self.kid, "alg": self.algorithm, "use": "sig"} | more

    def sign(self, claims: Mapping[str, Any], **header: Any) -> str:
        """A token of `claims`; what is None in `header` is left out of it."""
        header = {"kid": self.kid, "typ": "JWT"} | header
        kept = {name: value for name, value in header.items() if value is not None}
        return jwt.PyJWS().encode(json.dumps(claims).encode(), self.private, self.algorithm, {"typ": "", **kept})


RSA = SigningKey("rsa-1", GOOGLE, "RS256")
EC = SigningKey("ec-1", APPLE, "ES256")
PSS = SigningKey("pss-1", GOOGLE, "PS256")
ED25519 = SigningKey("ed-1", ed25519.Ed25519PrivateKey.generate(), "EdDSA")


def jwk(private: PrivateKey) -> dict[str, Any]:
    """The members of a public key, and no more."""
    match private.public_key():
        case rsa.RSAPublicKey() as public:
            members = RSAAlgorithm.to_jwk(public, as_dict=True)
            del members["key_ops"]
            return members
        case ec.EllipticCurvePublicKey() as public:
            return ECAlgorithm.to_jwk(public, as_dict=True)
        case public:
            return OKPAlgorithm.to_jwk(public, as_dict=True)


def compact(header: Any, claims: Any, signature: bytes = b"") -> str:
    """A token of anything, which nobody has signed."""
    parts = [json.dumps(header).encode(), json.dumps(claims).encode(), signature]
    return ".".join(base64.urlsafe_b64encode(part).decode().rstrip("=") for part in parts)


class Provider:
    """Answers discovery under any path, and its keys at ``/keys``. `answers` are what single paths answer instead.

    `fetched` has the paths that were asked for, as they came.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.keys: Any = [RSA.jwk()]
        self.discovery: dict[str, Any] = {}
        self.answers: dict[str, Response] = {}
        self.is_down = False
        self.fetched: list[str] = []
        self.app = Starlette(routes=[Route("/{path:path}", self._answer)])

    def claims(self, **more: Any) -> dict[str, Any]:
        """Claims of a token that is good where nothing special is asked for; what is None is left out."""
        usual = {"iss": self.url, "sub": "65f", "aud": "api", "iat": NOW_S, "exp": NOW_S + 600}
        return {name: value for name, value in (usual | more).items() if value is not None}

    async def _answer(self, request: Request) -> Response:
        path = request.scope["raw_path"].decode()
        self.fetched.append(path)
        if self.is_down:
            return Response(status_code=503)
        if path in self.answers:
            return self.answers[path]
        if path.endswith(DISCOVERY):
            issuer = self.url + path.removesuffix(DISCOVERY)
            return JSONResponse({"issuer": issuer, "jwks_uri": f"{self.url}/keys"} | self.discovery)
        # Escaped, so that half a surrogate pair comes through.
        return Response(json.dumps({"keys": self.keys})) if path == "/keys" else Response(status_code=404)


@contextmanager
def dripping(authority: Authority, at_once: bytes, pause_s: float = 0.05) -> Iterator[str]:
    """Serve one client: send the beginning of an answer at once, then a byte again and again, until it has gone."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(authority.certificate)
    ending = threading.Event()
    with create_server((ADDRESS, 0)) as listener:

        def serve() -> None:
            with suppress(OSError), context.wrap_socket(listener.accept()[0], server_side=True) as client:
                client.recv(65536)
                client.sendall(at_once)
                while not ending.wait(pause_s):
                    client.sendall(b" ")

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"https://{ADDRESS}:{listener.getsockname()[1]}"
        finally:
            ending.set()
            thread.join()
