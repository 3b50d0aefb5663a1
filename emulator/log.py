"""One readable line for each thing that happens. Never the text of a message, never a credential.

Frames, warm invocations and all that functions print are for `--verbose`.
"""

import logging
import re
import sys
from typing import Any

from emulator.printed import Sentence, readable

LOGGER = logging.getLogger("emulator")
IN, OUT = "→", "←"
# Unicode's categories Cc but for the tab, Zl, Zp, of Cf what turns directions and what is never seen (tags), and Cs.
_NOT_SHOWN = re.compile(
    r"[\x00-\x08\x0a-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff\U000e0000-\U000e007f]"
)


def configure(*, verbose: bool) -> None:
    """Send the gateway's lines to standard error, so that standard output holds only what scripts wait for."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(Escaping("%(asctime)s.%(msecs)03d  %(message)s", datefmt="%H:%M:%S"))
    LOGGER.addHandler(handler)
    LOGGER.setLevel(logging.DEBUG if verbose else logging.INFO)
    LOGGER.propagate = False  # a root handler, as some library sets one, would print each line again
    uvicorn = logging.getLogger("uvicorn.error")
    uvicorn.addFilter(_is_not_meant)
    uvicorn.addHandler(handler)


def escaped(line: str) -> str:
    """Keep what clients, functions and templates wrote from becoming lines, colours or commands of the terminal.

    Controls, line and paragraph separators, and marks that turn the direction of the text are shown as Python writes
    them. What a function prints keeps its tabs.
    """
    return _NOT_SHOWN.sub(lambda match: ascii(match.group())[1:-1], line)


class Escaping(logging.Formatter):
    """A formatter whose lines are `escaped`."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802
        return escaped(super().formatMessage(record))

    def formatException(self, ei: Any) -> str:  # noqa: N802
        # Line by line: the line ends between them are the traceback's own.
        return "\n".join(map(escaped, super().formatException(ei).split("\n")))


def _is_not_meant(record: logging.LogRecord) -> bool:
    """Whether a line of uvicorn's may be shown."""
    # uvicorn takes handshakes that are refused, and answers that a script cuts off, for errors.
    return not str(record.msg).startswith("ASGI callable returned without completing ")


def connection(connection_id: str, what: str) -> None:
    LOGGER.info("%s  %s", _short(connection_id), what)


def frame(connection_id: str, direction: str, route: str, size: int) -> None:
    LOGGER.debug("%s %s %-12s %d bytes", _short(connection_id), direction, route, size)


def request(method: str, path: str, status: int, duration_s: float) -> None:
    LOGGER.info("http     %s %s  %d  %.0f ms", method, path, status, duration_s * 1000)


def invocation(function: str, duration_s: float, error: str, *, cold: bool) -> None:
    level = logging.INFO if cold or error else logging.DEBUG
    warmth = "cold" if cold else "warm"
    LOGGER.log(level, "λ        %s  %.0f ms  %s  %s", function, duration_s * 1000, error or "ok", warmth)


def call(function: str, operation: str, began_s: float, ended_s: float) -> None:
    """Log a function's call of an AWS service, with times of the monotonic clock: which calls wait for which."""
    LOGGER.debug("call     %s  %s  %.6f  %.6f", function, operation, began_s, ended_s)


def output(function: str, line: str, sentence: Sentence) -> None:
    """Log what a function printed: as it is, or what there is to read of it."""
    if LOGGER.isEnabledFor(logging.DEBUG):
        LOGGER.debug("%s | %s", function, line)
    elif said := readable(line, sentence):
        LOGGER.info("λ        %s  %s", function, said)


def fault(text: str) -> None:
    LOGGER.info("fault    %s", text)


def notice(text: str) -> None:
    LOGGER.info("%s", text)


def _short(connection_id: str) -> str:
    return connection_id[:8]
