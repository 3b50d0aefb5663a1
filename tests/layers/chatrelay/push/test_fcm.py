import asyncio
import json
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qs

import jwt
import pytest

from chatrelay.domain.devices import Device, Platform, PushEnvironment
from chatrelay.domain.errors import Upstream
from chatrelay.push.fcm import HOST, Fcm
from chatrelay.push.service import Dead, Delivered, Later, Misconfigured, Notification, Rejected, Verdict
from chatrelay.push.transport import PushTransport
from tests.builders.doubles import Clock
from tests.builders.push_keys import APPLE, GOOGLE, Secret, pem, service_account
from tests.builders.push_services import Authority, Faulty, PushService, Received, Reply

NOW_S = 1_700_000_000.5
NOW_MS = 1_700_000_000_500
TOKEN = "cR:APA91b_x-"
PHONE = Device("phone", "alice", TOKEN, Platform.ANDROID, PushEnvironment.PRODUCTION, 1_600_000_000_000, "key:1")
DELIVERED = Delivered(PushEnvironment.PRODUCTION)
HELLO = Notification("31ce", "c1", "codex", "Good morning")
GRANT, SEND = "/token", "/v1/projects/relay-1/messages:send"
FCM_ERROR = "type.googleapis.com/google.firebase.fcm.v1.FcmError"
BAD_REQUEST = "type.googleapis.com/google.rpc.BadRequest"
INVALID_TOKEN = "The registration token is not a valid FCM registration token"


@pytest.fixture
def clock() -> Clock:
    return Clock(NOW_S)


@pytest.fixture
def service(service: PushService) -> PushService:
    """One that lets everybody in."""
    service.usual = lambda request: grant("ya29.1") if request.path == GRANT else Reply(200, {"name": "m/1"})
    return service


@pytest.fixture
def fcm(line: PushTransport, service: PushService, clock: Clock) -> Fcm:
    return Fcm(line, Secret(service_account(service.url + GRANT)), service.url, clock)


def grant(access: str) -> Reply:
    return Reply(200, {"access_token": access, "expires_in": 3599, "token_type": "Bearer"})


def refusal(status: int, word: str, *details: dict[str, Any], message: str = "no") -> Reply:
    return Reply(status, {"error": {"code": status, "message": message, "status": word, "details": list(details)}})


def fcm_error(code: str) -> dict[str, Any]:
    return {"@type": FCM_ERROR, "errorCode": code}


def bad_field(field: str) -> dict[str, Any]:
    return {"@type": BAD_REQUEST, "fieldViolations": [{"field": field, "description": "no"}]}


def accesses(service: PushService) -> list[str]:
    return [request.headers["authorization"] for request in service.at(SEND)]


async def test_a_push_is_what_google_asks_for(fcm: Fcm, service: PushService) -> None:
    assert await fcm.send(PHONE, HELLO) == DELIVERED

    (request,) = service.at(SEND)
    assert (request.http_version, request.headers["content-type"]) == ("2", "application/json")
    assert request.json == {
        "message": {
            "token": TOKEN,
            "notification": {"title": "New message from Codex", "body": "Good morning"},
            "data": {
                "type": "new_message",
                "sender": "Codex",
                "preview": "Good morning",
                "conversation": "c1",
                "reply": "31ce",
            },
            "android": {
                "priority": "HIGH",
                "ttl": "604800s",
                "notification": {"tag": "31ce", "sound": "default", "notification_count": 1},
            },
        }
    }


def test_googles_own_address_is_the_default() -> None:
    assert HOST == "https://fcm.googleapis.com"


# --- being let in -----------------------------------------------------------------------------------------------------


def assertion(request: Received) -> dict[str, Any]:
    """What the request for an access token says, if its signature is good."""
    form = parse_qs(request.body.decode(), strict_parsing=True)
    assert form.keys() == {"grant_type", "assertion"}
    assert form["grant_type"] == ["urn:ietf:params:oauth:grant-type:jwt-bearer"]
    options = {"verify_iat": False, "verify_exp": False, "verify_aud": False}
    decoded: dict[str, Any] = jwt.decode(form["assertion"][0], GOOGLE.public_key(), ["RS256"], options)  # type: ignore[arg-type]
    return decoded


async def test_an_access_token_is_asked_for_with_a_signed_assertion(fcm: Fcm, service: PushService) -> None:
    await fcm.send(PHONE, HELLO)

    (request,) = service.at(GRANT)
    assert request.headers["content-type"] == "application/x-www-form-urlencoded"
    assert assertion(request) == {
        "iss": "push@relay-1.example",
        "scope": "https://www.googleapis.com/auth/firebase.messaging",
        "aud": service.url + GRANT,
        "iat": 1_700_000_000,
        "exp": 1_700_003_600,
    }
    form = parse_qs(request.body.decode())
    assert jwt.get_unverified_header(form["assertion"][0]) == {"alg": "RS256", "kid": "k1", "typ": "JWT"}
    assert accesses(service) == ["Bearer ya29.1"]


async def test_an_access_token_is_kept_until_shortly_before_its_end(
    fcm: Fcm, service: PushService, clock: Clock
) -> None:
    service.replies[GRANT] = [grant("ya29.1"), grant("ya29.2")]

    for after_s in (0, 1, 3538, 3539, 3540):
        clock.now_s = NOW_S + after_s
        await fcm.send(PHONE, HELLO)

    assert accesses(service) == ["Bearer ya29.1"] * 3 + ["Bearer ya29.2"] * 2


async def test_pushes_that_race_ask_for_one_access_token(fcm: Fcm, service: PushService) -> None:
    verdicts = await asyncio.gather(*(fcm.send(PHONE, HELLO) for _ in range(10)))

    assert verdicts == [DELIVERED] * 10
    assert len(service.at(GRANT)) == 1


async def test_an_access_token_that_is_refused_is_renewed_once_by_all(fcm: Fcm, service: PushService) -> None:
    service.replies[GRANT] = [grant("revoked"), grant("ya29.2")]
    usual, no = service.usual, refusal(401, "UNAUTHENTICATED")
    service.usual = lambda request: no if request.headers.get("authorization") == "Bearer revoked" else usual(request)

    verdicts = await asyncio.gather(*(fcm.send(PHONE, HELLO) for _ in range(5)))

    assert verdicts == [DELIVERED] * 5
    assert len(service.at(GRANT)) == 2


async def test_access_that_is_refused_again_is_our_configuration(fcm: Fcm, service: PushService) -> None:
    service.replies[GRANT] = [grant("ya29.1"), grant("ya29.2")]
    service.replies[SEND] = [refusal(401, "UNAUTHENTICATED")] * 2

    assert await fcm.send(PHONE, HELLO) == Misconfigured("UNAUTHENTICATED")
    assert accesses(service) == ["Bearer ya29.1", "Bearer ya29.2"]


@pytest.mark.parametrize(
    ("answer", "verdict"),
    [
        (Reply(400, {"error": "invalid_grant"}), Misconfigured("no access: invalid_grant")),
        (Reply(401, {"error": "invalid_client"}), Misconfigured("no access: invalid_client")),
        (Reply(403, "<html>"), Misconfigured("no access: 403")),
        (Reply(429, headers={"retry-after": "9"}), Later("no access: 429", 9.0)),
        (Reply(503), Later("no access: 503")),
        (Reply(200, "<html>"), Later("a grant that is none")),
        (Reply(200, {"access_token": "", "expires_in": 3599}), Later("a grant that is none")),
        (Reply(200, {"access_token": "ya29.1"}), Later("a grant that is none")),
    ],
    ids=str,
)
async def test_who_is_not_let_in_sends_nothing_and_tries_again(
    fcm: Fcm, service: PushService, answer: Reply, verdict: Verdict
) -> None:
    service.replies[GRANT] = [answer]

    assert await fcm.send(PHONE, HELLO) == verdict
    assert service.at(SEND) == []
    assert await fcm.send(PHONE, HELLO) == DELIVERED


NO_TEXTS: list[Any] = [None, 7, {}, []]
FILE = json.loads(service_account("https://127.0.0.1/token"))


@pytest.mark.usefixtures("undisturbed")
@pytest.mark.parametrize(
    "text",
    [
        "",
        "no JSON",
        "[]",
        "7",
        *(json.dumps({name: value for name, value in FILE.items() if name != left_out}) for left_out in list(FILE)[1:]),
        json.dumps({**FILE, "private_key": pem(APPLE)}),
        json.dumps({**FILE, "private_key": "no key"}),
        *(json.dumps({**FILE, name: value}) for name in list(FILE)[1:] for value in NO_TEXTS),
        *(
            json.dumps({**FILE, "token_uri": url})
            for url in ("", "https://[::1", "ftp://a.example", "https://a b/token")
        ),
        "[" * 100_000,
    ],
    ids=lambda text: text[-60:],
)
async def test_what_is_no_service_account_is_our_configuration(
    line: PushTransport, service: PushService, text: str
) -> None:
    assert isinstance(await Fcm(line, Secret(text), service.url).send(PHONE, HELLO), Misconfigured)
    assert service.requests == []


@pytest.mark.parametrize("project", ["re\nlay", "re\ud83dlay"], ids=ascii)
async def test_a_project_that_no_address_can_name_is_our_configuration(
    line: PushTransport, service: PushService, project: str
) -> None:
    account = {**json.loads(service_account(service.url + GRANT)), "project_id": project}

    verdict = await Fcm(line, Secret(json.dumps(account)), service.url).send(PHONE, HELLO)

    assert isinstance(verdict, Misconfigured)
    assert service.at(SEND) == []


async def test_an_account_that_cannot_be_read_now_is_the_callers_trouble(line: PushTransport) -> None:
    async def unreadable() -> str:
        raise Upstream("The account cannot be read.")

    with pytest.raises(Upstream):
        await Fcm(line, unreadable).send(PHONE, HELLO)


# --- what Google answers ----------------------------------------------------------------------------------------------

ROWS: list[tuple[Reply, Verdict]] = [
    (refusal(404, "NOT_FOUND", fcm_error("UNREGISTERED")), Dead(NOW_MS)),
    (refusal(400, "INVALID_ARGUMENT", fcm_error("INVALID_ARGUMENT"), message=INVALID_TOKEN), Dead(NOW_MS)),
    (refusal(400, "INVALID_ARGUMENT", bad_field("message.token")), Dead(NOW_MS)),
    (refusal(400, "INVALID_ARGUMENT", fcm_error("INVALID_ARGUMENT"), bad_field("message.token")), Dead(NOW_MS)),
    (refusal(400, "INVALID_ARGUMENT", bad_field("message.data[0].value")), Rejected("INVALID_ARGUMENT")),
    (
        refusal(400, "INVALID_ARGUMENT", bad_field("message.android"), message=INVALID_TOKEN),
        Rejected("INVALID_ARGUMENT"),
    ),
    (refusal(400, "INVALID_ARGUMENT", fcm_error("INVALID_ARGUMENT")), Rejected("INVALID_ARGUMENT")),
    (refusal(400, "INVALID_ARGUMENT", message="Android message is too big"), Rejected("INVALID_ARGUMENT")),
    (refusal(429, "RESOURCE_EXHAUSTED", fcm_error("QUOTA_EXCEEDED")), Later("QUOTA_EXCEEDED", 60)),
    (refusal(500, "INTERNAL", fcm_error("INTERNAL")), Later("INTERNAL")),
    (refusal(503, "UNAVAILABLE", fcm_error("UNAVAILABLE")), Later("UNAVAILABLE")),
    (refusal(403, "PERMISSION_DENIED", fcm_error("SENDER_ID_MISMATCH")), Misconfigured("SENDER_ID_MISMATCH")),
    (refusal(403, "PERMISSION_DENIED"), Misconfigured("PERMISSION_DENIED")),
    (refusal(404, "NOT_FOUND"), Misconfigured("NOT_FOUND")),
    (Reply(404, "<html>"), Misconfigured("404")),
    (Reply(502, "<html>"), Later("502")),
    (Reply(400, {"error": "no"}), Rejected("400")),
    (Reply(400, {"error": {"status": "INVALID_ARGUMENT", "details": {"a": 1}}}), Rejected("INVALID_ARGUMENT")),
    (Reply(400, {"error": {"status": 7, "details": [7, {"fieldViolations": 7}]}}), Rejected("400")),
]


@pytest.mark.parametrize(("answer", "verdict"), ROWS, ids=[str(verdict) for _, verdict in ROWS])
async def test_an_answer_is_judged_and_not_asked_for_again(
    fcm: Fcm, service: PushService, answer: Reply, verdict: Verdict
) -> None:
    service.replies[SEND] = [answer]

    assert await fcm.send(PHONE, HELLO) == verdict
    assert len(service.at(SEND)) == 1


@pytest.mark.parametrize("status", [429, 500, 503])
async def test_a_wait_that_google_asks_for_is_handed_on(fcm: Fcm, service: PushService, status: int) -> None:
    service.replies[SEND] = [replace(refusal(status, "UNAVAILABLE"), headers={"retry-after": "17"})]

    assert await fcm.send(PHONE, HELLO) == Later("UNAVAILABLE", 17.0)


async def test_a_third_partys_refusal_is_our_configuration(fcm: Fcm, service: PushService) -> None:
    service.replies[SEND] = [refusal(401, "UNAUTHENTICATED", fcm_error("THIRD_PARTY_AUTH_ERROR"))] * 2

    assert await fcm.send(PHONE, HELLO) == Misconfigured("THIRD_PARTY_AUTH_ERROR")


# --- a line that breaks -----------------------------------------------------------------------------------------------


async def test_a_push_survives_a_connection_that_breaks(
    line: PushTransport, service: PushService, authority: Authority
) -> None:
    async with Faulty("abort", "answer").serving(authority) as faulty:
        fcm = Fcm(line, Secret(service_account(service.url + GRANT)), faulty.url)

        assert await fcm.send(PHONE, HELLO) == DELIVERED


@pytest.mark.parametrize("broken", ["grant", "send"])
async def test_a_service_that_breaks_off_again_is_asked_later(
    line: PushTransport, service: PushService, authority: Authority, broken: str
) -> None:
    async with Faulty("shutdown").serving(authority) as faulty:
        at = {"grant": service.url, "send": service.url, broken: faulty.url}
        fcm = Fcm(line, Secret(service_account(at["grant"] + GRANT)), at["send"])

        assert await fcm.send(PHONE, HELLO) == Later("RemoteProtocolError")
