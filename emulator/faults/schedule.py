"""The fault plan that is in force, and `/_faults`, which replaces it."""

import asyncio
from collections.abc import Mapping

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from emulator import log
from emulator.faults import plan as faults
from emulator.faults.decisions import Decisions, End
from emulator.faults.plan import Plan
from emulator.gateway.connections import Connection, State

# A web page cannot send them to another origin without asking, and nobody here says yes.
_MEDIA_TYPES = ("application/json", "application/yaml")


class RunningPlan:
    """A plan from when it was put until it is replaced."""

    def __init__(self, plan: Plan, logical_ids: Mapping[str, str]) -> None:
        self.decisions = Decisions(plan, log.fault, logical_ids)
        self._over = asyncio.Event()

    async def passed(self, seconds: float) -> bool:
        """Wait for so many seconds. Return False, at once, when the plan is over before that."""
        if seconds <= 0:
            return True
        try:
            async with asyncio.timeout(seconds):
                await self._over.wait()
        except TimeoutError:
            return True
        return False

    def end(self) -> None:
        self._over.set()


class RunningPlans:
    """The plan that decides now, `running`, and which connections a plan has closed, and how.

    `logical_ids` are the functions', by name.
    """

    def __init__(self, plan: Plan, logical_ids: Mapping[str, str]) -> None:
        self._logical_ids = logical_ids
        self.running = RunningPlan(plan, logical_ids)
        self._closed: dict[str, faults.CloseSocket] = {}

    def put(self, plan: Plan) -> None:
        """Let `plan` begin; what the one before held up goes on."""
        self.running.end()  # its delays and silences end at once
        self.running = RunningPlan(plan, self._logical_ids)
        log.fault(f"a plan with {len(plan.faults)} faults, seed {plan.seed}")

    def close(self, plan: RunningPlan, connection: Connection, end: End) -> None:
        if connection.state is State.OPEN:
            plan.decisions.applied(end.place)
            self._closed[connection.id] = end.fault
            connection.close(end.fault.code, "", abrupt=end.fault.abort)

    def loses_disconnect(self, connection: Connection) -> bool:
        """Whether nobody shall hear that a connection has ended. Asked once a connection."""
        closed = self._closed.pop(connection.id, None)
        if closed is not None:
            return closed.lose_disconnect
        return self.running.decisions.loses_disconnect(connection.id, connection.socket.stage)


class FaultsApi:
    """`/_faults`, as the docstring of `faults` says."""

    def __init__(self, plans: RunningPlans) -> None:
        self._plans = plans

    def routes(self) -> list[Route]:
        return [
            Route("/_faults", self._show, methods=["GET"]),
            Route("/_faults", self._put, methods=["POST"]),
            Route("/_faults", self._clear, methods=["DELETE"]),
        ]

    async def _show(self, _: Request) -> Response:
        return JSONResponse(self._plans.running.decisions.report())

    async def _put(self, request: Request) -> Response:
        if request.headers.get("Content-Type", "").partition(";")[0].strip().lower() not in _MEDIA_TYPES:
            return JSONResponse({"message": f"Content-Type: {' or '.join(_MEDIA_TYPES)}"}, status_code=415)
        try:
            self._plans.put(faults.read((await request.body()).decode()))
        except ValueError as error:  # A PlanError, or bytes that are no text.
            return JSONResponse({"message": str(error)}, status_code=400)
        return await self._show(request)

    async def _clear(self, _: Request) -> Response:
        self._plans.put(Plan())
        return Response(status_code=204)
