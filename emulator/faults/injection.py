"""What a fault plan does, put in where `Interference` has a place for it. Nothing here runs without `--faults`."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, replace
from functools import partial

from starlette.requests import Request
from starlette.responses import Response

from emulator import log
from emulator.faults import plan as faults
from emulator.faults.call_faults import Calls
from emulator.faults.decisions import Fate
from emulator.faults.plan import Plan
from emulator.faults.schedule import FaultsApi, RunningPlan, RunningPlans
from emulator.faults.services_proxy import ServicesProxy
from emulator.gateway import connections
from emulator.gateway.connections import BufferFull, Connection, Gone, State
from emulator.gateway.interference import Endpoint, Interference
from emulator.gateway.websocket import Sockets
from emulator.lambda_.environments import Environment, Outcome, Supervisor
from emulator.lambda_.invoke import Event
from emulator.limits import Limits
from emulator.services.services import Services
from emulator.template.stack import Stack


@contextlib.asynccontextmanager
async def interfering(plan: Plan, stack: Stack, services: Services, limits: Limits) -> AsyncIterator[Interference]:
    """Let things go wrong as `plan` says, until the block ends."""
    logical_ids = {name: path.rpartition(".")[2] for path, name in stack.resources.items()}
    plans = RunningPlans(plan, logical_ids)
    calls = Calls(plans, services.credentials)
    proxy = ServicesProxy(services, calls, limits)
    await proxy.start()
    try:
        yield Interference(
            posts=PostFaults(plans).post,
            sockets=SocketFaults(plans),
            events=EventFaults(plans).deliver,
            workers=WorkerFaults(plans, calls),
            calls=partial(_called, calls),
            services=proxy.address,
            routes=FaultsApi(plans).routes(),
            end=lambda: plans.running.end(),  # the plan that runs then, which may be another
        )
    finally:
        await proxy.stop()


async def _called(calls: Calls, endpoint: Endpoint, request: Request) -> Response:
    """Answer a call of the Management API or of Lambda's."""
    operation = "Invoke"
    if "connection_id" in request.path_params:
        operation = {"POST": "PostToConnection", "DELETE": "DeleteConnection"}.get(request.method, "GetConnection")
    return await calls.answer(request, operation, partial(endpoint, request))


@dataclass(frozen=True, eq=False)
class _Held:
    """A post that is held back. Each is itself only, however alike their texts are."""

    text: str
    size: int


class PostFaults:
    """Posts that go astray."""

    def __init__(self, plans: RunningPlans) -> None:
        self._plans = plans
        self._held: dict[str, list[_Held]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def post(self, connection: Connection, text: str, size: int) -> Response:
        plan = self._plans.running
        fate = plan.decisions.post(connection.id, connection.socket.stage, text)
        await plan.passed(fate.delay_s)
        if connection.state is not State.OPEN:  # It may have been closed in the meantime.
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
                await connections.post(connection, post.text, post.size)
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
        """Post a frame, and after it what was held back for it."""
        response = await connections.post(connection, post.text, post.size)
        for held in list(self._held.get(connection.id, ())):  # a copy, from which `_release` takes nothing
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
        if post not in held:  # The next post and the clock both release it, and the second one comes too late.
            return
        held.remove(post)
        if not held:
            del self._held[connection.id]
        with contextlib.suppress(Gone, BufferFull):  # It was answered long ago, so nobody can be told.
            await connections.post(connection, post.text, post.size)


def _refusal(connection: Connection, status: int) -> Response:
    if status == 410:
        raise Gone(connection.id)
    if status == 429:
        return connections.error(429, "LimitExceededException", "Too Many Requests")
    return connections.error(500, "InternalServerErrorException", "Internal server error")


class SocketFaults(Sockets):
    """Sockets that are closed too early, or of whose end nobody hears."""

    def __init__(self, plans: RunningPlans) -> None:
        self._plans = plans
        self._closing: dict[str, asyncio.Task[None]] = {}

    def opened(self, connection: Connection) -> None:
        plan = self._plans.running
        end = plan.decisions.meet(connection.id, connection.socket.stage)
        if end is None or end.seconds is None:
            return
        seconds = end.seconds

        async def close_in_time() -> None:
            if await plan.passed(seconds):
                self._plans.close(plan, connection, end)

        self._closing[connection.id] = asyncio.create_task(close_in_time())

    def tells_end(self, connection: Connection) -> bool:
        if closing := self._closing.pop(connection.id, None):
            closing.cancel()
        if self._plans.loses_disconnect(connection):
            log.connection(connection.id, "$disconnect is lost")
            return False
        return True


class EventFaults:
    """Events that come late or twice."""

    def __init__(self, plans: RunningPlans) -> None:
        self._plans = plans

    async def deliver(self, event: Event, deliver: Callable[[Event], Awaitable[None]]) -> None:
        plan = self._plans.running
        fate = plan.decisions.event(event.target.pool.function.name, event.payload.decode(errors="replace"))

        async def deliver_later(event: Event, seconds: float) -> None:
            await plan.passed(seconds)
            await deliver(event)

        # The fault that is no delay is a repetition.
        again = [] if fate.fault is None else [deliver_later(replace(event), fate.seconds)]
        await asyncio.gather(deliver_later(event, fate.delay_s), *again)


class WorkerFaults(Supervisor):
    """Workers that are stopped at their work, and sign with keys of their own, which tell who calls."""

    def __init__(self, plans: RunningPlans, calls: Calls) -> None:
        self._plans = plans
        self._calls = calls

    def enter(self, worker: Environment) -> None:
        self._calls.enter(worker)

    def leave(self, worker: Environment) -> None:
        self._calls.leave(worker)

    async def invoke(self, worker: Environment, request_id: str, arn: str, payload: bytes) -> Outcome:
        plan, function = self._plans.running, worker.function
        hit = plan.decisions.invocation(function.name, payload.decode(errors="replace"))
        if hit is not None and isinstance(hit.fault, faults.Shorten):
            plan.decisions.applied(hit.place)
            # The worker hears of the earlier deadline, as it hears of any, and is killed at it.
            return await worker.invoke(request_id, arn, payload, min(hit.seconds, function.timeout_s))

        async def kill_in_time() -> None:
            if hit is not None and await plan.passed(hit.seconds):
                plan.decisions.applied(hit.place)
                worker.kill()

        killing = asyncio.create_task(kill_in_time())
        try:
            return await super().invoke(worker, request_id, arn, payload)
        finally:
            killing.cancel()
