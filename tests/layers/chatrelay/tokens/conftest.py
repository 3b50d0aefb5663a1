import json
from collections.abc import Callable, Iterator
from io import BytesIO, TextIOWrapper
from itertools import count
from typing import Any

import pytest
from aws_lambda_powertools import Logger

from chatrelay.settings import Environment, Oidc
from chatrelay.tokens.documents import Documents
from chatrelay.tokens.tokens import Tokens
from tests.builders.doubles import Address, Clock
from tests.builders.oidc import NOW_S, Provider
from tests.builders.patience import PATIENCE_S
from tests.builders.push_services import Authority, serving_in_thread

NUMBERS = count(1)
NOTHING = {"OIDC_ISSUER": "", "OIDC_AUDIENCE": "", "OIDC_USER_CLAIM": "", "OIDC_REQUIRE": "", "OIDC_JWKS_URL": ""}
Build = Callable[..., Tokens]


class Log:
    """What the operator hears, in UTF-8: an object a line."""

    def __init__(self) -> None:
        self._written = BytesIO()
        self.logger = Logger(service=f"tokens-{next(NUMBERS)}", stream=TextIOWrapper(self._written, write_through=True))

    @property
    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self._written.getvalue().decode().splitlines()]

    @property
    def reason(self) -> str:
        """Why the only token was refused."""
        (line,) = self.lines
        return str(line["reason"])


@pytest.fixture(scope="package")
def provider_address(authority: Authority) -> Iterator[Address]:
    address = Address()
    with serving_in_thread(address, authority) as address.url:
        yield address


@pytest.fixture
def provider(provider_address: Address) -> Provider:
    provider = Provider(provider_address.url)
    provider_address.app = provider.app
    return provider


@pytest.fixture
def clock() -> Clock:
    return Clock(NOW_S)


@pytest.fixture
def log() -> Log:
    return Log()


@pytest.fixture(scope="session")
def documents(authority: Authority) -> Documents:
    return Documents(authority.trust, PATIENCE_S)


@pytest.fixture
def build(provider: Provider, documents: Documents, log: Log, clock: Clock) -> Build:
    """Builds what takes the provider's tokens for the audience `api`, or what the deployment's variables say."""

    def build(**variables: str) -> Tokens:
        usual = {"OIDC_ISSUER": f"app={provider.url}", "OIDC_AUDIENCE": "app=api"}
        issuers = Oidc.read(Environment(NOTHING | usual | variables)).issuers
        return Tokens(issuers, documents, log.logger, clock)

    return build
