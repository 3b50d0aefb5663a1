"""Secrets Manager and Parameter Store: texts that operators keep there, each read now and then by every environment."""

import asyncio
import re
from collections.abc import Callable

from aws_lambda_powertools.utilities.parameters import get_parameter, get_secret
from aws_lambda_powertools.utilities.parameters.exceptions import GetParameterError
from botocore.exceptions import ClientError

from chatrelay.domain.errors import Denied, Reason, Said, Upstream
from chatrelay.domain.text import pasted

SECRET_FRESH_S = 3600
PROMPT_FRESH_S = 300
PASSING = {"InternalServerError", "InternalServiceError", "RequestLimitExceeded", "ThrottlingException"}
"""What a service answers when it has a bad moment. Everything else says that there is nothing for us to read."""
HEADER_VALUE = re.compile(r"[\x21-\x7e]+")
ASK_OPERATOR = "Only whoever runs the relay can mend that."


class Secret:
    """One secret, as its value stands there but for the white space that pasting leaves around it."""

    def __init__(self, name: str) -> None:
        self._name = name

    async def __call__(self, *, renew: bool = False) -> str:
        """The text; `renew` reads it anew. Raises ``Denied`` if there is none for us, ``Upstream``."""
        sentence = f"The relay cannot read a key that it needs. {ASK_OPERATOR}"
        return await _read(self._name, lambda: _secret(self._name, renew=renew), sentence, Reason.KEY)


class Key(Secret):
    """A secret that goes out in a header."""

    async def __call__(self, *, renew: bool = False) -> str:
        """The key; `renew` reads it anew. Raises ``Denied`` if it is missing or could be no key, ``Upstream``."""
        key = await super().__call__(renew=renew)
        if not HEADER_VALUE.fullmatch(key):
            said = Said(
                type="InvalidKey", sentence=f"{self._name}: a key is printable ASCII without any blank or line end"
            )
            raise Denied(f"The relay's key is none. {ASK_OPERATOR}", reason=Reason.KEY, said=said)
        return key


class Prompt:
    """What a model is told before every conversation: the whole of one parameter."""

    def __init__(self, name: str) -> None:
        self._name = name

    async def __call__(self, *, renew: bool = False) -> str:
        """The text. Raises ``Denied`` if there is none for us, ``Upstream``."""
        sentence = f"The relay cannot read what it tells the model before conversations. {ASK_OPERATOR}"
        return await _read(self._name, lambda: _prompt(self._name, renew=renew), sentence, Reason.SETTINGS)


def _secret(name: str, *, renew: bool) -> str | bytes:
    """Bytes, if that is how it was stored."""
    kept: str | bytes = get_secret(name, max_age=SECRET_FRESH_S, force_fetch=renew)
    return kept


def _prompt(name: str, *, renew: bool) -> str | bytes:
    """A ``SecureString`` as well: encrypted it would be no prompt."""
    kept: str | bytes = get_parameter(name, decrypt=True, max_age=PROMPT_FRESH_S, force_fetch=renew)
    return kept


async def _read(name: str, read: Callable[[], str | bytes], sentence: str, reason: Reason) -> str:
    try:
        kept = await asyncio.to_thread(read)
        return pasted(kept.decode() if isinstance(kept, bytes) else kept)
    except UnicodeDecodeError:  # which has the secret in it
        raise Denied(sentence, reason=reason, said=Said(type="NoText", sentence=f"{name}: must be UTF-8")) from None
    except GetParameterError as problem:
        cause = problem.__context__  # as Powertools (3.37) leaves it
        kind = cause.response["Error"]["Code"] if isinstance(cause, ClientError) else type(cause).__name__
        said = Said(type=kind, sentence=name)
        if isinstance(cause, ClientError) and kind not in PASSING:
            raise Denied(sentence, reason=reason, said=said) from problem
        raise Upstream("The relay could not read what it needs at the moment.", said=said) from problem
