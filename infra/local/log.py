"""One readable line a frame and an invocation. Never the text of a message, never a credential."""

import logging
import sys

LOGGER = logging.getLogger("infra.local")
IN, OUT = "→", "←"


def configure() -> None:
    """Send the gateway's lines to standard error, so that standard output holds only what scripts wait for."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s.%(msecs)03d  %(message)s", datefmt="%H:%M:%S"))
    LOGGER.addHandler(handler)
    LOGGER.setLevel(logging.INFO)
    LOGGER.propagate = False
    logging.getLogger("uvicorn.error").addFilter(_is_no_refused_handshake)


def _is_no_refused_handshake(record: logging.LogRecord) -> bool:
    """uvicorn reports a handshake that was answered with 401 or 403 as an error of its application."""
    return record.msg != "ASGI callable returned without completing handshake."


def connection(connection_id: str, what: str) -> None:
    LOGGER.info("%s  %s", _short(connection_id), what)


def frame(connection_id: str, direction: str, route: str, size: int) -> None:
    LOGGER.info("%s %s %-12s %d bytes", _short(connection_id), direction, route, size)


def request(method: str, path: str, status: int, duration_s: float) -> None:
    LOGGER.info("http     %s %s  %d  %.0f ms", method, path, status, duration_s * 1000)


def invocation(function: str, duration_s: float, status: str, *, cold: bool) -> None:
    LOGGER.info("λ        %s  %.0f ms  %s  %s", function, duration_s * 1000, status, "cold" if cold else "warm")


def output(function: str, line: str) -> None:
    LOGGER.info("%s | %s", function, line)


def fault(text: str) -> None:
    LOGGER.info("fault    %s", text)


def notice(text: str) -> None:
    LOGGER.info("%s", text)


def _short(connection_id: str) -> str:
    return connection_id[:8]
