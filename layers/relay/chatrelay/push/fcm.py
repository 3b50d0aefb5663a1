"""Google's push service, Firebase Cloud Messaging, version 1.

https://firebase.google.com/docs/reference/fcm/rest/v1/projects.messages/send and
https://firebase.google.com/docs/cloud-messaging/error-codes; for the access token,
https://developers.google.com/identity/protocols/oauth2/service-account#httprest
"""

import asyncio
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

import httpx
import jwt
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from chatrelay.domain.devices import Device, PushEnvironment
from chatrelay.domain.errors import Denied, SettingError, Unanswered
from chatrelay.push.payloads import fcm_payload
from chatrelay.push.service import Dead, Delivered, Later, Misconfigured, Notification, Rejected, Secret, Verdict
from chatrelay.push.transport import PushResponse, PushTransport
from chatrelay.settings import URL

HOST = "https://fcm.googleapis.com"
SCOPE = "https://www.googleapis.com/auth/firebase.messaging"
GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"
LIFE_S = 3600
EARLY_S = 60
"""How long before its end an access token is replaced."""
THROTTLED_S = 60
"""How long to wait after a 429 that does not say how long."""
OURS = {httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN, httpx.codes.NOT_FOUND}
"""Statuses that blame the account, its permission, the project, or the sender that the app was built for."""
NO_ACCOUNT = (RecursionError, TypeError, ValueError, UnsupportedAlgorithm)
"""What is raised by a text that is not the JSON of a service account with its key."""
NO_TOKEN = "The registration token is not a valid FCM registration token"  # noqa: S105  a sentence
"""Where the details name no field, only this sentence, which is documented, names the token."""


@dataclass(frozen=True)
class ServiceAccount:
    """Who sends: the JSON file that Google gives out."""

    project_id: str
    email: str
    key_id: str
    key: rsa.RSAPrivateKey
    token_url: str

    @classmethod
    def parse(cls, text: str) -> "ServiceAccount":
        """Read the text of the file. Raise one of ``NO_ACCOUNT``."""
        match json.loads(text):
            case {
                "project_id": str(project_id),
                "client_email": str(email),
                "private_key_id": str(key_id),
                "private_key": str(pem),
                "token_uri": str(token_url),
            } if URL.fullmatch(token_url):
                key = load_pem_private_key(pem.encode(), password=None)
                if not isinstance(key, rsa.RSAPrivateKey):
                    raise TypeError("not a private key of RSA")
                return cls(project_id, email, key_id, key, token_url)
        raise ValueError("not the JSON of a service account")

    def assertion(self, now_s: int) -> str:
        """Return the signed claim (RS256) that Google exchanges for an access token."""
        claims = {"iss": self.email, "scope": SCOPE, "aud": self.token_url, "iat": now_s, "exp": now_s + LIFE_S}
        return jwt.encode(claims, self.key, "RS256", {"kid": self.key_id})


class Fcm:
    """The platform ``android``. The secret `account` is the text of the service account's JSON file."""

    def __init__(
        self, transport: PushTransport, account: Secret, host: str = HOST, clock: Callable[[], float] = time.time
    ) -> None:
        self._transport = transport
        self._account = account
        self._host = host
        self._clock = clock
        self._granting = asyncio.Lock()
        self._access = ""
        self._until_s = 0.0

    async def send(self, device: Device, notification: Notification) -> Verdict:
        """Implement ``Service``."""
        try:
            account = ServiceAccount.parse(await self._account())
        except Denied as problem:
            return Misconfigured(f"the account for FCM cannot be read: {problem.said.type} {problem.said.sentence}")
        except NO_ACCOUNT as problem:
            return Misconfigured(f"the account for FCM is none: {type(problem).__name__}")
        try:
            return await self._send(account, device, notification)
        except Unanswered as failure:
            return Later(str(failure))
        except SettingError as problem:
            return Misconfigured(str(problem))

    async def _send(
        self, account: ServiceAccount, device: Device, notification: Notification, refused: str = ""
    ) -> Verdict:
        """Post one push. An access token that is refused is renewed, once."""
        asked_s = self._clock()  # before the post: a registration meanwhile is newer than the answer
        access = await self._access_token(account, refused)
        if not isinstance(access, str):
            return access
        url = f"{self._host}/v1/projects/{account.project_id}/messages:send"
        headers = {"authorization": f"Bearer {access}", "content-type": "application/json"}
        response = await self._transport.post(url, headers, fcm_payload(notification, device.token))
        if response.status == httpx.codes.UNAUTHORIZED and not refused:
            return await self._send(account, device, notification, refused=access)
        return meaning(response, device.environment, asked_s)

    async def _access_token(self, account: ServiceAccount, refused: str) -> str | Verdict:
        """Return an access token other than `refused`, cached for its lifetime; or the verdict if there is none."""
        async with self._granting:  # one grant for all pushes that need one
            # Another push may have renewed a token that was refused to both.
            if self._access != refused and self._clock() < self._until_s:
                return self._access
            now_s = self._clock()
            form = urlencode({"grant_type": GRANT, "assertion": account.assertion(int(now_s))})
            headers = {"content-type": "application/x-www-form-urlencoded"}
            response = await self._transport.post(account.token_url, headers, form.encode())
            if not response.is_good:
                reason = f"no access: {response.body.get('error', response.status)}"
                return Later(reason, response.retry_after_s) if response.is_passing else Misconfigured(reason)
            match response.body:
                case {"access_token": str(access), "expires_in": int(life_s)} if access:
                    self._access, self._until_s = access, now_s + life_s - EARLY_S
                    return access
            return Later("a grant that is none")


def meaning(response: PushResponse, environment: PushEnvironment, asked_s: float) -> Verdict:
    """Return the verdict in a response to a push of the time `asked_s`."""
    error = response.body.get("error")
    error = error if isinstance(error, dict) else {}
    # Firebase's own code for the error, or else the code that all of Google's services have.
    details = _objects(error.get("details"))
    codes = [detail["errorCode"] for detail in details if "errorCode" in detail]
    code = next(iter(codes), error.get("status"))
    code = code if code and isinstance(code, str) else str(response.status)
    violations = [violation for detail in details for violation in _objects(detail.get("fieldViolations"))]
    named = any(violation.get("field") == "message.token" for violation in violations)
    names_token = named if violations else error.get("message") == NO_TOKEN
    if response.is_good:
        return Delivered(environment)
    if code == "UNREGISTERED" or (code == "INVALID_ARGUMENT" and names_token):
        return Dead(int(asked_s * 1000))  # Google does not say since when
    if response.status == httpx.codes.TOO_MANY_REQUESTS:
        return Later(code, THROTTLED_S if response.retry_after_s is None else response.retry_after_s)
    if response.is_passing:
        return Later(code, response.retry_after_s)
    if response.status in OURS:
        return Misconfigured(code)
    return Rejected(code)


def _objects(value: Any) -> list[dict[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []
