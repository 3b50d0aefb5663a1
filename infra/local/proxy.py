"""What stands between the functions and the services while there is a fault plan: an HTTP proxy that knows who calls.

Each worker has an address of its own, `http://HOST:PORT/worker/NAME`, as its AWS_ENDPOINT_URL.
"""

import json
import uuid
from collections.abc import Mapping
from typing import Any, Protocol

import httpx
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from infra.local import faults
from infra.local.fault_decisions import Fate
from infra.local.running_plan import RunningPlan, RunningPlans
from infra.local.server import Embedded

# Of one connection, not of what is said over it. Source: RFC 9110, 7.6.1.
_HOP_BY_HOP = ("connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade")
_METHODS = ["DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"]
_DYNAMODB = "com.amazonaws.dynamodb.v20120810#"


class Worker(Protocol):
    """Who calls: an execution environment."""

    @property
    def function_name(self) -> str: ...

    def kill(self) -> None: ...


class ServicesProxy:
    """Hands on what workers ask of the services at `endpoint`, or does to it what the plan says."""

    def __init__(self, endpoint: str, plans: RunningPlans) -> None:
        self._endpoint = endpoint
        self._plans = plans
        self._workers: dict[str, Worker] = {}
        self._server = Embedded(Starlette(routes=[Route("/worker/{path:path}", self._answer, methods=_METHODS)]))
        # Whatever proxy the shell names is not for this machine. No connection is kept: moto may close one at any time.
        # How long to wait is the caller's to say.
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=0)
        self._client = httpx.AsyncClient(timeout=None, limits=limits, trust_env=False)  # noqa: S113

    async def start(self) -> None:
        await self._server.start()

    async def stop(self) -> None:
        self._server.stop()
        await self._client.aclose()

    def address_of(self, name: str) -> str:
        return f"http://{self._server.address}/worker/{name}"

    def enter(self, name: str, worker: Worker) -> None:
        self._workers[name] = worker

    def leave(self, name: str) -> None:
        self._workers.pop(name, None)

    async def _answer(self, request: Request) -> Response:
        worker = self._workers.get(request.path_params["path"].split("/")[0])
        target = request.headers.get("X-Amz-Target", "")
        if worker is None or not target:
            return await self._hand_on(request)
        plan = self._plans.running
        body = (await request.body()).decode(errors="replace")
        fate = plan.decisions.call(worker.function_name, target.rpartition(".")[2], body)
        await plan.passed(fate.delay_s)
        return await self._apply(plan, fate, request, worker)

    async def _apply(self, plan: RunningPlan, fate: Fate, request: Request, worker: Worker) -> Response:
        match fate.fault:
            case faults.KillAtCall(moment=moment):
                if moment == "after":
                    await self._hand_on(request)
                worker.kill()
                return _unavailable()
            case faults.Silence(takes_effect=takes_effect):
                if takes_effect:
                    await self._hand_on(request)
                await plan.passed(fate.seconds)
                return _unavailable()
            case faults.Throttle():
                return _throttled(request.headers["X-Amz-Target"])
            case faults.Conflict():
                return _conflict(await request.body())
            case _:
                return await self._hand_on(request)

    async def _hand_on(self, request: Request) -> Response:
        _, _, _, *path = request.scope["raw_path"].decode().split("/", 3)
        query = request.scope["query_string"].decode()
        asked = self._client.build_request(
            request.method,
            f"{self._endpoint}/{''.join(path)}" + (f"?{query}" if query else ""),
            headers=[(name, value) for name, value in request.headers.raw if _is_handed_on(name)],
            content=await request.body(),
        )
        answered = await self._client.send(asked, stream=True)
        try:
            # Raw: the body stays compressed if it was.
            content = b"".join([chunk async for chunk in answered.aiter_raw()])
        finally:
            await answered.aclose()
        response = Response(content, status_code=answered.status_code)
        own = [] if "content-length" in answered.headers else response.raw_headers
        kept = [(name.lower(), value) for name, value in answered.headers.raw if _is_handed_on(name)]
        response.raw_headers = [*own, *kept]
        return response


def _is_handed_on(name: bytes) -> bool:
    return name.decode("latin-1").lower() not in (*_HOP_BY_HOP, "host")


def _throttled(target: str) -> Response:
    """Source: the errors of DynamoDB's API reference, and those that AWS services have in common."""
    if not target.startswith("DynamoDB"):
        return _error(400, {"__type": "ThrottlingException", "message": "Rate exceeded"})
    message = (
        "The level of configured provisioned throughput for the table was exceeded. "
        "Consider increasing your provisioning level with the UpdateTable API."
    )
    return _error(400, {"__type": f"{_DYNAMODB}ProvisionedThroughputExceededException", "message": message})


def _conflict(body: bytes) -> Response:
    """The first item is in another transaction. Source: DynamoDB's TransactWriteItems, TransactionCanceledException."""
    others = len(json.loads(body).get("TransactItems", [])) - 1
    conflict = {"Code": "TransactionConflict", "Message": "Transaction is ongoing for the item"}
    codes = ", ".join(["TransactionConflict", *["None"] * others])
    return _error(
        400,
        {
            "__type": f"{_DYNAMODB}TransactionCanceledException",
            "CancellationReasons": [conflict, *[{"Code": "None"}] * others],
            "Message": f"Transaction cancelled, please refer cancellation reasons for specific reasons [{codes}]",
        },
    )


def _unavailable() -> Response:
    """For a caller that has given up or is dead."""
    return _error(503, {"__type": "ServiceUnavailable", "message": "Service is unavailable"})


def _error(status: int, body: Mapping[str, Any]) -> Response:
    headers = {"x-amzn-RequestId": str(uuid.uuid4())}
    return Response(json.dumps(body), status, headers, media_type="application/x-amz-json-1.0")
