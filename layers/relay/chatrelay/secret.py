"""Secrets Manager: the model's API key."""

import asyncio

from aws_lambda_powertools.utilities.parameters import get_secret
from aws_lambda_powertools.utilities.parameters.exceptions import GetParameterError

from chatrelay.errors import Upstream

FRESH_S = 3600


class Secret:
    """One secret, whose whole value is the key. It is read once an hour at most, in every environment."""

    def __init__(self, name: str) -> None:
        self._name = name

    async def __call__(self, *, renew: bool = False) -> str:
        """The key; `renew` reads it anew. Raises ``Upstream`` if it is missing or may not be read."""
        try:
            return await asyncio.to_thread(get_secret, self._name, max_age=FRESH_S, force_fetch=renew)
        except GetParameterError as problem:
            raise Upstream("The relay has no key for the model's service.") from problem
