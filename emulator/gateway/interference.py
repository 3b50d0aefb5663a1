"""Where something may be put between a client, a function and a service. By default nothing is."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from emulator.gateway.connections import Post, post
from emulator.gateway.websocket import Sockets
from emulator.lambda_.environments import Supervisor
from emulator.lambda_.invoke import Passage, at_once

Endpoint = Callable[[Request], Awaitable[Response]]


@dataclass(frozen=True)
class Interference:
    """What is done to whatever passes.

    `posts`, `sockets`, `events` and `workers`: see their types. `calls`: how the emulator's own part of AWS's API is
    answered, given the endpoint that would answer; None if that endpoint is asked itself. `services`: where workers ask
    the other services; empty for their own address. `routes`: asked before all others. `end`: called when the emulator
    ends, after the last worker.
    """

    posts: Post = post
    sockets: Sockets = field(default_factory=Sockets)
    events: Passage = at_once
    workers: Supervisor = field(default_factory=Supervisor)
    calls: Callable[[Endpoint, Request], Awaitable[Response]] | None = None
    services: str = ""
    routes: Sequence[BaseRoute] = ()
    end: Callable[[], None] = lambda: None
