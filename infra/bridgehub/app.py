"""The sidecar's HTTP: one call of a command line for each request, its answer streamed as lines of JSON."""

import asyncio
import json
import logging
import secrets

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from infra.bridgehub.clis import Cli, Command, Event, Failed, TooLong, last_words, parse
from infra.bridgehub.running import Running, running

REQUEST_BYTES = 1024 * 1024
# Whoever waits hears at least this often that somebody is still there; tunnels close silent connections, too.
PING_S = 10.0
RETRY_AFTER_S = 5

logger = logging.getLogger("infra.bridgehub")


def application(cli: Cli, token: str, calls: int, time_limit_s: float, ping_s: float = PING_S) -> Starlette:
    """Return what is served, at most `calls` at once, each for `time_limit_s` at most, to whoever knows the `token`."""
    answers = Answers(cli, token, calls, time_limit_s, ping_s)
    return Starlette(
        routes=[
            Route("/v1/answers", answers, methods=["POST"], max_body_size=REQUEST_BYTES),
            Route("/health", answers.health),
        ]
    )


class Answers:
    """The ASGI application of ``POST /v1/answers``."""

    def __init__(self, cli: Cli, token: str, calls: int, time_limit_s: float, ping_s: float) -> None:
        self._cli = cli
        self._token = token
        self._calls = calls
        self._time_limit_s = time_limit_s
        self._ping_s = ping_s
        self._under_way = 0

    async def health(self, _: Request) -> Response:
        return JSONResponse({"status": "ok", "calls": self._under_way, "limit": self._calls})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not secrets.compare_digest(token.encode(), self._token.encode()):
            raise HTTPException(401, "The token is missing or wrong.", {"www-authenticate": "Bearer"})
        try:
            command = self._cli.command(parse(await request.body()))
        except TooLong as problem:
            raise HTTPException(413, str(problem)) from problem
        except (ValueError, RecursionError) as problem:
            raise HTTPException(400, f"The request is wrong: {problem}") from problem
        if self._under_way == self._calls:
            raise HTTPException(429, f"{self._cli.name} is busy.", {"retry-after": str(RETRY_AFTER_S)})
        self._under_way += 1  # nothing was awaited since it was looked at
        try:
            await self._stream(command, receive, send)
        finally:
            self._under_way -= 1

    async def _stream(self, command: Command, receive: Receive, send: Send) -> None:
        headers = [(b"content-type", b"application/x-ndjson"), (b"cache-control", b"no-store")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        async with asyncio.TaskGroup() as tasks:
            answering = tasks.create_task(self._answer(command, send))
            watching = [tasks.create_task(_ping(send, self._ping_s)), tasks.create_task(_leave(receive, answering))]
            await asyncio.wait({answering})  # unlike `await answering`, raises nothing when `_leave` has cancelled it
            for task in watching:
                task.cancel()
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _answer(self, command: Command, send: Send) -> None:
        try:
            await _say(send, {"type": "end", "usage": await self._run(command, send)})
        except Failed as problem:
            logger.warning("%s", problem)
            await _say(send, {"type": "error", "message": str(problem)})

    async def _run(self, command: Command, send: Send) -> dict[str, int]:
        """Send the answer as the command line writes it. Return the tokens that it used. Raise ``Failed``."""
        name = self._cli.name
        try:
            # The time limit is the answer's: leaving has its own.
            async with running(command) as call, asyncio.timeout(self._time_limit_s):
                return await self._read(call, send)
        except TimeoutError as problem:
            raise Failed(f"{name} took longer than {self._time_limit_s:g} seconds.") from problem
        except OSError as problem:
            raise Failed(f"{name} cannot be started: {problem.strerror}.") from problem
        except ValueError as problem:
            raise Failed(f"{name} wrote a line that does not end.") from problem

    async def _read(self, call: Running, send: Send) -> dict[str, int]:
        reader = self._cli.reader()
        async for line in call.lines():
            logger.debug("%r", line)
            for event in reader.read(line):
                await _say(send, event)
            # What the process does after a complete answer is its own affair.
            if self._cli.answers_once and reader.used is not None:
                return reader.used
        code = await call.process.wait()
        if code == 0 and reader.used is not None:
            return reader.used
        end = f"{self._cli.name} ended " + ("without an answer" if code == 0 else f"with exit code {code}")
        said = await call.last_words() or last_words(reader.trouble.encode())
        raise Failed(f"{end}: {said}" if said else f"{end}.")


async def _say(send: Send, event: Event) -> None:
    line = json.dumps(event) + "\n"
    await send({"type": "http.response.body", "body": line.encode(), "more_body": True})


async def _ping(send: Send, every_s: float) -> None:
    while True:
        await asyncio.sleep(every_s)
        await _say(send, {"type": "ping"})


async def _leave(receive: Receive, answering: "asyncio.Task[None]") -> None:
    """End the answer when nobody is there to read it any more."""
    while (await receive())["type"] != "http.disconnect":
        pass
    answering.cancel()
