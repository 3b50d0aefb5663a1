"""Apple's push service.

https://developer.apple.com/documentation/usernotifications/sending-notification-requests-to-apns and
https://developer.apple.com/documentation/usernotifications/handling-notification-responses-from-apns

Execution environments that know nothing of each other use the same provider token by signing the same one: without
randomness, and dated to the beginning of a span of forty minutes.
"""

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import httpx
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from jwt.algorithms import ECAlgorithm
from jwt.api_jws import PyJWS
from jwt.utils import der_to_raw_signature

from chatrelay.domain.devices import Device, PushEnvironment
from chatrelay.domain.errors import Denied, SettingError, Unanswered
from chatrelay.push.payloads import KEPT_S, apns_payload
from chatrelay.push.service import Dead, Delivered, Later, Misconfigured, Notification, Rejected, Secret, Verdict
from chatrelay.push.transport import PushResponse, PushTransport

HOSTS = {
    PushEnvironment.PRODUCTION: "https://api.push.apple.com",
    PushEnvironment.SANDBOX: "https://api.sandbox.push.apple.com",
}
# Apple refuses a token that is older than an hour, and tokens that change more often than every twenty minutes.
SPAN_S = 40 * 60
EXPIRED = "ExpiredProviderToken"
OF_ANOTHER_APP = "DeviceTokenNotForTopic"
"""The token is known, but as that of another app: our bundle ID may be wrong."""
NOT_HERE = {"BadDeviceToken", OF_ANOTHER_APP}
"""Reasons with which an environment refuses a token of the other environment."""
PASSING = {"IdleTimeout"}
"""Reasons that are no fault of the request, though the status is 400."""
OUR_TOPIC = {"BadTopic", "MissingTopic", "TopicDisallowed", OF_ANOTHER_APP}
NO_KEY = (TypeError, ValueError, UnsupportedAlgorithm)
"""What `cryptography` raises for a text that is no key, or a key of another kind."""


@dataclass(frozen=True)
class Account:
    """Who sends: what Apple calls the team ID, the ID of the key that signs, and the app's bundle ID."""

    team_id: str
    key_id: str
    bundle_id: str


class Apns:
    """The platform ``ios``. The secret `key` is the text of the ``.p8`` file that Apple gives out."""

    def __init__(
        self,
        transport: PushTransport,
        key: Secret,
        account: Account,
        hosts: Mapping[PushEnvironment, str] = HOSTS,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._transport = transport
        self._key = key
        self._account = account
        self._hosts = hosts
        self._clock = clock
        self._renewed_s = 0

    async def send(self, device: Device, notification: Notification) -> Verdict:
        """Implement ``Service``. A token that the device's environment does not know is tried once in the other."""
        try:
            key = signing_key(await self._key())
        except Denied as problem:
            return Misconfigured(f"the key for APNs cannot be read: {problem.said.type} {problem.said.sentence}")
        except NO_KEY as problem:
            return Misconfigured(f"the key for APNs is none: {type(problem).__name__}")
        asked_s = self._clock()  # before the post: a registration meanwhile is newer than the answer
        environment = device.environment
        try:
            response = first = await self._ask(key, environment, device.token, notification)
            if _reason(first) in NOT_HERE:
                environment = environment.other
                response = await self._ask(key, environment, device.token, notification)
        except Unanswered as failure:
            return Later(str(failure))
        except SettingError as problem:
            return Misconfigured(str(problem))
        if _reason(response) in NOT_HERE and _reason(first) == OF_ANOTHER_APP:
            response = first  # a token that one environment knows is not dead
        return meaning(response, environment, asked_s)

    async def _ask(
        self, key: ec.EllipticCurvePrivateKey, environment: PushEnvironment, token: str, notification: Notification
    ) -> PushResponse:
        """Post one push. A provider token that Apple finds too old is signed again, once."""
        url = f"{self._hosts[environment]}/3/device/{token}"
        payload = apns_payload(notification)
        for is_last in (False, True):
            signed_s = self._signed_s()
            headers = {
                "authorization": f"bearer {provider_token(key, self._account, signed_s)}",
                "apns-topic": self._account.bundle_id,
                "apns-push-type": "alert",
                "apns-priority": "10",
                "apns-expiration": str(int(self._clock()) + KEPT_S),
                "apns-collapse-id": notification.reply,  # a push that is sent twice is shown once
            }
            response = await self._transport.post(url, headers, payload)
            if is_last or _reason(response) != EXPIRED:
                break
            if signed_s == self._signed_s():  # else another push has renewed the token
                self._renewed_s = int(self._clock())
        return response

    def _signed_s(self) -> int:
        now_s = int(self._clock())
        return max(now_s - now_s % SPAN_S, self._renewed_s)


def meaning(response: PushResponse, environment: PushEnvironment, asked_s: float) -> Verdict:
    """Return the verdict in a response of `environment` to a push of the time `asked_s`."""
    reason = _reason(response)
    if response.is_good:
        return Delivered(environment)
    if response.status == httpx.codes.GONE or reason in NOT_HERE - OUR_TOPIC:
        # Since when a token is dead, Apple says only with a 410.
        timestamp_ms = response.body.get("timestamp")
        return Dead(timestamp_ms if isinstance(timestamp_ms, int) else int(asked_s * 1000))
    if response.is_passing or reason in PASSING:
        return Later(reason, response.retry_after_s)
    if response.status == httpx.codes.FORBIDDEN or reason in OUR_TOPIC:
        return Misconfigured(reason)
    return Rejected(reason)


def _reason(response: PushResponse) -> str:
    """Return Apple's word for what is wrong; the status, if there is none."""
    reason = response.body.get("reason")
    return reason if isinstance(reason, str) else str(response.status)


# --- the provider token -----------------------------------------------------------------------------------------------


class _Deterministic(ECAlgorithm):
    """ECDSA without randomness (RFC 6979): the same message has the same signature."""

    def sign(self, msg: bytes, key: ec.EllipticCurvePrivateKey) -> bytes:
        signature = key.sign(msg, ec.ECDSA(SHA256(), deterministic_signing=True))
        return der_to_raw_signature(signature, key.curve)


def signing_key(pem: str) -> ec.EllipticCurvePrivateKey:
    """Return the key in a ``.p8`` file. Raise ``ValueError``, ``TypeError`` or ``UnsupportedAlgorithm`` for no key."""
    key = load_pem_private_key(pem.encode(), password=None)
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
        raise TypeError("not a private key of the curve P-256")
    return key


def provider_token(key: ec.EllipticCurvePrivateKey, account: Account, signed_s: int) -> str:
    """Return a JSON Web Token (ES256), the same for the same arguments."""
    signer = PyJWS()
    signer.unregister_algorithm("ES256")
    signer.register_algorithm("ES256", _Deterministic(ECAlgorithm.SHA256, ec.SECP256R1))
    claims = json.dumps({"iss": account.team_id, "iat": signed_s}, separators=(",", ":"))
    # Without PyJWT's `typ`: Apple's header has `alg` and `kid` only.
    return signer.encode(claims.encode(), key, "ES256", {"kid": account.key_id, "typ": None})
