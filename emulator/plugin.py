"""What a project may add to the gateway beside its template: the edge in front of it, pages, seeds."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from starlette.routing import BaseRoute

from emulator.printed import Sentence
from emulator.services.services import Services
from emulator.template.stack import Stack


async def _no_end() -> None:
    return


async def _nothing(_stack: Stack, _services: Services) -> None:
    return


def _unsaid(_entry: Mapping[str, Any]) -> None:
    return None


@dataclass(frozen=True)
class Extras:
    """`routes`: asked before the template's own APIs.

    `paths`: what a CDN in front would rewrite, as `{"/api/claude/ws": "/v1?agent=claude"}`. Parameters named there
    replace the viewer's. Applied first of all, to HTTP and WebSocket requests alike.

    `environment`: variables for every function, stronger than the template's.

    `parameters`: what the template's parameters are, given those of the command line.

    `banner`: lines printed before `Ready: ...`.

    `sentence`: the gateway's own line for a structured line of a function's log.

    `prepare`: awaited once, when the template's data resources exist and before the first request.

    `end`: awaited when the gateway ends, before open requests get their last moment.
    """

    routes: Sequence[BaseRoute] = ()
    paths: Mapping[str, str] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    parameters: Callable[[Mapping[str, str]], Mapping[str, str]] = dict
    banner: Sequence[str] = ()
    sentence: Sentence = _unsaid
    prepare: Callable[[Stack, Services], Awaitable[None]] = _nothing
    end: Callable[[], Awaitable[None]] = _no_end
