"""One way to try again."""

import time
from collections.abc import Callable, Iterable
from typing import TypeVar

T = TypeVar("T")


def retry(
    call: Callable[[], T],
    pauses_s: Iterable[float],
    *,
    on: type[Exception] | tuple[type[Exception], ...],
    sleep: Callable[[float], None] = time.sleep,
) -> T:
    """Return what `call` returns. Pause and call again after an exception of `on`; raise what the last call raises."""
    for pause_s in pauses_s:
        try:
            return call()
        except on:
            sleep(pause_s)
    return call()
