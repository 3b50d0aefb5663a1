import base64
import hashlib
import hmac
import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chatrelay.domain.errors import TokenReason, TokenRefused, Unauthorized
from chatrelay.domain.identity import Identity
from chatrelay.tokens.tokens import Tokens
from tests.builders.doubles import Clock
from tests.builders.oidc import EC, ED25519, NOW_S, PSS, RSA, Provider, SigningKey, compact
from tests.builders.push_keys import GOOGLE
from tests.layers.chatrelay.tokens.conftest import Build, Log

FORGER = SigningKey("rsa-1", rsa.generate_private_key(public_exponent=65537, key_size=2048), "RS256")


@pytest.fixture
def tokens(build: Build) -> Tokens:
    return build()


def hs256(provider: Provider) -> str:
    """Signed with what everybody knows, the issuer's public key."""
    signed = compact({"alg": "HS256", "kid": "rsa-1"}, provider.claims()).rstrip(".")
    secret = GOOGLE.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    mac = hmac.digest(secret, signed.encode(), hashlib.sha256)
    return f"{signed}.{base64.urlsafe_b64encode(mac).decode().rstrip('=')}"


@pytest.mark.parametrize("key", [RSA, PSS, EC, ED25519], ids=lambda key: key.algorithm)
def test_a_token_is_taken_by_each_algorithm(tokens: Tokens, provider: Provider, key: SigningKey) -> None:
    provider.keys = [jwk.jwk() for jwk in (RSA, PSS, EC, ED25519)]

    assert tokens.verify(key.sign(provider.claims(sid="s"))) == Identity("app:65f", "app:s", NOW_S, NOW_S + 600)


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        ({"typ": None}, None),
        ({"typ": "at+jwt"}, None),
        ({"typ": "application/AT+JWT"}, None),
        ({"typ": "jwt"}, None),
        ({"typ": "logout+jwt"}, "kind"),
        ({"typ": "dpop+jwt"}, "kind"),
        ({"typ": 7}, "kind"),
        ({"crit": ["exp"], "exp": 1}, "malformed"),
        ({"jku": "https://evil.example", "x5u": "https://evil.example", "jwk": EC.jwk()}, None),
        ({"kid": "other"}, "key"),
        ({"kid": None}, None),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_header_asks_for_nothing_special(
    tokens: Tokens, provider: Provider, log: Log, header: dict[str, Any], reason: str | None
) -> None:
    assert refusal(tokens, RSA.sign(provider.claims(), **header)) == reason
    assert [line["reason"] for line in log.lines] == ([] if reason is None else [reason])


@pytest.mark.parametrize(
    ("forge", "reason"),
    [
        (lambda provider: FORGER.sign(provider.claims()), "signature"),
        (lambda provider: FORGER.sign(provider.claims(), jwk=FORGER.jwk()), "signature"),
        (lambda provider: RSA.sign(provider.claims())[:-8] + "AAAAAAAA", "signature"),
        (lambda provider: compact({"alg": "RS256", "kid": "rsa-1"}, provider.claims()), "signature"),
        (hs256, "algorithm"),
        (lambda provider: compact({"alg": "none"}, provider.claims()), "algorithm"),
        (lambda provider: compact({"alg": "None", "kid": "rsa-1"}, provider.claims()), "algorithm"),
        (lambda provider: compact({"alg": ["RS256"], "kid": "rsa-1"}, provider.claims(), b"x"), "algorithm"),
        (lambda provider: compact({"kid": "rsa-1"}, provider.claims(), b"x"), "algorithm"),
        (lambda provider: SigningKey("rsa-1", GOOGLE, "RS512").sign(provider.claims()), "algorithm"),
        (lambda provider: SigningKey("rsa-1", EC.private, "ES256").sign(provider.claims()), "algorithm"),
        (lambda provider: SigningKey("rsa-1", GOOGLE, "PS256").sign(provider.claims()), "algorithm"),
        (lambda provider: RSA.sign(provider.claims(iss="https://evil.example")), "issuer"),
        (lambda provider: RSA.sign(provider.claims(iss=provider.url + "/")), "issuer"),
        (lambda provider: RSA.sign(provider.claims(iss=[provider.url])), "issuer"),
        (lambda provider: RSA.sign(provider.claims(iss=None)), "issuer"),
        (lambda provider: RSA.sign(provider.claims(groups=["g"] * 1800)), "too_long"),
        (lambda provider: compact({"alg": "RS256", "crit": ["b64"], "b64": True}, provider.claims()), "malformed"),
        (lambda provider: compact({"alg": "RS256", "kid": 7}, provider.claims(), b"x"), "malformed"),
        (lambda provider: compact({"alg": "RS256"}, [provider.claims()], b"x"), "malformed"),
        (lambda provider: RSA.sign(provider.claims()) + "=", "malformed"),
        (lambda provider: RSA.sign(provider.claims()) + "\n", "malformed"),
        (lambda provider: "Bearer " + RSA.sign(provider.claims()), "malformed"),
        (lambda _: "", "malformed"),
        (lambda _: "a.b.c.d", "malformed"),
        (lambda _: base64.urlsafe_b64encode(b"[" * 3000).decode() + ".e30.", "malformed"),
        (lambda provider: RSA.sign(provider.claims(exp=NOW_S - 30)), "expired"),
        (lambda provider: RSA.sign(provider.claims(aud="other")), "audience"),
    ],
    ids=[
        "another's key", "key within", "changed", "without signature", "HS256", "none", "None", "algorithms",
        "no algorithm", "RS512", "another type", "PSS", "another issuer", "a slash more",
        "issuers", "nobody's", "9 KB", "crit", "kid", "claims", "padded", "line end", "scheme", "empty", "four parts",
        "deep", "expired", "another's",
    ],
)  # fmt: skip
def test_what_the_issuer_has_not_signed_so_is_refused(
    tokens: Tokens, provider: Provider, log: Log, forge: Any, reason: str
) -> None:
    assert refusal(tokens, forge(provider)) == reason
    assert log.reason == reason


def test_the_log_has_neither_the_token_nor_whose_it_is(build: Build, provider: Provider, log: Log) -> None:
    claims = provider.claims(sub="ann-sub", email="ann@example.com", name="Ann", aud="\ud83d other")
    token = RSA.sign(claims, kid="\ud83d")

    refusal(build(), token)
    provider.keys = [RSA.jwk(kid="\ud83d")]
    refusal(build(), token)
    refusal(build(), RSA.sign(claims, kid="k" * 900))
    refusal(build(), f"{token}.{token}")

    assert [line["reason"] for line in log.lines] == ["key", "audience", "key", "malformed"]
    assert [line.get("kid") for line in log.lines] == ["\ufffd", "\ufffd", "k" * 500, None]
    for line in log.lines:
        text = json.dumps(line)
        assert not any(secret in text for secret in [token[-40:], "ann-sub", "ann@example.com", "Ann"])
        assert line.get("issuer") in (provider.url, None)


def test_a_token_without_session_is_one_credential_whatever_its_signature(tokens: Tokens, provider: Provider) -> None:
    """ECDSA's signatures are random: the same claims are signed twice, and are still one credential."""
    provider.keys = [EC.jwk()]
    first, second = EC.sign(provider.claims()), EC.sign(provider.claims())

    assert first != second
    assert tokens.verify(first).credential == tokens.verify(second).credential


def test_a_clock_that_goes_on_ends_a_token(tokens: Tokens, provider: Provider, clock: Clock) -> None:
    token = RSA.sign(provider.claims())

    assert refusal(tokens, token) is None
    clock.now_s = NOW_S + 630
    assert refusal(tokens, token) == "expired"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=4,
)
NAMES = ["sub", "aud", "azp", "client_id", "exp", "nbf", "iat", "sid", "jti", "auth_time", "typ", "token_use", "events"]
TAKEN = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


@TAKEN
@given(text=st.text(st.characters()) | st.builds(compact, JSON, JSON, st.binary(max_size=8)))
def test_any_text_is_unauthorized_and_nothing_else(tokens: Tokens, text: str) -> None:
    with pytest.raises(Unauthorized):
        tokens.verify(text)


@TAKEN
@given(
    header=st.fixed_dictionaries({}, optional=dict.fromkeys(["alg", "typ", "crit", "kid", "b64"], JSON)),
    claims=st.fixed_dictionaries({}, optional=dict.fromkeys(NAMES, JSON)),
)
def test_whatever_an_issuer_signs_is_an_identity_or_unauthorized(
    tokens: Tokens, log: Log, provider: Provider, header: dict[str, Any], claims: dict[str, Any]
) -> None:
    before = len(log.lines)
    provider.keys = [ED25519.jwk()]
    first, second, _ = compact({"alg": "EdDSA"} | header, provider.claims() | claims).split(".")
    assert isinstance(ED25519.private, ed25519.Ed25519PrivateKey)
    signature = base64.urlsafe_b64encode(ED25519.private.sign(f"{first}.{second}".encode())).decode().rstrip("=")

    refused = refusal(tokens, f"{first}.{second}.{signature}")

    assert len(log.lines) - before == (0 if refused is None else 1)


def refusal(tokens: Tokens, token: str) -> TokenReason | None:
    """Why `token` is refused; None if it is taken."""
    try:
        identity = tokens.verify(token)
    except TokenRefused as refused:
        return refused.reason
    assert len(identity.user) <= len("app:%sha256-") + 255
    return None
