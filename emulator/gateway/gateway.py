"""Everything on one port: which route is behind which door, and which pages may ask it."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TypeVar
from urllib.parse import parse_qsl, urlencode

import watchfiles
from starlette.applications import Starlette
from starlette.routing import Route, WebSocketRoute
from starlette.types import ASGIApp, Receive, Scope, Send

from emulator import log
from emulator.gateway.connections import Connections, ConnectionsApi
from emulator.gateway.http_api import HttpApis
from emulator.gateway.interference import Endpoint, Interference
from emulator.gateway.websocket import WebSockets
from emulator.lambda_ import worker_variables
from emulator.lambda_.environments import Pool
from emulator.lambda_.invoke import InvokeApi, Invoker
from emulator.limits import Limits
from emulator.plugin import Plugin
from emulator.services.forwarder import METHODS
from emulator.services.identity import Identity
from emulator.services.services import Services
from emulator.services.storage_door import STORAGE, StorageDoor
from emulator.serving import guard, server
from emulator.serving.guard import Door, Guard, Names
from emulator.template.apis import Api
from emulator.template.stack import Stack

A = TypeVar("A", bound=Api)
_OF_CONNECTIONS = ["DELETE", "GET", "POST"]


@dataclass(frozen=True)
class Gateway:
    """What is served. `origins`: whose pages may ask the template's APIs, beside those that the template names."""

    stack: Stack
    services: Services
    limits: Limits
    plugin: Plugin
    identity: Identity
    names: Names
    origins: frozenset[str] = frozenset()
    interference: Interference = field(default_factory=Interference)

    @property
    def address(self) -> str:
        """`host:port`"""
        return self.names.address

    async def serve(self, listening: socket.socket, on_ready: Callable[[], None]) -> None:
        """Serve until SIGINT or SIGTERM. End every worker before returning."""
        await self.plugin.prepare(self.stack, self.services)
        sentence, supervisor = self.plugin.sentence, self.interference.workers
        endpoints = {
            "AWS_ENDPOINT_URL": self.interference.services or self.services.endpoint,
            "AWS_ENDPOINT_URL_LAMBDA": f"http://{self.address}",
            "AWS_ENDPOINT_URL_S3": f"http://{self.address}{STORAGE}",
        }
        pools = {}
        for name, function in self.stack.functions.items():
            variables = worker_variables.for_function(function, self.identity, endpoints, self.plugin.environment)
            pools[name] = Pool(function, variables, self.limits, sentence, supervisor)
        invoker = Invoker(pools, self.services, self.limits, self.interference.events)
        storage = StorageDoor(self.services)
        await storage.look()  # before the first request: the guard asks which origins the buckets name
        doors = self.doors(invoker, storage)
        application = Guard(Starlette(routes=[route for door in doors for route in door.routes]), self.names, doors)

        # Workers end before open requests get their last moment: what waits for one is answered then.
        async def end() -> None:
            await asyncio.gather(self.plugin.end(), *(pool.stop() for pool in pools.values()))
            self.interference.end()

        configuration = server.config(EdgePaths(application, self.plugin.paths), self.limits)
        serving = server.Server(configuration, self.limits, self.identity.tls, on_ready, end)
        async with _reloading(pools):
            await serving.serve([listening])
        # Only now: the requests that the server has let finish were still asking both.
        await invoker.stop()
        await storage.stop()

    def doors(self, invoker: Invoker, storage: StorageDoor) -> Sequence[Door]:
        """Return all routes, by who may ask them: a page of elsewhere may not, unless its origin is let in."""
        websocket_apis = _by_stage(self.stack.websocket_apis)
        connections = Connections()
        sockets, post = self.interference.sockets, self.interference.posts
        websockets = WebSockets(websocket_apis, self.address, invoker, connections, self.limits, sockets)
        credentials = self.identity.credentials
        posts = ConnectionsApi(connections, frozenset(websocket_apis), self.limits, credentials, post)
        invocations = InvokeApi(invoker, self.limits, credentials)
        http_apis = HttpApis(_by_stage(self.stack.http_apis), self.address, invoker, self.limits)
        named_here = guard.named(sorted(self.origins))
        named_there = guard.named([origin for api in self.stack.http_apis if api.cors for origin in api.cors.origins])
        own = [
            *self.interference.routes,
            *self.plugin.routes,
            Route("/{stage}/@connections/{connection_id:any}", self._as_called(posts.answer), methods=_OF_CONNECTIONS),
            Route("/2015-03-31/functions/{name}/invocations", self._as_called(invocations.answer), methods=["POST"]),
        ]
        buckets = [Route(f"{STORAGE}/{{path:any}}", storage.answer, methods=METHODS)]
        # Last, because the first route that matches answers, and these take every path.
        template = [
            Route("/{path:any}", http_apis.answer, methods=METHODS),
            WebSocketRoute("/{path:any}", websockets.serve),
        ]
        return [
            Door(own),
            Door(buckets, lambda origin: named_here(origin) or storage.lets_in(origin)),
            Door(template, lambda origin: named_here(origin) or named_there(origin), deployed=True),
        ]

    def _as_called(self, endpoint: Endpoint) -> Endpoint:
        return endpoint if self.interference.calls is None else partial(self.interference.calls, endpoint)


class EdgePaths:
    """An application behind a CDN whose function rewrites paths, and sets parameters whatever the viewer's are."""

    def __init__(self, application: ASGIApp, paths: Mapping[str, str]) -> None:
        self._application = application
        self._paths = paths

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope.get("path") in self._paths:
            path, _, query = self._paths[scope["path"]].partition("?")
            queries = dict(parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True))
            queries |= parse_qsl(query)
            scope = {**scope, "path": path, "raw_path": path.encode(), "query_string": urlencode(queries).encode()}
        await self._application(scope, receive, send)


@contextlib.asynccontextmanager
async def _reloading(pools: Mapping[str, Pool]) -> AsyncIterator[None]:
    """Start new workers for a function once a file of it or of its layers has changed."""
    stop = asyncio.Event()
    watching = asyncio.create_task(_watch(pools, stop))
    try:
        yield
    finally:
        stop.set()
        await watching


async def _watch(pools: Mapping[str, Pool], stop: asyncio.Event) -> None:
    folders = {folder for pool in pools.values() for folder in pool.function.watched() if folder.is_dir()}
    if not folders:
        return
    async for changes in watchfiles.awatch(*folders, stop_event=stop, debounce=200, step=50, rust_timeout=500):
        changed = [Path(path) for _, path in changes]
        for pool in pools.values():
            if any(path.is_relative_to(folder) for folder in pool.function.watched() for path in changed):
                log.notice(f"{pool.function.name}: its code has changed")
                await pool.reload()


def _by_stage(apis: Iterable[A]) -> dict[str, A]:
    """Return the APIs by stage."""
    # All have one address, so only the stage tells them apart; `stack` gives no two the same.
    return {stage: api for api in apis for stage in api.stages}
