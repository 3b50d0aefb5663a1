"""Keys as the services give them out."""

import json

from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

APPLE = ec.generate_private_key(ec.SECP256R1())
GOOGLE = rsa.generate_private_key(public_exponent=65537, key_size=2048)
OTHERS: list[PrivateKeyTypes] = [ec.generate_private_key(ec.SECP384R1()), ed25519.Ed25519PrivateKey.generate()]


def pem(key: PrivateKeyTypes) -> str:
    """The key as text (PKCS #8)."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def service_account(token_url: str) -> str:
    """The JSON file of a service account."""
    return json.dumps(
        {
            "type": "service_account",
            "project_id": "relay-1",
            "private_key_id": "k1",
            "private_key": pem(GOOGLE),
            "client_email": "push@relay-1.example",
            "token_uri": token_url,
        }
    )


class Secret:
    """A secret as it is kept."""

    def __init__(self, text: str) -> None:
        self.text = text

    async def __call__(self) -> str:
        return self.text
