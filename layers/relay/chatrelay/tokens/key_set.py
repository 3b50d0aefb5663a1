"""The public keys in a JSON Web Key Set (RFC 7517)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jwt
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

ALGORITHMS = ("RS256", "PS256", "ES256", "EdDSA")
LEAST_RSA_BITS = 2048
PublicKey = RSAPublicKey | EllipticCurvePublicKey | Ed25519PublicKey


@dataclass(frozen=True)
class Key:
    """A public key, and the algorithms that it verifies: its type says them, never a token (RFC 8725 3.1)."""

    kid: str | None
    algorithms: tuple[str, ...]
    public: PublicKey


def usable_keys(jwks: Mapping[str, Any]) -> tuple[Key, ...] | None:
    """Return the keys of a set that may verify tokens, without all others. None if it is no set of keys."""
    keys = jwks.get("keys")
    return tuple(key for key in map(_usable_key, keys) if key) if isinstance(keys, list) else None


def _usable_key(jwk: Any) -> Key | None:
    match jwk:
        case {"use": use} if use != "sig":
            return None
        case {"key_ops": operations} if not isinstance(operations, list) or "verify" not in operations:
            return None
        case {"kty": str()}:
            return _key(jwk)
    return None


def _key(jwk: dict[str, Any]) -> Key | None:
    kid, algorithm = jwk.get("kid"), jwk.get("alg")
    if not isinstance(kid, str | None) or not isinstance(algorithm, str | None):
        return None
    try:
        public = jwt.PyJWK(jwk).key
    except (jwt.PyJWTError, UnsupportedAlgorithm):
        return None
    algorithms: tuple[str, ...] = ()
    match public:  # a private key is none of these: whoever has read the set could sign with it
        case RSAPublicKey(key_size=bits) if bits >= LEAST_RSA_BITS:
            algorithms = ("RS256", "PS256")
        case EllipticCurvePublicKey(curve=SECP256R1()):
            algorithms = ("ES256",)
        case Ed25519PublicKey():
            algorithms = ("EdDSA",)
    # A set may say which of them a key is meant for (RFC 7517 4.4).
    meant = tuple(name for name in algorithms if algorithm in (None, name))
    return Key(kid, meant, public) if meant else None
