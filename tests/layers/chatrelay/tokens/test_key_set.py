from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed448, rsa
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

from chatrelay.tokens.key_set import usable_keys
from tests.builders.oidc import EC, ED25519, RSA, jwk
from tests.builders.push_keys import APPLE

SMALL: dict[str, Any] = RSAAlgorithm.to_jwk(rsa.generate_private_key(65537, 1024).public_key(), as_dict=True)  # noqa: S505
P384: dict[str, Any] = ECAlgorithm.to_jwk(ec.generate_private_key(ec.SECP384R1()).public_key(), as_dict=True)
ED448: dict[str, Any] = OKPAlgorithm.to_jwk(ed448.Ed448PrivateKey.generate().public_key(), as_dict=True)
PRIVATE: dict[str, Any] = ECAlgorithm.to_jwk(APPLE, as_dict=True)


@pytest.mark.parametrize(
    ("jwk", "algorithms"),
    [
        (jwk(RSA.private), ("RS256", "PS256")),
        (RSA.jwk(alg="PS256"), ("PS256",)),
        (RSA.jwk(alg=None, use=None) | {"use": "sig"}, ("RS256", "PS256")),
        (RSA.jwk(key_ops=["verify"]), ("RS256",)),
        (jwk(EC.private), ("ES256",)),
        (jwk(ED25519.private), ("EdDSA",)),
    ],
    ids=["RSA", "RSA for PSS", "RSA without alg", "with key_ops", "EC", "Ed25519"],
)
def test_the_type_of_a_key_says_what_it_verifies(jwk: dict[str, Any], algorithms: tuple[str, ...]) -> None:
    (key,) = usable_keys({"keys": [jwk]}) or ()

    assert (key.kid, key.algorithms) == (jwk.get("kid"), algorithms)


@pytest.mark.parametrize(
    "other",
    [
        RSA.jwk(use="enc"),
        RSA.jwk(alg="RS512"),
        RSA.jwk(alg="RSA-OAEP"),
        RSA.jwk(alg="HS256"),
        RSA.jwk(alg=["RS256"]),
        RSA.jwk(kid=7),
        RSA.jwk(key_ops=["encrypt"]),
        RSA.jwk(key_ops="verify"),
        RSA.jwk(n="!"),
        RSA.jwk(e=3),
        RSA.jwk(kty="EC"),
        RSA.jwk(kty=["RSA"]),
        {"kty": "RSA"},
        {"kty": "oct", "k": "c2VjcmV0", "kid": "x", "alg": "HS256"},
        {"kty": "AKP", "alg": "ML-DSA-44", "pub": "AA"},
        EC.jwk(x="AA"),
        EC.jwk(crv="P-1"),
        ED25519.jwk(x="AA"),
        PRIVATE,
        SMALL,
        P384,
        ED448,
        "RSA",
        None,
        {},
    ],
    ids=[
        "for encryption",
        "RS512",
        "RSA-OAEP",
        "HS256",
        "algorithms",
        "kid",
        "key_ops",
        "no key_ops",
        "n",
        "e",
        "RSA as EC",
        "types",
        "no members",
        "a secret",
        "ML-DSA",
        "x",
        "crv",
        "a short x",
        "private",
        "1024 bits",
        "P-384",
        "Ed448",
        "a text",
        "null",
        "empty",
    ],
)
def test_a_key_that_cannot_be_used_is_skipped(other: Any) -> None:
    found = usable_keys({"keys": [other, EC.jwk(), other]})

    assert [key.kid for key in found or ()] == ["ec-1"]


@pytest.mark.parametrize(
    "jwks", [{}, {"keys": None}, {"keys": {"kid": EC.jwk()}}, EC.jwk()], ids=["empty", "null", "by kid", "a key"]
)
def test_what_has_no_list_of_keys_is_no_set(jwks: dict[str, Any]) -> None:
    assert usable_keys(jwks) is None
    assert usable_keys({"keys": []}) == ()
