from typing import Any

import pytest
from starlette.responses import Response

from chatrelay.domain.errors import TokenRefused
from chatrelay.tokens.tokens import Tokens
from tests.builders.doubles import Clock
from tests.builders.oidc import DISCOVERY, EC, NOW_S, PSS, RSA, Provider
from tests.layers.chatrelay.tokens.conftest import Build, Log

DAY_S = 24 * 3600
FETCH = [DISCOVERY, "/keys"]


@pytest.fixture
def tokens(build: Build) -> Tokens:
    return build()


@pytest.fixture
def token(provider: Provider) -> str:
    """Good for two days, as it is the keys' age that matters here."""
    return RSA.sign(provider.claims(exp=NOW_S + 2 * DAY_S))


def reason(tokens: Tokens, token: str) -> str | None:
    """Why `token` is refused, None if it is taken."""
    try:
        tokens.verify(token)
    except TokenRefused as refused:
        return refused.reason
    return None


def test_keys_are_fetched_once_a_day(tokens: Tokens, token: str, provider: Provider, clock: Clock) -> None:
    for now_s, fetches in [(0, 1), (1, 1), (DAY_S - 1, 1), (DAY_S, 2), (DAY_S + 1, 2)]:
        clock.now_s = NOW_S + now_s
        assert (reason(tokens, token), provider.fetched) == (None, FETCH * fetches)


def test_a_rotated_key_is_found_and_a_withdrawn_one_is_not(
    tokens: Tokens, token: str, provider: Provider, clock: Clock
) -> None:
    assert reason(tokens, token) is None
    provider.keys = [EC.jwk()]
    clock.now_s += 30

    assert reason(tokens, EC.sign(provider.claims())) is None
    assert reason(tokens, token) == "key"
    assert provider.fetched == FETCH * 2


def test_a_foreign_kid_at_every_request_is_fetched_for_twice_a_minute(
    tokens: Tokens, token: str, provider: Provider, clock: Clock
) -> None:
    for now_s in range(61):
        clock.now_s = NOW_S + now_s
        assert reason(tokens, RSA.sign(provider.claims(), kid=f"foreign-{now_s}")) == "key"

    assert provider.fetched == FETCH * 3  # at 0, 30 and 60 s
    assert reason(tokens, token) is None


def test_keys_are_used_for_an_hour_more_while_the_issuer_is_down(
    tokens: Tokens, token: str, provider: Provider, clock: Clock, log: Log
) -> None:
    assert reason(tokens, token) is None
    provider.is_down = True
    for now_s in (DAY_S, DAY_S + 3599):
        clock.now_s = NOW_S + now_s
        assert reason(tokens, token) is None
    clock.now_s = NOW_S + DAY_S + 3600

    assert reason(tokens, token) == "keys"
    assert log.lines[0]["advice"].endswith(f"{provider.url}{DISCOVERY} answers with status 503.")
    assert len(provider.fetched) == 2 + 2  # the last time is a second after the one before


def test_an_issuer_that_is_down_is_asked_again_after_five_seconds(
    tokens: Tokens, token: str, provider: Provider, clock: Clock
) -> None:
    provider.is_down = True
    for now_s in (0, 1, 4.9):
        clock.now_s = NOW_S + now_s
        assert (reason(tokens, token), len(provider.fetched)) == ("keys", 1)
    provider.is_down = False
    clock.now_s = NOW_S + 5

    assert reason(tokens, token) is None


def test_known_keys_stay_when_an_unknown_one_cannot_be_fetched(
    tokens: Tokens, token: str, provider: Provider, clock: Clock, log: Log
) -> None:
    assert reason(tokens, token) is None
    provider.is_down = True
    clock.now_s += 30

    assert reason(tokens, EC.sign(provider.claims())) == "keys"
    assert "503" in log.lines[0]["advice"]
    assert reason(tokens, token) is None
    provider.is_down = False
    clock.now_s += 30
    assert reason(tokens, EC.sign(provider.claims())) == "key"


@pytest.mark.parametrize(
    ("keys", "signer", "refused"),
    [
        ([RSA.jwk(kid=None)], RSA, None),
        ([RSA.jwk(), EC.jwk()], RSA, None),
        ([RSA.jwk(), RSA.jwk(use="enc", kid="2")], RSA, None),
        ([RSA.jwk(), RSA.jwk(kid="2")], RSA, "key"),
        ([EC.jwk()], RSA, "key"),
        ([], RSA, "key"),
        ([RSA.jwk(), PSS.jwk()], PSS, None),
    ],
    ids=["one", "one of each type", "one to sign", "two", "another type", "none", "one of each algorithm"],
)
def test_a_token_without_kid_needs_exactly_one_key_that_fits(
    tokens: Tokens, provider: Provider, keys: Any, signer: Any, refused: str | None
) -> None:
    provider.keys = keys

    assert reason(tokens, signer.sign(provider.claims(), kid=None)) == refused


def test_two_keys_of_one_kid_are_told_apart_by_their_type(tokens: Tokens, provider: Provider) -> None:
    provider.keys = [EC.jwk(kid="1"), RSA.jwk(kid="1")]

    assert reason(tokens, RSA.sign(provider.claims(), kid="1")) is None
    assert reason(tokens, EC.sign(provider.claims(), kid="1")) is None


@pytest.mark.parametrize("path", FETCH)
@pytest.mark.parametrize(
    "answer",
    [
        Response("<html>", 200),
        Response("[]"),
        Response("{}", 302, {"location": "/elsewhere"}),
        Response("{}", 404),
        Response("{}"),
    ],
    ids=["HTML", "a list", "elsewhere", "nothing", "another object"],
)
def test_an_issuer_without_its_documents_is_none(
    tokens: Tokens, token: str, provider: Provider, log: Log, path: str, answer: Response
) -> None:
    provider.answers[path] = answer

    assert reason(tokens, token) == "keys"
    assert provider.url + path in log.lines[0]["advice"]
    assert "/elsewhere" not in provider.fetched
