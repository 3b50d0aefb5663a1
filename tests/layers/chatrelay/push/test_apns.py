import asyncio
import math
from collections.abc import AsyncIterator
from dataclasses import replace
from itertools import count
from typing import Any

import httpx
import jwt
import pytest

from chatrelay.domain.devices import Device, Platform, PushEnvironment
from chatrelay.domain.errors import Denied, Said, Upstream
from chatrelay.push.apns import HOSTS, Account, Apns, provider_token
from chatrelay.push.service import Dead, Delivered, Later, Misconfigured, Notification, Rejected, Verdict
from chatrelay.push.transport import PushTransport
from tests.builders.doubles import Clock
from tests.builders.push_keys import APPLE, GOOGLE, OTHERS, Secret, pem
from tests.builders.push_services import Authority, Faulty, PushService, Received, Reply

SPAN_BEGINS_S = 1_700_001_600
NOW_S = SPAN_BEGINS_S + 1500.5
NOW_MS = 1_700_003_100_500
ACCOUNT = Account("TEAM123456", "KEY1234567", "com.example.relay")
TOKEN = "ab" * 32
PHONE = Device("phone", "alice", TOKEN, Platform.IOS, PushEnvironment.PRODUCTION, 1_600_000_000_000, "key:1")
HELLO = Notification("31ce", "c1", "claude", "Good morning")
PRODUCTION, SANDBOX = f"/production/3/device/{TOKEN}", f"/sandbox/3/device/{TOKEN}"


def hosts(url: str) -> dict[PushEnvironment, str]:
    return {environment: f"{url}/{environment.value}" for environment in PushEnvironment}


@pytest.fixture
def clock() -> Clock:
    return Clock(NOW_S)


@pytest.fixture
def apns(line: PushTransport, service: PushService, clock: Clock) -> Apns:
    return Apns(line, Secret(pem(APPLE)), ACCOUNT, hosts(service.url), clock)


def refusal(status: int, reason: str, **more: Any) -> Reply:
    return Reply(status, {"reason": reason, **more})


def claims(request: Received) -> dict[str, Any]:
    """What the request's provider token says, if its signature is good."""
    kind, token = request.headers["authorization"].split(" ")
    assert kind == "bearer"
    options = {"verify_iat": False, "verify_exp": False}
    decoded: dict[str, Any] = jwt.decode(token, APPLE.public_key(), algorithms=["ES256"], options=options)  # type: ignore[arg-type]
    return decoded


async def test_a_push_is_what_apple_asks_for(apns: Apns, service: PushService) -> None:
    assert await apns.send(PHONE, HELLO) == Delivered(PushEnvironment.PRODUCTION)

    (request,) = service.requests
    assert (request.path, request.http_version) == (PRODUCTION, "2")
    assert {name: value for name, value in request.headers.items() if name.startswith("apns-")} == {
        "apns-topic": "com.example.relay",
        "apns-push-type": "alert",
        "apns-priority": "10",
        "apns-expiration": str(1_700_003_100 + 7 * 24 * 60 * 60),
        "apns-collapse-id": "31ce",
    }
    assert request.json == {
        "aps": {"alert": {"title": "New message from Claude", "body": "Good morning"}, "sound": "default", "badge": 1},
        "type": "new_message",
        "sender": "Claude",
        "preview": "Good morning",
        "conversation": "c1",
        "reply": "31ce",
    }


async def test_a_push_is_signed_with_the_accounts_key(apns: Apns, service: PushService) -> None:
    await apns.send(PHONE, HELLO)

    (request,) = service.requests
    assert claims(request) == {"iss": "TEAM123456", "iat": SPAN_BEGINS_S}
    header = jwt.get_unverified_header(request.headers["authorization"].removeprefix("bearer "))
    assert header == {"alg": "ES256", "kid": "KEY1234567"}


async def test_a_device_of_the_sandbox_is_reached_there(apns: Apns, service: PushService) -> None:
    assert await apns.send(replace(PHONE, environment=PushEnvironment.SANDBOX), HELLO) == Delivered(
        PushEnvironment.SANDBOX
    )

    assert [request.path for request in service.requests] == [SANDBOX]


def test_apples_own_addresses_are_the_default() -> None:
    assert HOSTS == {
        PushEnvironment.PRODUCTION: "https://api.push.apple.com",
        PushEnvironment.SANDBOX: "https://api.sandbox.push.apple.com",
    }


# --- what Apple answers -----------------------------------------------------------------------------------------------

ROWS: list[tuple[int, str, Verdict]] = [
    (410, "Unregistered", Dead(NOW_MS)),
    (410, "ExpiredToken", Dead(NOW_MS)),
    (429, "TooManyRequests", Later("TooManyRequests")),
    (429, "TooManyProviderTokenUpdates", Later("TooManyProviderTokenUpdates")),
    (500, "InternalServerError", Later("InternalServerError")),
    (503, "ServiceUnavailable", Later("ServiceUnavailable")),
    (503, "Shutdown", Later("Shutdown")),
    (400, "IdleTimeout", Later("IdleTimeout")),
    (403, "InvalidProviderToken", Misconfigured("InvalidProviderToken")),
    (403, "MissingProviderToken", Misconfigured("MissingProviderToken")),
    (403, "BadCertificate", Misconfigured("BadCertificate")),
    (403, "BadCertificateEnvironment", Misconfigured("BadCertificateEnvironment")),
    (403, "BadEnvironmentKeyIdInToken", Misconfigured("BadEnvironmentKeyIdInToken")),
    (403, "UnrelatedKeyIdInToken", Misconfigured("UnrelatedKeyIdInToken")),
    (403, "Forbidden", Misconfigured("Forbidden")),
    (400, "BadTopic", Misconfigured("BadTopic")),
    (400, "MissingTopic", Misconfigured("MissingTopic")),
    (400, "TopicDisallowed", Misconfigured("TopicDisallowed")),
    (413, "PayloadTooLarge", Rejected("PayloadTooLarge")),
    (400, "BadCollapseId", Rejected("BadCollapseId")),
    (400, "BadPriority", Rejected("BadPriority")),
    (400, "BadExpirationDate", Rejected("BadExpirationDate")),
    (400, "InvalidPushType", Rejected("InvalidPushType")),
    (400, "PayloadEmpty", Rejected("PayloadEmpty")),
    (404, "BadPath", Rejected("BadPath")),
    (405, "MethodNotAllowed", Rejected("MethodNotAllowed")),
    (400, "SomethingNew", Rejected("SomethingNew")),
]


@pytest.mark.parametrize(("status", "reason", "verdict"), ROWS, ids=[reason for _, reason, _ in ROWS])
async def test_an_answer_is_judged_and_not_asked_for_again(
    apns: Apns, service: PushService, status: int, reason: str, verdict: Verdict
) -> None:
    service.replies[PRODUCTION] = [refusal(status, reason)]

    assert await apns.send(PHONE, HELLO) == verdict
    assert len(service.requests) == 1


@pytest.mark.parametrize(
    ("status", "verdict"),
    [
        (502, Later("502")),
        (429, Later("429")),
        (403, Misconfigured("403")),
        (404, Rejected("404")),
        (301, Rejected("301")),
    ],
)
@pytest.mark.parametrize("body", ["<html>", "", {"reason": 7}, ["BadDeviceToken"]])
async def test_what_answers_for_apple_is_judged_by_its_status(
    apns: Apns, service: PushService, status: int, verdict: Verdict, body: Any
) -> None:
    service.replies[PRODUCTION] = [Reply(status, body)]

    assert await apns.send(PHONE, HELLO) == verdict


@pytest.mark.parametrize("status", [429, 503])
async def test_a_wait_that_apple_asks_for_is_handed_on(apns: Apns, service: PushService, status: int) -> None:
    service.replies[PRODUCTION] = [Reply(status, {"reason": "Shutdown"}, {"retry-after": "17"})]

    assert await apns.send(PHONE, HELLO) == Later("Shutdown", 17.0)


@pytest.mark.parametrize("reason", ["Unregistered", "ExpiredToken"])
async def test_a_token_is_dead_since_when_apple_says(apns: Apns, service: PushService, reason: str) -> None:
    service.replies[PRODUCTION] = [refusal(410, reason, timestamp=1_700_000_000_123)]

    assert await apns.send(PHONE, HELLO) == Dead(1_700_000_000_123)


@pytest.mark.parametrize("timestamp", [None, "soon", [1]])
async def test_a_token_is_dead_from_now_on_if_apple_does_not_say(
    apns: Apns, service: PushService, timestamp: Any
) -> None:
    service.replies[PRODUCTION] = [refusal(410, "Unregistered", timestamp=timestamp)]

    assert await apns.send(PHONE, HELLO) == Dead(NOW_MS)


# --- the other environment --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("reason", ["BadDeviceToken", "DeviceTokenNotForTopic"])
@pytest.mark.parametrize(
    ("environment", "paths"),
    [(PushEnvironment.PRODUCTION, [PRODUCTION, SANDBOX]), (PushEnvironment.SANDBOX, [SANDBOX, PRODUCTION])],
)
async def test_a_token_may_be_the_other_environments(
    apns: Apns, service: PushService, reason: str, environment: PushEnvironment, paths: list[str]
) -> None:
    service.replies[paths[0]] = [refusal(400, reason)]

    assert await apns.send(replace(PHONE, environment=environment), HELLO) == Delivered(environment.other)
    assert [request.path for request in service.requests] == paths


async def test_a_token_that_neither_knows_is_dead(apns: Apns, service: PushService) -> None:
    for environment in (PRODUCTION, SANDBOX):
        service.replies[environment] = [refusal(400, "BadDeviceToken")]

    assert await apns.send(PHONE, HELLO) == Dead(NOW_MS)
    assert [request.path for request in service.requests] == [PRODUCTION, SANDBOX]


@pytest.mark.parametrize(
    "reasons",
    [
        ("DeviceTokenNotForTopic", "DeviceTokenNotForTopic"),
        ("DeviceTokenNotForTopic", "BadDeviceToken"),
        ("BadDeviceToken", "DeviceTokenNotForTopic"),
    ],
)
async def test_a_token_of_another_app_may_be_our_own_bundle_id_that_is_wrong(
    apns: Apns, service: PushService, reasons: tuple[str, str]
) -> None:
    """The phone is kept, and the operator told. https://github.com/rails/action_push_native/issues/4"""
    for environment, reason in zip((PRODUCTION, SANDBOX), reasons, strict=True):
        service.replies[environment] = [refusal(400, reason)]

    assert await apns.send(PHONE, HELLO) == Misconfigured("DeviceTokenNotForTopic")
    assert [request.path for request in service.requests] == [PRODUCTION, SANDBOX]


async def test_a_key_that_cannot_be_read_is_ours_to_mend(line: PushTransport) -> None:
    async def denied() -> str:
        raise Denied("No key.", said=Said(type="ResourceNotFoundException", sentence="relay/apns"))

    assert await Apns(line, denied, ACCOUNT).send(PHONE, HELLO) == Misconfigured(
        "the key for APNs cannot be read: ResourceNotFoundException relay/apns"
    )


@pytest.mark.parametrize(
    ("answer", "verdict"),
    [
        (refusal(503, "Shutdown"), Later("Shutdown")),
        (refusal(410, "Unregistered", timestamp=5), Dead(5)),
        (refusal(403, "BadEnvironmentKeyIdInToken"), Misconfigured("BadEnvironmentKeyIdInToken")),
    ],
)
async def test_what_the_other_environment_says_counts(
    apns: Apns, service: PushService, answer: Reply, verdict: Verdict
) -> None:
    service.replies[PRODUCTION] = [refusal(400, "BadDeviceToken")]
    service.replies[SANDBOX] = [answer]

    assert await apns.send(PHONE, HELLO) == verdict


# --- the provider token -----------------------------------------------------------------------------------------------


def test_environments_that_know_nothing_of_each_other_sign_the_same() -> None:
    tokens = {provider_token(APPLE, ACCOUNT, SPAN_BEGINS_S) for _ in range(20)}

    assert len(tokens) == 1


async def test_pushes_share_a_token_for_forty_minutes(
    line: PushTransport, service: PushService, apns: Apns, clock: Clock
) -> None:
    other = Apns(line, Secret(pem(APPLE)), ACCOUNT, hosts(service.url), clock)
    for into_span_s in (0, 1, 1199, 2399.9, 2400, 2401):
        clock.now_s = SPAN_BEGINS_S + into_span_s
        await apns.send(PHONE, HELLO)
        await other.send(PHONE, HELLO)

    tokens = [request.headers["authorization"] for request in service.requests]
    assert (len(set(tokens[:8])), len(set(tokens[8:]))) == (1, 1)
    assert [claims(request)["iat"] - SPAN_BEGINS_S for request in service.requests] == [0] * 8 + [2400] * 4


async def test_a_token_that_apple_finds_too_old_is_signed_again_once_and_kept(
    apns: Apns, service: PushService, clock: Clock
) -> None:
    service.replies[PRODUCTION] = [refusal(403, "ExpiredProviderToken")]

    assert await apns.send(PHONE, HELLO) == Delivered(PushEnvironment.PRODUCTION)
    clock.now_s += 600
    await apns.send(PHONE, HELLO)
    clock.now_s = SPAN_BEGINS_S + 2400
    await apns.send(PHONE, HELLO)

    signed_s = [claims(request)["iat"] for request in service.requests]
    assert signed_s == [SPAN_BEGINS_S, math.floor(NOW_S), math.floor(NOW_S), SPAN_BEGINS_S + 2400]


async def test_a_token_that_apple_finds_too_old_twice_is_our_clocks_fault(apns: Apns, service: PushService) -> None:
    service.replies[PRODUCTION] = [refusal(403, "ExpiredProviderToken")] * 2

    assert await apns.send(PHONE, HELLO) == Misconfigured("ExpiredProviderToken")
    assert len(service.requests) == 2


async def test_pushes_that_race_sign_again_once_together(line: PushTransport, service: PushService) -> None:
    ticking = count(SPAN_BEGINS_S + 600)
    apns = Apns(line, Secret(pem(APPLE)), ACCOUNT, hosts(service.url), lambda: next(ticking))
    too_old = refusal(403, "ExpiredProviderToken")
    service.usual = lambda request: too_old if claims(request)["iat"] == SPAN_BEGINS_S else Reply()

    verdicts = await asyncio.gather(*(apns.send(PHONE, HELLO) for _ in range(5)))

    assert verdicts == [Delivered(PushEnvironment.PRODUCTION)] * 5
    assert len({claims(request)["iat"] for request in service.requests}) == 2


@pytest.mark.parametrize(
    ("url", "bundle_id"),
    [("https://[::1", "com.example"), ("api.push.apple.com", "com.example"), (None, "com.exämple")],
    ids=["no address", "no scheme", "no header"],
)
async def test_what_no_request_can_be_made_of_is_our_configuration(
    line: PushTransport, service: PushService, url: str | None, bundle_id: str
) -> None:
    account = replace(ACCOUNT, bundle_id=bundle_id)

    verdict = await Apns(line, Secret(pem(APPLE)), account, hosts(url or service.url)).send(PHONE, HELLO)

    assert isinstance(verdict, Misconfigured)
    assert service.requests == []


@pytest.mark.parametrize(
    "text",
    ["", "no key", *(pem(key) for key in (GOOGLE, *OTHERS)), pem(APPLE)[:80]],
    ids=["nothing", "text", "RSA", "P-384", "Ed25519", "half"],
)
async def test_what_is_no_key_of_apples_is_our_configuration(
    line: PushTransport, service: PushService, text: str
) -> None:
    verdict = await Apns(line, Secret(text), ACCOUNT, hosts(service.url)).send(PHONE, HELLO)

    assert isinstance(verdict, Misconfigured)
    assert service.requests == []


async def test_a_key_that_cannot_be_read_now_is_the_callers_trouble(line: PushTransport) -> None:
    async def unreadable() -> str:
        raise Upstream("The key cannot be read.")

    with pytest.raises(Upstream):
        await Apns(line, unreadable, ACCOUNT).send(PHONE, HELLO)


# --- a line that breaks -----------------------------------------------------------------------------------------------


@pytest.fixture
async def impatient(authority: Authority) -> AsyncIterator[PushTransport]:
    line = PushTransport(authority.trust, httpx.Timeout(30, read=1))
    yield line
    await line.close()


@pytest.mark.parametrize("fault", ["abort", "mute", "shutdown", "refuse"])
async def test_a_push_survives_a_connection_that_breaks(
    impatient: PushTransport, authority: Authority, fault: str
) -> None:
    async with Faulty(fault, "answer").serving(authority) as faulty:
        apns = Apns(impatient, Secret(pem(APPLE)), ACCOUNT, hosts(faulty.url))

        assert await apns.send(PHONE, HELLO) == Delivered(PushEnvironment.PRODUCTION)


@pytest.mark.parametrize(
    ("fault", "failures"),
    [
        ("abort", {"ReadError", "RemoteProtocolError", "WriteError"}),
        ("mute", {"ReadTimeout"}),
        ("shutdown", {"RemoteProtocolError"}),
    ],
)
async def test_a_service_that_breaks_off_again_is_asked_later(
    impatient: PushTransport, authority: Authority, fault: str, failures: set[str]
) -> None:
    async with Faulty(fault).serving(authority) as faulty:
        apns = Apns(impatient, Secret(pem(APPLE)), ACCOUNT, hosts(faulty.url))

        verdict = await apns.send(PHONE, HELLO)

    assert isinstance(verdict, Later)
    assert (verdict.reason in failures, verdict.after_s) == (True, None)
