"""The gateway with a fault plan: its parts, each with what goes wrong at it. Nothing here runs without `--faults`."""

import asyncio
import contextlib
import signal
import socket as sockets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute
from starlette.websockets import WebSocket

from emulator import log
from emulator.faults import plan as faults
from emulator.faults.call_faults import Calls
from emulator.faults.decisions import End, Fate, Hit
from emulator.faults.plan import Plan
from emulator.faults.schedule import FaultsApi, RunningPlan, RunningPlans
from emulator.faults.services_proxy import ServicesProxy
from emulator.gateway import connections
from emulator.gateway.connections import BufferFull, Connection, Connections, ConnectionsApi, Gone, State
from emulator.gateway.gateway import Gateway
from emulator.gateway.websocket import Closed, WebSockets
from emulator.lambda_.environments import Environment, Outcome, Pool
from emulator.lambda_.invoke import Event, InvokeApi, Invoker
from emulator.limits import Limits
from emulator.printed import Sentence
from emulator.services.services import Services
from emulator.services.signature import Credentials
from emulator.template.apis import WebSocketApi
from emulator.template.functions import Function


@dataclass(frozen=True, kw_only=True)
class FaultyGateway(Gateway):
    """Things go wrong in it as `plan` says."""

    plan: Plan
    plans: RunningPlans = field(init=False)
    calls: Calls = field(init=False)
    proxy: ServicesProxy = field(init=False)

    def __post_init__(self) -> None:
        logical_ids = {name: path.rpartition(".")[2] for path, name in self.stack.resources.items()}
        object.__setattr__(self, "plans", RunningPlans(self.plan, logical_ids))
        object.__setattr__(self, "calls", Calls(self.plans, self.identity.credentials))
        object.__setattr__(self, "proxy", ServicesProxy(self.services, self.calls, self.limits))

    async def serve(self, listening: sockets.socket, on_ready: Callable[[], None]) -> None:
        await self.proxy.start()
        try:
            await super().serve(listening, on_ready)
        finally:
            await self.proxy.stop()

    async def _end(self, pools: Mapping[str, Pool]) -> None:
        await super()._end(pools)
        self.plans.running.end()

    def _own_routes(self) -> Sequence[BaseRoute]:
        return [*FaultsApi(self.plans).routes(), *super()._own_routes()]

    def _pool(self, function: Function) -> Pool:
        variables = self._variables(function)
        return FaultyPool(function, variables, self.limits, self.plugin.sentence, self.plans, self.calls)

    def _variables(self, function: Function) -> Callable[[str], dict[str, str]]:
        variables = super()._variables(function)
        return lambda version: {**variables(version), "AWS_ENDPOINT_URL": self.proxy.address}

    def _invoker(self, pools: Mapping[str, Pool]) -> Invoker:
        return FaultyInvoker(pools, self.services, self.limits, self.plans)

    def _websockets(self, apis: Mapping[str, WebSocketApi], invoker: Invoker, connections: Connections) -> WebSockets:
        return FaultyWebSockets(apis, self.address, invoker, connections, self.limits, self.plans)

    def _posts(self, connections: Connections, stages: frozenset[str]) -> ConnectionsApi:
        return FaultyPosts(connections, stages, self.limits, self.identity.credentials, self.plans, self.calls)

    def _invocations(self, invoker: Invoker) -> InvokeApi:
        return FaultyInvocations(invoker, self.limits, self.identity.credentials, self.calls)


@dataclass(frozen=True, eq=False)
class _Held:
    """A post that is held back. Each is itself only, however alike their texts are."""

    text: str
    size: int


class FaultyPosts(ConnectionsApi):
    """`@connections` whose posts go astray."""

    def __init__(
        self,
        connections: Connections,
        stages: frozenset[str],
        limits: Limits,
        credentials: Credentials,
        plans: RunningPlans,
        calls: Calls,
    ) -> None:
        super().__init__(connections, stages, limits, credentials)
        self._plans = plans
        self._calls = calls
        self._held: dict[str, list[_Held]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def answer(self, request: Request) -> Response:
        operation = {"POST": "PostToConnection", "DELETE": "DeleteConnection"}.get(request.method, "GetConnection")
        return await self._calls.answer(request, operation, partial(super().answer, request))

    async def _post(self, connection: Connection, text: str, size: int) -> Response:
        plan = self._plans.running
        fate = plan.decisions.post(connection.id, connection.socket.stage, text)
        await plan.passed(fate.delay_s)
        if connection.state is not State.OPEN:
            raise Gone(connection.id)
        try:
            return await self._apply(plan, fate, connection, _Held(text, size))
        finally:
            if fate.end is not None:
                self._plans.close(plan, connection, fate.end)

    async def _apply(self, plan: RunningPlan, fate: Fate, connection: Connection, post: _Held) -> Response:
        match fate.fault:
            case faults.DropPost():
                return Response()
            case faults.RepeatPost():
                await super()._post(connection, post.text, post.size)
                return await self._deliver(connection, post)
            case faults.ReorderPost():
                self._hold(plan, connection, post, fate.seconds)
                return Response()
            case faults.RefusePost(status=status):
                return _refusal(connection, status)
            case faults.LoseAnswer(status=status):
                await self._deliver(connection, post)
                await plan.passed(fate.seconds)
                return _refusal(connection, status)
            case _:
                return await self._deliver(connection, post)

    async def _deliver(self, connection: Connection, post: _Held) -> Response:
        """Post, and after it what was held back for it."""
        response = await super()._post(connection, post.text, post.size)
        for held in list(self._held.get(connection.id, ())):
            await self._release(connection, held)
        return response

    def _hold(self, plan: RunningPlan, connection: Connection, post: _Held, seconds: float) -> None:
        async def release_in_time() -> None:
            await plan.passed(seconds)
            await self._release(connection, post)

        self._held.setdefault(connection.id, []).append(post)
        task = asyncio.create_task(release_in_time())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _release(self, connection: Connection, post: _Held) -> None:
        held = self._held.get(connection.id, [])
        if post not in held:
            return
        held.remove(post)
        if not held:
            del self._held[connection.id]
        with contextlib.suppress(Gone, BufferFull):
            await super()._post(connection, post.text, post.size)


class FaultyWebSockets(WebSockets):
    """Sockets that are closed too early, and of whose end nobody hears."""

    def __init__(
        self,
        apis: Mapping[str, WebSocketApi],
        domain: str,
        invoker: Invoker,
        connections: Connections,
        limits: Limits,
        plans: RunningPlans,
    ) -> None:
        super().__init__(apis, domain, invoker, connections, limits)
        self._plans = plans

    async def _read(self, api: WebSocketApi, connection: Connection, websocket: WebSocket) -> Closed:
        plan = self._plans.running
        end = plan.decisions.meet(connection.id, connection.socket.stage)
        closing = asyncio.create_task(self._close_in_time(plan, connection, end))
        try:
            return await super()._read(api, connection, websocket)
        finally:
            closing.cancel()

    async def _close_in_time(self, plan: RunningPlan, connection: Connection, end: End | None) -> None:
        if end is not None and end.seconds is not None and await plan.passed(end.seconds):
            self._plans.close(plan, connection, end)

    async def _disconnect(self, api: WebSocketApi, connection: Connection, closed: Closed) -> None:
        if self._plans.loses_disconnect(connection):
            log.connection(connection.id, "$disconnect is lost")
            return
        await super()._disconnect(api, connection, closed)


class FaultyInvoker(Invoker):
    """Delivers events late and twice."""

    def __init__(self, pools: Mapping[str, Pool], services: Services, limits: Limits, plans: RunningPlans) -> None:
        super().__init__(pools, services, limits)
        self._plans = plans

    async def _deliver(self, event: Event) -> None:
        plan = self._plans.running
        fate = plan.decisions.event(event.target.pool.function.name, event.payload.decode(errors="replace"))
        if fate.fault is not None:  # The one that is no delay is a repetition.
            self._begin(self._deliver_later(plan, replace(event), fate.seconds))
        await self._deliver_later(plan, event, fate.delay_s)

    async def _deliver_later(self, plan: RunningPlan, event: Event, seconds: float) -> None:
        await plan.passed(seconds)
        await super()._deliver(event)


class FaultyInvocations(InvokeApi):
    """Lambda's Invoke API, at which a worker may be stopped."""

    def __init__(self, invoker: Invoker, limits: Limits, credentials: Credentials, calls: Calls) -> None:
        super().__init__(invoker, limits, credentials)
        self._calls = calls

    async def answer(self, request: Request) -> Response:
        return await self._calls.answer(request, "Invoke", partial(super().answer, request))


class FaultyPool(Pool):
    """Its workers sign with keys of their own."""

    def __init__(
        self,
        function: Function,
        variables: Callable[[str], Mapping[str, str]],
        limits: Limits,
        sentence: Sentence,
        plans: RunningPlans,
        calls: Calls,
    ) -> None:
        super().__init__(function, variables, limits, sentence)
        self._plans = plans
        self._calls = calls

    def _new(self, version: str) -> Environment:
        variables = self._variables(version)
        parts = (self._limits, self._sentence, self._plans, self._calls)
        return FaultyEnvironment(self.function, version, variables, *parts)


class FaultyEnvironment(Environment):
    """A worker that may be stopped at its work."""

    def __init__(
        self,
        function: Function,
        version: str,
        variables: Mapping[str, str],
        limits: Limits,
        sentence: Sentence,
        plans: RunningPlans,
        calls: Calls,
    ) -> None:
        self._access_key = calls.enter(self)
        super().__init__(function, version, {**variables, "AWS_ACCESS_KEY_ID": self._access_key}, limits, sentence)
        self._plans = plans
        self._calls = calls

    @property
    def function_name(self) -> str:
        return self._function.name

    async def invoke(self, request_id: str, arn: str, payload: bytes) -> Outcome:
        plan = self._plans.running
        hit = plan.decisions.invocation(self.function_name, payload.decode(errors="replace"))
        if hit is not None and isinstance(hit.fault, faults.Shorten):
            plan.decisions.applied(hit.place)
            return await self.handle(request_id, arn, payload, min(hit.seconds, self._function.timeout_s))
        killing = asyncio.create_task(self._kill_in_time(plan, hit))
        try:
            return await super().invoke(request_id, arn, payload)
        finally:
            killing.cancel()

    async def stop(self) -> None:
        self._calls.leave(self._access_key)
        await super().stop()

    def freeze(self) -> None:
        self._send(signal.SIGSTOP)

    def thaw(self) -> None:
        self._send(signal.SIGCONT)

    async def _kill_in_time(self, plan: RunningPlan, hit: Hit | None) -> None:
        if hit is not None and await plan.passed(hit.seconds):
            plan.decisions.applied(hit.place)
            self.kill()


def _refusal(connection: Connection, status: int) -> Response:
    if status == 410:
        raise Gone(connection.id)
    if status == 429:
        return connections.error(429, "LimitExceededException", "Too Many Requests")
    return connections.error(500, "InternalServerErrorException", "Internal server error")
