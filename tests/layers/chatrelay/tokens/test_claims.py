from typing import Any

import pytest

from chatrelay.domain.errors import TokenReason, TokenRefused
from chatrelay.domain.identity import Identity
from chatrelay.settings import Issuer
from chatrelay.tokens.claims import identity

NOW_S = 1_800_000_000
CLAIMS = {"sub": "65f", "aud": "api", "sid": "s1", "iat": NOW_S - 60, "exp": NOW_S + 600}
ISSUER: dict[str, Any] = {
    "name": "app",
    "url": "https://id.example",
    "audiences": frozenset({"api", "https://web.example"}),
    "admits_no_audience": False,
    "user_claim": "sub",
    "required": (),
    "jwks_url": "",
}
SIGNED_SHA256 = "81b2237054046a8ffae1ea61db0b5d9537c231d29aec7ad21436c424272e1c46"


def of(claims: dict[str, Any], signed: str = "header.claims", **issuer: Any) -> Identity:
    """Whom `claims` name beside what is usual; what is None is left out."""
    kept = {name: value for name, value in (CLAIMS | claims).items() if value is not None}
    return identity(kept, Issuer(**(ISSUER | issuer)), signed, NOW_S)


def test_an_identity_has_the_issuers_short_name_and_the_claims() -> None:
    assert of({}) == Identity("app:65f", "app:s1", NOW_S - 60, NOW_S + 600)


def test_a_token_that_does_not_say_when_it_was_issued_is_as_old_as_can_be() -> None:
    assert of({"iat": None}).issued_at == 0


@pytest.mark.parametrize(
    ("subject", "user"),
    [
        ("auth0|65f", "app:auth0%7C65f"),
        ("a#b/c:d e", "app:a%23b%2Fc%3Ad%20e"),
        ("%sha256-00", "app:%25sha256-00"),
        ("\ud83d", "app:%ED%A0%BD"),
        ("x" * 96, "app:" + "x" * 96),
        ("x" * 97, "app:%sha256-19a8f07eeb7f3d0c0b7377e37d72eccde144cefeb44beac9c3227131a526688d"),
        ("😀" * 200, "app:%sha256-be0dd5625e999de4a629c08e0d2f7d8005c8fce643c7e469066c249d0bd51978"),
        ("\ud83d" * 200, "app:%sha256-23615e894319e1a9b3176bff81bf1fddb040c71cbb547c11cb16205369c60d33"),
    ],
    ids=["pipe", "separators", "like a hash", "half a surrogate pair", "longest", "longer", "emoji", "many halves"],
)
def test_a_user_is_quoted_for_keys(subject: str, user: str) -> None:
    assert of({"sub": subject}).user == user


@pytest.mark.parametrize(
    ("claims", "session"),
    [
        ({"sid": "a b", "session_id": "x", "origin_jti": "x", "jti": "x", "auth_time": 5}, "a%20b"),
        ({"sid": "", "session_id": "b", "origin_jti": "x", "jti": "x", "auth_time": 5}, "b"),
        ({"sid": 7, "origin_jti": "c", "jti": "x", "auth_time": 5}, "c"),
        ({"sid": None, "jti": "x", "auth_time": 5.5}, "5%4065f"),
        ({"sid": None, "auth_time": True}, SIGNED_SHA256),
        ({"sid": None}, SIGNED_SHA256),
        ({"sid": "x" * 97}, "%sha256-19a8f07eeb7f3d0c0b7377e37d72eccde144cefeb44beac9c3227131a526688d"),
    ],
    ids=["session", "Supabase's", "Cognito's", "Firebase's", "no time", "none", "long"],
)
def test_a_credential_is_the_first_session_that_is_named(claims: dict[str, Any], session: str) -> None:
    identity = of(claims)

    assert identity.credential == f"app:{session}"
    assert identity.names_session == (session != SIGNED_SHA256)


@pytest.mark.parametrize(
    ("claims", "reason"),
    [
        ({"exp": NOW_S - 29}, None),
        ({"exp": NOW_S - 30}, TokenReason.EXPIRED),
        ({"exp": NOW_S - 120}, TokenReason.EXPIRED),
        ({"nbf": NOW_S + 30}, None),
        ({"nbf": NOW_S + 31}, TokenReason.NOT_YET_VALID),
        ({"iat": NOW_S + 30}, None),
        ({"iat": NOW_S + 120}, TokenReason.NOT_YET_VALID),
        ({"exp": None}, TokenReason.CLAIM),
        ({"exp": str(NOW_S + 600)}, TokenReason.CLAIM),
        ({"exp": True}, TokenReason.CLAIM),
        ({"exp": float("nan")}, TokenReason.CLAIM),
        ({"exp": float("inf")}, TokenReason.CLAIM),
        ({"exp": 10**40}, TokenReason.CLAIM),
        ({"exp": -1}, TokenReason.CLAIM),
        ({"nbf": "soon"}, TokenReason.CLAIM),
        ({"iat": []}, TokenReason.CLAIM),
    ],
    ids=lambda value: str(value).replace(str(NOW_S), "now"),
)
def test_a_token_is_good_in_its_time_give_or_take_half_a_minute(
    claims: dict[str, Any], reason: TokenReason | None
) -> None:
    assert refusal(claims) == reason


@pytest.mark.parametrize(
    ("claims", "issuer", "reason"),
    [
        ({"aud": "https://web.example"}, {}, None),
        ({"aud": ["other", "api"]}, {}, None),
        ({"aud": "other"}, {}, TokenReason.AUDIENCE),
        ({"aud": "API"}, {}, TokenReason.AUDIENCE),
        ({"aud": ["other"]}, {}, TokenReason.AUDIENCE),
        ({"aud": []}, {}, TokenReason.AUDIENCE),
        ({"aud": [{}, 1]}, {}, TokenReason.AUDIENCE),
        ({"aud": {"api": 1}}, {}, TokenReason.AUDIENCE),
        ({"aud": "other", "client_id": "api", "azp": "api"}, {"admits_no_audience": True}, TokenReason.AUDIENCE),
        ({"aud": None, "client_id": "api", "azp": "other"}, {}, None),
        ({"aud": None, "client_id": "other", "azp": "api"}, {}, TokenReason.AUDIENCE),
        ({"aud": None, "azp": "api"}, {}, None),
        ({"aud": None, "azp": ["api"]}, {}, TokenReason.AUDIENCE),
        ({"aud": None, "azp": "https://evil.example"}, {"admits_no_audience": True}, TokenReason.AUDIENCE),
        ({"aud": None}, {}, TokenReason.AUDIENCE),
        ({"aud": None}, {"admits_no_audience": True, "audiences": frozenset()}, None),
        ({"aud": "none"}, {"admits_no_audience": True, "audiences": frozenset()}, TokenReason.AUDIENCE),
    ],
    ids=lambda value: str(value),
)
def test_a_token_is_for_one_of_the_audiences(
    claims: dict[str, Any], issuer: dict[str, Any], reason: TokenReason | None
) -> None:
    assert refusal(claims, **issuer) == reason


@pytest.mark.parametrize(
    ("claims", "required", "reason"),
    [
        ({"token_use": "access"}, (), None),
        ({"token_use": "id"}, (), TokenReason.KIND),
        ({"token_use": "id"}, (("token_use", "id"),), None),
        ({"token_use": "access"}, (("token_use", "id"),), TokenReason.CLAIM),
        ({"typ": "Bearer"}, (), None),
        ({"typ": "Refresh"}, (), TokenReason.KIND),
        ({"typ": "ID"}, (("typ", "ID"),), None),
        ({"typ": "ID", "token_use": "id"}, (("typ", "ID"),), TokenReason.KIND),
        ({"events": {}}, (), TokenReason.KIND),
        ({"plan": "pro"}, (("plan", "pro"),), None),
        ({"plan": ["free", "pro"]}, (("plan", "pro"),), None),
        ({"plan": "professional"}, (("plan", "pro"),), TokenReason.CLAIM),
        ({}, (("plan", "pro"),), TokenReason.CLAIM),
        ({}, (("plan", "null"),), TokenReason.CLAIM),
        ({"plan": {"pro": True}}, (("plan", "pro"),), TokenReason.CLAIM),
        ({"is_anonymous": False}, (("is_anonymous", "false"),), None),
        ({"is_anonymous": True}, (("is_anonymous", "false"),), TokenReason.CLAIM),
        ({"level": 2}, (("level", "2"),), None),
        ({"level": [1, 2]}, (("level", "2"),), None),
        ({"level": 2, "plan": "free"}, (("level", "2"), ("plan", "pro")), TokenReason.CLAIM),
    ],
    ids=lambda value: str(value),
)
def test_a_token_is_of_the_kind_that_is_wanted(
    claims: dict[str, Any], required: tuple[tuple[str, str], ...], reason: TokenReason | None
) -> None:
    assert refusal(claims, required=required) == reason


@pytest.mark.parametrize(
    ("claims", "user_claim", "reason"),
    [
        ({"sub": None}, "sub", TokenReason.CLAIM),
        ({"sub": ""}, "sub", TokenReason.CLAIM),
        ({"sub": 7}, "sub", TokenReason.CLAIM),
        ({"sub": ["65f"]}, "sub", TokenReason.CLAIM),
        ({"sub": None, "oid": "7"}, "oid", None),
        ({}, "oid", TokenReason.CLAIM),
        ({"email": "a@example.com", "email_verified": True}, "email", None),
        ({"email": "a@example.com", "email_verified": False}, "email", TokenReason.CLAIM),
        ({"email": "a@example.com", "email_verified": "true"}, "email", TokenReason.CLAIM),
        ({"email": "a@example.com"}, "email", TokenReason.CLAIM),
    ],
    ids=lambda value: str(value),
)
def test_a_user_is_a_text_that_the_issuer_vouches_for(
    claims: dict[str, Any], user_claim: str, reason: TokenReason | None
) -> None:
    assert refusal(claims, user_claim=user_claim) == reason


def refusal(claims: dict[str, Any], **issuer: Any) -> TokenReason | None:
    try:
        of(claims, **issuer)
    except TokenRefused as refused:
        return refused.reason
    return None
