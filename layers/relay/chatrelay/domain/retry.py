"""Retries of a call after failures that may pass."""

import time
from collections.abc import Callable, Iterable
from typing import TypeVar

T = TypeVar("T")
Failures = type[Exception] | tuple[type[Exception], ...]


def retry(
    call: Callable[[], T], pauses_s: Iterable[float], *, on: Failures, sleep: Callable[[float], None] = time.sleep
) -> T:
    """Return what `call` returns; after a failure of `on`, sleep for the next of `pauses_s` and call again.

    Raise the last failure when no pause is left. Any other exception goes out at once.
    """
    for pause_s in pauses_s:
        try:
            return call()
        except on:
            sleep(pause_s)
    return call()
