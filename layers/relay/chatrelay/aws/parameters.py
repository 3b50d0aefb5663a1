"""Secrets Manager and Parameter Store: texts that an operator keeps there, cached in each execution environment."""

import asyncio
import re
from collections.abc import Callable
from functools import partial

from aws_lambda_powertools.utilities.parameters import get_parameter, get_secret
from aws_lambda_powertools.utilities.parameters.exceptions import GetParameterError
from botocore.exceptions import ClientError

from chatrelay.domain.errors import Denied, Reason, Said, Upstream
from chatrelay.domain.text import pasted

SECRET_FRESH_S = 3600
PROMPT_FRESH_S = 300
PASSING = {"InternalServerError", "InternalServiceError", "RequestLimitExceeded", "ThrottlingException"}
"""Error codes of a service that is overloaded for the moment. Any other code says that the text cannot be read."""
HEADER_VALUE = re.compile(r"[\x21-\x7e]+")  # a line end in a header would make every request fail
ASK_OPERATOR = "Only whoever runs the relay can mend that."


class Secret:
    """One secret, without the white space that pasting leaves around it."""

    def __init__(self, name: str) -> None:
        self._name = name

    async def __call__(self, *, renew: bool = False) -> str:
        """Return the text; `renew` reads it again. Raise ``Denied`` if it is missing or forbidden, and ``Upstream``."""
        sentence = f"The relay cannot read a key that it needs. {ASK_OPERATOR}"
        read = partial(get_secret, self._name, max_age=SECRET_FRESH_S, force_fetch=renew)
        return await _read(self._name, read, sentence, Reason.KEY)


class Key(Secret):
    """A secret that is sent in a header."""

    async def __call__(self, *, renew: bool = False) -> str:
        """Return the key; `renew` reads it again. Raise ``Denied`` if it is missing or no key, and ``Upstream``."""
        key = await super().__call__(renew=renew)
        if not HEADER_VALUE.fullmatch(key):
            said = Said(
                type="InvalidKey", sentence=f"{self._name}: a key is printable ASCII without any blank or line end"
            )
            raise Denied(f"The relay's key is none. {ASK_OPERATOR}", reason=Reason.KEY, said=said)
        return key


class Prompt:
    """A system prompt: the whole of one parameter."""

    def __init__(self, name: str) -> None:
        self._name = name

    async def __call__(self, *, renew: bool = False) -> str:
        """Return the text; `renew` reads it again. Raise ``Denied`` if it is missing or forbidden, and ``Upstream``."""
        sentence = f"The relay cannot read what it tells the model before conversations. {ASK_OPERATOR}"
        # Decrypted, in case it is a `SecureString`.
        read = partial(get_parameter, self._name, decrypt=True, max_age=PROMPT_FRESH_S, force_fetch=renew)
        return await _read(self._name, read, sentence, Reason.SETTINGS)


async def _read(name: str, read: Callable[[], str | bytes], sentence: str, reason: Reason) -> str:
    try:
        stored = await asyncio.to_thread(read)
        return pasted(stored.decode() if isinstance(stored, bytes) else stored)
    except UnicodeDecodeError:  # the exception has the secret in it
        raise Denied(sentence, reason=reason, said=Said(type="NoText", sentence=f"{name}: must be UTF-8")) from None
    except GetParameterError as problem:
        cause = problem.__context__  # as Powertools (3.37) leaves it
        kind = cause.response["Error"]["Code"] if isinstance(cause, ClientError) else type(cause).__name__
        said = Said(type=kind, sentence=name)
        if isinstance(cause, ClientError) and kind not in PASSING:
            raise Denied(sentence, reason=reason, said=said) from problem
        raise Upstream("The relay could not read what it needs at the moment.", said=said) from problem
